//! `cargo fuzz` over what reads outside bytes without a kernel around it.

use std::fs;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::process::{cargo, must, target, workspace};
use crate::setup::{self, Need};

/// Runs every target for so many seconds, from the committed seeds and what earlier runs found.
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
    let seeds = fuzz.join("seeds");
    for entry in fs::read_dir(&seeds).with_context(|| format!("reading {}", seeds.display()))? {
        let name = entry?.file_name();
        let corpus = fuzz.join("corpus").join(&name);
        fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
        println!("fuzz: {}, {seconds} s", name.display());
        let mut run = cargo();
        run.args(["fuzz", "run", "--target-dir"])
            .arg(target().join("fuzz"))
            .arg(&name)
            .arg(corpus)
            .arg(seeds.join(&name))
            .args(["--", "-max_len=512", "-print_final_stats=1"])
            .arg(format!("-max_total_time={seconds}"))
            .current_dir(&fuzz)
            // Sanitizers are unstable options; this lets the stable compiler take them.
            .env("RUSTC_BOOTSTRAP", "1");
        must(&mut run)?;
    }
    Ok(ExitCode::SUCCESS)
}
