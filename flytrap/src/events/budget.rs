//! How many lines a second a kind of event may write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use crate::metrics::Metrics;

/// Lines a second of each kind.
const LINES: u64 = 50;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One kind's budget: [`LINES`] in each second.
pub(super) struct LogBudget {
    /// The second, and the lines written in it.
    window: Mutex<(u64, u64)>,
    suppressed: AtomicU64,
}

impl LogBudget {
    pub(super) const fn new() -> Self {
        Self {
            window: Mutex::new((0, 0)),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Runs `line` if it is within the budget, with the number of lines left out before it, if
    /// any; counts it as left out otherwise.
    pub(super) fn write(&self, metrics: &Metrics, line: impl FnOnce(Option<u64>)) {
        if self.allows(START.elapsed().as_secs()) {
            let missing = self.suppressed.swap(0, Ordering::Relaxed);
            line((missing > 0).then_some(missing));
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            metrics.fields().log_lines_suppressed.inc();
        }
    }

    fn allows(&self, second: u64) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0 != second {
            *window = (second, 0);
        }
        window.1 += 1;
        window.1 <= LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_lines_and_no_more() {
        let budget = LogBudget::new();
        for second in [0, 1, 7] {
            let written = (0..1000).filter(|_| budget.allows(second)).count();
            assert_eq!(written, 50);
        }
    }

    #[test]
    fn what_is_left_out_is_counted_and_said() {
        let budget = LogBudget::new();
        let metrics = Metrics::new();
        let (mut said, mut written) = (0, 0);
        for _ in 0..500 {
            budget.write(&metrics, |missing| {
                written += 1;
                said += missing.unwrap_or(0);
            });
        }
        let left = budget.suppressed.load(Ordering::Relaxed);
        assert_eq!(said + left + written, 500);
        assert!(metrics.encode().contains(&format!(
            "flytrap_log_lines_suppressed_total {}\n",
            500 - written
        )));
    }
}
