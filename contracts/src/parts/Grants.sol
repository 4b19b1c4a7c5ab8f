// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IFlyTrap} from "../IFlyTrap.sol";
import {DELEGATES, DELEGATE_GRANT, DENIALS, DENY_PUBLISH, DENY_SUBSCRIBE, Grant, SUBTREE, pack} from "../Grant.sol";
import {Action, Decision, FOREVER, GrantInput, Mode, Offer, Space, Why} from "../Types.sol";
import {Labels} from "./Labels.sol";
import {Spaces} from "./Spaces.sol";

/// @dev Who may what: grants, and the one algorithm over them.
abstract contract Grants is Spaces {
    /// @inheritdoc IFlyTrap
    function grantRights(bytes32 node, GrantInput[] calldata grants) external payable {
        (uint32 era, bool isOwner) = _checkMayGrant(node);
        mapping(address => Grant) storage slots = _grants[node];
        uint256 newPublishers = 0;
        for (uint256 i = 0; i < grants.length; ++i) {
            GrantInput calldata input = grants[i];
            address wallet = input.wallet;
            Grant next = input.grant;
            if (wallet == address(0)) revert ZeroAddress();
            if (!next.isValid()) revert BadGrant(next);
            Grant old = slots[wallet].inForce(era);
            // Else one delegate could make others that outlive it.
            if (!isOwner && (old.flags() ^ next.flags()) & DELEGATES != 0) revert OnlyOwnerDelegates(node, wallet);
            if (next.live(Action.Publish) && !old.live(Action.Publish)) ++newPublishers;
            _setGrant(node, wallet, next.dated(era), input.commitment);
        }
        // Asked for only where it is due: it is one more slot to read.
        _due(newPublishers == 0 ? 0 : newPublishers * _settings.publishFee);
    }

    /// @inheritdoc IFlyTrap
    function revoke(bytes32 node, address wallet, uint16 reason, bytes32 commitment) external {
        (uint32 era, bool isOwner) = _checkMayGrant(node);
        Offer storage offer = _offers[node];
        uint8 flags = _grants[node][wallet].inForce(era).flags() & (isOwner ? DENIALS : DENIALS | DELEGATES);
        if (offer.publish != Mode.Closed) flags |= DENY_PUBLISH;
        if (offer.subscribe != Mode.Closed) flags |= DENY_SUBSCRIBE;
        _setGrant(node, wallet, pack(0, 0, flags | SUBTREE, reason).dated(era), commitment);
    }

    function _checkMayGrant(bytes32 node) private view returns (uint32 era, bool isOwner) {
        (Space storage entry, address owner_) = _registered(node);
        isOwner = owner_ == msg.sender;
        if (!isOwner && !_isDelegate(node, entry, DELEGATE_GRANT)) _refuse(node);
        era = _era(entry);
    }

    function _setGrant(bytes32 node, address wallet, Grant next, bytes32 commitment) private {
        // Where nothing follows from it, the slot is given back.
        _grants[node][wallet] = next.isEmpty() ? Grant.wrap(0) : next;
        _record(Granted.selector, abi.encode(node, wallet, next, commitment, msg.sender));
    }

    /// @inheritdoc IFlyTrap
    function grantOf(bytes32 node, address wallet) external view returns (Grant stored, uint64, uint64, uint8) {
        stored = _grants[node][wallet];
        Grant current = stored.inForce(_era(_spaces[node]));
        return (stored, current.publishUntil(), current.subscribeUntil(), current.flags());
    }

    // ---------------------------------------------------------------- the one algorithm

    /// @inheritdoc IFlyTrap
    function allowed(address wallet, Action action, string calldata topic, bool below)
        external
        view
        returns (Decision memory answer)
    {
        bytes32[] memory levels = Labels.levels(topic);
        if (levels.length == 0) revert BadTopic();
        if (bytes(topic)[0] == "$") return answer;
        address owner_ = address(0);
        bool denied = false;
        uint64 latest = 0;
        bytes32 node = 0;
        for (uint256 i = 0; i < levels.length; ++i) {
            node = Labels.node(node, levels[i]);
            Space storage entry = _spaces[node];
            if (entry.owner == address(0)) break;
            answer.node = node;
            if (entry.owner != owner_) {
                // What another owner gave or denied ends where a sold space begins.
                owner_ = entry.owner;
                denied = false;
                latest = 0;
                answer.countryPolicy = 0;
            }
            bytes32 policy = _countryPolicyOf(node, entry);
            if (policy != 0) answer.countryPolicy = policy;
            Grant own = _grants[node][wallet].inForce(_era(entry));
            if (own.flags() & SUBTREE != 0 || (i + 1 == levels.length && !below)) {
                denied = denied || own.denies(action);
                if (own.until(action) > latest) latest = own.until(action);
            }
        }
        (answer.why, answer.until) = _judge(wallet, action, answer.node, denied, latest);
        answer.permitted = answer.until != 0;
    }

    /// @dev The order of these questions is the rule. `until` 0: denied.
    function _judge(address wallet, Action action, bytes32 node, bool denied, uint64 latest)
        private
        view
        returns (Why, uint64 until)
    {
        Space storage entry = _spaces[node];
        if (node == 0) return (Why.NoSuchSpace, 0);
        if (entry.owner == wallet) return (Why.Owner, FOREVER);
        if (denied) return (Why.Denied, 0);
        if (latest > block.timestamp) return (Why.Grant, latest);
        until = _openUntil(entry, _offers[node], action);
        if (until > block.timestamp) return (Why.Open, until);
        return (latest != 0 ? Why.Expired : Why.NotGranted, 0);
    }

    /// @dev Publishing stays open as long as its fee is paid; subscribing costs the broker's owner nothing.
    function _openUntil(Space storage entry, Offer storage offer, Action action) private view returns (uint64) {
        if (action == Action.Subscribe) return offer.subscribe == Mode.Open ? FOREVER : 0;
        if (offer.publish != Mode.Open) return 0;
        return entry.openUntil == type(uint40).max ? FOREVER : entry.openUntil;
    }
}
