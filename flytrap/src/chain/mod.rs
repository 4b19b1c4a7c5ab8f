//! Where rights come from: a ledger, and what it tells. The adapters are here; what the events
//! come to is the mirror's business.

mod file;

pub use file::{FileLedger, LedgerFileError};

use crate::types::{Deployment, DeviceKey, Grant, KeyId, Space, SpaceName, UnixTime, Wallet};

/// One thing that happened in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// A topic space came into being; the one around it did so before.
    SpaceRegistered(Space),
    /// The owner of a topic space gave or took rights there; replaces what was there before.
    Granted {
        /// The topic space.
        space: SpaceName,
        /// Whose rights.
        wallet: Wallet,
        /// Which.
        grant: Grant,
    },
    /// A wallet let a device's key act for it; replaces what it said of that key before.
    DeviceKeySet(DeviceKey),
    /// A wallet ended a key. The id names the wallet too.
    DeviceKeyRemoved(KeyId),
    /// A wallet voided the login tokens that it issued before a time.
    TokensRevoked {
        /// Whose tokens.
        wallet: Wallet,
        /// The tokens issued before this.
        before: UnixTime,
    },
}

/// Something that says who owns which topic space, and who may what there. Reading it, and all
/// that can fail then, comes before one has it.
pub trait Ledger {
    /// What login tokens for the gateway of this public name are bound to.
    fn deployment(&self, domain: &str) -> Deployment;

    /// All that happened so far, in order.
    fn events(&self) -> &[LedgerEvent];
}
