//! Formatting and static analysis of the contract.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::{folder, forge, forge_folder};
use crate::process::must;
use crate::setup::on_path;

pub(super) fn lint() -> Result<ExitCode> {
    must(forge()?.args(["fmt", "--check"])).context("`forge fmt` in contracts/ puts it right")?;
    must(forge()?.args(["lint", "src", "--deny", "warnings"]))?;
    if !on_path("slither") {
        println!("slither NOT RUN: it isn't installed (pip install slither-analyzer)");
        return Ok(ExitCode::SUCCESS);
    }
    // It calls forge by its name.
    let folder = folder();
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(forge_folder()?).chain(env::split_paths(&path));
    let mut slither = Command::new("slither");
    slither
        .arg(".")
        .env("PATH", env::join_paths(paths)?)
        .env("FOUNDRY_SOLC", folder.join("tools/solc.js"))
        .current_dir(&folder);
    must(&mut slither).context("a finding needs a change, or a written answer beside the line")?;
    println!("lint ok");
    Ok(ExitCode::SUCCESS)
}
