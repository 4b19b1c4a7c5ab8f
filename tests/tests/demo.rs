//! The demo as a user starts it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use flytrap_tests::lab::gateway::binary;
use flytrap_tests::lab::process::{Finished, Process, must};
use flytrap_tests::lab::{directory, wait_for};
use rustix::process::Signal;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flytrap-demo"));
    command.env("FLYTRAP_BIN", binary().unwrap());
    command
}

fn nothing_is_left() {
    for path in [
        "/run/netns/ft-devices",
        "/sys/class/net/ft-gateway",
        "/sys/fs/bpf/flytrap",
        "/run/flytrap-demo",
        "/run/flytrap-demo.lock",
    ] {
        assert!(!Path::new(path).exists(), "{path} is left");
    }
}

// One test, because there is one `ft-devices` on a machine.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_drill_passes_and_ctrl_c_and_kill_leave_nothing_behind() {
    let drill = Finished::of(demo().arg("--drill")).unwrap();
    assert_eq!(drill.code, Some(0), "{}\n{}", drill.out, drill.err);
    let steps: Vec<_> = drill.out.lines().collect();
    assert!(steps.len() >= 14, "{steps:?}");
    assert!(
        steps.iter().all(|step| step.starts_with("ok ")),
        "{steps:?}"
    );
    nothing_is_left();

    let files = directory().unwrap();
    let log = files.path().join("demo.log");
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = Process::start("flytrap-demo", &mut demo(), &log).unwrap();
        running.wait_for_output("leaves nothing behind").unwrap();
        assert!(Path::new("/sys/fs/bpf/flytrap/ft_ban4").exists());
        let second = Finished::of(&mut demo()).unwrap();
        assert_eq!(second.code, Some(1));
        assert!(second.err.contains("runs already"), "{}", second.err);
        running.signal(signal).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(0));
        nothing_is_left();
    }

    // Killed, it can't clean up. Its processes die with it, and the next start does the rest.
    let mut killed = Process::start("flytrap-demo", &mut demo(), &log).unwrap();
    killed.wait_for_output("leaves nothing behind").unwrap();
    let gateway = pid_in("/run/flytrap-demo", "flytrap");
    killed.signal(Signal::KILL).unwrap();
    killed.wait().unwrap();
    wait_for("the end of the killed demo's gateway", || {
        Ok((!Path::new("/proc").join(&gateway).exists()).then_some(()))
    })
    .unwrap();
    assert!(Path::new("/run/netns/ft-devices").exists());
    let mut next = Process::start("flytrap-demo", &mut demo(), &log).unwrap();
    next.wait_for_output("leaves nothing behind").unwrap();
    assert!(next.log().contains("cleaning up"), "{}", next.log());
    next.signal(Signal::INT).unwrap();
    assert_eq!(next.wait().unwrap().code(), Some(0));
    nothing_is_left();
}

/// The process whose command line names a program and a file below `directory`.
fn pid_in(directory: &str, program: &str) -> String {
    let list = must(Command::new("ps").args(["-eo", "pid=,args="])).unwrap();
    let line = list
        .lines()
        .find(|line| line.contains(directory) && line.contains(&format!("/{program} run")))
        .unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}
