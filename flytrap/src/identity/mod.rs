//! Who a client is: the login token FT1, its verification and its making.
//!
//! `docs/identity/ft1.md` is the published form of what this module checks. All of it is pure:
//! the time, the deployment and the revocations are arguments, nothing is looked up or logged.

mod client;
mod device;
mod device_signer;
mod keystore;
mod mint;
mod refusal;
mod signature;
mod statement;
mod text;
mod token;
mod typed;
mod upstream;
mod user;
mod verify;

#[cfg(test)]
mod tests;

pub use client::{ClientRule, ClientScope};
pub use device_signer::{BadKeyFile, DeviceSigner};
pub use keystore::{KeystoreError, Signer, create_keystore};
pub use mint::{MintError, Minted, Request, mint, mint_for};
pub use refusal::{Fault, Refusal, Staleness};
pub use token::{Algorithm, Claims, MAX_PASSWORD_BYTES, Signature, Token};
pub use upstream::upstream_client_id;
pub use user::device_user_name;
pub use verify::{Known, Login, LoginRules, Proof, verify};

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
