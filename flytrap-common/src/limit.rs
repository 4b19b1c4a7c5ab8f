//! How often something may happen: the generic cell rate algorithm in its virtual scheduling form
//! (ITU-T I.371, annex A; ATM Forum, Traffic Management 4.0, appendix 4.4.2).
//!
//! The whole state is one number, the *theoretical arrival time*: when the next arrival is due if
//! they come evenly. Whoever comes earlier than that by no more than the tolerance is within the
//! limit. Idle time needs no refilling, and an arrival over the limit changes nothing, so a flood
//! only reads.

use bytemuck::{Pod, Zeroable};

const SECOND: u64 = 1_000_000_000;

/// A sustained rate, and how much may come at once.
///
/// Of the arrivals that are within it, any span of `s` nanoseconds, both ends included, holds at
/// most `1 + (s + tolerance) / interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Limit {
    /// Nanoseconds between two arrivals at the sustained rate. 0: everything is within the limit.
    pub interval: u64,
    /// By how many nanoseconds an arrival may come before it is due: `interval` for each that may
    /// come at once besides the first.
    pub tolerance: u64,
}

/// What an arrival comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Whether it is within the limit.
    pub within: bool,
    /// The theoretical arrival time from now on, in nanoseconds. Unchanged over the limit, so that
    /// there is nothing to write.
    pub due: u64,
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self {
        interval: 0,
        tolerance: 0,
    };

    /// At most `rate` each second, 0 for no limit, and up to `burst` at once, at least one.
    ///
    /// The interval is rounded up to whole nanoseconds: never more than `rate`, and at a million
    /// a thousandth less at most.
    #[inline]
    pub const fn per_second(rate: u32, burst: u32) -> Self {
        if rate == 0 {
            return Self::NONE;
        }
        let interval = SECOND.div_ceil(rate as u64);
        Self {
            interval,
            // Below 2^32 × 2^30.
            tolerance: interval * (burst as u64).saturating_sub(1),
        }
    }

    /// Whether anything can be over it.
    #[inline]
    pub const fn is_set(&self) -> bool {
        self.interval != 0
    }

    /// The sustained rate each second, to the nearest whole number; 0 without a limit.
    pub const fn rate(&self) -> u64 {
        match (SECOND + self.interval / 2).checked_div(self.interval) {
            Some(rate) => rate,
            None => 0,
        }
    }

    /// How many may come at once; 0 without a limit.
    pub const fn burst(&self) -> u64 {
        match self.tolerance.checked_div(self.interval) {
            Some(further) => further.saturating_add(1),
            None => 0,
        }
    }

    /// Judges an arrival at `now`, where `due` is what the last one left, and 0 before the first.
    ///
    /// Times are nanoseconds of one clock. One that steps back by up to a second lets no more
    /// through than a tolerance that is greater by the step. A `due` still further ahead, as a
    /// stricter limit of earlier leaves it, counts as a burst that was just used up.
    #[inline]
    pub const fn arrival(&self, due: u64, now: u64) -> Arrival {
        let latest = now.saturating_add(self.tolerance);
        let used_up = latest.saturating_add(self.interval);
        if !self.is_set() {
            Arrival { within: true, due }
        } else if due > used_up.saturating_add(SECOND) {
            Arrival {
                within: false,
                due: used_up,
            }
        } else if due > latest {
            Arrival { within: false, due }
        } else {
            let due = if due > now { due } else { now };
            Arrival {
                within: true,
                due: due.saturating_add(self.interval),
            }
        }
    }
}

#[cfg(test)]
mod tests;
