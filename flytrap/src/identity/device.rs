//! Algorithms 4 to 6: what a device key signs. No text and no keccak, so that a small device can.

use sha2::{Digest as _, Sha256};

use super::client::ClientScope;
use super::statement::{Nonce, Statement};
use crate::types::KeyKind;

/// The bytes whose SHA-256 is signed. Integers are big endian.
pub(super) fn message(statement: &Statement<'_>, kind: KeyKind) -> Vec<u8> {
    let domain = statement.deployment.domain.as_bytes();
    let client = match statement.scope {
        ClientScope::Exact(id) | ClientScope::Prefix(id) => id.as_bytes(),
        ClientScope::Any => b"",
    };
    // A domain name is checked to have at most 253 bytes, and no MQTT text has more than 65,535.
    let domain_length = u8::try_from(domain.len()).unwrap_or(u8::MAX);
    let client_length = u16::try_from(client.len()).unwrap_or(u16::MAX);
    let tag = match statement.nonce {
        Nonce::Token(_) => b"FTD1",
    };
    let parts: [&[u8]; 13] = [
        tag,
        &[kind.code()],
        &statement.deployment.chain_id.to_be_bytes(),
        &statement.deployment.contract.0,
        &statement.wallet.0,
        &[domain_length],
        domain,
        &client_length.to_be_bytes(),
        client,
        &[statement.flags],
        &statement.issued.to_be_bytes(),
        &statement.expires.to_be_bytes(),
        statement.nonce.as_bytes(),
    ];
    parts.concat()
}

/// SHA-256.
pub(super) fn digest(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}
