//! A small policy, wallets that can sign, and a session driven by hand.

use std::num::NonZeroU16;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::identity::{Algorithm, ClientScope, LoginRules, Request, Signer, create_keystore, mint};
use crate::mqtt::encode::{self, ConnectOut};
use crate::mqtt::{Frame, PacketLimits, Property, Publish, Qos, Sender, Version, next_frame};
use crate::policy::{Admit, Snapshot, SnapshotBuilder};
use crate::session::{
    BrokerAccount, Cause, Close, Context, DeniedPublish, Output, Phase, Session, Settings, Unspent,
};
use crate::types::{Deployment, Grant, Mode, Space, Terms, TopicName, UnixTime, Validity, Wallet};

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(super) const BOTH: [Version; 2] = [Version::V311, Version::V5];

fn signer() -> Signer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    create_keystore(&path, "test").unwrap();
    Signer::open(&path, "test").unwrap()
}

/// Owns the topic space `plant`, may do everything in it.
pub(super) static OWNER: LazyLock<Signer> = LazyLock::new(signer);
/// Has no right anywhere.
pub(super) static STRANGER: LazyLock<Signer> = LazyLock::new(signer);
/// May publish to `plant/in` and subscribe to `plant/out/#`, until [`GRANT_END`].
pub(super) static SENSOR: LazyLock<Signer> = LazyLock::new(signer);
pub(super) const GRANT_END: UnixTime = UnixTime(NOW.0 + 2_000);

pub(super) fn snapshot() -> Snapshot {
    policy(true, Admit::Entitled)
}

/// The same world after the sensor's grants were taken away.
pub(super) fn revoked() -> Snapshot {
    policy(false, Admit::Entitled)
}

/// The same world with a gateway that lets in every wallet.
pub(super) fn open_door() -> Snapshot {
    policy(true, Admit::Any)
}

fn policy(granted: bool, admit: Admit) -> Snapshot {
    builder(1, granted, admit).build()
}

/// The same world, in a later generation, to which more can be told.
pub(super) fn later() -> SnapshotBuilder {
    builder(2, true, Admit::Entitled)
}

fn builder(generation: u64, granted: bool, admit: Admit) -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new(generation, admit);
    let closed = Terms {
        publish: Mode::Closed,
        subscribe: Mode::Closed,
    };
    for name in ["plant", "plant/in", "plant/out"] {
        let name = name.parse().unwrap();
        builder
            .space(Space {
                name,
                owner: OWNER.wallet(),
                terms: closed,
            })
            .unwrap();
    }
    if granted {
        let until = Validity::Until(GRANT_END);
        let publish = Grant {
            publish: until,
            ..Grant::default()
        };
        let subscribe = Grant {
            subscribe: until,
            subtree: true,
            ..Grant::default()
        };
        builder
            .grant(&"plant/in".parse().unwrap(), SENSOR.wallet(), publish)
            .unwrap();
        builder
            .grant(&"plant/out".parse().unwrap(), SENSOR.wallet(), subscribe)
            .unwrap();
    }
    builder
}

pub(super) fn settings() -> Settings {
    Settings {
        deployment: Deployment {
            domain: "gw.example.org".into(),
            chain_id: 0,
            contract: Wallet::default(),
        },
        login: LoginRules {
            max_skew: 120,
            max_lifetime: 86_400,
            max_lifetime_bound: 86_400,
        },
        limits: PacketLimits {
            packet_bytes: 4_096,
            topic_bytes: 256,
            topic_levels: 16,
            filters: 8,
        },
        connect_bytes: 1_024,
        subscriptions: 4,
        denied_publish: DeniedPublish::Acknowledge,
        will_delay: 60,
        broker_account: Some(BrokerAccount {
            user_name: "gateway".into(),
            password: b"gateway's own".to_vec(),
        }),
    }
}

pub(super) fn token(signer: &Signer, client_id: &str, lifetime: u64) -> String {
    let scope = if client_id.is_empty() {
        ClientScope::Any
    } else {
        ClientScope::Exact(client_id)
    };
    let request = Request {
        algorithm: Algorithm::Eip191,
        scope,
        subscribe_only: false,
        single_use: false,
        issued: NOW,
        lifetime,
    };
    mint(signer, &settings().deployment, &request)
        .unwrap()
        .password
}

/// Stands for the user name and the password that `connect_packet` fills in.
const FILLED_IN: &str = "filled in";

pub(super) fn connect_packet<'a>(
    signer: &Signer,
    version: Version,
    client_id: &'a str,
    edit: impl FnOnce(&mut ConnectOut<'a>),
) -> Vec<u8> {
    let mut connect = ConnectOut {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 10,
        client_id,
        user_name: Some(FILLED_IN),
        password: Some(FILLED_IN.as_bytes()),
        will: None,
        properties: &[],
    };
    edit(&mut connect);
    let user_name = signer.wallet().to_string();
    let password = token(signer, client_id, 3_600);
    let fill = |given: Option<&'a [u8]>| given == Some(FILLED_IN.as_bytes());
    let connect = ConnectOut {
        user_name: connect.user_name.map(|given| {
            if fill(Some(given.as_bytes())) {
                user_name.as_str()
            } else {
                given
            }
        }),
        password: connect.password.map(|given| {
            if fill(Some(given)) {
                password.as_bytes()
            } else {
                given
            }
        }),
        ..connect
    };
    let mut packet = Vec::new();
    encode::connect(&mut packet, &connect).unwrap();
    packet
}

pub(super) fn connack(version: Version, session_present: bool, reason: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    encode::connack(&mut packet, version, session_present, reason, []).unwrap();
    packet
}

pub(super) fn id(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

pub(super) fn publish(version: Version, topic: &str, qos: Qos, packet_id: u16) -> Vec<u8> {
    publish_with(version, topic, qos, packet_id, false, &[])
}

pub(super) fn publish_with(
    version: Version,
    topic: &str,
    qos: Qos,
    packet_id: u16,
    dup: bool,
    properties: &[Property<'_>],
) -> Vec<u8> {
    let empty = [0x30, 4, 0, 1, b'x', 0];
    let frame = next_frame(&empty, Sender::Client, &settings().limits)
        .unwrap()
        .unwrap();
    let template =
        Publish::decode(&frame, Version::V5, Sender::Client, &settings().limits).unwrap();
    let publish = Publish {
        dup,
        qos,
        retain: false,
        topic: Some(TopicName::new(topic).unwrap()),
        packet_id: (qos != Qos::AtMostOnce).then(|| id(packet_id)),
        payload: b"21.5",
        ..template
    };
    let mut packet = Vec::new();
    encode::publish(&mut packet, version, &publish, properties.iter().copied()).unwrap();
    packet
}

pub(super) fn subscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut packet = Vec::new();
    let requests = filters.iter().map(|filter| (*filter, 1));
    encode::subscribe(&mut packet, version, id(packet_id), [], requests).unwrap();
    packet
}

pub(super) fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut packet = Vec::new();
    encode::unsubscribe(
        &mut packet,
        version,
        id(packet_id),
        [],
        filters.iter().copied(),
    )
    .unwrap();
    packet
}

/// The frames in `bytes`, which must be whole.
pub(super) fn frames(bytes: &[u8], sender: Sender) -> Vec<Frame<'_>> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while let Some(frame) = next_frame(rest, sender, &settings().limits).unwrap() {
        rest = &rest[frame.raw.len()..];
        frames.push(frame);
    }
    assert!(rest.is_empty(), "half a packet was written: {rest:02x?}");
    frames
}

/// A session with its time and policy.
pub(super) struct Driver {
    pub(super) session: Session,
    pub(super) snapshot: Snapshot,
    pub(super) now: UnixTime,
    pub(super) elapsed: Duration,
}

/// What one step gave.
pub(super) struct Step {
    pub(super) up: Vec<u8>,
    pub(super) down: Vec<u8>,
    pub(super) out: Output,
    pub(super) result: Result<usize, Close>,
}

impl Driver {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let session = Session::new(Arc::new(settings), [7; 16], Duration::ZERO);
        Self {
            session,
            snapshot: snapshot(),
            now: NOW,
            elapsed: Duration::ZERO,
        }
    }

    /// A live session of `signer`, its client id `client`.
    pub(super) fn live(signer: &Signer, version: Version) -> Self {
        Self::live_with(settings(), signer, version, false)
    }

    pub(super) fn live_with(
        settings: Settings,
        signer: &Signer,
        version: Version,
        session_present: bool,
    ) -> Self {
        let mut driver = Self::with(settings);
        let packet = connect_packet(signer, version, "client", |connect| {
            connect.clean_start = !session_present;
        });
        driver.client(&packet).result.unwrap();
        driver
            .broker(&connack(version, session_present, 0))
            .result
            .unwrap();
        assert_eq!(driver.session.phase(), Phase::Live);
        driver
    }

    fn step(
        &mut self,
        act: impl FnOnce(&mut Session, &Context<'_>, &mut Output) -> Result<usize, Close>,
    ) -> Step {
        let context = Context {
            snapshot: &self.snapshot,
            now: self.now,
            elapsed: self.elapsed,
        };
        let mut out = Output::default();
        let result = act(&mut self.session, &context, &mut out);
        let (up, down) = (std::mem::take(&mut out.up), std::mem::take(&mut out.down));
        Step {
            up,
            down,
            out,
            result,
        }
    }

    pub(super) fn client(&mut self, bytes: &[u8]) -> Step {
        self.step(|session, context, out| session.client_bytes(bytes, context, out))
    }

    pub(super) fn broker(&mut self, bytes: &[u8]) -> Step {
        self.step(|session, context, out| session.broker_bytes(bytes, context, out))
    }

    pub(super) fn tick(&mut self) -> Step {
        self.step(|session, context, out| session.tick(context, out).map(|()| 0))
    }

    pub(super) fn spent(&mut self, spent: Result<(), Unspent>) -> Step {
        self.step(|session, _, out| session.spent(spent, out).map(|()| 0))
    }

    pub(super) fn client_lost(&mut self) -> Step {
        self.step(|session, context, out| Err(session.client_lost(context, out)))
    }

    pub(super) fn end(&mut self, cause: Cause) -> Step {
        self.step(|session, _, out| Err(session.end(cause, out)))
    }
}
