//! Everything in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::record::BanRecord;
use super::view::{SHARDS, View};
use crate::types::Prefix;

/// A ban or throttling in force.
pub(super) struct Held {
    pub(super) record: Arc<BanRecord>,
    pub(super) deadline: Duration,
}

/// One for each target, in the shards of the view: a list that is worked off in their order stays
/// in the processor's caches.
pub(super) struct HeldTable(Vec<HashMap<Prefix, Held>>);

impl HeldTable {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| HashMap::new()).collect())
    }

    pub(super) fn get(&self, view: &View, target: Prefix) -> Option<&Held> {
        self.0.get(view.shard(target))?.get(&target)
    }

    /// What it takes the place of.
    pub(super) fn insert(&mut self, view: &View, held: Held) -> Option<Held> {
        let target = held.record.target;
        self.0.get_mut(view.shard(target))?.insert(target, held)
    }

    pub(super) fn remove(&mut self, view: &View, target: Prefix) -> Option<Held> {
        self.0.get_mut(view.shard(target))?.remove(&target)
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.0.iter().flat_map(HashMap::values)
    }
}
