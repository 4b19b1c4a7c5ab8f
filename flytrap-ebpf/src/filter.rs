//! Whether it is worth looking for a ban.

use aya_ebpf::btf_maps::Array;
use flytrap_common::filter::{Bits, WORDS};

/// False: certainly no exact ban has these bits.
#[inline(always)]
pub fn may_hold(filter: &Array<u64, WORDS>, bits: Bits) -> bool {
    // SAFETY: a word of the map, which lives as long as the program. Volatile, because user space
    // writes it meanwhile.
    filter
        .get_ptr(bits.word)
        .is_some_and(|word| bits.in_word(unsafe { word.read_volatile() }))
}
