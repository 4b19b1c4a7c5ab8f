//! Making tokens. Hashes and signs with other code than verification does, so that the two check
//! each other.

use std::fmt;
use std::num::NonZeroU8;

use ethers_core::abi::{self, Token as AbiToken};
use ethers_core::rand::RngCore as _;
use ethers_core::rand::rngs::OsRng;
use ethers_core::types::H256;
use ethers_core::types::transaction::eip712::EIP712Domain;
use ethers_core::utils::{hash_message, keccak256};
use ethers_signers::WalletError;

use super::client::{ClientRule, ClientScope};
use super::keystore::Signer;
use super::text;
use super::token::{Algorithm, Claims, Signature, Token};
use crate::types::{Deployment, UnixTime, Wallet};

/// What a token shall say.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How to sign.
    pub algorithm: Algorithm,
    /// For which client ids.
    pub scope: ClientScope<'a>,
    /// Whether its sessions may only subscribe.
    pub subscribe_only: bool,
    /// From when, usually now.
    pub issued: UnixTime,
    /// For how many seconds, at least 1.
    pub lifetime: u64,
}

/// A token, ready for a CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// Whose it is; its display form is the MQTT user name.
    pub wallet: Wallet,
    /// The MQTT password. A secret.
    pub password: String,
    /// When it was issued.
    pub issued: UnixTime,
    /// When it stops being valid.
    pub expires: UnixTime,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("wallet", &self.wallet)
            .field("issued", &self.issued)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Nothing to bind to.
    #[error("the client id is empty: name one, or make a token for any client id")]
    ClientIdEmpty,
    /// The prefix's length doesn't fit the record's byte.
    #[error("a client id prefix is 1 to 255 bytes long, this one is {0}")]
    PrefixLength(usize),
    /// Its times don't fit the record.
    #[error("a token lives for at least a second and ends before the year 2106")]
    Times,
    /// The key can't sign.
    #[error("the wallet's key cannot sign")]
    Signing(#[from] WalletError),
}

/// Signs a token for a gateway.
pub fn mint(
    signer: &Signer,
    deployment: &Deployment,
    request: &Request<'_>,
) -> Result<Minted, MintError> {
    let clients = match request.scope {
        ClientScope::Any => ClientRule::Any,
        ClientScope::Exact("") => return Err(MintError::ClientIdEmpty),
        ClientScope::Exact(_) => ClientRule::Exact,
        ClientScope::Prefix(prefix) => u8::try_from(prefix.len())
            .ok()
            .and_then(NonZeroU8::new)
            .map(ClientRule::Prefix)
            .ok_or(MintError::PrefixLength(prefix.len()))?,
    };
    let expires = request.issued.plus(request.lifetime);
    if expires <= request.issued {
        return Err(MintError::Times);
    }
    let seconds = |time: UnixTime| u32::try_from(time.0).map_err(|_| MintError::Times);
    let mut nonce = [0; 8];
    OsRng.fill_bytes(&mut nonce);
    let claims = Claims {
        algorithm: request.algorithm,
        clients,
        subscribe_only: request.subscribe_only,
        single_use: false,
        issued: seconds(request.issued)?,
        expires: seconds(expires)?,
        nonce,
    };
    let wallet = signer.wallet();
    let digest = digest(&claims, wallet, deployment, request.scope);
    let signature = Signature((&signer.0.sign_hash(digest)?).into());
    Ok(Minted {
        wallet,
        password: Token { claims, signature }.encode(),
        issued: request.issued,
        expires,
    })
}

/// What the wallet has to sign, hashed by ethers.
fn digest(
    claims: &Claims,
    wallet: Wallet,
    deployment: &Deployment,
    scope: ClientScope<'_>,
) -> H256 {
    match claims.algorithm {
        Algorithm::Eip191 => hash_message(text::message(claims, wallet, deployment, scope)),
        Algorithm::Eip712 => typed_data(claims, wallet, deployment, scope),
    }
}

/// EIP-712 from the parts of ethers. Its `TypedData`, which would do it in one call, pads `bytes8`
/// on the wrong side.
fn typed_data(
    claims: &Claims,
    wallet: Wallet,
    deployment: &Deployment,
    scope: ClientScope<'_>,
) -> H256 {
    let domain = EIP712Domain {
        name: Some("FlyTrap".to_owned()),
        version: Some("1".to_owned()),
        chain_id: Some(deployment.chain_id.into()),
        verifying_contract: Some(deployment.contract.0.into()),
        salt: None,
    };
    let hashed = |text: &str| AbiToken::FixedBytes(keccak256(text).to_vec());
    let access = abi::encode(&[
        hashed(
            "Access(address wallet,string gateway,string clientId,uint64 issuedAt,\
             uint64 expiresAt,bytes8 nonce,uint8 flags)",
        ),
        AbiToken::Address(wallet.0.into()),
        hashed(&deployment.domain),
        hashed(&scope.raw()),
        AbiToken::Uint(claims.issued.into()),
        AbiToken::Uint(claims.expires.into()),
        AbiToken::FixedBytes(claims.nonce.to_vec()),
        AbiToken::Uint(claims.flags().into()),
    ]);
    let parts = [&b"\x19\x01"[..], &domain.separator(), &keccak256(access)];
    H256(keccak256(parts.concat()))
}
