//! Device keys: keys that act for a wallet without being its own.

use std::fmt;

use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use tiny_keccak::{Hasher as _, Keccak};

use super::{SpaceName, Validity, Wallet};

/// Which curve a device key is on. Its number is that of the contract and of the login token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// 4: ECDSA over secp256k1, Ethereum's own curve.
    Secp256k1,
    /// 5: ECDSA over P-256, which secure elements have.
    P256,
    /// 6: Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyKind {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Secp256k1, Self::P256, Self::Ed25519];

    /// Its number: 4, 5 or 6.
    pub const fn code(self) -> u8 {
        match self {
            Self::Secp256k1 => 4,
            Self::P256 => 5,
            Self::Ed25519 => 6,
        }
    }

    /// The kind of a number; `None` if it is another one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// As ledgers and commands write it.
impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secp256k1 => "secp256k1",
            Self::P256 => "p256",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// Why bytes are no public key of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPublicKey {
    /// Another length.
    #[error("a public key of the kind {kind} has {expected} bytes, this one has {found}")]
    Length {
        /// What it was said to be.
        kind: KeyKind,
        /// 33, the compressed form of SEC 1, or 32 for Ed25519.
        expected: usize,
        /// What it has.
        found: usize,
    },
    /// No point of the curve has this form.
    #[error("these bytes are no compressed point of the curve {0}: begin with 02 or 03")]
    Point(KeyKind),
}

/// A device's public key, a point of its curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// Compressed.
    Secp256k1([u8; 33]),
    /// P-256.
    P256 {
        /// Compressed: how ledgers know it.
        compressed: [u8; 33],
        /// Uncompressed, with its leading 4: how signatures are verified. The root that it takes
        /// is drawn here, once, and not at every login.
        point: [u8; 65],
    },
    /// As RFC 8032 encodes it. Whether it is a point shows when a signature is verified.
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// Reads a key as ledgers have it: 33 bytes compressed (SEC 1, 2.3.3), or 32 bytes for Ed25519.
    pub fn parse(kind: KeyKind, bytes: &[u8]) -> Result<Self, BadPublicKey> {
        let length = |expected| BadPublicKey::Length {
            kind,
            expected,
            found: bytes.len(),
        };
        if kind == KeyKind::Ed25519 {
            return Ok(Self::Ed25519(bytes.try_into().map_err(|_| length(32))?));
        }
        let compressed: [u8; 33] = bytes.try_into().map_err(|_| length(33))?;
        let no_point = BadPublicKey::Point(kind);
        // SEC 1 has a form 05 too, under which a key would have a second id.
        if !matches!(compressed, [2 | 3, ..]) {
            return Err(no_point);
        }
        if kind == KeyKind::Secp256k1 {
            secp256k1::PublicKey::from_byte_array_compressed(compressed).map_err(|_| no_point)?;
            return Ok(Self::Secp256k1(compressed));
        }
        let point = p256::PublicKey::from_sec1_bytes(&compressed).map_err(|_| no_point)?;
        let point = point.to_encoded_point(false);
        let point = point.as_bytes().try_into().map_err(|_| no_point)?;
        Ok(Self::P256 { compressed, point })
    }

    /// Its curve.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Secp256k1(_) => KeyKind::Secp256k1,
            Self::P256 { .. } => KeyKind::P256,
            Self::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// As ledgers have it.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Secp256k1(bytes)
            | Self::P256 {
                compressed: bytes, ..
            } => bytes,
            Self::Ed25519(bytes) => bytes,
        }
    }
}

/// The first half of a [`KeyId`]: what a device logs in with.
pub type KeyIdPrefix = [u8; 16];

/// Names one key of one wallet: keccak256 of kind (1 byte), wallet (20) and public key. Who lists
/// somebody else's key gets another id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 32]);

impl KeyId {
    /// The id of `key` as a device of `wallet`.
    pub fn of(wallet: Wallet, key: &PublicKey) -> Self {
        let mut keccak = Keccak::v256();
        keccak.update(&[key.kind().code()]);
        keccak.update(&wallet.0);
        keccak.update(key.as_bytes());
        let mut id = [0; 32];
        keccak.finalize(&mut id);
        Self(id)
    }

    /// Its first half.
    pub fn prefix(&self) -> KeyIdPrefix {
        let [prefix @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.0;
        prefix
    }
}

/// `0x` and 64 hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that acts for a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    /// For whom.
    pub wallet: Wallet,
    /// The key.
    pub key: PublicKey,
    /// How long.
    pub until: Validity,
    /// The topic space that it is confined to; `None`: everywhere that its wallet may act.
    pub scope: Option<SpaceName>,
}

impl DeviceKey {
    /// Its name.
    pub fn id(&self) -> KeyId {
        KeyId::of(self.wallet, &self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generators of the curves, as SEC 2 lists them.
    const K256: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    const P256: &str = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    /// The same without the sign.
    const X: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    const P256_X: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";

    fn parse(kind: KeyKind, text: &str) -> Result<PublicKey, BadPublicKey> {
        PublicKey::parse(kind, &hex::decode(text).unwrap())
    }

    #[test]
    fn keys_are_points_of_their_curve() {
        for (kind, text) in [
            (KeyKind::Secp256k1, K256),
            (KeyKind::P256, P256),
            (KeyKind::Ed25519, X),
        ] {
            let key = parse(kind, text).unwrap();
            assert_eq!(
                (key.kind(), hex::encode(key.as_bytes())),
                (kind, text.to_owned())
            );
            assert_eq!(KeyKind::from_code(kind.code()), Some(kind));
        }
        let PublicKey::P256 { point, .. } = parse(KeyKind::P256, P256).unwrap() else {
            panic!("another kind");
        };
        let uncompressed = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                            4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        assert_eq!(hex::encode(point), uncompressed);
    }

    #[test]
    fn other_bytes_are_no_keys() {
        for kind in [KeyKind::Secp256k1, KeyKind::P256] {
            for text in [
                &format!("04{X}"),
                &format!("00{X}"),
                &format!("05{P256_X}"),
                &format!("02{}", "ff".repeat(32)),
                &format!("02{}05", "00".repeat(31)),
            ] {
                let parsed = parse(kind, text);
                let point = Err(BadPublicKey::Point(kind));
                // x = 5 is on P-256 and not on secp256k1.
                assert!(
                    parsed == point || (kind == KeyKind::P256 && text.ends_with("05")),
                    "{text}"
                );
            }
            assert!(matches!(
                parse(kind, "02"),
                Err(BadPublicKey::Length { found: 1, .. })
            ));
        }
        let error = parse(KeyKind::Ed25519, K256).unwrap_err().to_string();
        assert!(error.contains("32 bytes, this one has 33"), "{error}");
        assert_eq!(KeyKind::from_code(3), None);
        assert_eq!(KeyKind::from_code(7), None);
    }

    #[test]
    fn an_id_names_one_key_of_one_wallet() {
        let (k256, ed25519) = (
            parse(KeyKind::Secp256k1, K256).unwrap(),
            parse(KeyKind::Ed25519, X).unwrap(),
        );
        let ids = [
            KeyId::of(Wallet([1; 20]), &k256),
            KeyId::of(Wallet([2; 20]), &k256),
            KeyId::of(Wallet([1; 20]), &ed25519),
        ];
        assert_ne!(ids[0], ids[1]);
        assert_ne!(ids[0], ids[2]);
        assert_eq!(ids[0].prefix(), ids[0].0[..16]);
    }
}
