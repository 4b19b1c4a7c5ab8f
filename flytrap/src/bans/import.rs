//! Whole lists of bans. A list is worked off in pieces, so that nothing else waits for all of it;
//! each piece takes the way of every ban: kernel, view, database.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::BanError;
use super::keeper::{Keeper, Reply};
use super::record::{BanRecord, PlacedBy, Standing};
use super::store::Change;
use crate::events::{BansImported, BansNotSaved};
use crate::metrics::Metrics;
use crate::offence::{Reason, Rule};
use crate::types::Prefix;

/// Bans placed at a time: some milliseconds, and one write of the view and of the disk.
const PIECE: usize = 4096;
/// Entries kept out by the allowlist that are told by name.
const NAMED: usize = 10;

/// A list of bans by hand.
#[derive(Clone, Debug)]
pub struct ImportList {
    /// Who, in any order, also more than once.
    pub targets: Vec<Prefix>,
    /// For how long, from when each is placed.
    pub duration: Duration,
    /// The note of each.
    pub note: String,
    /// Ban also what the allowlist holds in whole or part, which stays exempt.
    pub force: bool,
}

/// What became of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Bans that were placed, those of `replaced` included.
    pub placed: u64,
    /// Bans that took the place of one of the same target.
    pub replaced: u64,
    /// Entries that were there more than once.
    pub merged: u64,
    /// Entries left out, because the allowlist holds them in whole or part.
    pub skipped: u64,
    /// The first of these, with what holds them.
    pub skipped_first: Vec<(Prefix, Prefix)>,
    /// Bans that ended to make room: of a list that is too long, its own too.
    pub evicted: u64,
    /// Bans that the kernel refused, so that they are in force at accept only.
    pub kernel_refused: u64,
    /// From the order until all were in force; the disk may take longer.
    pub took: Duration,
}

/// A list that is being worked off.
pub(super) struct Import {
    list: ImportList,
    next: usize,
    outcome: Imported,
    begin: Instant,
    /// The first thing that the database said.
    unsaved: Arc<OnceLock<String>>,
    reply: Reply<Imported>,
}

impl Keeper {
    /// Takes a list on; [`import_piece`](Self::import_piece) does the work.
    pub(super) fn import(&mut self, mut list: ImportList, reply: Reply<Imported>) {
        if !(Rule::BAN_MIN..=Rule::BAN_MAX).contains(&list.duration) {
            // Who asked may have gone.
            let _ = reply.send(Err(BanError::Duration));
            return;
        }
        let begin = Instant::now();
        let given = list.targets.len();
        // In the order of the view's shards, so that a piece copies few of them.
        list.targets
            .sort_by_cached_key(|target| (self.view.shard(*target), *target));
        list.targets.dedup();
        let outcome = Imported {
            merged: count(given - list.targets.len()),
            ..Imported::default()
        };
        self.imports.push_back(Import {
            list,
            next: 0,
            outcome,
            begin,
            unsaved: Arc::default(),
            reply,
        });
    }

    /// Whether a list isn't done yet.
    pub(super) fn is_importing(&self) -> bool {
        !self.imports.is_empty()
    }

    /// Places the next bans of the list whose turn it is.
    pub(super) fn import_piece(&mut self, now: Duration) {
        let Some(mut import) = self.imports.pop_front() else {
            return;
        };
        let end = import.next.saturating_add(PIECE);
        let end = end.min(import.list.targets.len());
        let piece = import.list.targets.get(import.next..end);
        let piece = piece.unwrap_or_default();
        import.next = end;
        let evicted = self.evicted;
        for target in piece {
            let allowed = self.view.allows_some(*target);
            if let Some(allowed) = allowed.filter(|_| !import.list.force) {
                import.outcome.skipped += 1;
                if import.outcome.skipped_first.len() < NAMED {
                    import.outcome.skipped_first.push((*target, allowed));
                }
                continue;
            }
            let duration = import.list.duration;
            let mut record =
                self.new_record(*target, Standing::Banned, Reason::ByHand, 1, duration);
            record.note.clone_from(&import.list.note);
            record.placed_by = PlacedBy::Operator;
            import.outcome.replaced += u64::from(self.is_banned(*target));
            self.enforce(&mut record, duration);
            import.outcome.placed += 1;
            import.outcome.kernel_refused += u64::from(record.kernel_refused);
            self.hold(record, duration, now);
        }
        import.outcome.evicted += self.evicted - evicted;
        // A long list may have evicted its own first bans again.
        let records: Vec<BanRecord> = piece
            .iter()
            .filter_map(|target| self.record(*target).cloned())
            .collect();
        if end < import.list.targets.len() {
            let (unsaved, metrics) = (Arc::clone(&import.unsaved), self.metrics.clone());
            let done = move |saved: Result<(), &str>| remember(&unsaved, saved, &metrics);
            self.effects
                .push((Some(Change::PutAll(records)), Box::new(done)));
            self.imports.push_front(import);
        } else {
            self.finish(import, records);
        }
    }

    /// Once the last piece is on disk, those before are too.
    fn finish(&mut self, import: Import, records: Vec<BanRecord>) {
        let Import {
            mut outcome,
            begin,
            unsaved,
            reply,
            list,
            ..
        } = import;
        outcome.took = begin.elapsed();
        let metrics = self.metrics.clone();
        let done = move |saved: Result<(), &str>| {
            remember(&unsaved, saved, &metrics);
            BansImported {
                placed: outcome.placed,
                replaced: outcome.replaced,
                skipped: outcome.skipped,
                evicted: outcome.evicted,
                note: &list.note,
            }
            .emit(&metrics);
            let result = match unsaved.get() {
                None => Ok(outcome),
                Some(error) => Err(BanError::ListNotSaved {
                    placed: outcome.placed,
                    error: error.clone(),
                }),
            };
            // Who asked may have gone.
            let _ = reply.send(result);
        };
        self.effects
            .push((Some(Change::PutAll(records)), Box::new(done)));
    }
}

fn remember(unsaved: &OnceLock<String>, saved: Result<(), &str>, metrics: &Metrics) {
    if let Err(error) = saved
        && unsaved.set(error.to_owned()).is_ok()
    {
        BansNotSaved { error: &error }.emit(metrics);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
