//! The kernel's country tables, made of lists of ranges.

use flytrap_common::geo::{
    FAR6, FINE, FINE_STARTS, Far, GROUPS, Group, NEAR4, NEAR6, Near, SLOTS4, SLOTS6, Start, Table4,
    Table6,
};

use super::GeoError;
use super::trie::{End, Region, Trie};

/// The first /48 with a country, as a number, and the one behind the last.
const GLOBAL: std::ops::Range<u64> = 0x2000 << 32..0x4000 << 32;

/// Where an IPv6 range begins, and its country.
type Range6 = (u128, u8);

/// Builds the IPv4 table of ascending ranges.
pub(super) fn table4(ranges: &[(u32, u8)]) -> Result<Box<Table4>, GeoError> {
    let changes = ranges
        .iter()
        .map(|(start, country)| (u64::from(*start), *country));
    let changes: Vec<_> = changes.collect();
    let mut trie = Trie::default();
    let mut table: Box<Table4> = bytemuck::zeroed_box();
    trie.root(region(0, 32, &changes), &mut table.root);
    check("slots for IPv4", trie.slots.len(), SLOTS4)?;
    check("ends for IPv4", trie.near.len(), NEAR4)?;
    fill(&mut table.slots, trie.slots);
    let near = trie.near.iter();
    fill(
        &mut table.near,
        near.map(|end| Near::new(end.begin, end.value, &end.changes, 0)),
    );
    Ok(table)
}

/// Builds the IPv6 table of ascending ranges; what lies outside `2000::/3` is left out.
pub(super) fn table6(ranges: &[Range6]) -> Result<Box<Table6>, GeoError> {
    let List { changes, fine } = List::of(ranges);
    let mut trie = Trie::default();
    let mut table: Box<Table6> = bytemuck::zeroed_box();
    trie.root(region(GLOBAL.start, 45, &changes), &mut table.root);
    check("slots for IPv6", trie.slots.len(), SLOTS6)?;
    check(
        "ends for IPv6 changes near each other",
        trie.near.len(),
        NEAR6,
    )?;
    check(
        "ends for IPv6 changes far from each other",
        trie.far.len(),
        FAR6,
    )?;
    check("IPv6 ranges inside of /48s", fine.len(), FINE_STARTS)?;
    fill(&mut table.slots, trie.slots);
    let mut groups = Groups {
        fine: &fine,
        groups: Vec::new(),
    };
    let near = trie
        .near
        .iter()
        .map(|end| Near::new(end.begin, end.value, &end.changes, groups.number(end)));
    fill(&mut table.near, near);
    let far = trie
        .far
        .iter()
        .map(|end| Far::new(end.value, &end.changes, groups.number(end)));
    fill(&mut table.far, far);
    check(
        "groups for IPv6 /48s of several countries",
        groups.groups.len(),
        GROUPS,
    )?;
    fill(&mut table.groups, groups.groups);
    fill(
        &mut table.fine_values,
        fine.iter().map(|(_, country)| *country),
    );
    fill(
        &mut table.fine_starts,
        fine.iter().map(|(start, _)| halves(*start)),
    );
    Ok(table)
}

/// IPv6 ranges by /48s.
#[derive(Default)]
struct List {
    /// Numbers of /48s from which on there is another country, or [`FINE`].
    changes: Vec<(u64, u8)>,
    /// The ranges of the /48s that are [`FINE`], each of which begins with one.
    fine: Vec<Range6>,
}

impl List {
    fn of(ranges: &[Range6]) -> Self {
        let mut list = Self::default();
        let (before, ranges) = split(ranges, GLOBAL.start);
        let (ranges, _) = split(ranges, GLOBAL.end);
        let mut country = before.last().map_or(0, |(_, country)| *country);
        list.begin(GLOBAL.start, country);
        for same in ranges.chunk_by(|(a, _), (b, _)| network(*a) == network(*b)) {
            let [(start, first), rest @ ..] = same else {
                continue;
            };
            let key = network(*start);
            let whole = u128::from(key) << 80 == *start;
            if whole && rest.is_empty() {
                list.begin(key, *first);
            } else {
                if !whole {
                    list.fine.push((u128::from(key) << 80, country));
                }
                list.fine.extend_from_slice(same);
                list.begin(key, FINE);
                // Replaced if a range begins right there.
                list.begin(key + 1, rest.last().map_or(*first, |(_, last)| *last));
            }
            country = rest.last().map_or(*first, |(_, last)| *last);
        }
        list
    }

    /// From `key` on, which is not before the last one.
    fn begin(&mut self, key: u64, value: u8) {
        self.changes.pop_if(|(last, _)| *last == key);
        if self
            .changes
            .last()
            .is_none_or(|(_, before)| *before != value)
        {
            self.changes.push((key, value));
        }
    }
}

/// The groups so far.
struct Groups<'a> {
    fine: &'a [Range6],
    groups: Vec<Group>,
}

impl Groups<'_> {
    /// The number of a new group for an end that needs one.
    fn number(&mut self, end: &End) -> u16 {
        if end.value != FINE && end.changes.iter().all(|(_, value)| *value != FINE) {
            return 0;
        }
        let (before, from) = split(self.fine, end.begin);
        let (group, _) = split(from, end.until);
        // All of these fit, or the table is refused.
        let number = self.groups.len().try_into().unwrap_or(0);
        self.groups.push(Group {
            first: before.len().try_into().unwrap_or(0),
            count: group.len().try_into().unwrap_or(0),
        });
        number
    }
}

/// The ranges that begin before a /48, and the others.
fn split(ranges: &[Range6], key: u64) -> (&[Range6], &[Range6]) {
    ranges.split_at(ranges.partition_point(|(start, _)| network(*start) < key))
}

/// The number of the address's /48.
const fn network(address: u128) -> u64 {
    (address >> 80) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
const fn halves(address: u128) -> Start {
    Start {
        upper: (address >> 64) as u64,
        lower: address as u64,
    }
}

/// All keys of a family: `1 << bits` from `begin` on.
fn region(begin: u64, bits: u32, changes: &[(u64, u8)]) -> Region<'_> {
    let (value, changes) = match changes {
        [(key, value), rest @ ..] if *key == begin => (*value, rest),
        _ => (0, changes),
    };
    Region {
        begin,
        bits,
        value,
        changes,
    }
}

fn fill<T>(places: &mut [T], values: impl IntoIterator<Item = T>) {
    for (place, value) in places.iter_mut().zip(values) {
        *place = value;
    }
}

fn check(what: &'static str, needed: usize, room: usize) -> Result<(), GeoError> {
    if needed <= room {
        Ok(())
    } else {
        Err(GeoError::TooLarge { what, needed, room })
    }
}
