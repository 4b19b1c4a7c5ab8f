// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IFlyTrap} from "../IFlyTrap.sol";
import {DELEGATE_REGISTER, Grant, eraOf} from "../Grant.sol";
import {Mode, Offer, RECLAIM_DELAY, Space, Terms} from "../Types.sol";
import {Labels} from "./Labels.sol";
import {Roles} from "./Roles.sol";

/// @dev Names, terms and ownership of topic spaces.
abstract contract Spaces is Roles {
    mapping(bytes32 node => Space) internal _spaces;
    mapping(bytes32 node => Offer) internal _offers;
    mapping(bytes32 node => bytes32 id) private _countryPolicies;
    mapping(bytes32 node => mapping(address wallet => Grant)) internal _grants;
    mapping(bytes32 id => uint256[3]) private _countryMaps;
    mapping(bytes32 node => address) private _offered;
    mapping(bytes32 node => Dated) private _reclaims;

    uint40 private constant OPEN_FOREVER = type(uint40).max;
    /// @dev Above the bits of a country map's last word: it is stored; it allows what it lists.
    uint256 private constant STORED = 1 << 255;
    uint256 private constant ALLOW = 1 << 254;

    modifier onlyOwner(bytes32 node) {
        _checkOwner(node);
        _;
    }

    function _checkOwner(bytes32 node) private view {
        (, address owner_) = _registered(node);
        if (owner_ != msg.sender) _refuse(node);
    }

    /// @dev Both at once: reading the owner again would cost again.
    function _registered(bytes32 node) internal view returns (Space storage entry, address owner_) {
        entry = _spaces[node];
        owner_ = entry.owner;
        if (owner_ == address(0)) revert NotRegistered(node);
    }

    function _due(uint256 due) internal view {
        if (msg.value != due) revert WrongValue(due, msg.value);
    }

    // ---------------------------------------------------------------- registering

    /// @inheritdoc IFlyTrap
    function register(bytes32 parent, string[] calldata path, address owner_, Terms memory terms)
        external
        payable
        whenNotPaused
        returns (bytes32 node)
    {
        node = parent;
        uint256 created = 0;
        uint256 fee = 0;
        for (uint256 i = 0; i < path.length; ++i) {
            string calldata label = path[i];
            if (!Labels.valid(label)) revert BadLabel(i);
            bytes32 labelHash = keccak256(bytes(label));
            parent = node;
            node = Labels.node(parent, labelHash);
            if (_spaces[node].owner != address(0)) continue;
            // Below the first new level all is the caller's own doing.
            if (created == 0) fee = _mayRegister(parent, owner_);
            ++created;
            _create(parent, labelHash, node, owner_, label);
        }
        if (created == 0) revert AlreadyRegistered(node);
        _due(fee * created + _setTerms(node, terms));
    }

    /// @inheritdoc IFlyTrap
    function registerHash(bytes32 parent, bytes32 labelHash, address owner_, Terms memory terms)
        external
        payable
        whenNotPaused
        returns (bytes32 node)
    {
        if (!Labels.validHash(labelHash)) revert BadLabelHash(labelHash);
        node = Labels.node(parent, labelHash);
        if (_spaces[node].owner != address(0)) revert AlreadyRegistered(node);
        uint256 fee = _mayRegister(parent, owner_);
        _create(parent, labelHash, node, owner_, "");
        _due(fee + _setTerms(node, terms));
    }

    /// @dev The fee for each space that the caller registers below `parent`.
    function _mayRegister(bytes32 parent, address owner_) private view returns (uint256) {
        if (owner_ == address(0)) revert ZeroAddress();
        if (parent == 0) {
            _checkRole(DEFAULT_ADMIN_ROLE);
            return 0;
        }
        (Space storage above, address parentOwner) = _registered(parent);
        if (parentOwner == msg.sender) return 0;
        if (owner_ == parentOwner && _isDelegate(parent, above, DELEGATE_REGISTER)) return 0;
        if (!above.openBelow) _refuse(parent);
        return _settings.createFee;
    }

    function _isDelegate(bytes32 node, Space storage entry, uint8 flag) internal view returns (bool) {
        return _grants[node][msg.sender].inForce(_era(entry)).flags() & flag != 0;
    }

    function _era(Space storage entry) internal view returns (uint32) {
        return eraOf(entry.epoch, entry.tenure);
    }

    function _create(bytes32 parent, bytes32 labelHash, bytes32 node, address owner_, string memory label) private {
        _spaces[node].owner = owner_;
        _record(SpaceRegistered.selector, abi.encode(node, parent, labelHash, owner_, msg.sender, label));
    }

    /// @inheritdoc IFlyTrap
    function setOpenBelow(bytes32 node, bool open) external {
        (Space storage entry, address owner_) = _registered(node);
        bool isOwner = owner_ == msg.sender;
        bool isAdmin = hasRole(DEFAULT_ADMIN_ROLE, msg.sender);
        // Opening sells names to the first comer: nobody's but one's own.
        if (open ? !(isOwner && isAdmin) : !(isOwner || isAdmin)) _refuse(node);
        entry.openBelow = open;
        _record(OpenBelowSet.selector, abi.encode(node, open));
    }

    // ---------------------------------------------------------------- terms

    /// @inheritdoc IFlyTrap
    function setTerms(bytes32 node, Terms memory terms) external payable onlyOwner(node) {
        _due(_setTerms(node, terms));
    }

    /// @dev Returns what is to be paid for it.
    function _setTerms(bytes32 node, Terms memory terms) private returns (uint256 due) {
        Space storage entry = _spaces[node];
        if (terms.publish == Mode.Open && entry.openUntil <= block.timestamp) {
            due = _keepOpen(entry, 1);
        }
        entry.sensitive = terms.sensitive;
        _offers[node] = Offer(
            terms.publishPrice,
            terms.subscribePrice,
            terms.publishPeriod,
            terms.subscribePeriod,
            terms.publish,
            terms.subscribe
        );
        bytes32 policy = terms.countryPolicy;
        entry.countries = policy != 0;
        if (policy != 0) {
            if (_countryMaps[policy][2] == 0) revert UnknownCountryPolicy(policy);
            _countryPolicies[node] = policy;
        }
        _record(TermsSet.selector, abi.encode(node, terms, entry.openUntil));
    }

    /// @inheritdoc IFlyTrap
    function keepOpen(bytes32 node, uint32 periods) external payable {
        if (periods == 0) revert BadPeriods(periods);
        (Space storage entry,) = _registered(node);
        _due(_keepOpen(entry, periods));
        _record(OpenKept.selector, abi.encode(node, entry.openUntil, msg.sender, msg.value));
    }

    /// @dev Without a fee there is nothing to renew, so openness has no end.
    function _keepOpen(Space storage entry, uint256 periods) private returns (uint256 due) {
        due = _settings.publishFee * periods;
        uint256 end = OPEN_FOREVER;
        if (due != 0) {
            uint256 from = entry.openUntil > block.timestamp ? entry.openUntil : block.timestamp;
            end = from + periods * _settings.openPeriod;
            if (end > OPEN_FOREVER) end = OPEN_FOREVER;
        }
        entry.openUntil = uint40(end);
    }

    /// @inheritdoc IFlyTrap
    function startEpoch(bytes32 node) external onlyOwner(node) {
        uint16 epoch = ++_spaces[node].epoch;
        _record(EpochStarted.selector, abi.encode(node, epoch));
    }

    // ---------------------------------------------------------------- ownership

    /// @inheritdoc IFlyTrap
    function offerOwnership(bytes32 node, address to) external onlyOwner(node) {
        _offered[node] = to;
        _record(OwnershipOffered.selector, abi.encode(node, to));
    }

    /// @inheritdoc IFlyTrap
    function acceptOwnership(bytes32 node) external {
        if (_offered[node] != msg.sender) _refuse(node);
        _takeOver(node);
    }

    /// @inheritdoc IFlyTrap
    function startReclaim(bytes32 node, address to) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (to == address(0)) revert ZeroAddress();
        _registered(node);
        uint64 notBefore = _in(RECLAIM_DELAY);
        _reclaims[node] = Dated(to, notBefore);
        _record(ReclaimStarted.selector, abi.encode(node, to, notBefore));
    }

    /// @inheritdoc IFlyTrap
    function stopReclaim(bytes32 node) external {
        (, address owner_) = _registered(node);
        if (owner_ != msg.sender) _checkRole(DEFAULT_ADMIN_ROLE);
        if (_reclaims[node].account == address(0)) revert NothingPending();
        delete _reclaims[node];
        _record(ReclaimStopped.selector, abi.encode(node, msg.sender));
    }

    /// @inheritdoc IFlyTrap
    function finishReclaim(bytes32 node) external {
        _checkDue(_reclaims[node], node);
        _takeOver(node);
    }

    function _takeOver(bytes32 node) private {
        Space storage entry = _spaces[node];
        address from = entry.owner;
        entry.owner = msg.sender;
        // Delegates were the old owner's choice, and so was who may register.
        ++entry.tenure;
        entry.openBelow = false;
        delete _offered[node];
        delete _reclaims[node];
        _record(OwnerChanged.selector, abi.encode(node, from, msg.sender));
    }

    // ---------------------------------------------------------------- countries

    /// @inheritdoc IFlyTrap
    function storeCountryPolicy(bool allow, uint256[3] calldata map) external returns (bytes32 id) {
        // 26 * 26 = 676 codes, 164 of them in the last word.
        if (map[2] >> 164 != 0) revert BadCountryMap();
        id = keccak256(abi.encode(allow, map));
        uint256[3] storage stored = _countryMaps[id];
        if (stored[2] != 0) return id;
        stored[0] = map[0];
        stored[1] = map[1];
        stored[2] = map[2] | STORED | (allow ? ALLOW : 0);
        _record(CountryPolicyStored.selector, abi.encode(id, allow, map));
    }

    /// @inheritdoc IFlyTrap
    function countryAllowed(bytes32 policy, bytes2 code) external view returns (bool) {
        uint256[3] storage stored = _countryMaps[policy];
        if (stored[2] == 0) revert UnknownCountryPolicy(policy);
        uint256 first = uint256(uint8(code[0])) ^ 0x40;
        uint256 second = uint256(uint8(code[1])) ^ 0x40;
        // Capital letters are 0x41 to 0x5A.
        if (first == 0 || first > 26 || second == 0 || second > 26) revert BadCountry(code);
        uint256 bit = first * 26 + second - 27;
        bool listed = stored[bit >> 8] >> (bit & 255) & 1 != 0;
        return listed == (stored[2] & ALLOW != 0);
    }

    /// @dev Most spaces have none: a bit in the first slot saves reading another.
    function _countryPolicyOf(bytes32 node, Space storage entry) internal view returns (bytes32) {
        return entry.countries ? _countryPolicies[node] : bytes32(0);
    }

    // ---------------------------------------------------------------- reading

    /// @inheritdoc IFlyTrap
    function child(bytes32 parent, string calldata label) external pure returns (bytes32) {
        return Labels.node(parent, keccak256(bytes(label)));
    }

    /// @inheritdoc IFlyTrap
    function space(bytes32 node) external view returns (Space memory, Offer memory, bytes32) {
        return (_spaces[node], _offers[node], _countryPolicyOf(node, _spaces[node]));
    }

    /// @inheritdoc IFlyTrap
    function pendingOwners(bytes32 node) external view returns (address, address, uint64) {
        return (_offered[node], _reclaims[node].account, _reclaims[node].notBefore);
    }
}
