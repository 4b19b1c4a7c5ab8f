//! PUBLISH in both directions.

use super::world::*;
use crate::mqtt::{Ack, AckType, PacketType, Property, Qos, ReasonCode, Sender, Version, encode};
use crate::offence::Offence;
use crate::session::{Cause, Close, Denial, DeniedPublish, Note, Settings};
use crate::types::Asked;

const ALL_QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

#[test]
fn a_permitted_publish_goes_up_byte_for_byte() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        for qos in ALL_QOS {
            let packet = publish(version, "plant/in", qos, 5);
            let step = driver.client(&packet);
            assert_eq!(step.up, packet);
            assert!(step.down.is_empty());
            assert_eq!(step.out.published, 1);
        }
    }
}

/// The acknowledgement in `bytes`.
fn ack(bytes: &[u8], sender: Sender, version: Version) -> (AckType, u16, ReasonCode) {
    let frames = frames(bytes, sender);
    assert_eq!(frames.len(), 1);
    let ack = Ack::decode(&frames[0], version).unwrap();
    (ack.ack_type, ack.packet_id.get(), ack.reason)
}

#[test]
fn a_denied_publish_stays_here_and_is_answered_as_the_version_says() {
    for (version, reason) in [
        (Version::V311, ReasonCode::SUCCESS),
        (Version::V5, ReasonCode::NOT_AUTHORIZED),
    ] {
        let mut driver = Driver::live(&SENSOR, version);
        for topic in ["plant/out/x", "plant", "plant/in/x", "elsewhere", "$SYS/x"] {
            for (qos, answer) in [
                (Qos::AtMostOnce, None),
                (Qos::AtLeastOnce, Some(AckType::Puback)),
                (Qos::ExactlyOnce, Some(AckType::Pubrec)),
            ] {
                let step = driver.client(&publish(version, topic, qos, 5));
                assert!(step.up.is_empty(), "{topic} went up");
                match answer {
                    None => assert!(step.down.is_empty()),
                    Some(kind) => {
                        assert_eq!(ack(&step.down, Sender::Broker, version), (kind, 5, reason));
                    }
                }
                assert!(matches!(
                    step.out.notes[..],
                    [Note::Denied {
                        asked: Asked::Publish,
                        ..
                    }]
                ));
            }
        }
    }
}

#[test]
fn a_refused_qos_2_message_is_finished_here() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        driver.client(&publish(version, "plant/out/x", Qos::ExactlyOnce, 9));
        // A retransmission gets the same answer, and no second line in the log.
        let again = publish_with(version, "plant/out/x", Qos::ExactlyOnce, 9, true, &[]);
        let step = driver.client(&again);
        assert!(step.up.is_empty() && step.out.notes.is_empty());
        assert_eq!(ack(&step.down, Sender::Broker, version).0, AckType::Pubrec);

        let mut release = Vec::new();
        encode::ack(
            &mut release,
            AckType::Pubrel,
            version,
            id(9),
            ReasonCode::SUCCESS,
        );
        let step = driver.client(&release);
        assert!(step.up.is_empty());
        assert_eq!(ack(&step.down, Sender::Broker, version).0, AckType::Pubcomp);
        // Any other PUBREL is the broker's.
        assert_eq!(driver.client(&release).up, release);
    }
}

#[test]
fn a_3_1_1_client_can_be_closed_instead() {
    let settings = || Settings {
        denied_publish: DeniedPublish::Close,
        ..settings()
    };
    let mut driver = Driver::live_with(settings(), &SENSOR, Version::V311, false);
    let step = driver.client(&publish(Version::V311, "plant/out/x", Qos::AtLeastOnce, 1));
    assert_eq!(step.result, Err(Close::quiet(Cause::PublishDenied)));
    assert!(step.up.is_empty() && step.down.is_empty());

    let mut driver = Driver::live_with(settings(), &SENSOR, Version::V5, false);
    let step = driver.client(&publish(Version::V5, "plant/out/x", Qos::AtLeastOnce, 1));
    assert!(step.result.is_ok(), "MQTT 5 has an answer for it");
}

#[test]
fn a_topic_alias_was_not_allowed() {
    let mut driver = Driver::live(&SENSOR, Version::V5);
    let alias = [Property::TopicAlias(1.try_into().unwrap())];
    let packet = publish_with(Version::V5, "plant/in", Qos::AtMostOnce, 0, false, &alias);
    let step = driver.client(&packet);
    assert!(step.up.is_empty());
    let down = frames(&step.down, Sender::Broker);
    assert_eq!(
        (down[0].packet_type, down[0].body[0]),
        (PacketType::Disconnect, 0x94)
    );
    assert_eq!(step.result.unwrap_err().offence, Some(Offence::Malformed));
}

#[test]
fn a_response_topic_must_be_one_that_the_client_may_listen_to() {
    use crate::types::TopicName;
    let mut driver = Driver::live(&SENSOR, Version::V5);
    for (response, permitted) in [("plant/out/answers", true), ("plant/in", false)] {
        let property = [Property::ResponseTopic(TopicName::new(response).unwrap())];
        let packet = publish_with(
            Version::V5,
            "plant/in",
            Qos::AtMostOnce,
            0,
            false,
            &property,
        );
        let step = driver.client(&packet);
        assert_eq!(step.up == packet, permitted, "{response}");
        let denied = Denial::ResponseTopic;
        let noted =
            matches!(&step.out.notes[..], [Note::Denied { reason, .. }] if *reason == denied);
        assert_eq!(noted, !permitted);
    }
}

#[test]
fn a_grant_that_ran_out_permits_nothing_more() {
    let mut driver = Driver::live(&SENSOR, Version::V5);
    driver.snapshot = revoked();
    let step = driver.client(&publish(Version::V5, "plant/in", Qos::AtLeastOnce, 1));
    assert!(step.up.is_empty());
    let delivery = publish(Version::V5, "plant/out/x", Qos::AtLeastOnce, 1);
    assert!(driver.broker(&delivery).down.is_empty());
}

#[test]
fn deliveries_are_decided() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        for qos in ALL_QOS {
            let permitted = publish(version, "plant/out/x", qos, 3);
            let step = driver.broker(&permitted);
            assert_eq!(step.down, permitted);
            assert!(step.up.is_empty());
            assert_eq!(step.out.delivered, 1);

            // Withheld, and acknowledged in the client's place.
            let step = driver.broker(&publish(version, "plant/in", qos, 4));
            assert!(step.down.is_empty());
            let expected = match qos {
                Qos::AtMostOnce => None,
                Qos::AtLeastOnce => Some(AckType::Puback),
                Qos::ExactlyOnce => Some(AckType::Pubrec),
            };
            match expected {
                None => assert!(step.up.is_empty()),
                Some(kind) => {
                    let success = ReasonCode::SUCCESS;
                    assert_eq!(ack(&step.up, Sender::Client, version), (kind, 4, success));
                }
            }
            assert!(matches!(
                step.out.notes[..],
                [Note::Denied {
                    asked: Asked::Delivery,
                    ..
                }]
            ));
        }
        let mut release = Vec::new();
        encode::ack(
            &mut release,
            AckType::Pubrel,
            version,
            id(4),
            ReasonCode::SUCCESS,
        );
        let step = driver.broker(&release);
        assert!(step.down.is_empty());
        assert_eq!(ack(&step.up, Sender::Client, version).0, AckType::Pubcomp);
        // The PUBREL of what was delivered is the client's.
        assert_eq!(driver.broker(&release).down, release);
    }
}

#[test]
fn malformed_packets_close_and_go_nowhere() {
    let cases: [(&[u8], u8); 4] = [
        (b"\x30\x05\x00\x03a/+", 0x90),           // a wildcard in the topic
        (b"\x36\x07\x00\x01a\x00\x01zz", 0x81),   // QoS 3
        (b"\x32\x06\x00\x01a\x00\x00\x00", 0x82), // packet id 0
        (b"\xc0\x01\x00", 0x81),                  // PINGREQ with a body
    ];
    for (bytes, reason) in cases {
        let mut driver = Driver::live(&OWNER, Version::V5);
        let step = driver.client(bytes);
        let close = step.result.unwrap_err();
        assert_eq!(close.offence, Some(Offence::Malformed), "{bytes:02x?}");
        assert!(step.up.is_empty());
        let down = frames(&step.down, Sender::Broker);
        assert_eq!(down[0].packet_type, PacketType::Disconnect);
        assert_eq!(down[0].body[0], reason, "{bytes:02x?}");
    }
}
