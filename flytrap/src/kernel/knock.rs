//! A SYN from this host to a listener on it, and nothing after it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use flytrap_common::cookie::{checksum, sum};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, connect, getsockname, ipproto, send,
    socket_with,
};

/// Where the SYN says it comes from: nothing listens there, so the kernel itself answers the
/// SYN-ACK with a reset.
const SOURCE_PORT: u16 = 1;
const TCP: u32 = 6;

/// Sends it; needs `CAP_NET_RAW`.
pub(super) fn send_syn(listener: SocketAddr) -> io::Result<()> {
    let to = reachable(listener.ip());
    let family = match to {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let raw = socket_with(family, SocketType::RAW, flags, Some(ipproto::TCP))?;
    // With the zone of a link-local address. Raw IPv6 sockets refuse a port.
    let mut target = listener;
    target.set_ip(to);
    target.set_port(0);
    connect(&raw, &target)?;
    let from = SocketAddr::try_from(getsockname(&raw)?)?;
    let segment = syn(from.ip(), to, listener.port());
    send(&raw, &segment, SendFlags::empty())?;
    Ok(())
}

/// An address of a listener that has all of them.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn syn(from: IpAddr, to: IpAddr, port: u16) -> [u8; 20] {
    let [s0, s1] = SOURCE_PORT.to_be_bytes();
    let [d0, d1] = port.to_be_bytes();
    let mut segment = [
        s0, s1, d0, d1, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0,
    ];
    let addresses = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&from.octets()) + sum(&to.octets()),
        // A socket has one family.
        _ => 0,
    };
    let [c0, c1] = checksum(addresses + TCP + 20 + sum(&segment));
    segment[16] = c0;
    segment[17] = c1;
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_covers_the_addresses() {
        let from = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let segment = syn(from, from, 1883);
        let mut all = [192, 0, 2, 1, 192, 0, 2, 1, 0, 6, 0, 20].to_vec();
        all.extend(segment);
        assert_eq!(checksum(sum(&all)), [0, 0]);
    }

    #[test]
    fn a_listener_on_all_addresses_has_the_loopback_ones() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0"), "127.0.0.1");
        assert_eq!(reached("::"), "::1");
        assert_eq!(reached("192.0.2.1"), "192.0.2.1");
    }
}
