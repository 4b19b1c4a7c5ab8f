//! What a test run may leave behind: nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::process::target;

/// Namespaces, links, pins and processes of this moment that FlyTrap could have made.
pub(crate) struct Snapshot(BTreeSet<String>);

impl Snapshot {
    pub(crate) fn take() -> Self {
        let mut things = BTreeSet::new();
        things.extend(names("/run/netns").map(|name| format!("namespace {name}")));
        things.extend(names("/sys/class/net").map(|name| format!("link {name}")));
        things.extend(names("/sys/fs/bpf").map(|name| format!("pin /sys/fs/bpf/{name}")));
        things.extend(processes());
        Self(things)
    }

    /// What is there now and was not then. Waits a little: the kernel takes
    /// apart a namespace and its links after the last process has let go.
    pub(crate) fn new_since(&self) -> Vec<String> {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let new: Vec<String> = Self::take().0.difference(&self.0).cloned().collect();
            if new.is_empty() || Instant::now() > patience {
                return new;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn names(directory: &str) -> impl Iterator<Item = String> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Processes of programs that cargo built here, and others (brokers, clients)
/// with a file of the laboratory on their command line. This command and the
/// cargo that runs it are neither.
fn processes() -> impl Iterator<Item = String> {
    let own = std::process::id();
    names("/proc")
        .filter_map(|name| name.parse::<u32>().ok())
        .filter(move |pid| *pid != own)
        .filter_map(|pid| {
            let directory = Path::new("/proc").join(pid.to_string());
            let program = std::fs::read_link(directory.join("exe")).ok()?;
            let command = std::fs::read(directory.join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            (program.starts_with(target())
                || (command.contains("/flytrap-lab-") || command.contains("/run/flytrap-demo/")))
            .then(|| format!("process {pid}: {}", command.trim()))
        })
}
