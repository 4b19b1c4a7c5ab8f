//! Device keys in files, and what their wallets register.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::config::read_secret;
use crate::failure::{Failure, exit};
use crate::identity::{DeviceSigner, device_user_name};
use crate::types::{KeyId, KeyKind, Wallet};

/// The device key in a file: PKCS#8 in PEM form, or 64 hexadecimal digits if `kind` says what they
/// are.
pub(super) fn open(path: &Path, kind: Option<KeyKind>) -> Result<DeviceSigner, Failure> {
    let failed = || {
        let shown = path.display();
        Failure::new(
            exit::FAIL,
            format_args!("the device key {shown} can't be used"),
        )
    };
    let Some(kind) = kind else {
        let text = fs::read_to_string(path).map_err(|error| failed().cause(error))?;
        return DeviceSigner::from_pem(&text).map_err(|error| {
            failed().cause(error).help(
                "`openssl genpkey -algorithm ed25519` makes one; if the file holds 64 hexadecimal \
                 digits, say with --kind what they are",
            )
        });
    };
    let digits = read_secret(path).map_err(|error| failed().cause(error))?;
    let digits = digits.strip_prefix(b"0x").unwrap_or(&digits);
    let mut secret = [0; 32];
    hex::decode_to_slice(digits, &mut secret)
        .ok()
        .and_then(|()| DeviceSigner::from_secret(kind, &secret))
        .ok_or_else(|| {
            let help = "leave --kind away for a PEM file";
            failed()
                .cause(format_args!(
                    "it is not 64 hexadecimal digits of a {kind} key"
                ))
                .help(help)
        })
}

/// What the ledger is told of a key.
pub(super) fn shown(signer: &DeviceSigner, wallet: Wallet, as_json: bool) -> String {
    let key = signer.public_key();
    let (kind, public_key) = (key.kind(), hex::encode(key.as_bytes()));
    let id = KeyId::of(wallet, &key);
    let user_name = device_user_name(&id);
    if as_json {
        let shown = json!({
            "kind": kind.to_string(),
            "public_key": public_key,
            "wallet": wallet,
            "key_id": id.to_string(),
            "user_name": user_name,
        });
        return format!("{shown:#}");
    }
    format!(
        "kind       {kind}\n\
         public key {public_key}\n\
         key id     {id}\n\
         user name  {user_name}\n\
         \n\
         In a file ledger:\n  \
         [[device_key]]\n  \
         wallet = \"{wallet}\"\n  \
         kind = \"{kind}\"\n  \
         public_key = \"{public_key}\"\n  \
         until = \"forever\""
    )
}

pub(super) fn parse_kind(text: &str) -> Result<KeyKind, String> {
    let kind = KeyKind::ALL
        .into_iter()
        .find(|kind| kind.to_string() == text);
    kind.ok_or_else(|| "it is one of secp256k1, p256, ed25519".to_owned())
}
