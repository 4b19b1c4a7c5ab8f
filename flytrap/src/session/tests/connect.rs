//! The judgement of CONNECT and CONNACK.

use super::world::*;
use crate::identity::{Fault, upstream_client_id};
use crate::mqtt::encode::WillOut;
use crate::mqtt::{
    Connack, Connect, PacketType, Property, Qos, ReasonCode, Sender, Version, encode,
};
use crate::offence::Offence;
use crate::session::{Cause, Close, LoginRefusal, Note, Phase};
use crate::types::{TopicName, UnixTime};

#[test]
fn nothing_goes_up_before_the_last_byte_of_connect() {
    for version in BOTH {
        let packet = connect_packet(&SENSOR, version, "client", |_| ());
        for cut in 0..packet.len() {
            let mut driver = Driver::new();
            let step = driver.client(&packet[..cut]);
            assert_eq!(step.result, Ok(0), "{cut}");
            assert!(step.up.is_empty() && step.down.is_empty());
            assert_eq!(driver.session.phase(), Phase::AwaitConnect);
        }
    }
}

#[test]
fn the_gateways_own_connect_goes_up() {
    for version in BOTH {
        let packet = connect_packet(&SENSOR, version, "client", |_| ());
        let step = Driver::new().client(&packet);
        let up = frames(&step.up, Sender::Client);
        let connect = Connect::decode(&up[0], &settings().limits).unwrap();
        assert_eq!(connect.user_name, Some("gateway"));
        assert_eq!(connect.password, Some(&b"gateway's own"[..]));
        assert_eq!(
            connect.client_id,
            upstream_client_id(SENSOR.wallet(), None, "client")
        );
        assert_eq!((connect.keep_alive, connect.clean_start), (10, true));
        let token = token(&SENSOR, "client", 3_600);
        let holds = |needle: &[u8]| step.up.windows(needle.len()).any(|part| part == needle);
        assert!(
            !holds(&token.as_bytes()[..32]),
            "a part of the token went up"
        );
        assert!(
            !holds(SENSOR.wallet().to_string().as_bytes()),
            "the user name went up"
        );
    }
}

#[test]
fn two_wallets_with_one_client_id_have_two_ids_upstream() {
    let id_of = |signer| {
        let step = Driver::new().client(&connect_packet(signer, Version::V5, "client", |_| ()));
        let up = frames(&step.up, Sender::Client);
        Connect::decode(&up[0], &settings().limits)
            .unwrap()
            .client_id
            .to_owned()
    };
    assert_ne!(id_of(&SENSOR), id_of(&OWNER));
    assert_eq!(id_of(&SENSOR), id_of(&SENSOR));
}

#[test]
fn a_user_property_carries_the_token_and_stays_here() {
    let token = token(&SENSOR, "client", 3_600);
    let properties = [
        Property::SessionExpiryInterval(300),
        Property::TopicAliasMaximum(9),
        Property::UserProperty(("site", "north")),
        Property::UserProperty(("flytrap-token", &token)),
        Property::UserProperty(("site", "south")),
    ];
    let user_name = SENSOR.wallet().to_string();
    let mut packet = Vec::new();
    let connect = encode::ConnectOut {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 10,
        client_id: "client",
        user_name: Some(&user_name),
        password: None,
        will: None,
        properties: &properties,
    };
    encode::connect(&mut packet, &connect).unwrap();
    let step = Driver::new().client(&packet);
    let up = frames(&step.up, Sender::Client);
    let connect = Connect::decode(&up[0], &settings().limits).unwrap();
    let passed: Vec<_> = connect.properties.iter().collect();
    assert_eq!(
        passed,
        [
            Property::SessionExpiryInterval(300),
            Property::UserProperty(("site", "north")),
            Property::UserProperty(("site", "south")),
            Property::MaximumPacketSize(4_096.try_into().unwrap()),
        ]
    );
}

#[test]
fn two_tokens_are_refused() {
    let good = token(&SENSOR, "client", 3_600);
    let twice = [Property::UserProperty(("flytrap-token", &good)); 2];
    for (password, properties) in [(true, &twice[..1]), (false, &twice[..]), (true, &twice[..])] {
        let packet = connect_packet(&SENSOR, Version::V5, "client", |connect| {
            connect.properties = properties;
            if !password {
                connect.password = None;
            }
        });
        let (answer, close) = refused(&packet, NOW);
        assert_eq!(answer, 0x86);
        let why = LoginRefusal::AuthFailed(Fault::TwoTokens);
        assert_eq!(close.cause, Cause::Refused(why));
    }
}

/// The code in the CONNACK that answers `packet`, and the close.
fn refused(packet: &[u8], now: UnixTime) -> (u8, Close) {
    let mut driver = Driver::new();
    driver.now = now;
    let step = driver.client(packet);
    assert!(step.up.is_empty(), "a refused CONNECT went up");
    let close = step.result.unwrap_err();
    let down = frames(&step.down, Sender::Broker);
    assert_eq!(down.len(), 1);
    assert_eq!(down[0].packet_type, PacketType::Connack);
    (down[0].body[1], close)
}

#[test]
fn a_wrong_token_is_an_offence() {
    for (version, code) in [(Version::V311, 0x04), (Version::V5, 0x86)] {
        let good = token(&SENSOR, "client", 3_600);
        let mut wrong = good.clone();
        wrong.replace_range(
            60..61,
            if good.as_bytes()[60] == b'A' {
                "B"
            } else {
                "A"
            },
        );
        for password in [wrong.as_bytes(), b"testing", b""] {
            let packet = connect_packet(&SENSOR, version, "client", |connect| {
                connect.password = Some(password);
            });
            let (answer, close) = refused(&packet, NOW);
            assert_eq!(answer, code);
            assert_eq!(close.offence, Some(Offence::AuthFailed));
        }
        let none = connect_packet(&SENSOR, version, "client", |connect| {
            (connect.user_name, connect.password) = (None, None);
        });
        let (answer, close) = refused(&none, NOW);
        assert_eq!(answer, code);
        assert_eq!(close.cause, Cause::Refused(LoginRefusal::NoCredentials));
        assert_eq!(close.offence, Some(Offence::AuthFailed));
    }
}

#[test]
fn an_expired_token_is_no_offence_and_its_answer_waits() {
    for (version, code) in [(Version::V311, 0x05), (Version::V5, 0x87)] {
        let packet = connect_packet(&SENSOR, version, "client", |_| ());
        let (answer, close) = refused(&packet, NOW.plus(3_600));
        assert_eq!(answer, code);
        assert_eq!(close.offence, None);
        assert!(close.delay);
        let Cause::Refused(LoginRefusal::TokenStale { .. }) = close.cause else {
            panic!("{:?}", close.cause);
        };
    }
}

#[test]
fn a_wallet_without_rights_is_not_admitted() {
    for (version, code) in [(Version::V311, 0x05), (Version::V5, 0x87)] {
        let packet = connect_packet(&STRANGER, version, "client", |_| ());
        let (answer, close) = refused(&packet, NOW);
        assert_eq!(answer, code);
        assert_eq!(close.offence, Some(Offence::AclDenied));
    }
}

#[test]
fn a_will_is_authorised_at_connect() {
    let will = |topic| WillOut {
        topic: TopicName::new(topic).unwrap(),
        payload: b"gone",
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: &[],
    };
    for version in BOTH {
        let packet = connect_packet(&SENSOR, version, "client", |connect| {
            connect.will = Some(will("plant/out/x"));
        });
        let (_, close) = refused(&packet, NOW);
        assert!(
            matches!(close.cause, Cause::Refused(LoginRefusal::Will { .. })),
            "{close:?}"
        );

        let packet = connect_packet(&SENSOR, version, "client", |connect| {
            connect.will = Some(will("plant/in"));
        });
        let step = Driver::new().client(&packet);
        let up = frames(&step.up, Sender::Client);
        let passed = Connect::decode(&up[0], &settings().limits)
            .unwrap()
            .will
            .unwrap();
        assert_eq!(
            (passed.topic.as_str(), passed.payload),
            ("plant/in", &b"gone"[..])
        );
        assert!(passed.retain && passed.qos == Qos::AtLeastOnce);
    }
}

#[test]
fn a_will_delay_is_capped() {
    let properties = [Property::WillDelayInterval(86_400)];
    let packet = connect_packet(&SENSOR, Version::V5, "client", |connect| {
        connect.will = Some(WillOut {
            topic: TopicName::new("plant/in").unwrap(),
            payload: b"",
            qos: Qos::AtMostOnce,
            retain: false,
            properties: &properties,
        });
    });
    let step = Driver::new().client(&packet);
    let up = frames(&step.up, Sender::Client);
    let will = Connect::decode(&up[0], &settings().limits)
        .unwrap()
        .will
        .unwrap();
    assert_eq!(will.properties.will_delay_interval(), Some(60));
}

#[test]
fn an_empty_client_id() {
    let old = connect_packet(&SENSOR, Version::V311, "", |connect| {
        connect.clean_start = false;
    });
    assert_eq!(refused(&old, NOW).0, 0x02);

    let mut driver = Driver::new();
    driver
        .client(&connect_packet(&SENSOR, Version::V5, "", |_| ()))
        .result
        .unwrap();
    let step = driver.broker(&connack(Version::V5, false, 0));
    let down = frames(&step.down, Sender::Broker);
    let answer = Connack::decode(&down[0], Version::V5).unwrap();
    let assigned = answer.properties.assigned_client_identifier().unwrap();
    assert_eq!(driver.session.principal().unwrap().client_id, assigned);
}

#[test]
fn other_versions_and_methods_are_refused() {
    let level_3 = b"\x10\x11\x00\x06MQIsdp\x03\x02\x00\x0a\x00\x03abc";
    assert_eq!(refused(level_3, NOW).0, 0x01);
    let properties = [Property::AuthenticationMethod("SCRAM-SHA-1")];
    let packet = connect_packet(&SENSOR, Version::V5, "client", |connect| {
        connect.properties = &properties;
    });
    assert_eq!(
        refused(&packet, NOW).0,
        ReasonCode::BAD_AUTHENTICATION_METHOD.0
    );
}

#[test]
fn the_first_packet_must_be_connect_and_not_too_large() {
    let step = Driver::new().client(&publish(Version::V311, "plant/in", Qos::AtMostOnce, 0));
    assert!(matches!(
        step.result,
        Err(Close {
            offence: Some(Offence::Malformed),
            ..
        })
    ));
    assert!(step.up.is_empty() && step.down.is_empty());

    // The header alone says that it will be over `connect_bytes`.
    let step = Driver::new().client(&[0x10, 0x80, 0x10]);
    assert!(matches!(
        step.result,
        Err(Close {
            cause: Cause::Malformed(_),
            ..
        })
    ));
}

#[test]
fn packets_behind_connect_wait_for_connack() {
    for version in BOTH {
        let mut driver = Driver::new();
        let connect = connect_packet(&SENSOR, version, "client", |_| ());
        let behind = publish(version, "plant/in", Qos::AtMostOnce, 0);
        let both = [connect.clone(), behind.clone()].concat();
        let step = driver.client(&both);
        assert_eq!(step.result, Ok(connect.len()));
        assert_eq!(driver.client(&behind).result, Ok(0));
        driver.broker(&connack(version, false, 0)).result.unwrap();
        assert_eq!(driver.client(&behind).up, behind);
    }
}

#[test]
fn connack_tells_what_broker_and_gateway_can_do() {
    let mut driver = Driver::new();
    driver
        .client(&connect_packet(&SENSOR, Version::V5, "client", |_| ()))
        .result
        .unwrap();
    let mut packet = Vec::new();
    let properties = [
        Property::ReceiveMaximum(20.try_into().unwrap()),
        Property::TopicAliasMaximum(10),
        Property::MaximumPacketSize(1_000_000.try_into().unwrap()),
        Property::SharedSubscriptionAvailable(false),
        Property::ServerReference("broker.internal"),
        Property::UserProperty(("version", "5.0.1")),
        Property::ReasonString("welcome to broker.internal"),
    ];
    encode::connack(&mut packet, Version::V5, true, 0, properties).unwrap();
    let step = driver.broker(&packet);
    let down = frames(&step.down, Sender::Broker);
    let answer = Connack::decode(&down[0], Version::V5).unwrap();
    assert!(answer.session_present);
    let told: Vec<_> = answer.properties.iter().collect();
    assert_eq!(
        told,
        [
            Property::ReceiveMaximum(20.try_into().unwrap()),
            Property::SharedSubscriptionAvailable(false),
            Property::MaximumPacketSize(4_096.try_into().unwrap()),
        ]
    );
    assert!(matches!(step.out.notes[..], [Note::LoggedIn { .. }]));
}

#[test]
fn a_broker_that_refuses_the_gateways_account_is_unavailable() {
    for (version, theirs, told) in [
        (Version::V311, 0x04, 0x03),
        (Version::V311, 0x05, 0x03),
        (Version::V5, 0x86, 0x88),
        (Version::V5, 0x9d, 0x88),
        (Version::V5, 0x9b, 0x9b),
    ] {
        let mut driver = Driver::new();
        driver
            .client(&connect_packet(&SENSOR, version, "client", |_| ()))
            .result
            .unwrap();
        let step = driver.broker(&connack(version, false, theirs));
        assert_eq!(step.result, Err(Close::quiet(Cause::BrokerEnded(theirs))));
        assert_eq!(frames(&step.down, Sender::Broker)[0].body[1], told);
    }
}

#[test]
fn a_persistent_session_is_asked_for_as_the_client_did() {
    for version in BOTH {
        for clean_start in [true, false] {
            let packet = connect_packet(&SENSOR, version, "client", |connect| {
                connect.clean_start = clean_start;
            });
            let step = Driver::new().client(&packet);
            let up = frames(&step.up, Sender::Client);
            let connect = Connect::decode(&up[0], &settings().limits).unwrap();
            assert_eq!(connect.clean_start, clean_start);
        }
    }
}

/// With `admit = "any"` a wallet without rights may connect, but leaves nothing in the broker.
#[test]
fn a_guest_has_no_persistent_session_and_no_will() {
    let properties = [Property::SessionExpiryInterval(300)];
    let mut driver = Driver::new();
    driver.snapshot = open_door();
    let packet = connect_packet(&STRANGER, Version::V5, "client", |connect| {
        connect.clean_start = false;
        connect.properties = &properties;
    });
    let step = driver.client(&packet);
    let up = frames(&step.up, Sender::Client);
    let connect = Connect::decode(&up[0], &settings().limits).unwrap();
    assert!(connect.clean_start);
    assert_eq!(connect.properties.session_expiry_interval(), None);
    let step = driver.broker(&connack(Version::V5, false, 0));
    let down = frames(&step.down, Sender::Broker);
    let answer = Connack::decode(&down[0], Version::V5).unwrap();
    assert_eq!(answer.properties.session_expiry_interval(), Some(0));
    // A DISCONNECT can't make the session last either.
    let lasting = [0xe0, 7, 0x00, 5, 0x11, 0, 0, 1, 44];
    assert_eq!(driver.client(&lasting).up, [0xe0, 0]);

    let mut driver = Driver::new();
    driver.snapshot = open_door();
    let packet = connect_packet(&STRANGER, Version::V5, "client", |connect| {
        connect.will = Some(WillOut {
            topic: TopicName::new("plant/in").unwrap(),
            payload: b"",
            qos: Qos::AtMostOnce,
            retain: false,
            properties: &[],
        });
    });
    assert!(driver.client(&packet).up.is_empty());
}

#[test]
fn a_token_for_subscribing_only() {
    use crate::identity::{Algorithm, ClientScope, Request, mint};
    let request = Request {
        algorithm: Algorithm::Eip712,
        scope: ClientScope::Exact("client"),
        subscribe_only: true,
        single_use: false,
        issued: NOW,
        lifetime: 3_600,
    };
    let token = mint(&OWNER, &settings().deployment, &request)
        .unwrap()
        .password;
    let mut driver = Driver::new();
    let packet = connect_packet(&OWNER, Version::V5, "client", |connect| {
        connect.password = Some(token.as_bytes());
    });
    driver.client(&packet).result.unwrap();
    driver
        .broker(&connack(Version::V5, false, 0))
        .result
        .unwrap();
    let publish = publish(Version::V5, "plant/in", Qos::AtLeastOnce, 1);
    assert!(driver.client(&publish).up.is_empty());
    let subscribe = subscribe(Version::V5, 2, &["plant/#"]);
    assert_eq!(driver.client(&subscribe).up, subscribe);
}

#[test]
fn a_malformed_mqtt_5_connect_is_told_why() {
    // The reserved connect flag is set.
    let step = Driver::new().client(b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x0a\x00\x00\x00");
    assert!(matches!(
        step.result,
        Err(Close {
            cause: Cause::Malformed(_),
            ..
        })
    ));
    assert_eq!(step.down, [0x20, 3, 0, 0x81, 0]);
    let old = Driver::new().client(b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x0a\x00\x00");
    assert!(old.down.is_empty() && old.result.is_err());
}

#[test]
fn a_single_use_is_to_be_written_down_before_the_broker_is_dialled() {
    use crate::identity::{Algorithm, ClientScope, Request, Staleness, Token, mint};
    use crate::session::{SingleUse, Unspent};
    let request = Request {
        algorithm: Algorithm::Eip191,
        scope: ClientScope::Exact("client"),
        subscribe_only: false,
        single_use: true,
        issued: NOW,
        lifetime: 600,
    };
    let token = mint(&OWNER, &settings().deployment, &request)
        .unwrap()
        .password;
    let nonce = Token::decode(token.as_bytes()).unwrap().claims.nonce;
    for version in BOTH {
        let packet = connect_packet(&OWNER, version, "client", |connect| {
            connect.password = Some(token.as_bytes());
        });
        let mut driver = Driver::new();
        driver.client(&packet).result.unwrap();
        let expected = SingleUse {
            wallet: OWNER.wallet(),
            device: None,
            nonce,
            expires: NOW.plus(600),
        };
        assert_eq!(driver.session.to_spend(), Some(expected));
        assert!(driver.spent(Ok(())).result.is_ok());
        assert_eq!(driver.session.to_spend(), None);
        driver.broker(&connack(version, false, 0)).result.unwrap();

        for (unspent, v311, v5, delay) in [
            (Unspent::Stale(Staleness::Used), 5, 0x87, true),
            (Unspent::Stale(Staleness::UsesFull), 5, 0x87, true),
            (Unspent::Unavailable, 3, 0x88, false),
        ] {
            let mut driver = Driver::new();
            driver.client(&packet).result.unwrap();
            let step = driver.spent(Err(unspent));
            let close = step.result.unwrap_err();
            assert_eq!((close.offence, close.delay), (None, delay), "{close:?}");
            let down = frames(&step.down, Sender::Broker);
            let code = if version == Version::V5 { v5 } else { v311 };
            assert_eq!(down[0].body[1], code);
        }
    }
    // A login that fails for another reason uses nothing up.
    let packet = connect_packet(&STRANGER, Version::V5, "client", |_| ());
    let mut driver = Driver::new();
    driver.client(&packet).result.unwrap_err();
    assert_eq!(driver.session.to_spend(), None);
}
