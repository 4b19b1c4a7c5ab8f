//! `flytrap doctor`: what it found, for people and for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::args::{Doctor, Output};
use super::{Done, wait_for};
use crate::app::doctor::{Check, State, examine};
use crate::failure::{Failure, exit};
use crate::types::{Clock, SystemClock, escape_control};

impl Doctor {
    /// Makes the checks.
    pub(super) fn run(self, output: Output, socket: Option<PathBuf>) -> Result<Done, Failure> {
        let checks =
            wait_for(async { Ok(examine(self.file.as_deref(), socket, SystemClock.now()).await) })?;
        let mut done = Done::new(output, &checks, |checks| show(checks))?;
        if checks.iter().any(|check| check.state == State::Fail) {
            done.exit = exit::FAIL;
        }
        Ok(done)
    }
}

fn show(checks: &[Check]) -> String {
    let name = |check: &Check| match &check.subject {
        Some(subject) => format!("{} {subject}", check.name),
        None => check.name.to_owned(),
    };
    let width = checks.iter().map(|check| name(check).chars().count()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        // Writing to a String doesn't fail.
        let _ = write!(text, "{state:<5} {:<width$}  ", name(check));
        lines(&mut text, &check.found, width + 8);
        if check.state != State::Ok {
            let _ = write!(text, "{:8}why: ", "");
            lines(&mut text, check.why, 13);
        }
        if let Some(fix) = &check.fix {
            let _ = write!(text, "{:8}fix: ", "");
            lines(&mut text, fix, 13);
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let _ = write!(
        text,
        "{} ok, {} warn, {} fail",
        count(State::Ok),
        count(State::Warn),
        count(State::Fail)
    );
    text
}

/// The lines of `what`, all but the first indented.
fn lines(text: &mut String, what: &str, indent: usize) {
    for (place, line) in what.lines().enumerate() {
        let indent = if place == 0 { 0 } else { indent };
        let _ = writeln!(text, "{:indent$}{}", "", escape_control(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_with_reason_and_fix() {
        let check = |name, subject: Option<&str>, state, found: &str, fix: Option<&str>| Check {
            name,
            subject: subject.map(str::to_owned),
            state,
            found: found.to_owned(),
            why: "it matters",
            fix: fix.map(str::to_owned),
        };
        let checks = [
            check("kernel", None, State::Ok, "Linux 6.18", None),
            check(
                "interface",
                Some("eth0"),
                State::Fail,
                "a\nb\u{1b}",
                Some("c"),
            ),
            check("ssh", None, State::Warn, "d", Some("e")),
        ];
        assert_eq!(
            show(&checks),
            "ok    kernel          Linux 6.18\n\
             FAIL  interface eth0  a\n\
             \x20                     b\\u{1b}\n\
             \x20       why: it matters\n\
             \x20       fix: c\n\
             warn  ssh             d\n\
             \x20       why: it matters\n\
             \x20       fix: e\n\
             1 ok, 1 warn, 1 fail"
        );
    }
}
