//! From prefixes that may cover each other to one list of ranges.

/// An address as a number.
pub(super) trait Address: Copy + Ord + Default {
    /// The last address of the prefix that begins here.
    fn last_of(self, bits: u8) -> Self;

    /// The address after this one, unless this is the last.
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    fn last_of(self, bits: u8) -> Self {
        self | Self::MAX.checked_shr(bits.into()).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    fn last_of(self, bits: u8) -> Self {
        self | Self::MAX.checked_shr(bits.into()).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// A prefix and its country's number; 0 takes the addresses out of what covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<A> {
    /// The first address.
    pub(super) start: A,
    pub(super) bits: u8,
    pub(super) country: u8,
}

/// Where ranges begin, and their countries: ascending, from 0 on, neighbours different. At every
/// address the longest prefix decides, of equal ones the last.
pub(super) fn flatten<A: Address>(mut rows: Vec<Row<A>>) -> Vec<(A, u8)> {
    // Stable, so that of equal prefixes the later one stays the later.
    rows.sort_by_key(|row| (row.start, row.bits));
    let mut ranges = Ranges(vec![(A::default(), 0)]);
    // The prefixes that cover where the walk is, the longest on top: prefixes contain each other
    // or have nothing in common.
    let mut open: Vec<(A, u8)> = Vec::new();
    let leave = |open: &mut Vec<(A, u8)>, ranges: &mut Ranges<A>, until: Option<A>| {
        while let Some((last, _)) = open.last().copied()
            && until.is_none_or(|until| last < until)
        {
            open.pop();
            let around = open.last().map_or(0, |(_, country)| *country);
            if let Some(next) = last.next() {
                ranges.begin(next, around);
            }
        }
    };
    for row in rows {
        leave(&mut open, &mut ranges, Some(row.start));
        ranges.begin(row.start, row.country);
        open.push((row.start.last_of(row.bits), row.country));
    }
    leave(&mut open, &mut ranges, None);
    ranges.0
}

struct Ranges<A>(Vec<(A, u8)>);

impl<A: Address> Ranges<A> {
    /// From `start` on, which is not before the last range's.
    fn begin(&mut self, start: A, country: u8) {
        if self.0.last().is_some_and(|(last, _)| *last == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|(_, before)| *before != country) {
            self.0.push((start, country));
        }
    }
}

/// The country at an address.
pub(super) fn lookup<A: Address>(ranges: &[(A, u8)], address: A) -> u8 {
    let after = ranges.partition_point(|(start, _)| *start <= address);
    after
        .checked_sub(1)
        .and_then(|position| ranges.get(position))
        .map_or(0, |(_, country)| *country)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Prefixes in few bits, so that they cover, equal and touch each other.
    fn rows() -> impl Strategy<Value = Vec<Row<u32>>> {
        let row = (0_u32..256, 0_u8..=8, 0_u8..4).prop_map(|(start, bits, country)| Row {
            start: (start << 24) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0),
            bits,
            country,
        });
        proptest::collection::vec(row, 0..40)
    }

    fn oracle(rows: &[Row<u32>], address: u32) -> u8 {
        let covering = rows
            .iter()
            .filter(|row| row.start <= address && address <= row.start.last_of(row.bits));
        // Of equal keys `max_by_key` takes the last.
        covering
            .max_by_key(|row| row.bits)
            .map_or(0, |row| row.country)
    }

    proptest! {
        #[test]
        fn the_longest_prefix_decides_and_the_later_of_equals(rows in rows()) {
            let ranges = flatten(rows.clone());
            for top in 0..=255_u32 {
                for address in [top << 24, top << 24 | 0xff_ffff] {
                    prop_assert_eq!(lookup(&ranges, address), oracle(&rows, address));
                }
            }
        }

        #[test]
        fn ranges_ascend_from_zero_and_neighbours_differ(rows in rows()) {
            let ranges = flatten(rows);
            prop_assert_eq!(ranges[0].0, 0);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1);
            }
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_reached() {
        let row = |start, bits, country| Row {
            start,
            bits,
            country,
        };
        let rows = vec![row(u128::MAX, 128, 2), row(0, 0, 1), row(0, 128, 3)];
        let expected = [(0, 3), (1, 1), (u128::MAX, 2)];
        assert_eq!(flatten(rows), expected);
        assert_eq!(flatten::<u128>(Vec::new()), [(0, 0)]);
    }
}
