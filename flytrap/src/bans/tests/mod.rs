//! Bans on a machine with a recorded kernel and a clock that is set.

mod by_hand;
mod by_rule;
mod failure;
mod full;
mod import;
mod restart;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::kernel::{ActiveBan, KernelBan, PacketCount};
use crate::offence::Reason;
use crate::types::UnixTime;

const AUTH: Offence = Offence::AuthFailed;
const TEN_MINUTES: Duration = Duration::from_mins(10);

/// A kernel that remembers, and that can be told to refuse.
#[derive(Default)]
struct Recorder {
    bans: Mutex<HashMap<Prefix, ActiveBan>>,
    allowlist: Mutex<Vec<Prefix>>,
    refuses: AtomicBool,
    /// More than this many, and the table is full; 0: it never is.
    room: AtomicUsize,
    /// The standing of each target while the kernel was told of its ban.
    seen: Mutex<Vec<Standing>>,
    board: OnceLock<Arc<Board>>,
}

impl Recorder {
    fn answer<T>(&self, value: T) -> Result<T, KernelError> {
        if self.refuses.load(Ordering::SeqCst) {
            Err(refusal())
        } else {
            Ok(value)
        }
    }

    fn holds(&self, target: &str) -> Option<ActiveBan> {
        self.bans.lock().unwrap().get(&prefix(target)).copied()
    }
}

fn refusal() -> KernelError {
    KernelError::Full { map: "ft_ban4" }
}

impl Blocklist for Recorder {
    fn ban(&self, ban: &KernelBan) -> Result<(), KernelError> {
        self.answer(())?;
        let room = self.room.load(Ordering::SeqCst);
        let held = self.bans.lock().unwrap();
        if room > 0 && held.len() >= room && !held.contains_key(&ban.target) {
            return Err(refusal());
        }
        drop(held);
        if let Some(board) = self.board.get() {
            let standing = board.view.load().standing(ban.target.base());
            self.seen.lock().unwrap().push(standing);
        }
        let active = ActiveBan {
            target: ban.target,
            id: ban.id,
            reason: ban.reason,
            remaining: ban.remaining,
            dropped: PacketCount {
                packets: 3,
                bytes: 180,
            },
        };
        self.bans.lock().unwrap().insert(ban.target, active);
        Ok(())
    }

    fn lift(&self, target: Prefix) -> Result<bool, KernelError> {
        self.answer(())?;
        Ok(self.bans.lock().unwrap().remove(&target).is_some())
    }

    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError> {
        self.answer(self.bans.lock().unwrap().values().copied().collect())
    }

    fn set_allowlist(&self, prefixes: &[Prefix]) -> Result<(), KernelError> {
        self.answer(())?;
        *self.allowlist.lock().unwrap() = prefixes.to_vec();
        Ok(())
    }
}

struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// One machine: what outlives a gateway process.
struct Machine {
    dir: TempDir,
    kernel: Arc<Recorder>,
    clock: Arc<SetClock>,
    rules: Vec<Rule>,
    allowlist: Vec<Prefix>,
    capacity: Capacity,
}

impl Machine {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            kernel: Arc::default(),
            clock: Arc::new(SetClock(AtomicU64::new(1_767_225_600))),
            rules: vec![Rule::default()],
            allowlist: Vec::new(),
            capacity: Capacity::default(),
        }
    }

    fn settings(&self) -> BansSettings {
        BansSettings {
            rules: self.rules.clone(),
            allowlist: self.allowlist.clone(),
        }
    }

    fn open(&self) -> BansStore {
        BansStore::open(self.dir.path()).unwrap()
    }

    /// Starts a gateway whose task isn't running yet.
    fn try_start(&self) -> Result<(Bans, BansTask), StartError> {
        let kernel = Arc::clone(&self.kernel);
        let clock = Arc::clone(&self.clock);
        let (store, settings) = (self.open(), self.settings());
        Bans::start_within(
            self.capacity,
            store,
            settings,
            kernel,
            clock,
            Metrics::new(),
        )
    }

    fn start(&self) -> Gateway {
        let (bans, task) = self.try_start().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.run(stop.clone()));
        Gateway {
            bans,
            stop,
            running,
        }
    }

    fn wait(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

struct Gateway {
    bans: Bans,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Gateway {
    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    fn offend(&self, address: &str, times: u32) {
        for _ in 0..times {
            self.bans.offence(ip(address), AUTH);
        }
    }

    async fn reaches(&self, address: &str, standing: Standing) {
        eventually(|| self.bans.standing(ip(address)) == standing).await;
    }

    /// Until every report so far has been counted: the queue is first in, first out.
    async fn counted(&self) {
        eventually(|| self.bans.reports.capacity() == self.bans.reports.max_capacity()).await;
        self.bans.list().await.unwrap();
    }

    fn sample(&self, sample: &str) -> bool {
        self.bans
            .metrics
            .encode()
            .contains(&format!("flytrap_{sample}\n"))
    }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), wait)
        .await
        .unwrap();
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn standing(bans: &Bans, address: &str) -> Standing {
    bans.standing(ip(address))
}
