//! The local copy of a ledger: folds its events into a snapshot and publishes that.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::chain::{Ledger, LedgerEvent};
use crate::policy::{Admit, Inconsistent, Snapshot, SnapshotBuilder};
use crate::types::{BadTopic, TopicFilter, Wallet, escape_control};

/// What the configuration adds to the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorSettings {
    /// The top-level topic spaces that this gateway serves; empty: all of the ledger's.
    pub spaces: Vec<String>,
    /// Which wallets may open a session.
    pub admit: Admit,
    /// Filters over `$` topics, each with the wallets that may do everything there.
    pub dollar_topics: Vec<(String, Vec<Wallet>)>,
}

/// Why there is no mirror of a ledger.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The ledger contradicts itself.
    #[error("the ledger contradicts itself: {0}")]
    Inconsistent(#[from] Inconsistent),
    /// The configuration serves a topic space that the ledger doesn't have.
    #[error(
        "the ledger has no top-level topic space `{}`; it has {known}",
        escape_control(name)
    )]
    UnknownSpace {
        /// As configured.
        name: String,
        /// What the ledger has instead.
        known: String,
    },
    /// A key of `[dollar_topics]` is no filter over `$` topics.
    #[error("[dollar_topics] `{}` must be a topic filter that begins with ${}",
        escape_control(filter), cause.map_or_else(String::new, |cause| format!(": {cause}")))]
    DollarFilter {
        /// As configured.
        filter: String,
        /// What keeps it from being a filter at all.
        cause: Option<BadTopic>,
    },
}

/// A handle on the current snapshot; its clones share it. A file ledger is read once: its
/// snapshot stays until the gateway ends.
#[derive(Clone, Debug)]
pub struct Mirror {
    current: Arc<Snapshot>,
}

impl Mirror {
    /// Folds all that the ledger tells. The snapshot has generation 1.
    pub fn load(ledger: &dyn Ledger, settings: &MirrorSettings) -> Result<Self, MirrorError> {
        let current = Arc::new(fold(ledger, settings, 1)?);
        Ok(Self { current })
    }

    /// The snapshot to decide with now. Load it once per batch of packets.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current)
    }
}

fn fold(
    ledger: &dyn Ledger,
    settings: &MirrorSettings,
    generation: u64,
) -> Result<Snapshot, MirrorError> {
    let mut builder = SnapshotBuilder::new(generation, settings.admit);
    for (text, wallets) in &settings.dollar_topics {
        let bad = |cause| MirrorError::DollarFilter {
            filter: text.clone(),
            cause,
        };
        let filter = TopicFilter::new(text).map_err(|cause| bad(Some(cause)))?;
        if !filter.is_dollar() {
            return Err(bad(None));
        }
        builder.dollar_topics(filter, wallets.iter().copied());
    }

    let served = |top: &str| settings.spaces.is_empty() || settings.spaces.iter().any(|s| s == top);
    let mut tops = BTreeSet::new();
    for event in ledger.events() {
        match event {
            LedgerEvent::SpaceRegistered(space) => {
                tops.insert(space.name.top().to_owned());
                if served(space.name.top()) {
                    builder.space(space.clone())?;
                }
            }
            LedgerEvent::Granted {
                space,
                wallet,
                grant,
            } => {
                if served(space.top()) {
                    builder.grant(space, *wallet, *grant)?;
                }
            }
            LedgerEvent::DeviceKeySet(device) => builder.set_device_key(device.clone()),
            LedgerEvent::DeviceKeyRemoved(id) => builder.remove_device_key(id),
            LedgerEvent::TokensRevoked { wallet, before } => {
                builder.revoke_tokens(*wallet, *before);
            }
        }
    }
    if let Some(name) = settings.spaces.iter().find(|name| !tops.contains(*name)) {
        return Err(MirrorError::UnknownSpace {
            name: name.clone(),
            known: listed(&tops),
        });
    }
    Ok(builder.build())
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", escape_control(name)))
        .collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
