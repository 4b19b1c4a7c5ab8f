//! `cargo xtask bench …`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::setup::{self, Need};
use crate::{ebpf, run};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Milliseconds from the last failed login to the first dropped packet
    Ban {
        /// How often
        #[arg(long, default_value_t = 20)]
        rounds: u32,
    },
    /// How fast a list of a million addresses is in force
    Import {
        /// How often
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// What judging a packet costs, beside an empty program, xdp-filter, nftables and ipset
    Xdp {
        /// Few rounds: to see that it works
        #[arg(long)]
        quick: bool,
        /// Also write the report to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Exit with 1 if something that must be is missed, or wasn't measured
        #[arg(long)]
        check: bool,
    },
}

pub(crate) fn bench(which: &Bench) -> Result<ExitCode> {
    match which {
        Bench::Ban { rounds } => run::laboratory(
            "flytrap-bench-ban",
            &["--rounds".to_owned(), rounds.to_string()],
        ),
        Bench::Import { rounds } => run::laboratory(
            "flytrap-bench-import",
            &["--rounds".to_owned(), rounds.to_string()],
        ),
        Bench::Xdp { quick, json, check } => xdp(*quick, json.as_deref(), *check),
    }
}

fn xdp(quick: bool, json: Option<&Path>, check: bool) -> Result<ExitCode> {
    // What can't be installed has a row that says so.
    if let Err(error) = setup::ensure(&[Need::Peers]) {
        eprintln!("warning: {error:#}");
    }
    ebpf::build()?;
    let mut arguments = vec!["--programs".to_owned(), text(&ebpf::bench_programs()?)?];
    if let Some(file) = json {
        let file = std::path::absolute(file).context("--json")?;
        arguments.extend(["--json".to_owned(), text(&file)?]);
    }
    let switches = [(quick, "--quick"), (check, "--check")];
    let given = switches.into_iter().filter(|(given, _)| *given);
    arguments.extend(given.map(|(_, switch)| switch.to_owned()));
    run::laboratory("flytrap-bench-xdp", &arguments)
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str();
    let text = text.with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}
