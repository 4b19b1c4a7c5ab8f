//! What a session says to the proxy.

use std::fmt;

use crate::identity::{Fault, Staleness};
use crate::mqtt::{Malformed, Version};
use crate::offence::Offence;
use crate::policy::DenyReason;
use crate::types::{Asked, KeyId, UnixTime, Wallet};

/// What came of a step: bytes for both sides, notes, and counts.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes for the broker.
    pub up: Vec<u8>,
    /// Bytes for the client.
    pub down: Vec<u8>,
    /// What was decided and deserves a line in the log.
    pub notes: Vec<Note>,
    /// PUBLISH packets of the client that were permitted.
    pub published: u64,
    /// PUBLISH packets of the broker that were permitted.
    pub delivered: u64,
    /// Filters that were permitted.
    pub subscribed: u64,
}

/// One decision worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A wallet proved itself and was admitted.
    LoggedIn {
        /// Who.
        wallet: Wallet,
        /// The device key that it used, if any.
        device: Option<KeyId>,
        /// The client's id, or the one assigned to it.
        client_id: String,
        /// Its protocol.
        version: Version,
        /// Whether it has a right of its own: anybody can make a wallet that has none.
        entitled: bool,
    },
    /// Something was denied.
    Denied {
        /// What.
        asked: Asked,
        /// The topic or filter, as it was written.
        text: String,
        /// Why.
        reason: Denial,
    },
}

/// One use of a token that may be used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleUse {
    /// Whose token it is.
    pub wallet: Wallet,
    /// The device key that signed it, if not the wallet's own.
    pub device: Option<KeyId>,
    /// The token's nonce.
    pub nonce: [u8; 8],
    /// When the token expires; until then its use must be remembered.
    pub expires: UnixTime,
}

/// Why a single use wasn't written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unspent {
    /// The wallet's token was used before, or there is no room to remember it.
    Stale(Staleness),
    /// It can't be written down now.
    Unavailable,
}

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The policy says no.
    Policy(DenyReason),
    /// Nobody is logged in.
    NotLoggedIn,
    /// The wallet is let in only because everybody is, and leaves nothing behind.
    Guest,
    /// The token was made for subscribing only.
    SubscribeOnlyToken,
    /// The response topic is one that the client may not subscribe to.
    ResponseTopic,
    /// The session holds as many filters as one may.
    TooManySubscriptions,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(reason) => reason.fmt(f),
            Self::NotLoggedIn => f.write_str("nobody is logged in"),
            Self::Guest => f.write_str("a wallet without any right leaves no will"),
            Self::SubscribeOnlyToken => f.write_str("the token is for subscribing only"),
            Self::ResponseTopic => {
                f.write_str("the response topic is one that the client may not subscribe to")
            }
            Self::TooManySubscriptions => f.write_str(
                "the session holds as many subscriptions as limits.subscriptions allows",
            ),
        }
    }
}

/// Why nobody was logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// The token proves nothing.
    AuthFailed(Fault),
    /// The wallet did sign the token, but it can't be used now.
    TokenStale {
        /// Who signed it.
        wallet: Wallet,
        /// What is wrong with it.
        why: Staleness,
    },
    /// The wallet's token is for single use, and its use can't be written down.
    UseUnwritten {
        /// Who.
        wallet: Wallet,
    },
    /// There was no user name or no password.
    NoCredentials,
    /// The client asked for enhanced authentication, which isn't offered.
    AuthenticationMethod,
    /// The wallet proved itself but has no right here.
    NotAdmitted {
        /// Who.
        wallet: Wallet,
        /// Why not.
        why: DenyReason,
    },
    /// The client's will is one that it may not publish.
    Will {
        /// Who.
        wallet: Wallet,
        /// Why not.
        why: Denial,
    },
    /// A protocol version that isn't spoken here.
    Version,
    /// An empty client id with a persistent session (3.1.3-8).
    ClientId,
}

impl LoginRefusal {
    /// The wallet that proved itself all the same.
    pub fn wallet(&self) -> Option<Wallet> {
        match self {
            Self::TokenStale { wallet, .. }
            | Self::UseUnwritten { wallet }
            | Self::NotAdmitted { wallet, .. }
            | Self::Will { wallet, .. } => Some(*wallet),
            _ => None,
        }
    }
}

impl fmt::Display for LoginRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthFailed(fault) => write!(f, "authentication failed: {fault}"),
            Self::TokenStale { why, .. } => write!(f, "token not usable: {why}"),
            Self::UseUnwritten { .. } => {
                f.write_str("this gateway can't write down that the token is used: try again later")
            }
            Self::NoCredentials => f.write_str("no user name or no password was given"),
            Self::AuthenticationMethod => f.write_str("enhanced authentication isn't offered"),
            Self::NotAdmitted { why, .. } => why.fmt(f),
            Self::Will { why, .. } => write!(f, "the will is denied: {why}"),
            Self::Version => f.write_str("the client speaks neither MQTT 3.1.1 nor 5"),
            Self::ClientId => f.write_str("an empty client id needs a clean session"),
        }
    }
}

/// Why a session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody was logged in.
    Refused(LoginRefusal),
    /// The client broke a rule of the protocol.
    Malformed(Malformed),
    /// A refused publish, where `mqtt.denied_publish = "close"`.
    PublishDenied,
    /// The client said DISCONNECT.
    ClientDisconnected,
    /// The client's connection broke.
    ClientLost,
    /// The client was silent for one and a half times its keep alive.
    KeepAliveTimeout,
    /// The CONNECT packet didn't come in time.
    ConnectTimeout,
    /// The login token ran out.
    TokenExpired,
    /// The wallet revoked the tokens of that time.
    TokenRevoked,
    /// The device key that logged in was removed, or its time was cut short.
    DeviceKeyEnded,
    /// The right to the will's topic ended.
    WillLost,
    /// The source was banned.
    Banned,
    /// The gateway is stopping.
    Draining,
    /// The broker refused the session or ended it.
    BrokerEnded(u8),
    /// The connection to the broker broke.
    BrokerLost,
    /// The broker couldn't be reached, or didn't answer the CONNECT.
    BrokerUnreachable(String),
    /// The broker broke a rule of the protocol.
    BrokerMalformed(Malformed),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "login refused: {refusal}"),
            Self::Malformed(error) => write!(f, "malformed packet: {error}"),
            Self::PublishDenied => f.write_str("a publish was refused"),
            Self::ClientDisconnected => f.write_str("the client disconnected"),
            Self::ClientLost => f.write_str("the client's connection was lost"),
            Self::KeepAliveTimeout => f.write_str("the client was silent for too long"),
            Self::ConnectTimeout => f.write_str("no whole CONNECT packet came in time"),
            Self::TokenExpired => f.write_str("the login token expired"),
            Self::TokenRevoked => f.write_str("the wallet revoked the login token"),
            Self::DeviceKeyEnded => f.write_str("the device key was removed or has expired"),
            Self::WillLost => f.write_str("the client may no longer publish its will"),
            Self::Banned => f.write_str("the source was banned"),
            Self::Draining => f.write_str("the gateway is stopping"),
            Self::BrokerEnded(reason) => write!(f, "the broker ended it (reason 0x{reason:02x})"),
            Self::BrokerLost => f.write_str("the connection to the broker was lost"),
            Self::BrokerUnreachable(why) => write!(f, "the broker can't be reached: {why}"),
            Self::BrokerMalformed(error) => write!(f, "malformed packet from the broker: {error}"),
        }
    }
}

/// The end of a session. What must still be sent is in [`Output`]; then both sides are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub cause: Cause,
    /// What the client's address is charged with.
    pub offence: Option<Offence>,
    /// The answer is to be held back for a while, so that a client that retries in a loop with a
    /// token that has run out costs little.
    pub delay: bool,
}

impl Close {
    /// A close that nobody is charged for.
    pub(super) fn quiet(cause: Cause) -> Self {
        Self {
            cause,
            offence: None,
            delay: false,
        }
    }

    pub(super) fn malformed(error: Malformed) -> Self {
        let cause = Cause::Malformed(error);
        Self {
            cause,
            offence: Some(Offence::Malformed),
            delay: false,
        }
    }
}
