//! How honest clients fare while banned addresses flood another link of the same gateway.
//!
//! Real clients, gateway and broker; the flood comes in on a veth pair of its own. One CPU belongs
//! to the receiving side: gateway, broker and the NAPI threads of both links. The other one sends
//! the flood and runs the clients. The flood is paced, the same for every filter, so that a dear
//! filter takes the CPU from the gateway instead of slowing the sender down.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::nice;

use super::flood::{installed, napi_threads, shell};
use super::report::{Figure, Requirement, Table};
use super::rig::SOURCES;
use super::spoofer::{Spoofer, packet};
use super::{RECEIVER_CPU, SENDER_CPU, median, pin_to};
use crate::lab::netns::{DEVICES_LINK, Namespace, Net, Place};
use crate::lab::numbers::Numbers;
use crate::lab::packet::Version;
use crate::lab::story::World;
use crate::lab::wait_for;

/// Addresses that are banned and flood.
const ATTACKERS: u32 = 100_000;
/// Nanoseconds from one frame of the flood to the next: a million frames a second where the sender
/// keeps up, which gives way to the clients.
const GAP: u64 = 1_000;
/// Frames between two looks whether the round has ended.
const FRAMES: u32 = 200_000;
/// Honest clients, each waiting between the acknowledgement and its next publish.
const CLIENTS: usize = 16;
const PAUSE: Duration = Duration::from_millis(5);
/// How long a round of one filter lasts.
const ROUND: Duration = Duration::from_secs(2);

const fn at_most(figure: &'static str, to: &'static str) -> Requirement {
    Requirement {
        figure,
        to: Some(to),
        must: Some(1.0),
        aim: None,
    }
}

/// What the figures must be.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        figure: "drill-flytrap-failures",
        to: None,
        must: Some(0.0),
        aim: Some(0.0),
    },
    at_most("drill-flytrap-p50", "drill-nft-p50"),
    at_most("drill-flytrap-p99", "drill-nft-p99"),
    // Publishes each second: the other way round.
    at_most("drill-nft-rate", "drill-flytrap-rate"),
    Requirement {
        figure: "drill-flytrap-p99",
        to: Some("drill-quiet-p99"),
        must: None,
        aim: Some(2.0),
    },
];

/// What a filter's figures are called.
struct Names {
    what: &'static str,
    p50: &'static str,
    p99: &'static str,
    rate: &'static str,
    failures: &'static str,
}

macro_rules! names {
    ($id:literal, $what:literal) => {
        Names {
            what: $what,
            p50: concat!("drill-", $id, "-p50"),
            p99: concat!("drill-", $id, "-p99"),
            rate: concat!("drill-", $id, "-rate"),
            failures: concat!("drill-", $id, "-failures"),
        }
    };
}

/// Who drops the flood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    FlyTrap,
    Nftables,
    None,
}

/// A gateway with a broker behind it, honest clients on one link, attackers on another.
struct Stack {
    filter: Filter,
    world: World,
    attackers: Place,
    injector: Spoofer,
}

/// What became of the honest clients.
#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    rate: Vec<f64>,
    failures: Vec<f64>,
}

/// Measures; `object` is the benchmark's own programs.
pub fn measure(object: &Path, rounds: u32) -> Result<Table> {
    let mut table = Table {
        title: "Honest clients while 100,000 banned addresses send a million frames a second",
        unit: "",
        base: "drill-quiet-p99",
        figures: Vec::new(),
    };
    let nft = installed("nft");
    let flytrap = Stack::new(0, object, Filter::FlyTrap)?;
    let nftables = nft
        .then(|| Stack::new(1, object, Filter::Nftables))
        .transpose()?;
    let none = Stack::new(2, object, Filter::None)?;
    let mut lanes = vec![
        (
            names!("quiet", "no flood"),
            Some(&flytrap),
            false,
            Rounds::default(),
        ),
        (
            names!("flytrap", "FlyTrap, native XDP"),
            Some(&flytrap),
            true,
            Rounds::default(),
        ),
        (
            names!("nft", "nftables, netdev ingress"),
            nftables.as_ref(),
            true,
            Rounds::default(),
        ),
        (
            names!("none", "no filter"),
            Some(&none),
            true,
            Rounds::default(),
        ),
    ];
    for round in 0..=rounds {
        for (names, stack, flooded, seen) in &mut lanes {
            let Some(stack) = stack else { continue };
            let outcome = stack
                .round(*flooded)
                .with_context(|| names.what.to_owned())?;
            if round > 0 {
                seen.add(&outcome);
            }
        }
    }
    for (names, stack, _, seen) in &lanes {
        table.figures.extend(figures(names, stack.is_some(), seen));
    }
    Ok(table)
}

fn figures(names: &Names, installed: bool, seen: &Rounds) -> Vec<Figure> {
    let each = [
        (names.p50, "µs, publish to acknowledgement, p50", &seen.p50),
        (names.p99, "µs, p99", &seen.p99),
        (names.rate, "publishes each second", &seen.rate),
        (
            names.failures,
            "sessions or publishes that failed, all rounds",
            &seen.failures,
        ),
    ];
    let figure = |(id, kind, rounds): (&'static str, &str, &Vec<f64>)| {
        let what = format!("{}: {kind}", names.what);
        if !installed {
            return Figure::missing(id, &what, "not installed");
        }
        let mut figure = Figure::of(id, &what, rounds);
        if id == names.failures {
            // One in any round counts.
            figure.value = Some(rounds.iter().sum());
        }
        figure
    };
    each.into_iter().map(figure).collect()
}

/// One round.
struct Outcome {
    /// Microseconds from each publish to its acknowledgement.
    latencies: Vec<f64>,
    failures: u32,
    took: Duration,
}

impl Rounds {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn add(&mut self, outcome: &Outcome) {
        let mut sorted = outcome.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let p99 = sorted.get(sorted.len() * 99 / 100).copied();
        self.p50.push(median(&outcome.latencies));
        self.p99.push(p99.unwrap_or(f64::NAN));
        self.rate
            .push(sorted.len() as f64 / outcome.took.as_secs_f64());
        self.failures.push(f64::from(outcome.failures));
    }
}

fn attackers() -> impl Iterator<Item = Ipv4Addr> {
    (0..ATTACKERS).map(|number| Ipv4Addr::from_bits(0xc612_0000 + number))
}

impl Stack {
    fn new(number: usize, object: &Path, filter: Filter) -> Result<Self> {
        // Whatever is started from here on inherits the receiving CPU.
        pin_to(RECEIVER_CPU, None)?;
        let net = Net::isolated()?;
        let name = format!("ftd{}-{number}", std::process::id());
        let attackers = Place::In(std::sync::Arc::new(Namespace::create(&name)?));
        let link = format!("fd{}x{number}", std::process::id());
        let Place::In(gateway) = &net.gateway else {
            anyhow::bail!("the gateway has no namespace");
        };
        shell(
            &attackers,
            &format!(
                "ip link add peer numtxqueues 1 numrxqueues 1 type veth peer name {link} \
                 numtxqueues 1 numrxqueues 1 netns {gateway}; ip link set peer up"
            ),
        )?;
        shell(
            &net.gateway,
            &format!(
                "ip link set {link} address 02:00:00:00:00:01; ip address add 192.0.2.1/24 dev \
                 {link}; ip link set {link} up; ethtool -K {link} gro on; ethtool -K gw0 gro on"
            ),
        )?;
        // With TSO the kernel delivers what clients send on their own CPU, past the gateway's NAPI,
        // wherever no XDP program wants it.
        shell(
            &net.devices,
            &format!("ethtool -K {DEVICES_LINK} tso off gso off"),
        )?;
        let world = World::new(net, |setup, _| {
            let interfaces = match filter {
                Filter::FlyTrap => vec!["gw0", link.as_str()],
                Filter::Nftables | Filter::None => Vec::new(),
            };
            setup.set("xdp.interfaces", interfaces);
            setup.set("xdp.event_sample", 1_024);
        })?;
        match filter {
            Filter::FlyTrap => {
                let list = world.directory.join("attackers");
                write_list(&list, "", "\n", "\n")?;
                let list = list.to_str().context("a path that isn't UTF-8")?;
                world.gateway.json(&["ban", "import", list])?;
            }
            Filter::Nftables => {
                let rules = world.directory.join("rules");
                let head = format!(
                    "table netdev bench {{ counter dropped {{ }}\n\
                     chain bans {{ type filter hook ingress device {link} priority 0; \
                     ip saddr @bans counter name dropped drop\n}}\n\
                     set bans {{ type ipv4_addr; elements = {{ "
                );
                write_list(&rules, &head, ", ", " } }\n}\n")?;
                shell(&world.net.gateway, &format!("nft -f {}", rules.display()))?;
            }
            Filter::None => {}
        }
        for link in [link.as_str(), "gw0"] {
            let name = world.net.gateway.clone();
            let Place::In(name) = &name else { continue };
            let set =
                format!("ip netns exec {name} sh -c 'echo 1 > /sys/class/net/{link}/threaded'");
            shell(&Place::Here, &set)?;
            let threads = wait_for("the NAPI threads", || {
                Ok(Some(napi_threads(link)?).filter(|threads| !threads.is_empty()))
            })?;
            for thread in threads {
                pin_to(RECEIVER_CPU, Some(thread))?;
            }
        }
        pin_to(SENDER_CPU, None)?;
        let index = shell(&attackers, "ip -o link show peer")?;
        let index = index.split(':').next().context("no interface index")?;
        let addresses: Vec<Ipv4Addr> = self::attackers().collect();
        let sources: Vec<IpAddr> = Numbers(19)
            .filter_map(|number| {
                let at = usize::try_from(number >> 32).ok()? % addresses.len();
                addresses.get(at).copied().map(IpAddr::from)
            })
            .take(SOURCES)
            .collect();
        let mut injector = Spoofer::onto(object, &sources, index.trim().parse()?)?;
        injector.pace(GAP)?;
        Ok(Self {
            filter,
            world,
            attackers,
            injector,
        })
    }

    fn round(&self, flooded: bool) -> Result<Outcome> {
        let before = self.dropped()?;
        let ended = AtomicBool::new(false);
        let (outcome, sent) = thread::scope(|scope| {
            let flood = flooded.then(|| scope.spawn(|| self.flood(&ended)));
            let outcome = self.clients();
            ended.store(true, Ordering::Relaxed);
            let sent = flood.map_or(Ok(0), |flood| {
                flood
                    .join()
                    .map_err(|_| anyhow::anyhow!("the flood panicked"))?
            });
            anyhow::Ok((outcome, sent?))
        })?;
        if flooded && self.filter != Filter::None {
            let dropped = self.dropped()? - before;
            // A filter that isn't in force must not look good, nor one that got no flood.
            ensure!(
                dropped > sent / 2,
                "only {dropped} of {sent} frames were dropped by it"
            );
        }
        Ok(outcome)
    }

    /// Sends until the end; what is late isn't made up for.
    fn flood(&self, ended: &AtomicBool) -> Result<u64> {
        let frame = packet(Ipv4Addr::new(198, 18, 0, 0).into());
        self.attackers.run(|| {
            pin_to(SENDER_CPU, None)?;
            // The clients share this CPU, and shall wait for the gateway and not for the flood.
            nice(19)?;
            let mut sent = 0;
            while !ended.load(Ordering::Relaxed) {
                self.injector.send(&frame, FRAMES)?;
                sent += u64::from(FRAMES);
            }
            Ok(sent)
        })
    }

    fn clients(&self) -> Outcome {
        let begin = Instant::now();
        let each: Vec<(Vec<f64>, u32)> = thread::scope(|scope| {
            let spawned: Vec<_> = (0..CLIENTS)
                .map(|number| scope.spawn(move || self.client(number, begin + ROUND)))
                .collect();
            let joined = spawned.into_iter().map(thread::ScopedJoinHandle::join);
            joined.map(|seen| seen.unwrap_or((Vec::new(), 1))).collect()
        });
        let took = begin.elapsed();
        Outcome {
            failures: each.iter().map(|(_, failures)| failures).sum(),
            latencies: each
                .into_iter()
                .flat_map(|(latencies, _)| latencies)
                .collect(),
            took,
        }
    }

    /// Logs in and publishes until the end, or the first failure.
    fn client(&self, number: usize, end: Instant) -> (Vec<f64>, u32) {
        let mut latencies = Vec::new();
        let mut session = || {
            let people = &self.world.people;
            let name = format!("honest-{number}");
            let mut raw = self.world.session(&people.sensor, &name, Version::V311)?;
            while Instant::now() < end {
                let begin = Instant::now();
                let reason = raw.publish("plant/line1/drill", b"21.5", 1)?;
                ensure!(reason == 0, "refused with {reason:#04x}");
                latencies.push(begin.elapsed().as_secs_f64() * 1e6);
                thread::sleep(PAUSE);
            }
            anyhow::Ok(())
        };
        let failures = u32::from(session().is_err());
        (latencies, failures)
    }

    /// Frames that the filter dropped, by its own count.
    fn dropped(&self) -> Result<u64> {
        match self.filter {
            Filter::FlyTrap => self.world.gateway.dropped(),
            Filter::Nftables => {
                let counters = "nft list counters | grep -o 'packets [0-9]*'";
                let text = shell(&self.world.net.gateway, counters)?;
                let number = text.trim().strip_prefix("packets ");
                number
                    .with_context(|| format!("no count in {text:?}"))?
                    .parse()
                    .context("a count")
            }
            Filter::None => Ok(0),
        }
    }
}

fn write_list(file: &Path, head: &str, separator: &str, tail: &str) -> Result<()> {
    let mut text = head.to_owned();
    for (number, address) in attackers().enumerate() {
        let separator = if number == 0 { "" } else { separator };
        write!(text, "{separator}{address}")?;
    }
    text.push_str(tail);
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
