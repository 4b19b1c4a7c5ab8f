// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Market} from "./parts/Market.sol";
import {Roles} from "./parts/Roles.sol";
import {Wallets} from "./parts/Wallets.sol";

/// @title FlyTrap
/// @notice One immutable registry for a broker's topics; see `IFlyTrap`. Nothing can be upgraded: a successor is
/// another contract, announced here and chosen by each gateway's operator.
contract FlyTrap is Market, Wallets {
    /// @param admin_ Owns the top level and hands out roles.
    /// @param adminDelay Seconds from offering the administration to another until he can accept.
    constructor(address admin_, uint64 adminDelay) Roles(admin_, adminDelay) {
        // Fees begin at 0, and so need no notice.
        _settings.openPeriod = 30 days;
    }
}
