//! Bans: the only writer of them, and what every connection may ask about its source.
//!
//! A ban takes effect in this order: the kernel, the view that accept looks at, the database,
//! the event. So a slow disk delays no ban, and a kill between the steps leaves the ban in the
//! kernel, from where the next start takes it up. What an operator orders is answered once it is
//! on disk; bans by rule are on disk as soon as the disk keeps up. A ban that the kernel refuses
//! is in force at accept and says so in log and metric.
//!
//! Deadlines run on the monotonic clock, so that setting the wall clock changes no ban while the
//! gateway runs; the database holds wall time, and a start translates what is left.

mod deadlines;
mod enforce;
mod held;
mod import;
mod keeper;
mod record;
mod resume;
mod store;
mod view;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::deadlines::Capacity;
use self::import::Sorted;
use self::keeper::{Keeper, Reply, Report};
use self::view::{Board, View};
use crate::events::KernelRequestFailed;
use crate::kernel::{Blocklist, KernelError};
use crate::metrics::{KERNEL_LIST, Metrics};
use crate::offence::{Offence, Rule};
use crate::types::{Clock, Prefix};

pub use import::{ImportList, Imported};
pub use record::{BanRecord, PlacedBy, Standing};
pub use store::{BansStore, StoreError};
pub use view::LiveSession;

/// Offences and logins waiting to be counted; further ones are dropped and counted as such.
const REPORTS: usize = 4096;
/// Reports between two looks at orders and deadlines, and under one new view.
const BATCH: usize = 256;
/// Orders of operators waiting.
const ORDERS: usize = 64;

/// What bans are made of.
#[derive(Clone, Debug)]
pub struct BansSettings {
    /// How many of which offence are too many.
    pub rules: Vec<Rule>,
    /// Who is never banned; also written to the kernel.
    pub allowlist: Vec<Prefix>,
}

/// Why bans couldn't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel could drop what the allowlist protects.
    #[error("the kernel refused the allowlist: {0}")]
    Allowlist(KernelError),
    /// The operating system gave no thread.
    #[error("no thread for the database of bans: {0}")]
    Thread(std::io::Error),
}

/// Why an operator's order wasn't carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanError {
    /// The allowlist comes first: the ban would have no effect.
    #[error("{target} is on the allowlist ({allowed}): a ban has no effect before it is taken off")]
    Allowlisted {
        /// Who was to be banned.
        target: Prefix,
        /// The entry of the allowlist.
        allowed: Prefix,
    },
    /// The allowlist holds a part of it.
    #[error("the allowlist has {allowed} in {target}: force the ban to keep out the rest of it")]
    PartlyAllowlisted {
        /// Who was to be banned.
        target: Prefix,
        /// The entry of the allowlist.
        allowed: Prefix,
    },
    /// The duration makes no sense.
    #[error(
        "a ban lasts at least {} s and at most {} days",
        Rule::BAN_MIN.as_secs(),
        Rule::BAN_MAX.as_secs() / 86_400
    )]
    Duration,
    /// There is nothing to lift.
    #[error("{target} is not banned: `ban list` shows the exact targets")]
    NotBanned {
        /// Who was to be lifted.
        target: Prefix,
    },
    /// The kernel refused, and the ban stays as it was.
    #[error("the kernel still drops {target}: {error}")]
    Kernel {
        /// Who was to be lifted.
        target: Prefix,
        /// What the kernel said.
        error: String,
    },
    /// It is done, but not saved.
    #[error("done for {target}, but not saved, so a restart undoes it: {error}")]
    NotSaved {
        /// Who was banned or lifted.
        target: Prefix,
        /// What the database said.
        error: String,
    },
    /// A list is in force, but a part of it isn't saved.
    #[error("{placed} bans are in force, but not all are saved, so a restart undoes some: {error}")]
    ListNotSaved {
        /// How many are in force.
        placed: u64,
        /// What the database said.
        error: String,
    },
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopped,
}

enum Order {
    Add {
        target: Prefix,
        duration: Duration,
        note: String,
        force: bool,
        reply: Reply<BanRecord>,
    },
    Import {
        list: Sorted,
        reply: Reply<Imported>,
    },
    Lift {
        target: Prefix,
        reply: Reply<BanRecord>,
    },
    List {
        reply: Reply<Vec<BanRecord>>,
    },
}

/// The handle to the bans; clones are cheap and the same.
#[derive(Clone)]
pub struct Bans {
    board: Arc<Board>,
    reports: mpsc::Sender<Report>,
    orders: mpsc::Sender<Order>,
    kernel: Arc<dyn Blocklist>,
    metrics: Metrics,
}

/// The task behind the handles.
#[must_use = "no offence is counted and no ban ends unless it runs"]
pub struct BansTask {
    keeper: Keeper,
    start: Instant,
    reports: mpsc::Receiver<Report>,
    orders: mpsc::Receiver<Order>,
}

impl Bans {
    /// Puts the bans of the database in force, in the kernel too. Blocks meanwhile. When it
    /// returns, bans from before are in force; [`BansTask::run`] does the rest.
    pub fn start(
        store: BansStore,
        settings: BansSettings,
        kernel: Arc<dyn Blocklist>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<(Self, BansTask), StartError> {
        Self::start_within(Capacity::default(), store, settings, kernel, clock, metrics)
    }

    fn start_within(
        capacity: Capacity,
        store: BansStore,
        settings: BansSettings,
        kernel: Arc<dyn Blocklist>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<(Self, BansTask), StartError> {
        kernel
            .set_allowlist(&settings.allowlist)
            .map_err(StartError::Allowlist)?;
        let board = Arc::new(Board::new(View::new(&settings.allowlist)));
        let start = Instant::now();
        let keeper = Keeper::start(
            settings.rules,
            capacity,
            store,
            Arc::clone(&board),
            Arc::clone(&kernel),
            clock,
            metrics.clone(),
        )?;
        let (reports, reports_in) = mpsc::channel(REPORTS);
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let task = BansTask {
            keeper,
            start,
            reports: reports_in,
            orders: orders_in,
        };
        let bans = Self {
            board,
            reports,
            orders,
            kernel,
            metrics,
        };
        Ok((bans, task))
    }

    /// How the source of `address` stands now. Takes no lock.
    pub fn standing(&self, address: IpAddr) -> Standing {
        self.board.view.load().standing(address)
    }

    /// Charges the source of `address` with an offence. Never waits: when too many come at once,
    /// some aren't charged, which is counted. Only for what a completed TCP handshake proves.
    pub fn offence(&self, address: IpAddr, offence: Offence) {
        self.metrics.fields().offences.inc(offence.as_str());
        self.report(Report::Offence(address, offence));
    }

    /// A login from `address` succeeded: ends the source's row of offences, and keeps it from
    /// being banned by rule for as long as the answer lives.
    pub fn session_opened(&self, address: IpAddr) -> LiveSession {
        let session = LiveSession::new(Arc::clone(&self.board), Prefix::of_source(address));
        self.report(Report::Success(address));
        session
    }

    fn report(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.metrics.fields().offence_queue_drops.inc();
        }
    }

    /// Bans `target` by hand, in place of any ban it has, and of the ban that ends next if there
    /// are as many as there may be. With `force` also if the allowlist holds it or a part of it,
    /// which stays exempt. Answers once it is on disk.
    pub async fn add(
        &self,
        target: Prefix,
        duration: Duration,
        note: String,
        force: bool,
    ) -> Result<BanRecord, BanError> {
        self.order(|reply| Order::Add {
            target,
            duration,
            note,
            force,
            reply,
        })
        .await
    }

    /// Bans everyone on a list, each as [`add`](Self::add) does; what the allowlist holds in
    /// whole or part is skipped unless forced. Answers once all of it is on disk.
    pub async fn import(&self, list: ImportList) -> Result<Imported, BanError> {
        let view = self.board.view.load_full();
        let list = tokio::task::spawn_blocking(move || Sorted::new(list, &view));
        let list = list.await.map_err(|_| BanError::Stopped)?;
        self.order(|reply| Order::Import { list, reply }).await
    }

    /// Ends the ban or throttling of exactly `target` and forgets what led to it. Answers once it
    /// is on disk.
    pub async fn lift(&self, target: Prefix) -> Result<BanRecord, BanError> {
        self.order(|reply| Order::Lift { target, reply }).await
    }

    /// All bans and throttlings in force, by number, with what the kernel dropped for them.
    pub async fn list(&self) -> Result<Vec<BanRecord>, BanError> {
        let records = self.order(|reply| Order::List { reply }).await?;
        let bans = self.clone();
        // Reading many entries takes long: not on the task's time, nor on the runtime's.
        tokio::task::spawn_blocking(move || bans.with_drops(records))
            .await
            .map_err(|_| BanError::Stopped)
    }

    /// In order, with what the kernel knows.
    fn with_drops(&self, mut records: Vec<BanRecord>) -> Vec<BanRecord> {
        let active = self.kernel.bans().unwrap_or_else(|error| {
            KernelRequestFailed {
                request: KERNEL_LIST,
                error: &error,
            }
            .emit(&self.metrics);
            Vec::new()
        });
        let dropped: HashMap<_, _> = active
            .into_iter()
            .map(|ban| ((ban.target, ban.id), ban.dropped))
            .collect();
        for record in &mut records {
            record.dropped = dropped.get(&(record.target, record.id)).copied();
        }
        records.sort_unstable_by_key(|record| record.id);
        records
    }

    async fn order<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, BanError> {
        let (reply, answer) = oneshot::channel();
        self.orders
            .send(order(reply))
            .await
            .map_err(|_| BanError::Stopped)?;
        answer.await.map_err(|_| BanError::Stopped)?
    }
}

impl BansTask {
    /// Counts, bans and lifts until `stop`, or until no handle is left; then writes what is
    /// queued. Bans stay in the kernel.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let deadline = self.keeper.next_deadline();
            let wake = async {
                match deadline.and_then(|deadline| self.start.checked_add(deadline)) {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let order = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(order) = self.orders.recv() => Some(order),
                received = self.reports.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    None
                }
                () = wake => None,
                // The control plane's other tasks have their turn between two pieces.
                () = tokio::task::yield_now(), if self.keeper.is_importing() => None,
            };
            let now = self.start.elapsed();
            self.keeper.expire(now);
            for report in batch.drain(..) {
                self.keeper.report(report, now);
            }
            if let Some(order) = order {
                self.execute(order, now);
            }
            self.keeper.import_piece(now);
            self.keeper.flush();
        }
        let keeper = self.keeper;
        // It can only fail by a panic, which has been printed.
        let _ = tokio::task::spawn_blocking(move || keeper.close()).await;
    }

    fn execute(&mut self, order: Order, now: Duration) {
        match order {
            Order::Add {
                target,
                duration,
                note,
                force,
                reply,
            } => self.keeper.add(target, duration, note, force, now, reply),
            Order::Import { list, reply } => self.keeper.import(list, reply),
            Order::Lift { target, reply } => self.keeper.lift(target, reply),
            Order::List { reply } => {
                // Who asked may have gone.
                let _ = reply.send(Ok(self.keeper.list()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
