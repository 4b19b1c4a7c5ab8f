// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";

import {IFlyTrap} from "../IFlyTrap.sol";
import {Fees} from "../Types.sol";
import {Chronicle} from "./Chronicle.sol";

/// @dev Who runs the broker: roles, fees, pause, successor.
abstract contract Roles is Chronicle, AccessControlDefaultAdminRules {
    /// @notice Reports bans, lifts its own, anchors logs.
    bytes32 public constant GATEWAY = keccak256("GATEWAY");
    /// @notice Announces fees, takes them out.
    bytes32 public constant TREASURER = keccak256("TREASURER");
    /// @notice Pauses purchases and registrations, lifts bans.
    bytes32 public constant GUARDIAN = keccak256("GUARDIAN");
    /// @notice Sees unredacted records in a gateway's API. Means nothing here.
    bytes32 public constant AUDITOR = keccak256("AUDITOR");

    /// @notice Largest share of sales, in hundredths of a per cent.
    uint16 public constant MAX_SALE_BPS = 2000;
    /// @notice Seconds between announcing fees and their earliest force.
    uint64 public constant FEE_DELAY = 7 days;
    /// @notice Seconds between announcing a successor and its time.
    uint64 public constant SUCCESSOR_DELAY = 30 days;

    /// @dev What every purchase and registration reads: one slot.
    struct Settings {
        Fees fees;
        bool paused;
    }

    struct Dated {
        address account;
        uint64 notBefore;
    }

    Settings internal _settings;
    Fees private _proposed;
    uint64 private _proposedNotBefore;
    Dated private _successor;

    modifier whenNotPaused() {
        _checkNotPaused();
        _;
    }

    function _checkNotPaused() private view {
        if (_settings.paused) revert Paused();
    }

    /// @inheritdoc IFlyTrap
    function setPaused(bool paused_) external onlyRole(GUARDIAN) {
        _settings.paused = paused_;
        _record(PausedSet.selector, abi.encode(paused_, msg.sender));
    }

    /// @inheritdoc IFlyTrap
    function proposeFees(Fees calldata fees_) external onlyRole(TREASURER) {
        if (fees_.saleBps > MAX_SALE_BPS || fees_.openPeriod < 1 days || fees_.openPeriod > 3650 days) {
            revert BadFees();
        }
        _proposed = fees_;
        _proposedNotBefore = uint64(block.timestamp) + FEE_DELAY;
        _record(FeesProposed.selector, abi.encode(fees_, _proposedNotBefore));
    }

    /// @inheritdoc IFlyTrap
    function applyFees() external {
        uint64 notBefore = _proposedNotBefore;
        if (notBefore == 0) revert NothingPending();
        if (block.timestamp < notBefore) revert TooEarly(notBefore);
        _proposedNotBefore = 0;
        _settings.fees = _proposed;
        _record(FeesSet.selector, abi.encode(_proposed));
    }

    /// @inheritdoc IFlyTrap
    function announceSuccessor(address account) external onlyRole(DEFAULT_ADMIN_ROLE) {
        uint64 notBefore = account == address(0) ? 0 : uint64(block.timestamp) + SUCCESSOR_DELAY;
        _successor = Dated(account, notBefore);
        _record(SuccessorAnnounced.selector, abi.encode(account, notBefore));
    }

    /// @inheritdoc IFlyTrap
    function fees() external view returns (Fees memory, Fees memory, uint64) {
        return (_settings.fees, _proposed, _proposedNotBefore);
    }

    /// @inheritdoc IFlyTrap
    function paused() external view returns (bool) {
        return _settings.paused;
    }

    /// @inheritdoc IFlyTrap
    function successor() external view returns (address, uint64) {
        return (_successor.account, _successor.notBefore);
    }

    // OpenZeppelin's own events have no number: each change is recorded once more with one.

    function _grantRole(bytes32 role, address account) internal override returns (bool changed) {
        changed = super._grantRole(role, account);
        if (changed) _record(RoleSet.selector, abi.encode(role, account, true, msg.sender));
    }

    function _revokeRole(bytes32 role, address account) internal override returns (bool changed) {
        changed = super._revokeRole(role, account);
        if (changed) _record(RoleSet.selector, abi.encode(role, account, false, msg.sender));
    }

    function _beginDefaultAdminTransfer(address to) internal override {
        super._beginDefaultAdminTransfer(to);
        _recordAdminChange();
    }

    function _cancelDefaultAdminTransfer() internal override {
        super._cancelDefaultAdminTransfer();
        _recordAdminChange();
    }

    function _changeDefaultAdminDelay(uint48 delay) internal override {
        super._changeDefaultAdminDelay(delay);
        _recordAdminDelay();
    }

    function _rollbackDefaultAdminDelay() internal override {
        super._rollbackDefaultAdminDelay();
        _recordAdminDelay();
    }

    function _recordAdminChange() private {
        (address to, uint48 notBefore) = pendingDefaultAdmin();
        _record(AdminChangeScheduled.selector, abi.encode(to, notBefore));
    }

    function _recordAdminDelay() private {
        (uint48 delay, uint48 from) = pendingDefaultAdminDelay();
        _record(AdminDelayScheduled.selector, abi.encode(delay, from));
    }
}
