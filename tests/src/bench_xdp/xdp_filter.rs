//! xdp-filter, the other filter in XDP.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use crate::lab::rig::XDP_DROP;

/// xdp-filter's program that drops by address, loaded without its loader: the same object file,
/// and maps that no other xdp-filter has.
pub(super) struct XdpFilter {
    ebpf: Ebpf,
}

impl XdpFilter {
    /// Its policy is "allow": what is listed is dropped. `xdpfilt_dny_ip` drops all the rest.
    const PROGRAM: &'static str = "xdpfilt_alw_ip";
    /// `MAP_FLAG_SRC` of xdp-filter's `common_kern_user.h`.
    const SOURCE: u64 = 1;

    /// `None`: not installed.
    pub(super) fn new(banned: &[Ipv4Addr]) -> Result<Option<Self>> {
        const PLACES: [&str; 3] = [
            "/usr/lib/x86_64-linux-gnu/bpf",
            "/usr/lib/aarch64-linux-gnu/bpf",
            "/usr/lib/bpf",
        ];
        let files = PLACES.map(|place| Path::new(place).join("xdpfilt_alw_ip.o"));
        let Some(file) = files.iter().find(|file| file.exists()) else {
            return Ok(None);
        };
        let pins = tempfile::Builder::new()
            .prefix("flytrap-bench-xdp-filter-")
            .tempdir_in("/sys/fs/bpf")?;
        // The object asks for pins; with the directory they go, and the maps stay.
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(pins.path())
            .load_file(file)?;
        let program = ebpf.program_mut(Self::PROGRAM).context(Self::PROGRAM)?;
        let program: &mut Xdp = program.try_into()?;
        program.load()?;
        let map = ebpf.map_mut("filter_ipv4").context("no map filter_ipv4")?;
        let mut map: PerCpuHashMap<&mut MapData, u32, u64> = PerCpuHashMap::try_from(map)?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        for address in banned {
            let value = PerCpuValues::try_from(vec![Self::SOURCE; cpus])?;
            map.insert(u32::from_ne_bytes(address.octets()), value, 0)?;
        }
        Ok(Some(Self { ebpf }))
    }

    /// The program.
    pub(super) fn program(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(Self::PROGRAM).context(Self::PROGRAM)?;
        Ok(program.try_into()?)
    }

    /// Attaches it in native mode to an interface of this thread's namespace; its program id.
    pub(super) fn attach(&mut self, interface: &str) -> Result<u32> {
        let program = self.ebpf.program_mut(Self::PROGRAM);
        let program: &mut Xdp = program.context(Self::PROGRAM)?.try_into()?;
        program.attach(interface, XdpMode::Driver)?;
        Ok(program.info()?.id())
    }

    /// Packets that it dropped.
    pub(super) fn dropped(&self) -> Result<u64> {
        let map = self
            .ebpf
            .map("xdp_stats_map")
            .context("no map xdp_stats_map")?;
        let map: PerCpuArray<&MapData, [u64; 2]> = PerCpuArray::try_from(map)?;
        Ok(map
            .get(&XDP_DROP, 0)?
            .iter()
            .map(|[packets, _]| packets)
            .sum())
    }
}
