//! The machine's clock, held against whatever has a date.

use std::time::UNIX_EPOCH;

use super::{Check, Question};
use crate::types::UnixTime;

/// What other clocks may be ahead.
const TOLERANCE: u64 = 120;

const CLOCK: Question = Question::new(
    "clock",
    "logins, certificates and bans are valid until a time: a clock that is behind lets in what has \
     run out, and refuses what is new",
);

/// Something that was made at a time, which therefore is over.
pub(super) struct Made {
    pub(super) what: String,
    pub(super) at: UnixTime,
}

/// `made`: what says when it was made.
pub(super) fn check(now: UnixTime, made: &[Made]) -> Check {
    // The file's date stands for the date of the build: to write that into the binary would make
    // every build another one.
    let own = std::env::current_exe().and_then(|path| path.metadata()?.modified());
    let own = own.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let own = own.map(|at| Made {
        what: "this flytrap".to_owned(),
        at: UnixTime(at.as_secs()),
    });
    let latest = made.iter().chain(&own).max_by_key(|one| one.at);
    match latest {
        Some(Made { what, at }) if *at > now.plus(TOLERANCE) => CLOCK.fail(
            format_args!("it says {now}, but {what} was made at {at}"),
            "set it, and keep it right with a time service: `timedatectl set-ntp true`",
        ),
        _ => CLOCK.ok(format_args!("it says {now}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_behind_anything_that_was_made_fails() {
        let made = |at| {
            [Made {
                what: "the certificate".to_owned(),
                at: UnixTime(at),
            }]
        };
        // Later than this test was built.
        let now = UnixTime(1 << 34);
        assert_eq!(check(now, &made(now.0)).state, State::Ok);
        assert_eq!(check(now, &made(now.0 + TOLERANCE)).state, State::Ok);
        let behind = check(now, &made(now.0 + TOLERANCE + 1));
        assert_eq!(behind.state, State::Fail);
        assert!(behind.found.contains("the certificate"), "{behind:?}");
        let behind = check(UnixTime(1_000_000_000), &[]);
        assert!(behind.found.contains("this flytrap"), "{behind:?}");
    }
}
