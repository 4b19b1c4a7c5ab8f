//! What every connection looks at: the standings, and the live sessions per source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::record::Standing;
use crate::types::Prefix;

/// All standings at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    allowlist: Arc<[Prefix]>,
    /// Whole sources, as [`Prefix::of_source`] makes them.
    sources: HashMap<Prefix, Standing>,
    /// All other prefixes: few, by hand.
    ranges: Vec<(Prefix, Standing)>,
}

fn is_source(target: Prefix) -> bool {
    Prefix::of_source(target.base()) == target
}

impl View {
    pub(super) fn new(allowlist: &[Prefix]) -> Self {
        Self {
            allowlist: allowlist.into(),
            sources: HashMap::new(),
            ranges: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, target: Prefix, standing: Standing) {
        self.remove(target);
        if is_source(target) {
            self.sources.insert(target, standing);
        } else {
            self.ranges.push((target, standing));
        }
    }

    pub(super) fn remove(&mut self, target: Prefix) {
        if is_source(target) {
            self.sources.remove(&target);
        } else {
            self.ranges.retain(|(range, _)| *range != target);
        }
    }

    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
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
        let own = self.sources.get(&Prefix::of_source(address)).copied();
        let ranges = self
            .ranges
            .iter()
            .filter(|(range, _)| range.contains(address))
            .map(|(_, standing)| *standing);
        let all = || own.into_iter().chain(ranges.clone());
        if all().any(|standing| standing == Standing::Banned) {
            Standing::Banned
        } else if all().any(|standing| standing == Standing::Throttled) {
            Standing::Throttled
        } else {
            Standing::Welcome
        }
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
