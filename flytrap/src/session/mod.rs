//! One connection's state machine, without IO: bytes and time go in; bytes for both sides and
//! notes of what was decided come out. `proxy` carries them.
//!
//! The life of a session: [`AwaitConnect`](Phase) → CONNECT is judged (decoded, login verified,
//! admitted, will authorised) → the gateway's own CONNECT goes up → CONNACK is edited and handed
//! down → every packet of both directions is judged → the end, which decides whether the broker
//! may fire the will. `docs/session.md` draws it.

mod connect;
mod end;
mod from_broker;
mod from_client;
mod judge;
mod outcome;
mod subscribe;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub use outcome::{Cause, Close, Denial, LoginRefusal, Note, Output, SingleUse, Unspent};

use crate::identity::LoginRules;
use crate::mqtt::encode::TooLong;
use crate::mqtt::{Malformed, PacketLimits, PacketType, Version, encode};
use crate::policy::Snapshot;
use crate::types::{Deployment, Principal, UnixTime};

/// What all sessions of a gateway have in common.
#[derive(Debug)]
pub struct Settings {
    /// What login tokens must be bound to.
    pub deployment: Deployment,
    /// How old, how early and how long-lived a token may be.
    pub login: LoginRules,
    /// Sizes that packets and topics must keep to.
    pub limits: PacketLimits,
    /// The largest CONNECT that is read, in bytes.
    pub connect_bytes: usize,
    /// The most filters one session may hold.
    pub subscriptions: usize,
    /// What a 3.1.1 client is told of a refused PUBLISH; it knows no negative acknowledgement.
    pub denied_publish: DeniedPublish,
    /// The longest will delay that is passed on, in seconds.
    pub will_delay: u32,
    /// The gateway's own account at the broker.
    pub broker_account: Option<BrokerAccount>,
}

/// The gateway's account at the broker; its password is never shown.
pub struct BrokerAccount {
    /// User name.
    pub user_name: String,
    /// Password.
    pub password: Vec<u8>,
}

impl std::fmt::Debug for BrokerAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerAccount")
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

/// The answer to a refused PUBLISH in MQTT 3.1.1 (3.3.5-2 allows both).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeniedPublish {
    /// Acknowledge it and drop it.
    #[default]
    Acknowledge,
    /// Close the connection.
    Close,
}

/// What a decision needs besides the session: the policy in force and the time.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The policy in force.
    pub snapshot: &'a Snapshot,
    /// Wall-clock time, for everything that expires.
    pub now: UnixTime,
    /// Time since some fixed moment, for keep alive: immune to a clock that is set.
    pub elapsed: Duration,
}

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing but a CONNECT is accepted.
    AwaitConnect,
    /// The gateway's CONNECT is on its way up; the client's further packets are held back.
    AwaitConnack,
    /// Packets pass in both directions.
    Live,
}

/// Who logged in, and what that login allows.
#[derive(Debug)]
struct Identity {
    principal: Principal,
    /// When the login was signed: a revocation of that time or later ends the session.
    issued: UnixTime,
    /// When the token or its device key runs out, and the session with it.
    expires: UnixTime,
    /// When the token alone would.
    token_expires: UnixTime,
    subscribe_only: bool,
}

/// What is kept of an accepted will, to look again whether it may still be published.
#[derive(Debug)]
struct WillTopics {
    topic: Box<str>,
    response_topic: Option<Box<str>>,
    /// When the right to it may end, and must be looked at again.
    until: Option<UnixTime>,
}

/// A client's SUBSCRIBE or UNSUBSCRIBE that isn't answered yet, where the broker's answer must be
/// completed before the client gets it.
#[derive(Debug)]
struct PendingAnswer {
    /// Is it SUBACK or UNSUBACK that the client waits for?
    answer: PacketType,
    /// One code per filter of the client's packet, in its order; `None`: the broker's next.
    reasons: Vec<Option<u8>>,
    /// Refused filters that the broker may still hold from before: withdrawn with the same packet
    /// id, which nobody else can be using, before the client is answered.
    withdraw: Vec<Box<str>>,
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    phase: Phase,
    version: Version,
    /// Random bytes for an assigned client id.
    entropy: [u8; 16],
    identity: Option<Identity>,
    /// The generation of the snapshot in which the login was last seen to be good.
    generation: u64,
    /// The nonce of a single-use token that must be used up before the broker is dialled.
    to_spend: Option<[u8; 8]>,
    /// The id to return where the client asked for one.
    assigned_client_id: Option<String>,
    /// Admitted without any right: no persistent session, no will.
    guest: bool,
    /// Has a right of its own, and not only what every wallet has.
    entitled: bool,
    will: Option<WillTopics>,
    /// Seconds; 0 turns it off.
    keep_alive: u16,
    heard_from_client: Duration,
    sent_to_broker: Duration,
    /// PINGREQs of the gateway's own whose PINGRESPs are not for the client.
    own_pings: u32,
    /// The broker may hold subscriptions of an earlier connection.
    resumed: bool,
    filters: HashSet<Box<str>>,
    pending: HashMap<u16, PendingAnswer>,
    /// Client's QoS 2 publishes that were answered here; their PUBREL is answered here as well.
    denied_qos2: HashSet<u16>,
    /// Broker's QoS 2 deliveries that were dropped here; their PUBREL is answered here.
    dropped_qos2: HashSet<u16>,
}

impl Session {
    /// A session that waits for its CONNECT. `entropy` is the seed of an assigned client id.
    pub fn new(settings: Arc<Settings>, entropy: [u8; 16], elapsed: Duration) -> Self {
        Self {
            settings,
            phase: Phase::AwaitConnect,
            version: Version::V311,
            entropy,
            identity: None,
            generation: 0,
            to_spend: None,
            assigned_client_id: None,
            guest: false,
            entitled: false,
            will: None,
            keep_alive: 0,
            heard_from_client: elapsed,
            sent_to_broker: elapsed,
            own_pings: 0,
            resumed: false,
            filters: HashSet::new(),
            pending: HashMap::new(),
            denied_qos2: HashSet::new(),
            dropped_qos2: HashSet::new(),
        }
    }

    /// How far the session has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Who logged in; `None` before that.
    pub fn principal(&self) -> Option<&Principal> {
        self.identity.as_ref().map(|identity| &identity.principal)
    }

    /// The single use that must be written down, and be told of by [`spent`](Self::spent), before
    /// the broker is dialled. `None`: there is none.
    pub fn to_spend(&self) -> Option<SingleUse> {
        let (nonce, identity) = (self.to_spend?, self.identity.as_ref()?);
        Some(SingleUse {
            wallet: identity.principal.wallet,
            device: identity.principal.device,
            nonce,
            expires: identity.token_expires,
        })
    }

    /// When [`tick`](Self::tick) must be called at the latest, as seconds from now.
    pub fn deadline(&self, context: &Context<'_>) -> Option<Duration> {
        let silence = self
            .silence_allowed()
            .map(|allowed| (self.heard_from_client + allowed).saturating_sub(context.elapsed));
        let token = self
            .identity
            .as_ref()
            .map(|identity| Duration::from_secs(identity.expires.since(context.now)));
        let will = self
            .will
            .as_ref()
            .and_then(|will| will.until)
            .map(|until| Duration::from_secs(until.since(context.now)));
        silence.into_iter().chain(token).chain(will).min()
    }

    /// One and a half times the keep alive (3.1.2.10); `None` where it is off.
    fn silence_allowed(&self) -> Option<Duration> {
        (self.keep_alive > 0).then(|| Duration::from_millis(u64::from(self.keep_alive) * 1_500))
    }

    /// The client couldn't be heard: its keep alive begins anew.
    pub fn excuse_silence(&mut self, context: &Context<'_>) {
        self.heard_from_client = context.elapsed;
    }

    /// Ends the session whose client fell silent, whose login is no longer good, or whose will may
    /// no longer be published.
    ///
    /// # Errors
    /// The close to carry out, once one of these is due.
    pub fn tick(&mut self, context: &Context<'_>, out: &mut Output) -> Result<(), Close> {
        if self
            .identity
            .as_ref()
            .is_some_and(|identity| context.now >= identity.expires)
        {
            return Err(self.end(Cause::TokenExpired, out));
        }
        self.check_login(context, out)?;
        if !self.renew_will(context) {
            return Err(self.end(Cause::WillLost, out));
        }
        let silence = context.elapsed.saturating_sub(self.heard_from_client);
        if self
            .silence_allowed()
            .is_some_and(|allowed| silence >= allowed)
        {
            self.check_will(context, out);
            return Err(self.end(Cause::KeepAliveTimeout, out));
        }
        Ok(())
    }

    /// Answers what breaks the protocol's rules as the version says, and closes. The broker sees
    /// a lost connection, so that the will is published (3.1.2.5).
    fn malformed(&self, error: &Malformed, out: &mut Output) -> Close {
        if self.version == Version::V5 {
            match self.phase {
                Phase::AwaitConnect | Phase::AwaitConnack => {
                    fits(encode::connack(
                        &mut out.down,
                        Version::V5,
                        false,
                        error.reason.0,
                        [],
                    ));
                }
                Phase::Live => encode::disconnect(&mut out.down, Version::V5, error.reason),
            }
        }
        Close::malformed(*error)
    }
}

/// What the session writes is made of packets that were within MQTT's lengths, and shorter.
fn fits(written: Result<(), TooLong>) {
    debug_assert!(written.is_ok(), "{written:?}");
}
