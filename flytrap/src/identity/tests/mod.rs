//! The published vectors, and mutations of everything that is signed.

mod devices;
mod logins;
mod replays;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ethers_signers::LocalWallet;
use serde::Deserialize;

use super::*;
use crate::types::{
    Deployment, DeviceKey, KeyIdPrefix, KeyKind, PublicKey, UnixTime, Validity, Wallet,
};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Good>,
    must_be_refused: Vec<Bad>,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    deployment: VectorDeployment,
    alg: u8,
    client_id: String,
    flags: u8,
    prefix_length: usize,
    issued_at: u64,
    expires: u64,
    nonce: String,
    private_key: String,
    user_name: String,
    wallet: Wallet,
    signed_text: Option<String>,
    digest: String,
    password: String,
    signed_bytes: Option<String>,
    public_key: Option<String>,
    key_id: Option<String>,
}

#[derive(Deserialize)]
struct Bad {
    name: String,
    deployment: VectorDeployment,
    client_id: String,
    user_name: String,
    clock: u64,
    password: String,
}

#[derive(Deserialize)]
struct VectorDeployment {
    domain: String,
    chain_id: u64,
    contract: Wallet,
}

impl From<&VectorDeployment> for Deployment {
    fn from(vector: &VectorDeployment) -> Self {
        Self {
            domain: vector.domain.clone(),
            chain_id: vector.chain_id,
            contract: vector.contract,
        }
    }
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../docs/identity/ft1-vectors.json")).unwrap()
}

fn vector(name: &str) -> Good {
    vectors()
        .vectors
        .into_iter()
        .find(|v| v.name == name)
        .unwrap()
}

impl Good {
    fn login(&self) -> Login<'_> {
        Login {
            user_name: &self.user_name,
            password: self.password.as_bytes(),
            client_id: &self.client_id,
        }
    }

    /// Verified by the default rules, `after` seconds after issue, where its device is known.
    fn verify(&self, login: &Login<'_>, after: u64) -> Result<Proof, Refusal> {
        self.verify_at(login, &(&self.deployment).into(), after)
    }

    fn verify_at(
        &self,
        login: &Login<'_>,
        deployment: &Deployment,
        after: u64,
    ) -> Result<Proof, Refusal> {
        let device = self.device();
        let now = UnixTime(self.issued_at + after);
        with_devices(device.as_slice(), |known| {
            verify(login, deployment, &LoginRules::default(), known, now)
        })
    }

    /// The device key that signed, as its wallet registered it.
    fn device(&self) -> Option<DeviceKey> {
        let kind = KeyKind::from_code(self.alg)?;
        let bytes = hex::decode(self.public_key.as_ref()?).unwrap();
        Some(DeviceKey {
            wallet: self.wallet,
            key: PublicKey::parse(kind, &bytes).unwrap(),
            until: Validity::Forever,
            scope: None,
        })
    }

    fn stale(&self, why: Staleness) -> Refusal {
        Refusal::TokenStale {
            wallet: self.wallet,
            why,
        }
    }

    fn record(&self) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(&self.password).unwrap()
    }

    fn signer(&self) -> Signer {
        Signer(LocalWallet::from_bytes(&hex::decode(&self.private_key).unwrap()).unwrap())
    }
}

/// Calls `check` where these device keys are known, and no revocations.
fn with_devices<T>(devices: &[DeviceKey], check: impl FnOnce(&Known<'_>) -> T) -> T {
    let device_key = |prefix: &KeyIdPrefix| devices.iter().find(|key| key.id().prefix() == *prefix);
    check(&Known {
        device_key: &device_key,
        ..Known::NOTHING
    })
}

#[test]
fn the_good_vectors_verify() {
    let good = vectors().vectors;
    assert_eq!(good.len(), 10);
    for vector in good {
        let name = vector.name.as_str();
        let device = vector.device();
        let result = vector.verify(&vector.login(), 60);
        let token = Token::decode(vector.password.as_bytes()).unwrap();
        let proof = Proof {
            wallet: vector.wallet,
            device: device.as_ref().map(DeviceKey::id),
            issued: UnixTime(vector.issued_at),
            expires: UnixTime(vector.expires),
            token_expires: UnixTime(vector.expires),
            subscribe_only: vector.flags & 4 != 0,
            single_use: (vector.flags & 8 != 0).then_some(token.claims.nonce),
            bound: vector.flags % 4 == 0,
        };
        assert_eq!(result, Ok(proof), "{name}");
        assert_eq!(token.encode(), vector.password, "{name}");
        assert_eq!(token.claims.algorithm.code(), vector.alg, "{name}");
        assert_eq!(hex::encode(token.claims.nonce), vector.nonce, "{name}");
        let deployment = (&vector.deployment).into();
        let scope = token.claims.clients.scope(&vector.client_id).unwrap();
        let statement = token.claims.statement(vector.wallet, &deployment, scope);
        if let Some(signed_text) = &vector.signed_text {
            assert_eq!(&text::message(&statement), signed_text, "{name}");
        }
        assert_eq!(hex::encode(statement.digest()), vector.digest, "{name}");
        if let (Some(device), Some(signed_bytes)) = (device, &vector.signed_bytes) {
            let message = device::message(&statement, device.key.kind());
            assert_eq!(&hex::encode(message), signed_bytes, "{name}");
            let id = device.id();
            assert_eq!(hex::encode(id.0), vector.key_id.unwrap(), "{name}");
            assert_eq!(device_user_name(&id), vector.user_name, "{name}");
        }
    }
}

#[test]
fn the_published_example_is_a_vector() {
    let page = include_str!("../../../../docs/identity/ft1.md");
    let signed_text = vector("eip191 prefix").signed_text.unwrap();
    assert!(page.contains(&format!("```\n{signed_text}\n```")));
}

#[test]
fn the_bad_vectors_are_refused_for_their_reason() {
    let expected: [(&str, Refusal); 21] = [
        ("other client id", Fault::OtherSigner.into()),
        ("other gateway", Fault::OtherSigner.into()),
        ("other chain", Fault::OtherSigner.into()),
        ("other contract", Fault::OtherSigner.into()),
        (
            "expired",
            vector("eip191 plain").stale(Staleness::Expired {
                expires: UnixTime(1_767_312_000),
            }),
        ),
        (
            "from the future",
            vector("eip191 plain").stale(Staleness::NotYetValid {
                issued: UnixTime(1_767_225_600),
            }),
        ),
        ("other user name", Fault::OtherSigner.into()),
        ("version 2", Fault::Version(2).into()),
        ("alg 9", Fault::UnknownAlgorithm(9).into()),
        ("reserved flag", Fault::Flags(16).into()),
        ("high s", Fault::HighS.into()),
        ("v 29", Fault::RecoveryId(29).into()),
        ("trailing byte", Fault::Length.into()),
        ("short", Fault::Length.into()),
        ("padding", Fault::Base64.into()),
        ("standard alphabet", Fault::Base64.into()),
        ("zero signature", Fault::Signature.into()),
        ("empty", Fault::Length.into()),
        ("text testing", Fault::Version(b't').into()),
        ("any and prefix", Fault::Flags(3).into()),
        ("flag added", Fault::OtherSigner.into()),
    ];
    let bad = vectors().must_be_refused;
    assert_eq!(bad.len(), expected.len());
    for (vector, (name, refusal)) in bad.iter().zip(expected) {
        assert_eq!(vector.name, name);
        let login = Login {
            user_name: &vector.user_name,
            password: vector.password.as_bytes(),
            client_id: &vector.client_id,
        };
        let deployment = (&vector.deployment).into();
        let now = UnixTime(vector.clock);
        let result = verify(
            &login,
            &deployment,
            &LoginRules::default(),
            &Known::NOTHING,
            now,
        );
        assert_eq!(result, Err(refusal), "{name}");
    }
}

/// Every bit of the record is signed or breaks the signature.
#[test]
fn no_bit_of_the_record_can_be_flipped() {
    for vector in vectors().vectors {
        let name = &vector.name;
        let record = vector.record();
        for bit in 0..record.len() * 8 {
            let mut mutated = record.clone();
            mutated[bit / 8] ^= 1 << (bit % 8);
            let password = URL_SAFE_NO_PAD.encode(mutated);
            let login = Login {
                password: password.as_bytes(),
                ..vector.login()
            };
            let result = vector.verify(&login, 60);
            assert!(
                matches!(result, Err(Refusal::AuthFailed(_))),
                "{name} bit {bit}: {result:?}"
            );
        }
    }
}

/// So is every bit of what the gateway adds, and of the user name.
#[test]
fn no_bit_of_the_surroundings_can_be_flipped() {
    for vector in vectors().vectors {
        let name = &vector.name;
        let deployment = Deployment::from(&vector.deployment);
        let check = |user_name: &str, client_id: &str, deployment: &Deployment, what: &str| {
            let login = Login {
                user_name,
                client_id,
                ..vector.login()
            };
            let result = vector.verify_at(&login, deployment, 60);
            let refused = matches!(
                result,
                Err(Refusal::AuthFailed(
                    Fault::OtherSigner | Fault::Signature | Fault::UnknownDevice | Fault::UserName
                ))
            );
            assert!(refused, "{name}: {what}: {result:?}");
        };
        let (user_name, client_id) = (&vector.user_name, &vector.client_id);
        for bit in 0..160 {
            let mut other = deployment.clone();
            other.contract.0[bit / 8] ^= 1 << (bit % 8);
            check(user_name, client_id, &other, "contract");
        }
        for bit in 0..64 {
            let other = Deployment {
                chain_id: deployment.chain_id ^ 1 << bit,
                ..deployment.clone()
            };
            check(user_name, client_id, &other, "chain");
        }
        for domain in flips(&deployment.domain) {
            let other = Deployment {
                domain,
                ..deployment.clone()
            };
            check(user_name, client_id, &other, "domain");
        }
        for user_name in flipped_users(&vector) {
            check(&user_name, client_id, &deployment, "user name");
        }
        // What is signed of it: all, its prefix, nothing.
        let signed = match vector.flags % 4 {
            0 => client_id.len(),
            2 => vector.prefix_length,
            _ => 0,
        };
        for other in flips(client_id) {
            if other.get(..signed) != client_id.get(..signed) {
                check(user_name, &other, &deployment, "client id");
            }
        }
    }
}

/// The user names whose wallet or key id differs in one bit.
fn flipped_users(vector: &Good) -> Vec<String> {
    let Some(device) = vector.device() else {
        return (0..160)
            .map(|bit| {
                let mut wallet = vector.wallet;
                wallet.0[bit / 8] ^= 1 << (bit % 8);
                wallet.to_string()
            })
            .collect();
    };
    (0..128)
        .map(|bit| {
            let mut id = device.id();
            id.0[bit / 8] ^= 1 << (bit % 8);
            device_user_name(&id)
        })
        .collect()
}

/// All texts that differ from a text in one bit.
fn flips(text: &str) -> Vec<String> {
    let flips: Vec<_> = (0..text.len() * 8)
        .filter_map(|bit| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            String::from_utf8(bytes).ok()
        })
        .collect();
    assert!(flips.len() >= text.len() * 4, "{text}");
    flips
}
