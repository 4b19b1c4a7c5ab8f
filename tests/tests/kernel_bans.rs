//! The tables of bans under churn, a take-over and a full load, judged by the kernel program
//! itself (`BPF_PROG_TEST_RUN`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use flytrap::kernel::{AllowedPrefix, Blocklist, KernelBan, KernelError};
use flytrap::types::Prefix;
use flytrap_common::abi::{EXACT_BANS, MAP_FILTER4, MAP_FILTER6, PROGRAM, reason};
use flytrap_common::filter::WORDS;
use flytrap_tests::lab::frame::{SYN, from, tcp};
use flytrap_tests::lab::numbers::Numbers;
use flytrap_tests::lab::rig::{Rig, XDP_DROP, XDP_PASS};

const HOUR: Duration = Duration::from_hours(1);

/// A pin directory of this test's own, gone with its pins however the test ends.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        Self(PathBuf::from(format!(
            "/sys/fs/bpf/flytrap-bans-{pid}-{number}"
        )))
    }

    /// Every word of a filter.
    fn filter(&self, name: &str) -> Array<MapData, u64> {
        let map = MapData::from_pin(self.0.join(name)).unwrap();
        Map::from_map_data(map).unwrap().try_into().unwrap()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A plane that is kept, as a gateway keeps it: the next one takes its maps over.
fn kept(pins: &Pins) -> Rig {
    let rig = Rig::with(|settings| settings.pin_dir.clone_from(&pins.0));
    rig.plane.keep().unwrap();
    rig
}

fn ban(rig: &Rig, target: Prefix, id: u64) -> Result<(), KernelError> {
    rig.plane.ban(&KernelBan {
        target,
        id,
        reason: reason::BY_HAND,
        remaining: HOUR,
    })
}

fn verdict(rig: &Rig, source: IpAddr) -> u32 {
    rig.verdict(&tcp(source, 1883, SYN))
}

/// Both families, by turns.
fn source(number: u32) -> IpAddr {
    if number.is_multiple_of(2) {
        Ipv4Addr::from_bits(0x0a00_0000 | number).into()
    } else {
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number) << 64 | 7).into()
    }
}

fn target(number: u32) -> Prefix {
    Prefix::of_source(source(number))
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn no_ban_is_missed_however_others_come_and_go() {
    let pins = Pins::new();
    let mut rig = kept(&pins);
    let mut numbers = Numbers(7);
    let mut banned = BTreeSet::new();
    for step in 0..20_000_u32 {
        let number = u32::try_from(numbers.below(1024)).unwrap();
        if numbers.below(2) == 0 {
            // Also again, in place of the one before.
            ban(&rig, target(number), step.into()).unwrap();
            banned.insert(number);
        } else {
            let was = rig.plane.lift(target(number)).unwrap();
            assert_eq!(was, banned.remove(&number));
        }
        let asked = u32::try_from(numbers.below(1024)).unwrap();
        let expected = if banned.contains(&asked) {
            XDP_DROP
        } else {
            XDP_PASS
        };
        assert_eq!(verdict(&rig, source(asked)), expected, "step {step}");
        if step == 10_000 {
            // Another gateway takes over, and counts from what it finds.
            drop(rig);
            rig = kept(&pins);
        }
    }
    for number in 0..1024 {
        let dropped = verdict(&rig, source(number)) == XDP_DROP;
        assert_eq!(dropped, banned.contains(&number));
    }
    for number in banned {
        rig.plane.lift(target(number)).unwrap();
    }
    for name in [MAP_FILTER4, MAP_FILTER6] {
        let words: Result<Vec<u64>, _> = pins.filter(name).iter().collect();
        let words = words.unwrap();
        assert!(words.iter().all(|word| *word == 0), "no bit is left behind");
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn bits_that_a_killed_gateway_left_are_cleared_and_none_is_missing() {
    let pins = Pins::new();
    let rig = kept(&pins);
    ban(&rig, target(2), 1).unwrap();
    drop(rig);
    // As if it had been killed between the filter and the ban.
    let mut filter = pins.filter(MAP_FILTER4);
    for word in 0..1000 {
        let bits: u64 = filter.get(&word, 0).unwrap();
        filter.set(word, bits | 0x5555, 0).unwrap();
    }
    let rig = kept(&pins);
    assert_eq!(verdict(&rig, source(2)), XDP_DROP);
    let words: Result<Vec<u64>, _> = filter.iter().collect();
    let ones: u32 = words.unwrap().iter().map(|word| word.count_ones()).sum();
    assert!((1..=4).contains(&ones), "{ones} bits for one ban");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn who_is_exempt_for_a_time_is_exempt_that_long() {
    let pins = Pins::new();
    let rig = kept(&pins);
    let prefix = |text: &str| -> Prefix { text.parse().unwrap() };
    for target in ["192.0.2.0/24", "2001:db8::/32"] {
        ban(&rig, prefix(target), 1).unwrap();
    }
    rig.plane.allow_for(prefix("192.0.2.7"), HOUR).unwrap();
    rig.plane.allow_for(prefix("2001:db8::7"), HOUR).unwrap();
    assert_eq!(rig.verdict(&from("192.0.2.7")), XDP_PASS);
    assert_eq!(rig.verdict(&from("2001:db8::7")), XDP_PASS);
    assert_eq!(rig.verdict(&from("192.0.2.8")), XDP_DROP);
    // An entry that has run out is without effect, and none.
    rig.plane
        .allow_for(prefix("192.0.2.8"), Duration::ZERO)
        .unwrap();
    assert_eq!(rig.verdict(&from("192.0.2.8")), XDP_DROP);

    // What the configuration says comes and goes; the hour stays.
    rig.plane.set_allowlist(&[prefix("192.0.2.9")]).unwrap();
    assert_eq!(rig.verdict(&from("192.0.2.7")), XDP_PASS);
    assert_eq!(rig.verdict(&from("192.0.2.9")), XDP_PASS);
    let list = rig.plane.allowlist().unwrap();
    let shown: Vec<_> = list.iter().map(|one| one.prefix.to_string()).collect();
    assert_eq!(shown, ["192.0.2.7", "192.0.2.9", "2001:db8::7"]);
    let AllowedPrefix { remaining, .. } = list[0];
    assert!(remaining.is_some_and(|left| left <= HOUR));
    assert_eq!(list[1].remaining, None);
    rig.plane.set_allowlist(&[]).unwrap();
    assert_eq!(rig.verdict(&from("192.0.2.9")), XDP_DROP);
    assert_eq!(rig.verdict(&from("192.0.2.7")), XDP_PASS);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn no_exemption_hides_a_longer_one_once_it_has_run_out() {
    let pins = Pins::new();
    let rig = kept(&pins);
    let prefix = |text: &str| -> Prefix { text.parse().unwrap() };
    ban(&rig, prefix("192.0.0.0/16"), 1).unwrap();
    // Inside what is exempt for ever.
    rig.plane.set_allowlist(&[prefix("192.0.2.0/24")]).unwrap();
    rig.plane
        .allow_for(prefix("192.0.2.7"), Duration::ZERO)
        .unwrap();
    assert_eq!(rig.verdict(&from("192.0.2.7")), XDP_PASS);
    // Inside what is exempt for longer.
    rig.plane.allow_for(prefix("192.0.3.0/24"), HOUR).unwrap();
    rig.plane
        .allow_for(prefix("192.0.3.7"), Duration::ZERO)
        .unwrap();
    assert_eq!(rig.verdict(&from("192.0.3.7")), XDP_PASS);
    // The shorter one was there first.
    rig.plane
        .allow_for(prefix("192.0.4.7"), Duration::ZERO)
        .unwrap();
    rig.plane.allow_for(prefix("192.0.4.0/24"), HOUR).unwrap();
    assert_eq!(rig.verdict(&from("192.0.4.7")), XDP_PASS);
    rig.plane
        .allow_for(prefix("192.0.5.7"), Duration::ZERO)
        .unwrap();
    rig.plane.set_allowlist(&[prefix("192.0.5.0/24")]).unwrap();
    assert_eq!(rig.verdict(&from("192.0.5.7")), XDP_PASS);
}

/// A million bans: every one drops, few others get past the filter, and what that saves
/// (`--nocapture`). The times are shown, not judged: another load on the machine would.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_full_table_drops_every_source_in_it() {
    let pins = Pins::new();
    let rig = kept(&pins);
    let of = |n: u32| Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761));
    let bans = u32::try_from(EXACT_BANS).unwrap();
    let begin = Instant::now();
    for n in 0..bans {
        ban(&rig, Prefix::of_source(of(n).into()), n.into()).unwrap();
    }
    println!("{bans} bans placed in {:?}", begin.elapsed());
    let full = ban(&rig, Prefix::of_source(of(bans).into()), 0).unwrap_err();
    assert!(matches!(full, KernelError::Full { .. }), "{full}");
    assert!(
        (0..bans)
            .step_by(17)
            .all(|n| verdict(&rig, of(n).into()) == XDP_DROP)
    );

    let others = || (bans..2 * bans).step_by(331).map(of).map(IpAddr::from);
    let timed = |source, repeat| {
        let frame = tcp(source, 1883, SYN);
        rig.programs.run(PROGRAM, &frame, repeat)
    };
    let cost = |name: &str| {
        let mut cold: Vec<_> = others()
            .map(|source| {
                let (verdict, time) = timed(source, 1);
                assert_eq!(verdict, XDP_PASS);
                time.as_nanos()
            })
            .collect();
        cold.sort_unstable();
        let mut hot: Vec<_> = others()
            .take(11)
            .map(|source| timed(source, 200_000).1.as_nanos())
            .collect();
        hot.sort_unstable();
        let (cold, hot) = (cold[cold.len() / 2], hot[hot.len() / 2]);
        println!("ban miss among {bans}, {name}: {cold} ns first packet, {hot} ns repeated");
    };
    cost("filter");
    let mut filter = pins.filter(MAP_FILTER4);
    let words: Result<Vec<u64>, _> = filter.iter().collect();
    let words = words.unwrap();
    for word in 0..u32::try_from(WORDS).unwrap() {
        filter.set(word, u64::MAX, 0).unwrap();
    }
    cost("filter that lets all through");
    let through = (bans..2 * bans).map(of).filter(|other| {
        let bits = flytrap_common::filter::Bits::of_address4(other.octets());
        bits.in_word(words[bits.word as usize])
    });
    let through = through.count();
    println!("{through} of {bans} others get past the filter");
    assert!(through < EXACT_BANS / 50, "less than 2 %");
}
