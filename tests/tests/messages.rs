//! What passes through a session and what doesn't, by the gateway's own binary on loopback: what
//! clients are told, and above all what the broker received.

use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::packet::{self, Version, framed, kind};
use flytrap_tests::lab::story::World;

#[test]
fn permitted_messages_pass_over_both_transports_in_both_versions_at_every_qos() {
    let world = World::loopback().unwrap();
    let (sensor, dashboard) = (&world.people.sensor, &world.people.dashboard);
    for version in Version::ALL {
        for tls in [false, true] {
            let connect = |holder, client_id: &str| {
                let mut raw = if tls {
                    world.dial_tls(0, version)
                } else {
                    world.dial(0, version)
                }
                .unwrap();
                assert_eq!(
                    raw.log_in(&world.login(holder, client_id).unwrap())
                        .unwrap(),
                    0
                );
                raw
            };
            let mut subscriber = connect(dashboard, "dashboard");
            let mut publisher = connect(sensor, "sensor");
            assert_eq!(subscriber.subscribe(&[("plant/line1/#", 2)]).unwrap(), [2]);
            for qos in 0..3 {
                let payload = format!("{version:?} {tls} {qos}").into_bytes();
                let topic = "plant/line1/temperature";
                assert_eq!(publisher.publish(topic, &payload, qos).unwrap(), 0);
                assert_eq!(subscriber.receive().unwrap(), (qos, topic.into(), payload));
            }
        }
    }
}

#[test]
fn versions_meet_at_the_broker() {
    let world = World::loopback().unwrap();
    let mut old = world
        .session(&world.people.dashboard, "old", Version::V311)
        .unwrap();
    let mut new = world
        .session(&world.people.sensor, "new", Version::V5)
        .unwrap();
    assert_eq!(old.subscribe(&[("plant/line1/+", 1)]).unwrap(), [1]);
    assert_eq!(new.publish("plant/line1/x", b"across", 1).unwrap(), 0);
    assert_eq!(old.receive().unwrap().2, b"across");
}

#[test]
fn a_denied_publish_never_reaches_the_broker_and_the_session_goes_on() {
    let world = World::loopback().unwrap();
    for version in Version::ALL {
        let mut raw = world
            .session(&world.people.sensor, "sensor", version)
            .unwrap();
        for (number, topic) in ["plant/line2/valve", "plant", "elsewhere", "plant/line10"]
            .into_iter()
            .enumerate()
        {
            for qos in 0..3 {
                let payload = format!("denied {version:?} {number} {qos}");
                // 3.1.1 has no negative acknowledgement: it is acknowledged and dropped.
                let told = if qos == 0 { 0 } else { version.pick(0, 0x87) };
                assert_eq!(raw.publish(topic, payload.as_bytes(), qos).unwrap(), told);
            }
        }
        let marker = format!("marker {version:?}");
        assert_eq!(
            raw.publish("plant/line1/x", marker.as_bytes(), 1).unwrap(),
            0
        );
        world.observer.wait_for(&marker).unwrap();
        assert!(!world.tap.went_up(b"denied"));
        let topics: Vec<_> = world
            .observer
            .messages()
            .into_iter()
            .map(|m| m.topic)
            .collect();
        assert!(
            topics.iter().all(|topic| topic == "plant/line1/x"),
            "{topics:?}"
        );
    }
}

#[test]
fn denied_publish_close_closes_in_3_1_1() {
    let world = World::new(Net::loopback(), |setup, _| {
        setup.set("mqtt.denied_publish", "close");
    })
    .unwrap();
    let mut raw = world
        .session(&world.people.sensor, "sensor", Version::V311)
        .unwrap();
    raw.send(&packet::publish(
        Version::V311,
        "plant/line2/x",
        b"denied",
        1,
        1,
    ))
    .unwrap();
    assert!(raw.until_closed().unwrap().is_empty());
    assert!(!world.tap.went_up(b"denied"));
}

#[test]
fn denied_filters_are_answered_in_order_and_nothing_is_delivered() {
    let world = World::loopback().unwrap();
    for version in Version::ALL {
        let no = version.pick(0x80, 0x87);
        let mut raw = world
            .session(&world.people.dashboard, "dashboard", version)
            .unwrap();
        let mixed = [
            ("plant/line2/#", 1),
            ("plant/line1/temperature", 1),
            ("plant/#", 1),
            ("#", 1),
            ("plant/line1/+", 0),
            ("$SYS/#", 0),
        ];
        assert_eq!(raw.subscribe(&mixed).unwrap(), [no, 1, no, no, 0, no]);
        assert_eq!(raw.subscribe(&[("plant/+/temperature", 0)]).unwrap(), [no]);
        world
            .broker
            .publish("plant/line2/valve", "not for it", false)
            .unwrap();
        world
            .broker
            .publish("plant/line1/temperature", "for it", false)
            .unwrap();
        assert_eq!(raw.receive().unwrap().2, b"for it");
        for filter in ["plant/line2/#", "plant/+/temperature", "$SYS/#"] {
            assert!(!world.tap.went_up(filter.as_bytes()), "{filter} went up");
        }
    }
}

#[test]
fn a_retained_message_outside_the_grant_is_not_delivered() {
    let world = World::loopback().unwrap();
    world
        .broker
        .publish("plant/line2/state", "secret", true)
        .unwrap();
    world
        .broker
        .publish("plant/line1/state", "open", true)
        .unwrap();
    for version in Version::ALL {
        let mut raw = world
            .session(&world.people.dashboard, "dashboard", version)
            .unwrap();
        raw.subscribe(&[("plant/#", 0), ("plant/line1/#", 0)])
            .unwrap();
        assert_eq!(raw.receive().unwrap().2, b"open");
        raw.send(&packet::PINGREQ).unwrap();
        raw.expect(kind::PINGRESP).unwrap();
    }
}

#[test]
fn packets_behind_connect_reach_the_broker_byte_for_byte() {
    let world = World::loopback().unwrap();
    for version in Version::ALL {
        let login = world.login(&world.people.technician, "technician").unwrap();
        let mut raw = world.dial(0, version).unwrap();
        let mut packets =
            packet::subscribe(version, 9, &[("plant/line2/a", 1), ("plant/line2/b/#", 2)]);
        packets.extend(packet::publish(
            version,
            "plant/line2/ümlaut",
            &[0, 1, 2, 255],
            1,
            11,
        ));
        if version == Version::V5 {
            // User properties in an order of their own, twice the same name.
            let mut body = vec![0, 13];
            body.extend(b"plant/line2/u");
            body.extend([0, 12]);
            let user = b"\x26\0\x01b\0\x012\x26\0\x01a\0\x011\x26\0\x01b\0\x013";
            body.push(u8::try_from(user.len()).unwrap());
            body.extend(user);
            body.extend(b"payload");
            packets.extend(framed(0x32, &body));
        }
        let last = format!("last {version:?}");
        packets.extend(packet::publish(
            version,
            "plant/line2/last",
            last.as_bytes(),
            0,
            0,
        ));
        // Right behind CONNECT, before CONNACK: legal (3.1.4).
        raw.send(&[login.connect(version).bytes(), packets.clone()].concat())
            .unwrap();
        assert_eq!(raw.expect(kind::CONNACK).unwrap().connack_reason(), Some(0));
        world.observer.wait_for(&last).unwrap();
        assert!(
            world.tap.went_up(&packets),
            "other bytes than the client's went up"
        );
    }
}
