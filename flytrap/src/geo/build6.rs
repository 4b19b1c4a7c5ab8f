//! The IPv6 table: a static B+-tree.

use flytrap_common::geo::{FINE, GROUP, GROUPS, Group, INNER, Leaf, NO_KEY, Node, STARTS, Table6};

use super::GeoError;

/// The first address with a country.
const FIRST: u128 = 0x2000 << 112;
/// The last one.
const LAST: u128 = (0x4000 << 112) - 1;

/// Builds the table of ascending ranges; what lies outside `2000::/3` is left out.
pub(super) fn build(ranges: &[(u128, u8)]) -> Result<Box<Table6>, GeoError> {
    let leaves = Leaves::of(ranges)?;
    let mut table: Box<Table6> = bytemuck::zeroed_box();
    let table6 = &mut *table;
    let keys = leaves.starts.iter().map(|(key, _)| *key);
    let keys = keys.chain(std::iter::repeat(NO_KEY));
    let places = table6.leaves.iter_mut().flat_map(|leaf| &mut leaf.keys);
    for (slot, key) in places.zip(keys) {
        *slot = key;
    }
    let first = table6.leaves.iter().map(
        |Leaf {
             keys: [first, ..], ..
         }| *first,
    );
    for (slot, first) in table6.level4.as_flattened_mut().iter_mut().zip(first) {
        *slot = first;
    }
    first_keys(table6.level3.as_flattened_mut(), &table6.level4);
    first_keys(table6.level2.as_flattened_mut(), &table6.level3);
    first_keys(table6.level1.as_flattened_mut(), &table6.level2);
    first_keys(&mut table6.root, &table6.level1);
    let places = table6.leaves.iter_mut().flat_map(|leaf| &mut leaf.values);
    for (slot, (_, value)) in places.zip(leaves.starts) {
        *slot = value;
    }
    for (slot, group) in table6.groups.iter_mut().zip(leaves.groups) {
        *slot = group;
    }
    let fine = table6.fine_starts.iter_mut().zip(&mut table6.fine_values);
    for ((start, value), (lower, country)) in fine.zip(leaves.fine) {
        *start = lower;
        *value = country;
    }
    Ok(table)
}

/// A level repeats the first key of every node of the level below.
fn first_keys(level: &mut [u64], below: &[Node]) {
    for (slot, [first, ..]) in level.iter_mut().zip(below) {
        *slot = *first;
    }
}

/// What the last level leads to.
#[derive(Default)]
struct Leaves {
    /// Upper halves, ascending, and what begins there.
    starts: Vec<(u64, u16)>,
    groups: Vec<Group>,
    /// Lower halves and their countries, group by group.
    fine: Vec<(u64, u8)>,
}

impl Leaves {
    fn of(ranges: &[(u128, u8)]) -> Result<Self, GeoError> {
        let mut leaves = Self::default();
        let (before, ranges) =
            ranges.split_at(ranges.partition_point(|(start, _)| *start <= FIRST));
        let (ranges, _) = ranges.split_at(ranges.partition_point(|(start, _)| *start <= LAST));
        let mut country = before.last().map_or(0, |(_, country)| *country);
        leaves.begin(upper(FIRST), country.into());
        for same in ranges.chunk_by(|(a, _), (b, _)| upper(*a) == upper(*b)) {
            let [(start, first), rest @ ..] = same else {
                continue;
            };
            let key = upper(*start);
            if rest.is_empty() && lower(*start) == 0 {
                country = *first;
                leaves.begin(key, country.into());
                continue;
            }
            let group = leaves.group(country, same)?;
            leaves.begin(key, INNER | group);
            country = rest.last().map_or(*first, |(_, country)| *country);
            // Replaced if a range begins right there.
            if key < upper(LAST) {
                leaves.begin(key + 1, country.into());
            }
        }
        check("IPv6 ranges", leaves.starts.len(), STARTS)?;
        check("IPv6 ranges inside of /64s", leaves.fine.len(), FINE)?;
        Ok(leaves)
    }

    /// From `key` on, which is not before the last one.
    fn begin(&mut self, key: u64, value: u16) {
        if self.starts.last().is_some_and(|(last, _)| *last == key) {
            self.starts.pop();
        }
        self.starts.push((key, value));
    }

    /// The number of a new group: a /64 that begins with `country` and has these ranges.
    fn group(&mut self, country: u8, ranges: &[(u128, u8)]) -> Result<u16, GeoError> {
        let start = self.fine.len();
        if ranges.first().is_none_or(|(first, _)| lower(*first) != 0) {
            self.fine.push((0, country));
        }
        let fine = ranges
            .iter()
            .map(|(start, country)| (lower(*start), *country));
        self.fine.extend(fine);
        let count = self.fine.len() - start;
        check("IPv6 ranges inside of one /64", count, GROUP)?;
        check("IPv6 ranges inside of /64s", self.fine.len(), FINE)?;
        let number = self.groups.len();
        check("IPv6 /64s of several countries", number + 1, GROUPS)?;
        // All of these fit, as was checked.
        let number32 = |number: usize| u32::try_from(number).unwrap_or(0);
        self.groups.push(Group {
            start: number32(start),
            count: number32(count),
        });
        Ok(u16::try_from(number).unwrap_or(0))
    }
}

fn check(what: &'static str, found: usize, room: usize) -> Result<(), GeoError> {
    if found <= room {
        Ok(())
    } else {
        Err(GeoError::TooLarge { what, room })
    }
}

const fn upper(address: u128) -> u64 {
    (address >> 64) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
const fn lower(address: u128) -> u64 {
    address as u64
}
