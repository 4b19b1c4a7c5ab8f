//! The login path over any user name, client id and password: nothing panics, and nobody gets in
//! but by the tokens that the published vectors hold.
//!
//! An input is a byte with the length of the user name, the user name, the same for the client id,
//! and the password: as it is, and as a record that is put into base64url.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flytrap::identity::{Known, Login, LoginRules, Token, verify};
use flytrap::types::{
    Deployment, DeviceKey, KeyIdPrefix, KeyKind, PublicKey, UnixTime, Validity, Wallet,
};
use libfuzzer_sys::fuzz_target;

/// What the vectors are for, and by whom.
struct Vectors {
    deployments: Vec<Deployment>,
    wallets: Vec<Wallet>,
    devices: Vec<DeviceKey>,
    /// When all of them are valid.
    now: UnixTime,
}

static VECTORS: LazyLock<Vectors> = LazyLock::new(|| {
    let text = include_str!("../../docs/identity/ft1-vectors.json");
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    let good = all["vectors"].as_array().unwrap();
    let wallet = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
    let device = |vector: &serde_json::Value| {
        let bytes = hex::decode(vector["public_key"].as_str()?).unwrap();
        let kind = KeyKind::from_code(vector["alg"].as_u64().unwrap() as u8).unwrap();
        Some(DeviceKey {
            wallet: wallet(&vector["wallet"]),
            key: PublicKey::parse(kind, &bytes).unwrap(),
            until: Validity::Forever,
            scope: None,
        })
    };
    let mut deployments: Vec<Deployment> = Vec::new();
    for one in good.iter().map(|vector| &vector["deployment"]) {
        let deployment = Deployment {
            domain: one["domain"].as_str().unwrap().to_owned(),
            chain_id: one["chain_id"].as_u64().unwrap(),
            contract: wallet(&one["contract"]),
        };
        if !deployments.contains(&deployment) {
            deployments.push(deployment);
        }
    }
    Vectors {
        deployments,
        wallets: good
            .iter()
            .map(|vector| wallet(&vector["wallet"]))
            .collect(),
        devices: good.iter().filter_map(device).collect(),
        now: UnixTime(good[0]["issued_at"].as_u64().unwrap() + 60),
    }
});

fuzz_target!(|bytes: &[u8]| {
    let Some((user_name, rest)) = counted(bytes) else {
        return;
    };
    let Some((client_id, password)) = counted(rest) else {
        return;
    };
    for password in [password, URL_SAFE_NO_PAD.encode(password).as_bytes()] {
        let login = Login {
            user_name,
            password,
            client_id,
        };
        attempt(&login);
    }
});

fn counted(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn attempt(login: &Login<'_>) {
    let vectors = &*VECTORS;
    let device_key = |prefix: &KeyIdPrefix| {
        vectors
            .devices
            .iter()
            .find(|device| device.id().prefix() == *prefix)
    };
    let known = Known {
        device_key: &device_key,
        ..Known::NOTHING
    };
    let rules = LoginRules::default();
    for deployment in &vectors.deployments {
        let Ok(proof) = verify(login, deployment, &rules, &known, vectors.now) else {
            continue;
        };
        assert!(vectors.wallets.contains(&proof.wallet));
        // One record, one password.
        let token = Token::decode(login.password).unwrap();
        assert_eq!(token.encode().as_bytes(), login.password);
    }
}
