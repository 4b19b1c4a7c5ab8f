//! Frames for the kernel program, byte by byte, right or wrong as a test needs them.
//!
//! Nothing computes a checksum: the kernel program looks at none. Where the kernel behind it has to
//! take a packet, the test writes it itself.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol's number.
pub const TCP: u8 = 6;
/// The protocol's number.
pub const UDP: u8 = 17;
/// The flag that opens a connection.
pub const SYN: u8 = 1 << 1;
/// The flag of all that follows.
pub const ACK: u8 = 1 << 4;
/// What follows the Ethernet header.
pub const IPV4: u16 = 0x0800;
/// What follows the Ethernet header.
pub const IPV6: u16 = 0x86dd;

/// An extension header: its number, and its bytes behind the first, which names the next one.
pub type Extension = (u8, Vec<u8>);

/// A frame with these tags.
pub fn ethernet(tags: &[u16], ether_type: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(body);
    frame
}

/// An IPv4 packet with so many bytes of padding as options; `fragment` is flags and offset.
pub fn ipv4(
    source: Ipv4Addr,
    options: usize,
    fragment: u16,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let words = 5 + u8::try_from(options / 4).unwrap();
    let total = u16::try_from(20 + options + payload.len()).unwrap();
    let mut packet = vec![0x40 | words, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend([192, 0, 2, 1]);
    packet.extend(vec![1; options]);
    packet.extend(payload);
    packet
}

/// An IPv6 packet with these extension headers.
pub fn ipv6(source: Ipv6Addr, extensions: &[Extension], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length: usize = extensions.iter().map(|(_, rest)| rest.len() + 1).sum();
    let mut next = extensions.iter().map(|(number, _)| *number);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(length + payload.len()).unwrap().to_be_bytes());
    packet.extend([next.next().unwrap_or(protocol), 64]);
    packet.extend(source.octets());
    packet.extend([0xfd; 16]);
    for (_, rest) in extensions {
        packet.push(next.next().unwrap_or(protocol));
        packet.extend(rest);
    }
    packet.extend(payload);
    packet
}

/// Destination options that are nothing but padding.
pub fn destination_options() -> Extension {
    (60, vec![0, 1, 4, 0, 0, 0, 0])
}

/// A TCP header without options, to this port.
pub fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut header = 40_000_u16.to_be_bytes().to_vec();
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    header
}

/// A frame with a TCP segment of this source.
pub fn tcp(source: IpAddr, port: u16, flags: u8) -> Vec<u8> {
    let segment = segment(port, flags);
    match source {
        IpAddr::V4(source) => ethernet(&[], IPV4, &ipv4(source, 0, 0, TCP, &segment)),
        IpAddr::V6(source) => ethernet(&[], IPV6, &ipv6(source, &[], TCP, &segment)),
    }
}

/// A frame of this source, where nothing else matters.
pub fn from(source: &str) -> Vec<u8> {
    tcp(source.parse().unwrap(), 0, 0)
}
