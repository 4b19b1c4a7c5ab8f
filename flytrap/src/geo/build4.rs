//! The IPv4 table: pages of pages, equal ones once.

use std::collections::HashMap;
use std::hash::Hash;

use flytrap_common::geo::{INNER, Table4};

use super::GeoError;

/// Builds the table of ascending ranges.
pub(super) fn build(ranges: &[(u32, u8)]) -> Result<Box<Table4>, GeoError> {
    let mut table: Box<Table4> = bytemuck::zeroed_box();
    let Table4 {
        root,
        pages,
        leaves,
    } = &mut *table;
    let mut pages = Distinct::new(pages, "different IPv4 /16s of several countries");
    let mut leaves = Distinct::new(leaves, "different IPv4 /24s of several countries");
    let mut walk = Walk {
        rest: ranges,
        country: 0,
    };
    for (start, entry) in (0..=u32::MAX).step_by(1 << 16).zip(root) {
        *entry = match walk.whole(start, 16) {
            Some(country) => country.into(),
            None => INNER | pages.number(page(&mut walk, start, &mut leaves)?)?,
        };
    }
    Ok(table)
}

/// The /24s of the /16 at `start`.
fn page(
    walk: &mut Walk<'_>,
    start: u32,
    leaves: &mut Distinct<'_, [u8; 256]>,
) -> Result<[u16; 256], GeoError> {
    let mut page = [0; 256];
    for (start, entry) in (start..=start | 0xffff).step_by(1 << 8).zip(&mut page) {
        *entry = match walk.whole(start, 24) {
            Some(country) => country.into(),
            None => INNER | leaves.number(leaf(walk, start))?,
        };
    }
    Ok(page)
}

/// The addresses of the /24 at `start`.
fn leaf(walk: &mut Walk<'_>, start: u32) -> [u8; 256] {
    let mut leaf = [0; 256];
    for (address, entry) in (start..=start | 0xff).zip(&mut leaf) {
        *entry = walk.at(address);
    }
    leaf
}

/// A walk along the ranges, never back.
struct Walk<'a> {
    /// The ranges not reached.
    rest: &'a [(u32, u8)],
    /// Where the walk stands.
    country: u8,
}

impl Walk<'_> {
    fn at(&mut self, address: u32) -> u8 {
        while let [(start, country), rest @ ..] = self.rest
            && *start <= address
        {
            self.country = *country;
            self.rest = rest;
        }
        self.country
    }

    /// The one country of a prefix, if it has only one.
    fn whole(&mut self, start: u32, bits: u32) -> Option<u8> {
        let country = self.at(start);
        let last = start | (u32::MAX >> bits);
        let ends_later = self.rest.first().is_none_or(|(next, _)| *next > last);
        ends_later.then_some(country)
    }
}

/// Slots of a table, each with something else in it.
struct Distinct<'a, T> {
    free: std::slice::IterMut<'a, T>,
    numbers: HashMap<T, u16>,
    what: &'static str,
    room: usize,
}

impl<'a, T: Copy + Eq + Hash> Distinct<'a, T> {
    fn new(slots: &'a mut [T], what: &'static str) -> Self {
        Self {
            room: slots.len(),
            free: slots.iter_mut(),
            numbers: HashMap::new(),
            what,
        }
    }

    /// The number of the slot that holds `value`.
    fn number(&mut self, value: T) -> Result<u16, GeoError> {
        if let Some(number) = self.numbers.get(&value) {
            return Ok(*number);
        }
        let full = || GeoError::TooLarge {
            what: self.what,
            room: self.room,
        };
        // No table has more slots than a number can say.
        let number = u16::try_from(self.numbers.len()).map_err(|_| full())?;
        *self.free.next().ok_or_else(full)? = value;
        self.numbers.insert(value, number);
        Ok(number)
    }
}
