//! What a device key may do.

use super::*;
use crate::types::{DeviceKey, KeyId, PublicKey};

fn key(until: Validity, scope: Option<&str>) -> DeviceKey {
    DeviceKey {
        wallet: FACTORY,
        key: PublicKey::Ed25519([9; 32]),
        until,
        scope: scope.map(|name| name.parse().unwrap()),
    }
}

fn plant(device: DeviceKey) -> Snapshot {
    let mut world = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line1", FACTORY, CLOSED)
        .space("plant/flat", TENANT, READABLE);
    world.0.set_device_key(device);
    world.done()
}

fn by(snapshot: &Snapshot, device: KeyId, action: Action<'_>, now: UnixTime) -> Decision {
    let principal = Principal {
        wallet: FACTORY,
        device: Some(device),
        client_id: "c".to_owned(),
    };
    decide(snapshot, &principal, action, now)
}

fn deny(reason: DenyReason) -> Decision {
    Decision::Deny { reason }
}

#[test]
fn without_a_scope_it_may_what_its_wallet_may() {
    let device = key(Validity::Forever, None);
    let snapshot = plant(device.clone());
    for topic in [
        "plant/x",
        "plant/line1/speed",
        "plant/flat/heating",
        "$SYS/x",
    ] {
        let topic = TopicName::new(topic).unwrap();
        for action in [Action::Publish(topic), Action::Receive(topic)] {
            let of_wallet = ask(&snapshot, FACTORY, action, NOW);
            assert_eq!(
                by(&snapshot, device.id(), action, NOW),
                of_wallet,
                "{topic}"
            );
        }
    }
    let connect = by(&snapshot, device.id(), Action::Connect, NOW);
    assert_eq!(connect, ask(&snapshot, FACTORY, Action::Connect, NOW));
}

#[test]
fn a_scope_takes_away_and_never_gives() {
    let device = key(Validity::Forever, Some("plant/line1"));
    let snapshot = plant(device.clone());
    let id = device.id();
    let publish = |topic| {
        by(
            &snapshot,
            id,
            Action::Publish(TopicName::new(topic).unwrap()),
            NOW,
        )
    };
    let subscribe = |filter| {
        by(
            &snapshot,
            id,
            Action::Subscribe(TopicFilter::new(filter).unwrap()),
            NOW,
        )
    };
    for inside in ["plant/line1", "plant/line1/speed"] {
        assert!(publish(inside).is_permit(), "{inside}");
    }
    for outside in ["plant", "plant/line2", "plant/line10"] {
        assert_eq!(
            publish(outside),
            deny(DenyReason::OutsideScope),
            "{outside}"
        );
    }
    for inside in ["plant/line1", "plant/line1/#", "plant/line1/+/x"] {
        assert!(subscribe(inside).is_permit(), "{inside}");
    }
    assert_eq!(subscribe("plant/line2/#"), deny(DenyReason::OutsideScope));
    assert_eq!(subscribe("plant/+"), deny(DenyReason::OutsideScope));
    assert_eq!(subscribe("#"), deny(DenyReason::NotCovered));
    // What the wallet isn't permitted has the wallet's reason, and stays denied inside the scope.
    assert_eq!(publish("plant/flat/x"), deny(DenyReason::NotGranted));
    assert_eq!(publish("office"), deny(DenyReason::NoSuchSpace));
    let flat = key(Validity::Forever, Some("plant/flat"));
    let snapshot = plant(flat.clone());
    let topic = TopicName::new("plant/flat/x").unwrap();
    assert_eq!(
        by(&snapshot, flat.id(), Action::Publish(topic), NOW),
        deny(DenyReason::NotGranted)
    );
}

#[test]
fn it_ends_at_its_second_and_says_so() {
    let device = key(until(2_000), None);
    let snapshot = plant(device.clone());
    let publish = Action::Publish(TopicName::new("plant/x").unwrap());
    let at = |now| by(&snapshot, device.id(), publish, UnixTime(now));
    assert_eq!(
        at(1_999),
        Decision::Permit {
            why: Why::Owner,
            until: Some(UnixTime(2_000))
        }
    );
    assert_eq!(at(2_000), deny(DenyReason::DeviceKey));
    let connect = by(&snapshot, device.id(), Action::Connect, UnixTime(2_000));
    assert_eq!(connect, deny(DenyReason::DeviceKey));
}

#[test]
fn a_removed_key_may_nothing() {
    let device = key(Validity::Forever, None);
    let id = device.id();
    let mut builder = world().space("plant", FACTORY, CLOSED).0;
    builder.set_device_key(device);
    builder.remove_device_key(&id);
    let snapshot = builder.build();
    for action in [
        Action::Connect,
        Action::Publish(TopicName::new("plant/x").unwrap()),
        Action::Subscribe(TopicFilter::new("plant/#").unwrap()),
    ] {
        assert_eq!(by(&snapshot, id, action, NOW), deny(DenyReason::DeviceKey));
    }
}
