//! `cargo deny`: the rules are in deny.toml.

use std::process::{ExitCode, Stdio};

use anyhow::Result;

use crate::process::{cargo, must};

pub(crate) fn deny() -> Result<ExitCode> {
    let installed = cargo()
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        println!("installing cargo-deny (cargo install --locked cargo-deny)");
        must(cargo().args(["install", "--locked", "--quiet", "cargo-deny"]))?;
    }
    for manifest in ["Cargo.toml", "flytrap-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        println!("deny: {manifest}");
        let mut check = cargo();
        check.args(["deny", "--config", "deny.toml", "--manifest-path", manifest]);
        must(check.args(["check", "bans", "licenses", "sources"]))?;
    }
    advisories()
}

/// The advisory database is a git repository elsewhere: a machine that only
/// reaches package registries can't fetch it, and says so instead of passing in silence.
fn advisories() -> Result<ExitCode> {
    let output = cargo().args(["deny", "check", "advisories"]).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        println!("advisories ok");
    } else if text.contains("failed to fetch advisory database") {
        println!("advisories NOT CHECKED: the database can't be reached from this machine");
    } else {
        eprint!("{text}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
