//! `cargo xtask bench …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::run;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Milliseconds from the last failed login to the first dropped packet
    Ban {
        /// How often
        #[arg(long, default_value_t = 20)]
        rounds: u32,
    },
}

pub(crate) fn bench(which: &Bench) -> Result<ExitCode> {
    let Bench::Ban { rounds } = which;
    run::laboratory(
        "flytrap-bench-ban",
        &["--rounds".to_owned(), rounds.to_string()],
    )
}
