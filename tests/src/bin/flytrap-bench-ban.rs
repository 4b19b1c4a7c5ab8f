//! `cargo xtask bench ban`: from the last failed login to the first dropped packet.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use clap::Parser;
use flytrap_common::abi::{Address4, Ban, MAP_BAN4};
use flytrap_tests::bench_xdp::machine;
use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::packet::Version;
use flytrap_tests::lab::story::World;
use flytrap_tests::lab::{PATIENCE, wait_for};

/// Measure the time from the last failed login to the first packet that the kernel drops
#[derive(Parser)]
struct Arguments {
    /// How often
    #[arg(long, default_value_t = 20)]
    rounds: u32,
}

/// Between two packets of the banned address: the resolution of "first dropped packet".
const INTERVAL: Duration = Duration::from_micros(100);
const ATTACKER: u8 = 1;

struct Round {
    /// From the sixth CONNECT on its way to the ban in the kernel map.
    in_force: Duration,
    /// From the same moment to the first packet that the ban dropped.
    dropped: Duration,
}

fn main() -> ExitCode {
    match run(Arguments::parse().rounds.max(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: u32) -> Result<()> {
    let world = World::isolated()?;
    let bans = Bans::open(&world.gateway.setup.pins(), world.net.device(ATTACKER))?;
    let mut results = Vec::new();
    for _ in 0..rounds {
        results.push(round(&world, &bans)?);
    }
    println!(
        "ban latency, {rounds} rounds: 5 failed logins, then the 6th; {}",
        machine()?
    );
    report(
        "sixth CONNECT sent → ban in the kernel map",
        results.iter().map(|r| r.in_force),
    );
    report(
        "sixth CONNECT sent → first packet dropped",
        results.iter().map(|r| r.dropped),
    );
    println!(
        "a packet of the banned address every {} µs",
        INTERVAL.as_micros()
    );
    Ok(())
}

fn round(world: &World, bans: &Bans) -> Result<Round> {
    let forged = world.login(&world.people.sensor, "sensor-1")?.forged();
    for _ in 0..5 {
        let reason = world.dial(ATTACKER, Version::V311)?.log_in(&forged)?;
        ensure!(reason != 0, "a forged login was accepted");
    }
    ensure!(bans.packets()?.is_none(), "banned before the sixth failure");

    let mut last = world.dial(ATTACKER, Version::V311)?;
    let connect = forged.connect(Version::V311).bytes();
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| send_packets(world, &stop));
        let result = measure(bans, || last.send(&connect));
        stop.store(true, Ordering::Release);
        result
    });
    let target = world.net.device(ATTACKER).to_string();
    let lifted = world.gateway.cli(&["ban", "lift", &target])?;
    ensure!(lifted.code == Some(0), "ban lift: {}", lifted.err);
    wait_for("the lift", || Ok(bans.packets()?.is_none().then_some(())))?;
    result
}

fn measure(bans: &Bans, fail: impl FnOnce() -> Result<()>) -> Result<Round> {
    let start = Instant::now();
    fail()?;
    let mut in_force = None;
    loop {
        match bans.packets()? {
            None => {}
            Some(0) => in_force = in_force.or_else(|| Some(start.elapsed())),
            Some(_) => {
                let dropped = start.elapsed();
                let in_force = in_force.unwrap_or(dropped);
                return Ok(Round { in_force, dropped });
            }
        }
        ensure!(start.elapsed() < PATIENCE, "no packet was dropped");
    }
}

/// Datagrams to a port where nobody listens: XDP judges them like any packet.
fn send_packets(world: &World, stop: &AtomicBool) -> Result<()> {
    let source = SocketAddr::new(world.net.device(ATTACKER), 0);
    let socket = world.net.devices.run(|| Ok(UdpSocket::bind(source)?))?;
    let to = SocketAddr::new(world.net.gateway_address(), 9);
    while !stop.load(Ordering::Acquire) {
        // Nobody listens, so the kernel reports a refusal now and then.
        let _ = socket.send_to(&[0; 16], to);
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

/// The ban map as the kernel has it.
struct Bans {
    map: HashMap<MapData, Address4, Ban>,
    key: Address4,
}

impl Bans {
    fn open(pins: &Path, address: IpAddr) -> Result<Self> {
        let IpAddr::V4(address) = address else {
            anyhow::bail!("the benchmark's addresses are IPv4");
        };
        let data =
            MapData::from_pin(pins.join(MAP_BAN4)).context("cannot open the pinned ban map")?;
        Ok(Self {
            map: HashMap::try_from(Map::HashMap(data))?,
            key: Address4 {
                address: address.octets(),
            },
        })
    }

    /// Packets that the ban dropped; `None`: no ban.
    fn packets(&self) -> Result<Option<u64>> {
        match self.map.get(&self.key, 0) {
            Ok(ban) => Ok(Some(ban.packets)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn report(what: &str, durations: impl Iterator<Item = Duration>) {
    let mut sorted: Vec<f64> = durations
        .map(|duration| duration.as_secs_f64() * 1e3)
        .collect();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let (median, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
    println!(
        "  {what}: median {:.2} ms, min {:.2}, max {:.2}",
        at(median),
        at(0),
        at(last)
    );
}

// `Net` decides the addresses; the sources here have to be among them.
const _: () = assert!(ATTACKER < Net::DEVICES);
