//! FlyTrap's own commands: set-up, kernel build, run, test.
//!
//! Each makes sure first that what it needs is on the machine, and says what it installs.

mod arch;
mod bench;
mod contracts;
mod deny;
mod ebpf;
mod fuzz;
mod leftovers;
mod process;
mod run;
mod setup;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway: a local demo, the demo's drill, or your own configuration
    Run {
        /// Play the demo's story with real clients, check each step, exit 0 or 1
        #[arg(long, conflicts_with = "config")]
        drill: bool,
        /// Run the gateway as deployed: own interface, own broker, own certificates
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The same after `--`
        #[arg(last = true, hide = true, value_name = "ARGUMENTS")]
        rest: Vec<String>,
    },
    /// Everything that proves the project, from unit tests to namespaces with real XDP
    Test {
        /// Leave out what needs root and a kernel with BPF
        #[arg(long)]
        without_kernel: bool,
        /// Passed on to `cargo test`: a filter, or `-p flytrap`
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGUMENTS"
        )]
        rest: Vec<String>,
    },
    /// Install what building and testing need
    Setup,
    /// Build the kernel program and say where it is
    BuildEbpf,
    /// Measure
    Bench {
        #[command(subcommand)]
        which: bench::Bench,
    },
    /// The Ethereum contract: build, test, gas, lint
    Contracts {
        #[command(subcommand)]
        what: contracts::Contracts,
    },
    /// Look for bytes that packet walk, MQTT codec, country database, ban list or login take wrongly
    Fuzz {
        /// How long, all targets together
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Compare the modules' `use` edges with the table in docs/ARCHITECTURE.md
    Arch,
    /// Check licences, sources, banned crates and, where the database can be reached, advisories
    Deny,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run {
            drill,
            config,
            rest,
        } => run::run(drill, config, &rest),
        Command::Test {
            without_kernel,
            rest,
        } => test::test(without_kernel, &rest),
        Command::Setup => setup::ensure(&setup::Need::ALL).map(|()| ExitCode::SUCCESS),
        Command::BuildEbpf => ebpf::build().map(|_| ExitCode::SUCCESS),
        Command::Fuzz { seconds } => fuzz::fuzz(seconds),
        Command::Contracts { what } => contracts::contracts(&what),
        Command::Bench { which } => bench::bench(&which),
        Command::Arch => arch::check().map(|edges| {
            println!("arch: {edges} edges, all of them in docs/ARCHITECTURE.md");
            ExitCode::SUCCESS
        }),
        Command::Deny => deny::deny(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
