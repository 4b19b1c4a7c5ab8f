//! A blocked Bloom filter in front of the exact bans: it answers "certainly not banned" for most
//! sources with one word of memory, where a miss in a large hash costs several cache misses.
//!
//! A key has one word and [`BITS_PER_KEY`] bits in it. With a full table, 2^20 keys, 0.7 % of the
//! other sources find their bits set; for these the hash is asked, as it was without the filter.
//! The mixer has no secret: whoever finds addresses that share all their bits with a banned one
//! has won that one lookup.

/// Words of a filter: 2 MiB.
pub const WORDS: usize = 1 << 18;
/// How many bits stand for a key; two of them may be the same.
pub const BITS_PER_KEY: u32 = 4;

/// Where a key has its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Which word: less than [`WORDS`].
    pub word: u32,
    /// Its bits in that word: at least one, at most [`BITS_PER_KEY`].
    pub mask: u64,
}

impl Bits {
    /// Those of an IPv4 address.
    #[inline]
    pub const fn of_address4(address: [u8; 4]) -> Self {
        Self::of(u32::from_ne_bytes(address) as u64)
    }

    /// Those of an IPv6 /64, given as its eight bytes.
    #[inline]
    pub const fn of_network6(network: [u8; 8]) -> Self {
        Self::of(u64::from_ne_bytes(network))
    }

    /// The upper bits of the hash choose the word, the lower ones the bits, six for each.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is left of the shift has 18 bits"
    )]
    const fn of(key: u64) -> Self {
        let hash = mix(key);
        Self {
            word: (hash >> (64 - WORDS.trailing_zeros())) as u32,
            mask: 1 << (hash & 63)
                | 1 << (hash >> 6 & 63)
                | 1 << (hash >> 12 & 63)
                | 1 << (hash >> 18 & 63),
        }
    }

    /// Whether all of them are set in `word`.
    #[inline]
    pub const fn in_word(self, word: u64) -> bool {
        word & self.mask == self.mask
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014): every input bit flips every output bit with a probability near one half.
#[inline]
const fn mix(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn full(keys: impl Iterator<Item = Bits>) -> Vec<u64> {
        let mut words = vec![0_u64; WORDS];
        for bits in keys {
            words[bits.word as usize] |= bits.mask;
        }
        words
    }

    #[test]
    fn few_others_get_through_a_full_filter() {
        // Neighbours, as in a botnet's networks, and /64s of one provider.
        let of4 = |n: u32| Bits::of_address4(n.to_be_bytes());
        let of6 = |n: u64| Bits::of_network6((0x2001_0db8_0000_0000 | n).to_be_bytes());
        let words4 = full((0..1 << 20).map(of4));
        let words6 = full((0..1 << 20).map(of6));
        let through = |words: &[u64], bits: Bits| bits.in_word(words[bits.word as usize]);
        assert!((0..1_u32 << 20).all(|n| through(&words4, of4(n))));
        assert!((0..1 << 20).all(|n| through(&words6, of6(n))));
        let others = 1_u32 << 20..1 << 21;
        let false4 = others.clone().filter(|n| through(&words4, of4(*n))).count();
        let false6 = others
            .filter(|n| through(&words6, of6(u64::from(*n))))
            .count();
        for wrong in [false4, false6] {
            assert!(wrong < (1 << 20) / 100, "{wrong} of 2^20");
        }
    }
}
