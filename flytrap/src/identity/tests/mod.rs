//! The published vectors, and mutations of everything that is signed.

mod logins;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ethers_signers::LocalWallet;
use serde::Deserialize;

use super::*;
use crate::types::{Deployment, UnixTime, Wallet};

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
    issued_at: u64,
    expires: u64,
    nonce: String,
    private_key: String,
    user_name: String,
    wallet: Wallet,
    signed_text: Option<String>,
    digest: String,
    password: String,
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

    /// Verified by the default rules, `after` seconds after issue.
    fn verify(&self, login: &Login<'_>, after: u64) -> Result<Proof, Refusal> {
        let now = UnixTime(self.issued_at + after);
        verify(
            login,
            &(&self.deployment).into(),
            &LoginRules::default(),
            |_| None,
            now,
        )
    }

    fn record(&self) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(&self.password).unwrap()
    }

    fn signer(&self) -> Signer {
        Signer(LocalWallet::from_bytes(&hex::decode(&self.private_key).unwrap()).unwrap())
    }
}

/// Algorithms that this build doesn't verify. Once it does, these must verify.
const UNSUPPORTED: [&str; 3] = ["device secp256k1", "device p256", "device ed25519 any"];
/// Signed, but for single use. Once nonces are remembered, these must verify.
const SINGLE_USE: [&str; 1] = ["eip191 subscribe only, once"];

#[test]
fn the_good_vectors_verify() {
    let mut verified = 0;
    for vector in vectors().vectors {
        let name = vector.name.as_str();
        let result = vector.verify(&vector.login(), 60);
        if UNSUPPORTED.contains(&name) {
            assert!(
                matches!(result, Err(Refusal::AuthFailed(Fault::DeviceKey))),
                "{name}"
            );
            let with_wallet = Login {
                user_name: &vector.wallet.to_string(),
                ..vector.login()
            };
            let fault = Fault::UnsupportedAlgorithm(vector.alg);
            assert_eq!(vector.verify(&with_wallet, 60), Err(fault.into()), "{name}");
            continue;
        }
        if SINGLE_USE.contains(&name) {
            assert_eq!(result, Err(Staleness::SingleUse.into()), "{name}");
        } else {
            let proof = Proof {
                wallet: vector.wallet,
                issued: UnixTime(vector.issued_at),
                expires: UnixTime(vector.expires),
                subscribe_only: vector.flags & 4 != 0,
                bound: vector.flags % 4 == 0,
            };
            assert_eq!(result, Ok(proof), "{name}");
        }
        let token = Token::decode(vector.password.as_bytes()).unwrap();
        assert_eq!(token.encode(), vector.password, "{name}");
        assert_eq!(hex::encode(token.claims.nonce), vector.nonce, "{name}");
        let deployment = (&vector.deployment).into();
        let scope = token.claims.clients.scope(&vector.client_id).unwrap();
        if let Some(signed_text) = &vector.signed_text {
            let message = text::message(&token.claims, vector.wallet, &deployment, scope);
            assert_eq!(&message, signed_text, "{name}");
        }
        let digest = token.claims.digest(vector.wallet, &deployment, scope);
        assert_eq!(hex::encode(digest), vector.digest, "{name}");
        verified += 1;
    }
    assert_eq!(verified, 7);
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
            Staleness::Expired {
                expires: UnixTime(1_767_312_000),
            }
            .into(),
        ),
        (
            "from the future",
            Staleness::NotYetValid {
                issued: UnixTime(1_767_225_600),
            }
            .into(),
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
        let result = verify(&login, &deployment, &LoginRules::default(), |_| None, now);
        assert_eq!(result, Err(refusal), "{name}");
    }
}

/// Every bit of the record is signed or breaks the signature.
#[test]
fn no_bit_of_the_record_can_be_flipped() {
    for name in [
        "eip191 plain",
        "eip191 prefix",
        "eip712 plain",
        "eip712 prefix",
    ] {
        let vector = vector(name);
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

/// So is every bit of what the gateway adds.
#[test]
fn no_bit_of_the_surroundings_can_be_flipped() {
    for name in ["eip191 plain", "eip712 plain"] {
        let vector = vector(name);
        let deployment = Deployment::from(&vector.deployment);
        let check = |user_name: &str, client_id: &str, deployment: &Deployment, what: &str| {
            let login = Login {
                user_name,
                client_id,
                ..vector.login()
            };
            let now = UnixTime(vector.issued_at);
            let result = verify(&login, deployment, &LoginRules::default(), |_| None, now);
            assert_eq!(result, Err(Fault::OtherSigner.into()), "{name}: {what}");
        };
        for bit in 0..160 {
            let mut wallet = vector.wallet;
            wallet.0[bit / 8] ^= 1 << (bit % 8);
            check(
                &wallet.to_string(),
                &vector.client_id,
                &deployment,
                "wallet",
            );
            let mut other = deployment.clone();
            other.contract.0[bit / 8] ^= 1 << (bit % 8);
            check(&vector.user_name, &vector.client_id, &other, "contract");
        }
        for bit in 0..64 {
            let chain_id = deployment.chain_id ^ 1 << bit;
            let other = Deployment {
                chain_id,
                ..deployment.clone()
            };
            check(&vector.user_name, &vector.client_id, &other, "chain");
        }
        for client_id in flips(&vector.client_id) {
            check(&vector.user_name, &client_id, &deployment, "client id");
        }
        for domain in flips(&deployment.domain) {
            let other = Deployment {
                domain,
                ..deployment.clone()
            };
            check(&vector.user_name, &vector.client_id, &other, "domain");
        }
    }
}

/// All texts that differ from an ASCII text in one bit and are still texts.
fn flips(text: &str) -> Vec<String> {
    let flips: Vec<_> = (0..text.len() * 8)
        .filter_map(|bit| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            String::from_utf8(bytes).ok()
        })
        .collect();
    assert_eq!(flips.len(), text.len() * 7);
    flips
}
