//! The packet walk against an independent parser, over frames of every shape.

extern crate std;

use std::vec::Vec;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanId};
use proptest::prelude::*;

use super::*;

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    V4([u8; 4]),
    V6([u8; 16]),
    NotIp,
    Unparsed,
}

fn source(frame: &[u8]) -> Source {
    match network(frame) {
        Network::V4(ip) => Source::V4(ip.source),
        Network::V6(ip) => Source::V6(ip.source),
        Network::NotIp | Network::TagChain => Source::NotIp,
        Network::Unparsed => Source::Unparsed,
    }
}

/// What an independent parser takes for the source of a frame that it can read.
fn second_opinion(frame: &[u8]) -> Option<Source> {
    match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Ipv4(ip) => Some(Source::V4(ip.header().source())),
        NetSlice::Ipv6(ip) => Some(Source::V6(ip.header().source())),
        NetSlice::Arp(_) => Some(Source::NotIp),
    }
}

fn frame(tags: usize, ipv6: bool, source: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let [a, b, c, d, ..] = source;
    let id = VlanId::try_new(7).unwrap();
    let builder = match (tags, ipv6) {
        (0, false) => builder.ipv4([a, b, c, d], [192, 0, 2, 1], 64),
        (0, true) => builder.ipv6(source, [9; 16], 64),
        (1, false) => builder
            .single_vlan(id)
            .ipv4([a, b, c, d], [192, 0, 2, 1], 64),
        (1, true) => builder.single_vlan(id).ipv6(source, [9; 16], 64),
        (_, false) => builder
            .double_vlan(id, id)
            .ipv4([a, b, c, d], [192, 0, 2, 1], 64),
        (_, true) => builder.double_vlan(id, id).ipv6(source, [9; 16], 64),
    };
    let builder = builder.tcp(1000, 1883, 1, 1024);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).unwrap();
    frame
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        source(bytes.as_slice());
        transport(bytes.as_slice());
    }

    #[test]
    fn the_source_is_found_as_soon_as_its_header_is_whole(
        tags in 0_usize..3,
        ipv6: bool,
        address: [u8; 16],
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let frame = frame(tags, ipv6, address, &payload);
        let [a, b, c, d, ..] = address;
        let (header, expected) = if ipv6 {
            (40, Source::V6(address))
        } else {
            (20, Source::V4([a, b, c, d]))
        };
        let needed = ETHERNET + tags * TAG + header;
        for length in 0..=frame.len() {
            let found = source(&frame[..length]);
            prop_assert_eq!(found, if length < needed { Source::Unparsed } else { expected });
        }
    }

    #[test]
    fn a_changed_frame_is_read_as_another_parser_reads_it(
        tags in 0_usize..3,
        ipv6: bool,
        address: [u8; 16],
        at in 12_usize..40,
        byte: u8,
    ) {
        let mut frame = frame(tags, ipv6, address, &[0; 8]);
        frame[at] = byte;
        // It follows more kinds of tags and wants more of a header: where it finds a source,
        // it is the same, or there are tags that Linux takes no IP from.
        let found = source(frame.as_slice());
        if let Some(expected) = second_opinion(&frame)
            && found != Source::NotIp
        {
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn arp_is_not_ip() {
    let mut frame = [0; 42];
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(source(&frame[..]), Source::NotIp);
}

/// The beginning of a TCP header, 20 bytes that carry `ports` and `flags`.
fn tcp(ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut header = Vec::from(ports.0.to_be_bytes());
    header.extend(ports.1.to_be_bytes());
    header.extend([0; 8]);
    header.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    header
}

/// An IPv4 frame; `fragment` holds flags and offset, `options` is a multiple of four bytes.
fn ipv4(tags: usize, options: &[u8], fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = link(tags, TYPE_IPV4);
    let words = 5 + u8::try_from(options.len() / 4).unwrap();
    let total = u16::try_from(20 + options.len() + payload.len()).unwrap();
    frame.extend([0x40 | words, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1]);
    frame.extend(options);
    frame.extend(payload);
    frame
}

/// An extension header: its number and its bytes, whose first is filled in.
type Extension = (u8, Vec<u8>);

fn ipv6(tags: usize, extensions: &[Extension], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = link(tags, TYPE_IPV6);
    let length: usize = extensions.iter().map(|(_, bytes)| bytes.len()).sum();
    let numbers = extensions.iter().map(|(number, _)| *number);
    let mut next = numbers.chain([protocol]);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(u16::try_from(length + payload.len()).unwrap().to_be_bytes());
    frame.extend([next.next().unwrap(), 64]);
    frame.extend([0x20; 16]);
    frame.extend([0x30; 16]);
    for ((_, bytes), next) in extensions.iter().zip(next) {
        frame.push(next);
        frame.extend(&bytes[1..]);
    }
    frame.extend(payload);
    frame
}

fn link(tags: usize, ether_type: u16) -> Vec<u8> {
    let mut frame = std::vec![2; 12];
    for tag in [TYPE_SERVICE_VLAN, TYPE_VLAN].iter().skip(2 - tags) {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame
}

/// What the frame carries, as the program gets it: by way of a number.
fn transport(frame: &[u8]) -> Option<Transport> {
    let found = match network(frame) {
        Network::V4(ip) => transport4(frame, ip.start),
        Network::V6(ip) => transport6(frame, ip.start),
        Network::NotIp | Network::TagChain | Network::Unparsed => return None,
    };
    assert_eq!(Transport::from_bits(found.to_bits()), found);
    Some(found)
}

/// Hop-by-hop, routing and destination options of `units` times eight bytes.
fn options(number: u8, units: u8) -> Extension {
    let mut bytes = std::vec![0; 8 * (usize::from(units) + 1)];
    bytes[1] = units;
    // PadN over the rest: the host takes it.
    let rest = u8::try_from(bytes.len() - 4).unwrap();
    bytes[2..4].copy_from_slice(&[1, rest]);
    (number, bytes)
}

fn fragment_header(offset: u16, more: bool) -> Extension {
    let [a, b] = (offset << 3 | u16::from(more)).to_be_bytes();
    (FRAGMENT, std::vec![0, 0, a, b, 0, 0, 0, 9])
}

fn extensions() -> impl Strategy<Value = Vec<Extension>> {
    let one = prop_oneof![
        (0_u8..4).prop_map(|units| options(DESTINATION, units)),
        (0_u8..4).prop_map(|units| options(ROUTING, units)),
        Just(fragment_header(0, false)),
        (1_u8..5).prop_map(|words| {
            let mut bytes = std::vec![0; 4 * (usize::from(words) + 2)];
            bytes[1] = words;
            (AUTHENTICATION, bytes)
        }),
    ];
    let hop = (any::<bool>(), 0_u8..4);
    (hop, proptest::collection::vec(one, 0..12)).prop_map(|((hop, units), mut all)| {
        if hop {
            all.insert(0, options(HOP_BY_HOP, units));
        }
        all
    })
}

/// Ports and flags as an independent parser reads them.
fn ports_of(frame: &[u8]) -> Option<Transport> {
    match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Tcp(tcp) => {
            let start = tcp.slice().as_ptr().addr() - frame.as_ptr().addr();
            Some(Transport::Tcp(Tcp {
                source_port: tcp.source_port(),
                destination_port: tcp.destination_port(),
                flags: tcp.slice()[13],
                start,
                length: tcp.header_slice().len(),
            }))
        }
        TransportSlice::Udp(udp) => Some(Transport::Udp {
            destination_port: udp.destination_port(),
        }),
        _ => Some(Transport::Other),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ports_behind_ipv4_options_are_those_of_another_parser(
        tags in 0_usize..3,
        words in 0_usize..=10,
        ports: (u16, u16),
        flags: u8,
        udp: bool,
    ) {
        let options = std::vec![1; words * 4];
        let payload = if udp {
            let mut header = tcp(ports, 0)[..4].to_vec();
            header.extend([0, 8, 0, 0]);
            header
        } else {
            tcp(ports, flags)
        };
        let frame = ipv4(tags, &options, 0, if udp { UDP } else { TCP }, &payload);
        let found = transport(&frame);
        prop_assert_eq!(found, ports_of(&frame));
        let port = match found {
            Some(Transport::Tcp(Tcp { destination_port, .. }) | Transport::Udp { destination_port }) => destination_port,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(port, ports.1);
        for length in 0..frame.len() {
            let cut = transport(&frame[..length]);
            prop_assert!(matches!(cut, None | Some(Transport::Truncated)), "{length}: {cut:?}");
        }
    }

    #[test]
    fn a_chain_of_extension_headers_is_followed_to_its_end_or_told(
        tags in 0_usize..3,
        extensions in extensions(),
        ports: (u16, u16),
        flags: u8,
    ) {
        let frame = ipv6(tags, &extensions, TCP, &tcp(ports, flags));
        let found = transport(&frame);
        if extensions.len() > EXTENSION_HEADERS {
            prop_assert_eq!(found, Some(Transport::HeaderChain));
        } else {
            let start = frame.len() - 20;
            prop_assert_eq!(found, Some(Transport::Tcp(Tcp {
                source_port: ports.0,
                destination_port: ports.1,
                flags,
                start,
                length: 20,
            })));
            // It refuses orders that hosts take; where it reads ports, they are the same.
            if let Some(other @ Transport::Tcp(_)) = ports_of(&frame) {
                prop_assert_eq!(found, Some(other));
            }
            for length in 0..frame.len() {
                let cut = transport(&frame[..length]);
                prop_assert!(matches!(cut, None | Some(Transport::Truncated)), "{length}: {cut:?}");
            }
        }
    }

    #[test]
    fn changed_bytes_never_give_other_ports_than_another_parser(
        tags in 0_usize..3,
        v6: bool,
        extensions in extensions(),
        changes in proptest::collection::vec((12_usize..120, any::<u8>()), 1..4),
        length in 0_usize..200,
    ) {
        let mut frame = if v6 {
            ipv6(tags, &extensions, TCP, &tcp((1, 2), 2))
        } else {
            ipv4(tags, &[1; 8], 0, TCP, &tcp((1, 2), 2))
        };
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(length.max(14));
        if let (Some(found @ (Transport::Tcp(_) | Transport::Udp { .. })), Some(other)) =
            (transport(&frame), ports_of(&frame))
        {
            prop_assert_eq!(found, other);
        }
    }

    #[test]
    fn a_first_fragment_holds_all_headers_or_is_tiny(
        v6: bool,
        extensions in 0_u8..3,
        cut in 0_usize..=32,
        padding in 0_usize..60,
        words in 5_u8..=8,
    ) {
        let mut segment = tcp((1, 1883), 2);
        segment[12] = words << 4;
        segment.resize(32, 1);
        segment.truncate(cut);
        let mut frame = if v6 {
            let mut chain = std::vec![fragment_header(0, true)];
            chain.extend((0..extensions).map(|units| options(DESTINATION, units)));
            ipv6(0, &chain, TCP, &segment)
        } else {
            ipv4(0, &[], MORE, TCP, &segment)
        };
        // Padding of the link is no part of the packet.
        frame.resize(frame.len() + padding, 0);
        let whole = cut >= usize::from(words) * 4;
        let found = transport(&frame);
        prop_assert_eq!(matches!(found, Some(Transport::Tcp(_))), whole, "{:?}", found);
        prop_assert_eq!(found == Some(Transport::TinyFragment), !whole);
    }
}

#[test]
fn later_fragments_have_no_ports() {
    for offset in [1, 2, 100, OFFSET] {
        let found = transport(&ipv4(0, &[], offset, TCP, &tcp((1, 2), 2)));
        let expected = if offset == 1 {
            Transport::TinyFragment
        } else {
            Transport::LaterFragment
        };
        assert_eq!(found, Some(expected), "{offset}");
        let found = transport(&ipv4(0, &[], offset, UDP, &[0; 8]));
        assert_eq!(found, Some(Transport::LaterFragment), "{offset}");
        let frame = ipv6(0, &[fragment_header(offset, true)], TCP, &tcp((1, 2), 2));
        assert_eq!(transport(&frame), Some(Transport::LaterFragment));
    }
}

#[test]
fn what_has_no_ports_is_other() {
    for protocol in [1, 47, 50, 132] {
        assert_eq!(
            transport(&ipv4(0, &[], 0, protocol, &[0; 8])),
            Some(Transport::Other)
        );
    }
    // No next header, ESP, and a chain as long as is followed before them.
    let chain: Vec<_> = (0..8).map(|_| options(DESTINATION, 0)).collect();
    for protocol in [50, 58, 59] {
        let frame = ipv6(0, &chain, protocol, &[]);
        assert_eq!(transport(&frame), Some(Transport::Other));
    }
}

#[test]
fn a_header_shorter_than_a_header_is_truncated() {
    let mut frame = ipv4(0, &[], 0, TCP, &tcp((1, 2), 2));
    frame[14] = 0x44;
    assert_eq!(transport(&frame), Some(Transport::Truncated));
}
