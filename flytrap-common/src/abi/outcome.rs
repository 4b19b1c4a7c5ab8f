//! What becomes of packets, and how it is counted.

use bytemuck::{Pod, Zeroable};

use super::reason;

/// Packets and bytes, link-layer header included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One CPU's counts, one field for each [`Outcome`], in its order. A struct and no array, because
/// `bpftool map dump` prints field names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Counters {
    /// Passed: no ban names the source.
    pub pass: Count,
    /// Passed: the allowlist names the source.
    pub pass_allowlisted: Count,
    /// Passed: neither IPv4 nor IPv6.
    pub pass_not_ip: Count,
    /// Passed: too short or too odd to have a source address, or ports where it should.
    pub pass_unparsed: Count,
    /// Answered with a SYN cookie.
    pub answer_cookie: Count,
    /// Dropped: banned by hand.
    pub drop_by_hand: Count,
    /// Dropped: banned for failed authentications.
    pub drop_auth_failed: Count,
    /// Dropped: banned for denied actions.
    pub drop_acl_denied: Count,
    /// Dropped: banned for malformed packets.
    pub drop_malformed: Count,
    /// Dropped: banned for exceeding a rate.
    pub drop_rate_exceeded: Count,
    /// Dropped: banned for handshakes that timed out.
    pub drop_handshake_timeout: Count,
    /// Dropped: banned for a reason that this program has no field for.
    pub drop_other: Count,
    /// Dropped: the source's country is blocked.
    pub drop_country: Count,
    /// Dropped: a first fragment without a whole TCP header.
    pub drop_tiny_fragment: Count,
    /// Dropped: more IPv6 extension headers than are followed.
    pub drop_header_chain: Count,
    /// Dropped: more new connections than one source may open.
    pub drop_source_limit: Count,
    /// Dropped: more new connections than all together may open.
    pub drop_total_limit: Count,
}

/// What became of a packet, and why. The number is the field's position in [`Counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Outcome {
    /// [`Counters::pass`]
    Pass,
    /// [`Counters::pass_allowlisted`]
    PassAllowlisted,
    /// [`Counters::pass_not_ip`]
    PassNotIp,
    /// [`Counters::pass_unparsed`]
    PassUnparsed,
    /// [`Counters::answer_cookie`]
    AnswerCookie,
    /// [`Counters::drop_by_hand`]
    DropByHand,
    /// [`Counters::drop_auth_failed`]
    DropAuthFailed,
    /// [`Counters::drop_acl_denied`]
    DropAclDenied,
    /// [`Counters::drop_malformed`]
    DropMalformed,
    /// [`Counters::drop_rate_exceeded`]
    DropRateExceeded,
    /// [`Counters::drop_handshake_timeout`]
    DropHandshakeTimeout,
    /// [`Counters::drop_other`]
    DropOther,
    /// [`Counters::drop_country`]
    DropCountry,
    /// [`Counters::drop_tiny_fragment`]
    DropTinyFragment,
    /// [`Counters::drop_header_chain`]
    DropHeaderChain,
    /// [`Counters::drop_source_limit`]
    DropSourceLimit,
    /// [`Counters::drop_total_limit`]
    DropTotalLimit,
}

impl Outcome {
    /// Every outcome, in the order of [`Counters`].
    pub const ALL: [Self; 17] = [
        Self::Pass,
        Self::PassAllowlisted,
        Self::PassNotIp,
        Self::PassUnparsed,
        Self::AnswerCookie,
        Self::DropByHand,
        Self::DropAuthFailed,
        Self::DropAclDenied,
        Self::DropMalformed,
        Self::DropRateExceeded,
        Self::DropHandshakeTimeout,
        Self::DropOther,
        Self::DropCountry,
        Self::DropTinyFragment,
        Self::DropHeaderChain,
        Self::DropSourceLimit,
        Self::DropTotalLimit,
    ];

    /// What a packet comes to that a ban with this [`reason`] drops.
    #[inline]
    pub const fn of_ban(reason: u32) -> Self {
        // Widened here and not narrowed there: the verifier follows this.
        match reason {
            r if r == reason::BY_HAND as u32 => Self::DropByHand,
            r if r == reason::AUTH_FAILED as u32 => Self::DropAuthFailed,
            r if r == reason::ACL_DENIED as u32 => Self::DropAclDenied,
            r if r == reason::MALFORMED as u32 => Self::DropMalformed,
            r if r == reason::RATE_EXCEEDED as u32 => Self::DropRateExceeded,
            r if r == reason::HANDSHAKE_TIMEOUT as u32 => Self::DropHandshakeTimeout,
            _ => Self::DropOther,
        }
    }

    /// Whether the packet was dropped.
    pub const fn is_drop(self) -> bool {
        self as u32 >= Self::DropByHand as u32
    }

    /// The name of its field in [`Counters`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::PassAllowlisted => "pass_allowlisted",
            Self::PassNotIp => "pass_not_ip",
            Self::PassUnparsed => "pass_unparsed",
            Self::AnswerCookie => "answer_cookie",
            Self::DropByHand => "drop_by_hand",
            Self::DropAuthFailed => "drop_auth_failed",
            Self::DropAclDenied => "drop_acl_denied",
            Self::DropMalformed => "drop_malformed",
            Self::DropRateExceeded => "drop_rate_exceeded",
            Self::DropHandshakeTimeout => "drop_handshake_timeout",
            Self::DropOther => "drop_other",
            Self::DropCountry => "drop_country",
            Self::DropTinyFragment => "drop_tiny_fragment",
            Self::DropHeaderChain => "drop_header_chain",
            Self::DropSourceLimit => "drop_source_limit",
            Self::DropTotalLimit => "drop_total_limit",
        }
    }
}

impl Counters {
    /// The fields in the order of [`Outcome::ALL`].
    pub fn counts(&self) -> &[Count; Outcome::ALL.len()] {
        bytemuck::cast_ref(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_names_its_own_field() {
        let mut counters = Counters::default();
        counters.pass.packets = 1;
        counters.pass_allowlisted.packets = 2;
        counters.pass_not_ip.packets = 3;
        counters.pass_unparsed.packets = 4;
        counters.answer_cookie.packets = 5;
        counters.drop_by_hand.packets = 6;
        counters.drop_auth_failed.packets = 7;
        counters.drop_acl_denied.packets = 8;
        counters.drop_malformed.packets = 9;
        counters.drop_rate_exceeded.packets = 10;
        counters.drop_handshake_timeout.packets = 11;
        counters.drop_other.packets = 12;
        counters.drop_country.packets = 13;
        counters.drop_tiny_fragment.packets = 14;
        counters.drop_header_chain.packets = 15;
        counters.drop_source_limit.packets = 16;
        counters.drop_total_limit.packets = 17;
        for (position, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, position);
            assert_eq!(counters.counts()[position].packets, position as u64 + 1);
            assert_eq!(outcome.is_drop(), outcome.name().starts_with("drop_"));
        }
    }

    #[test]
    fn every_reason_has_its_own_outcome() {
        for (code, outcome) in [
            (reason::BY_HAND, Outcome::DropByHand),
            (reason::AUTH_FAILED, Outcome::DropAuthFailed),
            (reason::ACL_DENIED, Outcome::DropAclDenied),
            (reason::MALFORMED, Outcome::DropMalformed),
            (reason::RATE_EXCEEDED, Outcome::DropRateExceeded),
            (reason::HANDSHAKE_TIMEOUT, Outcome::DropHandshakeTimeout),
            (6, Outcome::DropOther),
            (255, Outcome::DropOther),
        ] {
            assert_eq!(Outcome::of_ban(u32::from(code)), outcome);
        }
        assert_eq!(Outcome::of_ban(0x100), Outcome::DropOther);
    }
}
