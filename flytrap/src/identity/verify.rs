//! Verification of a login.

use std::fmt;
use std::sync::LazyLock;

use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1, VerifyOnly};

use super::client::ClientRule;
use super::keccak256;
use super::refusal::{Fault, Refusal, Staleness};
use super::token::{Signature, Token};
use crate::types::{Deployment, UnixTime, Wallet};

/// What a CONNECT brings.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// MQTT user name: the wallet.
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

/// What a login proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Who signed.
    pub wallet: Wallet,
    /// When the token was issued.
    pub issued: UnixTime,
    /// From this second on neither the token nor its sessions are valid.
    pub expires: UnixTime,
    /// The session may not publish.
    pub subscribe_only: bool,
    /// The token is for this exact client id, not for a prefix or for any.
    pub bound: bool,
}

/// Verifies a login at time `now`. `revoked_before` tells up to when a wallet revoked its tokens;
/// it is asked only about wallets that proved themselves.
///
/// # Errors
/// [`Refusal::AuthFailed`] if nothing is proven, [`Refusal::TokenStale`] if the wallet did sign
/// the token but it can't be used.
pub fn verify(
    login: &Login<'_>,
    deployment: &Deployment,
    rules: &LoginRules,
    revoked_before: impl Fn(Wallet) -> Option<UnixTime>,
    now: UnixTime,
) -> Result<Proof, Refusal> {
    let wallet = claimed_wallet(login.user_name)?;
    let Token { claims, signature } = Token::decode(login.password)?;
    let scope = claims.clients.scope(login.client_id)?;
    if recover(claims.digest(wallet, deployment, scope), &signature)? != wallet {
        return Err(Fault::OtherSigner.into());
    }
    let proof = Proof {
        wallet,
        issued: UnixTime(claims.issued.into()),
        expires: UnixTime(claims.expires.into()),
        subscribe_only: claims.subscribe_only,
        bound: claims.clients == ClientRule::Exact,
    };
    // The times come after the signature, though they cost less to look at: only a token that the
    // wallet did sign may be called stale, for that is no offence.
    usable(&proof, rules, now)?;
    if let Some(until) = revoked_before(wallet)
        && proof.issued <= until
    {
        return Err(Staleness::Revoked { until }.into());
    }
    if claims.single_use {
        return Err(Staleness::SingleUse.into());
    }
    Ok(proof)
}

fn claimed_wallet(user_name: &str) -> Result<Wallet, Fault> {
    if user_name.starts_with("dev:") {
        return Err(Fault::DeviceKey);
    }
    Wallet::from_hex_any_case(user_name).map_err(|_| Fault::UserName)
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

/// The wallet whose key made `signature` over `digest`.
fn recover(digest: [u8; 32], signature: &Signature) -> Result<Wallet, Fault> {
    static CURVE: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

    let [compact @ .., v] = &signature.0;
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
    let key = CURVE
        .recover_ecdsa(Message::from_digest(digest), &signature)
        .map_err(|_| Fault::Signature)?;
    // An address is the last 20 bytes of the hash of the point, without the leading 4.
    let [_, point @ ..] = key.serialize_uncompressed();
    let [_, _, _, _, _, _, _, _, _, _, _, _, address @ ..] = keccak256(&[&point]);
    Ok(Wallet(address))
}
