//! FlyTrap's own commands.

mod ebpf;
mod setup;

use clap::Parser;

/// Builds and runs FlyTrap.
#[derive(Parser)]
enum Command {
    /// Installs what building and testing need.
    Setup,
    /// Compiles the kernel program.
    BuildEbpf,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Setup => setup::ensure(&setup::Need::ALL),
        Command::BuildEbpf => ebpf::build().map(drop),
    }
}
