//! Countries: from a source to a number, and from that to a verdict.

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use flytrap_common::geo::{Origin, origin};
use flytrap_common::packet::{self, Network};

use crate::frame::Packet;
use crate::maps::{ft_country, ft_geo4, ft_geo6};

/// The country of an IPv4 address; 0 for none, also while there is no table.
#[inline(always)]
pub(crate) fn country4(address: [u8; 4]) -> u8 {
    ft_geo4
        .get_value(0, &0)
        .map_or(0, |table| table.country(address))
}

/// The country of an IPv6 address; 0 for none, also while there is no table.
#[inline(always)]
pub(crate) fn country6(address: [u8; 16]) -> u8 {
    match origin(address) {
        Origin::Inner(address) => country4(address),
        Origin::Global(upper, lower) => ft_geo6
            .get_value(0, &0)
            .map_or(0, |table| table.country(upper, lower)),
        Origin::Local => 0,
    }
}

/// Whether packets from that country are dropped.
#[inline(always)]
pub(crate) fn drops(country: u8) -> bool {
    ft_country
        .get(0)
        .is_some_and(|policy| policy.drops(country))
}

/// Answers with the country of the packet's source instead of a verdict: what tests compare and
/// benchmarks time.
#[xdp(frags)]
pub fn ft_geo(context: XdpContext) -> u32 {
    let country = match packet::network(&Packet(context.ctx)) {
        Network::V4(ip) => country4(ip.source),
        Network::V6(ip) => country6(ip.source),
        Network::NotIp | Network::TagChain | Network::Unparsed => 0,
    };
    u32::from(country)
}
