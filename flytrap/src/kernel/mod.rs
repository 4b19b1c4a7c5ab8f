//! The kernel's part of the defence: loading and attaching the XDP program, and the one way to
//! tell it who is banned.
//!
//! [`Blocklist`] is what the rest of the gateway knows. [`KernelPlane`] puts it in force with BPF
//! maps, [`NoKernel`] stands in where XDP is switched off.

mod allowlist;
mod attach;
mod ban_tables;
mod closed;
mod cookies;
mod driver;
mod error;
mod events;
mod filter;
mod geo;
mod knock;
mod loaded;
mod management;
mod netlink;
mod pins;
mod plane;
mod preflight;
mod sysctl;
mod tables;

use std::time::Duration;

pub use cookies::CookieState;
pub use driver::{InterfaceState, interface};
pub use error::KernelError;
pub use events::{DropEvent, Events};
pub use flytrap_common::abi::{EXACT_BANS, Limits, Outcome as VerdictReason, PREFIX_BANS};
pub use flytrap_common::limit::Limit;
pub use loaded::program;
pub use management::ssh_peer;
pub use pins::{AttachedProgram, Detached, Pinned, counters as pinned_counters, detach, look};
pub use plane::{CountryScope, InterfaceStatus, KernelPlane, KernelSettings, KernelStatus};
pub use preflight::{bpffs_mounted, has_btf, may_send_raw, privileged};
pub use sysctl::SettingBack;

use crate::types::Prefix;

/// How an XDP program is to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel allocates anything. An error where the driver can't.
    #[default]
    Native,
    /// In the kernel's network stack: every driver, several times the cost.
    Generic,
    /// Native where the driver can, else generic.
    Auto,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the kernel's network stack.
    Generic,
    /// On the network card, or in several places at a time: never by FlyTrap.
    Other,
}

/// A ban as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelBan {
    /// Whose packets are dropped.
    pub target: Prefix,
    /// The ban's number; events carry it.
    pub id: u64,
    /// One of [`flytrap_common::abi::reason`]; an `Offence`'s code, 0 for a ban by hand.
    pub reason: u8,
    /// From now; counted on a clock that no one sets. What doesn't fit into 584 years is cut.
    pub remaining: Duration,
}

/// A ban in the kernel's tables, with what it has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveBan {
    /// Whose packets are dropped.
    pub target: Prefix,
    /// [`KernelBan::id`]
    pub id: u64,
    /// [`KernelBan::reason`]
    pub reason: u8,
    /// Zero: run out and without effect; [`Blocklist::lift`] frees its memory.
    pub remaining: Duration,
    /// What it dropped.
    pub dropped: PacketCount,
}

/// A prefix that is exempt from every drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedPrefix {
    /// Whose packets pass.
    pub prefix: Prefix,
    /// How much longer; `None`: for ever.
    pub remaining: Option<Duration>,
}

/// Packets and their bytes, link-layer headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Who is kept out before the gateway sees a packet.
///
/// Calls are system calls of microseconds, but for [`Blocklist::bans`], which takes the longer the
/// more bans there are and keeps no other call waiting.
pub trait Blocklist: Send + Sync + 'static {
    /// Bans; in force when it returns. A ban of the same target is replaced. Under the same id it
    /// keeps its counters, but for packets that are counted meanwhile; a new id starts from zero.
    fn ban(&self, ban: &KernelBan) -> Result<(), KernelError>;

    /// Bans all of these, under ids that no ban had before, in no order. Returns what isn't banned:
    /// its position and why.
    fn ban_all(&self, bans: &[KernelBan]) -> Vec<(usize, KernelError)> {
        let results = bans.iter().map(|ban| self.ban(ban)).enumerate();
        results
            .filter_map(|(n, result)| Some((n, result.err()?)))
            .collect()
    }

    /// Ends the ban of exactly this target; whether there was one.
    fn lift(&self, target: Prefix) -> Result<bool, KernelError>;

    /// Every ban in the tables, in no order; also those of before a restart.
    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError>;

    /// Makes `prefixes` the allowlist. What stays in it is exempt without a gap; what was exempted
    /// for a time stays exempt until then.
    fn set_allowlist(&self, prefixes: &[Prefix]) -> Result<(), KernelError>;
}

/// No XDP: bans hold at accept only, and nothing is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKernel;

impl Blocklist for NoKernel {
    fn ban(&self, _ban: &KernelBan) -> Result<(), KernelError> {
        Ok(())
    }

    fn lift(&self, _target: Prefix) -> Result<bool, KernelError> {
        Ok(false)
    }

    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError> {
        Ok(Vec::new())
    }

    fn set_allowlist(&self, _prefixes: &[Prefix]) -> Result<(), KernelError> {
        Ok(())
    }
}
