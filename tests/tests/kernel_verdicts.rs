//! Every verdict of the kernel program, by `BPF_PROG_TEST_RUN`: the program as the kernel runs it,
//! over packets written here, with bans made through the gateway's own `Blocklist`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use flytrap::kernel::{Blocklist, DropEvent, KernelBan, KernelError, PacketCount, VerdictReason};
use flytrap::types::Prefix;
use flytrap_common::abi::{EMPTY_PROGRAM, EXACT_BANS, MAP_BAN4, PROGRAM, reason};
use flytrap_tests::lab::frame::{self, IPV4, IPV6, TCP, ethernet, from, segment};
use flytrap_tests::lab::rig::{Rig, XDP_DROP, XDP_PASS};

const HOUR: Duration = Duration::from_hours(1);

fn ipv4(source: &str) -> Vec<u8> {
    frame::ipv4(source.parse().unwrap(), 0, 0, TCP, &segment(0, 0))
}

fn ipv6(source: &str) -> Vec<u8> {
    frame::ipv6(source.parse().unwrap(), &[], TCP, &segment(0, 0))
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_no_ban_names_passes() {
    let rig = Rig::new(0);
    rig.ban("192.0.2.7", 1, reason::BY_HAND, HOUR);
    rig.ban("2001:db8:0:1::/64", 2, reason::BY_HAND, HOUR);
    rig.expect(&from("192.0.2.8"), XDP_PASS, VerdictReason::Pass);
    rig.expect(&from("2001:db8:0:2::7"), XDP_PASS, VerdictReason::Pass);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_is_not_ip_passes() {
    let rig = Rig::new(0);
    rig.ban("0.0.0.0/0", 1, reason::BY_HAND, HOUR);
    rig.ban("::/0", 2, reason::BY_HAND, HOUR);
    for ether_type in [0x0806, 0x88cc, 0x8864, 0x0040] {
        let frame = ethernet(&[], ether_type, &[0; 46]);
        rig.expect(&frame, XDP_PASS, VerdictReason::PassNotIp);
    }
}

/// Linux takes off any number of tags with VLAN id 0, so that a host answers what is behind them.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn more_tags_than_are_followed_hide_nobody() {
    let strict = Rig::new(0);
    let lenient = Rig::with(|settings| settings.pass_evasions = true);
    for tags in [
        &[0x8100; 3][..],
        &[0x88a8, 0x8100, 0x8100],
        &[0x88a8; 5],
        &[0x8100; 9],
    ] {
        let frame = ethernet(tags, IPV4, &ipv4("192.0.2.7"));
        strict.expect(&frame, XDP_DROP, VerdictReason::DropHeaderChain);
        lenient.expect(&frame, XDP_PASS, VerdictReason::PassNotIp);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_has_no_source_passes_and_is_counted() {
    let rig = Rig::new(0);
    rig.ban("0.0.0.0/0", 1, reason::BY_HAND, HOUR);
    rig.ban("::/0", 2, reason::BY_HAND, HOUR);
    let whole4 = from("192.0.2.7");
    let whole6 = from("2001:db8::7");
    for length in 14..14 + 20 {
        rig.expect(&whole4[..length], XDP_PASS, VerdictReason::PassUnparsed);
    }
    for length in 14..14 + 40 {
        rig.expect(&whole6[..length], XDP_PASS, VerdictReason::PassUnparsed);
    }
    rig.expect(&whole4[..34], XDP_DROP, VerdictReason::DropByHand);
    rig.expect(&whole6[..54], XDP_DROP, VerdictReason::DropByHand);
    let tagged = ethernet(&[0x8100, 0x8100], IPV4, &ipv4("192.0.2.7"));
    for length in 14..14 + 8 + 20 {
        rig.expect(&tagged[..length], XDP_PASS, VerdictReason::PassUnparsed);
    }
    let swapped = ethernet(&[], IPV4, &ipv6("2001:db8::7"));
    rig.expect(&swapped, XDP_PASS, VerdictReason::PassUnparsed);
    let swapped = ethernet(&[], IPV6, &ipv4("192.0.2.7"));
    rig.expect(&swapped, XDP_PASS, VerdictReason::PassUnparsed);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn every_reason_drops_under_its_own_counter() {
    let rig = Rig::new(0);
    for (code, counted) in [
        (reason::BY_HAND, VerdictReason::DropByHand),
        (reason::AUTH_FAILED, VerdictReason::DropAuthFailed),
        (reason::ACL_DENIED, VerdictReason::DropAclDenied),
        (reason::MALFORMED, VerdictReason::DropMalformed),
        (reason::RATE_EXCEEDED, VerdictReason::DropRateExceeded),
        (
            reason::HANDSHAKE_TIMEOUT,
            VerdictReason::DropHandshakeTimeout,
        ),
        (200, VerdictReason::DropOther),
    ] {
        rig.ban("192.0.2.7", u64::from(code), code, HOUR);
        rig.expect(&from("192.0.2.7"), XDP_DROP, counted);
        rig.ban("2001:db8::/64", u64::from(code), code, HOUR);
        rig.expect(&from("2001:db8::7"), XDP_DROP, counted);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn exact_bans_and_prefixes_of_every_length_drop_theirs_alone() {
    for (target, inside, outside) in [
        ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.4/31", "192.0.2.5", "192.0.2.6"),
        ("128.0.0.0/1", "255.0.0.1", "127.255.255.255"),
        ("0.0.0.0/0", "1.2.3.4", "2001:db8::1"),
        ("2001:db8:0:1::/64", "2001:db8:0:1:ffff::1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        (
            "2001:db8::8000:0:0:0/65",
            "2001:db8:0:0:8000::1",
            "2001:db8::1",
        ),
        ("::/0", "2001:db8::1", "192.0.2.7"),
    ] {
        let rig = Rig::new(0);
        rig.ban(target, 1, reason::MALFORMED, HOUR);
        rig.expect(&from(inside), XDP_DROP, VerdictReason::DropMalformed);
        rig.expect(&from(outside), XDP_PASS, VerdictReason::Pass);
        assert_eq!(rig.dropped_by(target).packets, 1, "{target}");
        assert!(rig.plane.lift(target.parse().unwrap()).unwrap());
        rig.expect(&from(inside), XDP_PASS, VerdictReason::Pass);
        assert!(!rig.plane.lift(target.parse().unwrap()).unwrap());
        assert_eq!(rig.plane.bans().unwrap(), []);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn tags_hide_nobody() {
    let rig = Rig::new(0);
    rig.ban("192.0.2.7", 1, reason::BY_HAND, HOUR);
    rig.ban("2001:db8::/64", 2, reason::BY_HAND, HOUR);
    for tags in [
        &[0x8100][..],
        &[0x88a8],
        &[0x88a8, 0x8100],
        &[0x8100, 0x8100],
    ] {
        for (ether_type, banned, other) in [
            (IPV4, ipv4("192.0.2.7"), ipv4("192.0.2.8")),
            (IPV6, ipv6("2001:db8::7"), ipv6("2001:db9::7")),
        ] {
            let banned = ethernet(tags, ether_type, &banned);
            rig.expect(&banned, XDP_DROP, VerdictReason::DropByHand);
            let other = ethernet(tags, ether_type, &other);
            rig.expect(&other, XDP_PASS, VerdictReason::Pass);
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn ipv4_options_hide_nobody() {
    let rig = Rig::new(0);
    rig.ban("192.0.2.7", 1, reason::BY_HAND, HOUR);
    let source = "192.0.2.7".parse().unwrap();
    let packet = frame::ipv4(source, 40, 0, TCP, &segment(0, 0));
    let packet = ethernet(&[], IPV4, &packet);
    rig.expect(&packet, XDP_DROP, VerdictReason::DropByHand);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_ban_that_has_run_out_passes() {
    let rig = Rig::new(0);
    for target in [
        "192.0.2.7",
        "192.0.2.0/24",
        "2001:db8::/64",
        "2001:db8::/32",
    ] {
        rig.ban(target, 1, reason::BY_HAND, Duration::ZERO);
    }
    rig.expect(&from("192.0.2.7"), XDP_PASS, VerdictReason::Pass);
    rig.expect(&from("2001:db8::7"), XDP_PASS, VerdictReason::Pass);
    let bans = rig.plane.bans().unwrap();
    assert_eq!(bans.len(), 4);
    assert!(bans.iter().all(|ban| ban.remaining == Duration::ZERO));
    assert!(bans.iter().all(|ban| ban.dropped.packets == 0));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_prefix_still_holds_where_an_exact_ban_has_run_out() {
    let rig = Rig::new(0);
    rig.ban("192.0.2.7", 1, reason::BY_HAND, Duration::ZERO);
    rig.ban("192.0.2.0/24", 2, reason::ACL_DENIED, HOUR);
    rig.expect(&from("192.0.2.7"), XDP_DROP, VerdictReason::DropAclDenied);
    rig.ban("2001:db8::/64", 3, reason::BY_HAND, Duration::ZERO);
    rig.ban("2001:db8::/32", 4, reason::ACL_DENIED, HOUR);
    rig.expect(&from("2001:db8::7"), XDP_DROP, VerdictReason::DropAclDenied);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn prefixes_that_have_run_out_hide_no_wider_one() {
    let rig = Rig::new(0);
    for bits in 1..32 {
        rig.ban(
            &Prefix::covering("192.0.2.7".parse().unwrap(), bits).to_string(),
            1,
            reason::BY_HAND,
            Duration::ZERO,
        );
    }
    for bits in 1..=128 {
        rig.ban(
            &Prefix::covering("2001:db8::7".parse().unwrap(), bits).to_string(),
            1,
            reason::BY_HAND,
            Duration::ZERO,
        );
    }
    rig.expect(&from("192.0.2.7"), XDP_PASS, VerdictReason::Pass);
    rig.expect(&from("2001:db8::7"), XDP_PASS, VerdictReason::Pass);
    rig.ban("0.0.0.0/0", 2, reason::MALFORMED, HOUR);
    rig.ban("::/0", 3, reason::MALFORMED, HOUR);
    rig.expect(&from("192.0.2.7"), XDP_DROP, VerdictReason::DropMalformed);
    rig.expect(&from("2001:db8::7"), XDP_DROP, VerdictReason::DropMalformed);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_allowlist_comes_before_every_ban() {
    let rig = Rig::new(0);
    for target in [
        "192.0.2.7",
        "192.0.2.0/24",
        "2001:db8::/64",
        "2001:db8::/32",
    ] {
        rig.ban(target, 1, reason::BY_HAND, HOUR);
    }
    let allow = |list: &[&str]| {
        let list: Vec<Prefix> = list.iter().map(|text| text.parse().unwrap()).collect();
        rig.plane.set_allowlist(&list).unwrap();
    };
    allow(&["192.0.2.4/30", "2001:db8::7"]);
    let allowed = VerdictReason::PassAllowlisted;
    rig.expect(&from("192.0.2.7"), XDP_PASS, allowed);
    rig.expect(&from("2001:db8::7"), XDP_PASS, allowed);
    rig.expect(&from("192.0.2.8"), XDP_DROP, VerdictReason::DropByHand);
    rig.expect(&from("2001:db8::8"), XDP_DROP, VerdictReason::DropByHand);
    // What a new list doesn't name is exempt no more.
    allow(&["192.0.2.4/30"]);
    rig.expect(&from("192.0.2.7"), XDP_PASS, allowed);
    rig.expect(&from("2001:db8::7"), XDP_DROP, VerdictReason::DropByHand);
    allow(&[]);
    rig.expect(&from("192.0.2.7"), XDP_DROP, VerdictReason::DropByHand);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_ban_counts_its_own_and_keeps_the_count_under_its_id() {
    let rig = Rig::new(0);
    let packet = from("192.0.2.7");
    for target in ["192.0.2.7", "192.0.2.0/25"] {
        rig.ban(target, 7, reason::BY_HAND, HOUR);
        rig.programs.run(PROGRAM, &packet, 5);
        let five = PacketCount {
            packets: 5,
            bytes: 5 * packet.len() as u64,
        };
        assert_eq!(rig.dropped_by(target), five);
        rig.ban(target, 7, reason::BY_HAND, 2 * HOUR);
        assert_eq!(rig.dropped_by(target), five);
        rig.ban(target, 8, reason::BY_HAND, HOUR);
        assert_eq!(rig.dropped_by(target), PacketCount::default());
        rig.plane.lift(target.parse().unwrap()).unwrap();
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_listed_ban_is_the_ban_that_was_made() {
    let rig = Rig::new(0);
    let targets = ["192.0.2.7", "192.0.2.0/24", "2001:db8::/64", "2001:db8::1"];
    for (id, target) in (10..).zip(targets) {
        rig.ban(target, id, reason::AUTH_FAILED, HOUR);
    }
    let mut bans = rig.plane.bans().unwrap();
    bans.sort_by_key(|ban| ban.id);
    let listed: Vec<String> = bans.iter().map(|ban| ban.target.to_string()).collect();
    assert_eq!(listed, targets);
    for ban in bans {
        assert_eq!(ban.reason, reason::AUTH_FAILED);
        assert!(ban.remaining <= HOUR && ban.remaining > HOUR / 2);
    }
    // An end beyond the clock's is no end.
    rig.ban("192.0.2.9", 20, reason::BY_HAND, Duration::MAX);
    rig.expect(&from("192.0.2.9"), XDP_DROP, VerdictReason::DropByHand);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_million_bans_fit_and_a_full_table_says_so() {
    let rig = Rig::new(0);
    let ban = |number: usize| KernelBan {
        target: Prefix::of_source(Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()),
        id: 1,
        reason: reason::BY_HAND,
        remaining: HOUR,
    };
    let first = 0x0a00_0000;
    for number in first..first + EXACT_BANS {
        rig.plane.ban(&ban(number)).unwrap();
    }
    let late = ban(first + EXACT_BANS);
    let error = rig.plane.ban(&late).unwrap_err();
    assert!(
        matches!(error, KernelError::Full { map: MAP_BAN4 }),
        "{error}"
    );
    rig.expect(&from("10.0.0.0"), XDP_DROP, VerdictReason::DropByHand);
    rig.expect(&from("10.15.255.255"), XDP_DROP, VerdictReason::DropByHand);
    rig.expect(&from("10.16.0.0"), XDP_PASS, VerdictReason::Pass);
    // What is in can be renewed, and whoever leaves makes room.
    rig.plane.ban(&ban(first)).unwrap();
    assert!(rig.plane.lift(ban(first).target).unwrap());
    rig.plane.ban(&late).unwrap();
    rig.expect(&from("10.16.0.0"), XDP_DROP, VerdictReason::DropByHand);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn first_hits_and_one_drop_in_n_are_reported() {
    let mut rig = Rig::new(4);
    rig.ban("192.0.2.7", 7, reason::AUTH_FAILED, HOUR);
    rig.ban("2001:db8::/64", 8, reason::MALFORMED, HOUR);
    // One run is one CPU: drops 1, 4 and 8 of it.
    let packet = from("192.0.2.7");
    rig.programs.run(PROGRAM, &packet, 10);
    let expected = DropEvent {
        age: Duration::ZERO,
        source: "192.0.2.7".parse().unwrap(),
        ban_id: 7,
        outcome: VerdictReason::DropAuthFailed,
        country: 0,
        destination_port: 0,
        protocol: 6,
        ifindex: 1, // the test run's loopback
        bytes: u32::try_from(packet.len()).unwrap(),
        first_hit: true,
    };
    let sampled = DropEvent {
        first_hit: false,
        ..expected
    };
    assert_eq!(rig.next_drop(), expected);
    assert_eq!(rig.next_drop(), sampled);
    assert_eq!(rig.next_drop(), sampled);
    rig.verdict(&from("2001:db8::9"));
    let other = rig.next_drop();
    assert_eq!(other.source, "2001:db8::9".parse::<IpAddr>().unwrap());
    assert_eq!((other.ban_id, other.first_hit), (8, true));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn with_sampling_off_only_first_hits_are_reported() {
    let mut rig = Rig::new(0);
    for (id, address) in [(1, "192.0.2.7"), (2, "192.0.2.8")] {
        rig.ban(address, id, reason::BY_HAND, HOUR);
        rig.programs.run(PROGRAM, &from(address), 5000);
    }
    assert_eq!(rig.next_drop().ban_id, 1);
    assert_eq!(rig.next_drop().ban_id, 2);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_full_ring_loses_reports_and_no_count() {
    let mut rig = Rig::new(1);
    rig.ban("192.0.2.7", 1, reason::BY_HAND, HOUR);
    rig.programs.run(PROGRAM, &from("192.0.2.7"), 20_000);
    assert_eq!(rig.dropped_by("192.0.2.7").packets, 20_000);
    // Once read, there is room again.
    assert!(rig.next_drop().first_hit);
    rig.ban("192.0.2.8", 2, reason::BY_HAND, HOUR);
    let mut read = 1;
    while !rig.next_drop().first_hit {
        read += 1;
        rig.verdict(&from("192.0.2.8"));
    }
    assert!(read < 20_000);
}

/// Shows what a packet costs; `--nocapture`. Judges nothing: another load on the machine would.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn nanoseconds_per_packet() {
    let rig = Rig::new(1024);
    for last in 0..8 {
        rig.ban(&format!("198.51.100.{last}"), 1, reason::BY_HAND, HOUR);
    }
    let allow: Vec<Prefix> = (0..8_u8)
        .map(|third| Prefix::covering(Ipv4Addr::new(203, 0, third, 0).into(), 24))
        .collect();
    rig.plane.set_allowlist(&allow).unwrap();
    let rows = [
        ("empty program", EMPTY_PROGRAM, from("192.0.2.1")),
        ("not IP", PROGRAM, ethernet(&[], 0x0806, &[0; 46])),
        ("pass, IPv4", PROGRAM, from("192.0.2.1")),
        ("pass, IPv6", PROGRAM, from("2001:db8::1")),
        ("allowlisted", PROGRAM, from("203.0.3.1")),
        ("ban hit", PROGRAM, from("198.51.100.3")),
    ];
    let mut times = rows.each_ref().map(|_| Vec::new());
    for _ in 0..11 {
        for ((_, program, packet), times) in rows.iter().zip(&mut times) {
            times.push(rig.programs.run(program, packet, 200_000).1.as_nanos());
        }
    }
    for ((name, ..), times) in rows.iter().zip(&mut times) {
        times.sort_unstable();
        println!("{name:14} {:4} ns", times[times.len() / 2]);
    }
    assert_eq!(rig.verdict(&rows[5].2), XDP_DROP);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_verifier_has_room() {
    // It gives up at a million; another kernel's takes other ways, and a load costs time by them.
    let instructions = Rig::new(0).verified_instructions();
    assert!(instructions < 100_000, "{instructions}");
    println!("{instructions} instructions verified");
}
