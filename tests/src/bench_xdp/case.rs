//! One way through a program, timed round by round.
//!
//! The rounds of all cases are interleaved, so that a machine that changes its speed changes it
//! for all of them. Where sources are random, another program writes the next one into the packet
//! and calls the program under test; what that takes is measured in front of the empty program and
//! taken off: `(spoof + flytrap) − (spoof + empty) + empty`. The note says the time with it. A packet
//! that is overwritten by its answer is restored in the same way.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use flytrap::kernel::VerdictReason;
use flytrap_common::abi::PROGRAM;

use super::median;
use super::report::{Figure, Table};
use super::restore::Restorer;
use super::rig::{SOURCES, nanoseconds, timed};
use super::spoofer::{Spoofer, packet};
use crate::lab::rig::{Rig, XDP_DROP};

/// Packets in a round: fewer than there are sources, so that none comes twice.
const PACKETS: u32 = 200_000;
const _: () = assert!((PACKETS as usize) < SOURCES);

type Run<'a> = Box<dyn Fn(u32) -> Result<f64> + 'a>;

/// A way through a program.
pub(super) struct Case<'a> {
    /// What requirements call it.
    pub(super) id: &'static str,
    /// What is done.
    pub(super) what: &'static str,
    /// Runs it so often and says how many nanoseconds one took.
    run: Run<'a>,
    /// The case that spoofs the same sources, or restores the same packet, in front of the empty
    /// program.
    spoof: Option<&'static str>,
    /// The figures so far.
    pub(super) rounds: Vec<f64>,
}

impl<'a> Case<'a> {
    /// One packet again and again.
    pub(super) fn fixed(
        id: &'static str,
        what: &'static str,
        (rig, name): (&'a Rig, &'static str),
        frame: Vec<u8>,
        (verdict, counted): (u32, Option<VerdictReason>),
    ) -> Self {
        let run = move |repeat| {
            let before = count(rig, counted)?;
            let result = nanoseconds(rig.programs.named(name)?, &frame, verdict, repeat)?;
            let seen = count(rig, counted)? - before;
            ensure!(
                counted.is_none() || seen == u64::from(repeat),
                "{seen} of {repeat} packets counted"
            );
            Ok(result)
        };
        Self::new(id, what, Box::new(run))
    }

    /// The same where a few packets may pass, as a limit lets them.
    pub(super) fn mostly(
        id: &'static str,
        what: &'static str,
        rig: &'a Rig,
        frame: Vec<u8>,
        counted: VerdictReason,
    ) -> Self {
        let run = move |repeat: u32| {
            let before = rig.counted(counted)?;
            let result = nanoseconds(rig.programs.named(PROGRAM)?, &frame, XDP_DROP, repeat)?;
            let seen = rig.counted(counted)? - before;
            ensure!(
                seen + 10 > u64::from(repeat),
                "{seen} of {repeat} packets counted"
            );
            Ok(result)
        };
        Self::new(id, what, Box::new(run))
    }

    /// Runs and times it once more. The caches are full of the case before, and filling them anew is a large
    /// part of so few packets, so that a run that isn't timed goes before.
    pub(super) fn round(&mut self) -> Result<()> {
        let run = || (self.run)(PACKETS).with_context(|| self.what.to_owned());
        run()?;
        let result = run()?;
        self.rounds.push(result);
        Ok(())
    }

    /// The next source for every packet.
    pub(super) fn spoofed(
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
        Self {
            spoof: counted.map(|_| spoof(first)),
            ..Self::new(id, what, Box::new(run))
        }
    }

    /// The next source for every packet, and its country instead of a verdict.
    pub(super) fn country(
        id: &'static str,
        what: &'static str,
        spoofer: &'a Spoofer,
        first: IpAddr,
    ) -> Self {
        let frame = packet(first);
        let run = move |repeat| {
            let (country, time) = timed(spoofer.program()?, &frame, repeat)?;
            ensure!(country > 0, "the last source had no country");
            Ok(time)
        };
        Self {
            spoof: Some(spoof(first)),
            ..Self::new(id, what, Box::new(run))
        }
    }

    /// The same packet before every run, in front of a program that overwrites it. A few may get
    /// another verdict, as a limit lets them; the last has to get this one.
    pub(super) fn restored(
        id: &'static str,
        what: &'static str,
        restorer: &'a Restorer,
        (rig, verdict, counted): (&'a Rig, u32, Option<VerdictReason>),
    ) -> Self {
        let run = move |repeat| {
            let before = count(rig, counted)?;
            let result = nanoseconds(restorer.program()?, &restorer.frame, verdict, repeat)?;
            let seen = count(rig, counted)? - before;
            ensure!(
                counted.is_none() || seen + 10 > u64::from(repeat),
                "{seen} of {repeat} packets counted"
            );
            Ok(result)
        };
        Self {
            spoof: counted.map(|_| restore(&restorer.frame)),
            ..Self::new(id, what, Box::new(run))
        }
    }

    /// Any way to run it.
    pub(super) fn new(id: &'static str, what: &'static str, run: Run<'a>) -> Self {
        Self {
            id,
            what,
            run,
            spoof: None,
            rounds: Vec::new(),
        }
    }
}

/// The case that does the same in front of the empty program.
fn spoof(first: IpAddr) -> &'static str {
    if first.is_ipv4() {
        "spoof-v4"
    } else {
        "spoof-v6"
    }
}

/// The same of a packet that is restored.
fn restore(frame: &[u8]) -> &'static str {
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, ..] => "restore-v4",
        _ => "restore-v6",
    }
}

fn count(rig: &Rig, counted: Option<VerdictReason>) -> Result<u64> {
    counted.map_or(Ok(0), |counted| rig.counted(counted))
}

/// Takes off, round by round, what the spoofing adds to an empty program.
pub(super) fn table(cases: &[Case]) -> Table {
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
        let added = if spoof.starts_with("spoof") {
            "spoofing"
        } else {
            "restoring"
        };
        let note = format!("{:.0} ns with the {}", median(&case.rounds), added);
        Figure::of(case.id, case.what, &net).noted(&note)
    };
    Table {
        title: "Nanoseconds for each packet",
        unit: "ns",
        base: "empty",
        figures: cases.iter().map(figure).collect(),
    }
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
}
