//! From a frame to the address that sent it.
//!
//! Linux takes IP out of Ethernet and out of 802.1Q and 802.1ad tags; two of them are followed,
//! which is what a host can be reached through without a third VLAN device stacked on a second.
#![expect(
    clippy::inline_always,
    reason = "the verifier follows a packet pointer only within one function"
)]

/// Bytes of a frame, from its link-layer header on.
pub trait Frame {
    /// The `N` bytes at `offset`, unless the frame ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Frame for [u8] {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address.
    V6([u8; 16]),
    /// Neither IPv4 nor IPv6: ARP and everything else that FlyTrap doesn't judge.
    NotIp,
    /// It claims to be IP, or to carry a tag, and ends before its source address, or has the
    /// version of another protocol. The host's own stack throws it away.
    Unparsed,
}

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Bytes of an Ethernet header: where its type field ends.
const ETHERNET: usize = 14;
/// Bytes that one VLAN tag adds.
const TAG: usize = 4;

/// Reads the source address of an Ethernet frame.
///
/// Written so that every offset is a constant after inlining: the verifier then needs one bounds
/// check for each read.
#[inline(always)]
pub fn source<F: Frame + ?Sized>(frame: &F) -> Source {
    let Some(outer) = ether_type(frame, ETHERNET) else {
        return Source::Unparsed;
    };
    if !is_tag(outer) {
        return address(frame, outer, ETHERNET);
    }
    let Some(inner) = ether_type(frame, ETHERNET + TAG) else {
        return Source::Unparsed;
    };
    if !is_tag(inner) {
        return address(frame, inner, ETHERNET + TAG);
    }
    let Some(innermost) = ether_type(frame, ETHERNET + 2 * TAG) else {
        return Source::Unparsed;
    };
    address(frame, innermost, ETHERNET + 2 * TAG)
}

/// The type field that ends at `end`.
#[inline(always)]
fn ether_type<F: Frame + ?Sized>(frame: &F, end: usize) -> Option<u16> {
    frame.bytes(end - 2).map(u16::from_be_bytes)
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, TYPE_VLAN | TYPE_SERVICE_VLAN)
}

/// The source address of the network header at `start`.
#[inline(always)]
fn address<F: Frame + ?Sized>(frame: &F, ether_type: u16, start: usize) -> Source {
    match ether_type {
        TYPE_IPV4 => match frame.bytes::<20>(start) {
            Some(header) if header[0] >> 4 == 4 => {
                Source::V4([header[12], header[13], header[14], header[15]])
            }
            _ => Source::Unparsed,
        },
        TYPE_IPV6 => match frame.bytes::<40>(start) {
            Some(header) if header[0] >> 4 == 6 => {
                let mut address = [0; 16];
                address.copy_from_slice(&header[8..24]);
                Source::V6(address)
            }
            _ => Source::Unparsed,
        },
        _ => Source::NotIp,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, VlanId};
    use proptest::prelude::*;

    use super::*;

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
}
