//! When bans and throttlings end, and how many there may be.

use std::collections::BTreeSet;
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

/// The ends, in their order.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    capacity: Capacity,
    sources: BTreeSet<(Duration, Prefix)>,
    ranges: BTreeSet<(Duration, Prefix)>,
    throttled: BTreeSet<(Duration, Prefix)>,
}

impl Deadlines {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    fn class(&self, class: Class) -> (&BTreeSet<(Duration, Prefix)>, usize) {
        match class {
            Class::Source => (&self.sources, self.capacity.sources),
            Class::Range => (&self.ranges, self.capacity.ranges),
            Class::Throttled => (&self.throttled, self.capacity.throttled),
        }
    }

    fn class_mut(&mut self, class: Class) -> &mut BTreeSet<(Duration, Prefix)> {
        match class {
            Class::Source => &mut self.sources,
            Class::Range => &mut self.ranges,
            Class::Throttled => &mut self.throttled,
        }
    }

    pub(super) fn insert(&mut self, class: Class, deadline: Duration, target: Prefix) {
        self.class_mut(class).insert((deadline, target));
    }

    pub(super) fn remove(&mut self, class: Class, deadline: Duration, target: Prefix) {
        self.class_mut(class).remove(&(deadline, target));
    }

    pub(super) fn is_full(&self, class: Class) -> bool {
        let (ends, capacity) = self.class(class);
        ends.len() >= capacity
    }

    /// What of a class ends first, with `only` in the family of that prefix.
    pub(super) fn soonest(&self, class: Class, only: Option<Prefix>) -> Option<Prefix> {
        let same = |target: &Prefix| {
            only.is_none_or(|only| only.base().is_ipv6() == target.base().is_ipv6())
        };
        let (ends, _) = self.class(class);
        ends.iter().map(|(_, target)| *target).find(same)
    }

    /// What ends next of all.
    pub(super) fn first(&self) -> Option<(Class, Duration, Prefix)> {
        [Class::Source, Class::Range, Class::Throttled]
            .into_iter()
            .filter_map(|class| {
                let (ends, _) = self.class(class);
                ends.first().map(|(end, target)| (class, *end, *target))
            })
            .min_by_key(|(_, end, _)| *end)
    }
}
