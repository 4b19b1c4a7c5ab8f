//! Deadlines, wills and farewells.

use std::time::Duration;

use super::world::*;
use crate::identity::Signer;
use crate::mqtt::encode::WillOut;
use crate::mqtt::{PacketType, Qos, Sender, Version, encode};
use crate::session::{Cause, Close, Context, Phase};
use crate::types::{TopicName, UnixTime};

/// Whether the broker is told DISCONNECT, and so fires no will.
fn left_in_order(up: &[u8]) -> bool {
    frames(up, Sender::Client)
        .last()
        .is_some_and(|f| f.packet_type == PacketType::Disconnect)
}

fn with_will(version: Version) -> Driver {
    with_will_of(&SENSOR, version)
}

fn with_will_of(signer: &Signer, version: Version) -> Driver {
    let mut driver = Driver::new();
    let packet = connect_packet(signer, version, "client", |connect| {
        connect.will = Some(WillOut {
            topic: TopicName::new("plant/in").unwrap(),
            payload: b"gone",
            qos: Qos::AtMostOnce,
            retain: false,
            properties: &[],
        });
    });
    driver.client(&packet).result.unwrap();
    driver.broker(&connack(version, false, 0)).result.unwrap();
    driver
}

#[test]
fn silence_ends_after_one_and_a_half_keep_alives() {
    for version in BOTH {
        let mut driver = with_will(version);
        driver.elapsed = Duration::from_millis(14_999);
        assert!(driver.tick().result.is_ok());
        driver.elapsed = Duration::from_secs(15);
        let step = driver.tick();
        assert_eq!(step.result, Err(Close::quiet(Cause::KeepAliveTimeout)));
        assert!(!left_in_order(&step.up), "the will must fire");
        assert_eq!(step.down.is_empty(), version == Version::V311);
    }
}

#[test]
fn a_packet_renews_the_keep_alive() {
    let mut driver = Driver::live(&SENSOR, Version::V5);
    driver.elapsed = Duration::from_secs(14);
    driver.client(&[0xc0, 0]).result.unwrap();
    driver.elapsed = Duration::from_secs(28);
    assert!(driver.tick().result.is_ok());
}

#[test]
fn a_session_ends_with_its_token_and_without_its_will() {
    for version in BOTH {
        let mut driver = with_will_of(&OWNER, version);
        driver.now = NOW.plus(3_599);
        assert!(driver.tick().result.is_ok());
        driver.now = NOW.plus(3_600);
        let step = driver.tick();
        assert_eq!(step.result, Err(Close::quiet(Cause::TokenExpired)));
        assert!(left_in_order(&step.up));
        if version == Version::V5 {
            assert_eq!(step.down, [0xe0, 1, 0x87]);
        }
    }
}

#[test]
fn the_thrown_out_do_not_speak_through_their_will() {
    for (cause, code) in [(Cause::Banned, 0x98), (Cause::Draining, 0x8b)] {
        let step = with_will(Version::V5).end(cause.clone());
        assert!(left_in_order(&step.up), "{cause:?}");
        assert_eq!(step.down, [0xe0, 1, code]);
    }
}

#[test]
fn a_lost_client_has_its_will_only_while_it_may_publish_there() {
    for version in BOTH {
        assert!(!left_in_order(&with_will(version).client_lost().up));
        let mut driver = with_will(version);
        driver.snapshot = revoked();
        assert!(left_in_order(&driver.client_lost().up));
        // The same where the client breaks a rule.
        let second = connect_packet(&SENSOR, version, "client", |_| ());
        assert!(!left_in_order(&with_will(version).client(&second).up));
        let mut driver = with_will(version);
        driver.snapshot = revoked();
        assert!(left_in_order(&driver.client(&second).up));
    }
}

#[test]
fn a_disconnect_goes_up_as_it_is() {
    for version in BOTH {
        let step = with_will(version).client(&[0xe0, 0]);
        assert_eq!(step.up, [0xe0, 0]);
        assert_eq!(step.result, Err(Close::quiet(Cause::ClientDisconnected)));
    }
    // "Disconnect with will message" (0x04) is honoured while the will is permitted.
    let asks_for_will = [0xe0, 1, 0x04];
    assert_eq!(
        with_will(Version::V5).client(&asks_for_will).up,
        asks_for_will
    );
    let mut driver = with_will(Version::V5);
    driver.snapshot = revoked();
    assert_eq!(driver.client(&asks_for_will).up, [0xe0, 0]);
}

#[test]
fn the_broker_stays_awake_while_everything_is_answered_here() {
    let version = Version::V5;
    let mut driver = Driver::live(&SENSOR, version);
    let denied = publish(version, "elsewhere", Qos::AtMostOnce, 0);
    driver.elapsed = Duration::from_secs(4);
    assert!(driver.client(&denied).up.is_empty());
    driver.elapsed = Duration::from_secs(6);
    let mut ping = Vec::new();
    encode::pingreq(&mut ping);
    assert_eq!(driver.client(&denied).up, ping);
    // Its answer is for the gateway; the next one answers the client.
    let mut answer = Vec::new();
    encode::pingresp(&mut answer);
    assert!(driver.broker(&answer).down.is_empty());
    assert_eq!(driver.client(&ping).up, ping);
    assert_eq!(driver.broker(&answer).down, answer);
}

#[test]
fn ends_before_the_session_is_live() {
    let mut driver = Driver::new();
    let step = driver.end(Cause::ConnectTimeout);
    assert!(step.up.is_empty() && step.down.is_empty());
    assert!(step.result.unwrap_err().offence.is_some());

    for (version, answer) in [
        (Version::V311, [0x20, 2, 0, 3].as_slice()),
        (Version::V5, &[0x20, 3, 0, 0x88, 0]),
    ] {
        let mut driver = Driver::new();
        driver
            .client(&connect_packet(&SENSOR, version, "client", |_| ()))
            .result
            .unwrap();
        assert_eq!(driver.session.phase(), Phase::AwaitConnack);
        assert_eq!(
            driver.end(Cause::BrokerUnreachable(String::new())).down,
            answer
        );
    }
}

#[test]
fn the_brokers_disconnect_is_passed_on_without_naming_a_server() {
    let mut driver = Driver::live(&SENSOR, Version::V5);
    let step = driver.broker(&[0xe0, 1, 0x8e]);
    assert_eq!(step.down, [0xe0, 1, 0x8e]);
    assert_eq!(step.result, Err(Close::quiet(Cause::BrokerEnded(0x8e))));

    let mut driver = Driver::live(&SENSOR, Version::V5);
    // 0x9d "server moved" with a server reference.
    let moved = b"\xe0\x0a\x9d\x08\x1c\x00\x05inner";
    assert_eq!(driver.broker(moved).down, [0xe0, 1, 0x8b]);
}

/// The broker fires a will without asking, at a takeover for instance: it must not hold one whose
/// right has ended.
#[test]
fn a_session_ends_when_the_right_to_its_will_does() {
    for version in BOTH {
        let mut driver = with_will(version);
        let mut without = Driver::live(&SENSOR, version);
        for driver in [&mut driver, &mut without] {
            driver.now = UnixTime(GRANT_END.0 - 1);
            assert!(driver.tick().result.is_ok());
            driver.now = GRANT_END;
        }
        let step = driver.tick();
        assert_eq!(step.result, Err(Close::quiet(Cause::WillLost)));
        assert!(left_in_order(&step.up));
        assert!(without.tick().result.is_ok());
    }
}

#[test]
fn the_end_of_the_wills_right_is_a_deadline() {
    let driver = with_will(Version::V5);
    let now = UnixTime(GRANT_END.0 - 3);
    let (snapshot, elapsed) = (&driver.snapshot, Duration::ZERO);
    let context = Context {
        snapshot,
        now,
        elapsed,
    };
    assert_eq!(
        driver.session.deadline(&context),
        Some(Duration::from_secs(3))
    );
}

#[test]
fn a_client_that_could_not_be_heard_was_not_silent() {
    let mut driver = Driver::live(&SENSOR, Version::V5);
    driver.elapsed = Duration::from_secs(20);
    let context = Context {
        snapshot: &driver.snapshot,
        now: NOW,
        elapsed: driver.elapsed,
    };
    driver.session.excuse_silence(&context);
    assert!(driver.tick().result.is_ok());
    driver.elapsed = Duration::from_secs(35);
    assert!(driver.tick().result.is_err());
}

#[test]
fn a_broker_that_breaks_a_rule_is_left_in_order_once_the_will_is_no_longer_permitted() {
    let rubbish = [0xf0, 0x00];
    assert!(!left_in_order(
        &with_will(Version::V311).broker(&rubbish).up
    ));
    let mut driver = with_will(Version::V311);
    driver.snapshot = revoked();
    assert!(left_in_order(&driver.broker(&rubbish).up));
}
