//! Who may do what: a pure function of an immutable snapshot, the principal, the action and the
//! time. No IO, no logging, no clock. `docs/policy.md` tells it in plain words.

mod covers;
mod decide;
mod snapshot;

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod oracle_tests;

use std::fmt;

use crate::types::UnixTime;

pub use covers::covers;
pub use decide::decide;
pub use snapshot::{Admit, Inconsistent, Snapshot, SnapshotBuilder};

/// The answer to one action of one principal at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// It may.
    Permit {
        /// What permits it; for a filter with wildcards, what permits the levels before them.
        why: Why,
        /// The permit holds while the time is before this, with the same snapshot. `None`: as
        /// long as the snapshot.
        until: Option<UnixTime>,
    },
    /// It may not.
    Deny {
        /// What stands against it.
        reason: DenyReason,
    },
}

impl Decision {
    /// Whether it permits.
    pub fn is_permit(self) -> bool {
        matches!(self, Self::Permit { .. })
    }
}

/// `permit (grant) until 2027-01-01T00:00:00Z: …` or `deny (not-granted): …`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permit { why, until: None } => write!(f, "permit ({}): {why}", why.as_str()),
            Self::Permit {
                why,
                until: Some(until),
            } => write!(f, "permit ({}) until {until}: {why}", why.as_str()),
            Self::Deny { reason } => write!(f, "deny ({}): {reason}", reason.as_str()),
        }
    }
}

/// A closed set of causes: each with a stable name for logs and metrics, and a sentence.
macro_rules! causes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $short:literal, $sentence:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $short)] $variant,)*
        }

        impl $name {
            /// Every one there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its stable name in logs, metrics and JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $short,)*
                }
            }
        }

        /// One plain sentence, without a full stop.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $sentence,)*
                })
            }
        }
    };
}

causes! {
    /// What permits an action.
    Why {
        /// The wallet owns the topic space; for `Connect`: any.
        Owner = "owner", "the wallet owns the topic space";
        /// A grant that hasn't expired.
        Grant = "grant", "the wallet has a grant";
        /// The mode of the topic space is open; for `Connect`: of any.
        Open = "open", "the topic space is open to every wallet";
        /// The configuration names the wallet for a `$` topic.
        DollarTopics = "dollar-topics", "the configuration's [dollar_topics] name the wallet";
        /// The configuration admits wallets without any right (`admit = "any"`).
        AdmitAny = "admit-any", "the configuration admits every wallet";
    }
}

causes! {
    /// What stands against an action.
    DenyReason {
        /// No topic space that this gateway serves holds the topic.
        NoSuchSpace = "no-such-space", "no topic space served here holds the topic";
        /// Nothing gives the wallet the right.
        NotGranted = "not-granted", "the wallet has no grant for it and the topic space is not open";
        /// The wallet had the right; its grant ran out.
        Expired = "expired", "the wallet's grant has expired";
        /// The owner denies it to the wallet, which beats every grant.
        Denied = "denied", "the topic space's owner denies it to the wallet";
        /// The wallet has rights, but the filter matches more than they reach.
        NotCovered = "not-covered", "the filter matches more than the wallet may receive";
        /// A `$` topic for which the configuration doesn't name the wallet.
        DollarTopic = "dollar-topic", "the configuration's [dollar_topics] do not name the wallet for this $ topic";
        /// The device key that acts is not in the ledger any more, or has expired.
        DeviceKey = "device-key", "the device key was removed or has expired";
        /// The wallet may, but its device key is confined to a topic space that doesn't hold it.
        OutsideScope = "outside-scope", "the device key is confined to another topic space";
        /// `Connect` of a wallet that owns nothing, has no grant, and finds no open space.
        NotAdmitted = "not-admitted", "the wallet owns no topic space, has no grant, and no topic space is open";
    }
}
