//! A list of bans of any lines: each target is banned once, in the kernel and at accept, but for
//! what the allowlist holds, and the outcome's figures say so.
//!
//! A line is a target; behind `!`, a prefix of the allowlist; `force`, an order to ban also what
//! that holds. Other lines are left out.
#![no_main]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flytrap::bans::{Bans, BansSettings, BansStore, ImportList, Standing};
use flytrap::kernel::{ActiveBan, Blocklist, KernelBan, KernelError};
use flytrap::metrics::Metrics;
use flytrap::types::{Prefix, SystemClock};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// A kernel that remembers whom it drops.
#[derive(Default)]
struct Recorder(Mutex<BTreeSet<Prefix>>);

impl Blocklist for Recorder {
    fn ban(&self, ban: &KernelBan) -> Result<(), KernelError> {
        self.0.lock().unwrap().insert(ban.target);
        Ok(())
    }

    fn lift(&self, target: Prefix) -> Result<bool, KernelError> {
        Ok(self.0.lock().unwrap().remove(&target))
    }

    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError> {
        Ok(Vec::new())
    }

    fn set_allowlist(&self, _prefixes: &[Prefix]) -> Result<(), KernelError> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (mut targets, mut allowlist, mut force) = (Vec::new(), Vec::new(), false);
    for line in text.lines() {
        if line == "force" {
            force = true;
        } else if let Some(allowed) = line.strip_prefix('!') {
            allowlist.extend(allowed.parse::<Prefix>());
        } else {
            targets.extend(line.parse::<Prefix>());
        }
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(import(targets, allowlist, force));
});

async fn import(targets: Vec<Prefix>, allowlist: Vec<Prefix>, force: bool) {
    let once: BTreeSet<Prefix> = targets.iter().copied().collect();
    let is_allowed = |target: &Prefix| allowlist.iter().any(|allowed| allowed.overlaps(target));
    let (skipped, banned): (BTreeSet<_>, BTreeSet<_>) =
        once.iter().partition(|target| !force && is_allowed(target));

    let kernel = Arc::new(Recorder::default());
    let dir = directory();
    let (bans, task) = Bans::start(
        BansStore::open(dir.path()).unwrap(),
        BansSettings {
            rules: Vec::new(),
            allowlist: allowlist.clone(),
        },
        Arc::<Recorder>::clone(&kernel),
        Arc::new(SystemClock),
        Metrics::new(),
    )
    .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    let list = ImportList {
        targets: targets.clone(),
        duration: Duration::from_hours(1),
        note: "a list".into(),
        force,
    };
    let imported = bans.import(list).await.unwrap();
    assert_eq!(imported.placed, banned.len() as u64);
    assert_eq!(imported.skipped, skipped.len() as u64);
    assert_eq!(imported.merged, (targets.len() - once.len()) as u64);
    assert_eq!(
        (imported.replaced, imported.evicted, imported.kernel_refused),
        (0, 0, 0)
    );
    assert_eq!(*kernel.0.lock().unwrap(), banned);
    let listed = bans.list().await.unwrap();
    assert!(listed.iter().map(|ban| ban.target).collect::<BTreeSet<_>>() == banned);
    for target in &banned {
        let allowed = allowlist.iter().any(|one| one.contains(target.base()));
        let expected = bans.standing(target.base()) == Standing::Banned;
        assert_eq!(expected, !allowed, "{target}");
    }
    stop.cancel();
    running.await.unwrap();
}

/// In memory, where the machine has such a place: nothing here is worth waiting for a disk.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = tempfile::tempdir_in(memory);
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}
