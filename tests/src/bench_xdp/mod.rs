//! `cargo xtask bench xdp`: what judging a packet costs, beside what others take for the same.

mod case;
pub mod cost;
pub mod drill;
pub mod flood;
pub mod geo;
pub mod report;
mod restore;
pub mod rig;
mod sources;
mod spoofer;
mod xdp_filter;

use anyhow::Result;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::lab::process::must;

/// The CPU that the measuring thread, or the sender of a flood, keeps to.
pub const SENDER_CPU: usize = 0;
/// The CPU that receives.
pub const RECEIVER_CPU: usize = 1;

/// Keeps a thread to one CPU: this one's, or that with the id.
pub fn pin_to(cpu: usize, thread: Option<rustix::process::Pid>) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(thread, &set)?)
}

/// The middle of the sorted values; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor, kernel and day: what a figure says nothing without.
pub fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = must(std::process::Command::new("uname").arg("-sr"))?;
    let day = must(std::process::Command::new("date").arg("-I"))?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    Ok(format!(
        "{model}, {cores} cores, {}, {}",
        kernel.trim(),
        day.trim()
    ))
}
