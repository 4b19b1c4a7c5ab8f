//! Who gets a session, and how it ends, by the gateway's own binary on loopback: what clients are
//! told, and above all what the broker received.

use std::time::Duration;

use flytrap_tests::lab::broker::Broker;
use flytrap_tests::lab::gateway::Setup;
use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::packet::{self, Connect, Version, kind};
use flytrap_tests::lab::raw::Raw;
use flytrap_tests::lab::story::{World, deployment};

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn client_credentials_never_go_upstream() {
    let world = World::loopback().unwrap();
    for version in Version::ALL {
        let login = world.login(&world.people.sensor, "sensor-17").unwrap();
        let mut raw = world.dial(0, version).unwrap();
        assert_eq!(raw.log_in(&login).unwrap(), 0);
        raw.publish("plant/line1/x", b"x", 1).unwrap();
        for tape in world.tap.sessions() {
            for secret in [&login.password, &login.user, &login.client_id] {
                assert!(!contains(&tape.up, secret.as_bytes()), "{secret}");
            }
            assert!(contains(&tape.up, Broker::GATEWAY_USER.as_bytes()));
            assert!(contains(&tape.up, Broker::GATEWAY_PASSWORD.as_bytes()));
        }
    }
    assert!(!world.gateway.log().contains(Broker::GATEWAY_PASSWORD));
}

#[test]
fn tokens_are_in_no_log() {
    let world = World::new(Net::loopback(), |setup, _| {
        setup.set("log.level", "trace");
    })
    .unwrap();
    let login = world.login(&world.people.sensor, "sensor").unwrap();
    for login in [&login, &login.forged()] {
        world.dial(0, Version::V5).unwrap().log_in(login).unwrap();
        let log = world.gateway.log();
        assert!(!log.is_empty());
        assert!(!log.contains(&login.password));
        assert!(!log.contains(login.password.get(30..60).unwrap()));
    }
}

#[test]
fn nothing_goes_upstream_before_the_client_is_authenticated() {
    let world = World::loopback().unwrap();
    let good = world.login(&world.people.sensor, "sensor").unwrap();
    let stranger = world.login(&world.people.stranger, "stranger").unwrap();
    let forged = good.forged();
    // From an address each: so few failures are no ban yet.
    for (device, version) in (1..).zip(Version::ALL) {
        let connect = good.connect(version).bytes();
        let mut half = world.dial(device, version).unwrap();
        half.send(&connect[..connect.len() - 1]).unwrap();
        let refused = |connect: &Connect<'_>| {
            let mut raw = world.dial(device, version).unwrap();
            let answer = raw.connect(connect).unwrap();
            assert!(raw.until_closed().unwrap().is_empty());
            answer
        };
        assert_eq!(refused(&forged.connect(version)), version.pick(4, 0x86));
        let nameless = Connect {
            user: None,
            password: None,
            ..good.connect(version)
        };
        assert_eq!(refused(&nameless), version.pick(4, 0x86));
        assert_eq!(refused(&stranger.connect(version)), version.pick(5, 0x87));
        let other_id = Connect {
            client_id: "another",
            ..good.connect(version)
        };
        assert_ne!(refused(&other_id), 0);
        assert!(world.tap.sessions().is_empty());
    }
    assert_eq!(
        world.dial(0, Version::V5).unwrap().log_in(&good).unwrap(),
        0
    );
    assert_eq!(world.tap.sessions().len(), 1);
}

#[test]
fn malformed_input_closes_and_dials_nothing() {
    let world = World::loopback().unwrap();
    let login = world.login(&world.people.sensor, "sensor").unwrap();
    let connect = login.connect(Version::V311).bytes();
    let mut flags = connect.clone();
    flags[0] = 0x11;
    // Variable header behind a three-byte fixed header: name (6), level, flags.
    let at = connect.iter().position(|byte| *byte == b'M').unwrap() + 5;
    let mut reserved = connect.clone();
    reserved[at] |= 1;
    let cases: [(&str, Vec<u8>); 7] = [
        ("reserved flags in the fixed header", flags),
        ("the reserved connect flag", reserved),
        ("a fifth length byte", vec![0x10, 0x80, 0x80, 0x80, 0x80, 1]),
        (
            "PUBLISH first",
            packet::publish(Version::V311, "plant/line1/x", b"x", 0, 0),
        ),
        ("PINGREQ first", packet::PINGREQ.to_vec()),
        (
            "a CONNECT longer than the limit",
            vec![0x10, 0xFF, 0xFF, 0x7F],
        ),
        (
            "an HTTP request",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
    ];
    for (name, bytes) in cases {
        let mut raw = world.dial(0, Version::V311).unwrap();
        raw.send(&bytes).unwrap();
        let answers = raw.until_closed().unwrap();
        let accepted = |packet: &packet::Packet| {
            packet.kind() == kind::CONNACK && packet.connack_reason() == Some(0)
        };
        assert!(!answers.iter().any(accepted), "{name}: {answers:?}");
        assert!(
            world.tap.sessions().is_empty(),
            "{name}: the broker was dialled"
        );
    }
    // And the gateway is as good as before.
    world
        .session(&world.people.sensor, "sensor", Version::V311)
        .unwrap();
}

#[test]
fn malformed_packets_end_a_session_and_stay_here() {
    let world = World::loopback().unwrap();
    let cases: [(&str, Vec<u8>); 4] = [
        (
            "a wildcard in a PUBLISH",
            packet::publish(Version::V5, "plant/line1/+", b"wild", 0, 0),
        ),
        (
            "U+0000 in a topic",
            packet::publish(Version::V5, "plant/line1/\0", b"nul", 0, 0),
        ),
        (
            "packet id 0",
            packet::publish(Version::V5, "plant/line1/x", b"zero", 1, 0),
        ),
        (
            "a second CONNECT",
            world
                .login(&world.people.sensor, "s")
                .unwrap()
                .connect(Version::V5)
                .bytes(),
        ),
    ];
    for (name, bytes) in cases {
        let mut raw = world
            .session(&world.people.sensor, "sensor", Version::V5)
            .unwrap();
        raw.send(&bytes).unwrap();
        let answers = raw.until_closed().unwrap();
        let told = answers
            .last()
            .map(|packet| (packet.kind(), packet.disconnect_reason() >= 0x80));
        assert_eq!(told, Some((kind::DISCONNECT, true)), "{name}: {answers:?}");
        assert!(!world.tap.went_up(&bytes), "{name} went up");
    }
}

#[test]
fn one_client_id_of_two_wallets_makes_two_sessions() {
    let world = World::loopback().unwrap();
    for version in Version::ALL {
        let mut first = world
            .session(&world.people.sensor, "device", version)
            .unwrap();
        let mut second = world
            .session(&world.people.technician, "device", version)
            .unwrap();
        assert_eq!(
            first.publish("plant/line1/x", b"first lives", 1).unwrap(),
            0
        );
        assert_eq!(
            second.publish("plant/line2/x", b"second lives", 1).unwrap(),
            0
        );
    }
}

#[test]
fn ones_own_client_id_takes_over() {
    let world = World::loopback().unwrap();
    for version in Version::ALL {
        let mut first = world
            .session(&world.people.sensor, "device", version)
            .unwrap();
        let mut second = world
            .session(&world.people.sensor, "device", version)
            .unwrap();
        let farewell = first.until_closed().unwrap();
        if version == Version::V5 {
            let last = farewell.last().unwrap();
            assert_eq!(last.kind(), kind::DISCONNECT);
            assert!(last.disconnect_reason() >= 0x80, "{last:?}");
        }
        assert_eq!(
            second.publish("plant/line1/x", b"second lives", 1).unwrap(),
            0
        );
    }
}

#[test]
fn an_expired_token_ends_the_live_session() {
    let world = World::loopback().unwrap();
    for version in Version::ALL {
        let login = world
            .people
            .sensor
            .login_for(&deployment(), "sensor", 0, 5)
            .unwrap();
        let mut raw = world.dial(0, version).unwrap();
        assert_eq!(raw.log_in(&login).unwrap(), 0);
        let farewell = raw.until_closed().unwrap();
        if version == Version::V5 {
            let last = farewell.last().unwrap();
            assert_eq!(
                (last.kind(), last.disconnect_reason()),
                (kind::DISCONNECT, 0x87)
            );
        }
        assert_eq!(
            world.dial(0, version).unwrap().log_in(&login).unwrap(),
            version.pick(5, 0x87)
        );
    }
}

#[test]
fn a_client_that_never_speaks_is_closed() {
    let world = World::new(Net::loopback(), |setup, _| {
        setup.set("limits.connect_timeout", "1s");
        setup.set("limits.tls_handshake_timeout", "1s");
    })
    .unwrap();
    assert!(
        world
            .dial(0, Version::V311)
            .unwrap()
            .until_closed()
            .unwrap()
            .is_empty()
    );
    let mut tls = Raw::plain(
        flytrap_tests::lab::raw::dial(
            &world.net.devices,
            None,
            world.gateway.setup.tls,
            Duration::from_mins(1),
        )
        .unwrap(),
        Version::V311,
    );
    assert!(tls.until_closed().unwrap().is_empty());
    assert!(world.tap.sessions().is_empty());
}

#[test]
fn a_will_outside_the_grant_is_refused_and_one_inside_is_fired() {
    let world = World::loopback().unwrap();
    let login = world.login(&world.people.sensor, "sensor").unwrap();
    for version in Version::ALL {
        let outside = Connect {
            will: Some(("plant/line2/x", b"never")),
            ..login.connect(version)
        };
        assert_eq!(
            world.dial(0, version).unwrap().connect(&outside).unwrap(),
            version.pick(5, 0x87)
        );
        let text = format!("will {version:?}");
        let inside = Connect {
            will: Some(("plant/line1/will", text.as_bytes())),
            ..login.connect(version)
        };
        let mut raw = world.dial(0, version).unwrap();
        assert_eq!(raw.connect(&inside).unwrap(), 0);
        drop(raw);
        world.observer.wait_for(&text).unwrap();
    }
    assert!(!world.observer.saw("never"));
}

#[test]
fn the_public_name_is_what_tokens_are_bound_to() {
    let world = World::loopback().unwrap();
    let mut elsewhere = deployment();
    elsewhere.domain = "other.example.org".to_owned();
    assert_ne!(elsewhere.domain, Setup::DOMAIN);
    let login = world.people.sensor.login(&elsewhere, "sensor").unwrap();
    assert_eq!(
        world.dial(0, Version::V5).unwrap().log_in(&login).unwrap(),
        0x86
    );
}

#[test]
fn a_single_use_token_opens_one_session_also_across_a_kill() {
    let mut world = World::loopback().unwrap();
    let sensor = &world.people.sensor;
    let tokens: Vec<_> = (0..3)
        .map(|_| sensor.login_once(&deployment(), "sensor-17").unwrap())
        .collect();
    let [first, other, unused] = &tokens[..] else {
        unreachable!()
    };
    for (version, token, refused) in [(Version::V311, first, 0x05), (Version::V5, other, 0x87)] {
        assert_eq!(world.dial(0, version).unwrap().log_in(token).unwrap(), 0);
        let again = world.dial(0, version).unwrap().log_in(token).unwrap();
        assert_eq!(again, refused);
    }
    assert!(world.gateway.log().contains("was used before"));
    world.gateway.kill().unwrap();
    world.gateway.restart().unwrap();
    for token in [first, other] {
        let again = world.dial(0, Version::V5).unwrap().log_in(token).unwrap();
        assert_eq!(again, 0x87);
    }
    let fresh = world.dial(0, Version::V5).unwrap().log_in(unused).unwrap();
    assert_eq!(fresh, 0);
}
