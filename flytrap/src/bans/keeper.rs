//! The one place where bans begin and end. Synchronous: time is passed in, the disk is another
//! thread's.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::deadlines::{Capacity, Class, Deadlines};
use super::held::{Held, HeldTable};
use super::import::Import;
use super::record::{BanRecord, PlacedBy, Standing};
use super::store::{BansStore, Change, Done, Store};
use super::view::{Board, View};
use super::{BanError, StartError};
use crate::events::{BanExpired, BanLifted, BanNotPlaced, BanNotSaved, BanPlaced, SourceThrottled};
use crate::kernel::Blocklist;
use crate::metrics::{KERNEL_LIFT, Metrics};
use crate::offence::{Offence, Reason, Rule, Tracker};
use crate::types::{Clock, Prefix};

/// What connections tell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Report {
    Offence(IpAddr, Offence),
    Success(IpAddr),
}

/// What operators ask.
pub(super) type Reply<T> = oneshot::Sender<Result<T, BanError>>;

pub(super) struct Keeper {
    pub(super) tracker: Tracker,
    held: HeldTable,
    pub(super) deadlines: Deadlines,
    pub(super) last_id: u64,
    /// Lists that aren't done yet.
    pub(super) imports: VecDeque<Import>,
    /// Bans that ended for others.
    pub(super) evicted: u64,
    pub(super) view: View,
    changed: bool,
    /// What follows once the view is out.
    pub(super) effects: Vec<(Option<Change>, Done)>,
    board: Arc<Board>,
    pub(super) kernel: Arc<dyn Blocklist>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    store: Store,
}

impl Keeper {
    /// When it returns, what was in force before a restart is so again.
    pub(super) fn start(
        rules: Vec<Rule>,
        capacity: Capacity,
        saved: BansStore,
        board: Arc<Board>,
        kernel: Arc<dyn Blocklist>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let mut keeper = Self {
            tracker: Tracker::new(rules, Tracker::CAPACITY),
            held: HeldTable::new(),
            deadlines: Deadlines::new(capacity),
            last_id: saved.last_id,
            imports: VecDeque::new(),
            evicted: 0,
            view: board.view.load().as_ref().clone(),
            changed: true,
            effects: Vec::new(),
            board,
            kernel,
            clock,
            metrics,
            store: Store::start(saved.connection).map_err(StartError::Thread)?,
        };
        keeper.resume_all(saved.records);
        Ok(keeper)
    }

    /// Counts what a connection told; bans or throttles if that was too much.
    pub(super) fn report(&mut self, report: Report, now: Duration) {
        let (address, offence) = match report {
            Report::Success(address) => return self.tracker.success(Prefix::of_source(address)),
            Report::Offence(address, offence) => (address, offence),
        };
        // What a banned source had under way when it was banned doesn't make the ban longer.
        if self.view.allows(address) || self.view.standing(address) == Standing::Banned {
            return;
        }
        let target = Prefix::of_source(address);
        let Some(sentence) = self.tracker.offence(target, offence, now) else {
            return;
        };
        let throttle = self.board.has_live_session(target);
        // A ban makes itself room, a throttling doesn't.
        if throttle && self.deadlines.is_full(Class::Throttled, 0) && self.record(target).is_none()
        {
            return BanNotPlaced { target }.emit(&self.metrics);
        }
        let record = self.new_record(
            target,
            if throttle {
                Standing::Throttled
            } else {
                Standing::Banned
            },
            Reason::Offence(offence),
            sentence.repeat,
            sentence.duration,
        );
        if throttle {
            let record = Arc::new(record);
            let replaced = self.hold(Arc::clone(&record), sentence.duration, now);
            let change = replaced.map(Change::end);
            let metrics = self.metrics.clone();
            let done = move |_: Result<(), &str>| {
                SourceThrottled {
                    target,
                    reason: &record.reason,
                    until: record.until,
                }
                .emit(&metrics);
            };
            self.effects.push((change, Box::new(done)));
        } else {
            self.place(record, sentence.duration, now, None);
        }
    }

    /// Bans by hand.
    pub(super) fn add(
        &mut self,
        target: Prefix,
        duration: Duration,
        note: String,
        force: bool,
        now: Duration,
        reply: Reply<BanRecord>,
    ) {
        if let Err(refusal) = self.may_add(target, duration, force) {
            // Who asked may have gone.
            let _ = reply.send(Err(refusal));
            return;
        }
        let mut record = self.new_record(target, Standing::Banned, Reason::ByHand, 1, duration);
        record.note = note.into();
        record.placed_by = PlacedBy::Operator;
        self.place(record, duration, now, Some(reply));
    }

    fn may_add(&self, target: Prefix, duration: Duration, force: bool) -> Result<(), BanError> {
        if !(Rule::BAN_MIN..=Rule::BAN_MAX).contains(&duration) {
            return Err(BanError::Duration);
        }
        if let Some(allowed) = self.view.allows_all(target)
            && !force
        {
            return Err(BanError::Allowlisted { target, allowed });
        }
        if let Some(allowed) = self.view.allows_some(target)
            && !force
        {
            return Err(BanError::PartlyAllowlisted { target, allowed });
        }
        Ok(())
    }

    /// Ends a ban or a throttling, and forgets what led to it.
    pub(super) fn lift(&mut self, target: Prefix, reply: Reply<BanRecord>) {
        let banned = match self.record(target) {
            None => {
                let _ = reply.send(Err(BanError::NotBanned { target }));
                return;
            }
            Some(record) => record.standing == Standing::Banned,
        };
        if banned && let Err(error) = self.kernel.lift(target) {
            self.kernel_failed(KERNEL_LIFT, &error);
            let _ = reply.send(Err(BanError::Kernel {
                target,
                error: error.to_string(),
            }));
            return;
        }
        self.tracker.forgive(target);
        let Some(record) = self.release(target) else {
            return;
        };
        let change = Change::end(record.id);
        let metrics = self.metrics.clone();
        let done = move |saved: Result<(), &str>| {
            if banned {
                BanLifted {
                    id: record.id,
                    target,
                    why: "asked for",
                }
                .emit(&metrics);
            }
            let saved = reported(&metrics, target, saved);
            let _ = reply.send(saved.map(|()| BanRecord::clone(&record)));
        };
        let change = banned.then_some(change);
        self.effects.push((change, Box::new(done)));
    }

    /// Everything in force, in no order.
    pub(super) fn list(&self) -> Vec<BanRecord> {
        let records = self.held.iter().map(|held| &held.record);
        records.map(|record| BanRecord::clone(record)).collect()
    }

    pub(super) fn record(&self, target: Prefix) -> Option<&BanRecord> {
        self.held.get(&self.view, target).map(|held| &*held.record)
    }

    pub(super) fn is_banned(&self, target: Prefix) -> bool {
        self.record(target)
            .is_some_and(|record| record.standing == Standing::Banned)
    }

    /// When something ends next.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first()
    }

    /// Ends what is over.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(target) = self.deadlines.take_ended(now) {
            let ended = self.release(target);
            if let Some(record) = ended.filter(|ended| ended.standing == Standing::Banned) {
                self.free(target);
                let expired = BanExpired {
                    id: record.id,
                    target,
                };
                self.then(Change::end(record.id), target, move |metrics| {
                    expired.emit(metrics);
                });
            }
        }
    }

    /// Publishes the view, then hands the changes to the disk. To be called after each batch.
    pub(super) fn flush(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.board.view.store(Arc::new(self.view.clone()));
        }
        for (change, done) in self.effects.drain(..) {
            match change {
                Some(change) => self.store.save(change, done),
                None => done(Ok(())),
            }
        }
    }

    /// Writes what is queued and closes the database. Blocks.
    pub(super) fn close(mut self) {
        self.flush();
        self.store.close();
    }

    pub(super) fn new_record(
        &mut self,
        target: Prefix,
        standing: Standing,
        reason: Reason,
        repeat: u32,
        duration: Duration,
    ) -> BanRecord {
        self.last_id += 1;
        let since = self.clock.now();
        BanRecord {
            id: self.last_id,
            target,
            standing,
            reason,
            note: Arc::default(),
            placed_by: PlacedBy::Auto,
            repeat,
            since,
            until: since.plus(seconds(duration)),
            kernel_refused: false,
            allowlisted: self.view.allows_all(target),
            dropped: None,
        }
    }

    /// Kernel first; view, disk and event follow in [`flush`](Self::flush).
    fn place(
        &mut self,
        mut record: BanRecord,
        duration: Duration,
        now: Duration,
        reply: Option<Reply<BanRecord>>,
    ) {
        self.enforce(&mut record, duration);
        let record = Arc::new(record);
        let replaced = self.hold(Arc::clone(&record), duration, now);
        self.announce(record, replaced, reply);
    }

    /// Saves a ban that is in force, in the place of the one with the number `replaced`; then
    /// emits and answers.
    pub(super) fn announce(
        &mut self,
        record: Arc<BanRecord>,
        replaced: Option<u64>,
        reply: Option<Reply<BanRecord>>,
    ) {
        let metrics = self.metrics.clone();
        let change = Change {
            ended: replaced.into_iter().collect(),
            begun: vec![Arc::clone(&record)],
        };
        let done = move |saved: Result<(), &str>| {
            BanPlaced {
                id: record.id,
                target: record.target,
                reason: &record.reason,
                by: record.placed_by.as_str(),
                note: &record.note,
                repeat: record.repeat,
                until: record.until,
            }
            .emit(&metrics);
            let saved = reported(&metrics, record.target, saved);
            if let Some(reply) = reply {
                // Who asked may have gone.
                let _ = reply.send(saved.map(|()| BanRecord::clone(&record)));
            }
        };
        self.effects.push((Some(change), Box::new(done)));
    }

    /// Takes a ban or throttling up; the number of the ban that it takes the place of.
    pub(super) fn hold(
        &mut self,
        record: Arc<BanRecord>,
        duration: Duration,
        now: Duration,
    ) -> Option<u64> {
        let (target, id) = (record.target, record.id);
        let deadline = now.saturating_add(duration);
        self.view.set(target, record.standing);
        if record.standing == Standing::Banned {
            self.metrics.fields().bans.inc();
        }
        let class = Class::of(target, record.standing);
        self.changed = true;
        let old = self.held.insert(&self.view, Held { record, deadline });
        let replaced = old.and_then(|old| self.forget(&old));
        self.deadlines.insert(class, deadline, id, target);
        replaced
    }

    pub(super) fn release(&mut self, target: Prefix) -> Option<Arc<BanRecord>> {
        let held = self.held.remove(&self.view, target)?;
        self.forget(&held);
        self.view.remove(target);
        self.changed = true;
        Some(held.record)
    }

    /// Counts out what is no longer held; its number if it was a ban.
    fn forget(&mut self, held: &Held) -> Option<u64> {
        let record = &held.record;
        let class = Class::of(record.target, record.standing);
        self.deadlines.remove(class, held.deadline, record.id);
        let banned = record.standing == Standing::Banned;
        banned.then(|| {
            self.metrics.fields().bans.dec();
            record.id
        })
    }

    /// Saves a change, then emits.
    pub(super) fn then(
        &mut self,
        change: Change,
        target: Prefix,
        emit: impl FnOnce(&Metrics) + Send + 'static,
    ) {
        let metrics = self.metrics.clone();
        let done = move |saved: Result<(), &str>| {
            emit(&metrics);
            // Told by its event; nobody waits for it.
            let _ = reported(&metrics, target, saved);
        };
        self.effects.push((Some(change), Box::new(done)));
    }
}

/// Logs a change that isn't on disk.
fn reported(metrics: &Metrics, target: Prefix, saved: Result<(), &str>) -> Result<(), BanError> {
    saved.map_err(|error| {
        BanNotSaved {
            target,
            error: &error,
        }
        .emit(metrics);
        BanError::NotSaved {
            target,
            error: error.to_owned(),
        }
    })
}

/// Whole seconds, rounded up: no ban is shown to end before it does.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}
