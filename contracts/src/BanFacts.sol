// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// What there is to say about a ban in few bits. From the lowest bit:
///
///     8 bits   prefix length of the address, as IPv6 (IPv4 counts from 96), 0 to 128
///     16 bits  code of the reason
///     32 bits  0: the ban's `target` is a salted commitment; else the fleet's key that it is sealed under
///     40 bits  unix second at which the ban ends
type BanFacts is uint96;

using {prefixLength, until} for BanFacts global;

function packFacts(uint40 until_, uint32 keyId, uint16 reason, uint8 prefixLength_) pure returns (BanFacts) {
    return BanFacts.wrap(uint96(until_) << 56 | uint96(keyId) << 24 | uint96(reason) << 8 | prefixLength_);
}

function prefixLength(BanFacts f) pure returns (uint8) {
    return uint8(BanFacts.unwrap(f));
}

function until(BanFacts f) pure returns (uint256) {
    return BanFacts.unwrap(f) >> 56;
}
