//! The kernel program by `BPF_PROG_TEST_RUN`: as the kernel runs it, over frames written here,
//! with maps made and filled through the gateway's own `KernelPlane`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; what benchmarks use returns errors"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::Map;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use flytrap::kernel::{
    Blocklist, DropEvent, Events, KernelBan, KernelPlane, KernelSettings, Limits, Mode,
    PacketCount, VerdictReason, program,
};
use flytrap::types::Prefix;
use flytrap_common::abi::{EMPTY_PROGRAM, GEO_PROGRAM, MAPS, PROGRAM};
use tokio::runtime::{Builder, Runtime};

/// The verdict that drops.
pub const XDP_DROP: u32 = 1;
/// The verdict that passes.
pub const XDP_PASS: u32 = 2;
/// The verdict that sends back.
pub const XDP_TX: u32 = 3;

/// On no interface, in native mode; nothing is reported, and port 1883 is guarded.
pub fn settings(pin_dir: PathBuf) -> KernelSettings {
    KernelSettings {
        interfaces: Vec::new(),
        mode: Mode::Native,
        pin_dir,
        detach_on_exit: false,
        event_sample: 0,
        guarded_ports: vec![1883],
        bans_on_guarded_ports: false,
        pass_evasions: false,
        countries: None,
        limits: Limits::NONE,
    }
}

/// The gateway's programs, loaded once more over the maps of a plane: of its own, a plane shows
/// none.
#[derive(Debug)]
pub struct Programs(Ebpf);

impl Programs {
    /// Over the maps that are pinned here.
    pub fn over(pin_dir: &Path) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            loader.map_pin_path(map, pin_dir.join(map));
        }
        let mut ebpf = loader.load(program()?)?;
        for name in [PROGRAM, GEO_PROGRAM, EMPTY_PROGRAM] {
            let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load()?;
        }
        Ok(Self(ebpf))
    }

    /// [`PROGRAM`], [`GEO_PROGRAM`] or [`EMPTY_PROGRAM`].
    pub fn named(&self, name: &str) -> Result<&Xdp> {
        let program = self.0.program(name);
        Ok(program
            .with_context(|| format!("no program {name}"))?
            .try_into()?)
    }

    /// One of the maps.
    pub fn map(&mut self, name: &str) -> Result<&mut Map> {
        let map = self.0.map_mut(name);
        map.with_context(|| format!("no map {name}"))
    }

    /// What the program of this name returns, and the time that one of the runs took.
    pub fn run(&self, name: &str, frame: &[u8], repeat: u32) -> (u32, Duration) {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = repeat;
        let result = self.named(name).unwrap().test_run(options).unwrap();
        (result.return_value, result.duration)
    }
}

/// A plane, and the programs over its maps.
#[derive(Debug)]
pub struct Rig {
    /// What makes bans and reads counters.
    pub plane: KernelPlane,
    /// What judges.
    pub programs: Programs,
    /// Where the maps are pinned.
    pub pin_dir: PathBuf,
    events: Events,
    runtime: Runtime,
}

impl Rig {
    /// With [`settings`] as changed and pins of its own; never kept, so that dropping it takes
    /// everything back.
    pub fn start(change: impl FnOnce(&mut KernelSettings)) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let mut settings = settings(format!("/sys/fs/bpf/flytrap-test-{pid}-{number}").into());
        change(&mut settings);
        let pin_dir = settings.pin_dir.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (plane, events) = KernelPlane::start(settings)?;
        drop(entered);
        Ok(Self {
            plane,
            programs: Programs::over(&pin_dir)?,
            pin_dir,
            events,
            runtime,
        })
    }

    /// One in `event_sample` drops is reported.
    pub fn new(event_sample: u32) -> Self {
        Self::with(|settings| settings.event_sample = event_sample)
    }

    /// With settings of one's own.
    pub fn with(change: impl FnOnce(&mut KernelSettings)) -> Self {
        Self::start(change).unwrap()
    }

    /// Packets that had this verdict so far.
    pub fn counted(&self, wanted: VerdictReason) -> Result<u64> {
        let counters = self.plane.counters()?;
        let mut found = counters.iter().filter(|(outcome, _)| *outcome == wanted);
        Ok(found.next().context("no such counter")?.1.packets)
    }

    /// How many instructions the verifier looked at before it took the gateway's program.
    pub fn verified_instructions(&self) -> u32 {
        let info = self.programs.named(PROGRAM).unwrap().info().unwrap();
        info.verified_instruction_count().unwrap()
    }

    /// The next reported drop.
    pub fn next_drop(&mut self) -> DropEvent {
        let next = async { tokio::time::timeout(Duration::from_mins(1), self.events.next()).await };
        let drop = self.runtime.block_on(next).expect("an event").unwrap();
        // Differs from run to run.
        let age = Duration::ZERO;
        DropEvent { age, ..drop }
    }

    /// The verdict of the gateway's program.
    pub fn verdict(&self, frame: &[u8]) -> u32 {
        self.programs.run(PROGRAM, frame, 1).0
    }

    /// The verdict, and the frame as the gateway's program leaves it.
    pub fn leaves(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut left = vec![0; 2_048];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut left);
        let program = self.programs.named(PROGRAM).unwrap();
        let result = program.test_run(options).unwrap();
        left.truncate(result.data_size_out.try_into().unwrap());
        (result.return_value, left)
    }

    /// The verdict, which has to be counted once, with the frame's bytes, under `counted` alone.
    #[track_caller]
    pub fn expect(&self, frame: &[u8], verdict: u32, counted: VerdictReason) {
        let mut expected = self.plane.counters().unwrap();
        assert_eq!(self.verdict(frame), verdict, "{frame:02x?}");
        for (outcome, count) in &mut expected {
            if *outcome == counted {
                count.packets += 1;
                count.bytes += frame.len() as u64;
            }
        }
        assert_eq!(self.plane.counters().unwrap(), expected, "{frame:02x?}");
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
