//! Why a login is refused.

use crate::types::{UnixTime, Wallet};

/// A refused login. Only the first kind is an offence; `docs/adr/` says where the line runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing was proven: possession of the wallet's key least of all.
    #[error("authentication failed: {0}")]
    AuthFailed(Fault),
    /// The wallet, or a device key of it, did sign this, but it can't be used now.
    #[error("token not usable: {why}")]
    TokenStale {
        /// The wallet.
        wallet: Wallet,
        /// What is wrong with it.
        why: Staleness,
    },
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::AuthFailed(fault)
    }
}

/// Why a login proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The user name is neither a wallet nor a device key.
    #[error(
        "the user name is neither a wallet, 0x and 40 hexadecimal digits, nor a device key, dev: \
         and 22 characters"
    )]
    UserName,
    /// The ledger has no device key of this name and kind.
    #[error(
        "no such device key: it was never registered, was removed, or is of another kind than the \
         token says"
    )]
    UnknownDevice,
    /// A wallet's name with a device key's signature, or the reverse.
    #[error(
        "the signature is of another kind than the user name: 0x… signs with 1 or 2, dev:… with 4 to 6"
    )]
    OtherUser,
    /// There is more than one token.
    #[error("there is a password and a user property flytrap-token, or two of these: send one")]
    TwoTokens,
    /// The password is longer than [`super::MAX_PASSWORD_BYTES`].
    #[error("the password is longer than 2048 bytes")]
    PasswordTooLong,
    /// The password is not canonical base64url.
    #[error("the password is not base64url without padding")]
    Base64,
    /// The record is shorter or longer than its fields.
    #[error("the token is shorter or longer than its fields")]
    Length,
    /// Not version 1.
    #[error("token version {0} is unknown, this gateway reads version 1")]
    Version(u8),
    /// An algorithm that FT1 doesn't have.
    #[error("signature algorithm {0} is unknown")]
    UnknownAlgorithm(u8),
    /// An algorithm of FT1 that this build doesn't verify.
    #[error("signature algorithm {0} is not supported by this gateway, use 1, 2, 4, 5 or 6")]
    UnsupportedAlgorithm(u8),
    /// A reserved bit is set, or bits 0 and 1 are both set.
    #[error("the token's flags 0x{0:02x} are not a valid combination")]
    Flags(u8),
    /// The token expires when it is issued, or earlier.
    #[error("the token expires before it is issued")]
    Times,
    /// An empty client id with a token that isn't for any client id.
    #[error("the client id is empty, which needs a token for any client id")]
    ClientIdEmpty,
    /// The prefix is empty, longer than the client id, or ends inside a character of it.
    #[error("the token is for client ids of another form: its prefix does not fit")]
    ClientIdPrefix,
    /// The last byte of the signature is not 0, 1, 27 or 28.
    #[error("the signature's v is {0}, not 0, 1, 27 or 28")]
    RecoveryId(u8),
    /// The signature's s is in the upper half of its range (EIP-2).
    #[error("the signature is not in low-s form")]
    HighS,
    /// No public key fits the signature.
    #[error("the signature is not valid")]
    Signature,
    /// The signature belongs to another key, or covers something else than what was presented.
    #[error(
        "the signature is not this wallet's or device's for this client id, gateway, chain and contract: \
         compare them with what the token was created for"
    )]
    OtherSigner,
}

/// Why a token that the wallet did sign is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Staleness {
    /// Its time is over.
    #[error("it expired at {expires}")]
    Expired {
        /// First second at which it isn't valid any more.
        expires: UnixTime,
    },
    /// Issued in the future, by more than the tolerated skew.
    #[error("it is issued at {issued}, which is in the future: check the clocks")]
    NotYetValid {
        /// When it says it was issued.
        issued: UnixTime,
    },
    /// Valid for longer than the gateway takes.
    #[error("its lifetime of {lifetime} s exceeds this gateway's maximum of {maximum} s")]
    LifetimeTooLong {
        /// From issue to expiry, in seconds.
        lifetime: u64,
        /// The maximum for tokens of its kind, in seconds.
        maximum: u64,
    },
    /// Its wallet revoked the tokens of that time.
    #[error("its wallet revoked all tokens issued up to {until}")]
    Revoked {
        /// Tokens issued at this second or earlier are revoked.
        until: UnixTime,
    },
    /// Its device key's time is over.
    #[error("its device key expired at {until}: its wallet can register it again")]
    KeyExpired {
        /// First second at which the key isn't valid any more.
        until: UnixTime,
    },
    /// It is for single use, and was used before.
    #[error("it is for single use and was used before: create another")]
    Used,
    /// It is for single use, and the gateway remembers no more uses.
    #[error("it is for single use, and too many of these are in use: wait until some expire")]
    UsesFull,
}
