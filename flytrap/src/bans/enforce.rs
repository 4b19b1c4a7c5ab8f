//! What the kernel is told, and what ends where its tables are full.

use std::time::Duration;

use super::deadlines::Class;
use super::keeper::Keeper;
use super::record::{BanRecord, Standing};
use super::store::Change;
use crate::events::{BanEvicted, BanNotInKernel, KernelRequestFailed};
use crate::kernel::{KernelBan, KernelError};
use crate::metrics::KERNEL_LIFT;
use crate::types::Prefix;

impl Keeper {
    /// Puts a ban in force in the kernel, where need be in the place of another.
    pub(super) fn enforce(&mut self, record: &mut BanRecord, remaining: Duration) {
        self.make_room(record.target);
        let ban = kernel_ban(record, remaining);
        if let Err(error) = self.kernel.ban(&ban) {
            self.insist(record, &ban, error);
        }
    }

    /// The same for many, for which there is room.
    pub(super) fn enforce_all(&mut self, records: &mut [BanRecord], remaining: Duration) {
        let bans = records.iter().map(|record| kernel_ban(record, remaining));
        let bans: Vec<KernelBan> = bans.collect();
        for (position, error) in self.kernel.ban_all(&bans) {
            if let (Some(record), Some(ban)) = (records.get_mut(position), bans.get(position)) {
                self.insist(record, ban, error);
            }
        }
    }

    /// The kernel may hold what this process doesn't know of. One is enough: it had no room for
    /// one more.
    fn insist(&mut self, record: &mut BanRecord, ban: &KernelBan, error: KernelError) {
        let mut told = Err(error);
        if let Err(KernelError::Full { .. }) = told
            && self.evict(
                Class::of(ban.target, Standing::Banned),
                Some(ban.target),
                ban.target,
            )
        {
            told = self.kernel.ban(ban);
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

    /// Ends what would end next anyway, where a new ban of `target` finds no room.
    fn make_room(&mut self, target: Prefix) {
        let class = Class::of(target, Standing::Banned);
        if self.is_banned(target) {
            return;
        }
        while self.deadlines.is_full(class, 0) {
            if !self.evict(class, None, target) {
                return;
            }
        }
    }

    /// Ends the ban of a class that ends next, for `favoured`; whether there was one.
    pub(super) fn evict(&mut self, class: Class, only: Option<Prefix>, favoured: Prefix) -> bool {
        let victim = self.deadlines.soonest(class, only);
        let Some(record) = victim.and_then(|(_, victim)| self.release(victim)) else {
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
        self.then(Change::end(record.id), target, move |metrics| {
            evicted.emit(metrics);
        });
        true
    }

    /// Frees the kernel's entry of something that is over there anyway.
    pub(super) fn free(&self, target: Prefix) {
        if let Err(error) = self.kernel.lift(target) {
            self.kernel_failed(KERNEL_LIFT, &error);
        }
    }

    pub(super) fn kernel_failed(&self, request: &'static str, error: &dyn std::fmt::Display) {
        KernelRequestFailed { request, error }.emit(&self.metrics);
    }
}

fn kernel_ban(record: &BanRecord, remaining: Duration) -> KernelBan {
    KernelBan {
        target: record.target,
        id: record.id,
        reason: record.reason.code(),
        remaining,
    }
}
