//! Nanoseconds for each packet, by `BPF_PROG_TEST_RUN`.
//!
//! The rounds of all cases are interleaved, so that a machine that changes its speed changes it
//! for all of them. Where sources are random, another program writes the next one into the packet
//! and calls the program under test; what that takes is measured in front of the empty program and
//! taken off: `(spoof + flytrap) − (spoof + empty) + empty`. The note says the time with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flytrap::kernel::{Mode, VerdictReason};
use flytrap::types::Prefix;
use flytrap_common::abi::{EMPTY_PROGRAM, PROGRAM};

use super::report::{Figure, Requirement, Table};
use super::rig::{DROP, PASS, Rig, SOURCES, Spoofer, XdpFilter, nanoseconds, packet};
use super::{SENDER_CPU, median, pin_to};

/// The bans of a busy site, and as many as fit.
const FEW: u32 = 1_000;
/// All of [`flytrap_common::abi::EXACT_BANS`].
const MANY: u32 = 1 << 20;

/// Packets in a round: fewer than there are sources, so that none comes twice.
const PACKETS: u32 = 200_000;
const _: () = assert!((PACKETS as usize) < SOURCES);

/// What the figures must be.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        figure: "ban-hit",
        to: "xdp-filter",
        must: 1.5,
        aim: Some(1.2),
    },
    Requirement {
        figure: "full-v4",
        to: "empty",
        must: 9.0,
        aim: Some(7.0),
    },
    Requirement {
        figure: "full-v6",
        to: "empty",
        must: 10.0,
        aim: Some(8.0),
    },
    Requirement {
        figure: "country-v4",
        to: "empty",
        must: 3.0,
        aim: Some(2.0),
    },
    Requirement {
        figure: "country-v6",
        to: "empty",
        must: 3.0,
        aim: Some(2.0),
    },
];

type Run<'a> = Box<dyn Fn(u32) -> Result<f64> + 'a>;

/// A way through a program.
struct Case<'a> {
    id: &'static str,
    what: &'static str,
    /// Runs it so often and says how many nanoseconds one took.
    run: Run<'a>,
    /// The case that spoofs the same sources in front of the empty program.
    spoof: Option<&'static str>,
    rounds: Vec<f64>,
}

impl<'a> Case<'a> {
    /// One packet again and again.
    fn fixed(
        id: &'static str,
        what: &'static str,
        (rig, name): (&'a Rig, &'static str),
        frame: Vec<u8>,
        (verdict, counted): (u32, Option<VerdictReason>),
    ) -> Self {
        let run = move |repeat| {
            let before = count(rig, counted)?;
            let result = nanoseconds(rig.program(name)?, &frame, verdict, repeat)?;
            let seen = count(rig, counted)? - before;
            ensure!(
                counted.is_none() || seen == u64::from(repeat),
                "{seen} of {repeat} packets counted"
            );
            Ok(result)
        };
        Self::new(id, what, Box::new(run))
    }

    /// The next source for every packet.
    fn spoofed(
        id: &'static str,
        what: &'static str,
        spoofer: &'a Spoofer,
        first: IpAddr,
        (rig, verdict, counted): (&'a Rig, u32, Option<VerdictReason>),
    ) -> Self {
        let frame = packet(first);
        let run = move |repeat| {
            let before = count(rig, counted)?;
            let result = nanoseconds(spoofer.program()?, &frame, verdict, repeat)?;
            let seen = count(rig, counted)? - before;
            ensure!(
                counted.is_none() || seen == u64::from(repeat),
                "{seen} of {repeat} packets counted"
            );
            Ok(result)
        };
        let spoof = if first.is_ipv4() {
            "spoof-v4"
        } else {
            "spoof-v6"
        };
        Self {
            spoof: counted.map(|_| spoof),
            ..Self::new(id, what, Box::new(run))
        }
    }

    fn new(id: &'static str, what: &'static str, run: Run<'a>) -> Self {
        Self {
            id,
            what,
            run,
            spoof: None,
            rounds: Vec::new(),
        }
    }
}

fn count(rig: &Rig, counted: Option<VerdictReason>) -> Result<u64> {
    counted.map_or(Ok(0), |counted| rig.counted(counted))
}

/// Pseudo-random numbers, the same in every run (splitmix64).
pub struct Random(pub u64);

impl Iterator for Random {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    }
}

/// The `number`th banned IPv4 address: spread over 224.0.0.0/3, where no random source is.
fn banned4(number: u32) -> Ipv4Addr {
    // An odd factor: another address for each number.
    Ipv4Addr::from_bits(0xe000_0000 | (number.wrapping_mul(0x9e37_79b1) & 0x1fff_ffff))
}

/// The `number`th banned IPv6 /64: spread over `c000::/3`.
fn banned6(number: u32) -> Ipv6Addr {
    let spread = u128::from(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3);
    Ipv6Addr::from_bits((0b110 << 125) | (spread << 64) | 1)
}

fn random4(number: u64) -> IpAddr {
    let bits = u32::try_from(number >> 32).unwrap_or(0);
    // Below 224.0.0.0, and not in 10.0.0.0/8, where the allowlist is.
    let bits = bits % 0xe000_0000;
    let bits = if bits >> 24 == 10 {
        bits | 1 << 24
    } else {
        bits
    };
    Ipv4Addr::from_bits(bits).into()
}

fn random6(number: u64) -> IpAddr {
    // In 2000::/3, all that is assigned.
    Ipv6Addr::from_bits(u128::from((number >> 3) | 1 << 61) << 64 | 1).into()
}

/// What is measured.
struct Programs {
    few: Rig,
    many: Rig,
    empty4: Spoofer,
    empty6: Spoofer,
    miss4: Spoofer,
    miss6: Spoofer,
    hit4: Spoofer,
    peer: Option<XdpFilter>,
}

impl Programs {
    fn load(object: &Path) -> Result<Self> {
        let rig = |bans| {
            let rig = Rig::new(&[], Mode::Native)?;
            rig.ban((0..bans).map(|each| Prefix::covering(banned4(each).into(), 32)))?;
            rig.ban((0..bans).map(|each| Prefix::covering(banned6(each).into(), 64)))?;
            anyhow::Ok(rig)
        };
        let (few, many) = (rig(FEW)?, rig(MANY)?);
        let random4: Vec<IpAddr> = Random(4).take(SOURCES).map(random4).collect();
        let random6: Vec<IpAddr> = Random(6).take(SOURCES).map(random6).collect();
        let banned: Vec<IpAddr> = Random(5)
            .take(SOURCES)
            .filter_map(|number| Some(banned4(u32::try_from(number >> 44).ok()?).into()))
            .collect();
        let spoofer = |sources: &[IpAddr], rig: &Rig, name| {
            Spoofer::in_front_of(object, sources, rig.program(name)?)
        };
        let listed: Vec<Ipv4Addr> = (0..FEW).map(banned4).collect();
        Ok(Self {
            empty4: spoofer(&random4, &few, EMPTY_PROGRAM)?,
            empty6: spoofer(&random6, &few, EMPTY_PROGRAM)?,
            miss4: spoofer(&random4, &many, PROGRAM)?,
            miss6: spoofer(&random6, &many, PROGRAM)?,
            hit4: spoofer(&banned, &many, PROGRAM)?,
            few,
            many,
            peer: XdpFilter::new(&listed)?,
        })
    }
}

/// Measures; `object` is the benchmark's own programs.
pub fn measure(object: &Path, rounds: u32) -> Result<Table> {
    pin_to(SENDER_CPU, None)?;
    let programs = Programs::load(object)?;
    let mut cases = cases(&programs);
    cases.extend(programs.peer.as_ref().map(beside));
    // The first round finds nothing in the caches.
    for round in 0..=rounds {
        for case in &mut cases {
            let result = (case.run)(PACKETS).with_context(|| case.what.to_owned())?;
            if round > 0 {
                case.rounds.push(result);
            }
        }
    }
    let mut table = table(&cases);
    if programs.peer.is_none() {
        let figure = Figure::missing("xdp-filter", "xdp-filter, drop by address", "not installed");
        table.figures.push(figure);
    }
    Ok(table)
}

fn beside(peer: &XdpFilter) -> Case<'_> {
    let frame = packet(banned4(7).into());
    let run = move |repeat| {
        let before = peer.dropped()?;
        let result = nanoseconds(peer.program()?, &frame, DROP, repeat)?;
        let seen = peer.dropped()? - before;
        ensure!(
            seen == u64::from(repeat),
            "xdp-filter counted {seen} of {repeat} packets"
        );
        Ok(result)
    };
    let what = "xdp-filter, drop by address: the same packet and bans";
    Case::new("xdp-filter", what, Box::new(run))
}

fn cases(all: &Programs) -> Vec<Case<'_>> {
    let any4: IpAddr = Ipv4Addr::new(192, 0, 2, 9).into();
    let any6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into();
    let allowed: IpAddr = Ipv4Addr::new(10, 3, 0, 1).into();
    let (hit, hit6): (IpAddr, IpAddr) = (banned4(7).into(), banned6(7).into());
    let Programs { few, many, .. } = all;
    let empty = (few, EMPTY_PROGRAM);
    let flytrap = (few, PROGRAM);
    let passed = (PASS, Some(VerdictReason::Pass));
    let exempt = (PASS, Some(VerdictReason::PassAllowlisted));
    let other = (PASS, Some(VerdictReason::PassNotIp));
    let dropped = (DROP, Some(VerdictReason::DropByHand));
    let missed = (many, PASS, Some(VerdictReason::Pass));
    let caught = (many, DROP, Some(VerdictReason::DropByHand));
    let spoof = (few, PASS, None);
    vec![
        Case::fixed(
            "empty",
            "an empty program",
            empty,
            packet(any4),
            (PASS, None),
        ),
        Case::spoofed(
            "spoof-v4",
            "writing the next source, then the empty program; IPv4",
            &all.empty4,
            any4,
            spoof,
        ),
        Case::spoofed("spoof-v6", "the same; IPv6", &all.empty6, any6, spoof),
        Case::fixed("not-ip", "pass: ARP", flytrap, arp(), other),
        Case::fixed(
            "allowlisted",
            "pass: on the allowlist",
            flytrap,
            packet(allowed),
            exempt,
        ),
        Case::fixed(
            "pass-v4",
            "pass: one IPv4 source, 1,000 bans",
            flytrap,
            packet(any4),
            passed,
        ),
        Case::fixed(
            "pass-v6",
            "pass: one IPv6 source, 1,000 bans",
            flytrap,
            packet(any6),
            passed,
        ),
        Case::fixed(
            "ban-hit",
            "drop: one banned IPv4 source, 1,000 bans",
            flytrap,
            packet(hit),
            dropped,
        ),
        Case::fixed(
            "ban-hit-v6",
            "drop: one banned IPv6 source, 1,000 bans",
            flytrap,
            packet(hit6),
            dropped,
        ),
        Case::spoofed(
            "ban-miss-v4",
            "pass: random IPv4 sources, 1,048,576 bans",
            &all.miss4,
            any4,
            missed,
        ),
        Case::spoofed(
            "ban-miss-v6",
            "pass: random IPv6 sources, 1,048,576 bans",
            &all.miss6,
            any6,
            missed,
        ),
        Case::spoofed(
            "ban-hit-many",
            "drop: random ones of 1,048,576 banned IPv4 sources",
            &all.hit4,
            hit,
            caught,
        ),
    ]
}

/// Takes off, round by round, what the spoofing adds to an empty program.
fn table(cases: &[Case]) -> Table {
    let rounds = |id| {
        let mut found = cases.iter().filter(|case| case.id == id);
        found.next().map_or(&[][..], |case| &case.rounds)
    };
    let figure = |case: &Case| {
        let Some(spoof) = case.spoof else {
            return Figure::of(case.id, case.what, &case.rounds);
        };
        let floors = rounds(spoof).iter().zip(rounds("empty"));
        let net: Vec<f64> = case
            .rounds
            .iter()
            .zip(floors)
            .map(|(whole, (spoof, empty))| whole - spoof + empty)
            .collect();
        let note = format!("{:.0} ns with the spoofing", median(&case.rounds));
        Figure::of(case.id, case.what, &net).noted(&note)
    };
    Table {
        title: "Nanoseconds for each packet",
        unit: "ns",
        base: "empty",
        figures: cases.iter().map(figure).collect(),
    }
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x06]);
    frame.resize(60, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spoofing_adds_is_taken_off_round_by_round() {
        let case = |id, spoof, rounds: &[f64]| Case {
            spoof,
            rounds: rounds.to_vec(),
            ..Case::new(id, id, Box::new(|_| Ok(0.0)))
        };
        let table = table(&[
            case("empty", None, &[10.0, 20.0]),
            case("spoof-v4", None, &[13.0, 25.0]),
            case("miss", Some("spoof-v4"), &[43.0, 85.0]),
        ]);
        let miss = table
            .figures
            .last()
            .map(|figure| (figure.range, &*figure.note));
        assert_eq!(miss, Some((Some((40.0, 80.0)), "85 ns with the spoofing")));
    }

    #[test]
    fn no_random_source_is_banned_or_allowlisted() {
        for number in Random(4).take(10_000) {
            let IpAddr::V4(address) = random4(number) else {
                continue;
            };
            assert!(address.octets()[0] < 224 && address.octets()[0] != 10);
            assert!(matches!(random6(number), IpAddr::V6(each) if each.segments()[0] >> 13 == 1));
        }
        for number in (0..MANY).step_by(997) {
            assert!(banned4(number).octets()[0] >= 224);
            assert!(banned6(number).segments()[0] >> 13 == 6);
        }
    }
}
