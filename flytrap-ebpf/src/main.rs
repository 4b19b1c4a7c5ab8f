//! FlyTrap's XDP program: drops what comes from a source that is kept out, before the kernel
//! allocates anything for it.
//!
//! Allowlist, bans, countries, evasions, limits, in this order. A verdict is counted once, for the
//! CPU that gave it, and on the ban that caused it; one drop in N and the first of every ban are
//! reported.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bans;
mod clock;
mod cookies;
mod filter;
mod frame;
mod geo;
mod limits;
mod maps;
mod verdict;
mod walk;

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use flytrap_common::abi::{Allowed, Outcome, Trie4, Trie6, flag};
use flytrap_common::packet::{self, Ipv4, Ipv6, Network, Transport};

use crate::cookies::Place;
use crate::frame::Packet;
use crate::limits::{Answer, Source};
use crate::maps::{ft_allow4, ft_allow6, ft_config, ft_ports};
use crate::verdict::{Seen, drop_banned, drop_packet, pass};

/// Judges a packet.
#[xdp(frags)]
pub fn flytrap_xdp(context: XdpContext) -> u32 {
    match packet::network(&Packet(context.ctx)) {
        Network::V4(ip) => from_ipv4(&context, &ip),
        Network::V6(ip) => from_ipv6(&context, &ip),
        Network::TagChain if !set(flag::PASS_EVASIONS) => {
            drop_packet(&context, Outcome::DropHeaderChain, Seen::NOTHING)
        }
        Network::NotIp | Network::TagChain => pass(&context, Outcome::PassNotIp),
        Network::Unparsed => pass(&context, Outcome::PassUnparsed),
    }
}

/// Passes every packet: what an XDP program costs that does nothing.
#[xdp(frags)]
pub fn ft_empty(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Drops every packet: while an interface has no XDP program for a moment, none is let in that
/// nobody judged.
#[classifier]
pub fn ft_closed(_context: TcContext) -> i32 {
    TC_ACT_SHOT
}

#[inline(always)]
fn from_ipv4(context: &XdpContext, ip: &Ipv4) -> u32 {
    let data = Trie4 {
        address: ip.source,
        padding: [0; 4],
    };
    let [a, b, c, d] = ip.source;
    let mut seen = Seen {
        source: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
        destination_port: 0,
        protocol: ip.protocol,
        country: 0,
    };
    let transport = || walk::transport4(context.ctx, ip);
    if exempt(ft_allow4.get(&Key::new(32, data))) {
        return exempted(context, transport, seen, Place::V4(ip.start));
    }
    if let Some(hit) = bans::find4(ip.source)
        && (!set(flag::BANS_ON_GUARDED_PORTS) || guarded(&transport(), &mut seen))
    {
        return drop_banned(context, hit, seen);
    }
    if set(flag::COUNTRIES) {
        let country = geo::country4(ip.source);
        seen.country = u16::from(country);
        if geo::drops(country)
            && (!set(flag::COUNTRIES_ON_GUARDED_PORTS) || guarded(&transport(), &mut seen))
        {
            return drop_packet(context, Outcome::DropCountry, seen);
        }
    }
    let source = Source::V4(ip.source);
    by_transport(context, &transport(), seen, source, Place::V4(ip.start))
}

#[inline(always)]
fn from_ipv6(context: &XdpContext, ip: &Ipv6) -> u32 {
    let data = Trie6 { address: ip.source };
    let mut seen = Seen {
        source: ip.source,
        destination_port: 0,
        protocol: ip.next_header,
        country: 0,
    };
    let transport = || walk::transport6(context.ctx, ip);
    if exempt(ft_allow6.get(&Key::new(128, data))) {
        return exempted(context, transport, seen, Place::V6(ip.start));
    }
    if let Some(hit) = bans::find6(ip.source)
        && (!set(flag::BANS_ON_GUARDED_PORTS) || guarded(&transport(), &mut seen))
    {
        return drop_banned(context, hit, seen);
    }
    if set(flag::COUNTRIES) {
        let country = geo::country6(ip.source);
        seen.country = u16::from(country);
        if geo::drops(country)
            && (!set(flag::COUNTRIES_ON_GUARDED_PORTS) || guarded(&transport(), &mut seen))
        {
            return drop_packet(context, Outcome::DropCountry, seen);
        }
    }
    let [a, b, c, d, e, f, g, h, ..] = ip.source;
    let network = [a, b, c, d, e, f, g, h];
    let source = Source::V6(network);
    by_transport(context, &transport(), seen, source, Place::V6(ip.start))
}

/// Of the allowlist: nothing but the limit for all together holds it back.
#[inline(always)]
fn exempted(
    context: &XdpContext,
    transport: impl Fn() -> Transport,
    seen: Seen,
    place: Place,
) -> u32 {
    if limits::total_is_set() {
        let passed = Outcome::PassAllowlisted;
        within_limits(context, &transport(), seen, Source::Exempt, passed, place)
    } else {
        pass(context, Outcome::PassAllowlisted)
    }
}

/// What depends on the transport alone.
#[inline(always)]
fn by_transport(
    context: &XdpContext,
    transport: &Transport,
    seen: Seen,
    source: Source,
    place: Place,
) -> u32 {
    match transport {
        Transport::TinyFragment if !set(flag::PASS_EVASIONS) => {
            drop_packet(context, Outcome::DropTinyFragment, seen)
        }
        Transport::HeaderChain if !set(flag::PASS_EVASIONS) => {
            drop_packet(context, Outcome::DropHeaderChain, seen)
        }
        Transport::Truncated => pass(context, Outcome::PassUnparsed),
        _ => within_limits(context, transport, seen, source, Outcome::Pass, place),
    }
}

/// Passes the packet, unless it opens one connection to a guarded port too many.
#[inline(always)]
fn within_limits(
    context: &XdpContext,
    transport: &Transport,
    mut seen: Seen,
    source: Source,
    passed: Outcome,
    place: Place,
) -> u32 {
    let tcp = match transport {
        Transport::Tcp(tcp) if tcp.opens() && guarded(transport, &mut seen) => tcp,
        _ => return pass(context, passed),
    };
    let over = match limits::new_connection(source) {
        Answer::Within => return pass(context, passed),
        Answer::OverSource => Outcome::DropSourceLimit,
        Answer::OverTotal => {
            let bytes = verdict::length(context);
            if cookies::answer(context, place, tcp) {
                return verdict::send_back(Outcome::AnswerCookie, bytes);
            }
            Outcome::DropTotalLimit
        }
    };
    drop_packet(context, over, seen)
}

/// Whether an entry of the allowlist is in force.
#[inline(always)]
fn exempt(allowed: Option<&Allowed>) -> bool {
    allowed.is_some_and(|allowed| allowed.deadline == 0 || allowed.deadline > clock::now())
}

/// Whether the configuration has this [`flag`].
#[inline(always)]
fn set(flag: u32) -> bool {
    ft_config
        .get(0)
        .is_some_and(|config| config.flags & flag != 0)
}

/// Whether the packet goes to a guarded port, which is noted.
#[inline(always)]
fn guarded(transport: &Transport, seen: &mut Seen) -> bool {
    let port = match transport {
        Transport::Tcp(tcp) => tcp.destination_port,
        Transport::Udp { destination_port } => *destination_port,
        _ => return false,
    };
    seen.destination_port = port;
    ft_ports
        .get(u32::from(port / 64))
        .is_some_and(|word| word >> (port % 64) & 1 != 0)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

// The GPL-only helpers used here need a licence that the kernel knows.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
