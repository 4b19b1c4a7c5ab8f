//! Algorithm 1: a sign-in message as of EIP-4361, signed as of EIP-191.

use super::keccak256;
use super::statement::Statement;
use crate::types::{Deployment, UnixTime};

/// The message that the wallet showed to its owner. It is never sent: both sides write it.
///
/// Only the domain, which is configured, and the encoded client id are free text, so nobody can
/// write lines of their own into it.
pub(super) fn message(statement: &Statement<'_>) -> String {
    let Deployment {
        domain,
        chain_id,
        contract,
    } = statement.deployment;
    let flags = match statement.flags {
        0 => String::new(),
        flags => format!("\n- urn:flytrap:flags:{flags:x}"),
    };
    format!(
        "{domain} wants you to sign in with your Ethereum account:\n\
         {wallet}\n\
         \n\
         Access an MQTT broker through FlyTrap.\n\
         \n\
         URI: mqtts://{domain}\n\
         Version: 1\n\
         Chain ID: {chain_id}\n\
         Nonce: {nonce}\n\
         Issued At: {issued}\n\
         Expiration Time: {expires}\n\
         Resources:\n\
         - urn:flytrap:{contract}\n\
         - urn:flytrap:client:{client}{flags}",
        wallet = statement.wallet,
        nonce = hex::encode(statement.nonce.as_bytes()),
        issued = UnixTime(statement.issued.into()),
        expires = UnixTime(statement.expires.into()),
        client = statement.scope.encoded(),
    )
}

/// EIP-191, version 0x45: what `personal_sign` signs.
pub(super) fn digest(message: &str) -> [u8; 32] {
    let length = message.len().to_string();
    keccak256(&[
        b"\x19Ethereum Signed Message:\n",
        length.as_bytes(),
        message.as_bytes(),
    ])
}
