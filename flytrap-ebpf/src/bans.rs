//! Who is banned, and since when no more.

use core::ptr;

use aya_ebpf::btf_maps::lpm_trie::Key;
use flytrap_common::abi::{Address4, Ban, Network6, Trie4, Trie6};
use flytrap_common::filter::Bits;

use crate::clock;
use crate::filter::may_hold;
use crate::maps::{ft_ban4, ft_ban6, ft_bannet4, ft_bannet6, ft_filter4, ft_filter6};

/// A ban in force, and the time now.
#[derive(Clone, Copy)]
pub struct Hit {
    pub ban: *mut Ban,
    pub now: u64,
}

/// The ban of an IPv4 source, an exact one before prefixes.
#[inline(always)]
pub fn find4(address: [u8; 4]) -> Option<Hit> {
    let exact = if may_hold(&ft_filter4, Bits::of_address4(address)) {
        ft_ban4.get_ptr_mut(Address4 { address })
    } else {
        None
    };
    let data = Trie4 {
        address,
        padding: [0; 4],
    };
    let prefix = |bits| ft_bannet4.get(&Key::new(bits, data)).map(shared);
    in_force(exact).or_else(|| longest_in_force::<32>(prefix))
}

/// The ban of an IPv6 source, of its /64 before other prefixes.
#[inline(always)]
pub fn find6(address: [u8; 16]) -> Option<Hit> {
    let [a, b, c, d, e, f, g, h, ..] = address;
    let network = [a, b, c, d, e, f, g, h];
    let exact = if may_hold(&ft_filter6, Bits::of_network6(network)) {
        ft_ban6.get_ptr_mut(Network6 { network })
    } else {
        None
    };
    let data = Trie6 { address };
    let prefix = |bits| ft_bannet6.get(&Key::new(bits, data)).map(shared);
    in_force(exact).or_else(|| longest_in_force::<128>(prefix))
}

/// The longest banned prefix that is in force: one that has run out hides no wider one.
#[inline(always)]
fn longest_in_force<const LONGEST: u32>(lookup: impl Fn(u32) -> Option<*mut Ban>) -> Option<Hit> {
    let mut bits = LONGEST;
    for _ in 0..=LONGEST {
        let ban = lookup(bits)?;
        let found = in_force(Some(ban));
        if found.is_some() {
            return found;
        }
        // SAFETY: as in `in_force`.
        bits = unsafe { (*ban).bits }.checked_sub(1)?;
    }
    None
}

/// The ban as a pointer, because its counters change under every reader.
#[inline(always)]
fn shared(ban: &Ban) -> *mut Ban {
    ptr::from_ref(ban).cast_mut()
}

/// The ban, unless it has run out.
#[inline(always)]
fn in_force(ban: Option<*mut Ban>) -> Option<Hit> {
    let ban = ban?;
    let now = clock::now();
    // SAFETY: a pointer to a map value, which the kernel keeps until the program returns; user
    // space replaces whole values and never writes a deadline in place.
    (unsafe { (*ban).deadline } > now).then_some(Hit { ban, now })
}
