//! `cargo xtask run`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::ebpf;
use crate::process::{self, cargo, must, target};
use crate::setup::{self, Need};

pub(crate) fn run(drill: bool, config: Option<PathBuf>, rest: &[String]) -> Result<ExitCode> {
    let config = match (config, rest) {
        (given, []) => given,
        (None, [option, file]) if option == "--config" => Some(PathBuf::from(file)),
        _ => bail!("after `--` only `--config FILE` is understood"),
    };
    match config {
        Some(file) => deployed(&file),
        None if drill => laboratory("flytrap-demo", &["--drill".to_owned()]),
        None => laboratory("flytrap-demo", &[]),
    }
}

/// The gateway alone, with the user's own configuration.
fn deployed(config: &std::path::Path) -> Result<ExitCode> {
    // Resolved here: cargo's directory may be another one.
    let config = std::path::absolute(config).context("--config")?;
    ebpf::build()?;
    must(cargo().args(["build", "--release", "--locked", "-p", "flytrap"]))?;
    let mut gateway = Command::new(target().join("release/flytrap"));
    gateway.arg("run").arg("--config").arg(config);
    replace_this_process(&mut gateway)
}

/// A program of the laboratory, which makes its own world around the gateway.
pub(crate) fn laboratory(program: &str, arguments: &[String]) -> Result<ExitCode> {
    if let Some(missing) = process::missing_privilege() {
        eprintln!(
            "error: the demo makes a network namespace and attaches an XDP program\n\
             cause: {missing}\n\
             help:  run the same command as root"
        );
        return Ok(ExitCode::from(process::NOT_PERMITTED));
    }
    setup::ensure(&[Need::Lab, Need::BpfFs])?;
    ebpf::build()?;
    must(cargo().args([
        "build",
        "--release",
        "--locked",
        "-p",
        "flytrap",
        "-p",
        "flytrap-tests",
        "--bins",
    ]))?;
    let release = target().join("release");
    let mut command = Command::new(release.join(program));
    command.args(arguments);
    command.env("FLYTRAP_BIN", release.join("flytrap"));
    replace_this_process(&mut command)
}

/// So that a Ctrl-C goes to the program itself, and its exit code to the shell.
fn replace_this_process(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", process::line(command)))
}
