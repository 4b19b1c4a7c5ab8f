//! `cargo fuzz` over what reads outside bytes without a kernel around it.

use std::fs;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::process::{cargo, must, target, workspace};
use crate::setup::{self, Need};

/// What has code of its own for outside bytes, and how long the inputs get that say something new.
const TARGETS: [(&str, u32); 5] = [
    ("packet_walk", 512),
    ("mqtt", 512),
    ("country_database", 1_024),
    ("ban_import", 512),
    ("login", 512),
];

/// Divides so many seconds among the targets, which begin with the committed seeds and what earlier
/// runs found.
pub(crate) fn fuzz(seconds: u32) -> Result<ExitCode> {
    setup::ensure(&[Need::Fuzz])?;
    let installed = cargo()
        .args(["fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        println!("installing cargo-fuzz (cargo install --locked cargo-fuzz)");
        must(cargo().args(["install", "--locked", "--quiet", "cargo-fuzz"]))?;
    }
    let fuzz = workspace().join("fuzz");
    let share = seconds.div_ceil(u32::try_from(TARGETS.len())?);
    for (name, longest) in TARGETS {
        let corpus = fuzz.join("corpus").join(name);
        fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
        println!("fuzz: {name}, {share} s");
        let mut run = cargo();
        run.args(["fuzz", "run", "--target-dir"])
            .arg(target().join("fuzz"))
            .arg(name)
            .arg(corpus)
            .arg(fuzz.join("seeds").join(name))
            .args(["--", "-print_final_stats=1"])
            .arg(format!("-max_len={longest}"))
            .arg(format!("-max_total_time={share}"))
            .current_dir(&fuzz)
            // Sanitizers are unstable options; this lets the stable compiler take them.
            .env("RUSTC_BOOTSTRAP", "1");
        must(&mut run)?;
    }
    Ok(ExitCode::SUCCESS)
}
