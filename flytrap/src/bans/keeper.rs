//! The one place where bans begin and end. Synchronous: time is passed in, the disk is another
//! thread's.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::deadlines::{Capacity, Class, Deadlines};
use super::import::Import;
use super::record::{BanRecord, PlacedBy, Standing};
use super::store::{BansStore, Change, Done, Store};
use super::view::{Board, View};
use super::{BanError, StartError};
use crate::events::{
    BanEvicted, BanExpired, BanLifted, BanNotInKernel, BanNotPlaced, BanNotSaved, BanPlaced,
    KernelRequestFailed, SourceThrottled,
};
use crate::kernel::{ActiveBan, Blocklist, KernelBan, KernelError};
use crate::metrics::{KERNEL_LIFT, KERNEL_LIST, Metrics};
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

struct Held {
    record: BanRecord,
    deadline: Duration,
}

pub(super) struct Keeper {
    tracker: Tracker,
    held: HashMap<Prefix, Held>,
    deadlines: Deadlines,
    last_id: u64,
    /// Lists that aren't done yet.
    pub(super) imports: VecDeque<Import>,
    /// Bans that ended for others.
    pub(super) evicted: u64,
    pub(super) view: View,
    changed: bool,
    /// What follows once the view is out.
    pub(super) effects: Vec<(Option<Change>, Done)>,
    board: Arc<Board>,
    kernel: Arc<dyn Blocklist>,
    clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    store: Store,
}

impl Keeper {
    /// Puts what was saved in force again, and takes up the bans that only the kernel knows.
    pub(super) fn start(
        rules: Vec<Rule>,
        capacity: Capacity,
        saved: BansStore,
        board: Arc<Board>,
        kernel: Arc<dyn Blocklist>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let now = Duration::ZERO;
        let mut keeper = Self {
            tracker: Tracker::new(rules, Tracker::CAPACITY),
            held: HashMap::new(),
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
        let mut in_kernel = match keeper.kernel.bans() {
            Ok(bans) => bans
                .into_iter()
                .map(|ban| (ban.target, ban))
                .collect::<HashMap<_, _>>(),
            Err(error) => {
                keeper.kernel_failed(KERNEL_LIST, &error);
                HashMap::new()
            }
        };
        for record in saved.records {
            // A kernel ban with a higher number was placed later and not saved any more.
            match in_kernel.remove(&record.target) {
                Some(newer) if newer.id > record.id => keeper.adopt(&newer, now),
                _ => keeper.resume(record, now),
            }
        }
        for unknown in in_kernel.values() {
            keeper.adopt(unknown, now);
        }
        keeper.flush();
        Ok(keeper)
    }

    /// Puts a saved ban in force for the time that is left of it.
    fn resume(&mut self, mut record: BanRecord, now: Duration) {
        // A clock that was set back must not make a ban longer than it was.
        let left = record
            .until
            .since(self.clock.now())
            .min(record.until.since(record.since));
        record.allowlisted = self.view.allows_all(record.target);
        // What was forced against the allowlist stays, in case that changes again.
        let allowed = record.allowlisted.is_some() && record.placed_by == PlacedBy::Auto;
        if left == 0 || allowed {
            self.free(record.target);
            let done: Box<dyn FnOnce(&Metrics) + Send> = if allowed {
                let lifted = BanLifted {
                    id: record.id,
                    target: record.target,
                    why: "on the allowlist",
                };
                Box::new(move |metrics| lifted.emit(metrics))
            } else {
                let expired = BanExpired {
                    id: record.id,
                    target: record.target,
                };
                Box::new(move |metrics| expired.emit(metrics))
            };
            self.then(Change::Remove(record.target), record.target, done);
            return;
        }
        let left = Duration::from_secs(left);
        self.tracker
            .resume(record.target, record.repeat, now.saturating_add(left), now);
        self.enforce(&mut record, left);
        self.hold(record, left, now);
    }

    /// Takes up a ban that the kernel holds and the database doesn't.
    fn adopt(&mut self, ban: &ActiveBan, now: Duration) {
        let reason = Reason::from_code(ban.reason);
        let allowed = self.view.allows_all(ban.target).is_some();
        if ban.remaining.is_zero() || (allowed && reason != Reason::ByHand) {
            self.free(ban.target);
            return;
        }
        let since = self.clock.now();
        let record = BanRecord {
            id: ban.id,
            target: ban.target,
            standing: Standing::Banned,
            reason,
            note: "found in the kernel at start".to_owned(),
            placed_by: match reason {
                Reason::Offence(_) => PlacedBy::Auto,
                Reason::ByHand => PlacedBy::Operator,
            },
            repeat: 1,
            since,
            until: since.plus(seconds(ban.remaining)),
            kernel_refused: false,
            allowlisted: self.view.allows_all(ban.target),
            dropped: None,
        };
        self.last_id = self.last_id.max(ban.id);
        self.tracker
            .resume(ban.target, 1, now.saturating_add(ban.remaining), now);
        self.hold(record.clone(), ban.remaining, now);
        self.announce(record, None);
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
        if throttle && self.deadlines.is_full(Class::Throttled) && !self.held.contains_key(&target)
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
            self.hold(record.clone(), sentence.duration, now);
            let metrics = self.metrics.clone();
            let done = move |_: Result<(), &str>| {
                SourceThrottled {
                    target,
                    reason: &record.reason,
                    until: record.until,
                }
                .emit(&metrics);
            };
            self.effects.push((None, Box::new(done)));
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
        record.note = note;
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
        let banned = match self.held.get(&target) {
            None => {
                let _ = reply.send(Err(BanError::NotBanned { target }));
                return;
            }
            Some(held) => held.record.standing == Standing::Banned,
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
            let _ = reply.send(reported(&metrics, target, saved).map(|()| record));
        };
        let change = banned.then_some(Change::Remove(target));
        self.effects.push((change, Box::new(done)));
    }

    /// Everything in force, in no order.
    pub(super) fn list(&self) -> Vec<BanRecord> {
        self.held.values().map(|held| held.record.clone()).collect()
    }

    pub(super) fn record(&self, target: Prefix) -> Option<&BanRecord> {
        self.held.get(&target).map(|held| &held.record)
    }

    pub(super) fn is_banned(&self, target: Prefix) -> bool {
        self.record(target)
            .is_some_and(|record| record.standing == Standing::Banned)
    }

    /// When something ends next.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(_, deadline, _)| deadline)
    }

    /// Ends what is over.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((class, deadline, target)) = self.deadlines.first()
            && deadline <= now
        {
            let Some(record) = self.release(target) else {
                self.deadlines.remove(class, deadline, target);
                continue;
            };
            if record.standing == Standing::Banned {
                self.free(target);
                let expired = BanExpired {
                    id: record.id,
                    target,
                };
                self.then(Change::Remove(target), target, move |metrics| {
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

    /// Ends what would end next anyway, where a new ban of `target` finds no room.
    fn make_room(&mut self, target: Prefix) {
        let class = Class::of(target, Standing::Banned);
        if self.is_banned(target) {
            return;
        }
        while self.deadlines.is_full(class) {
            if !self.evict(class, None, target) {
                return;
            }
        }
    }

    /// Ends the ban of a class that ends next, for `favoured`; whether there was one.
    fn evict(&mut self, class: Class, only: Option<Prefix>, favoured: Prefix) -> bool {
        let victim = self.deadlines.soonest(class, only);
        let Some(record) = victim.and_then(|victim| self.release(victim)) else {
            return false;
        };
        let target = record.target;
        self.evicted += 1;
        self.free(target);
        let evicted = BanEvicted {
            id: record.id,
            target,
            until: record.until,
            favoured,
        };
        self.then(Change::Remove(target), target, move |metrics| {
            evicted.emit(metrics);
        });
        true
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
            note: String::new(),
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
        self.hold(record.clone(), duration, now);
        self.announce(record, reply);
    }

    /// Saves a ban that is in force, then emits and answers.
    fn announce(&mut self, record: BanRecord, reply: Option<Reply<BanRecord>>) {
        let metrics = self.metrics.clone();
        let change = Change::Put(record.clone());
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
                let _ = reply.send(saved.map(|()| record));
            }
        };
        self.effects.push((Some(change), Box::new(done)));
    }

    pub(super) fn enforce(&mut self, record: &mut BanRecord, remaining: Duration) {
        self.make_room(record.target);
        let ban = KernelBan {
            target: record.target,
            id: record.id,
            reason: record.reason.code(),
            remaining,
        };
        let mut told = self.kernel.ban(&ban);
        // The kernel may hold what this process doesn't know of. One is enough: it had no room
        // for one more.
        if let Err(KernelError::Full { .. }) = told
            && self.evict(
                Class::of(ban.target, Standing::Banned),
                Some(ban.target),
                ban.target,
            )
        {
            told = self.kernel.ban(&ban);
        }
        if let Err(error) = told {
            record.kernel_refused = true;
            BanNotInKernel {
                target: record.target,
                error: &error,
            }
            .emit(&self.metrics);
        }
    }

    /// Frees the kernel's entry of something that is over there anyway.
    fn free(&self, target: Prefix) {
        if let Err(error) = self.kernel.lift(target) {
            self.kernel_failed(KERNEL_LIFT, &error);
        }
    }

    fn kernel_failed(&self, request: &'static str, error: &dyn std::fmt::Display) {
        KernelRequestFailed { request, error }.emit(&self.metrics);
    }

    pub(super) fn hold(&mut self, record: BanRecord, duration: Duration, now: Duration) {
        let target = record.target;
        self.release(target);
        let deadline = now.saturating_add(duration);
        self.view.set(target, record.standing);
        if record.standing == Standing::Banned {
            self.metrics.fields().bans.inc();
        }
        let class = Class::of(target, record.standing);
        self.deadlines.insert(class, deadline, target);
        self.held.insert(target, Held { record, deadline });
        self.changed = true;
    }

    fn release(&mut self, target: Prefix) -> Option<BanRecord> {
        let Held { record, deadline } = self.held.remove(&target)?;
        let class = Class::of(target, record.standing);
        self.deadlines.remove(class, deadline, target);
        self.view.remove(target);
        if record.standing == Standing::Banned {
            self.metrics.fields().bans.dec();
        }
        self.changed = true;
        Some(record)
    }

    /// Saves a change, then emits.
    fn then(
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
fn seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}
