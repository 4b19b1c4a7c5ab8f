//! The gateway's programs as the benchmarks run them, and what one run takes.

use std::time::Duration;

use anyhow::{Result, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use flytrap::kernel::{Blocklist, KernelBan, KernelSettings};
use flytrap::types::Prefix;
use flytrap_common::abi::reason;

use crate::lab::rig::Rig;

/// How many sources the benchmark's programs go through.
pub const SOURCES: usize = 1 << 18;
const DAY: Duration = Duration::from_hours(24);

/// As on a busy site: some drops are reported, both ports of MQTT are guarded, and eight prefixes
/// of each family are on the allowlist.
pub fn rig(change: impl FnOnce(&mut KernelSettings)) -> Result<Rig> {
    let rig = Rig::start(|settings| {
        settings.event_sample = 1_024;
        settings.guarded_ports = vec![1_883, 8_883];
        change(settings);
    })?;
    rig.plane.set_allowlist(&allowlist()?)?;
    Ok(rig)
}

/// From the ranges for documentation and private use.
fn allowlist() -> Result<Vec<Prefix>> {
    (0..8)
        .flat_map(|each| [format!("10.{each}.0.0/16"), format!("fd00:{each}::/32")])
        .map(|text| Ok(text.parse()?))
        .collect()
}

/// Bans these by hand for a day.
pub fn ban(rig: &Rig, targets: impl Iterator<Item = Prefix>) -> Result<()> {
    for (id, target) in (1..).zip(targets) {
        rig.plane.ban(&KernelBan {
            target,
            id,
            reason: reason::BY_HAND,
            remaining: DAY,
        })?;
    }
    Ok(())
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
