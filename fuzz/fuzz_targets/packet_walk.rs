//! The packet walk over any bytes: it answers, and never with another source or other ports than an
//! independent parser finds.
#![no_main]

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use flytrap_common::packet::{Network, Transport, network, transport4, transport6};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let found = walk(frame);
    if let Ok(other) = SlicedPacket::from_ethernet(frame) {
        compare(found, &other);
    }
    // A frame that is cut off is less to go by, never something else.
    let cut = walk(&frame[..frame.len() / 2]);
    if let (Network::V4(_) | Network::V6(_), _) = cut {
        assert_eq!(cut.0, found.0);
    }
    if let Some(ports @ (Transport::Tcp(_) | Transport::Udp { .. })) = cut.1 {
        assert_eq!(Some(ports), found.1);
    }
});

fn walk(frame: &[u8]) -> (Network, Option<Transport>) {
    let found = network(frame);
    let transport = match found {
        Network::V4(ip) => transport4(frame, ip.start),
        Network::V6(ip) => transport6(frame, ip.start),
        Network::NotIp | Network::TagChain | Network::Unparsed => return (found, None),
    };
    // The kernel hands it from function to function as a number.
    assert_eq!(Transport::from_bits(transport.to_bits()), transport);
    (found, Some(transport))
}

fn compare((network, transport): (Network, Option<Transport>), other: &SlicedPacket) {
    match (network, &other.net) {
        (Network::V4(ip), Some(NetSlice::Ipv4(seen))) => {
            assert_eq!(ip.source, seen.header().source());
        }
        (Network::V6(ip), Some(NetSlice::Ipv6(seen))) => {
            assert_eq!(ip.source, seen.header().source());
        }
        (Network::V4(_) | Network::V6(_), Some(seen)) => {
            panic!("{network:?}, but it is {seen:?}");
        }
        (Network::Unparsed, Some(seen @ (NetSlice::Ipv4(_) | NetSlice::Ipv6(_)))) => {
            panic!("no source, but it is {seen:?}");
        }
        _ => {}
    }
    match (transport, &other.transport) {
        (Some(Transport::Tcp(found)), Some(TransportSlice::Tcp(seen))) => {
            assert_eq!(found.source_port, seen.source_port());
            assert_eq!(found.destination_port, seen.destination_port());
            assert_eq!(found.flags, seen.slice()[13]);
            assert_eq!(found.length, seen.header_slice().len());
        }
        (Some(Transport::Udp { destination_port }), Some(TransportSlice::Udp(seen))) => {
            assert_eq!(destination_port, seen.destination_port());
        }
        (Some(found @ (Transport::Tcp(_) | Transport::Udp { .. })), Some(seen)) => {
            panic!("{found:?}, but it is {seen:?}");
        }
        _ => {}
    }
}
