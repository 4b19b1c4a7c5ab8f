//! The filters in front of the exact bans, written.
//!
//! A bit is set before the first ban that needs it is placed, and cleared after the last one is
//! lifted, so the program never takes a banned source for another. Words are written whole; a
//! program that reads one meanwhile finds, byte by byte, the old or the new one, and the bits of
//! every ban in force are in both.

use aya::maps::{Array, IterableMap, MapData};
use flytrap_common::batch;
use flytrap_common::filter::{Bits, WORDS};

use super::error::KernelError;

/// A key of exact bans.
pub(super) trait Key: Copy + Eq + Sync {
    fn bits(self) -> Bits;
}

/// One filter, and the keys that it stands for.
pub(super) struct Filter<K> {
    map: Array<MapData, u64>,
    name: &'static str,
    /// By their word: four on average where there are as many as there may be.
    keys: Vec<Vec<K>>,
    /// Positions and words that the map doesn't have yet, in turn.
    positions: Vec<u32>,
    words: Vec<u64>,
}

impl<K: Key> Filter<K> {
    /// Over a map that may hold the bits of an earlier start; `keys` are those of the bans in
    /// force.
    pub(super) fn new(
        map: Array<MapData, u64>,
        name: &'static str,
        keys: impl Iterator<Item = Result<K, KernelError>>,
    ) -> Result<Self, KernelError> {
        let mut filter = Self {
            map,
            name,
            keys: vec![Vec::new(); WORDS],
            positions: Vec::new(),
            words: Vec::new(),
        };
        for key in keys {
            filter.insert(key?);
        }
        filter.clear();
        for (position, keys) in (0..).zip(&filter.keys) {
            let found = filter.map.get(&position, 0);
            let found = found.map_err(KernelError::map(filter.name))?;
            let word = bits(keys);
            if found != word {
                filter.positions.push(position);
                filter.words.push(word);
            }
        }
        filter.publish()?;
        Ok(filter)
    }

    /// Before bans of these keys are placed; which of them are new to it. With an error it has
    /// them all the same.
    pub(super) fn add(&mut self, keys: &[K]) -> Result<Vec<bool>, KernelError> {
        let new = keys.iter().map(|key| self.insert(*key)).collect();
        self.publish()?;
        Ok(new)
    }

    /// After a ban is gone. Fails with the bits set, which costs time and no ban.
    pub(super) fn remove(&mut self, key: K) -> Result<(), KernelError> {
        let position = key.bits().word;
        let keys = self.keys.get_mut(index(position));
        if let Some(keys) = keys
            && let Some(place) = keys.iter().position(|it| *it == key)
        {
            keys.swap_remove(place);
            self.positions.push(position);
            self.words.push(bits(keys));
            self.publish()?;
        }
        Ok(())
    }

    /// Whether it is new.
    fn insert(&mut self, key: K) -> bool {
        let Bits {
            word: position,
            mask,
        } = key.bits();
        let Some(keys) = self.keys.get_mut(index(position)) else {
            return false;
        };
        if keys.contains(&key) {
            return false;
        }
        let word = bits(keys);
        keys.push(key);
        if word & mask != mask {
            self.positions.push(position);
            self.words.push(word | mask);
        }
        true
    }

    /// Writes what has changed. What isn't written is so the next time.
    fn publish(&mut self) -> Result<(), KernelError> {
        match (self.positions.as_slice(), self.words.as_slice()) {
            ([], _) => return Ok(()),
            ([position], [word]) => self.map.set(*position, word, 0),
            (positions, words) => {
                batch::update(self.map.map(), positions, words).map_err(|stopped| stopped.error)
            }
        }
        .map_err(KernelError::map(self.name))?;
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.positions.clear();
        self.words.clear();
    }
}

/// The word that these keys need.
fn bits<K: Key>(keys: &[K]) -> u64 {
    keys.iter().fold(0, |word, key| word | key.bits().mask)
}

fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
