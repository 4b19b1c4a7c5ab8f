//! What the kernel reports: into log and metrics, and to everyone who watches.

use std::collections::HashMap;

use tokio::sync::broadcast;

use crate::api::DropView;
use crate::events::KernelDrop;
use crate::geo::Country;
use crate::kernel::{DropEvent, Events, KernelPlane};
use crate::metrics::Metrics;
use crate::types::{Clock, SystemClock, UnixTime};

/// How many reports a watcher may be behind before it loses some.
const BEHIND: usize = 1_024;

/// Reads the reports and passes them on. Its end is the end of all streams.
pub(super) struct Reports {
    events: Events,
    interfaces: HashMap<u32, String>,
    sample: u32,
    watchers: broadcast::Sender<DropView>,
}

impl Reports {
    pub(super) fn new(events: Events, plane: &KernelPlane, sample: u32) -> Self {
        let interfaces = plane.status().interfaces.into_iter();
        Self {
            events,
            interfaces: interfaces.map(|one| (one.index, one.name)).collect(),
            sample,
            watchers: broadcast::Sender::new(BEHIND),
        }
    }

    /// Where to watch.
    pub(super) fn stream(&self) -> broadcast::WeakSender<DropView> {
        self.watchers.downgrade()
    }

    /// Reads for ever.
    pub(super) async fn run(mut self, metrics: Metrics) {
        let error = loop {
            match self.events.next().await {
                Ok(drop) => self.tell(&drop, &metrics),
                Err(error) => break error,
            }
        };
        // Bans and counters don't depend on it.
        tracing::warn!(%error, "the kernel's events can't be read any more");
        drop(self);
        std::future::pending::<()>().await;
    }

    fn tell(&self, drop: &DropEvent, metrics: &Metrics) {
        let one_in = if drop.first_hit { 1 } else { self.sample };
        KernelDrop {
            source: drop.source,
            ban: drop.ban_id,
            reason: drop.outcome,
            sampled: one_in.into(),
        }
        .emit(metrics);
        if self.watchers.receiver_count() > 0 {
            let interface = self.interfaces.get(&drop.ifindex).cloned();
            // Nobody watches any more: as good.
            let _ = self.watchers.send(DropView {
                time: UnixTime(SystemClock.now().0.saturating_sub(drop.age.as_secs())),
                source: drop.source,
                protocol: protocol(drop.protocol),
                destination_port: Some(drop.destination_port).filter(|port| *port != 0),
                interface: interface.unwrap_or_else(|| format!("interface {}", drop.ifindex)),
                reason: drop.outcome.name().to_owned(),
                ban: Some(drop.ban_id).filter(|id| *id != 0),
                country: country(drop.country),
                bytes: drop.bytes,
                first_hit: drop.first_hit,
                one_in,
            });
        }
    }
}

/// The code of a country.
fn country(index: u16) -> Option<String> {
    let country = Country::from_index(u8::try_from(index).ok()?)?;
    Some(country.code().to_owned())
}

/// By the numbers of IANA.
fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        other => other.to_string(),
    }
}
