//! The answer against an independent parser, and the timestamp against Linux' own arithmetic.

extern crate std;

use std::vec::Vec;

use etherparse::{
    NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TcpOptionElement, TcpSlice, TransportSlice,
};
use proptest::prelude::*;

use super::*;

/// The options in a SYN's 40 bytes.
fn laid_out(options: &[u8]) -> [u8; OPTIONS] {
    let mut bytes = [0; OPTIONS];
    bytes[..options.len()].copy_from_slice(options);
    bytes
}

/// What etherparse takes for the options of a TCP header.
fn elements(options: &[u8]) -> Vec<TcpOptionElement> {
    let mut header = TcpHeader::default();
    header.set_options_raw(options).unwrap();
    header
        .options_iterator()
        .map_while(Result::ok)
        .filter(|element| *element != TcpOptionElement::Noop)
        .collect()
}

/// Window scale, SACK, timestamp.
type Parts = (u8, bool, Option<u32>);

fn read(options: &[u8]) -> Parts {
    let offer = Offer::read(&laid_out(options), 7);
    assert_eq!(Offer::from_bits(offer.to_bits()), offer);
    (offer.window_scale(), offer.sack(), offer.timestamp())
}

fn second_opinion(options: &[u8]) -> Parts {
    let mut parts = NONE;
    for element in elements(options) {
        match element {
            TcpOptionElement::WindowScale(shift) => parts.0 = shift.min(14),
            TcpOptionElement::SelectiveAcknowledgementPermitted => parts.1 = true,
            TcpOptionElement::Timestamp(theirs, _) => parts.2 = Some(theirs),
            _ => {}
        }
    }
    parts
}

const NONE: Parts = (NO_WINDOW_SCALE, false, None);

#[test]
fn the_options_that_clients_send() {
    // Linux, Windows without timestamps, FreeBSD.
    let linux = [
        2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    let windows = [2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];
    let freebsd = [
        2, 4, 5, 180, 1, 3, 3, 6, 4, 2, 8, 10, 255, 2, 3, 4, 0, 0, 0, 0,
    ];
    for (options, expected) in [
        (&linux[..], (7, true, Some(0x0102_0304))),
        (&windows[..], (8, true, None)),
        (&freebsd[..], (6, true, Some(0xff02_0304))),
        (&[2, 4, 5, 180], NONE),
        (&[], NONE),
        (&[3, 3, 200], (14, false, None)),
    ] {
        assert_eq!(read(options), expected);
        assert_eq!(second_opinion(&laid_out(options)), expected);
    }
}

#[test]
fn malformed_options_end_the_list() {
    for options in [
        &[4, 0, 4, 2][..],
        &[4, 1, 4, 2],
        &[4],
        &[0, 4, 2],
        &[3, 4, 7, 1],
        &[8, 9, 1, 2, 3, 4, 5, 6, 7],
        &[77, 255],
        &[77, 64 + 4, 0, 0, 4, 2],
    ] {
        assert_eq!(read(options), NONE, "{options:?}");
    }
    // Cut off by the end of the header.
    let mut options = [77; OPTIONS];
    options[1] = 35;
    options[35..].copy_from_slice(&[8, 10, 1, 2, 3]);
    assert_eq!(read(&options), NONE);
    options[38..].copy_from_slice(&[3, 3]);
    options[1] = 38;
    assert_eq!(read(&options), NONE);
    options[1] = 39;
    assert_eq!(read(&options), NONE);
}

#[test]
fn an_offer_is_limited_to_what_the_host_does() {
    let offer = Offer::read(&laid_out(&[4, 2, 3, 3, 7]), 0);
    let limited = |window_scale, sack| {
        let offer = offer.limited(window_scale, sack);
        (offer.window_scale(), offer.sack(), offer.timestamp())
    };
    assert_eq!(limited(true, true), (7, true, None));
    assert_eq!(limited(false, true), (NO_WINDOW_SCALE, true, None));
    assert_eq!(limited(true, false), (7, false, None));
}

/// An offer of these two.
fn offer(window_scale: u8, sack: bool) -> Offer {
    let shift = [3, 3, window_scale];
    let offer = Offer::read(&laid_out(&[&[4, 2], &shift[..]].concat()), 0);
    offer.limited(window_scale < NO_WINDOW_SCALE, sack)
}

#[test]
fn a_timestamp_holds_the_options_and_is_never_ahead() {
    // 6,400 ticks are 100 × 64.
    let at = |ticks: u64| ticks * NANOSECONDS_PER_TICK + 999_999;
    for (ticks, window_scale, sack, expected) in [
        (6_400, 0, false, 6_400),
        (6_407, 7, false, 6_407),
        (6_406, 7, false, 6_343),
        (6_423, 7, true, 6_423),
        (6_422, 7, true, 6_359),
        (6_463, 15, true, 6_431),
        (1 << 32, 0, false, 0),
        ((1 << 32) + 6_406, 7, false, 6_343),
        (6, 7, false, u32::MAX - 56),
    ] {
        let stamp = offer(window_scale, sack).stamp(at(ticks));
        assert_eq!(stamp, expected, "{ticks} {window_scale} {sack}");
    }
}

/// As Linux writes it.
fn linux_timestamp(now: u64, window_scale: u32, sack: bool) -> u32 {
    let ticks = now / 1_000_000;
    let options = u64::from(window_scale) | if sack { 1 << 4 } else { 0 };
    let mut stamp = (ticks >> 6) << 6;
    stamp |= options;
    if stamp > ticks {
        stamp = stamp.wrapping_sub(1 << 6);
    }
    (stamp & 0xffff_ffff).try_into().unwrap()
}

fn syn(ipv6: bool, source: [u8; 16], destination: [u8; 16], port: u16, sequence: u32) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let v4 = |address: [u8; 16]| *address.first_chunk().unwrap();
    let builder = if ipv6 {
        builder.ipv6(source, destination, 55)
    } else {
        builder.ipv4(v4(source), v4(destination), 55)
    };
    let builder = builder.tcp(port, 1883, sequence, 1024).syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).unwrap();
    frame.split_off(14)
}

fn tcp<'a>(packet: &'a SlicedPacket<'_>) -> TcpSlice<'a> {
    match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => tcp.clone(),
        other => panic!("{other:?}"),
    }
}

fn answers() -> impl Strategy<Value = Answer> {
    let numbers = (any::<u32>(), any::<u16>(), any::<u16>());
    let options = (0..=15_u8, any::<bool>(), any::<Option<(u32, u32)>>());
    (numbers, options).prop_map(
        |((cookie, mss, window), (window_scale, sack, timestamps))| Answer {
            cookie,
            mss,
            window,
            window_scale,
            sack,
            timestamps,
        },
    )
}

proptest! {
    #[test]
    fn no_bytes_confuse_the_reader(bytes: [u8; OPTIONS]) {
        let _parts = read(&bytes);
    }

    /// Options of few kinds and lengths, so that many of them are whole.
    #[test]
    fn options_as_another_parser_reads_them(
        options in proptest::collection::vec(prop_oneof![
            Just(std::vec![1]),
            any::<[u8; 2]>().prop_map(|mss| [&[2, 4][..], &mss].concat()),
            any::<u8>().prop_map(|shift| std::vec![3, 3, shift]),
            Just(std::vec![4, 2]),
            any::<[u8; 8]>().prop_map(|stamps| [&[8, 10][..], &stamps].concat()),
        ], 0..6)
    ) {
        let bytes = options.concat();
        if bytes.len() <= OPTIONS {
            let bytes = laid_out(&bytes);
            prop_assert_eq!(read(&bytes), second_opinion(&bytes));
        }
    }

    #[test]
    fn timestamps_as_linux_writes_them(
        now: u64,
        window_scale in 0..=15_u8,
        sack: bool,
    ) {
        let stamp = offer(window_scale, sack).stamp(now);
        prop_assert_eq!(stamp, linux_timestamp(now, window_scale.into(), sack));
        // As Linux decodes it.
        prop_assert_eq!(stamp & 15, u32::from(window_scale));
        prop_assert_eq!(stamp & 16 != 0, sack);
        prop_assert_eq!(stamp & 32, 0);
    }

    #[test]
    fn an_answer_says_what_it_should(
        answer in answers(),
        ipv6: bool,
        source: [u8; 16],
        destination: [u8; 16],
        port: u16,
        sequence: u32,
    ) {
        let mut packet = syn(ipv6, source, destination, port, sequence);
        packet.resize(100, 0xaa);
        let bytes = if ipv6 {
            let (ip, tcp) = packet.split_at_mut(40);
            let tcp = tcp.first_chunk_mut().unwrap();
            let length = usize::from(answer6(ip.try_into().unwrap(), tcp, &answer));
            &packet[..40 + length]
        } else {
            let (ip, tcp) = packet.split_at_mut(20);
            let tcp = tcp.first_chunk_mut().unwrap();
            let length = usize::from(answer4(ip.try_into().unwrap(), tcp, &answer));
            &packet[..20 + length]
        };
        let packet = SlicedPacket::from_ip(bytes).unwrap();
        let tcp = tcp(&packet);
        match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                prop_assert!(!ipv6);
                prop_assert_eq!(&header.source()[..], &destination[..4]);
                prop_assert_eq!(&header.destination()[..], &source[..4]);
                prop_assert_eq!(usize::from(header.total_len()), bytes.len());
                prop_assert_eq!(header.ttl(), 64);
                prop_assert!(header.dont_fragment() && !header.more_fragments());
                prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                let expected = tcp.calc_checksum_ipv4(header.source(), header.destination());
                prop_assert_eq!(tcp.checksum(), expected.unwrap());
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                prop_assert!(ipv6);
                prop_assert_eq!(header.source(), destination);
                prop_assert_eq!(header.destination(), source);
                prop_assert_eq!(usize::from(header.payload_length()), bytes.len() - 40);
                prop_assert_eq!(header.hop_limit(), 64);
                let expected = tcp.to_header().calc_checksum_ipv6_raw(destination, source, &[]);
                prop_assert_eq!(tcp.checksum(), expected.unwrap());
            }
            NetSlice::Arp(_) => prop_assert!(false),
        }
        prop_assert_eq!((tcp.source_port(), tcp.destination_port()), (1883, port));
        prop_assert_eq!(tcp.sequence_number(), answer.cookie);
        prop_assert_eq!(tcp.acknowledgment_number(), sequence.wrapping_add(1));
        prop_assert!(tcp.syn() && tcp.ack());
        prop_assert!(!(tcp.fin() || tcp.rst() || tcp.psh() || tcp.urg() || tcp.ece() || tcp.cwr() || tcp.ns()));
        prop_assert_eq!(tcp.window_size(), answer.window);
        prop_assert!(tcp.payload().is_empty());

        let mut expected = std::vec![TcpOptionElement::MaximumSegmentSize(answer.mss)];
        if let Some((ours, theirs)) = answer.timestamps {
            if answer.sack {
                expected.push(TcpOptionElement::SelectiveAcknowledgementPermitted);
            }
            expected.push(TcpOptionElement::Timestamp(ours, theirs));
            if answer.window_scale < NO_WINDOW_SCALE {
                expected.push(TcpOptionElement::WindowScale(answer.window_scale));
            }
        }
        prop_assert_eq!(elements(tcp.options()), expected);
    }
}
