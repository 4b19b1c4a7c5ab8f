//! SYNs that are answered with cookies. The answer takes the SYN's place in the packet, so a program
//! in front writes the SYN anew for every run.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use etherparse::TcpOptionElement;
use flytrap::kernel::{Limit, Limits};
use flytrap_common::abi::MAP_COOKIE;
use flytrap_common::cookie::Cookies;

use super::rig::rig;
use super::spoofer::to_nobody;
use crate::lab::rig::Rig;

/// The benchmark's own program.
const RESTORE: &str = "fb_restore";
/// Longer than the benchmark: in nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

/// Answers every SYN but the first. Only the map says so: the settings of the host that a gateway
/// changes for cookies are the listener's, and here none takes any.
pub(super) fn answering() -> Result<Rig> {
    let mut rig = rig(|settings| {
        settings.limits = Limits {
            source: Limit::NONE,
            total: Limit {
                interval: HOUR,
                tolerance: 0,
            },
        };
    })?;
    let mut map: Array<&mut MapData, Cookies> = Array::try_from(rig.programs.map(MAP_COOKIE)?)?;
    let cookies = Cookies {
        deadline: u64::MAX,
        window: 61_440,
        window_scale: 7,
        sack: 1,
        ..Cookies::default()
    };
    map.set(0, cookies, 0)?;
    Ok(rig)
}

/// The SYN of a Linux client to a guarded port, with all its options: as long as the answer.
pub(super) fn syn(source: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = [
        TcpOptionElement::MaximumSegmentSize(1_460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(1, 0),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    // They fit, and writing to memory doesn't fail.
    if let Ok(builder) = to_nobody(source)
        .tcp(40_000, 1_883, 1, 65_535)
        .syn()
        .options(&options)
    {
        let _ = builder.write(&mut bytes, &[]);
    }
    bytes
}

/// The benchmark's program that restores a packet and hands it on.
pub(super) struct Restorer {
    ebpf: Ebpf,
    /// What it restores.
    pub(super) frame: Vec<u8>,
    /// Held: the kernel empties it when its last descriptor is closed.
    _next: ProgramArray<MapData>,
}

impl Restorer {
    /// In front of `target`.
    pub(super) fn in_front_of(object: &Path, frame: Vec<u8>, target: &Xdp) -> Result<Self> {
        const ROOM: usize = 94;
        let mut ebpf = EbpfLoader::new().load_file(object)?;
        let map = ebpf.map_mut("fb_packet").context("no map fb_packet")?;
        let mut value = [0; ROOM];
        let room = value.get_mut(..frame.len());
        room.context("a packet too long")?.copy_from_slice(&frame);
        Array::<&mut MapData, [u8; ROOM]>::try_from(map)?.set(0, value, 0)?;
        let program = ebpf.program_mut(RESTORE).context(RESTORE)?;
        let program: &mut Xdp = program.try_into()?;
        program.load()?;
        let next = ebpf.take_map("fb_next").context("no map fb_next")?;
        let mut next = ProgramArray::try_from(next)?;
        next.set(0, target.fd()?, 0)?;
        Ok(Self {
            ebpf,
            frame,
            _next: next,
        })
    }

    /// The program.
    pub(super) fn program(&self) -> Result<&Xdp> {
        Ok(self.ebpf.program(RESTORE).context(RESTORE)?.try_into()?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_syns_have_the_lengths_that_are_restored() {
        assert_eq!(syn(Ipv4Addr::LOCALHOST.into()).len(), 74);
        assert_eq!(syn(Ipv6Addr::LOCALHOST.into()).len(), 94);
    }
}
