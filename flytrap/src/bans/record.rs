//! Bans as they are shown and stored.

use std::sync::Arc;

use crate::kernel::PacketCount;
use crate::metrics::{BY_OPERATOR, BY_RULE};
use crate::offence::Reason;
use crate::types::{Prefix, UnixTime};

/// How a source stands with the gateway, from the mildest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Who placed a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Self::Auto => BY_RULE,
            Self::Operator => BY_OPERATOR,
        }
    }
}

/// One ban, or one throttling.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub note: Arc<str>,
    /// Who placed it.
    pub placed_by: PlacedBy,
    /// The how manieth in a row of this source, from 1.
    pub repeat: u32,
    /// When it began.
    pub since: UnixTime,
    /// When it ends.
    pub until: UnixTime,
    /// The kernel refused the ban, so that it is in force at accept only.
    pub kernel_refused: bool,
    /// The entry of the allowlist that holds all of its target: as long as that stands, the ban
    /// keeps nobody out.
    pub allowlisted: Option<Prefix>,
    /// What the kernel dropped for it. Filled in lists only; there, `None` says that the kernel
    /// doesn't hold it: XDP is off, the kernel refused it, or it is a throttling.
    pub dropped: Option<PacketCount>,
}
