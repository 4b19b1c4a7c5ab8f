//! The bans of before a restart: those of the database, and those that only the kernel knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::keeper::{Keeper, seconds};
use super::record::{BanRecord, PlacedBy, Standing};
use super::store::Change;
use crate::events::{BanExpired, BanLifted};
use crate::kernel::ActiveBan;
use crate::metrics::{KERNEL_LIST, Metrics};
use crate::offence::Reason;

impl Keeper {
    /// Puts what was saved in force again, and takes up the bans that only the kernel knows.
    pub(super) fn resume_all(&mut self, saved: Vec<BanRecord>) {
        let now = Duration::ZERO;
        let mut in_kernel = match self.kernel.bans() {
            Ok(bans) => bans
                .into_iter()
                .map(|ban| (ban.target, ban))
                .collect::<HashMap<_, _>>(),
            Err(error) => {
                self.kernel_failed(KERNEL_LIST, &error);
                HashMap::new()
            }
        };
        for record in saved {
            // A kernel ban with a higher number was placed later and not saved any more.
            match in_kernel.remove(&record.target) {
                Some(newer) if newer.id > record.id => self.adopt(&newer, Some(record.id), now),
                _ => self.resume(record, now),
            }
        }
        for unknown in in_kernel.values() {
            self.adopt(unknown, None, now);
        }
        self.flush();
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
            self.then(Change::end(record.id), record.target, done);
            return;
        }
        let left = Duration::from_secs(left);
        self.tracker
            .resume(record.target, record.repeat, now.saturating_add(left), now);
        self.enforce(&mut record, left);
        let target = record.target;
        if let Some(older) = self.hold(Arc::new(record), left, now) {
            // Two rows of one target: no version writes that.
            self.then(Change::end(older), target, |_| {});
        }
    }

    /// Takes up a ban that the kernel holds and the database doesn't; there it takes the place of
    /// the one with the number `saved`.
    fn adopt(&mut self, ban: &ActiveBan, saved: Option<u64>, now: Duration) {
        let reason = Reason::from_code(ban.reason);
        let allowed = self.view.allows_all(ban.target).is_some();
        if ban.remaining.is_zero() || (allowed && reason != Reason::ByHand) {
            self.free(ban.target);
            if let Some(saved) = saved {
                self.then(Change::end(saved), ban.target, |_| {});
            }
            return;
        }
        let since = self.clock.now();
        let record = BanRecord {
            id: ban.id,
            target: ban.target,
            standing: Standing::Banned,
            reason,
            note: "found in the kernel at start".into(),
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
        let record = Arc::new(record);
        self.hold(Arc::clone(&record), ban.remaining, now);
        self.announce(record, saved, None);
    }
}
