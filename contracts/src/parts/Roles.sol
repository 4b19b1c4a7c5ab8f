// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";

import {IFlyTrap} from "../IFlyTrap.sol";
import {FEE_DELAY, Fees, MAX_SALE_BPS, SUCCESSOR_DELAY} from "../Types.sol";
import {Chronicle} from "./Chronicle.sol";

/// @dev Who runs the broker: roles, fees, pause, successor.
abstract contract Roles is Chronicle, AccessControl {
    /// @notice Reports bans, lifts its own, anchors logs.
    bytes32 internal constant GATEWAY = keccak256("GATEWAY");
    /// @notice Announces fees, takes them out.
    bytes32 internal constant TREASURER = keccak256("TREASURER");
    /// @notice Pauses purchases and registrations, lifts bans.
    bytes32 internal constant GUARDIAN = keccak256("GUARDIAN");
    /// @notice Sees unredacted records in a gateway's API. Means nothing here.
    bytes32 internal constant AUDITOR = keccak256("AUDITOR");

    /// @dev What every purchase reads: one slot.
    struct Settings {
        uint96 createFee;
        uint96 publishFee;
        uint32 openPeriod;
        uint16 saleBps;
        bool paused;
        /// A payment is under way.
        bool paying;
    }

    struct Dated {
        address account;
        uint64 notBefore;
    }

    uint64 private immutable _adminDelay;
    address private _admin;
    Dated private _nextAdmin;
    Settings internal _settings;
    /// @dev Hash of the announced fees and their time.
    bytes32 private _proposal;
    Dated private _successor;

    constructor(address admin_, uint64 adminDelay) {
        if (admin_ == address(0)) revert ZeroAddress();
        _adminDelay = adminDelay;
        _appoint(admin_);
    }

    modifier whenNotPaused() {
        if (_settings.paused) revert Paused();
        _;
    }

    /// @inheritdoc IFlyTrap
    function setPaused(bool pause) external onlyRole(GUARDIAN) {
        _settings.paused = pause;
        _record(PausedSet.selector, abi.encode(pause, msg.sender));
    }

    /// @inheritdoc IFlyTrap
    function proposeFees(Fees memory next) external onlyRole(TREASURER) {
        if (next.saleBps > MAX_SALE_BPS || next.openPeriod < 1 days || next.openPeriod > 3650 days) {
            revert BadFees();
        }
        uint64 notBefore = _in(FEE_DELAY);
        bytes memory proposal = abi.encode(next, notBefore);
        _proposal = keccak256(proposal);
        _record(FeesProposed.selector, proposal);
    }

    /// @inheritdoc IFlyTrap
    function applyFees(Fees memory next, uint64 notBefore) external {
        if (keccak256(abi.encode(next, notBefore)) != _proposal) revert NothingPending();
        if (block.timestamp < notBefore) revert TooEarly(notBefore);
        _proposal = 0;
        Settings storage s = _settings;
        (s.createFee, s.publishFee, s.openPeriod, s.saleBps) =
        (next.create, next.publish, next.openPeriod, next.saleBps);
        _record(FeesSet.selector, abi.encode(next));
    }

    /// @inheritdoc IFlyTrap
    function announceSuccessor(address account) external {
        _schedule(_successor, account, SUCCESSOR_DELAY, SuccessorAnnounced.selector);
    }

    /// @inheritdoc IFlyTrap
    function fees() external view returns (Fees memory) {
        Settings storage s = _settings;
        return Fees(s.createFee, s.publishFee, s.openPeriod, s.saleBps);
    }

    /// @inheritdoc IFlyTrap
    function paused() external view returns (bool) {
        return _settings.paused;
    }

    /// @inheritdoc IFlyTrap
    function successor() external view returns (address, uint64) {
        return (_successor.account, _successor.notBefore);
    }

    // ---------------------------------------------------------------- roles

    /// @inheritdoc IFlyTrap
    function offerAdmin(address to) external {
        _schedule(_nextAdmin, to, _adminDelay, AdminOffered.selector);
    }

    /// @inheritdoc IFlyTrap
    function acceptAdmin() external {
        _checkDue(_nextAdmin, 0);
        delete _nextAdmin;
        _revokeRole(DEFAULT_ADMIN_ROLE, _admin);
        _appoint(msg.sender);
    }

    function _appoint(address admin_) internal {
        _admin = admin_;
        _grantRole(DEFAULT_ADMIN_ROLE, admin_);
    }

    /// @inheritdoc IFlyTrap
    function admin() external view returns (address, address, uint64) {
        return (_admin, _nextAdmin.account, _nextAdmin.notBefore);
    }

    // Every role change goes through these two. OpenZeppelin's own events have no number: each change is recorded
    // once more with one. There is always exactly one administrator: only `acceptAdmin` changes who.

    function _grantRole(bytes32 role, address account) internal override returns (bool changed) {
        if (role == DEFAULT_ADMIN_ROLE && account != _admin) revert OnlyByHandOver();
        changed = super._grantRole(role, account);
        if (changed) _recordRole(role, account, true);
    }

    function _revokeRole(bytes32 role, address account) internal override returns (bool changed) {
        if (role == DEFAULT_ADMIN_ROLE && msg.sender == _admin) revert OnlyByHandOver();
        changed = super._revokeRole(role, account);
        if (changed) _recordRole(role, account, false);
    }

    function _recordRole(bytes32 role, address account, bool held) private {
        _record(RoleSet.selector, abi.encode(role, account, held, msg.sender));
    }

    // ---------------------------------------------------------------- delays

    /// @dev What the administrator announces today for later.
    function _schedule(Dated storage what, address account, uint64 delay, bytes32 topic)
        private
        onlyRole(DEFAULT_ADMIN_ROLE)
    {
        (what.account, what.notBefore) = (account, _in(delay));
        _record(topic, abi.encode(account, what.notBefore));
    }

    function _in(uint64 delay) internal view returns (uint64) {
        return uint64(block.timestamp) + delay;
    }

    function _refuse(bytes32 node) internal view {
        revert NotPermitted(node, msg.sender);
    }

    /// @dev That the caller is the one that was named, and that his time has come.
    function _checkDue(Dated storage what, bytes32 node) internal view {
        if (what.account != msg.sender) _refuse(node);
        if (block.timestamp < what.notBefore) revert TooEarly(what.notBefore);
    }
}
