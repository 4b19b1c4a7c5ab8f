//! Who a client is: the login token FT1, its verification and its making.
//!
//! `docs/identity/ft1.md` is the published form of what this module checks. All of it is pure:
//! the time, the deployment and the revocations are arguments, nothing is looked up or logged.

mod client;
mod keystore;
mod mint;
mod refusal;
mod text;
mod token;
mod typed;
mod upstream;
mod verify;

#[cfg(test)]
mod tests;

pub use client::{ClientRule, ClientScope};
pub use keystore::{KeystoreError, Signer, create_keystore};
pub use mint::{MintError, Minted, Request, mint};
pub use refusal::{Fault, Refusal, Staleness};
pub use token::{Algorithm, Claims, MAX_PASSWORD_BYTES, Signature, Token};
pub use upstream::upstream_client_id;
pub use verify::{Login, LoginRules, Proof, verify};

use tiny_keccak::{Hasher as _, Keccak};

/// Keccak-256 of the concatenation of `parts`.
fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut keccak = Keccak::v256();
    for part in parts {
        keccak.update(part);
    }
    let mut digest = [0; 32];
    keccak.finalize(&mut digest);
    digest
}
