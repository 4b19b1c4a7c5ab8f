//! Builds the trie of a country table.

use flytrap_common::geo::{FINE, Far, HOPS, Near, Slot};

/// A piece of the keys: `1 << bits` of them, the first of which is a multiple of their number.
#[derive(Clone, Copy)]
pub(super) struct Region<'a> {
    pub(super) begin: u64,
    pub(super) bits: u32,
    /// What it begins with: a country, or [`FINE`].
    pub(super) value: u8,
    /// Where that changes, after the beginning; ascending, neighbours different.
    pub(super) changes: &'a [(u64, u8)],
}

/// What a root leads to.
#[derive(Default)]
pub(super) struct Trie {
    pub(super) slots: Vec<Slot>,
    pub(super) near: Vec<End>,
    pub(super) far: Vec<End>,
    /// The last end, and the way there: what comes next may end there too.
    open: Option<(Form, Slot)>,
}

/// Where ways end, of regions that follow each other.
pub(super) struct End {
    /// The keys that it is meant for, and those between that have ways of their own.
    pub(super) begin: u64,
    pub(super) until: u64,
    /// The value that it begins with.
    pub(super) value: u8,
    /// Those that follow, ascending.
    pub(super) changes: Vec<(u64, u8)>,
}

/// The two kinds of ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Near,
    Far,
}

impl Trie {
    /// Fills the root, whose slots divide the region.
    pub(super) fn root(&mut self, whole: Region<'_>, root: &mut [Slot]) {
        let bits = whole.bits - root.len().ilog2();
        for (slot, region) in root.iter_mut().zip(whole.split(bits)) {
            *slot = self.way(region, HOPS);
        }
    }

    /// The way to what this region has, behind all that came before; with at most `hops` nodes.
    fn way(&mut self, region: Region<'_>, hops: usize) -> Slot {
        if region.is_plain() {
            return Slot::country(region.value);
        }
        let Some(form) = region.form() else {
            return self.node(region, hops);
        };
        if let Some((same, way)) = self.open
            && form == same
            && self.extend(form, region)
        {
            return way;
        }
        let way = self.end(form, region);
        self.open = Some((form, way));
        way
    }

    /// Slots for a region that no end can hold.
    fn node(&mut self, region: Region<'_>, hops: usize) -> Slot {
        let bits = region.bits - region.stride(hops);
        let first = self.slots.len();
        let count = 1 << (region.bits - bits);
        self.slots.resize(first + count, Slot::default());
        for (place, child) in (first..).zip(region.split(bits)) {
            let way = self.way(child, hops - 1);
            if let Some(slot) = self.slots.get_mut(place) {
                *slot = way;
            }
        }
        Slot::node(number(first), region.begin, bits)
    }

    /// A new end, for this region.
    fn end(&mut self, form: Form, region: Region<'_>) -> Slot {
        let ends = self.ends(form);
        let position = number(ends.len());
        ends.push(End {
            begin: region.begin,
            until: region.end(),
            value: region.value,
            changes: region.changes.to_vec(),
        });
        match form {
            Form::Near => Slot::near(position),
            Form::Far => Slot::far(position),
        }
    }

    /// Takes the region into the last end of this form, if there is room.
    fn extend(&mut self, form: Form, region: Region<'_>) -> bool {
        let Some(end) = self.ends(form).last_mut() else {
            return false;
        };
        let last = end.changes.last().map_or(end.value, |(_, value)| *value);
        let first = (last != region.value).then_some((region.begin, region.value));
        let count = end.changes.len() + region.changes.len() + usize::from(first.is_some());
        let room = match form {
            Form::Near => region.end() - end.begin <= Near::SPAN && count <= Near::CHANGES,
            Form::Far => count <= Far::CHANGES,
        };
        if room {
            end.changes.extend(first);
            end.changes.extend_from_slice(region.changes);
            end.until = region.end();
        }
        room
    }

    fn ends(&mut self, form: Form) -> &mut Vec<End> {
        match form {
            Form::Near => &mut self.near,
            Form::Far => &mut self.far,
        }
    }
}

impl<'a> Region<'a> {
    fn end(&self) -> u64 {
        self.begin + (1 << self.bits)
    }

    /// One country, and nothing else.
    fn is_plain(&self) -> bool {
        self.changes.is_empty() && self.value != FINE
    }

    /// The end that can hold it, if any can.
    fn form(&self) -> Option<Form> {
        form(self.bits, self.changes.len())
    }

    /// The regions of `bits` in it.
    fn split(self, bits: u32) -> impl Iterator<Item = Region<'a>> {
        let (mut value, mut rest) = (self.value, self.changes);
        (0..1_u64 << (self.bits - bits)).map(move |number| {
            let begin = self.begin + (number << bits);
            if let [(key, first), after @ ..] = rest
                && *key == begin
            {
                (value, rest) = (*first, after);
            }
            let inside = rest.partition_point(|(key, _)| *key < begin + (1 << bits));
            let (changes, after) = rest.split_at(inside);
            let region = Region {
                begin,
                bits,
                value,
                changes,
            };
            value = changes.last().map_or(value, |(_, last)| *last);
            rest = after;
            region
        })
    }

    /// How many bits choose what is next: the fewest that leave nothing but ends, where these are
    /// few; else as many as make one slot for each change, so that ways are short where much is.
    /// Never so few that `hops` of them might not do.
    fn stride(&self, hops: usize) -> u32 {
        /// More than so many would leave most of a node's slots to plain countries.
        const MOST: u32 = 16;
        /// A region of so few bits always has an end that can hold it.
        const ENDS: u32 = Near::CHANGES.ilog2() + 1;
        let affordable = self.changes.len().max(8).ilog2().min(self.bits);
        let ends = |stride: &u32| {
            let bits = self.bits - stride;
            let mut children = self
                .changes
                .chunk_by(|(a, _), (b, _)| a >> bits == b >> bits);
            children.all(|changes| {
                let inside = changes.iter().filter(|(key, _)| key % (1 << bits) != 0);
                form(bits, inside.count()).is_some()
            })
        };
        let needed = (self.bits - ENDS).div_ceil(number(hops).max(1));
        (1..=affordable)
            .find(ends)
            .unwrap_or(affordable.max(needed).min(MOST))
    }
}

fn form(bits: u32, changes: usize) -> Option<Form> {
    if bits <= Near::SPAN.ilog2() && changes <= Near::CHANGES {
        Some(Form::Near)
    } else {
        (changes <= Far::CHANGES).then_some(Form::Far)
    }
}

/// A position. One that doesn't fit lies outside of every table, which their builder finds.
fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
