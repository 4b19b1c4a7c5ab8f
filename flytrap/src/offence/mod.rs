//! Misdeeds: what counts as one, how many are too many, and for how long that bans.
//!
//! Pure: time is passed in, as the time since some fixed moment of a clock that never jumps.

mod tracker;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use flytrap_common::abi::reason;

pub use tracker::{Sentence, Tracker};

/// One counted misdeed of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Offence {
    /// A login that isn't parsable or whose signature isn't valid.
    AuthFailed,
    /// A CONNECT of a proven wallet that the policy doesn't admit, or not with its will.
    AclDenied,
    /// Bytes that break the rules of MQTT.
    Malformed,
    /// A connection opened, and no CONNECT sent in time.
    HandshakeTimeout,
}

impl Offence {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::AuthFailed,
        Self::AclDenied,
        Self::Malformed,
        Self::HandshakeTimeout,
    ];

    /// Its name in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth-failed",
            Self::AclDenied => "acl-denied",
            Self::Malformed => "malformed",
            Self::HandshakeTimeout => "handshake-timeout",
        }
    }

    /// Its number in kernel maps and events, of [`flytrap_common::abi::reason`].
    pub fn code(self) -> u8 {
        match self {
            Self::AuthFailed => reason::AUTH_FAILED,
            Self::AclDenied => reason::ACL_DENIED,
            Self::Malformed => reason::MALFORMED,
            Self::HandshakeTimeout => reason::HANDSHAKE_TIMEOUT,
        }
    }

    /// The offence with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|offence| offence.code() == code)
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no kind of offence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no offence")]
pub struct UnknownOffence(pub String);

impl FromStr for Offence {
    type Err = UnknownOffence;

    fn from_str(text: &str) -> Result<Self, UnknownOffence> {
        Self::ALL
            .into_iter()
            .find(|offence| offence.as_str() == text)
            .ok_or_else(|| UnknownOffence(text.to_owned()))
    }
}

/// What a ban is for. Shown and stored as the offence's name, or `by-hand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule of the configuration was broken.
    Offence(Offence),
    /// An operator wants it.
    ByHand,
}

impl Reason {
    /// Every reason.
    pub fn all() -> impl Iterator<Item = Self> {
        let offences = Offence::ALL.into_iter().map(Self::Offence);
        offences.chain([Self::ByHand])
    }

    /// Its number in kernel maps and events, of [`flytrap_common::abi::reason`].
    pub fn code(self) -> u8 {
        match self {
            Self::Offence(offence) => offence.code(),
            Self::ByHand => reason::BY_HAND,
        }
    }

    /// The reason with this number. One that another version may have given reads as by hand.
    pub fn from_code(code: u8) -> Self {
        Offence::from_code(code).map_or(Self::ByHand, Self::Offence)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offence(offence) => offence.as_str(),
            Self::ByHand => "by-hand",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownOffence;

    fn from_str(text: &str) -> Result<Self, UnknownOffence> {
        match text {
            "by-hand" => Ok(Self::ByHand),
            _ => text.parse().map(Self::Offence),
        }
    }
}

/// How many of one offence are too many, and what they cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is counted.
    pub offence: Offence,
    /// This many are borne; the next one bans. Each takes memory: at most
    /// [`Rule::MORE_THAN_MAX`].
    pub more_than: u32,
    /// Whether a successful login of the source ends the row.
    pub consecutive: bool,
    /// Offences older than this no longer count. Within [`Rule::WINDOW`].
    pub window: Duration,
    /// How long the first ban lasts; each further one lasts twice as long as the last. From
    /// [`Rule::BAN_MIN`] to `ban_max`.
    pub ban: Duration,
    /// No ban lasts longer; after this long without ban and offence a source starts afresh. At
    /// most [`Rule::BAN_MAX`].
    pub ban_max: Duration,
}

impl Rule {
    /// The highest `more_than`.
    pub const MORE_THAN_MAX: u32 = 10_000;
    /// The shortest and the longest `window`.
    pub const WINDOW: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_hours(30 * 24);
    /// The shortest ban there is, by rule or by hand.
    pub const BAN_MIN: Duration = Duration::from_secs(1);
    /// The longest ban there is, by rule or by hand.
    pub const BAN_MAX: Duration = Duration::from_hours(400 * 24);

    /// How long a ban lasts after `before` earlier ones.
    fn duration(&self, before: u32) -> Duration {
        self.ban
            .saturating_mul(2_u32.saturating_pow(before))
            .min(self.ban_max)
    }
}

/// More than 5 failed logins in a row within an hour: 10 minutes, doubling up to a day.
impl Default for Rule {
    fn default() -> Self {
        Self {
            offence: Offence::AuthFailed,
            more_than: 5,
            consecutive: true,
            window: Duration::from_hours(1),
            ban: Duration::from_mins(10),
            ban_max: Duration::from_hours(24),
        }
    }
}

#[cfg(test)]
mod tests {
    use flytrap_common::abi::Outcome;

    use super::*;

    #[test]
    fn names_and_codes_are_stable_and_lead_back() {
        let names: Vec<_> = Reason::all().map(|o| (o.code(), o.as_str())).collect();
        assert_eq!(
            names,
            [
                (1, "auth-failed"),
                (2, "acl-denied"),
                (3, "malformed"),
                (5, "handshake-timeout"),
                (0, "by-hand"),
            ]
        );
        for reason in Reason::all() {
            assert_eq!(Reason::from_code(reason.code()), reason);
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert_eq!(Offence::from_code(reason::BY_HAND), None);
        assert_eq!(Reason::from_code(reason::RATE_EXCEEDED), Reason::ByHand);
        assert!("bad-hair".parse::<Reason>().is_err());
    }

    #[test]
    fn each_reason_has_a_counter_of_its_own_in_the_kernel() {
        for reason in Reason::all() {
            let counted = Outcome::of_ban(reason.code().into()).name();
            assert_eq!(counted, format!("drop_{reason}").replace('-', "_"));
        }
    }
}
