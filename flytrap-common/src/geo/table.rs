//! Where a country is looked up: a few slots by the bits of the address, then one cache line.
//!
//! Both families have the same trie. Its root is indexed by the upper bits of the address. A slot
//! is a country, or leads to more slots for so many of the bits that follow, or to the places where
//! the country changes: up to fifteen of them near each other ([`Near`]), or seven anywhere
//! ([`Far`]), which are compared at once. IPv6 is looked up by its upper 48 bits; where a /48 has
//! several countries, the whole address decides among a few ranges.
//!
//! A lookup takes as long as the memory that it waits for, so all is made for few and small reads:
//! `docs/adr/country-trie.md`.
#![expect(
    clippy::inline_always,
    reason = "the verifier follows a map pointer only within one function"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "countries fit into a byte, and both sides have 64-bit addresses"
)]

use bytemuck::{Pod, Zeroable};

/// The IPv4 table.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Table4 {
    /// By the first two bytes of the address.
    pub root: [Slot; 1 << 16],
    /// What slots lead to.
    pub slots: [Slot; SLOTS4],
    /// Where ways end.
    pub near: [Near; NEAR4],
}

/// The IPv6 table, for `2000::/3`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Table6 {
    /// By bits 3 to 15 of the address.
    pub root: [Slot; 1 << 13],
    /// What slots lead to.
    pub slots: [Slot; SLOTS6],
    /// Where ways end.
    pub near: [Near; NEAR6],
    /// Where ways end in regions with little in them.
    pub far: [Far; FAR6],
    /// For each end with [`FINE`] values where these are told apart.
    pub groups: [Group; GROUPS],
    /// Where ranges begin in /48s of several countries; ascending.
    pub fine_starts: [Start; FINE_STARTS],
    /// What begins there.
    pub fine_values: [u8; FINE_STARTS],
}

/// Slots of a [`Table4`], its root's not counted.
pub const SLOTS4: usize = 1 << 18;
/// Room of a [`Table4`] for ends.
pub const NEAR4: usize = 1 << 16;
/// Slots of a [`Table6`], its root's not counted.
pub const SLOTS6: usize = 1 << 20;
/// Room of a [`Table6`] for ends with changes near each other.
pub const NEAR6: usize = 1 << 16;
/// Room of a [`Table6`] for ends with changes anywhere.
pub const FAR6: usize = 1 << 16;
/// Ends that may have [`FINE`] values.
pub const GROUPS: usize = 1 << 15;
/// Ranges in /48s of several countries, all together.
pub const FINE_STARTS: usize = 1 << 18;
/// Slots that a lookup passes at most, the root's not counted.
pub const HOPS: usize = 4;

/// A way on: a country, or where to go.
///
/// The lowest 24 bits say where, two bits above them what it leads to, and the upper six how far a
/// key is shifted to choose among a node's slots. So laid out, a step takes a dozen instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Slot(u32);

impl Slot {
    const NODE: u32 = 1 << 24;
    const NEAR: u32 = 2 << 24;
    const FAR: u32 = 3 << 24;
    /// The bits that tell these apart; none for a country.
    const KIND: u32 = 3 << 24;
    const POSITION: u32 = (1 << 24) - 1;
    const SHIFT: u32 = 26;

    /// Leads to a country, or to none.
    pub const fn country(country: u8) -> Self {
        Self(country as u32)
    }

    /// Leads to the slots from `first` on, one for each `1 << below` keys from `begin` on.
    pub const fn node(first: u32, begin: u64, below: u32) -> Self {
        // What the key has above the node's own bits is taken off beforehand, modulo the number of
        // all slots, which is a power of two.
        let from = first.wrapping_sub((begin >> below) as u32) & Self::POSITION;
        Self(below << Self::SHIFT | Self::NODE | from)
    }

    /// Whether it leads to more slots.
    #[inline(always)]
    const fn is_node(self) -> bool {
        self.0 & Self::KIND == Self::NODE
    }

    /// Leads to the [`Near`] at `position`.
    pub const fn near(position: u32) -> Self {
        Self(Self::NEAR | position & Self::POSITION)
    }

    /// Leads to the [`Far`] at `position`.
    pub const fn far(position: u32) -> Self {
        Self(Self::FAR | position & Self::POSITION)
    }

    /// Where the slot is that a node has for this key, among `count` of them.
    #[inline(always)]
    const fn chosen(self, key: u64, count: usize) -> usize {
        (self.0 as u64).wrapping_add(key >> (self.0 >> Self::SHIFT)) as usize & (count - 1)
    }

    /// Where the end is.
    #[inline(always)]
    const fn position(self) -> usize {
        (self.0 & Self::POSITION) as usize
    }
}

/// Changes of country near each other: one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Near {
    /// The key from which on this is meant, in 48 bits; above it the number of its [`Group`].
    pub base: u64,
    /// Three in a word, [`Self::LANE`] bits apart, the lowest first: [`Self::SPAN`] less the
    /// distance from the base to a change. The distances ascend; 0 stands for none.
    pub complements: [u64; 5],
    /// The country from the base on, then from each change on; or [`FINE`].
    pub values: [u8; 16],
}

/// Changes of country at any keys: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Far {
    /// The country before the first change, or [`FINE`], in the lowest 8 bits; in the upper 16 the
    /// number of its [`Group`].
    pub first: u64,
    /// The key of each change, ascending, and the value from there on in the lowest 8 bits;
    /// [`Self::NONE`] for none.
    pub changes: [u64; 7],
}

/// Instead of a country: several, told apart by the group.
pub const FINE: u8 = u8::MAX;

/// A piece of [`Table6::fine_starts`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Group {
    /// Position of the first.
    pub first: u32,
    /// How many: at least 1.
    pub count: u32,
}

/// An IPv6 address.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Start {
    /// Its upper half.
    pub upper: u64,
    /// Its lower half.
    pub lower: u64,
}

impl Table4 {
    /// The country of an address; 0 for none.
    #[inline(always)]
    pub fn country(&self, address: [u8; 4]) -> u8 {
        let key = u32::from_be_bytes(address);
        let root = self.root.get((key >> 16) as usize).copied();
        let found = root.and_then(|slot| end(slot, &self.slots, &self.near, &[], key.into()));
        found.map_or(0, |(country, _)| country)
    }
}

impl Table6 {
    /// The country of an address in `2000::/3`, by its upper half and its lower one; 0 for none.
    #[inline(always)]
    pub fn country(&self, upper: u64, lower: u64) -> u8 {
        self.find(upper, lower).unwrap_or(0)
    }

    #[inline(always)]
    fn find(&self, upper: u64, lower: u64) -> Option<u8> {
        let key = upper >> 16;
        let root = *self
            .root
            .get((key >> 32) as usize & (self.root.len() - 1))?;
        let (value, group) = end(root, &self.slots, &self.near, &self.far, key)?;
        if value != FINE {
            return Some(value);
        }
        self.bisect(*self.groups.get(group)?, upper, lower)
    }

    /// The last range of the group that begins at the address or before. Without branches but the
    /// one out: they would double the paths that the verifier walks at every step.
    #[inline(always)]
    fn bisect(&self, group: Group, upper: u64, lower: u64) -> Option<u8> {
        let mut at = group.first as usize;
        let mut count = group.count as usize;
        for _ in 0..=FINE_STARTS.ilog2() {
            if count <= 1 {
                break;
            }
            let half = count / 2;
            let start = self.fine_starts.get(at + half)?;
            // Upper halves are far below 2^63.
            let reached = upper + at_least(lower, start.lower);
            let before = reached.wrapping_sub(start.upper + 1) >> 63;
            at += half & (opaque(before) as usize).wrapping_sub(1);
            count -= half;
        }
        self.fine_values.get(at).copied()
    }
}

/// Where the way from `slot` ends for a key: the value, and the number of the group.
#[inline(always)]
fn end<const SLOTS: usize>(
    mut slot: Slot,
    slots: &[Slot; SLOTS],
    near: &[Near],
    far: &[Far],
    key: u64,
) -> Option<(u8, usize)> {
    const { assert!(SLOTS.is_power_of_two() && SLOTS <= Slot::POSITION as usize + 1) }
    for _ in 0..HOPS {
        if !slot.is_node() {
            break;
        }
        slot = *slots.get(slot.chosen(key, SLOTS))?;
    }
    match slot.0 & Slot::KIND {
        Slot::NEAR => near.get(slot.position())?.value(key),
        Slot::FAR => far.get(slot.position())?.value(key),
        _ => Some((slot.0 as u8, 0)),
    }
}

impl Near {
    /// Keys that it can be meant for.
    pub const SPAN: u64 = 1 << 20;
    /// Changes that it has room for.
    pub const CHANGES: usize = 15;
    /// A complement and a bit into which its comparison carries.
    pub const LANE: u32 = Self::SPAN.ilog2() + 1;

    /// From the key `base` on `value`, and what it changes to at later keys, ascending and less
    /// than [`Self::SPAN`] away; those beyond [`Self::CHANGES`] are left out. Where a value is
    /// [`FINE`], `group` says more.
    pub fn new(base: u64, value: u8, changes: &[(u64, u8)], group: u16) -> Self {
        let mut near = Self {
            base: base | u64::from(group) << 48,
            ..Self::default()
        };
        let (first, others) = near.values.split_at_mut(1);
        first.fill(value);
        for (number, ((key, value), place)) in changes.iter().zip(others).enumerate() {
            let complement = Self::SPAN - (key - base);
            if let Some(word) = near.complements.get_mut(number / 3) {
                *word |= complement << (number % 3 * Self::LANE as usize);
            }
            *place = *value;
        }
        near
    }

    #[inline(always)]
    fn value(&self, key: u64) -> Option<(u8, usize)> {
        /// One in each lane.
        const EACH: u64 = 1 | 1 << Near::LANE | 1 << (2 * Near::LANE);
        let distance = key.wrapping_sub(self.base) & (Self::SPAN - 1);
        let distances = distance * EACH;
        let mut counts = 0;
        for word in self.complements {
            // Carries where the distance is that of the change or more.
            counts += (word + distances) >> Self::SPAN.ilog2() & EACH;
        }
        // The product's third lane is the sum of all three.
        let count = opaque(counts.wrapping_mul(EACH) >> (2 * Self::LANE)) as usize & Self::CHANGES;
        Some((*self.values.get(count)?, (self.base >> 48) as usize))
    }
}

impl Far {
    /// No change: behind all keys.
    pub const NONE: u64 = 1 << 62;
    /// Changes that it has room for.
    pub const CHANGES: usize = 7;

    /// `value` first, and what it changes to at these keys, ascending; those beyond
    /// [`Self::CHANGES`] are left out. Where a value is [`FINE`], `group` says more.
    pub fn new(value: u8, changes: &[(u64, u8)], group: u16) -> Self {
        let mut far = Self {
            first: u64::from(value) | u64::from(group) << 48,
            changes: [Self::NONE; Self::CHANGES],
        };
        for (place, (key, value)) in far.changes.iter_mut().zip(changes) {
            *place = key << 8 | u64::from(*value);
        }
        far
    }

    #[inline(always)]
    fn value(&self, key: u64) -> Option<(u8, usize)> {
        let next = (key + 1) << 8;
        let mut count = 0;
        for change in self.changes {
            // The sign: 1 if the change's key is `key` or less.
            count += change.wrapping_sub(next) >> 63;
        }
        let count = opaque(count) as usize & Self::CHANGES;
        let last = match count.checked_sub(1) {
            Some(position) => *self.changes.get(position)?,
            None => self.first,
        };
        Some((last as u8, (self.first >> 48) as usize))
    }
}

/// 1 if `a` is `b` or greater, else 0: the borrow of `a - b`, written so that it stays arithmetic.
#[inline(always)]
const fn at_least(a: u64, b: u64) -> u64 {
    let borrow = (!a & b) | (!(a ^ b) & a.wrapping_sub(b));
    1 ^ (borrow >> 63)
}

/// Keeps LLVM from seeing through to where a number comes from. It would drop the mask that
/// follows as needless, and with it what the verifier knows of the number.
#[inline(always)]
fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a move of a register to itself. A body of nothing but a comment would do for
        // LLVM, but leaves a line of debug information to no instruction, which the kernel refuses.
        unsafe {
            core::arch::asm!(
                "{value} = {value}",
                value = inout(reg) value,
                options(pure, nomem, nostack),
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

const _: () = {
    assert!(size_of::<Near>() == 64 && size_of::<Far>() == 64);
    // Every end and every group can be named.
    assert!(NEAR4 <= 1 << 24 && NEAR6 <= 1 << 24 && FAR6 <= 1 << 24);
    assert!(GROUPS <= 1 << 16);
    assert!(Near::LANE * 3 < u64::BITS);
    assert!(size_of::<Table4>() == (1 << 18) + 4 * SLOTS4 + 64 * NEAR4);
    assert!(size_of::<Table6>() == 17_334_272);
};

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Up to so many changes at different keys within `span` of `base`.
    fn changes(base: u64, span: u64, most: usize) -> impl Strategy<Value = Vec<(u64, u8)>> {
        proptest::collection::btree_map(base + 1..base + span, 0_u8..5, 0..=most)
            .prop_map(|changes| changes.into_iter().collect())
    }

    fn value_at(first: u8, changes: &[(u64, u8)], key: u64) -> u8 {
        let before = changes.iter().rev().find(|(change, _)| *change <= key);
        before.map_or(first, |(_, value)| *value)
    }

    fn around(changes: &[(u64, u8)]) -> impl Iterator<Item = u64> {
        changes.iter().flat_map(|(key, _)| [key - 1, *key, key + 1])
    }

    const BASE: u64 = 0x2400_0000_0000;

    proptest! {
        #[test]
        fn the_borrow_compares(a: u64, b: u64) {
            prop_assert_eq!(at_least(a, b), u64::from(a >= b));
            prop_assert_eq!(at_least(a, a), 1);
        }

        #[test]
        fn a_near_end_has_the_value_of_the_last_change(
            changes in changes(BASE, Near::SPAN, Near::CHANGES),
            group: u16,
        ) {
            let near = Near::new(BASE, 9, &changes, group);
            let ends = [BASE, BASE + Near::SPAN - 1];
            for key in around(&changes).chain(ends).filter(|key| *key < BASE + Near::SPAN) {
                let expected = (value_at(9, &changes, key), usize::from(group));
                prop_assert_eq!(near.value(key), Some(expected));
            }
        }

        #[test]
        fn a_far_end_has_the_value_of_the_last_change(
            changes in changes(0, 1 << 48, Far::CHANGES),
            group: u16,
        ) {
            let far = Far::new(9, &changes, group);
            for key in around(&changes).chain([0, (1 << 48) - 1]).filter(|key| key >> 48 == 0) {
                let expected = (value_at(9, &changes, key), usize::from(group));
                prop_assert_eq!(far.value(key), Some(expected));
            }
        }
    }

    #[test]
    fn a_slot_leads_where_it_says() {
        let near = [Near::new(BASE, 3, &[(BASE + 5, 4)], 0)];
        let slots = [Slot::country(1), Slot::near(0)];
        let node = Slot::node(0, BASE - (1 << 20), 20);
        let at = |key| end(node, &slots, &near, &[], key);
        assert_eq!(at(BASE - 1), Some((1, 0)));
        assert_eq!(at(BASE), Some((3, 0)));
        assert_eq!(at(BASE | 5), Some((4, 0)));
        assert_eq!(end(Slot::near(1), &slots, &near, &[], 0), None);
        assert_eq!(end(Slot::far(0), &slots, &near, &[], 0), None);
    }
}
