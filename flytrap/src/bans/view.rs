//! What every connection looks at: the standings, and the live sessions per source.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::record::Standing;
use crate::types::Prefix;

/// The parts that the table of standings is copied in: what a batch changes is copied, what it
/// doesn't is shared with the view before.
pub(super) const SHARDS: usize = 256;

/// All standings at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct View {
    allowlist: Arc<[Prefix]>,
    standings: Vec<Arc<HashMap<Prefix, Standing>>>,
    hasher: RandomState,
    /// How many standings there are of each length of other prefixes than whole sources, IPv6
    /// apart.
    ranges: BTreeMap<(bool, u8), usize>,
}

/// Whether `target` is a whole source, as [`Prefix::of_source`] makes them.
pub(super) fn is_source(target: Prefix) -> bool {
    Prefix::of_source(target.base()) == target
}

/// Under which number `ranges` counts it.
fn length(target: Prefix) -> (bool, u8) {
    (target.base().is_ipv6(), target.bits())
}

impl View {
    pub(super) fn new(allowlist: &[Prefix]) -> Self {
        Self {
            allowlist: allowlist.into(),
            standings: vec![Arc::default(); SHARDS],
            hasher: RandomState::new(),
            ranges: BTreeMap::new(),
        }
    }

    /// Which part of the table holds `target`.
    pub(super) fn shard(&self, target: Prefix) -> usize {
        let hash = self.hasher.hash_one(target) % SHARDS as u64;
        usize::try_from(hash).unwrap_or_default()
    }

    fn shard_mut(&mut self, target: Prefix) -> Option<&mut HashMap<Prefix, Standing>> {
        let shard = self.shard(target);
        self.standings.get_mut(shard).map(Arc::make_mut)
    }

    pub(super) fn set(&mut self, target: Prefix, standing: Standing) {
        let old = self
            .shard_mut(target)
            .and_then(|shard| shard.insert(target, standing));
        if old.is_none() && !is_source(target) {
            *self.ranges.entry(length(target)).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, target: Prefix) {
        let old = self
            .shard_mut(target)
            .and_then(|shard| shard.remove(&target));
        if old.is_some()
            && let Some(count) = self.ranges.get_mut(&length(target))
        {
            *count -= 1;
            if *count == 0 {
                self.ranges.remove(&length(target));
            }
        }
    }

    fn get(&self, target: Prefix) -> Option<Standing> {
        let shard = self.standings.get(self.shard(target))?;
        shard.get(&target).copied()
    }

    #[cfg(test)]
    fn ranges(&self) -> usize {
        self.ranges.values().sum()
    }

    /// The prefix of the allowlist that `address` lies in.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        self.allowlist
            .iter()
            .any(|allowed| allowed.contains(address))
    }

    /// The prefix of the allowlist that holds all of `target`.
    pub(super) fn allows_all(&self, target: Prefix) -> Option<Prefix> {
        self.allowlist
            .iter()
            .copied()
            .find(|allowed| allowed.bits() <= target.bits() && allowed.contains(target.base()))
    }

    /// A prefix of the allowlist that holds some of `target`.
    pub(super) fn allows_some(&self, target: Prefix) -> Option<Prefix> {
        self.allowlist
            .iter()
            .copied()
            .find(|allowed| allowed.overlaps(&target))
    }

    /// The allowlist first, then the strictest of what concerns `address`.
    pub(super) fn standing(&self, address: IpAddr) -> Standing {
        if self.allows(address) {
            return Standing::Welcome;
        }
        let source = Prefix::of_source(address);
        let version = source.base().is_ipv6();
        let ranges = self
            .ranges
            .range((version, 0)..=(version, u8::MAX))
            .map(|((_, bits), _)| Prefix::covering(address, *bits));
        std::iter::once(source)
            .chain(ranges)
            .filter_map(|target| self.get(target))
            .max()
            .unwrap_or(Standing::Welcome)
    }
}

/// What the handles and the task share.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) view: ArcSwap<View>,
    /// Held for the length of one map operation, at login and at the end of a session only.
    live: Mutex<HashMap<Prefix, usize>>,
}

impl Board {
    pub(super) fn new(view: View) -> Self {
        Self {
            view: ArcSwap::from_pointee(view),
            live: Mutex::default(),
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<Prefix, usize>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_live_session(&self, source: Prefix) -> bool {
        self.live().contains_key(&source)
    }
}

/// A session that proved who it is: while it lives, its source is throttled rather than banned.
/// It ends when this is dropped, however the session's task ends.
#[derive(Debug)]
#[must_use = "the session counts as ended when this is dropped"]
pub struct LiveSession {
    board: Arc<Board>,
    source: Prefix,
}

impl LiveSession {
    pub(super) fn new(board: Arc<Board>, source: Prefix) -> Self {
        *board.live().entry(source).or_default() += 1;
        Self { board, source }
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        let mut live = self.board.live();
        if let Some(sessions) = live.get_mut(&self.source) {
            *sessions -= 1;
            if *sessions == 0 {
                live.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STANDINGS: [Standing; 2] = [Standing::Throttled, Standing::Banned];

    /// Prefixes of few addresses, so that they meet.
    fn prefixes() -> impl Strategy<Value = Prefix> {
        let v4 = (0..8_u32, 24..=32_u8).prop_map(|(n, bits)| {
            Prefix::covering(std::net::Ipv4Addr::from_bits(0xc000_0200 | n).into(), bits)
        });
        let v6 = (0..8_u128, 56..=72_u8).prop_map(|(n, bits)| {
            let address = std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 58);
            Prefix::covering(address.into(), bits)
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn the_strictest_of_what_holds_an_address_counts(
            changes in prop::collection::vec((prefixes(), prop::option::of(0..2_usize)), 0..40),
            asked in prefixes(),
        ) {
            let mut view = View::new(&[]);
            let mut model = HashMap::new();
            for (target, standing) in changes {
                if let Some(standing) = standing {
                    view.set(target, STANDINGS[standing]);
                    model.insert(target, STANDINGS[standing]);
                } else {
                    view.remove(target);
                    model.remove(&target);
                }
            }
            let holding = model.iter().filter(|(target, _)| target.contains(asked.base()));
            let strictest = holding.map(|(_, standing)| *standing).max();
            prop_assert_eq!(view.standing(asked.base()), strictest.unwrap_or(Standing::Welcome));
            let ranges = model.keys().filter(|target| !is_source(**target)).count();
            prop_assert_eq!(view.ranges(), ranges);
        }
    }

    #[test]
    fn a_view_is_not_changed_by_what_comes_after_it() {
        let mut view = View::new(&[]);
        let before = view.clone();
        let target: Prefix = "192.0.2.7".parse().unwrap();
        view.set(target, Standing::Banned);
        assert_eq!(before.standing(target.base()), Standing::Welcome);
        assert_eq!(view.standing(target.base()), Standing::Banned);
        let shared = view.standings.iter().zip(&before.standings);
        let copied = shared.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(copied, 1, "the rest is shared");
    }
}
