//! The programs under test, loaded and ready for `BPF_PROG_TEST_RUN`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuHashMap, PerCpuValues, ProgramArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use etherparse::PacketBuilder;
use flytrap::kernel::{
    Blocklist, Events, KernelBan, KernelPlane, KernelSettings, Limits, Mode, VerdictReason, program,
};
use flytrap::types::Prefix;
use flytrap_common::abi::{EMPTY_PROGRAM, GEO_PROGRAM, MAPS, PROGRAM, reason};
use flytrap_common::packet::EXTENSION_HEADERS;
use tokio::runtime::{Builder, Runtime};

/// How many sources the benchmark's programs go through.
pub const SOURCES: usize = 1 << 18;
const DAY: Duration = Duration::from_hours(24);

/// `XDP_DROP`
pub const DROP: u32 = 1;
/// `XDP_PASS`
pub const PASS: u32 = 2;

/// A program as the kernel has it, with what keeps it there.
pub struct Rig {
    /// Owner of the maps.
    pub plane: KernelPlane,
    ebpf: Ebpf,
    _events: Events,
    _runtime: Runtime,
}

impl Rig {
    /// Maps of its own, with eight prefixes of each family on the allowlist, attached to
    /// `interfaces` of this thread's namespace; the same program once more for test runs.
    pub fn new(interfaces: &[String], mode: Mode) -> Result<Self> {
        Self::with(interfaces, mode, |_| ())
    }

    /// The same with other settings.
    pub fn with(
        interfaces: &[String],
        mode: Mode,
        change: impl FnOnce(&mut KernelSettings),
    ) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let pin_dir = PathBuf::from(format!("/sys/fs/bpf/flytrap-bench-{pid}-{number}"));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        // Never kept, so that dropping it takes everything back.
        let mut settings = KernelSettings {
            interfaces: interfaces.to_vec(),
            mode,
            pin_dir: pin_dir.clone(),
            detach_on_exit: false,
            event_sample: 1_024,
            bans_on_guarded_ports: false,
            guarded_ports: vec![1_883, 8_883],
            pass_evasions: false,
            countries: None,
            limits: Limits::NONE,
        };
        change(&mut settings);
        let (plane, events) = KernelPlane::start(settings)?;
        drop(entered);
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            loader.map_pin_path(map, pin_dir.join(map));
        }
        let mut ebpf = loader.load(program()?)?;
        for name in [PROGRAM, GEO_PROGRAM, EMPTY_PROGRAM] {
            xdp_mut(&mut ebpf, name)?.load()?;
        }
        plane.set_allowlist(&allowlist()?)?;
        Ok(Self {
            plane,
            ebpf,
            _events: events,
            _runtime: runtime,
        })
    }

    /// [`PROGRAM`], [`GEO_PROGRAM`] or [`EMPTY_PROGRAM`].
    pub fn program(&self, name: &str) -> Result<&Xdp> {
        xdp(&self.ebpf, name)
    }

    /// One of the maps.
    pub(super) fn map(&mut self, name: &str) -> Result<&mut Map> {
        let map = self.ebpf.map_mut(name);
        map.with_context(|| format!("no map {name}"))
    }

    /// Bans these by hand for a day.
    pub fn ban(&self, targets: impl Iterator<Item = Prefix>) -> Result<()> {
        for (id, target) in (1..).zip(targets) {
            self.plane.ban(&KernelBan {
                target,
                id,
                reason: reason::BY_HAND,
                remaining: DAY,
            })?;
        }
        Ok(())
    }

    /// Packets that got this verdict so far.
    pub fn counted(&self, wanted: VerdictReason) -> Result<u64> {
        let counters = self.plane.counters()?;
        let mut found = counters.iter().filter(|(outcome, _)| *outcome == wanted);
        Ok(found.next().map_or(0, |(_, count)| count.packets))
    }
}

pub(super) fn xdp<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    let program = ebpf
        .program(name)
        .with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

pub(super) fn xdp_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

/// From the ranges for documentation and private use.
fn allowlist() -> Result<Vec<Prefix>> {
    (0..8)
        .flat_map(|each| [format!("10.{each}.0.0/16"), format!("fd00:{each}::/32")])
        .map(|text| Ok(text.parse()?))
        .collect()
}

/// The benchmark's own programs, which give every packet the next of a list of sources.
pub struct Spoofer {
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
        xdp_mut(&mut ebpf, name)?.load()?;
        Ok(Self {
            ebpf,
            name,
            next: None,
        })
    }

    /// Hands every packet on to `target`.
    pub fn in_front_of(object: &Path, sources: &[IpAddr], target: &Xdp) -> Result<Self> {
        let mut spoofer = Self::load(object, sources, "fb_spoof")?;
        let next = spoofer.ebpf.take_map("fb_next").context("no map fb_next")?;
        let mut next = ProgramArray::try_from(next)?;
        next.set(0, target.fd()?, 0)?;
        spoofer.next = Some(next);
        Ok(spoofer)
    }

    /// Sends every frame from the interface with this index.
    pub fn onto(object: &Path, sources: &[IpAddr], interface: u32) -> Result<Self> {
        let mut spoofer = Self::load(object, sources, "fb_inject")?;
        let map = spoofer
            .ebpf
            .map_mut("fb_interface")
            .context("no map fb_interface")?;
        Array::<&mut MapData, u32>::try_from(map)?.set(0, interface, 0)?;
        Ok(spoofer)
    }

    /// From now on so many nanoseconds pass from one frame to the next.
    pub fn pace(&mut self, gap: u64) -> Result<()> {
        let map = self.ebpf.map_mut("fb_pace").context("no map fb_pace")?;
        Array::<&mut MapData, [u64; 2]>::try_from(map)?.set(0, [gap, 0], 0)?;
        Ok(())
    }

    /// The program.
    pub fn program(&self) -> Result<&Xdp> {
        xdp(&self.ebpf, self.name)
    }

    /// Sends `count` frames, in batches of 64; in this thread's namespace.
    pub fn send(&self, packet: &[u8], count: u32) -> Result<()> {
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
/// Where packets go: a port on which nothing listens.
pub const TARGET: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];
/// The receiver's link-layer address.
pub const TARGET_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A UDP packet of 64 bytes (IPv4) or 84 (IPv6) from this source.
pub fn packet(source: IpAddr) -> Vec<u8> {
    const PAYLOAD: [u8; 22] = [0; 22];
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], TARGET_MAC);
    let builder = match (source, TARGET) {
        (IpAddr::V4(from), [IpAddr::V4(to), _]) => builder.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), [_, IpAddr::V6(to)]) => builder.ipv6(from.octets(), to.octets(), 64),
        _ => return bytes,
    };
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

/// A SYN to a guarded port.
pub fn syn(source: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], TARGET_MAC);
    let builder = match (source, TARGET) {
        (IpAddr::V4(from), [IpAddr::V4(to), _]) => builder.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), [_, IpAddr::V6(to)]) => builder.ipv6(from.octets(), to.octets(), 64),
        _ => return bytes,
    };
    // Writing to memory doesn't fail.
    let _ = builder
        .tcp(40_000, 1_883, 1, 65_535)
        .syn()
        .write(&mut bytes, &[]);
    bytes
}

/// The longest way to the same SYN: two tags, and all the extension headers that are followed.
pub fn far_syn(source: Ipv6Addr) -> Vec<u8> {
    const DESTINATION_OPTIONS: u8 = 60;
    let near = syn(source.into());
    let (head, tcp) = near.split_at(near.len().min(ETHERNET + 40));
    let (addresses, ip) = head.split_at(12);
    let mut frame = addresses.to_vec();
    frame.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
    frame.extend(ip);
    let ip_begin = 12 + 8 + 2;
    let length = u16::try_from(EXTENSION_HEADERS * 8 + tcp.len()).unwrap_or(u16::MAX);
    let fields = [
        (4, length.to_be_bytes()[0]),
        (5, length.to_be_bytes()[1]),
        (6, DESTINATION_OPTIONS),
    ];
    for (offset, value) in fields {
        if let Some(byte) = frame.get_mut(ip_begin + offset) {
            *byte = value;
        }
    }
    for header in 1..=EXTENSION_HEADERS {
        let next = if header == EXTENSION_HEADERS {
            6
        } else {
            DESTINATION_OPTIONS
        };
        // PadN over the rest.
        frame.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend(tcp);
    frame
}

/// Nanoseconds for each of `repeat` runs over one packet; the verdict has to be `verdict`.
pub fn nanoseconds(program: &Xdp, packet: &[u8], verdict: u32, repeat: u32) -> Result<f64> {
    let (value, time) = timed(program, packet, repeat)?;
    ensure!(
        value == verdict,
        "verdict {value} where {verdict} was expected"
    );
    Ok(time)
}

/// What the last of `repeat` runs returned, and the nanoseconds that each took.
pub fn timed(program: &Xdp, packet: &[u8], repeat: u32) -> Result<(u32, f64)> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    options.repeat = repeat;
    let result = program.test_run(options)?;
    // Whole nanoseconds: that is what the kernel says.
    Ok((result.return_value, result.duration.as_secs_f64() * 1e9))
}

/// xdp-filter's program that drops by address, loaded without its loader: the same object file,
/// and maps that no other xdp-filter has.
pub struct XdpFilter {
    ebpf: Ebpf,
}

impl XdpFilter {
    /// Its policy is "allow": what is listed is dropped. `xdpfilt_dny_ip` drops all the rest.
    const PROGRAM: &'static str = "xdpfilt_alw_ip";
    /// `MAP_FLAG_SRC` of xdp-filter's `common_kern_user.h`.
    const SOURCE: u64 = 1;

    /// `None`: not installed.
    pub fn new(banned: &[Ipv4Addr]) -> Result<Option<Self>> {
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
        xdp_mut(&mut ebpf, Self::PROGRAM)?.load()?;
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
    pub fn program(&self) -> Result<&Xdp> {
        xdp(&self.ebpf, Self::PROGRAM)
    }

    /// Attaches it in native mode to an interface of this thread's namespace; its program id.
    pub fn attach(&mut self, interface: &str) -> Result<u32> {
        let program = xdp_mut(&mut self.ebpf, Self::PROGRAM)?;
        program.attach(interface, XdpMode::Driver)?;
        Ok(program.info()?.id())
    }

    /// Packets that it dropped.
    pub fn dropped(&self) -> Result<u64> {
        let map = self
            .ebpf
            .map("xdp_stats_map")
            .context("no map xdp_stats_map")?;
        let map: PerCpuArray<&MapData, [u64; 2]> = PerCpuArray::try_from(map)?;
        Ok(map.get(&DROP, 0)?.iter().map(|[packets, _]| packets).sum())
    }
}
