//! Whole lists of bans. A list is worked off in pieces, so that nothing else waits for all of it;
//! each piece takes the way of every ban: kernel, view, database.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::BanError;
use super::deadlines::Class;
use super::keeper::{Keeper, Reply};
use super::record::{BanRecord, PlacedBy, Standing};
use super::store::Change;
use super::view::{SHARDS, View};
use crate::events::{BansImported, BansNotSaved};
use crate::metrics::Metrics;
use crate::offence::{Reason, Rule};
use crate::types::Prefix;

/// Bans placed at a time: some milliseconds, and one write of the view and of the disk.
const PIECE: usize = 8192;
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
    pub note: Arc<str>,
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

/// A list in the order of the view's shards, so that a piece copies few of them; each target once.
pub(super) struct Sorted {
    list: ImportList,
    merged: u64,
    begin: Instant,
}

impl Sorted {
    /// Takes long with long lists.
    pub(super) fn new(mut list: ImportList, view: &View) -> Self {
        let begin = Instant::now();
        let given = list.targets.len();
        let mut shards = vec![Vec::new(); SHARDS];
        for target in list.targets {
            if let Some(shard) = shards.get_mut(view.shard(target)) {
                shard.push(target);
            }
        }
        for shard in &mut shards {
            shard.sort_unstable();
            shard.dedup();
        }
        list.targets = shards.concat();
        Self {
            merged: count(given - list.targets.len()),
            list,
            begin,
        }
    }
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

/// The part of a list that is placed at a time.
struct Piece {
    duration: Duration,
    now: Duration,
    /// Bans of single sources, for which there is room, to be placed together.
    waiting: Vec<BanRecord>,
    /// What is in force, and what it replaced.
    change: Change,
}

impl Keeper {
    /// Takes a list on; [`import_piece`](Self::import_piece) does the work.
    pub(super) fn import(&mut self, sorted: Sorted, reply: Reply<Imported>) {
        let Sorted {
            list,
            merged,
            begin,
        } = sorted;
        if !(Rule::BAN_MIN..=Rule::BAN_MAX).contains(&list.duration) {
            // Who asked may have gone.
            let _ = reply.send(Err(BanError::Duration));
            return;
        }
        let outcome = Imported {
            merged,
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
        let targets = import.list.targets.get(import.next..end);
        import.next = end;
        let targets = targets.unwrap_or_default();
        let change = self.place_some(targets, &import.list, &mut import.outcome, now);
        if end < import.list.targets.len() {
            let (unsaved, metrics) = (Arc::clone(&import.unsaved), self.metrics.clone());
            let done = move |saved: Result<(), &str>| remember(&unsaved, saved, &metrics);
            self.effects.push((Some(change), Box::new(done)));
            self.imports.push_front(import);
        } else {
            self.finish(import, change);
        }
    }

    /// Places what isn't allowlisted; answers with what is to be saved.
    fn place_some(
        &mut self,
        targets: &[Prefix],
        list: &ImportList,
        outcome: &mut Imported,
        now: Duration,
    ) -> Change {
        let evicted = self.evicted;
        let mut piece = Piece {
            duration: list.duration,
            now,
            waiting: Vec::with_capacity(targets.len()),
            change: Change::default(),
        };
        for target in targets.iter().copied() {
            let allowed = self.view.allows_some(target);
            if let Some(allowed) = allowed.filter(|_| !list.force) {
                outcome.skipped += 1;
                if outcome.skipped_first.len() < NAMED {
                    outcome.skipped_first.push((target, allowed));
                }
                continue;
            }
            let mut record =
                self.new_record(target, Standing::Banned, Reason::ByHand, 1, list.duration);
            record.note = Arc::clone(&list.note);
            record.placed_by = PlacedBy::Operator;
            // First of all, so that it isn't evicted for its successor.
            let old = self.release(target);
            if let Some(old) = old.filter(|old| old.standing == Standing::Banned) {
                piece.change.ended.push(old.id);
            }
            if Class::of(target, Standing::Banned) == Class::Source {
                self.make_room_in(&mut piece, target);
                piece.waiting.push(record);
            } else {
                self.enforce(&mut record, list.duration);
                self.take_up(record, &mut piece);
            }
        }
        self.place_waiting(&mut piece);
        let Change { ended, begun } = &mut piece.change;
        let refused = begun.iter().filter(|ban| ban.kernel_refused).count();
        outcome.placed += count(begun.len());
        outcome.replaced += count(ended.len());
        outcome.kernel_refused += count(refused);
        if self.evicted > evicted {
            outcome.evicted += self.evicted - evicted;
            // Some of its own may be among them.
            begun.retain(|ban| {
                self.record(ban.target)
                    .is_some_and(|held| held.id == ban.id)
            });
        }
        piece.change
    }

    /// Ends what ends first, where one more ban finds no room.
    fn make_room_in(&mut self, piece: &mut Piece, target: Prefix) {
        let deadline = piece.now.saturating_add(piece.duration);
        while self.deadlines.is_full(Class::Source, piece.waiting.len()) {
            let soonest = self.deadlines.soonest(Class::Source, None);
            if !piece.waiting.is_empty() && soonest.is_none_or(|(end, _)| end > deadline) {
                // What waits ends before the others: it has to be among them.
                self.place_waiting(piece);
            } else if !self.evict(Class::Source, None, target) {
                return;
            }
        }
    }

    fn place_waiting(&mut self, piece: &mut Piece) {
        let mut records = std::mem::take(&mut piece.waiting);
        self.enforce_all(&mut records, piece.duration);
        for record in records {
            self.take_up(record, piece);
        }
    }

    fn take_up(&mut self, record: BanRecord, piece: &mut Piece) {
        let record = Arc::new(record);
        self.hold(Arc::clone(&record), piece.duration, piece.now);
        piece.change.begun.push(record);
    }

    /// Once the last piece is on disk, those before are too.
    fn finish(&mut self, import: Import, change: Change) {
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
        self.effects.push((Some(change), Box::new(done)));
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
