//! `cargo xtask bench import`: how fast a list of addresses is in force.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use flytrap_tests::bench_xdp::machine;
use flytrap_tests::lab::story::World;
use serde_json::Value;

/// Measure how fast `flytrap ban import` puts a list of IPv4 addresses in force
#[derive(Parser)]
struct Arguments {
    /// How often, each time with a gateway that has no bans yet
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Addresses on the list
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    entries: u32,
}

/// Seconds from the start of the command.
#[derive(Clone, Copy)]
struct Import {
    /// Until every address is in the kernel's table.
    in_force: f64,
    /// Until all are on disk too, and the command has ended.
    on_disk: f64,
    /// Of `in_force`: what came after the gateway had the list.
    gateway: f64,
    /// What the gateway's threads computed for it, on all processors.
    computed: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.rounds.max(1), arguments.entries) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: u32, entries: u32) -> Result<()> {
    let (mut new, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let world = World::isolated()?;
        let file = world.gateway.setup.directory.join("list.txt");
        std::fs::write(&file, list(entries)?)?;
        new.push(import(&world, &file, entries, 0)?);
        again.push(import(&world, &file, entries, entries)?);
    }
    println!(
        "a list of {entries} addresses, {rounds} rounds: {}",
        machine()?
    );
    report("new", entries, &new);
    report("again", entries, &again);
    Ok(())
}

/// Different addresses all over the address space, in no order.
fn list(entries: u32) -> Result<String> {
    let mut text = String::new();
    // An odd factor: no two of the products are the same.
    let addresses = (0..).map(|n: u32| Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1)));
    // The laboratory's own network.
    let others = addresses.filter(|address| address.octets()[0] != 10);
    for address in others.take(usize::try_from(entries)?) {
        writeln!(text, "{address}")?;
    }
    Ok(text)
}

fn import(world: &World, file: &Path, entries: u32, replaced: u32) -> Result<Import> {
    let file = file.to_str().context("a path that isn't UTF-8")?;
    let before = computed(world)?;
    let begin = Instant::now();
    let told = world
        .gateway
        .json(&["ban", "import", file, "--for", "24h"])?;
    let on_disk = begin.elapsed().as_secs_f64();
    for (key, expected) in [
        ("imported", entries),
        ("replaced", replaced),
        ("kernel_refused", 0),
    ] {
        let found = told.get(key).and_then(Value::as_u64);
        ensure!(
            found == Some(expected.into()),
            "{key} isn't {expected}: {told}"
        );
    }
    let seconds = |key| told.get(key).and_then(Value::as_f64).context("no times");
    let (gateway, saved) = (seconds("seconds_to_force")?, seconds("seconds")?);
    Ok(Import {
        in_force: on_disk - (saved - gateway),
        on_disk,
        gateway,
        computed: computed(world)? - before,
    })
}

/// Processor time of the gateway so far, in seconds.
fn computed(world: &World) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", world.gateway.id()))?;
    // See proc_pid_stat(5): the name, in parentheses, is the second field; utime and stime are the
    // 14th and 15th.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    // USER_HZ, the same on every machine that runs FlyTrap.
    Ok(f64::from(ticks) / 100.0)
}

fn report(what: &str, entries: u32, imports: &[Import]) {
    type Column = fn(&Import) -> f64;
    let rows: [(&str, Column); 4] = [
        ("command → in force", |one| one.in_force),
        ("  of it the gateway", |one| one.gateway),
        ("command → on disk", |one| one.on_disk),
        ("processor time of the gateway", |one| one.computed),
    ];
    for (row, column) in rows {
        let mut seconds: Vec<f64> = imports.iter().map(column).collect();
        seconds.sort_by(f64::total_cmp);
        let at = |index: usize| seconds.get(index).copied().unwrap_or(f64::NAN);
        let (median, last) = (at(seconds.len() / 2), seconds.len().saturating_sub(1));
        println!(
            "  {what}, {row}: median {median:.2} s ({:.0} a second), min {:.2}, max {:.2}",
            f64::from(entries) / median,
            at(0),
            at(last)
        );
    }
}
