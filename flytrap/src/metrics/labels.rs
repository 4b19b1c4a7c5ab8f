//! The closed sets of words that labels come from. Logs use the same ones.

use flytrap_common::abi::Outcome;

/// The decisions.
pub(crate) const PERMIT: &str = "permit";
pub(crate) const DENY: &str = "deny";
pub(super) const DECISIONS: [&str; 2] = [PERMIT, DENY];

/// Who placed a ban.
pub(crate) const BY_RULE: &str = "auto";
pub(crate) const BY_OPERATOR: &str = "operator";

/// What the kernel was asked for when it refused.
pub(crate) const KERNEL_BAN: &str = "ban";
pub(crate) const KERNEL_LIFT: &str = "lift";
pub(crate) const KERNEL_LIST: &str = "list";
pub(super) const KERNEL_REQUESTS: [&str; 3] = [KERNEL_BAN, KERNEL_LIFT, KERNEL_LIST];

/// Why the kernel drops a packet.
pub(super) fn drops() -> impl Iterator<Item = &'static str> {
    let drops = Outcome::ALL.into_iter().filter(|outcome| outcome.is_drop());
    drops.map(Outcome::name)
}

/// The result of a CONNECT that was let in.
pub(crate) const LOGIN_OK: &str = "ok";

/// Why a connection was closed at accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// The source is banned.
    Banned,
    /// The gateway holds as many connections as it may.
    TotalLimit,
    /// The source holds as many connections as one may.
    AddressLimit,
}

impl ConnectionRefusal {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Banned, Self::TotalLimit, Self::AddressLimit];

    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::TotalLimit => "total-limit",
            Self::AddressLimit => "address-limit",
        }
    }
}

/// Which kind of refusal a CONNECT met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No valid proof of the wallet's key: an offence.
    AuthFailed,
    /// A valid signature that no longer, not yet or not here counts.
    TokenStale,
    /// A proven wallet that the policy doesn't admit.
    NotAdmitted,
    /// A protocol version or an extension that the gateway doesn't speak.
    Unsupported,
    /// The broker couldn't be reached or refused.
    Unavailable,
}

impl RefusalKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::AuthFailed,
        Self::TokenStale,
        Self::NotAdmitted,
        Self::Unsupported,
        Self::Unavailable,
    ];

    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth-failed",
            Self::TokenStale => "token-stale",
            Self::NotAdmitted => "not-admitted",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
        }
    }
}
