//! Keeps SYN cookies on while the gateway lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::kernel::{KernelError, KernelPlane};

/// Several tries within what a renewal lasts.
const RENEWAL: Duration = Duration::from_secs(1);
/// Several tries within what a listener remembers.
const PREPARATION: u32 = 30;

/// SYN cookies, switched on.
pub(super) struct Cookies {
    plane: Arc<KernelPlane>,
    listeners: Vec<SocketAddr>,
}

impl Cookies {
    pub(super) fn new(plane: &Arc<KernelPlane>, listeners: &[SocketAddr]) -> Self {
        Self {
            plane: Arc::clone(plane),
            listeners: listeners.to_vec(),
        }
    }

    /// Renews them until `stop`. What fails is logged when it begins and when it is over.
    pub(super) async fn keep_on(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(RENEWAL);
        let mut failing = false;
        for tick in (0..PREPARATION).cycle() {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // Those that failed are tried again at once.
            let renewed = self.renew(tick == 0 || failing);
            match &renewed {
                Ok(()) if failing => tracing::info!("SYN cookies work again"),
                Err(error) if !failing => {
                    tracing::error!(%error, help = error.help(), "SYN cookies don't work");
                }
                _ => {}
            }
            failing = renewed.is_err();
        }
    }

    fn renew(&self, prepare: bool) -> Result<(), KernelError> {
        if prepare {
            for listener in &self.listeners {
                self.plane.prepare_listener(*listener)?;
            }
        }
        self.plane.renew_cookies()
    }
}
