// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Action} from "./Types.sol";

/// One wallet's grant in one space, in one word: as it is given, stored and told in events. From the lowest bit:
///
///     8 bits   flags, below
///     16 bits  tenure  } of the space when it was written; 0 when given
///     16 bits  epoch   }
///     16 bits  code of the reason, of the operator's catalogue; never personal
///     64 bits  unix second at which the right to subscribe ends; 0: none, all ones: for ever
///     64 bits  the same for the right to publish
///     72 bits  0
type Grant is uint256;

using {
    flags,
    era,
    publishUntil,
    subscribeUntil,
    until,
    with,
    denies,
    live,
    isValid,
    isEmpty,
    inForce,
    dated
} for Grant global;

// Must not publish, whatever else permits it. Denials survive epochs: they are no rights.
uint8 constant DENY_PUBLISH = 1;
// Must not subscribe.
uint8 constant DENY_SUBSCRIBE = 2;
// Rights and denials are for everything below as well, not for the space's own name alone.
uint8 constant SUBTREE = 4;
// May set grants in this space, but make no delegates.
uint8 constant DELEGATE_GRANT = 8;
// May register spaces below, for this space's owner.
uint8 constant DELEGATE_REGISTER = 16;

uint8 constant DENIALS = DENY_PUBLISH | DENY_SUBSCRIBE;
uint8 constant DELEGATES = DELEGATE_GRANT | DELEGATE_REGISTER;

uint256 constant ERA = uint256(type(uint32).max) << 8;
uint256 constant RIGHTS = uint256(type(uint128).max) << 56;
uint256 constant REASON = uint256(type(uint16).max) << 40;

function pack(uint64 publishUntil_, uint64 subscribeUntil_, uint8 flags_, uint16 reason) pure returns (Grant) {
    return Grant.wrap(
        uint256(publishUntil_) << 120 | uint256(subscribeUntil_) << 56 | uint256(reason) << 40 | uint256(flags_)
    );
}

function eraOf(uint16 epoch, uint16 tenure) pure returns (uint32) {
    return uint32(epoch) << 16 | tenure;
}

function flags(Grant g) pure returns (uint8) {
    return uint8(Grant.unwrap(g));
}

/// Epoch and tenure.
function era(Grant g) pure returns (uint32) {
    return uint32(Grant.unwrap(g) >> 8);
}

function publishUntil(Grant g) pure returns (uint64) {
    return uint64(Grant.unwrap(g) >> 120);
}

function subscribeUntil(Grant g) pure returns (uint64) {
    return uint64(Grant.unwrap(g) >> 56);
}

function until(Grant g, Action action) pure returns (uint64) {
    return uint64(Grant.unwrap(g) >> _shift(action));
}

/// The same with another end of one right, and with more flags.
function with(Grant g, Action action, uint64 end, uint8 more) pure returns (Grant) {
    uint256 shift = _shift(action);
    uint256 others = Grant.unwrap(g) & ~(uint256(type(uint64).max) << shift);
    return Grant.wrap(others | uint256(end) << shift | more);
}

function denies(Grant g, Action action) pure returns (bool) {
    return Grant.unwrap(g) & (action == Action.Publish ? DENY_PUBLISH : DENY_SUBSCRIBE) != 0;
}

/// Whether it gives the right now.
function live(Grant g, Action action) view returns (bool) {
    return !g.denies(action) && g.until(action) > block.timestamp;
}

/// Whether it can be given: no other bits than those of rights, reason and known flags.
function isValid(Grant g) pure returns (bool) {
    return Grant.unwrap(g) & ~(RIGHTS | REASON | DENIALS | SUBTREE | DELEGATES) == 0;
}

/// Whether nothing follows from it.
function isEmpty(Grant g) pure returns (bool) {
    return Grant.unwrap(g) & (RIGHTS | DENIALS | DELEGATES) == 0;
}

/// What still counts of it in an era of its space.
function inForce(Grant g, uint32 now_) pure returns (Grant) {
    uint256 word = Grant.unwrap(g);
    uint256 changed = g.era() ^ now_;
    if (changed == 0) return g;
    // Delegates were the choice of another owner, or ended with the epoch.
    word &= ~uint256(DELEGATES);
    if (changed >> 16 != 0) word &= ~RIGHTS;
    return Grant.wrap(word).dated(now_);
}

function dated(Grant g, uint32 now_) pure returns (Grant) {
    return Grant.wrap(Grant.unwrap(g) & ~ERA | uint256(now_) << 8);
}

function _shift(Action action) pure returns (uint256) {
    return action == Action.Publish ? 120 : 56;
}
