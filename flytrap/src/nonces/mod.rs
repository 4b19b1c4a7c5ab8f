//! The nonces of single-use tokens that were used: on disk before the login that uses one is let
//! in, so that not even a restart allows a second use.
//!
//! One thread owns `nonces.db`. Uses that queue up while the disk is busy share one transaction.
//! An entry goes when its token would have expired. Where there is no room, or no disk, nobody is
//! let in by such a token: forgetting one would let it in twice.

mod store;

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::types::{KeyId, UnixTime, Wallet};
use store::Verdict;
pub use store::{NoncesStore, StoreError};

/// Uses of one wallet, its devices' included, that are remembered at a time.
pub const PER_WALLET: u64 = 1_024;
/// Uses that are remembered at a time.
pub const IN_ALL: u64 = 262_144;

/// Uses waiting for the disk; further ones are refused.
const QUEUE: usize = 1_024;

/// One use of a single-use token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Who logs in.
    pub wallet: Wallet,
    /// The device key that signed, if not the wallet's own.
    pub device: Option<KeyId>,
    /// The token's nonce.
    pub nonce: [u8; 8],
    /// When the token would expire.
    pub expires: UnixTime,
}

/// Why a single-use token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was used before.
    Used,
    /// There is no room for its nonce until others expire.
    Full,
    /// The disk can't take it: nobody knows what would be so after a restart.
    Unavailable,
}

struct Order {
    one: Use,
    now: UnixTime,
    answer: oneshot::Sender<Result<(), Refused>>,
}

/// A handle on the nonces; its clones share them.
#[derive(Clone)]
pub struct Nonces {
    queue: SyncSender<Order>,
    /// Joined by the last handle that is closed.
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Nonces {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(store: NoncesStore) -> std::io::Result<Self> {
        let (queue, orders) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("flytrap-nonces".to_owned())
            .spawn(move || write_queued(store, &orders))?;
        Ok(Self {
            queue,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Uses up a nonce at the time `now`; `Ok` once that is on disk.
    ///
    /// # Errors
    /// Why the token lets nobody in.
    pub async fn spend(&self, one: Use, now: UnixTime) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        let order = Order { one, now, answer };
        match self.queue.try_send(order) {
            Ok(()) => answered.await.unwrap_or(Err(Refused::Unavailable)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Refused::Unavailable),
        }
    }

    /// Waits until the database is closed, if no other handle is left. Blocks.
    pub fn close(self) {
        let Self { queue, thread } = self;
        drop(queue);
        if let Some(thread) = Arc::into_inner(thread) {
            let thread = thread.into_inner().unwrap_or_else(PoisonError::into_inner);
            // It can only have panicked, which has been printed.
            let _ = thread.map(JoinHandle::join);
        }
    }
}

fn write_queued(mut store: NoncesStore, orders: &Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        let batch: Vec<_> = std::iter::once(first)
            .chain(orders.try_iter().take(QUEUE))
            .collect();
        let uses = batch.iter().map(|order| (&order.one, order.now));
        let verdicts = store.spend(uses).unwrap_or_else(|error| {
            tracing::error!(%error, "used single-use tokens can't be written down: they are refused");
            vec![Verdict::Err(Refused::Unavailable); batch.len()]
        });
        for (order, verdict) in batch.into_iter().zip(verdicts) {
            // Nobody waits any more if the client is gone.
            let _ = order.answer.send(verdict);
        }
    }
}

#[cfg(test)]
mod tests;
