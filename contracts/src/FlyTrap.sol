// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";

import {Market} from "./parts/Market.sol";
import {Wallets} from "./parts/Wallets.sol";

/// @title FlyTrap
/// @notice One immutable registry for a broker's topics; see `IFlyTrap`. Nothing can be upgraded: a successor is
/// another contract, announced here and chosen by each gateway's operator.
contract FlyTrap is Market, Wallets {
    /// @param admin Owns the top level and hands out roles; hand-over takes two steps and the delay.
    /// @param adminDelay Seconds between the two steps.
    constructor(address admin, uint48 adminDelay) AccessControlDefaultAdminRules(adminDelay, admin) {
        // Holds until fees are first set, while they are 0.
        _settings.fees.openPeriod = 30 days;
    }
}
