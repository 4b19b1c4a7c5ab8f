//! Drops that the program reports, and its own diagnostics.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use flytrap_common::abi::DropRecord;
use tokio::io::unix::AsyncFd;

use super::{VerdictReason, tables};

/// One reported drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEvent {
    /// How long ago, at the time of reading.
    pub age: Duration,
    /// Who sent the packet. Not proven: anyone can write any source into a packet.
    pub source: IpAddr,
    /// The ban that dropped it; 0: no ban did.
    pub ban_id: u64,
    /// Why it was dropped.
    pub outcome: VerdictReason,
    /// Index of the source's country; 0: unknown, or not looked at.
    pub country: u16,
    /// Where the packet was going; 0: unknown, or not looked at.
    pub destination_port: u16,
    /// Its IP protocol; of IPv6 the first next header.
    pub protocol: u8,
    /// The interface that received it.
    pub ifindex: u32,
    /// The packet's bytes.
    pub bytes: u32,
    /// The first packet that this ban dropped; else one of a sample.
    pub first_hit: bool,
}

impl DropEvent {
    /// `None` for a record that is too short or has another outcome: another program's.
    fn read(record: &[u8]) -> Option<Self> {
        let record = record.get(..size_of::<DropRecord>())?;
        let record: DropRecord = bytemuck::pod_read_unaligned(record);
        Some(Self {
            age: Duration::from_nanos(tables::now().saturating_sub(record.time)),
            source: IpAddr::V6(Ipv6Addr::from(record.source)).to_canonical(),
            ban_id: record.ban_id,
            outcome: VerdictReason::ALL
                .get(usize::from(record.outcome))
                .copied()?,
            country: record.country,
            destination_port: record.destination_port,
            protocol: record.protocol,
            ifindex: record.ifindex,
            bytes: record.bytes,
            first_hit: record.first_hit != 0,
        })
    }
}

/// The reported drops, in the order of the program. While no one reads them the ring fills up and
/// further ones are lost; the counters are not.
pub struct Events {
    drops: AsyncFd<RingBuf<MapData>>,
    diagnostics: AsyncFd<Diagnostics>,
}

impl Events {
    /// Has to be called in a tokio runtime with IO.
    #[expect(
        deprecated,
        reason = "its successor is unsafe; these two own their descriptors and never change them"
    )]
    pub(super) fn new(drops: RingBuf<MapData>, logger: EbpfLogger<ToTracing>) -> io::Result<Self> {
        Ok(Self {
            drops: AsyncFd::new(drops)?,
            diagnostics: AsyncFd::new(Diagnostics(logger))?,
        })
    }

    /// Waits for the next drop. Cancelling loses none.
    pub async fn next(&mut self) -> io::Result<DropEvent> {
        loop {
            tokio::select! {
                ready = self.drops.readable_mut() => {
                    let mut ready = ready?;
                    let Some(record) = ready.get_inner_mut().next() else {
                        ready.clear_ready();
                        continue;
                    };
                    if let Some(event) = DropEvent::read(&record) {
                        return Ok(event);
                    }
                }
                ready = self.diagnostics.readable_mut() => {
                    let mut ready = ready?;
                    ready.clear_ready();
                    ready.get_inner_mut().0.flush();
                }
            }
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// Reads what the program logs.
struct Diagnostics(EbpfLogger<ToTracing>);

impl AsRawFd for Diagnostics {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Writes the program's log lines to where the gateway's go.
pub(super) struct ToTracing;

/// The target of the program's log lines.
pub(super) const LOG_TARGET: &str = "flytrap::kernel::program";

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: LOG_TARGET, "{}", record.args());
    }

    fn flush(&self) {}
}
