//! Many clients, and slow ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use flytrap_tests::lab::broker::Broker;
use flytrap_tests::lab::gateway::{Gateway, Setup};
use flytrap_tests::lab::netns::{Net, Place};
use flytrap_tests::lab::packet::{Version, kind, publish};
use flytrap_tests::lab::raw::{Raw, dial};
use flytrap_tests::lab::story::{People, World, deployment};
use flytrap_tests::lab::wallet::Login;
use flytrap_tests::lab::{PATIENCE, directory, wait_for};

#[test]
fn a_hundred_and_fifty_sensors_at_once() {
    let world = World::loopback().unwrap();
    let mut sensors: Vec<Raw> = (0..150)
        .map(|number| {
            let login = world
                .login(&world.people.sensor, &format!("sensor-{number}"))
                .unwrap();
            let mut raw = world.dial(0, Version::V5).unwrap();
            raw.send(&login.connect(Version::V5).bytes()).unwrap();
            raw
        })
        .collect();
    for raw in &mut sensors {
        assert_eq!(raw.expect(kind::CONNACK).unwrap().connack_reason(), Some(0));
    }
    for (number, raw) in sensors.iter_mut().enumerate() {
        let payload = format!("from {number}");
        let message = publish(Version::V5, "plant/line1/x", payload.as_bytes(), 1, 1);
        raw.send(&message).unwrap();
    }
    for raw in &mut sensors {
        assert_eq!(raw.expect(kind::PUBACK).unwrap().ack_reason(), 0);
    }
    wait_for("all messages", || {
        Ok((world.observer.messages().len() == 150).then_some(()))
    })
    .unwrap();
    let status = world.gateway.status().unwrap();
    assert_eq!(status.pointer("/sessions"), Some(&150.into()), "{status}");
}

const MEBIBYTE: usize = 1024 * 1024;
const MESSAGES: usize = 256;
const PAYLOAD: usize = MEBIBYTE / 4;

/// Resident memory of a gateway in bytes.
fn memory(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kilobytes * 1024
}

fn client(to: SocketAddr, login: &Login) -> Raw {
    let mut raw = Raw::plain(dial(&Place::Here, None, to, PATIENCE).unwrap(), Version::V5);
    assert_eq!(raw.log_in(login).unwrap(), 0);
    raw
}

#[test]
fn a_reader_that_stops_reading_costs_no_memory() {
    let files = directory().unwrap();
    let net = Net::loopback();
    let broker = Broker::start(&net.gateway, files.path()).unwrap();
    let people = People::create(files.path()).unwrap();
    let setup = Setup::new(&net, files.path(), broker.address, &people.ledger()).unwrap();
    let gateway = setup.start().unwrap();

    let technician = |id| people.technician.login(&deployment(), id).unwrap();
    let mut slow = client(gateway.setup.plain, &technician("slow"));
    assert_eq!(slow.subscribe(&[("plant/line2/bulk", 0)]).unwrap(), [0]);
    let before = memory(&gateway);

    // 64 MiB, each message acknowledged by the broker, while the subscriber reads nothing.
    let mut fast = client(gateway.setup.plain, &technician("fast"));
    let payload = vec![b'x'; PAYLOAD];
    for _ in 0..MESSAGES {
        assert_eq!(fast.publish("plant/line2/bulk", &payload, 1).unwrap(), 0);
    }
    let grown = memory(&gateway).saturating_sub(before);
    assert!(grown < 16 * MEBIBYTE, "the gateway grew by {grown} bytes");

    // What the broker kept arrives when the client reads again, whole and in order.
    let (_, topic, first) = slow.receive().unwrap();
    assert_eq!((topic.as_str(), first.len()), ("plant/line2/bulk", PAYLOAD));
}
