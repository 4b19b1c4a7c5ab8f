//! When bans and throttlings end, and how many there may be.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::time::Duration;

use super::record::Standing;
use super::view::is_source;
use crate::kernel::{EXACT_BANS, PREFIX_BANS};
use crate::types::Prefix;

/// What is limited together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Bans of single sources: the kernel's hashes.
    Source,
    /// Bans of other prefixes: the kernel's tries.
    Range,
    /// Throttlings, which the kernel knows nothing of.
    Throttled,
}

impl Class {
    pub(super) fn of(target: Prefix, standing: Standing) -> Self {
        match standing {
            Standing::Banned if is_source(target) => Self::Source,
            Standing::Banned => Self::Range,
            Standing::Welcome | Standing::Throttled => Self::Throttled,
        }
    }
}

/// How many of each class there may be at a time, both families together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) sources: usize,
    pub(super) ranges: usize,
    pub(super) throttled: usize,
}

impl Default for Capacity {
    /// No table of the kernel is full before.
    fn default() -> Self {
        Self {
            sources: EXACT_BANS,
            ranges: PREFIX_BANS,
            // Each has a live session.
            throttled: 1 << 16,
        }
    }
}

/// Ends in their order; of those at the same time, the one with the lower number is first.
type Ends = BTreeMap<(Duration, u64), Prefix>;

/// The ends of all classes.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    capacity: Capacity,
    sources: Ends,
    ranges: Ends,
    throttled: Ends,
}

impl Deadlines {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    fn class(&self, class: Class) -> (&Ends, usize) {
        match class {
            Class::Source => (&self.sources, self.capacity.sources),
            Class::Range => (&self.ranges, self.capacity.ranges),
            Class::Throttled => (&self.throttled, self.capacity.throttled),
        }
    }

    fn class_mut(&mut self, class: Class) -> &mut Ends {
        match class {
            Class::Source => &mut self.sources,
            Class::Range => &mut self.ranges,
            Class::Throttled => &mut self.throttled,
        }
    }

    /// `id` is the number of the ban or throttling.
    pub(super) fn insert(&mut self, class: Class, deadline: Duration, id: u64, target: Prefix) {
        self.class_mut(class).insert((deadline, id), target);
    }

    pub(super) fn remove(&mut self, class: Class, deadline: Duration, id: u64) {
        self.class_mut(class).remove(&(deadline, id));
    }

    /// Whether there is no room for one more, besides as many as are about to be placed.
    pub(super) fn is_full(&self, class: Class, about_to_be: usize) -> bool {
        let (ends, capacity) = self.class(class);
        ends.len().saturating_add(about_to_be) >= capacity
    }

    /// What of a class ends first, with `only` in the family of that prefix.
    pub(super) fn soonest(&self, class: Class, only: Option<Prefix>) -> Option<(Duration, Prefix)> {
        let same = |target: &Prefix| {
            only.is_none_or(|only| only.base().is_ipv6() == target.base().is_ipv6())
        };
        let (ends, _) = self.class(class);
        let mut ends = ends.iter().map(|((end, _), target)| (*end, *target));
        ends.find(|(_, target)| same(target))
    }

    /// When the next of all ends.
    pub(super) fn first(&self) -> Option<Duration> {
        let ends = [&self.sources, &self.ranges, &self.throttled];
        let first = ends.into_iter().filter_map(|ends| ends.first_key_value());
        first.map(|((end, _), _)| *end).min()
    }

    /// Takes out what has ended by `now`, one at a time.
    pub(super) fn take_ended(&mut self, now: Duration) -> Option<Prefix> {
        let ends = [&mut self.sources, &mut self.ranges, &mut self.throttled];
        ends.into_iter().find_map(|ends| {
            let first = ends.first_entry().filter(|first| first.key().0 <= now);
            first.map(OccupiedEntry::remove)
        })
    }
}
