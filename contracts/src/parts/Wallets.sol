// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IFlyTrap} from "../IFlyTrap.sol";
import {MAX_SKEW} from "../Types.sol";
import {Gateways} from "./Gateways.sol";
import {Spaces} from "./Spaces.sol";

/// @dev What a wallet says about its own logins, in events alone: a key id names its wallet, so there is nothing to
/// look up.
abstract contract Wallets is Spaces, Gateways {
    /// @inheritdoc IFlyTrap
    function setDeviceKey(uint8 kind, uint64 until, bytes calldata publicKey, bytes32 scope)
        external
        returns (bytes32 keyId)
    {
        if (until <= block.timestamp) revert BadDeviceKey();
        if (scope != 0) _registered(scope);
        keyId = _keyId(kind, publicKey);
        _record(DeviceKeySet.selector, abi.encode(msg.sender, keyId, kind, until, publicKey, scope));
    }

    /// @inheritdoc IFlyTrap
    function removeDeviceKey(uint8 kind, bytes calldata publicKey) external {
        _record(DeviceKeyRemoved.selector, abi.encode(msg.sender, _keyId(kind, publicKey)));
    }

    function _keyId(uint8 kind, bytes calldata publicKey) private view returns (bytes32) {
        bool compressed = kind == 4 || kind == 5;
        if (compressed) {
            if (publicKey.length != 33 || (publicKey[0] != 0x02 && publicKey[0] != 0x03)) revert BadDeviceKey();
        } else if ((kind != 6 && kind != 7) || publicKey.length != 32) {
            revert BadDeviceKey();
        }
        return keccak256(abi.encodePacked(kind, msg.sender, publicKey));
    }

    /// @inheritdoc IFlyTrap
    function revokeTokensBefore(uint64 time) external {
        uint64 latest = _in(MAX_SKEW);
        if (time > latest) revert BadTime(latest);
        _record(TokensRevoked.selector, abi.encode(msg.sender, time));
    }
}
