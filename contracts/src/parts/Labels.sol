// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @dev Names of topic spaces: a tree of hashes over labels.
library Labels {
    uint256 private constant MAX_BYTES = 64;

    /// @dev As in ENS: parent and label hash, hashed.
    function node(bytes32 parent, bytes32 labelHash) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            mstore(0, parent)
            mstore(0x20, labelHash)
            result := keccak256(0, 0x40)
        }
    }

    /// @dev Whether a level of a topic can be a space: what could be mistaken for a filter, a path or a `$` topic
    /// can't.
    function valid(string calldata label) internal pure returns (bool) {
        bytes calldata text = bytes(label);
        if (text.length == 0 || text.length > MAX_BYTES || text[0] == "$") return false;
        for (uint256 i = 0; i < text.length; ++i) {
            bytes1 c = text[i];
            if (c == "/" || c == "+" || c == "#" || c == 0) return false;
        }
        return true;
    }

    /// @dev A hash hides its label, but levels that are wildcards, or empty, have known hashes.
    function validHash(bytes32 labelHash) internal pure returns (bool) {
        return labelHash != keccak256("") && labelHash != keccak256("+") && labelHash != keccak256("#");
    }

    /// @dev The hashes of a topic's levels; none if the topic is empty or has wildcards.
    function levels(string calldata topic) internal pure returns (bytes32[] memory hashes) {
        bytes calldata text = bytes(topic);
        uint256 count = text.length == 0 ? 0 : 1;
        for (uint256 i = 0; i < text.length; ++i) {
            if (text[i] == "+" || text[i] == "#") return hashes;
            if (text[i] == "/") ++count;
        }
        hashes = new bytes32[](count);
        uint256 start = 0;
        for (uint256 n = 0; n < count; ++n) {
            uint256 end = start;
            while (end < text.length && text[end] != "/") ++end;
            hashes[n] = keccak256(text[start:end]);
            start = end + 1;
        }
    }
}
