//! What a token says, for people and for programs.

use serde_json::json;

use crate::identity::{Algorithm, ClientRule, Proof, Token};
use crate::types::{KeyKind, UnixTime};

pub(super) fn json_of(token: &Token, proof: Option<Proof>) -> String {
    let claims = &token.claims;
    let (clients, prefix_bytes) = match claims.clients {
        ClientRule::Exact => ("exact", None),
        ClientRule::Any => ("any", None),
        ClientRule::Prefix(length) => ("prefix", Some(length)),
    };
    let inspected = json!({
        "version": 1,
        "alg": claims.algorithm.code(),
        "client_ids": clients,
        "prefix_bytes": prefix_bytes,
        "subscribe_only": claims.subscribe_only,
        "single_use": claims.single_use,
        "issued": claims.issued,
        "expires": claims.expires,
        "nonce": hex::encode(claims.nonce),
        "verified_wallet": proof.map(|proof| proof.wallet),
    });
    format!("{inspected:#}")
}

pub(super) fn text_of(token: &Token, proof: Option<Proof>) -> String {
    let claims = &token.claims;
    let algorithm = match claims.algorithm {
        Algorithm::Eip191 => "1, EIP-191 sign-in text",
        Algorithm::Eip712 => "2, EIP-712 typed data",
        Algorithm::Device(KeyKind::Secp256k1) => "4, device key on secp256k1",
        Algorithm::Device(KeyKind::P256) => "5, device key on P-256",
        Algorithm::Device(KeyKind::Ed25519) => "6, device key, Ed25519",
    };
    let clients = match claims.clients {
        ClientRule::Exact => "one, which the signature covers".to_owned(),
        ClientRule::Any => "any".to_owned(),
        ClientRule::Prefix(length) => format!("all that share their first {length} bytes"),
    };
    let mut flags = Vec::new();
    if claims.subscribe_only {
        flags.push("subscribe only");
    }
    if claims.single_use {
        flags.push("single use");
    }
    if flags.is_empty() {
        flags.push("none");
    }
    let signature = proof.map_or_else(
        || {
            "not checked: give --user-name, --client-id and --domain or --config; for a device key, \
             --public-key and --wallet as well"
                .to_owned()
        },
        |proof| match proof.device {
            None => format!("valid, by {}", proof.wallet),
            Some(id) => format!("valid, by the device key {id} of {}", proof.wallet),
        },
    );
    format!(
        "version    1\n\
         alg        {algorithm}\n\
         client ids {clients}\n\
         limits     {limits}\n\
         issued     {issued}\n\
         expires    {expires}\n\
         nonce      {nonce}\n\
         signature  {signature}",
        limits = flags.join(", "),
        issued = UnixTime(claims.issued.into()),
        expires = UnixTime(claims.expires.into()),
        nonce = hex::encode(claims.nonce),
    )
}
