//! The benchmark's own programs, and the packet into which they write sources.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};

use super::rig::SOURCES;

/// The benchmark's own programs, which give every packet the next of a list of sources.
pub(super) struct Spoofer {
    ebpf: Ebpf,
    name: &'static str,
    /// Held: the kernel empties it when its last descriptor is closed.
    next: Option<ProgramArray<MapData>>,
}

impl Spoofer {
    fn load(object: &Path, sources: &[IpAddr], name: &'static str) -> Result<Self> {
        ensure!(!sources.is_empty(), "no sources");
        let mut ebpf = EbpfLoader::new().load_file(object)?;
        let list = ebpf.map_mut("fb_sources").context("no map fb_sources")?;
        let mut list: Array<&mut MapData, [u8; 16]> = Array::try_from(list)?;
        for (index, source) in (0..).zip(sources.iter().cycle().take(SOURCES)) {
            list.set(index, patch(*source), 0)?;
        }
        let program = ebpf.program_mut(name).context(name)?;
        let program: &mut Xdp = program.try_into()?;
        program.load()?;
        Ok(Self {
            ebpf,
            name,
            next: None,
        })
    }

    /// Hands every packet on to `target`.
    pub(super) fn in_front_of(object: &Path, sources: &[IpAddr], target: &Xdp) -> Result<Self> {
        let mut spoofer = Self::load(object, sources, "fb_spoof")?;
        let next = spoofer.ebpf.take_map("fb_next").context("no map fb_next")?;
        let mut next = ProgramArray::try_from(next)?;
        next.set(0, target.fd()?, 0)?;
        spoofer.next = Some(next);
        Ok(spoofer)
    }

    /// Sends every frame from the interface with this index.
    pub(super) fn onto(object: &Path, sources: &[IpAddr], interface: u32) -> Result<Self> {
        let mut spoofer = Self::load(object, sources, "fb_inject")?;
        let map = spoofer
            .ebpf
            .map_mut("fb_interface")
            .context("no map fb_interface")?;
        Array::<&mut MapData, u32>::try_from(map)?.set(0, interface, 0)?;
        Ok(spoofer)
    }

    /// From now on so many nanoseconds pass from one frame to the next.
    pub(super) fn pace(&mut self, gap: u64) -> Result<()> {
        let map = self.ebpf.map_mut("fb_pace").context("no map fb_pace")?;
        Array::<&mut MapData, [u64; 2]>::try_from(map)?.set(0, [gap, 0], 0)?;
        Ok(())
    }

    /// The program.
    pub(super) fn program(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(self.name).context(self.name)?;
        Ok(program.try_into()?)
    }

    /// Sends `count` frames, in batches of 64; in this thread's namespace.
    pub(super) fn send(&self, packet: &[u8], count: u32) -> Result<()> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = count;
        options.attrs = TestRunAttrs::new().xdp_live_frames(64);
        self.program()?.test_run(options)?;
        Ok(())
    }
}

/// What the spoofing program writes for this source.
fn patch(source: IpAddr) -> [u8; 16] {
    if let IpAddr::V6(address) = source {
        return address.octets();
    }
    let mut patch = [0; 16];
    let packet = packet(source);
    for (to, from) in patch
        .iter_mut()
        .zip(packet.iter().skip(ETHERNET + 10).take(6))
    {
        *to = *from;
    }
    patch
}

const ETHERNET: usize = 14;
/// The receiver's link-layer address.
const TARGET_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The beginning of a packet from this source to an address on which nothing listens.
pub(super) fn to_nobody(source: IpAddr) -> PacketBuilderStep<IpHeaders> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], TARGET_MAC);
    match source {
        IpAddr::V4(from) => builder.ipv4(from.octets(), [192, 0, 2, 1], 64),
        IpAddr::V6(from) => {
            let to = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            builder.ipv6(from.octets(), to.octets(), 64)
        }
    }
}

/// A UDP packet of 64 bytes (IPv4) or 84 (IPv6) from this source.
pub(super) fn packet(source: IpAddr) -> Vec<u8> {
    const PAYLOAD: [u8; 22] = [0; 22];
    let mut bytes = Vec::new();
    let builder = to_nobody(source);
    // Writing to memory doesn't fail.
    let _ = builder.udp(1_883, 9).write(&mut bytes, &PAYLOAD);
    if source.is_ipv4() {
        // No checksum: a source that is written later would spoil it.
        if let Some(checksum) = bytes.get_mut(ETHERNET + 26..ETHERNET + 28) {
            checksum.fill(0);
        }
    }
    bytes
}
