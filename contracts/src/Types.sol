// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {BanFacts} from "./BanFacts.sol";
import {Grant} from "./Grant.sol";

/// What a right is about. To be delivered a message takes the right to subscribe.
enum Action {
    Publish,
    Subscribe
}

/// Who holds a right in a topic space without being named by its owner.
enum Mode {
    /// Nobody.
    Closed,
    /// Who buys it. A price of 0 is enrolment for free, on the record.
    Priced,
    /// Every wallet that isn't denied it.
    Open
}

/// What decided.
enum Why {
    /// Denied: topics that begin with `$` are the gateway configuration's business.
    DollarTopic,
    /// Denied: no registered space holds the topic.
    NoSuchSpace,
    /// Denied: a denial reaches the topic.
    Denied,
    /// Denied: a grant that reaches the topic has run out.
    Expired,
    /// Denied: nothing gives the right.
    NotGranted,
    /// Permitted: the wallet owns the space.
    Owner,
    /// Permitted: a grant.
    Grant,
    /// Permitted: the space is open.
    Open
}

/// The answer to "may this wallet do this there?".
struct Decision {
    bool permitted;
    Why why;
    /// First second (unix) at which the answer may be another without any event; `FOREVER`: none. 0 if denied.
    uint64 until;
    /// The registered space that holds the topic; 0: none.
    bytes32 node;
    /// The country policy in force there; 0: every country. The gateway applies it, and bans.
    bytes32 countryPolicy;
}

/// What the owner of a topic space asks of those who want to use it.
struct Terms {
    Mode publish;
    Mode subscribe;
    /// Gateways keep summaries, wait for finality and serve nothing stale.
    bool sensitive;
    /// Wei for each period; of no effect unless the mode is `Priced`.
    uint88 publishPrice;
    uint88 subscribePrice;
    /// Seconds; 0: bought once and for ever.
    uint32 publishPeriod;
    uint32 subscribePeriod;
    /// Id of a stored policy; 0: that of the space around it.
    bytes32 countryPolicy;
}

/// What is to become of one wallet's grant. Replaces what was there.
struct GrantInput {
    address wallet;
    Grant grant;
    /// keccak256(salt, text of the reason); 0: none.
    bytes32 commitment;
}

/// What the broker's owner takes.
struct Fees {
    /// Wei for each space that somebody registers below an opened root.
    uint96 create;
    /// Wei for each bought publish right, each new publish grant, and each period of open publishing.
    uint96 publish;
    /// Seconds that one `publish` fee keeps open publishing open.
    uint32 openPeriod;
    /// Share of sales in hundredths of a per cent; at most `MAX_SALE_BPS`.
    uint16 saleBps;
}

/// All that a buyer relies on: `termsHash` is keccak256(abi.encode(this)).
struct SaleTerms {
    bytes32 node;
    Action action;
    address owner;
    uint16 epoch;
    Mode mode;
    uint256 price;
    uint32 period;
    bytes32 countryPolicy;
    /// Flat, for each purchase.
    uint256 fee;
    uint16 saleBps;
}

/// A wallet or an address that a gateway shut out.
struct Ban {
    /// 0: an address alone.
    address wallet;
    /// Until when at most `MAX_BAN` ahead, why, and what `target` is.
    BanFacts facts;
    /// Commitment to, or ciphertext of, an address; 0: a wallet alone.
    bytes32 target;
    /// keccak256 of the evidence that the gateway keeps.
    bytes32 evidence;
}

/// What happened in one sensitive topic space within an anchored window.
struct Summary {
    bytes32 node;
    uint256 wallets;
    uint256 messages;
    uint256 denials;
    /// Merkle root over this space's records alone.
    bytes32 root;
}

/// The first storage slot of a space: what grants look at.
struct Space {
    address owner;
    /// Counts owners, so that delegates of the last one are none of the next.
    uint16 tenure;
    /// Raised to end all grants at once.
    uint16 epoch;
    /// Open publishing is paid until then (unix seconds).
    uint40 openUntil;
    bool sensitive;
    /// Anybody may register below, for the create fee.
    bool openBelow;
    /// It has a country policy of its own.
    bool countries;
}

/// The second storage slot of a space: what buyers look at.
struct Offer {
    uint88 publishPrice;
    uint88 subscribePrice;
    uint32 publishPeriod;
    uint32 subscribePeriod;
    Mode publish;
    Mode subscribe;
}

// An end that never comes.
uint64 constant FOREVER = type(uint64).max;

// Largest share of sales, in hundredths of a per cent.
uint16 constant MAX_SALE_BPS = 2000;
// Between announcing fees and their earliest force.
uint64 constant FEE_DELAY = 7 days;
// Between announcing a successor and its time.
uint64 constant SUCCESSOR_DELAY = 30 days;
// In which an owner can stop the administrator from reclaiming his space.
uint64 constant RECLAIM_DELAY = 180 days;
// Longest ban.
uint64 constant MAX_BAN = 30 days;
// How far a time may lie ahead of the chain's clock.
uint64 constant MAX_SKEW = 300;
