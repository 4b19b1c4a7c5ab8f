//! mqttbytes reads and writes 3.1.1 independently of us: where we accept, it must see the same.
//!
//! It refuses passwords that aren't UTF-8 and the bridges' protocol level, and takes an empty
//! user name or password for none; these are left out.

use mqttbytes::v4::{
    self,
    ConnectReturnCode::{
        BadClientId, BadUserNamePassword, NotAuthorized, RefusedProtocolVersion,
        ServiceUnavailable, Success,
    },
};
use proptest::prelude::*;

use super::hostile::{GOOD, changes, damaged};
use super::round_trip::{bytes, filter, packet_id, qos, text, topic};
use super::*;

fn their_read(bytes: &[u8]) -> v4::Packet {
    let mut stream = bytes.iter().copied().collect();
    v4::read(&mut stream, 1 << 20).expect("mqttbytes accepts what we accept")
}

fn their_qos(qos: Qos) -> mqttbytes::QoS {
    mqttbytes::qos(qos.bits()).unwrap()
}

fn id(packet_id: std::num::NonZeroU16) -> u16 {
    packet_id.get()
}

/// Whether `bytes` hold a packet that we accept and both could compare.
fn agree(bytes: &[u8], sender: Sender) -> bool {
    let version = Version::V311;
    let Ok(Some(frame)) = next_frame(bytes, sender, &LIMITS) else {
        return false;
    };
    let Ok(ours) = Packet::decode(&frame, version, sender) else {
        return false;
    };
    if let Packet::Connect(connect) = &ours {
        let password = connect.password.unwrap_or_default();
        if connect.bridge || connect.version == Version::V5 || str::from_utf8(password).is_err() {
            return false;
        }
    }
    match (ours, their_read(frame.raw)) {
        (Packet::Connect(ours), v4::Packet::Connect(theirs)) => {
            assert_eq!(theirs.protocol, mqttbytes::Protocol::V4);
            assert_eq!(theirs.keep_alive, ours.keep_alive);
            assert_eq!(theirs.client_id, ours.client_id);
            assert_eq!(theirs.clean_session, ours.clean_start);
            let login = theirs
                .login
                .map(|login| (login.username, login.password))
                .unwrap_or_default();
            assert_eq!(login.0, ours.user_name.unwrap_or_default());
            assert_eq!(login.1.as_bytes(), ours.password.unwrap_or_default());
            assert_eq!(theirs.last_will.is_some(), ours.will.is_some());
            if let (Some(theirs), Some(ours)) = (theirs.last_will, ours.will) {
                assert_eq!(theirs.topic, ours.topic.as_str());
                assert_eq!(theirs.message, ours.payload);
                assert_eq!(theirs.qos, their_qos(ours.qos));
                assert_eq!(theirs.retain, ours.retain);
            }
        }
        (Packet::Connack(ours), v4::Packet::ConnAck(theirs)) => {
            assert_eq!(theirs.session_present, ours.session_present);
            assert_eq!(theirs.code as u8, ours.reason);
        }
        (Packet::Publish(ours), v4::Packet::Publish(theirs)) => {
            assert_eq!((theirs.dup, theirs.retain), (ours.dup, ours.retain));
            assert_eq!(theirs.qos, their_qos(ours.qos));
            assert_eq!(theirs.topic, ours.topic.unwrap().as_str());
            assert_eq!(theirs.pkid, ours.packet_id.map_or(0, id));
            assert_eq!(theirs.payload, ours.payload);
        }
        (Packet::Ack(ours), theirs) => {
            let theirs = match theirs {
                v4::Packet::PubAck(ack) => (AckType::Puback, ack.pkid),
                v4::Packet::PubRec(ack) => (AckType::Pubrec, ack.pkid),
                v4::Packet::PubRel(ack) => (AckType::Pubrel, ack.pkid),
                v4::Packet::PubComp(ack) => (AckType::Pubcomp, ack.pkid),
                other => panic!("{ours:?} {other:?}"),
            };
            assert_eq!(theirs, (ours.ack_type, id(ours.packet_id)));
        }
        (Packet::Subscribe(ours), v4::Packet::Subscribe(theirs)) => {
            assert_eq!(theirs.pkid, id(ours.packet_id));
            let ours = ours
                .requests
                .iter()
                .map(|r| (r.text, their_qos(Qos::from_bits(r.options & 0b11).unwrap())));
            assert!(theirs.filters.iter().map(|f| (&*f.path, f.qos)).eq(ours));
        }
        (Packet::Suback(ours), v4::Packet::SubAck(theirs)) => {
            assert_eq!(theirs.pkid, id(ours.packet_id));
            let codes = theirs.return_codes.iter().map(|code| match code {
                v4::SubscribeReasonCode::Success(qos) => *qos as u8,
                v4::SubscribeReasonCode::Failure => return_code::SUBSCRIBE_FAILURE,
            });
            assert!(codes.eq(ours.reasons.iter().copied()));
        }
        (Packet::Unsubscribe(ours), v4::Packet::Unsubscribe(theirs)) => {
            assert_eq!(
                (theirs.pkid, theirs.topics.len()),
                (id(ours.packet_id), ours.filters.len())
            );
            assert!(theirs.topics.iter().zip(ours.filters).all(|(t, o)| t == o));
        }
        (Packet::Unsuback(ours), v4::Packet::UnsubAck(theirs)) => {
            assert_eq!(theirs.pkid, id(ours.packet_id));
        }
        (Packet::Ping, v4::Packet::PingReq | v4::Packet::PingResp)
        | (Packet::Disconnect(_), v4::Packet::Disconnect) => {}
        (ours, theirs) => panic!("{ours:?} {theirs:?}"),
    }
    true
}

/// Every single byte of the good 3.1.1 packets, set to every value.
#[test]
fn one_other_byte() {
    let mut compared = 0;
    for &(version, sender, notation) in GOOD {
        if version == Version::V5 {
            continue;
        }
        let mut bytes = packet(notation);
        assert!(agree(&bytes, sender), "{notation}");
        for at in 0..bytes.len() {
            let before = bytes[at];
            for value in 0..=255 {
                bytes[at] = value;
                compared += usize::from(agree(&bytes, sender));
            }
            bytes[at] = before;
        }
    }
    assert!(compared > 5_000, "{compared}");
}

/// What mqttbytes writes of `packet`, which is valid 3.1.1: we must read it as it does.
macro_rules! accepted {
    ($packet:expr, $sender:expr) => {{
        let mut written = Default::default();
        $packet.write(&mut written).unwrap();
        prop_assert!(agree(&written, $sender), "{:02x?}", &written[..]);
    }};
}

proptest! {
    #[test]
    fn what_they_write(
        (clean_session, dup, retain) in any::<(bool, bool, bool)>(),
        keep_alive: u16,
        (client_id, user_name, password) in (text(), text(), text()),
        will in prop::option::of((topic(), bytes(), qos())),
        (topic, payload, qos) in (topic(), bytes(), qos()),
        pkid in packet_id(),
        filters in prop::collection::vec((filter(), qos()), 1..=LIMITS.filters),
        code in 0..=5u8,
    ) {
        let pkid = pkid.get();
        let mut connect = v4::Connect::new(client_id);
        connect.clean_session = clean_session;
        connect.keep_alive = keep_alive;
        // A password without a user name isn't valid 3.1.1.
        connect.login = (!user_name.is_empty()).then(|| v4::Login::new(user_name, password));
        connect.last_will = will
            .map(|(topic, payload, qos)| v4::LastWill::new(topic, payload, their_qos(qos), retain));
        accepted!(connect, Sender::Client);

        let mut publish = v4::Publish::new(topic, their_qos(qos), payload);
        publish.retain = retain;
        if qos != Qos::AtMostOnce {
            publish.pkid = pkid;
            publish.dup = dup;
        }
        accepted!(publish, Sender::Client);
        accepted!(publish, Sender::Broker);

        accepted!(v4::PubAck::new(pkid), Sender::Client);
        accepted!(v4::PubRec::new(pkid), Sender::Broker);
        accepted!(v4::PubRel::new(pkid), Sender::Client);
        accepted!(v4::PubComp::new(pkid), Sender::Broker);
        accepted!(v4::UnsubAck::new(pkid), Sender::Broker);

        let mut subscribe = v4::Subscribe::empty_subscribe();
        subscribe.pkid = pkid;
        for (filter, qos) in &filters {
            subscribe.add(filter.clone(), their_qos(*qos));
        }
        accepted!(subscribe, Sender::Client);
        let mut codes: Vec<_> = filters
            .iter()
            .map(|(_, qos)| v4::SubscribeReasonCode::Success(their_qos(*qos)))
            .collect();
        codes.push(v4::SubscribeReasonCode::Failure);
        accepted!(v4::SubAck::new(pkid, codes), Sender::Broker);
        let unsubscribe = v4::Unsubscribe {
            pkid,
            topics: filters.into_iter().map(|(filter, _)| filter).collect(),
        };
        accepted!(unsubscribe, Sender::Client);

        let code = [
            Success, RefusedProtocolVersion, BadClientId, ServiceUnavailable, BadUserNamePassword,
            NotAuthorized,
        ][usize::from(code)];
        accepted!(v4::ConnAck::new(code, code == Success && retain), Sender::Broker);
        accepted!(v4::PingReq, Sender::Client);
        accepted!(v4::PingResp, Sender::Broker);
        accepted!(v4::Disconnect, Sender::Client);
    }

    #[test]
    fn what_we_accept(
        which in 0..GOOD.len(),
        changes in changes(),
    ) {
        let (sender, bytes) = damaged(which, changes);
        agree(&bytes, sender);
    }
}
