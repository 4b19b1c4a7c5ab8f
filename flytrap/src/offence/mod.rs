//! Misdeeds: what counts as one, how many are too many, and for how long that bans.
//!
//! Pure: time is passed in, as the time since some fixed moment of a clock that never jumps.

mod tracker;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use tracker::{Sentence, Tracker};

/// One counted misdeed of a source.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Offence {
    /// A login that isn't parsable or whose signature isn't valid.
    AuthFailed,
    /// Something asked for that the policy doesn't permit.
    AclDenied,
    /// Bytes that break the rules of MQTT.
    Malformed,
    /// More than a limit lets through.
    RateExceeded,
    /// A connection opened, and no CONNECT sent in time.
    HandshakeTimeout,
}

impl Offence {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::AuthFailed,
        Self::AclDenied,
        Self::Malformed,
        Self::RateExceeded,
        Self::HandshakeTimeout,
    ];

    /// Its name in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth-failed",
            Self::AclDenied => "acl-denied",
            Self::Malformed => "malformed",
            Self::RateExceeded => "rate-exceeded",
            Self::HandshakeTimeout => "handshake-timeout",
        }
    }

    /// Its number in kernel maps: never 0, which is a ban by hand, and never changed.
    pub fn code(self) -> u8 {
        match self {
            Self::AuthFailed => 1,
            Self::AclDenied => 2,
            Self::Malformed => 3,
            Self::RateExceeded => 4,
            Self::HandshakeTimeout => 5,
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

/// How many of one offence are too many, and what they cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is counted.
    pub offence: Offence,
    /// This many are borne; the next one bans. At most [`Rule::MORE_THAN_MAX`].
    pub more_than: u32,
    /// Whether a successful login of the source ends the row.
    pub consecutive: bool,
    /// Offences older than this no longer count.
    pub window: Duration,
    /// How long the first ban lasts; each further one lasts twice as long as the last.
    pub ban: Duration,
    /// No ban lasts longer; after this long without ban and offence a source starts afresh.
    pub ban_max: Duration,
}

/// Why a rule makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// Each counted offence takes memory.
    #[error("`more_than` is at most {max}", max = Rule::MORE_THAN_MAX)]
    MoreThan,
    /// Nothing would ever be counted.
    #[error("`window` must be longer than 0")]
    Window,
    /// The kernel and the database count bans in seconds.
    #[error("`ban` must be at least 1 s and at most `ban_max`")]
    Ban,
    /// Deadlines must stay representable.
    #[error("`ban_max` is at most 3650 days")]
    BanMax,
}

impl Rule {
    /// The highest `more_than`.
    pub const MORE_THAN_MAX: u32 = 10_000;
    /// The highest `ban_max`, and the longest ban there is.
    pub const BAN_MAX: Duration = Duration::from_hours(3_650 * 24);

    /// # Errors
    /// What makes no sense in it.
    pub fn check(&self) -> Result<(), BadRule> {
        if self.more_than > Self::MORE_THAN_MAX {
            Err(BadRule::MoreThan)
        } else if self.window.is_zero() {
            Err(BadRule::Window)
        } else if self.ban < Duration::from_secs(1) || self.ban > self.ban_max {
            Err(BadRule::Ban)
        } else if self.ban_max > Self::BAN_MAX {
            Err(BadRule::BanMax)
        } else {
            Ok(())
        }
    }

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
    use super::*;

    #[test]
    fn names_and_codes_are_stable_and_lead_back() {
        let names: Vec<_> = Offence::ALL
            .iter()
            .map(|o| (o.code(), o.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                (1, "auth-failed"),
                (2, "acl-denied"),
                (3, "malformed"),
                (4, "rate-exceeded"),
                (5, "handshake-timeout"),
            ]
        );
        for offence in Offence::ALL {
            assert_eq!(Offence::from_code(offence.code()), Some(offence));
            assert_eq!(offence.as_str().parse(), Ok(offence));
            assert_eq!(
                serde_json::to_string(&offence).unwrap(),
                format!("\"{offence}\"")
            );
        }
        assert_eq!(Offence::from_code(0), None);
        assert!("bad-hair".parse::<Offence>().is_err());
    }

    #[test]
    fn rules_without_sense_are_refused() {
        let rule = Rule::default();
        assert_eq!(rule.check(), Ok(()));
        let zero = Duration::ZERO;
        for (bad, why) in [
            (
                Rule {
                    more_than: u32::MAX,
                    ..rule
                },
                BadRule::MoreThan,
            ),
            (
                Rule {
                    window: zero,
                    ..rule
                },
                BadRule::Window,
            ),
            (Rule { ban: zero, ..rule }, BadRule::Ban),
            (
                Rule {
                    ban_max: Duration::from_secs(599),
                    ..rule
                },
                BadRule::Ban,
            ),
            (
                Rule {
                    ban_max: Duration::MAX,
                    ..rule
                },
                BadRule::BanMax,
            ),
        ] {
            assert_eq!(bad.check(), Err(why));
        }
    }
}
