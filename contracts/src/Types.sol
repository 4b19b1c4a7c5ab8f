// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

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
    /// Unix seconds; the right ends when the clock reaches it. 0: no right; `FOREVER`: no end.
    uint64 publishUntil;
    uint64 subscribeUntil;
    /// See `Flags`.
    uint8 flags;
    /// A code of the operator's catalogue; never personal.
    uint16 reason;
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
    uint24 epoch;
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
    /// Unix seconds; in the future, at most `MAX_BAN` ahead.
    uint64 until;
    uint16 reason;
    /// Of the address, as IPv6 (IPv4 counts from 96), 0 to 128.
    uint8 prefixLength;
    /// 0: `target` is a salted commitment; else the fleet's key that `target` is sealed under.
    uint32 keyId;
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
    /// Raised to end all grants at once.
    uint24 epoch;
    /// Counts owners, so that delegates of the last one are none of the next.
    uint16 tenure;
    /// Open publishing is paid until then (unix seconds).
    uint40 openUntil;
    bool sensitive;
    /// Anybody may register below, for the create fee.
    bool openBelow;
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

/// The one storage slot of a grant.
struct Grant {
    uint64 publishUntil;
    uint64 subscribeUntil;
    uint24 epoch;
    uint16 tenure;
    uint8 flags;
}

/// Flags of a grant.
library Flags {
    /// Must not publish, whatever else permits it. Survives epochs; only a new grant lifts it.
    uint8 internal constant DENY_PUBLISH = 1;
    /// Must not subscribe; as above.
    uint8 internal constant DENY_SUBSCRIBE = 2;
    /// Grants and denials are for everything below as well, not for the space's own name alone.
    uint8 internal constant SUBTREE = 4;
    /// May set grants in this space, but make no delegates.
    uint8 internal constant DELEGATE_GRANT = 8;
    /// May register spaces below, for this space's owner.
    uint8 internal constant DELEGATE_REGISTER = 16;

    uint8 internal constant DENIALS = DENY_PUBLISH | DENY_SUBSCRIBE;
    uint8 internal constant DELEGATES = DELEGATE_GRANT | DELEGATE_REGISTER;
    uint8 internal constant ALL = DENIALS | SUBTREE | DELEGATES;

    function denial(Action action) internal pure returns (uint8) {
        return action == Action.Publish ? DENY_PUBLISH : DENY_SUBSCRIBE;
    }
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
