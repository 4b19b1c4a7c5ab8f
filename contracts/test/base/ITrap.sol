// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {IFlyTrap} from "../../src/IFlyTrap.sol";

/// The whole contract as callers see it. Tests know no more of it: they deploy the compiled artifact, and are
/// themselves compiled without the slow optimiser.
interface ITrap is IFlyTrap, IAccessControl {}
