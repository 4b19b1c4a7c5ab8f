//! What is signed, whatever carries the signature: a token, or the answer to a challenge.

use super::client::ClientScope;
use super::token::Algorithm;
use super::{device, text, typed};
use crate::types::{Deployment, Wallet};

/// All that a signature covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement<'a> {
    pub(super) algorithm: Algorithm,
    /// Who logs in; for a device key: for whom it acts.
    pub(super) wallet: Wallet,
    pub(super) deployment: &'a Deployment,
    pub(super) scope: ClientScope<'a>,
    pub(super) flags: u8,
    /// Unix seconds.
    pub(super) issued: u32,
    /// Unix seconds.
    pub(super) expires: u32,
    pub(super) nonce: Nonce,
}

/// Who made the nonce tells tokens and answers apart: neither passes for the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Nonce {
    /// A token's, made by its signer.
    Token([u8; 8]),
}

impl Nonce {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Token(nonce) => nonce,
        }
    }
}

impl Statement<'_> {
    /// The 32 bytes that must have been signed.
    pub(super) fn digest(&self) -> [u8; 32] {
        match self.algorithm {
            Algorithm::Eip191 => text::digest(&text::message(self)),
            Algorithm::Eip712 => typed::digest(self),
            Algorithm::Device(kind) => device::digest(&device::message(self, kind)),
        }
    }
}
