//! SYN cookies: the answer's bytes by `BPF_PROG_TEST_RUN`, and real MQTT sessions through them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice, VlanId};
use flytrap::kernel::{Limit, Limits, VerdictReason};
use flytrap_tests::lab::rig::{Rig, XDP_DROP, XDP_PASS, XDP_TX};
use flytrap_tests::lab::veth::{FOREVER, Lab};

const GUARDED: u16 = 1883;
const US: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 7];
const SEQUENCE: u32 = 0xffff_ffff;
const THEIRS: u32 = 0x0102_0304;

/// A plane on no interface whose total limit is used up, with cookies on. The namespace whose
/// settings are changed goes with the test.
struct Over {
    rig: Rig,
    _lab: Lab,
}

impl Over {
    fn new() -> Self {
        let lab = Lab::create();
        // One connection, and the next one in an hour.
        let total = Limit {
            interval: 3_600_000_000_000,
            tolerance: 0,
        };
        let source = Limit::NONE;
        let rig = Rig::with(|settings| settings.limits = Limits { source, total });
        rig.plane.set_cookies(true).unwrap();
        rig.expect(&syn(&Syn::default()), XDP_PASS, VerdictReason::Pass);
        Self { rig, _lab: lab }
    }

    /// The answer, renewing the mode however slow the machine is.
    fn answer(&self, syn: &Syn) -> Vec<u8> {
        self.rig.plane.renew_cookies().unwrap();
        let frame = self::syn(syn);
        let before = self.rig.counted(VerdictReason::AnswerCookie).unwrap();
        let (verdict, answer) = self.rig.leaves(&frame);
        assert_eq!(verdict, XDP_TX, "{syn:?}");
        let counted = self.rig.counted(VerdictReason::AnswerCookie).unwrap() - before;
        assert_eq!(counted, 1);
        answer
    }
}

#[derive(Clone, Debug)]
struct Syn {
    ipv6: bool,
    tags: usize,
    options: Vec<TcpOptionElement>,
    payload: Vec<u8>,
    padding: usize,
}

impl Default for Syn {
    fn default() -> Self {
        Self {
            ipv6: false,
            tags: 0,
            options: vec![
                TcpOptionElement::MaximumSegmentSize(1460),
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                TcpOptionElement::Timestamp(THEIRS, 0),
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(7),
            ],
            payload: Vec::new(),
            padding: 0,
        }
    }
}

fn addresses(ipv6: bool) -> ([u8; 16], [u8; 16]) {
    let address = |last| {
        let mut address = [0; 16];
        let start = if ipv6 {
            [0x20, 1, 0xd, 0xb8]
        } else {
            [192, 0, 2, last]
        };
        address[..4].copy_from_slice(&start);
        address[15] = last;
        address
    };
    (address(7), address(1))
}

fn syn(syn: &Syn) -> Vec<u8> {
    let (from, to) = addresses(syn.ipv6);
    let v4 = |address: [u8; 16]| *address.first_chunk().unwrap();
    let builder = PacketBuilder::ethernet2(CLIENT, US);
    let (outer, inner) = (VlanId::try_new(7).unwrap(), VlanId::try_new(8).unwrap());
    let builder = match (syn.tags, syn.ipv6) {
        (0, false) => builder.ipv4(v4(from), v4(to), 55),
        (0, true) => builder.ipv6(from, to, 55),
        (1, false) => builder.single_vlan(inner).ipv4(v4(from), v4(to), 55),
        (1, true) => builder.single_vlan(inner).ipv6(from, to, 55),
        (_, false) => builder.double_vlan(outer, inner).ipv4(v4(from), v4(to), 55),
        (_, true) => builder.double_vlan(outer, inner).ipv6(from, to, 55),
    };
    let builder = builder.tcp(40_000, GUARDED, SEQUENCE, 1_024).syn();
    let builder = builder.options(&syn.options).unwrap();
    let mut frame = Vec::new();
    builder.write(&mut frame, &syn.payload).unwrap();
    frame.resize(frame.len() + syn.padding, 0xee);
    frame
}

/// Everything in the answer but its options, which are returned.
#[track_caller]
fn check(syn: &Syn, answer: &[u8]) -> Vec<TcpOptionElement> {
    let tags = 4 * syn.tags;
    let link = 14 + tags;
    assert_eq!(answer[..6], CLIENT);
    assert_eq!(answer[6..12], US);
    assert_eq!(answer[12..link], self::syn(syn)[12..link]);
    let packet = SlicedPacket::from_ethernet(answer).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        panic!("{packet:?}");
    };
    let (from, to) = addresses(syn.ipv6);
    let network = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header();
            assert_eq!(ip.source(), to[..4]);
            assert_eq!(ip.destination(), from[..4]);
            assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
            assert_eq!((ip.ttl(), ip.ihl()), (64, 5));
            assert!(ip.dont_fragment());
            let expected = tcp.calc_checksum_ipv4(ip.source(), ip.destination());
            assert_eq!(tcp.checksum(), expected.unwrap());
            // No padding, and nothing left of the SYN.
            assert_eq!(usize::from(ip.total_len()), answer.len() - link);
            20
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header();
            assert_eq!((ip.source(), ip.destination()), (to, from));
            assert_eq!(ip.hop_limit(), 64);
            let expected = tcp.to_header().calc_checksum_ipv6_raw(to, from, &[]);
            assert_eq!(tcp.checksum(), expected.unwrap());
            assert_eq!(usize::from(ip.payload_length()), answer.len() - link - 40);
            40
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(answer.len(), link + network + tcp.slice().len());
    assert_eq!(
        (tcp.source_port(), tcp.destination_port()),
        (GUARDED, 40_000)
    );
    assert_eq!(tcp.acknowledgment_number(), SEQUENCE.wrapping_add(1));
    // SYN and ACK, and no sign of ECN or its successor.
    assert_eq!(tcp.slice()[13], 0x12);
    assert_eq!(tcp.slice()[12] & 15, 0);
    assert!(tcp.window_size() > 1_460);
    assert!(tcp.payload().is_empty());
    let options = tcp.to_header();
    let options = options.options_iterator().map(Result::unwrap);
    options
        .filter(|option| *option != TcpOptionElement::Noop)
        .collect()
}

fn timestamp(options: &[TcpOptionElement]) -> (u32, u32) {
    let stamps = options.iter().find_map(|option| match option {
        TcpOptionElement::Timestamp(ours, theirs) => Some((*ours, *theirs)),
        _ => None,
    });
    stamps.unwrap()
}

fn shift(options: &[TcpOptionElement]) -> u8 {
    let shift = options.iter().find_map(|option| match option {
        TcpOptionElement::WindowScale(shift) => Some(*shift),
        _ => None,
    });
    shift.unwrap()
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_syn_over_the_limit_is_answered_with_all_its_options() {
    let over = Over::new();
    for (ipv6, tags) in [
        (false, 0),
        (false, 1),
        (false, 2),
        (true, 0),
        (true, 1),
        (true, 2),
    ] {
        let syn = Syn {
            ipv6,
            tags,
            ..Syn::default()
        };
        let options = check(&syn, &over.answer(&syn));
        let (ours, theirs) = timestamp(&options);
        assert_eq!(theirs, THEIRS);
        // Window scale 7 and SACK, as Linux reads them back; ECN isn't taken.
        assert_eq!(ours & 0x3f, 0x17);
        assert_eq!(
            options,
            [
                TcpOptionElement::MaximumSegmentSize(if ipv6 { 1_440 } else { 1_460 }),
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                TcpOptionElement::Timestamp(ours, THEIRS),
                TcpOptionElement::WindowScale(shift(&options)),
            ]
        );
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn only_what_a_cookie_can_remember_is_answered() {
    let over = Over::new();
    for ipv6 in [false, true] {
        let with = |options: &[TcpOptionElement]| Syn {
            ipv6,
            options: options.to_vec(),
            ..Syn::default()
        };
        let answered = |options: &[TcpOptionElement]| {
            let syn = with(options);
            check(&syn, &over.answer(&syn))
        };
        let least = TcpOptionElement::MaximumSegmentSize(if ipv6 { 1_220 } else { 536 });
        // Without timestamps there is nowhere to remember the others.
        for options in [
            vec![],
            vec![TcpOptionElement::WindowScale(7)],
            vec![
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                TcpOptionElement::WindowScale(7),
            ],
        ] {
            assert_eq!(
                answered(&options),
                std::slice::from_ref(&least),
                "{options:?}"
            );
        }
        let stamped = answered(&[TcpOptionElement::Timestamp(THEIRS, 0)]);
        let (ours, _) = timestamp(&stamped);
        assert_eq!(ours & 0x3f, 15);
        let expected = [least.clone(), TcpOptionElement::Timestamp(ours, THEIRS)];
        assert_eq!(stamped, expected);
        // The segment size is rounded down to one that the cookie has a number for.
        let mss = |mss| answered(&[TcpOptionElement::MaximumSegmentSize(mss)]);
        for (theirs, ours) in if ipv6 {
            [(100, 1_220), (1_430, 1_420), (1_460, 1_440), (9_000, 8_940)]
        } else {
            [(100, 536), (1_400, 1_300), (1_452, 1_440), (9_000, 1_460)]
        } {
            let expected = [TcpOptionElement::MaximumSegmentSize(ours)];
            assert_eq!(mss(theirs), expected);
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_answer_has_its_own_length() {
    let over = Over::new();
    for ipv6 in [false, true] {
        for syn in [
            Syn {
                options: Vec::new(),
                padding: 6,
                ipv6,
                ..Syn::default()
            },
            Syn {
                payload: vec![7; 500],
                ipv6,
                ..Syn::default()
            },
            Syn {
                options: vec![TcpOptionElement::Noop; 40],
                ipv6,
                ..Syn::default()
            },
        ] {
            check(&syn, &over.answer(&syn));
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn nothing_else_is_answered() {
    let over = Over::new();
    let rig = &over.rig;
    for ipv6 in [false, true] {
        rig.plane.renew_cookies().unwrap();
        let syn = syn(&Syn {
            ipv6,
            ..Syn::default()
        });
        let network = if ipv6 { 40 } else { 20 };
        let tcp = 14 + network;
        let changed = |at: usize, to: u8| {
            let mut frame = syn.clone();
            frame[at] = to;
            frame
        };
        // Not the opening of a connection to a guarded port.
        for flags in [0x10, 0x12, 0x18, 0x11, 0x04, 0] {
            rig.expect(&changed(tcp + 13, flags), XDP_PASS, VerdictReason::Pass);
        }
        rig.expect(&changed(tcp + 3, 0), XDP_PASS, VerdictReason::Pass);
        // Not one that is answered.
        for frame in [
            changed(tcp + 13, 0x03),
            changed(tcp + 13, 0x06),
            // To a group.
            changed(0, 3),
            // A header that is shorter than any, and one longer than the packet.
            changed(tcp + 12, 0x40),
            changed(tcp + 12, 0xf0),
        ] {
            rig.expect(&frame, XDP_DROP, VerdictReason::DropTotalLimit);
        }
        if !ipv6 {
            // A first fragment, though it holds the whole header.
            rig.expect(
                &changed(14 + 6, 0x20),
                XDP_DROP,
                VerdictReason::DropTotalLimit,
            );
        }
        // Headers between network and transport.
        let mut between = syn.clone();
        if ipv6 {
            between.splice(tcp..tcp, [6, 0, 1, 4, 0, 0, 0, 0]);
            between[14 + 5] += 8;
            between[14 + 6] = 60;
        } else {
            between.splice(tcp..tcp, [1, 1, 1, 0]);
            between[14] = 0x46;
            between[14 + 3] += 4;
        }
        rig.expect(&between, XDP_DROP, VerdictReason::DropTotalLimit);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn unrenewed_the_mode_ends_by_itself() {
    let over = Over::new();
    let frame = syn(&Syn::default());
    assert_eq!(over.answer(&Syn::default()).len(), 74);
    let started = Instant::now();
    while over.rig.leaves(&frame).0 == XDP_TX {
        assert!(started.elapsed() < FOREVER);
        std::thread::sleep(Duration::from_millis(50));
    }
    over.rig
        .expect(&frame, XDP_DROP, VerdictReason::DropTotalLimit);
    over.rig.plane.renew_cookies().unwrap();
    assert_eq!(over.rig.leaves(&frame).0, XDP_TX);
    over.rig.plane.close().unwrap();
    over.rig
        .expect(&frame, XDP_DROP, VerdictReason::DropTotalLimit);
}
