//! Who signed.

use std::sync::LazyLock;

use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};

use super::refusal::Fault;
use super::statement::Statement;
use super::token::{Algorithm, Signature};
use super::{device, keccak256};
use crate::types::{DeviceKey, PublicKey, Wallet};

/// Half the order of P-256, rounded down: the largest s of a signature in low-s form.
const P256_HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

impl Statement<'_> {
    /// Whether `signature` over this statement is by its wallet, or by `device` where one is given.
    ///
    /// # Errors
    /// The [`Fault`] that keeps it from proving that.
    pub(super) fn check(
        &self,
        signature: &Signature,
        device: Option<&DeviceKey>,
    ) -> Result<(), Fault> {
        let proven = match (self.algorithm, device.map(|device| &device.key), signature) {
            (Algorithm::Eip191 | Algorithm::Eip712, None, Signature::Recoverable(bytes)) => {
                address(&recover(self.digest(), bytes)?) == self.wallet
            }
            (
                Algorithm::Device(_),
                Some(PublicKey::Secp256k1(key)),
                Signature::Recoverable(bytes),
            ) => recover(self.digest(), bytes)?.serialize() == *key,
            (
                Algorithm::Device(kind),
                Some(PublicKey::P256 { point, .. }),
                Signature::Plain(bytes),
            ) => {
                let [_, s] = halves(bytes);
                if s > P256_HALF_ORDER {
                    return Err(Fault::HighS);
                }
                // Takes the SHA-256 itself.
                let message = device::message(self, kind);
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(&message, bytes).is_ok()
            }
            (Algorithm::Device(_), Some(PublicKey::Ed25519(key)), Signature::Plain(bytes)) => {
                let key = UnparsedPublicKey::new(&ED25519, key);
                key.verify(&self.digest(), bytes).is_ok()
            }
            _ => return Err(Fault::OtherUser),
        };
        proven.then_some(()).ok_or(Fault::OtherSigner)
    }
}

/// r and s.
fn halves(signature: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    for (slot, byte) in halves.as_flattened_mut().iter_mut().zip(signature) {
        *slot = *byte;
    }
    halves
}

/// The key that made `signature` over `digest`.
fn recover(digest: [u8; 32], signature: &[u8; 65]) -> Result<secp256k1::PublicKey, Fault> {
    static CURVE: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

    let [compact @ .., v] = signature;
    let recovery = match v {
        0 | 27 => RecoveryId::Zero,
        1 | 28 => RecoveryId::One,
        _ => return Err(Fault::RecoveryId(*v)),
    };
    let signature =
        RecoverableSignature::from_compact(compact, recovery).map_err(|_| Fault::Signature)?;
    let as_given = signature.to_standard();
    let mut low = as_given;
    low.normalize_s();
    if low != as_given {
        return Err(Fault::HighS);
    }
    CURVE
        .recover_ecdsa(Message::from_digest(digest), &signature)
        .map_err(|_| Fault::Signature)
}

/// An address is the last 20 bytes of the hash of the point, without the leading 4.
fn address(key: &secp256k1::PublicKey) -> Wallet {
    let [_, point @ ..] = key.serialize_uncompressed();
    let [_, _, _, _, _, _, _, _, _, _, _, _, address @ ..] = keccak256(&[&point]);
    Wallet(address)
}
