//! Algorithm 2: EIP-712 typed data.

use super::keccak256;
use super::statement::{Nonce, Statement};

const DOMAIN_TYPE: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const ACCESS_TYPE: &[u8] = b"Access(address wallet,string gateway,string clientId,\
uint64 issuedAt,uint64 expiresAt,bytes8 nonce,uint8 flags)";

/// What `eth_signTypedData_v4` signs.
pub(super) fn digest(statement: &Statement<'_>) -> [u8; 32] {
    let deployment = statement.deployment;
    let domain = keccak256(&[
        &keccak256(&[DOMAIN_TYPE]),
        &keccak256(&[b"FlyTrap"]),
        &keccak256(&[b"1"]),
        &right_aligned(&deployment.chain_id.to_be_bytes()),
        &right_aligned(&deployment.contract.0),
    ]);
    let (access_type, nonce) = match &statement.nonce {
        Nonce::Token(nonce) => (ACCESS_TYPE, left_aligned(nonce)),
    };
    let access = keccak256(&[
        &keccak256(&[access_type]),
        &right_aligned(&statement.wallet.0),
        &keccak256(&[deployment.domain.as_bytes()]),
        &keccak256(&[statement.scope.raw().as_bytes()]),
        &right_aligned(&statement.issued.to_be_bytes()),
        &right_aligned(&statement.expires.to_be_bytes()),
        &nonce,
        &right_aligned(&[statement.flags]),
    ]);
    keccak256(&[b"\x19\x01", &domain, &access])
}

/// A number or an address as a 32-byte word.
fn right_aligned<const N: usize>(bytes: &[u8; N]) -> [u8; 32] {
    const { assert!(N <= 32) };
    let mut word = [0; 32];
    for (slot, byte) in word.iter_mut().skip(32 - N).zip(bytes) {
        *slot = *byte;
    }
    word
}

/// Fixed bytes as a 32-byte word.
fn left_aligned<const N: usize>(bytes: &[u8; N]) -> [u8; 32] {
    const { assert!(N <= 32) };
    let mut word = [0; 32];
    for (slot, byte) in word.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    word
}
