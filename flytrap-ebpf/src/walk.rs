//! The packet walk behind the network header.
//!
//! Global functions, with nothing but numbers in and out: the verifier looks at each once and not
//! again for every way that leads to its call.

use aya_ebpf::bindings::xdp_md;
use flytrap_common::packet::{self, Ipv4, Ipv6, Transport};

use crate::frame::Packet;

/// What the IPv4 packet carries.
#[inline(always)]
pub fn transport4(context: *mut xdp_md, ip: &Ipv4) -> Transport {
    Transport::from_bits(ft_transport4(context, ip.start as u64))
}

/// What the IPv6 packet carries.
#[inline(always)]
pub fn transport6(context: *mut xdp_md, ip: &Ipv6) -> Transport {
    Transport::from_bits(ft_transport6(context, ip.start as u64))
}

/// Further than any network header starts, for the verifier, which takes an argument for any
/// number.
const LAST_START: u64 = 31;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ft_transport4(context: *mut xdp_md, start: u64) -> u64 {
    packet::transport4(&Packet(context), (start & LAST_START) as usize).to_bits()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ft_transport6(context: *mut xdp_md, start: u64) -> u64 {
    packet::transport6(&Packet(context), (start & LAST_START) as usize).to_bits()
}
