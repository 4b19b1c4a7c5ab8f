//! The FT1 record: what stands, base64url-encoded, in the MQTT password.

use std::fmt;
use std::num::NonZeroU8;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::client::{ClientRule, ClientScope};
use super::refusal::Fault;
use super::{text, typed};
use crate::types::{Deployment, Wallet};

/// Passwords longer than this are refused unread.
pub const MAX_PASSWORD_BYTES: usize = 2048;

const VERSION: u8 = 1;

const ANY_CLIENT: u8 = 1;
const CLIENT_PREFIX: u8 = 1 << 1;
const SUBSCRIBE_ONLY: u8 = 1 << 2;
const SINGLE_USE: u8 = 1 << 3;
const KNOWN_FLAGS: u8 = ANY_CLIENT | CLIENT_PREFIX | SUBSCRIBE_ONLY | SINGLE_USE;

/// How the wallet signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 1: EIP-191 `personal_sign` over an EIP-4361 text.
    Eip191,
    /// 2: EIP-712 typed data.
    Eip712,
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

/// r, s and v of an ECDSA signature: 65 bytes that make the record a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 65]);

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
        let algorithm = match algorithm {
            1 => Algorithm::Eip191,
            2 => Algorithm::Eip712,
            3..=6 => return Err(Fault::UnsupportedAlgorithm(algorithm)),
            _ => return Err(Fault::UnknownAlgorithm(algorithm)),
        };
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
        let signature = rest.try_into().map_err(|_| Fault::Length)?;
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
        Ok(Self {
            claims,
            signature: Signature(signature),
        })
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
        record.extend(self.signature.0);
        URL_SAFE_NO_PAD.encode(record)
    }
}

impl Algorithm {
    /// The record's byte for it.
    pub fn code(self) -> u8 {
        match self {
            Self::Eip191 => 1,
            Self::Eip712 => 2,
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

    /// The 32 bytes that `wallet` must have signed for these claims to hold here.
    pub(super) fn digest(
        &self,
        wallet: Wallet,
        deployment: &Deployment,
        scope: ClientScope<'_>,
    ) -> [u8; 32] {
        match self.algorithm {
            Algorithm::Eip191 => text::digest(&text::message(self, wallet, deployment, scope)),
            Algorithm::Eip712 => typed::digest(self, wallet, deployment, scope),
        }
    }
}
