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
use super::device_signer::DeviceSigner;
use super::keystore::Signer;
use super::statement::Statement;
use super::token::{Algorithm, Claims, Signature, Token};
use super::user::device_user_name;
use super::{device, text};
use crate::types::{Deployment, KeyId, UnixTime, Wallet};

/// What a token shall say.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How to sign.
    pub algorithm: Algorithm,
    /// For which client ids.
    pub scope: ClientScope<'a>,
    /// Whether its sessions may only subscribe.
    pub subscribe_only: bool,
    /// Whether it opens one session only.
    pub single_use: bool,
    /// From when, usually now.
    pub issued: UnixTime,
    /// For how many seconds, at least 1.
    pub lifetime: u64,
}

/// A token, ready for a CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// Whose it is.
    pub wallet: Wallet,
    /// The MQTT user name.
    pub user_name: String,
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
    /// The wallet's key can't sign.
    #[error("the wallet's key cannot sign")]
    Signing(#[from] WalletError),
    /// The device's key can't sign.
    #[error("the device's key cannot sign")]
    DeviceSigning(#[from] p256::ecdsa::Error),
    /// The algorithm asked for is another key's.
    #[error(
        "this key signs with another algorithm: a wallet's with 1 or 2, a device's with that of its kind"
    )]
    OtherKey,
}

/// Signs a token for a gateway with a wallet's own key.
pub fn mint(
    signer: &Signer,
    deployment: &Deployment,
    request: &Request<'_>,
) -> Result<Minted, MintError> {
    let wallet = signer.wallet();
    let claims = claims(request)?;
    let statement = claims.statement(wallet, deployment, request.scope);
    let digest = match claims.algorithm {
        Algorithm::Eip191 => hash_message(text::message(&statement)),
        Algorithm::Eip712 => typed_data(&statement),
        Algorithm::Device(_) => return Err(MintError::OtherKey),
    };
    let signature = Signature::Recoverable((&signer.0.sign_hash(digest)?).into());
    Ok(minted(wallet, wallet.to_string(), claims, signature))
}

/// Signs a token with a device key that acts for `wallet`.
pub fn mint_for(
    wallet: Wallet,
    signer: &DeviceSigner,
    deployment: &Deployment,
    request: &Request<'_>,
) -> Result<Minted, MintError> {
    let key = signer.public_key();
    if request.algorithm != Algorithm::Device(key.kind()) {
        return Err(MintError::OtherKey);
    }
    let claims = claims(request)?;
    let statement = claims.statement(wallet, deployment, request.scope);
    let signature = signer.sign(&device::message(&statement, key.kind()))?;
    let user_name = device_user_name(&KeyId::of(wallet, &key));
    Ok(minted(wallet, user_name, claims, signature))
}

/// The request as a record has it, with a fresh nonce.
fn claims(request: &Request<'_>) -> Result<Claims, MintError> {
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
    Ok(Claims {
        algorithm: request.algorithm,
        clients,
        subscribe_only: request.subscribe_only,
        single_use: request.single_use,
        issued: seconds(request.issued)?,
        expires: seconds(expires)?,
        nonce,
    })
}

fn minted(wallet: Wallet, user_name: String, claims: Claims, signature: Signature) -> Minted {
    Minted {
        wallet,
        user_name,
        password: Token { claims, signature }.encode(),
        issued: UnixTime(claims.issued.into()),
        expires: UnixTime(claims.expires.into()),
    }
}

/// EIP-712 from the parts of ethers. Its `TypedData`, which would do it in one call, pads `bytes8`
/// on the wrong side.
fn typed_data(statement: &Statement<'_>) -> H256 {
    let deployment = statement.deployment;
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
        AbiToken::Address(statement.wallet.0.into()),
        hashed(&deployment.domain),
        hashed(&statement.scope.raw()),
        AbiToken::Uint(statement.issued.into()),
        AbiToken::Uint(statement.expires.into()),
        AbiToken::FixedBytes(statement.nonce.as_bytes().to_vec()),
        AbiToken::Uint(statement.flags.into()),
    ]);
    let parts = [&b"\x19\x01"[..], &domain.separator(), &keccak256(access)];
    H256(keccak256(parts.concat()))
}
