//! Random histories, judged by what must hold whatever happens.

use std::collections::HashMap;

use proptest::prelude::*;

use super::world::*;
use crate::mqtt::{
    Ack, AckType, PacketType, Publish, Qos, ReasonCode, Sender, Subscribe, Version, encode,
};
use crate::policy::decide;
use crate::types::{Action, Principal};

#[derive(Clone, Debug)]
enum Move {
    ClientPublish {
        topic: usize,
        qos: u8,
        packet_id: u16,
        dup: bool,
    },
    ClientSubscribe {
        filters: Vec<usize>,
        packet_id: u16,
    },
    ClientUnsubscribe {
        filters: Vec<usize>,
        packet_id: u16,
    },
    ClientAck {
        kind: usize,
        packet_id: u16,
    },
    BrokerPublish {
        topic: usize,
        qos: u8,
        packet_id: u16,
    },
    BrokerAck {
        kind: usize,
        packet_id: u16,
    },
    /// The broker answers the oldest SUBSCRIBE or UNSUBSCRIBE that it got.
    BrokerAnswers,
    Revoke,
    Restore,
}

const TOPICS: [&str; 8] = [
    "plant/in",
    "plant/out",
    "plant/out/x",
    "plant",
    "plant/in/x",
    "other",
    "$SYS/x",
    "/",
];
const FILTERS: [&str; 8] = [
    "plant/in",
    "plant/out/#",
    "plant/out/x",
    "#",
    "plant/+",
    "+/out/x",
    "$SYS/#",
    "plant/out/+",
];
const ACKS: [AckType; 4] = [
    AckType::Puback,
    AckType::Pubrec,
    AckType::Pubrel,
    AckType::Pubcomp,
];

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let packet_id = 1..6_u16;
    let filters = prop::collection::vec(0..FILTERS.len(), 1..4);
    let one = prop_oneof![
        4 => (0..TOPICS.len(), 0..3_u8, packet_id.clone(), any::<bool>()).prop_map(
            |(topic, qos, packet_id, dup)| Move::ClientPublish { topic, qos, packet_id, dup }),
        3 => (filters.clone(), packet_id.clone())
            .prop_map(|(filters, packet_id)| Move::ClientSubscribe { filters, packet_id }),
        1 => (filters, packet_id.clone())
            .prop_map(|(filters, packet_id)| Move::ClientUnsubscribe { filters, packet_id }),
        2 => (0..4_usize, packet_id.clone())
            .prop_map(|(kind, packet_id)| Move::ClientAck { kind, packet_id }),
        4 => (0..TOPICS.len(), 0..3_u8, packet_id.clone())
            .prop_map(|(topic, qos, packet_id)| Move::BrokerPublish { topic, qos, packet_id }),
        2 => (0..4_usize, packet_id)
            .prop_map(|(kind, packet_id)| Move::BrokerAck { kind, packet_id }),
        4 => Just(Move::BrokerAnswers),
        1 => Just(Move::Revoke),
        1 => Just(Move::Restore),
    ];
    prop::collection::vec(one, 1..60)
}

fn names(indices: &[usize]) -> Vec<&'static str> {
    indices.iter().map(|index| FILTERS[*index]).collect()
}

/// What the model remembers of the other two.
struct Model {
    driver: Driver,
    version: Version,
    /// SUBSCRIBE and UNSUBSCRIBE that the broker hasn't answered.
    at_broker: Vec<(PacketType, u16, usize)>,
    /// Packet id → what the client waits for, and with how many reasons.
    awaited: HashMap<u16, (PacketType, usize)>,
}

impl Model {
    fn principal() -> Principal {
        Principal {
            wallet: SENSOR.wallet(),
            device: None,
            client_id: "client".into(),
        }
    }

    fn permits(&self, action: Action<'_>) -> bool {
        decide(&self.driver.snapshot, &Self::principal(), action, NOW).is_permit()
    }

    /// Everything that went up is permitted; the broker remembers what it has to answer.
    fn check_up(&mut self, up: &[u8]) {
        let limits = settings().limits;
        for frame in frames(up, Sender::Client) {
            match frame.packet_type {
                PacketType::Publish => {
                    let publish =
                        Publish::decode(&frame, self.version, Sender::Client, &limits).unwrap();
                    assert!(
                        self.permits(Action::Publish(publish.topic.unwrap())),
                        "{publish:?}"
                    );
                }
                PacketType::Subscribe => {
                    let subscribe = Subscribe::decode(&frame, self.version, &limits).unwrap();
                    for request in &subscribe.requests {
                        let filter = request.subscription.filter;
                        assert!(self.permits(Action::Subscribe(filter)), "{}", request.text);
                    }
                    let id = subscribe.packet_id.get();
                    self.ask_broker(PacketType::Suback, id, subscribe.requests.len());
                }
                PacketType::Unsubscribe => {
                    let unsubscribe =
                        crate::mqtt::Unsubscribe::decode(&frame, self.version, &limits).unwrap();
                    let id = unsubscribe.packet_id.get();
                    self.ask_broker(PacketType::Unsuback, id, unsubscribe.filters.len());
                }
                _ => {}
            }
        }
    }

    fn ask_broker(&mut self, answer: PacketType, id: u16, filters: usize) {
        let in_use = self.at_broker.iter().any(|(_, other, _)| *other == id);
        assert!(!in_use, "packet id {id} is used twice at once upstream");
        self.at_broker.push((answer, id, filters));
    }

    /// Everything that came down may be received, and every answer is one that is waited for.
    fn check_down(&mut self, down: &[u8]) {
        let limits = settings().limits;
        for frame in frames(down, Sender::Broker) {
            match frame.packet_type {
                PacketType::Publish => {
                    let publish =
                        Publish::decode(&frame, self.version, Sender::Broker, &limits).unwrap();
                    assert!(
                        self.permits(Action::Receive(publish.topic.unwrap())),
                        "{publish:?}"
                    );
                }
                PacketType::Suback | PacketType::Unsuback => {
                    let id = u16::from_be_bytes([frame.body[0], frame.body[1]]);
                    let (kind, filters) = self.awaited.remove(&id).expect("a second answer");
                    assert_eq!(kind, frame.packet_type);
                    if kind == PacketType::Suback {
                        let suback = crate::mqtt::Suback::decode(&frame, self.version).unwrap();
                        assert_eq!(suback.reasons.len(), filters);
                    }
                }
                _ => {}
            }
        }
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        let step = self.driver.client(bytes);
        assert_eq!(step.result, Ok(bytes.len()));
        self.check_up(&step.up);
        self.check_down(&step.down);
    }

    fn broker_sends(&mut self, bytes: &[u8]) {
        let step = self.driver.broker(bytes);
        assert_eq!(step.result, Ok(bytes.len()));
        self.check_up(&step.up);
        self.check_down(&step.down);
    }

    fn ack(&self, kind: usize, packet_id: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        encode::ack(
            &mut packet,
            ACKS[kind],
            self.version,
            id(packet_id),
            ReasonCode::SUCCESS,
        );
        packet
    }

    fn play(&mut self, step: &Move) {
        let version = self.version;
        match step {
            Move::ClientPublish {
                topic,
                qos,
                packet_id,
                dup,
            } => {
                let qos = Qos::from_bits(*qos).unwrap();
                let packet = publish_with(version, TOPICS[*topic], qos, *packet_id, *dup, &[]);
                self.client_sends(&packet);
            }
            // An honest client uses a packet id for one request at a time.
            Move::ClientSubscribe { packet_id, .. } | Move::ClientUnsubscribe { packet_id, .. }
                if self.awaited.contains_key(packet_id) => {}
            Move::ClientSubscribe { filters, packet_id } => {
                self.awaited
                    .insert(*packet_id, (PacketType::Suback, filters.len()));
                self.client_sends(&subscribe(version, *packet_id, &names(filters)));
            }
            Move::ClientUnsubscribe { filters, packet_id } => {
                self.awaited
                    .insert(*packet_id, (PacketType::Unsuback, filters.len()));
                self.client_sends(&unsubscribe(version, *packet_id, &names(filters)));
            }
            Move::ClientAck { kind, packet_id } => self.client_sends(&self.ack(*kind, *packet_id)),
            Move::BrokerPublish {
                topic,
                qos,
                packet_id,
            } => {
                let qos = Qos::from_bits(*qos).unwrap();
                self.broker_sends(&publish(version, TOPICS[*topic], qos, *packet_id));
            }
            Move::BrokerAck { kind, packet_id } => self.broker_sends(&self.ack(*kind, *packet_id)),
            Move::BrokerAnswers => self.broker_answers(),
            Move::Revoke => self.driver.snapshot = revoked(),
            Move::Restore => self.driver.snapshot = snapshot(),
        }
    }

    fn broker_answers(&mut self) {
        if self.at_broker.is_empty() {
            return;
        }
        let (kind, packet_id, filters) = self.at_broker.remove(0);
        let mut packet = Vec::new();
        let reasons = vec![0; filters];
        let written = if kind == PacketType::Suback {
            encode::suback(&mut packet, self.version, id(packet_id), [], &reasons)
        } else {
            encode::unsuback(&mut packet, self.version, id(packet_id), [], &reasons)
        };
        written.unwrap();
        self.broker_sends(&packet);
    }
}

proptest! {
    #[test]
    fn histories(v5 in any::<bool>(), resumed in any::<bool>(), moves in moves()) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        let settings = crate::session::Settings { subscriptions: 100, ..settings() };
        let driver = Driver::live_with(settings, &SENSOR, version, resumed);
        let mut model =
            Model { driver, version, at_broker: Vec::new(), awaited: HashMap::new() };
        for step in &moves {
            model.play(step);
        }
        // However it went, every request gets its one answer in the end.
        while !model.at_broker.is_empty() {
            model.broker_answers();
        }
        prop_assert!(model.awaited.is_empty(), "never answered: {:?}", model.awaited);
    }

    #[test]
    fn any_bytes_from_the_client(v5 in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        let mut driver = Driver::live(&SENSOR, version);
        let _ = driver.client(&bytes);
        let _ = Driver::new().client(&bytes);
    }

    #[test]
    fn any_bytes_from_the_broker(v5 in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        let mut driver = Driver::live(&SENSOR, version);
        let _ = driver.broker(&bytes);
    }
}

/// The model itself notices a session that passes everything on.
#[test]
#[should_panic(expected = "plant/out/x")]
fn the_model_notices_what_must_not_go_up() {
    let driver = Driver::live(&SENSOR, Version::V5);
    let mut model = Model {
        driver,
        version: Version::V5,
        at_broker: Vec::new(),
        awaited: HashMap::new(),
    };
    model.check_up(&publish(Version::V5, "plant/out/x", Qos::AtMostOnce, 0));
}

#[test]
fn acknowledgements_of_the_client_reach_the_broker() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        for kind in ACKS {
            let mut packet = Vec::new();
            encode::ack(&mut packet, kind, version, id(3), ReasonCode::SUCCESS);
            let step = driver.client(&packet);
            assert_eq!(step.up, packet);
            assert_eq!(
                Ack::decode(&frames(&step.up, Sender::Client)[0], version)
                    .unwrap()
                    .ack_type,
                kind
            );
        }
    }
}
