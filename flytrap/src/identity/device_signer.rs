//! A device's private key. Signs with other code than verification uses but for Ed25519, where
//! there is one signature only.

use std::fmt;

use ethers_core::k256;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::der::pem::PemLabel as _;
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::device;
use super::token::Signature;
use crate::types::{KeyKind, PublicKey};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why a file holds no device key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyFile {
    /// It isn't what was expected.
    #[error("it is no private key in PKCS#8 PEM form (`BEGIN PRIVATE KEY`)")]
    Form,
    /// It is a key of another algorithm.
    #[error("its key is neither on secp256k1 nor on P-256, and not Ed25519")]
    Curve,
}

/// A device's private key, ready to sign.
pub struct DeviceSigner {
    public: PublicKey,
    secret: Secret,
}

enum Secret {
    Secp256k1(k256::ecdsa::SigningKey),
    P256(p256::ecdsa::SigningKey),
    Ed25519(Ed25519KeyPair),
}

impl DeviceSigner {
    /// The key with these 32 bytes: a number below the curve's order, or an Ed25519 seed. `None`
    /// if they are none.
    pub fn from_secret(kind: KeyKind, secret: &[u8; 32]) -> Option<Self> {
        let (secret, public) = match kind {
            KeyKind::Secp256k1 => {
                let key = k256::ecdsa::SigningKey::from_slice(secret).ok()?;
                let public = key.verifying_key().to_encoded_point(true);
                (Secret::Secp256k1(key), public.as_bytes().to_vec())
            }
            KeyKind::P256 => {
                let key = p256::ecdsa::SigningKey::from_slice(secret).ok()?;
                let public = key.verifying_key().to_encoded_point(true);
                (Secret::P256(key), public.as_bytes().to_vec())
            }
            KeyKind::Ed25519 => {
                let key = Ed25519KeyPair::from_seed_unchecked(secret).ok()?;
                let public = key.public_key().as_ref().to_vec();
                (Secret::Ed25519(key), public)
            }
        };
        let public = PublicKey::parse(kind, &public).ok()?;
        Some(Self { public, secret })
    }

    /// The key in a PKCS#8 file in PEM form, as `openssl genpkey` writes it: on one of the curves of
    /// [`KeyKind`], not encrypted.
    pub fn from_pem(text: &str) -> Result<Self, BadKeyFile> {
        let (label, document) = SecretDocument::from_pem(text).map_err(|_| BadKeyFile::Form)?;
        if label != PrivateKeyInfo::PEM_LABEL {
            return Err(BadKeyFile::Form);
        }
        let info: PrivateKeyInfo<'_> = document.decode_msg().map_err(|_| BadKeyFile::Form)?;
        let curve = info.algorithm.parameters_oid().ok();
        let (kind, secret) = match (info.algorithm.oid, curve) {
            (EC, Some(SECP256K1)) => {
                let key = k256::SecretKey::from_sec1_der(info.private_key);
                let key = key.map_err(|_| BadKeyFile::Form)?;
                (KeyKind::Secp256k1, key.to_bytes().into())
            }
            (EC, Some(P256)) => {
                let key = p256::SecretKey::from_sec1_der(info.private_key);
                let key = key.map_err(|_| BadKeyFile::Form)?;
                (KeyKind::P256, key.to_bytes().into())
            }
            (ED25519, None) => {
                // RFC 8410: an octet string within the octet string.
                let seed = info.private_key.strip_prefix(&[4, 32]);
                let seed = seed.and_then(|seed| seed.try_into().ok());
                (KeyKind::Ed25519, seed.ok_or(BadKeyFile::Form)?)
            }
            _ => return Err(BadKeyFile::Curve),
        };
        Self::from_secret(kind, &secret).ok_or(BadKeyFile::Form)
    }

    /// The key that its wallet registers.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs the SHA-256 of `message`; ECDSA in low-s form.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, p256::ecdsa::Error> {
        let digest = device::digest(message);
        Ok(match &self.secret {
            Secret::Secp256k1(key) => {
                let (signature, v) = key.sign_prehash_recoverable(&digest)?;
                let mut bytes = [0; 65];
                let parts = signature.to_bytes().into_iter().chain([v.to_byte()]);
                bytes
                    .iter_mut()
                    .zip(parts)
                    .for_each(|(slot, byte)| *slot = byte);
                Signature::Recoverable(bytes)
            }
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest)?;
                let low = signature.normalize_s().unwrap_or(signature);
                Signature::Plain(low.to_bytes().into())
            }
            Secret::Ed25519(key) => {
                let signature = key.sign(&digest);
                let bytes = signature.as_ref().try_into();
                Signature::Plain(bytes.map_err(p256::ecdsa::Error::from_source)?)
            }
        })
    }
}

/// Shows the public key only.
impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = hex::encode(self.public.as_bytes());
        write!(f, "DeviceSigner({}, {key})", self.public.kind())
    }
}
