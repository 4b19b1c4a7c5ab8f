//! The packet path as the rest of the gateway sees it.

use std::time::Duration;

use crate::types::Prefix;

/// A ban as the kernel is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelBan {
    /// Whose packets are dropped.
    pub target: Prefix,
    /// The ban's number.
    pub id: u64,
    /// The offence's code; 0 = by hand.
    pub reason: u8,
    /// How long from now.
    pub remaining: Duration,
}

/// A ban as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveBan {
    /// Whose packets are dropped.
    pub target: Prefix,
    /// The ban's number.
    pub id: u64,
    /// The offence's code; 0 = by hand.
    pub reason: u8,
    /// How long from now; zero when it is over.
    pub remaining: Duration,
    /// What it dropped.
    pub dropped: PacketCount,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug)]
pub enum VerdictReason {
    /// A ban.
    Ban,
}

/// Why the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A map has no room.
    #[error("the kernel table {map} is full")]
    Full {
        /// The map.
        map: &'static str,
    },
}

/// Who drops packets.
pub trait Blocklist: Send + Sync + 'static {
    /// In force when it returns.
    fn ban(&self, ban: &KernelBan) -> Result<(), KernelError>;
    /// Whether there was one.
    fn lift(&self, target: Prefix) -> Result<bool, KernelError>;
    /// All of them.
    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError>;
    /// Replaces the allowlist.
    fn set_allowlist(&self, prefixes: &[Prefix]) -> Result<(), KernelError>;
    /// What became of packets.
    fn counters(&self) -> Result<Vec<(VerdictReason, PacketCount)>, KernelError>;
}

/// No kernel plane: bans are enforced at accept only.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKernel;

impl Blocklist for NoKernel {
    fn ban(&self, _: &KernelBan) -> Result<(), KernelError> {
        Ok(())
    }
    fn lift(&self, _: Prefix) -> Result<bool, KernelError> {
        Ok(false)
    }
    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError> {
        Ok(Vec::new())
    }
    fn set_allowlist(&self, _: &[Prefix]) -> Result<(), KernelError> {
        Ok(())
    }
    fn counters(&self) -> Result<Vec<(VerdictReason, PacketCount)>, KernelError> {
        Ok(Vec::new())
    }
}
