// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {IFlyTrap} from "../IFlyTrap.sol";
import {Ban, MAX_BAN, MAX_SKEW, Summary} from "../Types.sol";
import {Roles} from "./Roles.sol";

/// @dev What gateways put on record: bans and anchors, in events alone.
abstract contract Gateways is Roles {
    struct Anchor {
        uint64 window;
        uint64 to;
    }

    mapping(address gateway => Anchor) private _anchors;

    /// @inheritdoc IFlyTrap
    function reportBans(Ban[] calldata bans) external onlyRole(GATEWAY) {
        for (uint256 i = 0; i < bans.length; ++i) {
            Ban calldata ban = bans[i];
            uint256 until = ban.facts.until();
            bool timely = until > block.timestamp && until <= _in(MAX_BAN);
            bool aimed = ban.target != 0 || ban.wallet != address(0);
            if (!timely || !aimed || ban.facts.prefixLength() > 128) revert BadBan(i);
            _record(BanReported.selector, abi.encode(msg.sender, ban));
        }
    }

    /// @inheritdoc IFlyTrap
    function liftBans(address gateway, uint256[] calldata bans) external {
        bool own = gateway == msg.sender && hasRole(GATEWAY, gateway);
        if (!own && !hasRole(GUARDIAN, msg.sender)) revert NotYourBans(gateway);
        _record(BansLifted.selector, abi.encode(gateway, bans, msg.sender));
    }

    /// @inheritdoc IFlyTrap
    function anchor(uint64 window, bytes32 root, uint32 count, uint64 from, uint64 to, Summary[] calldata summaries)
        external
        onlyRole(GATEWAY)
    {
        Anchor memory last = _anchors[msg.sender];
        bool continues = window == last.window + 1 && (from == last.to || last.window == 0);
        if (!continues || to <= from || to > _in(MAX_SKEW)) revert BadAnchor(last.window + 1, last.to);
        _anchors[msg.sender] = Anchor(window, to);
        _record(Anchored.selector, abi.encode(msg.sender, window, root, count, from, to, summaries));
    }

    /// @inheritdoc IFlyTrap
    function verifyInclusion(
        bytes32 root,
        address gateway,
        uint64 window,
        uint32 index,
        bytes32 record,
        bytes32[] calldata proof
    ) external pure returns (bool) {
        // Hashed twice, so that no inner node of a tree passes for a leaf.
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(gateway, window, index, record))));
        return MerkleProof.verifyCalldata(proof, root, leaf);
    }

    /// @inheritdoc IFlyTrap
    function lastAnchor(address gateway) external view returns (uint64, uint64) {
        return (_anchors[gateway].window, _anchors[gateway].to);
    }
}
