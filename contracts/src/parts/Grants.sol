// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IFlyTrap} from "../IFlyTrap.sol";
import {Action, Decision, FOREVER, Flags, Grant, GrantInput, Mode, Offer, Space, Why} from "../Types.sol";
import {Labels} from "./Labels.sol";
import {Spaces} from "./Spaces.sol";

/// @dev Who may what: grants, and the one algorithm over them.
abstract contract Grants is Spaces {
    /// @inheritdoc IFlyTrap
    function grant(bytes32 node, GrantInput[] calldata grants) external payable {
        Space storage entry = _registered(node);
        bool isOwner = _checkMayGrant(node, entry);
        uint256 newPublishers = 0;
        for (uint256 i = 0; i < grants.length; ++i) {
            GrantInput calldata input = grants[i];
            if (input.wallet == address(0)) revert ZeroAddress();
            if (input.flags & ~Flags.ALL != 0) revert BadFlags(input.flags);
            Grant memory old = _inForce(_grants[node][input.wallet], entry);
            // Else one delegate could make others that outlive it.
            if (!isOwner && (old.flags ^ input.flags) & Flags.DELEGATES != 0) {
                revert OnlyOwnerDelegates(node, input.wallet);
            }
            if (!_canPublish(old.flags, old.publishUntil) && _canPublish(input.flags, input.publishUntil)) {
                ++newPublishers;
            }
            old.publishUntil = input.publishUntil;
            old.subscribeUntil = input.subscribeUntil;
            old.flags = input.flags;
            _setGrant(node, input.wallet, old, input.reason, input.commitment);
        }
        _due(newPublishers * _settings.fees.publish);
    }

    /// @inheritdoc IFlyTrap
    function revoke(bytes32 node, address wallet, uint16 reason, bytes32 commitment) external {
        Space storage entry = _registered(node);
        bool isOwner = _checkMayGrant(node, entry);
        Grant memory old = _inForce(_grants[node][wallet], entry);
        Offer storage offer = _offers[node];
        uint8 flags = old.flags & (isOwner ? Flags.DENIALS : Flags.DENIALS | Flags.DELEGATES);
        if (offer.publish != Mode.Closed) flags |= Flags.DENY_PUBLISH;
        if (offer.subscribe != Mode.Closed) flags |= Flags.DENY_SUBSCRIBE;
        if (flags & Flags.DENIALS != 0) flags |= Flags.SUBTREE;
        old.publishUntil = 0;
        old.subscribeUntil = 0;
        old.flags = flags;
        _setGrant(node, wallet, old, reason, commitment);
    }

    function _checkMayGrant(bytes32 node, Space storage entry) private view returns (bool isOwner) {
        isOwner = entry.owner == msg.sender;
        if (!isOwner && !_isDelegate(node, entry, Flags.DELEGATE_GRANT)) _refuse(node);
    }

    function _canPublish(uint8 flags, uint64 until) private view returns (bool) {
        return flags & Flags.DENY_PUBLISH == 0 && until > block.timestamp;
    }

    function _setGrant(bytes32 node, address wallet, Grant memory what, uint16 reason, bytes32 commitment) private {
        // Nothing left to say: the slot is given back.
        if (what.publishUntil | what.subscribeUntil | what.flags == 0) (what.epoch, what.tenure) = (0, 0);
        _store(node, wallet, what);
        _record(
            Granted.selector,
            abi.encode(
                node, wallet, what.publishUntil, what.subscribeUntil, what.flags, reason, commitment, msg.sender
            )
        );
    }

    function _store(bytes32 node, address wallet, Grant memory what) internal {
        _grants[node][wallet] = what;
    }

    /// @dev What still counts of a grant after changes of epoch and owner, dated as of now.
    function _inForce(Grant storage stored, Space storage entry) internal view returns (Grant memory current) {
        current = stored;
        uint24 epoch = entry.epoch;
        uint16 tenure = entry.tenure;
        if (current.epoch != epoch) {
            current.publishUntil = 0;
            current.subscribeUntil = 0;
            // A denial isn't a right: to end it with the epoch would let those back in who were shut out.
            current.flags &= ~Flags.DELEGATES;
            current.epoch = epoch;
        }
        if (current.tenure != tenure) {
            current.flags &= ~Flags.DELEGATES;
            current.tenure = tenure;
        }
    }

    /// @inheritdoc IFlyTrap
    function grantOf(bytes32 node, address wallet) external view returns (uint64, uint64, uint8) {
        Grant memory current = _inForce(_grants[node][wallet], _spaces[node]);
        return (current.publishUntil, current.subscribeUntil, current.flags);
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
        address owner_;
        bool denied;
        uint64 latest;
        bytes32 node;
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
            bytes32 policy = _countryPolicyOf[node];
            if (policy != 0) answer.countryPolicy = policy;
            Grant memory own = _inForce(_grants[node][wallet], entry);
            bool reaches = own.flags & Flags.SUBTREE != 0 || (i + 1 == levels.length && !below);
            if (reaches) {
                if (own.flags & Flags.denial(action) != 0) denied = true;
                uint64 until = action == Action.Publish ? own.publishUntil : own.subscribeUntil;
                if (until > latest) latest = until;
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
