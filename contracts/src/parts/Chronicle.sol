// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IFlyTrap} from "../IFlyTrap.sol";

/// @dev The events' sequence and rolling head, in one slot: a mirror proves with it that it lost nothing.
abstract contract Chronicle is IFlyTrap {
    uint256 private constant SEQ = type(uint64).max;

    /// @dev head (24 bytes), seq (8 bytes)
    bytes32 private _log;

    /// @inheritdoc IFlyTrap
    function head() public view returns (bytes24 hash, uint64 seq) {
        return (bytes24(_log), uint64(uint256(_log)));
    }

    /// @dev Emits the event of this topic with the next number. `data`: its other arguments, abi-encoded.
    function _record(bytes32 topic, bytes memory data) internal {
        // The number can't overflow into the head within the chain's life.
        uint256 next = uint256(_log) + 1;
        uint256 hash = uint256(keccak256(abi.encode(next, topic, keccak256(data))));
        next &= SEQ;
        _log = bytes32(hash & ~SEQ | next);
        assembly ("memory-safe") {
            log2(add(data, 0x20), mload(data), topic, next)
        }
    }
}
