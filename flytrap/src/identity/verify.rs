//! Verification of a login.

use std::fmt;

use super::client::ClientRule;
use super::refusal::{Fault, Refusal, Staleness};
use super::token::{Algorithm, Token};
use super::user::Claimed;
use crate::types::{Deployment, DeviceKey, KeyId, KeyIdPrefix, UnixTime, Wallet};

/// What a CONNECT brings.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// MQTT user name: the wallet, or the device key.
    pub user_name: &'a str,
    /// MQTT password: the token.
    pub password: &'a [u8],
    /// MQTT client id as the client sent it; may be empty.
    pub client_id: &'a str,
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user_name", &self.user_name)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Which times a gateway accepts, all in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRules {
    /// How far a token's issue may lie in the future.
    pub max_skew: u64,
    /// Longest lifetime of a token for any client id or a prefix.
    pub max_lifetime: u64,
    /// Longest lifetime of a token for one exact client id.
    pub max_lifetime_bound: u64,
}

/// Two minutes of skew; tokens live a day.
impl Default for LoginRules {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            max_skew: 120,
            max_lifetime: DAY,
            max_lifetime_bound: DAY,
        }
    }
}

/// What the gateway knows of wallets. Both are asked only where it matters: a key by the name that
/// somebody logs in with, a revocation once a wallet has proved itself.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The device key whose id begins so.
    pub device_key: &'a dyn Fn(&KeyIdPrefix) -> Option<&'a DeviceKey>,
    /// Up to when a wallet revoked its tokens, those of its devices included.
    pub revoked_before: &'a dyn Fn(Wallet) -> Option<UnixTime>,
}

impl Known<'_> {
    /// No device keys and no revocations.
    pub const NOTHING: Self = Self {
        device_key: &|_| None,
        revoked_before: &|_| None,
    };
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

/// What a login proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Who signed, or for whom its device key did.
    pub wallet: Wallet,
    /// The device key that signed; `None`: the wallet's own.
    pub device: Option<KeyId>,
    /// When the token was issued.
    pub issued: UnixTime,
    /// From this second on neither the token nor its sessions are valid: its own end, or that of
    /// its device key if it comes first.
    pub expires: UnixTime,
    /// When the token alone would expire.
    pub token_expires: UnixTime,
    /// The session may not publish.
    pub subscribe_only: bool,
    /// Its nonce, if the token is for single use: whoever lets it in must use it up first.
    pub single_use: Option<[u8; 8]>,
    /// The token is for this exact client id, not for a prefix or for any.
    pub bound: bool,
}

/// Verifies a login at time `now`.
///
/// # Errors
/// [`Refusal::AuthFailed`] if nothing is proven, [`Refusal::TokenStale`] if the token is signed as
/// it must be but can't be used.
pub fn verify(
    login: &Login<'_>,
    deployment: &Deployment,
    rules: &LoginRules,
    known: &Known<'_>,
    now: UnixTime,
) -> Result<Proof, Refusal> {
    let claimed = Claimed::parse(login.user_name)?;
    let Token { claims, signature } = Token::decode(login.password)?;
    let scope = claims.clients.scope(login.client_id)?;
    let signer = Signatory::find(claimed, claims.algorithm, known)?;
    let wallet = signer.wallet;
    claims
        .statement(wallet, deployment, scope)
        .check(&signature, signer.device)?;
    let proof = Proof {
        wallet,
        device: signer.device.map(DeviceKey::id),
        issued: UnixTime(claims.issued.into()),
        expires: UnixTime(claims.expires.into()),
        token_expires: UnixTime(claims.expires.into()),
        subscribe_only: claims.subscribe_only,
        single_use: claims.single_use.then_some(claims.nonce),
        bound: claims.clients == ClientRule::Exact,
    };
    // The times come after the signature, though they cost less to look at: only a token that was
    // signed as it must be may be called stale, for that is no offence.
    let stale = |why| Refusal::TokenStale { wallet, why };
    usable(&proof, rules, now).map_err(stale)?;
    let expires = signer.expires(proof.expires, now).map_err(stale)?;
    if let Some(until) = (known.revoked_before)(wallet)
        && proof.issued <= until
    {
        return Err(stale(Staleness::Revoked { until }));
    }
    Ok(Proof { expires, ..proof })
}

/// Whose signature a login needs.
#[derive(Clone, Copy, Debug)]
struct Signatory<'a> {
    wallet: Wallet,
    device: Option<&'a DeviceKey>,
}

impl<'a> Signatory<'a> {
    /// The wallet, or the device key of this name if it is of the algorithm's kind.
    fn find(claimed: Claimed, algorithm: Algorithm, known: &Known<'a>) -> Result<Self, Fault> {
        match (claimed, algorithm) {
            (Claimed::Wallet(wallet), Algorithm::Eip191 | Algorithm::Eip712) => Ok(Self {
                wallet,
                device: None,
            }),
            (Claimed::Device(prefix), Algorithm::Device(kind)) => (known.device_key)(&prefix)
                .filter(|device| device.key.kind() == kind && device.id().prefix() == prefix)
                .map(|device| Self {
                    wallet: device.wallet,
                    device: Some(device),
                })
                .ok_or(Fault::UnknownDevice),
            _ => Err(Fault::OtherUser),
        }
    }

    /// The earlier of `expires` and the end of the device key.
    fn expires(self, expires: UnixTime, now: UnixTime) -> Result<UnixTime, Staleness> {
        let end = self.device.and_then(|device| device.until.end());
        match end {
            Some(until) if until <= now => Err(Staleness::KeyExpired { until }),
            Some(until) => Ok(expires.min(until)),
            None => Ok(expires),
        }
    }
}

/// Whether the token's times suit the rules.
fn usable(proof: &Proof, rules: &LoginRules, now: UnixTime) -> Result<(), Staleness> {
    let Proof {
        issued, expires, ..
    } = *proof;
    if issued > now.plus(rules.max_skew) {
        return Err(Staleness::NotYetValid { issued });
    }
    if expires <= now {
        return Err(Staleness::Expired { expires });
    }
    let lifetime = expires.since(issued);
    let maximum = if proof.bound {
        rules.max_lifetime_bound
    } else {
        rules.max_lifetime
    };
    if lifetime > maximum {
        return Err(Staleness::LifetimeTooLong { lifetime, maximum });
    }
    Ok(())
}
