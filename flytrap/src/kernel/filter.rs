//! The filters in front of the exact bans, written.
//!
//! A bit is set before the first ban that needs it is placed, and cleared after the last one is
//! lifted, so the program never takes a banned source for another. Words are written whole; a
//! program that reads one meanwhile finds, byte by byte, the old or the new one, and the bits of
//! every ban in force are in both.

use aya::maps::{Array, MapData};
use flytrap_common::filter::{Bits, WORDS};

use super::error::KernelError;

/// One filter, and how many bans need each bit of it.
pub(super) struct Filter {
    map: Array<MapData, u64>,
    name: &'static str,
    words: Vec<u64>,
    /// Saturating: a bit that 255 bans needed at a time is set for good.
    needed: Vec<u8>,
}

impl Filter {
    /// Over a map that may hold the bits of an earlier start; `bans` are those in force.
    pub(super) fn new(
        map: Array<MapData, u64>,
        name: &'static str,
        bans: impl Iterator<Item = Result<Bits, KernelError>>,
    ) -> Result<Self, KernelError> {
        let mut filter = Self {
            map,
            name,
            words: vec![0; WORDS],
            needed: vec![0; WORDS * 64],
        };
        for bits in bans {
            filter.count(bits?);
        }
        for position in 0..filter.map.len() {
            let found = filter.map.get(&position, 0);
            let found = found.map_err(KernelError::map(filter.name))?;
            if found != filter.word(position) {
                filter.publish(position)?;
            }
        }
        Ok(filter)
    }

    /// Before a ban is placed.
    pub(super) fn add(&mut self, bits: Bits) -> Result<(), KernelError> {
        if self.count(bits) {
            self.publish(bits.word)?;
        }
        Ok(())
    }

    /// After a ban is gone. Fails with the bits set, which costs time and no ban.
    pub(super) fn remove(&mut self, bits: Bits) -> Result<(), KernelError> {
        let mut word = self.word(bits.word);
        for (bit, needed) in self.counts(bits) {
            *needed -= u8::from((1..u8::MAX).contains(needed));
            if *needed == 0 {
                word &= !(1 << bit);
            }
        }
        if self.replace(bits.word, word) {
            self.publish(bits.word)?;
        }
        Ok(())
    }

    /// Counts a ban in; whether its word changed.
    fn count(&mut self, bits: Bits) -> bool {
        for (_, needed) in self.counts(bits) {
            *needed = needed.saturating_add(1);
        }
        self.replace(bits.word, self.word(bits.word) | bits.mask)
    }

    /// The counts of the bits of one ban.
    fn counts(&mut self, bits: Bits) -> impl Iterator<Item = (usize, &mut u8)> {
        let first = index(bits.word) * 64;
        let counts = self.needed.get_mut(first..first + 64).unwrap_or_default();
        let all = counts.iter_mut().enumerate();
        all.filter(move |(bit, _)| bits.mask >> bit & 1 == 1)
    }

    fn word(&self, position: u32) -> u64 {
        self.words.get(index(position)).copied().unwrap_or_default()
    }

    fn replace(&mut self, position: u32, word: u64) -> bool {
        self.words
            .get_mut(index(position))
            .is_some_and(|old| std::mem::replace(old, word) != word)
    }

    fn publish(&mut self, position: u32) -> Result<(), KernelError> {
        let word = self.word(position);
        self.map
            .set(position, word, 0)
            .map_err(KernelError::map(self.name))
    }
}

fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
