//! Evasions against a real listener: without FlyTrap the kernel answers a SYN that is split inside
//! its TCP header, and one behind 40 extension headers; with it neither arrives.
//!
//! Over IPv6 the kernel itself wants the first 20 bytes of the TCP header in the first fragment, and
//! answers with an `ICMPv6` error where they aren't (RFC 7112). It doesn't want the options, so a SYN
//! that is split inside these is answered.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use flytrap::kernel::VerdictReason as Outcome;
use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::rig::Rig;
use flytrap_tests::lab::veth::attached;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket,
};

/// Only a hang takes this long.
const FOREVER: Duration = Duration::from_mins(1);
const TCP: u8 = 6;
const EVADING: u16 = 20_001;
const PLAIN: u16 = 20_002;
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const FRAGMENT: u8 = 44;
/// `ICMPv6`: "parameter problem", "first fragment has incomplete IPv6 header chain".
const INCOMPLETE: [u8; 2] = [4, 3];
/// Padding instead of options.
const OPTIONS: [u8; 8] = [1; 8];

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A SYN with its checksum. `options`: whole words.
fn syn(from: SocketAddr, to: SocketAddr, options: &[u8]) -> Vec<u8> {
    let length = u8::try_from(20 + options.len()).unwrap();
    let mut segment = from.port().to_be_bytes().to_vec();
    segment.extend(to.port().to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, length << 2, SYN, 4, 0, 0, 0, 0, 0]);
    segment.extend(options);
    let mut summed = [octets(from.ip()), octets(to.ip())].concat();
    summed.extend([0, TCP, 0, length]);
    summed.extend(&segment);
    let mut sum: u32 = summed
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes(pair.try_into().unwrap())))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap();
    segment.splice(16..18, checksum.to_be_bytes());
    segment
}

/// A packet or fragment; the kernel fills in the IPv4 header's checksum.
fn ipv4(from: IpAddr, to: IpAddr, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, TCP, 0, 0]);
    packet.extend([octets(from), octets(to), payload.to_vec()].concat());
    packet
}

/// A packet with this chain of extension headers, each of which names the next.
fn ipv6(from: IpAddr, to: IpAddr, first: u8, chain: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    let length = u16::try_from(chain.len() + payload.len()).unwrap();
    packet.extend(length.to_be_bytes());
    packet.extend([first, 64]);
    packet.extend([octets(from), octets(to), chain.to_vec(), payload.to_vec()].concat());
    packet
}

/// A fragment: its place in words of eight bytes, and whether more come.
fn fragment6(from: IpAddr, to: IpAddr, (place, more): (u16, bool), payload: &[u8]) -> Vec<u8> {
    let [high, low] = (place << 3 | u16::from(more)).to_be_bytes();
    let header = [TCP, 0, high, low, 0, 0, 0x12, 0x34];
    ipv6(from, to, FRAGMENT, &header, payload)
}

/// The packets of a SYN that hides its ports, in the order to send them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evasion {
    Split4,
    Split6,
    SplitOptions6,
    Chain,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A SYN-ACK came back.
    Answered,
    /// The host said that its first fragment is too short.
    Refused,
    Nothing,
}

impl Evasion {
    fn packets(self, from: SocketAddr, to: SocketAddr) -> Vec<Vec<u8>> {
        let options: &[u8] = match self {
            Self::SplitOptions6 => &OPTIONS,
            _ => &[],
        };
        let segment = syn(from, to, options);
        let (from, to) = (from.ip(), to.ip());
        let split6 = |words: u16| {
            let (head, tail) = segment.split_at(usize::from(words) * 8);
            vec![
                fragment6(from, to, (0, true), head),
                fragment6(from, to, (words, false), tail),
            ]
        };
        match self {
            Self::Split4 => {
                let (head, tail) = segment.split_at(8);
                vec![ipv4(from, to, 0x2000, head), ipv4(from, to, 1, tail)]
            }
            Self::Split6 => split6(1),
            Self::SplitOptions6 => split6(3),
            Self::Chain => {
                // Destination options with nothing but padding.
                let mut chain = [60, 0, 1, 4, 0, 0, 0, 0].repeat(39);
                chain.extend([TCP, 0, 1, 4, 0, 0, 0, 0]);
                vec![ipv6(from, to, 60, &chain, &segment)]
            }
        }
    }

    /// What becomes of it without FlyTrap.
    fn alone(self) -> Seen {
        match self {
            Self::Split6 => Seen::Refused,
            Self::Split4 | Self::SplitOptions6 | Self::Chain => Seen::Answered,
        }
    }

    /// What counts the packets that are dropped, and how many these are.
    fn dropped(self) -> (Outcome, u64) {
        match self {
            // RFC 3128: also the part that would overwrite the flags.
            Self::Split4 => (Outcome::DropTinyFragment, 2),
            // The other part comes to nothing without the first.
            Self::Split6 | Self::SplitOptions6 => (Outcome::DropTinyFragment, 1),
            Self::Chain => (Outcome::DropHeaderChain, 1),
        }
    }
}

fn raw(family: AddressFamily, protocol: Protocol) -> OwnedFd {
    let socket = socket(family, SocketType::RAW, Some(protocol)).unwrap();
    set_socket_timeout(&socket, Timeout::Recv, Some(FOREVER)).unwrap();
    socket
}

/// Sends the evasion and then a plain SYN, and waits for the answer to the plain one: what the
/// evasion brought before it.
fn seen(evasion: Evasion, from: IpAddr, to: SocketAddr) -> Seen {
    let family = match from {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let receiver = raw(family, ipproto::TCP);
    let errors = raw(AddressFamily::INET6, ipproto::ICMPV6);
    let sender = raw(family, ipproto::RAW);
    let at = |port| SocketAddr::new(from, port);
    let plain = syn(at(PLAIN), to, &[]);
    let plain = match from {
        IpAddr::V4(_) => ipv4(from, to.ip(), 0, &plain),
        IpAddr::V6(_) => ipv6(from, to.ip(), TCP, &[], &plain),
    };
    let mut packets = evasion.packets(at(EVADING), to);
    packets.push(plain);
    for packet in packets {
        // Raw IPv6 sockets refuse a port here.
        let to = SocketAddr::new(to.ip(), 0);
        sendto(&sender, &packet, SendFlags::empty(), &to).unwrap();
    }
    let mut evaded = false;
    loop {
        let mut buffer = [0; 2048];
        let (length, _) = recv(&receiver, &mut buffer, RecvFlags::empty()).unwrap();
        // IPv4 raw sockets show the header, which has no options here.
        let header = if from.is_ipv4() { 20 } else { 0 };
        let segment = buffer.get(header..length);
        let Some([a, b, c, d, _, _, _, _, _, _, _, _, _, SYN_ACK, ..]) = segment else {
            continue;
        };
        if u16::from_be_bytes([*a, *b]) != to.port() {
            continue;
        }
        match u16::from_be_bytes([*c, *d]) {
            EVADING => evaded = true,
            PLAIN => break,
            _ => {}
        }
    }
    match (evaded, refused(&errors)) {
        (true, false) => Seen::Answered,
        (false, true) => Seen::Refused,
        (false, false) => Seen::Nothing,
        (true, true) => panic!("answered and refused"),
    }
}

/// Whether such an error is among the `ICMPv6` messages that have come.
fn refused(errors: &OwnedFd) -> bool {
    let mut buffer = [0; 2048];
    while let Ok((length, _)) = recv(errors, &mut buffer, RecvFlags::DONTWAIT) {
        if buffer[..length].starts_with(&INCOMPLETE) {
            return true;
        }
    }
    false
}

/// The same with FlyTrap on the listener's side.
fn seen_through(net: &Net, pass_evasions: bool, evasion: Evasion, to: SocketAddr) -> Seen {
    net.gateway
        .run(|| {
            let rig = Rig::with(|settings| {
                settings.interfaces = vec![net.interface.clone().unwrap()];
                settings.guarded_ports = vec![to.port()];
                settings.pass_evasions = pass_evasions;
            });
            // The drops below are those of this program, in native mode.
            let program = (1, rig.plane.status().program_id.into());
            assert_eq!(attached(net.interface.as_ref().unwrap()), Some(program));
            let seen = with_devices(net, evasion, to);
            let (outcome, packets) = evasion.dropped();
            let expected = if pass_evasions { 0 } else { packets };
            for (counted, count) in rig.plane.counters().unwrap() {
                if counted == outcome {
                    assert_eq!(count.packets, expected, "{evasion:?}");
                } else if counted.is_drop() {
                    assert_eq!(count.packets, 0, "{evasion:?}: {counted:?}");
                }
            }
            Ok(seen)
        })
        .unwrap()
}

fn with_devices(net: &Net, evasion: Evasion, to: SocketAddr) -> Seen {
    let from = match to.ip() {
        IpAddr::V4(_) => net.device(0),
        IpAddr::V6(_) => Net::DEVICES_V6[0],
    };
    net.devices.run(|| Ok(seen(evasion, from, to))).unwrap()
}

fn does_not_arrive_but_without_flytrap_or_by_setting(evasion: Evasion) {
    let net = Net::isolated().unwrap();
    let address = match evasion {
        Evasion::Split4 => Net::GATEWAY[0],
        Evasion::Split6 | Evasion::SplitOptions6 | Evasion::Chain => Net::GATEWAY[1],
    };
    // A listener of its own each time: no half-open connection of the time before.
    let listener = || {
        net.gateway
            .run(|| Ok(TcpListener::bind((address, 0))?))
            .unwrap()
    };
    let open = listener();
    let to = open.local_addr().unwrap();
    assert_eq!(with_devices(&net, evasion, to), evasion.alone());
    let guarded = listener();
    let to = guarded.local_addr().unwrap();
    assert_eq!(seen_through(&net, false, evasion, to), Seen::Nothing);
    let lenient = listener();
    let to = lenient.local_addr().unwrap();
    assert_eq!(seen_through(&net, true, evasion, to), evasion.alone());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_syn_split_inside_its_tcp_header_is_answered_only_without_flytrap() {
    does_not_arrive_but_without_flytrap_or_by_setting(Evasion::Split4);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_ipv6_syn_split_inside_its_tcp_header_is_refused_by_the_host_itself() {
    does_not_arrive_but_without_flytrap_or_by_setting(Evasion::Split6);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_ipv6_syn_split_inside_its_tcp_options_is_answered_only_without_flytrap() {
    does_not_arrive_but_without_flytrap_or_by_setting(Evasion::SplitOptions6);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_syn_behind_forty_option_headers_is_answered_only_without_flytrap() {
    does_not_arrive_but_without_flytrap_or_by_setting(Evasion::Chain);
}
