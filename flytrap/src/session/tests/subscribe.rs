//! SUBSCRIBE and UNSUBSCRIBE.

use super::world::*;
use crate::mqtt::{PacketType, Sender, Subscribe, Unsubscribe, Version, encode};
use crate::offence::Offence;
use crate::session::{Denial, Note};
use crate::types::Asked;

fn suback(version: Version, packet_id: u16, reasons: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    encode::suback(&mut packet, version, id(packet_id), [], reasons).unwrap();
    packet
}

fn unsuback(version: Version, packet_id: u16, reasons: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    encode::unsuback(&mut packet, version, id(packet_id), [], reasons).unwrap();
    packet
}

fn refusal(version: Version) -> u8 {
    if version == Version::V5 { 0x87 } else { 0x80 }
}

#[test]
fn a_permitted_subscribe_goes_up_byte_for_byte() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        let packet = subscribe(
            version,
            1,
            &["plant/out/#", "plant/out/+/x", "$share/g/plant/out/#"],
        );
        assert_eq!(driver.client(&packet).up, packet);
        let answer = suback(version, 1, &[1, 1, 1]);
        assert_eq!(driver.broker(&answer).down, answer);
    }
}

#[test]
fn a_denied_subscribe_is_answered_here() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        for filter in [
            "#",
            "plant/#",
            "+/out/x",
            "plant/+/x",
            "plant/in",
            "$SYS/#",
            "$share/g/#",
        ] {
            let step = driver.client(&subscribe(version, 2, &[filter]));
            assert!(step.up.is_empty(), "{filter} went up");
            assert_eq!(
                step.down,
                suback(version, 2, &[refusal(version)]),
                "{filter}"
            );
            assert!(matches!(
                step.out.notes[..],
                [Note::Denied {
                    asked: Asked::Subscribe,
                    ..
                }]
            ));
        }
    }
}

#[test]
fn a_mixed_subscribe_is_parted_and_its_answer_merged_in_order() {
    for version in BOTH {
        let no = refusal(version);
        let mut driver = Driver::live(&SENSOR, version);
        let filters = ["plant/in", "plant/out/a", "#", "plant/out/b"];
        let step = driver.client(&subscribe(version, 3, &filters));
        let up = frames(&step.up, Sender::Client);
        let passed = Subscribe::decode(&up[0], version, &settings().limits).unwrap();
        let passed: Vec<_> = passed.requests.iter().map(|request| request.text).collect();
        assert_eq!((up.len(), passed), (1, vec!["plant/out/a", "plant/out/b"]));
        assert!(step.down.is_empty(), "answered before the broker");
        let step = driver.broker(&suback(version, 3, &[0, 1]));
        assert_eq!(step.down, suback(version, 3, &[no, 0, no, 1]));
    }
}

/// A filter that was permitted and isn't any more is taken back from the broker, under the packet
/// id of the client's own SUBSCRIBE, and the client is answered when that is done.
#[test]
fn a_refused_renewal_is_withdrawn_upstream() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        driver.client(&subscribe(version, 1, &["plant/out/#"]));
        driver.broker(&suback(version, 1, &[1]));
        driver.snapshot = revoked();
        let step = driver.client(&subscribe(version, 2, &["plant/out/#"]));
        assert_eq!(step.up, unsubscribe(version, 2, &["plant/out/#"]));
        assert!(step.down.is_empty());
        let step = driver.broker(&unsuback(version, 2, &[0]));
        assert_eq!(step.down, suback(version, 2, &[refusal(version)]));
        // It is gone: refusing it again takes nothing back.
        assert!(
            driver
                .client(&subscribe(version, 3, &["plant/out/#"]))
                .up
                .is_empty()
        );
    }
}

#[test]
fn a_mixed_renewal_is_subscribed_then_withdrawn_then_answered_once() {
    let version = Version::V5;
    let mut driver = Driver::live_with(settings(), &SENSOR, version, true);
    // The broker may hold anything from the session before: `plant/in` is taken back as well.
    let step = driver.client(&subscribe(version, 4, &["plant/in", "plant/out/a"]));
    assert_eq!(step.up, subscribe(version, 4, &["plant/out/a"]));
    let step = driver.broker(&suback(version, 4, &[1]));
    assert_eq!(step.up, unsubscribe(version, 4, &["plant/in"]));
    assert!(step.down.is_empty());
    let step = driver.broker(&unsuback(version, 4, &[0x11]));
    assert_eq!(step.down, suback(version, 4, &[0x87, 1]));
}

#[test]
fn unsubscribe_of_what_never_went_up() {
    for version in BOTH {
        let mut driver = Driver::live(&SENSOR, version);
        driver.client(&subscribe(version, 1, &["plant/out/a"]));
        driver.broker(&suback(version, 1, &[1]));

        let step = driver.client(&unsubscribe(version, 2, &["plant/in"]));
        assert!(step.up.is_empty());
        assert_eq!(step.down, unsuback(version, 2, &[0x11]));

        let step = driver.client(&unsubscribe(version, 3, &["plant/in", "plant/out/a"]));
        let up = frames(&step.up, Sender::Client);
        let passed = Unsubscribe::decode(&up[0], version, &settings().limits).unwrap();
        assert_eq!(passed.filters, ["plant/out/a"]);
        let step = driver.broker(&unsuback(version, 3, &[0]));
        assert_eq!(step.down, unsuback(version, 3, &[0x11, 0]));
    }
}

#[test]
fn the_filters_of_a_session_are_limited() {
    let mut driver = Driver::live(&SENSOR, Version::V5);
    let filters = ["plant/out/1", "plant/out/2", "plant/out/3", "plant/out/4"];
    driver.client(&subscribe(Version::V5, 1, &filters));
    driver.broker(&suback(Version::V5, 1, &[1, 1, 1, 1]));
    let step = driver.client(&subscribe(Version::V5, 2, &["plant/out/5"]));
    assert_eq!(step.down, suback(Version::V5, 2, &[0x97]));
    let full = Denial::TooManySubscriptions;
    assert!(matches!(&step.out.notes[..], [Note::Denied { reason, .. }] if *reason == full));
    // Renewing one of them is no new one.
    assert!(
        !driver
            .client(&subscribe(Version::V5, 3, &["plant/out/1"]))
            .up
            .is_empty()
    );
}

#[test]
fn a_packet_id_in_use_closes() {
    let mut driver = Driver::live(&SENSOR, Version::V5);
    driver.client(&subscribe(Version::V5, 7, &["#", "plant/out/a"]));
    let step = driver.client(&subscribe(Version::V5, 7, &["plant/out/b"]));
    assert_eq!(step.result.unwrap_err().offence, Some(Offence::Malformed));
    assert!(step.up.is_empty());
    assert_eq!(
        frames(&step.down, Sender::Broker)[0].packet_type,
        PacketType::Disconnect
    );
}
