//! The kernel program by `BPF_PROG_TEST_RUN`: as the kernel runs it, over packets written here,
//! with maps made and filled through the gateway's own `KernelPlane`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use flytrap::kernel::{
    Blocklist, DropEvent, Events, KernelBan, KernelPlane, KernelSettings, Limits, Mode,
    PacketCount, VerdictReason, program,
};
use flytrap::types::Prefix;
use flytrap_common::abi::{EMPTY_PROGRAM, MAPS, PROGRAM};
use tokio::runtime::{Builder, Runtime};

/// The verdict that drops.
pub const XDP_DROP: u32 = 1;
/// The verdict that sends back.
pub const XDP_TX: u32 = 3;
/// The verdict that passes.
pub const XDP_PASS: u32 = 2;

/// The maps of a plane without interfaces, and the program over the same maps.
#[derive(Debug)]
pub struct Rig {
    /// What makes bans and reads counters.
    pub plane: KernelPlane,
    events: Events,
    ebpf: Ebpf,
    runtime: Runtime,
}

impl Rig {
    /// One in `event_sample` drops is reported; port 1883 is guarded.
    pub fn new(event_sample: u32) -> Self {
        Self::with(|settings| settings.event_sample = event_sample)
    }

    /// With settings of one's own.
    pub fn with(change: impl FnOnce(&mut KernelSettings)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let pin_dir = PathBuf::from(format!("/sys/fs/bpf/flytrap-test-{pid}-{number}"));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        // Never kept, so that dropping it takes everything back.
        let mut settings = KernelSettings {
            interfaces: Vec::new(),
            mode: Mode::Native,
            pin_dir: pin_dir.clone(),
            detach_on_exit: false,
            event_sample: 0,
            guarded_ports: vec![1883],
            bans_on_guarded_ports: false,
            pass_evasions: false,
            countries: None,
            limits: Limits::NONE,
        };
        change(&mut settings);
        let (plane, events) = KernelPlane::start(settings).unwrap();
        drop(entered);
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            loader.map_pin_path(map, pin_dir.join(map));
        }
        let mut ebpf = loader.load(program().unwrap()).unwrap();
        for name in [PROGRAM, EMPTY_PROGRAM] {
            let program: &mut Xdp = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        Self {
            plane,
            events,
            ebpf,
            runtime,
        }
    }

    /// How many instructions the verifier looked at before it took the gateway's program.
    pub fn verified_instructions(&self) -> u32 {
        let program: &Xdp = self.ebpf.program(PROGRAM).unwrap().try_into().unwrap();
        program
            .info()
            .unwrap()
            .verified_instruction_count()
            .unwrap()
    }

    /// The next reported drop.
    pub fn next_drop(&mut self) -> DropEvent {
        let next = async { tokio::time::timeout(Duration::from_mins(1), self.events.next()).await };
        let drop = self.runtime.block_on(next).expect("an event").unwrap();
        // Differs from run to run.
        let age = Duration::ZERO;
        DropEvent { age, ..drop }
    }

    /// The verdict of the program of this name, and the time that one of the runs took.
    pub fn run(&self, name: &str, packet: &[u8], repeat: u32) -> (u32, Duration) {
        let program: &Xdp = self.ebpf.program(name).unwrap().try_into().unwrap();
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = repeat;
        let result = program.test_run(options).unwrap();
        (result.return_value, result.duration)
    }

    /// The verdict, and the packet as the gateway's program leaves it.
    pub fn leaves(&self, packet: &[u8]) -> (u32, Vec<u8>) {
        let program: &Xdp = self.ebpf.program(PROGRAM).unwrap().try_into().unwrap();
        let mut left = vec![0; 2_048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut left);
        let result = program.test_run(options).unwrap();
        left.truncate(result.data_size_out.try_into().unwrap());
        (result.return_value, left)
    }

    /// The verdict, which has to be counted once, with the packet's bytes, under `counted` alone.
    #[track_caller]
    pub fn expect(&self, packet: &[u8], verdict: u32, counted: VerdictReason) {
        let mut expected = self.plane.counters().unwrap();
        assert_eq!(self.run(PROGRAM, packet, 1).0, verdict);
        for (outcome, count) in &mut expected {
            if *outcome == counted {
                count.packets += 1;
                count.bytes += packet.len() as u64;
            }
        }
        assert_eq!(self.plane.counters().unwrap(), expected);
    }

    /// Bans.
    pub fn ban(&self, target: &str, id: u64, reason: u8, remaining: Duration) {
        let ban = KernelBan {
            target: target.parse().unwrap(),
            id,
            reason,
            remaining,
        };
        self.plane.ban(&ban).unwrap();
    }

    /// What the ban of this target dropped.
    pub fn dropped_by(&self, target: &str) -> PacketCount {
        let target: Prefix = target.parse().unwrap();
        let bans = self.plane.bans().unwrap();
        bans.iter()
            .find(|ban| ban.target == target)
            .unwrap()
            .dropped
    }
}

/// A frame with these tags.
pub fn ethernet(tags: &[u16], ether_type: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(body);
    frame
}

/// An IPv4 packet with an empty TCP header of this source.
pub fn ipv4(source: &str) -> Vec<u8> {
    let source: Ipv4Addr = source.parse().unwrap();
    let mut header = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    header.extend(source.octets());
    header.extend([192, 0, 2, 1]);
    header.extend([0; 20]);
    header
}

/// An IPv6 packet with an empty TCP header of this source.
pub fn ipv6(source: &str) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    let mut header = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
    header.extend(source.octets());
    header.extend([0xfd; 16]);
    header.extend([0; 20]);
    header
}

/// A frame of this source.
pub fn from(source: &str) -> Vec<u8> {
    match source.parse().unwrap() {
        IpAddr::V4(_) => ethernet(&[], 0x0800, &ipv4(source)),
        IpAddr::V6(_) => ethernet(&[], 0x86dd, &ipv6(source)),
    }
}
