//! How the kernel program walks through headers, by `BPF_PROG_TEST_RUN`: what decides by ports
//! sees the same ports as the walk on the host, behind tags, options, extension headers and in
//! fragments.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use flytrap::kernel::VerdictReason as Outcome;
use flytrap_common::abi::reason;
use flytrap_common::packet::{EXTENSION_HEADERS, Network, Transport, network};
use flytrap_common::packet::{transport4, transport6};
use flytrap_tests::lab::frame::{
    self, Extension, IPV4, IPV6, SYN, TCP, UDP, destination_options, ethernet,
};
use flytrap_tests::lab::numbers::Numbers;
use flytrap_tests::lab::rig::{Rig, XDP_DROP, XDP_PASS};

const GUARDED: u16 = 1883;
const OTHER: u16 = 443;
const SOURCE: &str = "192.0.2.7";
const SOURCE6: &str = "2001:db8::7";

fn segment(port: u16) -> Vec<u8> {
    frame::segment(port, SYN)
}

fn ipv4(options: usize, fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    frame::ipv4(
        SOURCE.parse().unwrap(),
        options,
        fragment,
        protocol,
        payload,
    )
}

fn ipv6(extensions: &[Extension], protocol: u8, payload: &[u8]) -> Vec<u8> {
    frame::ipv6(SOURCE6.parse().unwrap(), extensions, protocol, payload)
}

fn fragment(offset: u16, more: bool) -> Extension {
    let [a, b] = (offset << 3 | u16::from(more)).to_be_bytes();
    (44, vec![0, a, b, 0, 0, 0, 9])
}

fn frames(ipv6: bool, packet: &[u8]) -> [Vec<u8>; 3] {
    let ether_type = if ipv6 { IPV6 } else { IPV4 };
    [&[][..], &[0x8100], &[0x88a8, 0x8100]].map(|tags| ethernet(tags, ether_type, packet))
}

/// With every source banned from guarded ports only, the verdict tells which port was seen.
fn banned_from_guarded_ports() -> Rig {
    let rig = Rig::with(|settings| settings.bans_on_guarded_ports = true);
    rig.ban(SOURCE, 1, reason::BY_HAND, Duration::from_hours(1));
    rig.ban("2001:db8::/64", 2, reason::BY_HAND, Duration::from_hours(1));
    rig
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_port_is_found_behind_tags_options_and_extension_headers() {
    let rig = banned_from_guarded_ports();
    for (port, verdict, counted) in [
        (GUARDED, XDP_DROP, Outcome::DropByHand),
        (OTHER, XDP_PASS, Outcome::Pass),
    ] {
        for protocol in [TCP, UDP] {
            for options in (0..=40).step_by(4) {
                for frame in frames(false, &ipv4(options, 0, protocol, &segment(port))) {
                    rig.expect(&frame, verdict, counted);
                }
            }
            for headers in 0..=EXTENSION_HEADERS {
                let chain = vec![destination_options(); headers];
                for frame in frames(true, &ipv6(&chain, protocol, &segment(port))) {
                    rig.expect(&frame, verdict, counted);
                }
            }
            // Hop-by-hop of 16 bytes, routing, authentication of 24, an atomic fragment.
            let chain = [
                (0, [&[1, 1, 12][..], &[0; 12]].concat()),
                (43, vec![0; 7]),
                (51, [&[4][..], &[0; 22]].concat()),
                fragment(0, false),
            ];
            for frame in frames(true, &ipv6(&chain, protocol, &segment(port))) {
                rig.expect(&frame, verdict, counted);
            }
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_hides_its_ports_is_dropped_unless_it_may_pass() {
    let tiny4 = ipv4(0, 0x2000, TCP, &segment(OTHER)[..8]);
    let overlapping = ipv4(0, 1, TCP, &segment(OTHER)[8..]);
    let tiny6 = ipv6(&[fragment(0, true)], TCP, &segment(OTHER)[..8]);
    let headerless = ipv6(&[fragment(0, true), destination_options()], TCP, &[]);
    let chain = vec![destination_options(); EXTENSION_HEADERS + 1];
    let long = ipv6(&chain, TCP, &segment(OTHER));
    let longest = ipv6(&vec![destination_options(); 40], TCP, &segment(OTHER));
    let dropping = Rig::new(0);
    let passing = Rig::with(|settings| settings.pass_evasions = true);
    for (ipv6, packet, outcome) in [
        (false, &tiny4, Outcome::DropTinyFragment),
        (false, &overlapping, Outcome::DropTinyFragment),
        (true, &tiny6, Outcome::DropTinyFragment),
        (true, &headerless, Outcome::DropTinyFragment),
        (true, &long, Outcome::DropHeaderChain),
        (true, &longest, Outcome::DropHeaderChain),
    ] {
        for mut frame in frames(ipv6, packet) {
            // As long as the link makes it: padding is no part of the packet.
            frame.resize(frame.len().max(60), 0);
            dropping.expect(&frame, XDP_DROP, outcome);
            passing.expect(&frame, XDP_PASS, Outcome::Pass);
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_source_that_is_banned_everywhere_hides_behind_nothing() {
    let rig = Rig::new(0);
    rig.ban(SOURCE, 1, reason::BY_HAND, Duration::from_hours(1));
    rig.ban("2001:db8::/64", 2, reason::BY_HAND, Duration::from_hours(1));
    let chain = vec![destination_options(); 40];
    for (v6, packet) in [
        (false, ipv4(40, 0, TCP, &segment(OTHER))),
        (false, ipv4(0, 0x2000, TCP, &segment(OTHER)[..8])),
        (false, ipv4(0, 5, TCP, &segment(OTHER))),
        (false, ipv4(0, 0, TCP, &[])),
        (true, ipv6(&chain, TCP, &segment(OTHER))),
        (true, ipv6(&[fragment(0, true)], TCP, &[0; 8])),
        (true, ipv6(&[fragment(5, true)], TCP, &[0; 8])),
        (true, ipv6(&[destination_options()], TCP, &[])),
    ] {
        for frame in frames(v6, &packet) {
            rig.expect(&frame, XDP_DROP, Outcome::DropByHand);
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn later_fragments_and_other_protocols_pass_and_cut_headers_are_counted() {
    let rig = banned_from_guarded_ports();
    for (v6, packet) in [
        (false, ipv4(0, 5, TCP, &segment(GUARDED))),
        (false, ipv4(0, 1, UDP, &segment(GUARDED))),
        (false, ipv4(0, 0, 1, &[8, 0, 0, 0])),
        (true, ipv6(&[fragment(5, true)], TCP, &segment(GUARDED))),
        (true, ipv6(&[], 58, &[128, 0, 0, 0])),
        (true, ipv6(&[destination_options()], 59, &[])),
    ] {
        for frame in frames(v6, &packet) {
            rig.expect(&frame, XDP_PASS, Outcome::Pass);
        }
    }
    for (v6, packet) in [
        (false, ipv4(0, 0, TCP, &segment(GUARDED)[..19])),
        (false, ipv4(40, 0, TCP, &segment(GUARDED)[..4])),
        (false, ipv4(0, 0, UDP, &[0; 7])),
        (true, ipv6(&[], TCP, &segment(GUARDED)[..19])),
        (true, ipv6(&[destination_options()], UDP, &[0; 7])),
        (true, ipv6(&[(60, vec![200, 0])], TCP, &[])),
    ] {
        for frame in frames(v6, &packet) {
            rig.expect(&frame, XDP_PASS, Outcome::PassUnparsed);
        }
    }
}

/// What the host's walk makes of a frame, in the words of the kernel's counters.
fn expected(frame: &[u8]) -> Outcome {
    let transport = match network(frame) {
        Network::NotIp => return Outcome::PassNotIp,
        Network::TagChain => return Outcome::DropHeaderChain,
        Network::Unparsed => return Outcome::PassUnparsed,
        Network::V4(ip) => transport4(frame, ip.start),
        Network::V6(ip) => transport6(frame, ip.start),
    };
    match transport {
        Transport::TinyFragment => Outcome::DropTinyFragment,
        Transport::HeaderChain => Outcome::DropHeaderChain,
        Transport::Truncated => Outcome::PassUnparsed,
        _ => Outcome::Pass,
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn kernel_and_host_walk_alike_over_changed_frames() {
    let rig = Rig::new(0);
    let chain = [
        (0, vec![0; 7]),
        destination_options(),
        fragment(0, true),
        (51, [&[4][..], &[0; 22]].concat()),
    ];
    let mut seeds = Vec::new();
    seeds.extend(frames(false, &ipv4(8, 0x2000, TCP, &segment(GUARDED))));
    seeds.extend(frames(true, &ipv6(&chain, TCP, &segment(GUARDED))));
    let mut numbers = Numbers(7);
    let mut random = |below: usize| usize::try_from(numbers.below(below as u64)).unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..20_000 {
        let mut frame = seeds.get(random(seeds.len())).unwrap().clone();
        for _ in 0..=random(3) {
            let at = 12 + random(frame.len() - 12);
            // Small numbers and single bits are what headers are made of.
            let byte = match random(3) {
                0 => u8::try_from(random(256)).unwrap(),
                1 => u8::try_from(random(64)).unwrap(),
                _ => 1 << random(8),
            };
            *frame.get_mut(at).unwrap() = byte;
        }
        // The kernel runs no frame shorter than an Ethernet header.
        frame.truncate(14 + random(frame.len()));
        let outcome = expected(&frame);
        let verdict = if outcome.is_drop() {
            XDP_DROP
        } else {
            XDP_PASS
        };
        rig.expect(&frame, verdict, outcome);
        *seen.entry(outcome).or_insert(0_u32) += 1;
    }
    for outcome in [
        Outcome::Pass,
        Outcome::PassNotIp,
        Outcome::PassUnparsed,
        Outcome::DropTinyFragment,
    ] {
        assert!(
            seen.get(&outcome).is_some_and(|seen| *seen > 100),
            "{seen:?}"
        );
    }
}
