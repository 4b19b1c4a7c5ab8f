//! Bans as they are shown and stored.

use std::fmt;
use std::str::FromStr;

use crate::offence::{Offence, UnknownOffence};
use crate::types::{Prefix, UnixTime};

/// How a source stands with the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing is known against it, or it is on the allowlist.
    Welcome,
    /// It is served slowly: it went too far, but a proven session of it is alive.
    Throttled,
    /// It is kept out.
    Banned,
}

impl Standing {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Throttled => "throttled",
            Self::Banned => "banned",
        }
    }
}

/// What a ban is for. Shown and stored as the offence's name, or `by-hand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Reason {
    /// A rule of the configuration was broken.
    Offence(Offence),
    /// An operator wants it.
    ByHand,
}

impl Reason {
    /// Its number in kernel maps: [`Offence::code`], or 0 for by hand.
    pub fn code(self) -> u8 {
        match self {
            Self::Offence(offence) => offence.code(),
            Self::ByHand => 0,
        }
    }

    /// The reason with this number. One that a later version may have given reads as by hand.
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

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.as_str().to_owned()
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

impl TryFrom<String> for Reason {
    type Error = UnknownOffence;

    fn try_from(text: String) -> Result<Self, UnknownOffence> {
        text.parse()
    }
}

/// Who placed a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacedBy {
    /// A rule of the configuration.
    Auto,
    /// Someone at the command line or the API.
    Operator,
}

impl PlacedBy {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Operator => "operator",
        }
    }
}

/// What the kernel dropped for a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dropped {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// One ban, or one throttling.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BanRecord {
    /// Its number: higher than that of every ban before it.
    pub id: u64,
    /// Whose packets or connections it concerns.
    pub target: Prefix,
    /// Banned or throttled.
    pub standing: Standing,
    /// What for.
    pub reason: Reason,
    /// What the operator wrote; may be empty.
    pub note: String,
    /// Who placed it.
    pub placed_by: PlacedBy,
    /// The how manieth in a row of this source, from 1.
    pub repeat: u32,
    /// When it began.
    pub since: UnixTime,
    /// When it ends.
    pub until: UnixTime,
    /// What the kernel dropped for it. Filled in lists only; there, `None` says that the kernel
    /// doesn't hold it, so that it is in force at accept only.
    pub dropped: Option<Dropped>,
}
