//! Good packets of every type, field by field.

use std::num::{NonZeroU16, NonZeroU32};

use super::Sender::{Broker, Client};
use super::*;
use crate::types::TopicFilter;

const ID: NonZeroU16 = NonZeroU16::new(0x1234).unwrap();

/// Decodes `notation` as the packet type `kind` in `version`.
macro_rules! decode {
    ($kind:ident, $version:expr, $sender:expr, $bytes:expr) => {
        match read($bytes, $version, $sender).unwrap() {
            Packet::$kind(packet) => packet,
            other => panic!("{other:?}"),
        }
    };
}

#[test]
fn connect() {
    let bytes = packet("10 'MQTT' 04 ee 000a 'me' 'gone/me' 'bye' 'user' 'secret'");
    let connect = decode!(Connect, Version::V311, Client, &bytes);
    assert_eq!(
        connect,
        Connect {
            version: Version::V311,
            bridge: false,
            clean_start: true,
            keep_alive: 10,
            client_id: "me",
            user_name: Some("user"),
            password: Some(b"secret"),
            will: Some(Will {
                topic: TopicName::new("gone/me").unwrap(),
                payload: b"bye",
                qos: Qos::AtLeastOnce,
                retain: true,
                properties: Properties::default(),
            }),
            properties: Properties::default(),
        }
    );

    let bytes = packet("10 'MQTT' 84 00 0000 'c'");
    let connect = decode!(Connect, Version::V311, Client, &bytes);
    assert!(connect.bridge && !connect.clean_start && connect.version == Version::V311);

    let bytes = packet(
        "10 'MQTT' 05 54 003c [ 11 00000e10 21 0014 27 00010000 22 000a 15 'm' 17 00 ] '' \
         [ 18 0000001e 02 00000001 08 'r' ] 't' '' 'pw'",
    );
    let connect = decode!(Connect, Version::V5, Client, &bytes);
    let properties = connect.properties;
    assert_eq!(properties.session_expiry_interval(), Some(3600));
    assert_eq!(properties.maximum_packet_size(), NonZeroU32::new(65_536));
    assert_eq!(properties.authentication_method(), Some("m"));
    for expected in [
        Property::ReceiveMaximum(NonZeroU16::new(20).unwrap()),
        Property::TopicAliasMaximum(10),
        Property::RequestProblemInformation(false),
    ] {
        assert!(properties.iter().any(|property| property == expected));
    }
    // 5.0 allows a password without a user name.
    assert_eq!(
        (connect.user_name, connect.password),
        (None, Some(&b"pw"[..]))
    );
    let will = connect.will.unwrap();
    assert_eq!(
        (will.qos, will.retain, will.payload),
        (Qos::ExactlyOnce, false, &b""[..])
    );
    assert_eq!(will.properties.will_delay_interval(), Some(30));
    assert_eq!(will.properties.response_topic().unwrap().as_str(), "r");
}

#[test]
fn nothing_shows_a_login() {
    let bytes = packet("10 'MQTT' 05 c2 003c [ 15 'm' 16 'authdata' ] 'c' 'username' 'password'");
    let frame = next_frame(&bytes, Client, &LIMITS).unwrap().unwrap();
    let connect = Connect::decode(&frame, &LIMITS).unwrap();
    let properties: Vec<_> = connect.properties.iter().collect();
    let out = encode::ConnectOut {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: "c",
        user_name: connect.user_name,
        password: connect.password,
        will: None,
        properties: &properties,
    };
    let shown = format!("{frame:?} {connect:?} {out:?}");
    assert!(shown.contains("AuthenticationMethod(\"m\")"), "{shown}");
    for secret in ["username", "password", "authdata"] {
        let as_numbers = format!("{:?}", secret.as_bytes());
        assert!(!shown.contains(secret), "{shown}");
        assert!(
            !shown.contains(as_numbers.trim_matches(['[', ']'])),
            "{shown}"
        );
    }
}

#[test]
fn connack() {
    let bytes = packet("20 01 00");
    let connack = decode!(Connack, Version::V311, Broker, &bytes);
    assert_eq!((connack.session_present, connack.reason), (true, 0));
    let bytes = packet("20 00 05");
    let connack = decode!(Connack, Version::V311, Broker, &bytes);
    assert_eq!(connack.reason, return_code::NOT_AUTHORIZED);
    let bytes = packet("20 00 00 [ 12 'made' 13 001e 24 01 ]");
    let connack = decode!(Connack, Version::V5, Broker, &bytes);
    assert_eq!(
        connack.properties.assigned_client_identifier(),
        Some("made")
    );
    assert_eq!(connack.properties.server_keep_alive(), Some(30));
    assert!(connack.properties.has(PropertyId::MaximumQos));
    assert!(!connack.properties.has(PropertyId::RetainAvailable));
}

#[test]
fn publish() {
    let bytes = packet("3d 'a/b' 1234 68656c6c6f");
    let publish = decode!(Publish, Version::V311, Client, &bytes);
    assert!(publish.dup && publish.retain && publish.qos == Qos::ExactlyOnce);
    assert_eq!(publish.topic.unwrap().as_str(), "a/b");
    assert_eq!(
        (publish.packet_id, publish.payload),
        (Some(ID), &b"hello"[..])
    );

    let bytes = packet("30 'a' 26 00");
    let publish = decode!(Publish, Version::V311, Broker, &bytes);
    assert_eq!((publish.packet_id, publish.payload), (None, &[0x26, 0][..]));

    // Two subscription identifiers, user properties in order, all that a text may hold.
    let bytes = packet("32 '\u{feff}ü\u{1}' 1234 [ 0b 01 26 'b' '2' 0b ff7f 26 'a' '1' ] ff");
    let publish = decode!(Publish, Version::V5, Broker, &bytes);
    assert_eq!(publish.topic.unwrap().as_str(), "\u{feff}ü\u{1}");
    assert_eq!(
        publish.properties.iter().collect::<Vec<_>>(),
        [
            Property::SubscriptionIdentifier(NonZeroU32::new(1).unwrap()),
            Property::UserProperty(("b", "2")),
            Property::SubscriptionIdentifier(NonZeroU32::new(0x3fff).unwrap()),
            Property::UserProperty(("a", "1")),
        ]
    );
    assert_eq!(publish.payload, [0xff]);

    let bytes = packet("30 '' [ 23 0007 ] 00");
    let publish = decode!(Publish, Version::V5, Client, &bytes);
    assert_eq!(publish.topic, None);
    assert_eq!(publish.properties.topic_alias(), NonZeroU16::new(7));

    // A payload that says it is UTF-8 isn't looked at.
    let bytes = packet("30 'a' [ 01 01 ] ff");
    assert_eq!(
        decode!(Publish, Version::V5, Client, &bytes).payload,
        [0xff]
    );
}

#[test]
fn acknowledgements() {
    for (first, ack_type) in [
        ("40", AckType::Puback),
        ("50", AckType::Pubrec),
        ("62", AckType::Pubrel),
        ("70", AckType::Pubcomp),
    ] {
        for &version in BOTH {
            let bytes = packet(&format!("{first} 1234"));
            let ack = decode!(Ack, version, Client, &bytes);
            assert_eq!((ack.ack_type, ack.packet_id), (ack_type, ID));
            assert_eq!(ack.reason, ReasonCode::SUCCESS);
        }
    }
    let bytes = packet("50 1234 87");
    assert_eq!(
        decode!(Ack, Version::V5, Client, &bytes).reason,
        ReasonCode::NOT_AUTHORIZED
    );
    let bytes = packet("50 1234 87 [ 1f 'no' ]");
    let ack = decode!(Ack, Version::V5, Broker, &bytes);
    assert!(ack.properties.iter().eq([Property::ReasonString("no")]));
}

#[test]
fn subscribe() {
    let bytes = packet("82 1234 'a/+' 02 '$share/g/b/#' 01");
    let subscribe = decode!(Subscribe, Version::V311, Client, &bytes);
    assert_eq!(subscribe.packet_id, ID);
    let [first, second] = &subscribe.requests[..] else {
        panic!("{subscribe:?}");
    };
    assert_eq!((first.text, first.options), ("a/+", 2));
    assert_eq!(second.text, "$share/g/b/#");
    assert_eq!(second.subscription.group, Some("g"));
    assert_eq!(second.subscription.filter, TopicFilter::new("b/#").unwrap());

    let bytes = packet("82 1234 [ 0b 05 ] 'a' 2e");
    let subscribe = decode!(Subscribe, Version::V5, Client, &bytes);
    assert_eq!(subscribe.requests[0].options, 0x2e);
    assert_eq!(
        subscribe.properties.iter().collect::<Vec<_>>(),
        [Property::SubscriptionIdentifier(
            NonZeroU32::new(5).unwrap()
        )]
    );
    // Eight levels of the filter itself: group and `$share` don't count.
    let bytes = packet("82 1234 '$share/g/1/2/3/4/5/6/7/8' 00");
    decode!(Subscribe, Version::V311, Client, &bytes);
}

#[test]
fn the_other_answers() {
    let bytes = packet("90 1234 00 80 02");
    assert_eq!(
        decode!(Suback, Version::V311, Broker, &bytes).reasons,
        [0x00, 0x80, 0x02]
    );
    let bytes = packet("90 1234 00 00 87");
    assert_eq!(
        decode!(Suback, Version::V5, Broker, &bytes).reasons,
        [0x00, 0x87]
    );

    let bytes = packet("a2 1234 'a' 'b/#'");
    let unsubscribe = decode!(Unsubscribe, Version::V311, Client, &bytes);
    assert_eq!(unsubscribe.filters, ["a", "b/#"]);
    let bytes = packet("a2 1234 [ 26 'k' 'v' ] 'a'");
    let unsubscribe = decode!(Unsubscribe, Version::V5, Client, &bytes);
    assert_eq!(unsubscribe.properties.iter().count(), 1);

    let bytes = packet("b0 1234");
    assert_eq!(
        decode!(Unsuback, Version::V311, Broker, &bytes).packet_id,
        ID
    );
    let bytes = packet("b0 1234 00 00 11");
    assert_eq!(
        decode!(Unsuback, Version::V5, Broker, &bytes).reasons,
        [0x00, 0x11]
    );

    for &version in BOTH {
        assert_eq!(read(&packet("c0"), version, Client), Ok(Packet::Ping));
        assert_eq!(read(&packet("d0"), version, Broker), Ok(Packet::Ping));
        assert_eq!(
            decode!(Disconnect, version, Client, &packet("e0")).reason,
            ReasonCode::SUCCESS
        );
    }
    let bytes = packet("e0 04");
    assert_eq!(
        decode!(Disconnect, Version::V5, Client, &bytes).reason,
        ReasonCode::DISCONNECT_WITH_WILL
    );
    let bytes = packet("e0 00 [ 11 00000000 ]");
    let disconnect = decode!(Disconnect, Version::V5, Client, &bytes);
    assert_eq!(disconnect.properties.session_expiry_interval(), Some(0));
    let bytes = packet("e0 8e 00");
    assert_eq!(
        decode!(Disconnect, Version::V5, Broker, &bytes).reason,
        ReasonCode::SESSION_TAKEN_OVER
    );
}

#[test]
fn reason_codes_are_shown_with_their_names() {
    assert_eq!(ReasonCode(0x87).to_string(), "0x87 (not authorized)");
}

/// Being strict must not shut out what is in use.
#[test]
fn what_mosquitto_and_its_clients_write() {
    let mut packets = 0;
    for line in include_str!("captured.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let [version, sender, stream] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("not a row: {line}");
        };
        let version = match version {
            "3.1.1" => Version::V311,
            "5.0" => Version::V5,
            _ => panic!("no version: {line}"),
        };
        let sender = if sender == "client" { Client } else { Broker };
        let stream = hex::decode(stream).unwrap();
        let mut rest = &stream[..];
        while let Some(frame) = next_frame(rest, sender, &LIMITS).unwrap() {
            let packet = Packet::decode(&frame, version, sender);
            assert!(packet.is_ok(), "{frame:?} {packet:?}");
            rest = &rest[frame.raw.len()..];
            packets += 1;
        }
        assert!(rest.is_empty());
    }
    assert_eq!(packets, 54);
}
