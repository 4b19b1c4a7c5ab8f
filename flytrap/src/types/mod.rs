//! The words of the domain, each parsed once and valid for ever after.
//!
//! Nothing here does IO, knows a protocol or takes a decision.

mod device;
mod prefix;
mod space;
mod text;
mod time;
mod topic;
mod wallet;

pub use device::{BadPublicKey, DeviceKey, KeyId, KeyIdPrefix, KeyKind, PublicKey};
pub use prefix::{BadPrefix, Prefix};
pub use space::{
    BadSpaceName, Grant, MAX_LABEL_BYTES, Mode, Right, Space, SpaceName, Terms, Validity,
};
pub use text::{escape_control, line_and_column, nearest};
pub use time::{Clock, SystemClock, UnixTime};
pub use topic::{BadTopic, MAX_TOPIC_BYTES, SubscriptionFilter, TopicFilter, TopicName};
pub use wallet::{BadWallet, Wallet};

/// Names one policy on one chain, as seen by wallets: what a login token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The gateway's configured public name, lower case.
    pub domain: String,
    /// The chain that holds the contract; 0 with a file ledger that names none.
    pub chain_id: u64,
    /// The contract's address; zero with a file ledger that names none.
    pub contract: Wallet,
}

/// Who acts: a wallet that proved possession of its key, or a device key for it, under a client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The Ethereum address that logged in.
    pub wallet: Wallet,
    /// The device key that it logged in with; `None`: the wallet's own.
    pub device: Option<KeyId>,
    /// The client id as the client gave it, or as the gateway assigned it.
    pub client_id: String,
}

/// What a principal asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Open a session.
    Connect,
    /// Publish to a topic.
    Publish(TopicName<'a>),
    /// Subscribe with a filter.
    Subscribe(TopicFilter<'a>),
    /// Be delivered a message of a topic.
    Receive(TopicName<'a>),
}

/// What can be denied within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A message of the client to the broker.
    Publish,
    /// A topic filter of the client.
    Subscribe,
    /// A message of the broker to the client.
    Delivery,
    /// The will that the client's CONNECT carries.
    Will,
}
