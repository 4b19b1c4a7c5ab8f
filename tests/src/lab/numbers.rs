//! Numbers without pattern that are the same in every run, so that a failure comes again.

/// A sequence that is the same for the same seed: `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(mixed ^ (mixed >> 31))
    }
}

impl Numbers {
    /// The next one, below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next().unwrap_or_default() % bound
    }

    /// Between both, these included.
    pub fn bits(&mut self, least: u8, most: u8) -> u8 {
        let more = self.below(u64::from(most - least) + 1);
        least + u8::try_from(more).unwrap_or(0)
    }
}
