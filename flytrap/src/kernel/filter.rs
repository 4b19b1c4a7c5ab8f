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
pub(super) trait Key: Copy + Eq {
    fn bits(self) -> Bits;
}

/// One filter, and the keys that it stands for.
pub(super) struct Filter<K> {
    map: Array<MapData, u64>,
    name: &'static str,
    /// By their word: four on average where there are as many as there may be.
    keys: Vec<Vec<K>>,
    /// Words that the map doesn't have yet.
    changed: Vec<u32>,
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
            changed: Vec::new(),
        };
        for key in keys {
            filter.insert(key?);
        }
        filter.changed.clear();
        for position in 0..filter.map.len() {
            let found = filter.map.get(&position, 0);
            let found = found.map_err(KernelError::map(filter.name))?;
            if found != filter.word(position) {
                filter.changed.push(position);
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
            self.changed.push(position);
            self.publish()?;
        }
        Ok(())
    }

    /// Whether it is new.
    fn insert(&mut self, key: K) -> bool {
        let Bits { word, mask } = key.bits();
        let Some(keys) = self.keys.get_mut(index(word)) else {
            return false;
        };
        if keys.contains(&key) {
            return false;
        }
        if bits(keys) & mask != mask {
            self.changed.push(word);
        }
        keys.push(key);
        true
    }

    fn word(&self, position: u32) -> u64 {
        self.keys.get(index(position)).map_or(0, |keys| bits(keys))
    }

    /// Writes what has changed. What isn't written is so the next time.
    fn publish(&mut self) -> Result<(), KernelError> {
        let changed = self.changed.as_slice();
        match *changed {
            [] => return Ok(()),
            [position] => self.map.set(position, self.word(position), 0),
            _ => {
                let words = changed.iter().map(|position| self.word(*position));
                let words: Vec<u64> = words.collect();
                batch::update(self.map.map(), changed, &words).map_err(|stopped| stopped.error)
            }
        }
        .map_err(KernelError::map(self.name))?;
        self.changed.clear();
        Ok(())
    }
}

/// The word that these keys need.
fn bits<K: Key>(keys: &[K]) -> u64 {
    keys.iter().fold(0, |word, key| word | key.bits().mask)
}

fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
