//! The FT1 record: what stands, base64url-encoded, in the MQTT password.

use std::fmt;
use std::num::NonZeroU8;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::client::{ClientRule, ClientScope};
use super::refusal::Fault;
use super::statement::{Nonce, Statement};
use crate::types::{Deployment, KeyKind, Wallet};

/// Passwords longer than this are refused unread.
pub const MAX_PASSWORD_BYTES: usize = 2048;

const VERSION: u8 = 1;

const ANY_CLIENT: u8 = 1;
const CLIENT_PREFIX: u8 = 1 << 1;
const SUBSCRIBE_ONLY: u8 = 1 << 2;
const SINGLE_USE: u8 = 1 << 3;
const KNOWN_FLAGS: u8 = ANY_CLIENT | CLIENT_PREFIX | SUBSCRIBE_ONLY | SINGLE_USE;

/// How it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 1: by the wallet, EIP-191 `personal_sign` over an EIP-4361 text.
    Eip191,
    /// 2: by the wallet, EIP-712 typed data.
    Eip712,
    /// 4, 5 and 6: by a device key of this kind.
    Device(KeyKind),
}

/// What the record says, all of it covered by the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// Which client ids it is for.
    pub clients: ClientRule,
    /// The session may subscribe but not publish.
    pub subscribe_only: bool,
    /// It may log in once.
    pub single_use: bool,
    /// Unix seconds.
    pub issued: u32,
    /// Unix seconds, the first at which it isn't valid any more; later than `issued`.
    pub expires: u32,
    /// Random; tells tokens of the same second apart.
    pub nonce: [u8; 8],
}

/// The bytes that make the record a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// r, s and v over secp256k1: algorithms 1, 2 and 4.
    Recoverable([u8; 65]),
    /// r and s over P-256, or an Ed25519 signature: algorithms 5 and 6.
    Plain([u8; 64]),
}

impl Signature {
    /// Reads the signature of that algorithm.
    ///
    /// # Errors
    /// [`Fault::Length`].
    pub(super) fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, Fault> {
        match algorithm {
            Algorithm::Eip191 | Algorithm::Eip712 | Algorithm::Device(KeyKind::Secp256k1) => {
                bytes.try_into().map(Self::Recoverable)
            }
            Algorithm::Device(KeyKind::P256 | KeyKind::Ed25519) => {
                bytes.try_into().map(Self::Plain)
            }
        }
        .map_err(|_| Fault::Length)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Recoverable(bytes) => bytes,
            Self::Plain(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(secret)")
    }
}

/// A record that is well formed. Its signature is not yet verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it says.
    pub claims: Claims,
    /// By whom, to be found out.
    pub signature: Signature,
}

impl Token {
    /// Reads a password.
    ///
    /// # Errors
    /// The [`Fault`] that makes it no token.
    pub fn decode(password: &[u8]) -> Result<Self, Fault> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(Fault::PasswordTooLong);
        }
        let record = URL_SAFE_NO_PAD
            .decode(password)
            .map_err(|_| Fault::Base64)?;
        let (&[version, algorithm, flags], rest) =
            record.split_first_chunk().ok_or(Fault::Length)?;
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        let algorithm = Algorithm::from_code(algorithm)?;
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Fault::Flags(flags));
        }
        let (issued, rest) = rest.split_first_chunk().ok_or(Fault::Length)?;
        let (expires, rest) = rest.split_first_chunk().ok_or(Fault::Length)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(Fault::Length)?;
        let (clients, rest) = match (flags & ANY_CLIENT != 0, flags & CLIENT_PREFIX != 0) {
            (true, true) => return Err(Fault::Flags(flags)),
            (true, false) => (ClientRule::Any, rest),
            (false, false) => (ClientRule::Exact, rest),
            (false, true) => {
                let (&length, rest) = rest.split_first().ok_or(Fault::Length)?;
                let length = NonZeroU8::new(length).ok_or(Fault::ClientIdPrefix)?;
                (ClientRule::Prefix(length), rest)
            }
        };
        let signature = Signature::parse(algorithm, rest)?;
        let claims = Claims {
            algorithm,
            clients,
            subscribe_only: flags & SUBSCRIBE_ONLY != 0,
            single_use: flags & SINGLE_USE != 0,
            issued: u32::from_be_bytes(*issued),
            expires: u32::from_be_bytes(*expires),
            nonce: *nonce,
        };
        if claims.expires <= claims.issued {
            return Err(Fault::Times);
        }
        Ok(Self { claims, signature })
    }

    /// The password that carries this record. It is a bearer secret.
    pub fn encode(&self) -> String {
        let claims = &self.claims;
        let mut record = vec![VERSION, claims.algorithm.code(), claims.flags()];
        record.extend(claims.issued.to_be_bytes());
        record.extend(claims.expires.to_be_bytes());
        record.extend(claims.nonce);
        if let ClientRule::Prefix(length) = claims.clients {
            record.push(length.get());
        }
        record.extend(self.signature.as_bytes());
        URL_SAFE_NO_PAD.encode(record)
    }
}

impl Algorithm {
    /// The record's byte for it.
    pub fn code(self) -> u8 {
        match self {
            Self::Eip191 => 1,
            Self::Eip712 => 2,
            Self::Device(kind) => kind.code(),
        }
    }

    pub(super) fn from_code(code: u8) -> Result<Self, Fault> {
        match code {
            1 => Ok(Self::Eip191),
            2 => Ok(Self::Eip712),
            3 => Err(Fault::UnsupportedAlgorithm(code)),
            _ => KeyKind::from_code(code)
                .map(Self::Device)
                .ok_or(Fault::UnknownAlgorithm(code)),
        }
    }
}

impl Claims {
    /// The record's flag byte.
    pub fn flags(&self) -> u8 {
        let clients = match self.clients {
            ClientRule::Exact => 0,
            ClientRule::Any => ANY_CLIENT,
            ClientRule::Prefix(_) => CLIENT_PREFIX,
        };
        let subscribe_only = if self.subscribe_only {
            SUBSCRIBE_ONLY
        } else {
            0
        };
        let single_use = if self.single_use { SINGLE_USE } else { 0 };
        clients | subscribe_only | single_use
    }

    /// What must have been signed, for `wallet`, for these claims to hold here.
    pub(super) fn statement<'a>(
        &self,
        wallet: Wallet,
        deployment: &'a Deployment,
        scope: ClientScope<'a>,
    ) -> Statement<'a> {
        Statement {
            algorithm: self.algorithm,
            wallet,
            deployment,
            scope,
            flags: self.flags(),
            issued: self.issued,
            expires: self.expires,
            nonce: Nonce::Token(self.nonce),
        }
    }
}
