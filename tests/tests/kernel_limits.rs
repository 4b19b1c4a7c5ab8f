//! The limits on new connections: by `BPF_PROG_TEST_RUN` with limits that hold for an hour, so that
//! a busy machine changes nothing, and on a real interface with real connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use flytrap::kernel::{Blocklist, Limit, Limits, VerdictReason};
use flytrap_common::abi::PROGRAM;
use flytrap_tests::lab::frame::{ACK, SYN, tcp};
use flytrap_tests::lab::rig::{Rig, XDP_DROP, XDP_PASS};
use flytrap_tests::lab::veth::{BRIEF, FOREVER, GATEWAY, Lab, attached, started};
use rustix::thread::{CpuSet, sched_setaffinity};

const GUARDED: u16 = 1883;

/// So many at once, and the next one an hour later.
fn at_once(burst: u32) -> Limit {
    let interval = 3_600_000_000_000;
    Limit {
        interval,
        tolerance: interval * u64::from(burst - 1),
    }
}

fn rig(source: Limit, total: Limit) -> Rig {
    Rig::with(|settings| settings.limits = Limits { source, total })
}

fn segment(source: &str, port: u16, flags: u8) -> Vec<u8> {
    tcp(source.parse().unwrap(), port, flags)
}

fn syn(source: &str) -> Vec<u8> {
    segment(source, GUARDED, SYN)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_source_may_open_its_burst_and_others_theirs() {
    let rig = rig(at_once(3), Limit::NONE);
    // Of one /64, two sources are one.
    for (sources, other) in [
        (["192.0.2.7", "192.0.2.7"], "192.0.2.8"),
        (["2001:db8::7", "2001:db8::8:0:0:1"], "2001:db8:0:1::7"),
    ] {
        for source in [sources[0], sources[1], sources[0]] {
            rig.expect(&syn(source), XDP_PASS, VerdictReason::Pass);
        }
        for source in sources {
            rig.expect(&syn(source), XDP_DROP, VerdictReason::DropSourceLimit);
        }
        rig.expect(&syn(other), XDP_PASS, VerdictReason::Pass);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_opens_no_connection_to_a_guarded_port_is_not_limited() {
    let rig = rig(at_once(1), at_once(2));
    for source in ["192.0.2.7", "2001:db8::7"] {
        rig.expect(&syn(source), XDP_PASS, VerdictReason::Pass);
        rig.expect(&syn(source), XDP_DROP, VerdictReason::DropSourceLimit);
        for flags in [ACK, SYN | ACK, ACK | 1 << 3, ACK | 1, 1 << 2, 0] {
            let segment = segment(source, GUARDED, flags);
            rig.expect(&segment, XDP_PASS, VerdictReason::Pass);
        }
        for port in [22, GUARDED - 1, GUARDED + 64] {
            rig.expect(&segment(source, port, SYN), XDP_PASS, VerdictReason::Pass);
        }
    }
    // Both bursts are used up, and that by SYNs alone: also those with other flags are some.
    for flags in [SYN, SYN | 1, SYN | 1 << 3, SYN | 0xc0] {
        let segment = segment("192.0.2.8", GUARDED, flags);
        let verdict = if flags == SYN {
            VerdictReason::DropTotalLimit
        } else {
            VerdictReason::DropSourceLimit
        };
        rig.expect(&segment, XDP_DROP, verdict);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_is_over_a_sources_limit_does_not_count_in_total() {
    let rig = rig(at_once(2), at_once(3));
    for _ in 0..2 {
        rig.expect(&syn("192.0.2.7"), XDP_PASS, VerdictReason::Pass);
    }
    for _ in 0..10 {
        let syn = syn("192.0.2.7");
        rig.expect(&syn, XDP_DROP, VerdictReason::DropSourceLimit);
    }
    rig.expect(&syn("2001:db8::7"), XDP_PASS, VerdictReason::Pass);
    for other in ["2001:db8::7", "192.0.2.8", "2001:db8:1::7"] {
        rig.expect(&syn(other), XDP_DROP, VerdictReason::DropTotalLimit);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_allowlist_is_exempt_but_counts_in_total() {
    let rig = rig(at_once(1), at_once(6));
    let allowlist = ["192.0.2.0/24", "2001:db8::/32"].map(|prefix| prefix.parse().unwrap());
    rig.plane.set_allowlist(&allowlist).unwrap();
    for source in ["192.0.2.7", "2001:db8::7", "192.0.2.7", "2001:db8::7"] {
        rig.expect(&syn(source), XDP_PASS, VerdictReason::PassAllowlisted);
    }
    rig.expect(&syn("198.51.100.7"), XDP_PASS, VerdictReason::Pass);
    let over = syn("198.51.100.7");
    rig.expect(&over, XDP_DROP, VerdictReason::DropSourceLimit);
    rig.expect(&syn("192.0.2.7"), XDP_PASS, VerdictReason::PassAllowlisted);
    for source in ["192.0.2.7", "2001:db8::7"] {
        rig.expect(&syn(source), XDP_DROP, VerdictReason::DropTotalLimit);
        let short = syn(source).len() - 7;
        for other in [
            segment(source, GUARDED, ACK),
            segment(source, 22, SYN),
            // Cut off inside the TCP header.
            syn(source)[..short].to_vec(),
        ] {
            rig.expect(&other, XDP_PASS, VerdictReason::PassAllowlisted);
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_refused_connection_is_reported_with_its_port() {
    let mut rig = Rig::with(|settings| {
        settings.event_sample = 1;
        settings.limits.source = at_once(1);
        settings.limits.total = at_once(2);
    });
    for source in ["192.0.2.7", "192.0.2.7", "2001:db8::7", "2001:db8:1::7"] {
        rig.verdict(&syn(source));
    }
    for (source, outcome) in [
        ("192.0.2.7", VerdictReason::DropSourceLimit),
        ("2001:db8:1::7", VerdictReason::DropTotalLimit),
    ] {
        let drop = rig.next_drop();
        assert_eq!(drop.source, source.parse::<IpAddr>().unwrap());
        assert_eq!(drop.outcome, outcome);
        assert_eq!(drop.destination_port, GUARDED);
        assert_eq!((drop.protocol, drop.ban_id, drop.first_hit), (6, 0, false));
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_source_recovers_at_its_rate_and_not_faster() {
    let limit = Limit::per_second(20, 2);
    let rig = rig(limit, Limit::NONE);
    let started = Instant::now();
    let (mut passed, mut dropped) = (0, 0);
    while dropped == 0 || passed < 6 {
        if rig.verdict(&syn("192.0.2.7")) == XDP_DROP {
            dropped += 1;
            continue;
        }
        // This clock is read before the first and after this one, so it saw no less time pass.
        let passed_time = started.elapsed() + Duration::from_nanos(limit.tolerance);
        assert!(passed_time >= Duration::from_nanos(limit.interval * passed));
        passed += 1;
    }
    assert_eq!(rig.counted(VerdictReason::Pass).unwrap(), passed);
    assert_eq!(
        rig.counted(VerdictReason::DropSourceLimit).unwrap(),
        dropped
    );
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn all_cpus_together_let_through_one_burst() {
    const BURST: u32 = 20_000;
    const EACH: u32 = 200_000;
    for (limits, dropped) in [
        (
            (at_once(BURST), Limit::NONE),
            VerdictReason::DropSourceLimit,
        ),
        ((Limit::NONE, at_once(BURST)), VerdictReason::DropTotalLimit),
    ] {
        let rig = rig(limits.0, limits.1);
        let syn = syn("192.0.2.7");
        let cpus = std::thread::available_parallelism().unwrap().get();
        std::thread::scope(|scope| {
            for cpu in 0..cpus {
                let (rig, syn) = (&rig, &syn);
                scope.spawn(move || {
                    let mut set = CpuSet::new();
                    set.set(cpu);
                    // Where it may not run there, it runs elsewhere.
                    let _ = sched_setaffinity(None, &set);
                    rig.programs.run(PROGRAM, syn, EACH)
                });
            }
        });
        assert_eq!(rig.counted(VerdictReason::Pass).unwrap(), u64::from(BURST));
        let sent = u64::from(EACH) * cpus as u64;
        assert_eq!(rig.counted(dropped).unwrap(), sent - u64::from(BURST));
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_million_forged_sources_take_nothing_from_an_honest_one() {
    const FORGED: u32 = 1 << 20;
    /// One honest connection after so many forged ones.
    const EVERY: u32 = 1 << 12;
    let rig = rig(at_once(FORGED / EVERY), Limit::NONE);
    let (honest4, honest6) = (syn("192.0.2.7"), syn("2001:db8::7"));
    // In turn one address in the order of a multiplier without pattern, and one /64.
    let (mut forged4, mut forged6) = (syn("0.0.0.0"), syn("2001:db9::"));
    for number in 0..FORGED {
        let source = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let frame = if number % 2 == 0 {
            forged4[26..30].copy_from_slice(&source);
            &forged4
        } else {
            forged6[26..30].copy_from_slice(&source);
            &forged6
        };
        assert_eq!(rig.verdict(frame), XDP_PASS, "{number}");
        if number % EVERY == 0 {
            assert_eq!(rig.verdict(&honest4), XDP_PASS, "{number}");
            assert_eq!(rig.verdict(&honest6), XDP_PASS, "{number}");
        }
    }
    // The tables are full and hold whoever comes now to the same limit.
    let burst = u64::from(FORGED / EVERY);
    for greedy in [syn("198.51.100.7"), syn("2001:dba::7")] {
        let before = rig.counted(VerdictReason::DropSourceLimit).unwrap();
        rig.programs.run(PROGRAM, &greedy, FORGED / EVERY + 10);
        let dropped = rig.counted(VerdictReason::DropSourceLimit).unwrap() - before;
        assert_eq!(dropped, 10);
    }
    assert_eq!(
        rig.counted(VerdictReason::Pass).unwrap(),
        u64::from(FORGED) + 4 * burst
    );
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_connection_too_many_is_not_made_and_nobody_else_suffers() {
    let lab = Lab::create();
    let listener = TcpListener::bind((GATEWAY, GUARDED)).unwrap();
    let to = listener.local_addr().unwrap();
    let limited = |source| {
        let mut settings = lab.settings(&["gw0"]);
        settings.limits.source = source;
        started(settings)
    };
    let plane = limited(at_once(2));
    assert_eq!(attached("gw0"), Some((1, plane.status().program_id.into())));
    let connect = |from, within| lab.connect(from, to, within);
    let established = connect("198.51.100.7", FOREVER).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    assert!(connect("198.51.100.7", FOREVER).is_some());
    assert!(connect("198.51.100.7", BRIEF).is_none());
    let dropped = || {
        let counters = plane.counters().unwrap();
        counters
            .into_iter()
            .filter(|(outcome, count)| outcome.is_drop() && count.packets > 0)
            .map(|(outcome, _)| outcome)
            .collect::<Vec<_>>()
    };
    assert_eq!(dropped(), [VerdictReason::DropSourceLimit]);
    // Another port, another source, and what is established.
    assert!(lab.connects("198.51.100.7", GATEWAY, FOREVER));
    assert!(connect("198.51.100.8", FOREVER).is_some());
    rustix::io::write(&established, b"still here").unwrap();
    let mut heard = [0; 10];
    accepted.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
    assert_eq!(plane.bans().unwrap(), []);

    // The next start allows more, and what the old limit left holds nobody back.
    drop(plane);
    let plane = limited(Limit::per_second(20, 2));
    assert!(connect("198.51.100.7", FOREVER).is_some());
    plane.close().unwrap();
}
