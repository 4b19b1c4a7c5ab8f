//! From a frame to the address that sent it, and to its ports.
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

/// The network header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An IPv4 header of at least 20 bytes.
    V4(Ipv4),
    /// A whole IPv6 header.
    V6(Ipv6),
    /// Neither IPv4 nor IPv6: ARP and everything else that FlyTrap doesn't judge.
    NotIp,
    /// It claims to be IP, or to carry a tag, and ends before its source address, or has the
    /// version of another protocol. The host's own stack throws it away.
    Unparsed,
}

/// What is read of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// The source.
    pub source: [u8; 4],
    /// What follows it.
    pub protocol: u8,
    /// Bytes from the start of the frame to the header.
    pub start: usize,
    /// The header's length in bytes, as it says itself.
    pub length: usize,
    /// Flags and fragment offset.
    pub fragment: u16,
}

/// What is read of an IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// The source.
    pub source: [u8; 16],
    /// What follows it.
    pub next_header: u8,
    /// Bytes from the start of the frame to the header.
    pub start: usize,
}

/// What a packet carries, as far as ports and flags go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp {
        /// Where it goes.
        destination_port: u16,
    },
    /// Another protocol.
    Other,
    /// A fragment without the beginning, so without ports.
    LaterFragment,
    /// A first fragment that doesn't hold all headers (RFC 1858, RFC 3128, RFC 7112).
    TinyFragment,
    /// More extension headers than are followed.
    HeaderChain,
    /// The packet ends where a header should be.
    Truncated,
}

/// What is read of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Where it comes from.
    pub source_port: u16,
    /// Where it goes.
    pub destination_port: u16,
    /// FIN, SYN, RST, PSH, ACK and so on, from bit 0.
    pub flags: u8,
    /// Bytes from the start of the frame to the TCP header.
    pub start: usize,
    /// The header's length in bytes, as it says itself.
    pub length: usize,
}

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Bytes of an Ethernet header: where its type field ends.
const ETHERNET: usize = 14;
/// Bytes that one VLAN tag adds.
const TAG: usize = 4;

/// Reads the network header of an Ethernet frame.
///
/// Written so that every offset is a constant after inlining: the verifier then needs one bounds
/// check for each read.
#[inline(always)]
pub fn network<F: Frame + ?Sized>(frame: &F) -> Network {
    let Some(outer) = ether_type(frame, ETHERNET) else {
        return Network::Unparsed;
    };
    if !is_tag(outer) {
        return address(frame, outer, ETHERNET);
    }
    let Some(inner) = ether_type(frame, ETHERNET + TAG) else {
        return Network::Unparsed;
    };
    if !is_tag(inner) {
        return address(frame, inner, ETHERNET + TAG);
    }
    let Some(innermost) = ether_type(frame, ETHERNET + 2 * TAG) else {
        return Network::Unparsed;
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

/// The network header at `start`.
#[inline(always)]
fn address<F: Frame + ?Sized>(frame: &F, ether_type: u16, start: usize) -> Network {
    match ether_type {
        TYPE_IPV4 => match frame.bytes::<20>(start) {
            Some(header) if header[0] >> 4 == 4 => Network::V4(Ipv4 {
                source: [header[12], header[13], header[14], header[15]],
                protocol: header[9],
                start,
                length: usize::from(header[0] & 15) * 4,
                fragment: u16::from_be_bytes([header[6], header[7]]),
            }),
            _ => Network::Unparsed,
        },
        TYPE_IPV6 => match frame.bytes::<40>(start) {
            Some(header) if header[0] >> 4 == 6 => {
                let mut source = [0; 16];
                source.copy_from_slice(&header[8..24]);
                Network::V6(Ipv6 {
                    source,
                    next_header: header[6],
                    start,
                })
            }
            _ => Network::Unparsed,
        },
        _ => Network::NotIp,
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What an IPv4 packet carries.
#[inline(always)]
pub fn transport4<F: Frame + ?Sized>(frame: &F, ip: &Ipv4) -> Transport {
    if ip.fragment & 0x1fff != 0 {
        return Transport::LaterFragment;
    }
    if ip.length != 20 {
        return Transport::Truncated;
    }
    payload(frame, ip.protocol, ip.start + 20)
}

/// What an IPv6 packet carries.
#[inline(always)]
pub fn transport6<F: Frame + ?Sized>(frame: &F, ip: &Ipv6) -> Transport {
    payload(frame, ip.next_header, ip.start + 40)
}

#[inline(always)]
fn payload<F: Frame + ?Sized>(frame: &F, protocol: u8, start: usize) -> Transport {
    match protocol {
        TCP => match frame.bytes::<20>(start) {
            Some(header) => Transport::Tcp(Tcp {
                source_port: u16::from_be_bytes([header[0], header[1]]),
                destination_port: u16::from_be_bytes([header[2], header[3]]),
                flags: header[13],
                start,
                length: usize::from(header[12] >> 4) * 4,
            }),
            None => Transport::Truncated,
        },
        UDP => match frame.bytes::<8>(start) {
            Some(header) => Transport::Udp {
                destination_port: u16::from_be_bytes([header[2], header[3]]),
            },
            None => Transport::Truncated,
        },
        _ => Transport::Other,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, VlanId};
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
            Network::NotIp => Source::NotIp,
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
