//! `cargo xtask bench xdp`: what judging a packet costs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use flytrap_tests::bench_xdp::cost::Countries;
use flytrap_tests::bench_xdp::report::Report;
use flytrap_tests::bench_xdp::{cost, drill, flood, geo, machine};

/// Measure what judging a packet costs, and hold it against what it must cost
#[derive(Parser)]
struct Arguments {
    /// The benchmark's own kernel programs
    #[arg(long, value_name = "FILE")]
    programs: PathBuf,
    /// Few rounds: to see that it works
    #[arg(long)]
    quick: bool,
    /// Also write the report to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 1 if something that must be is missed, or wasn't measured
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(passes) if passes || !arguments.check => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!("error: what must be is missed, or wasn't measured: see `Requirements`");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let rounds = if arguments.quick { 3 } else { 11 };
    let mut report = Report {
        machine: machine()?,
        ..Report::default()
    };
    let programs = &arguments.programs;
    let rows = geo::countries();
    let (table, tables) = geo::measure(&rows, rounds)?;
    let countries = Countries {
        rows: &rows,
        tables: &tables,
    };
    // The drill last: it takes the longest.
    report.tables = vec![
        cost::measure(programs, &countries, rounds)?,
        flood::measure(programs, rounds)?,
        table,
        drill::measure(programs, rounds)?,
    ];
    let requirements = [
        cost::REQUIREMENTS,
        flood::REQUIREMENTS,
        geo::REQUIREMENTS,
        drill::REQUIREMENTS,
    ];
    report.requirements = requirements.concat();
    print!("{}", report.markdown());
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(report.passes())
}
