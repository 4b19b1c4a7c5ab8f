//! Countries: from a source to a number, and from that to a verdict.

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use flytrap_common::geo::{Origin, origin};
use flytrap_common::packet::{self, Network};

use crate::frame::Packet;
use crate::maps::{ft_country, ft_geo4, ft_geo6, ft_source};

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

/// How many addresses are in `ft_source`, a power of two, if not the packet's own is to be looked up. Set before
/// the program is loaded. Not 0 at first: LLVM would keep every other constant 0, such as the keys of
/// lookups, in the same place, where the loader changes it too.
#[unsafe(no_mangle)]
static FT_SOURCES: u32 = OWN_SOURCE;
const OWN_SOURCE: u32 = u32::MAX;

/// Answers with the country of the packet's source instead of a verdict: what tests compare and
/// benchmarks time. With [`FT_SOURCES`] set, of one address of `ft_source` after the other, as many
/// sources would come in.
#[xdp(frags)]
pub fn ft_geo(context: XdpContext) -> u32 {
    static mut NEXT: u64 = 0;
    let network = packet::network(&Packet(context.ctx));
    // SAFETY: a constant of this object that the loader may have changed before it was loaded.
    let sources = unsafe { core::ptr::read_volatile(&raw const FT_SOURCES) };
    // Two matches, as one over both kinds of sources makes LLVM copy registers that nothing has
    // written, which the verifier refuses.
    let country = if sources == OWN_SOURCE {
        match network {
            Network::V4(ip) => country4(ip.source),
            Network::V6(ip) => country6(ip.source),
            Network::NotIp | Network::Unparsed => 0,
        }
    } else {
        let counter = &raw mut NEXT;
        // SAFETY: a plain number in a map of this program's own; two CPUs that count at a time
        // miss a count.
        let next = unsafe {
            *counter = (*counter).wrapping_add(1);
            *counter
        };
        let index = next as u32 & sources.wrapping_sub(1);
        let Some(source) = ft_source.get(index) else {
            return 0;
        };
        let [a, b, c, d, ..] = *source;
        match network {
            Network::V4(_) => country4([a, b, c, d]),
            Network::V6(_) => country6(*source),
            Network::NotIp | Network::Unparsed => 0,
        }
    };
    u32::from(country)
}
