//! Bans and what the kernel says about them.

use std::fmt;
use std::net::IpAddr;

use flytrap_common::abi::Outcome;
use tracing::{error, info, warn};

use super::budget::LogBudget;
use crate::metrics::{BY_OPERATOR, KERNEL_BAN, Metrics};
use crate::types::{Prefix, UnixTime, escape_control};

/// A ban is in force.
pub struct BanPlaced<'a> {
    /// The ban's number.
    pub id: u64,
    /// Who is kept out.
    pub target: Prefix,
    /// The offence, or that it was by hand.
    pub reason: &'a dyn fmt::Display,
    /// `auto` or `operator`.
    pub by: &'static str,
    /// What the operator wrote; may be empty.
    pub note: &'a str,
    /// The how manieth ban in a row of this source.
    pub repeat: u32,
    /// When it ends.
    pub until: UnixTime,
}

impl BanPlaced<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().bans_placed.inc(self.by);
        info!(
            ban = self.id, prefix = %self.target, reason = %self.reason, by = self.by,
            note = %escape_control(self.note), repeat = self.repeat, until = %self.until,
            "ban placed"
        );
    }
}

/// An operator ended a ban.
pub struct BanLifted {
    /// The ban's number.
    pub id: u64,
    /// Who is no longer kept out.
    pub target: Prefix,
    /// Why: asked for, or the target was put on the allowlist.
    pub why: &'static str,
}

impl BanLifted {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().bans_lifted.inc();
        info!(ban = self.id, prefix = %self.target, why = self.why, "ban lifted");
    }
}

/// A ban reached its end.
pub struct BanExpired {
    /// The ban's number.
    pub id: u64,
    /// Who is no longer kept out.
    pub target: Prefix,
}

impl BanExpired {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().bans_expired.inc();
        info!(ban = self.id, prefix = %self.target, "ban expired");
    }
}

/// A ban ended before its time, to make room for another.
pub struct BanEvicted {
    /// The ban's number.
    pub id: u64,
    /// Who is no longer kept out.
    pub target: Prefix,
    /// When it would have ended: before every other of its kind.
    pub until: UnixTime,
    /// For whose ban.
    pub favoured: Prefix,
}

impl BanEvicted {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().bans_evicted.inc();
        BUDGET.write(metrics, |suppressed| {
            warn!(
                ban = self.id, prefix = %self.target, until = %self.until,
                favoured = %self.favoured, suppressed,
                "ban evicted: the table is full, and it would have ended first"
            );
        });
    }
}

/// The kernel didn't take a ban: it is enforced at accept only.
pub struct BanNotInKernel<'a> {
    /// Who is kept out.
    pub target: Prefix,
    /// What the kernel said.
    pub error: &'a dyn fmt::Display,
}

impl BanNotInKernel<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().kernel_errors.inc(KERNEL_BAN);
        error!(
            prefix = %self.target, error = %self.error,
            "the kernel refused a ban: it is in force at accept only"
        );
    }
}

/// The kernel refused something else.
pub struct KernelRequestFailed<'a> {
    /// What it was asked for, as the metric's label.
    pub request: &'static str,
    /// What the kernel said.
    pub error: &'a dyn fmt::Display,
}

impl KernelRequestFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().kernel_errors.inc(self.request);
        error!(request = self.request, error = %self.error, "the kernel refused a request");
    }
}

/// A throttling was due, but there are as many as there may be.
pub struct BanNotPlaced {
    /// Who should be slowed down.
    pub target: Prefix,
}

impl BanNotPlaced {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().bans_not_placed.inc();
        BUDGET.write(metrics, |suppressed| {
            error!(prefix = %self.target, suppressed, "source not throttled: too many are already");
        });
    }
}

/// The database didn't take a change: it holds until the gateway stops.
pub struct BanNotSaved<'a> {
    /// Whose ban was placed or ended.
    pub target: Prefix,
    /// What the database said.
    pub error: &'a dyn fmt::Display,
}

impl BanNotSaved<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().bans_not_saved.inc();
        BUDGET.write(metrics, |suppressed| {
            error!(
                prefix = %self.target, error = %self.error, suppressed,
                "ban not saved: after a restart it will be as it was before"
            );
        });
    }
}

/// A part of a list of bans isn't on disk: it holds until the gateway stops.
pub struct BansNotSaved<'a> {
    /// What the database said.
    pub error: &'a dyn fmt::Display,
}

impl BansNotSaved<'_> {
    /// Logs and counts it, as one.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().bans_not_saved.inc();
        error!(
            error = %self.error,
            "a part of a list of bans is not saved: a restart undoes it"
        );
    }
}

/// A list of bans is in force.
pub struct BansImported<'a> {
    /// How many are in force.
    pub placed: u64,
    /// How many of them took the place of another.
    pub replaced: u64,
    /// How many were left out for the allowlist.
    pub skipped: u64,
    /// How many other bans ended for them.
    pub evicted: u64,
    /// What the operator wrote; may be empty.
    pub note: &'a str,
}

impl BansImported<'_> {
    /// Logs it and counts its bans.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().bans_placed.add(BY_OPERATOR, self.placed);
        info!(
            placed = self.placed, replaced = self.replaced, skipped = self.skipped,
            evicted = self.evicted, note = %escape_control(self.note),
            "list of bans imported"
        );
    }
}

/// A source with a proven live session went too far: it is slowed down rather than cut off.
pub struct SourceThrottled<'a> {
    /// Who is slowed down.
    pub target: Prefix,
    /// The offence.
    pub reason: &'a dyn fmt::Display,
    /// Until when.
    pub until: UnixTime,
}

impl SourceThrottled<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().sources_throttled.inc();
        info!(prefix = %self.target, reason = %self.reason, until = %self.until, "source throttled");
    }
}

/// The kernel dropped a packet and told about it.
pub struct KernelDrop {
    /// Whose packet.
    pub source: IpAddr,
    /// The number of the ban; 0: no ban dropped it.
    pub ban: u64,
    /// Why it was dropped.
    pub reason: Outcome,
    /// One event stands for so many drops; 1 is the first hit of a ban.
    pub sampled: u64,
}

impl KernelDrop {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        let reason = self.reason.name();
        metrics.fields().kernel_drop_events.inc(reason);
        BUDGET.write(metrics, |suppressed| {
            info!(
                source = %self.source, ban = self.ban, reason, sampled = self.sampled, suppressed,
                "packet dropped in the kernel"
            );
        });
    }
}
