//! The laboratory itself, without a gateway: what it says about the gateway later counts only if
//! it is right about a bare broker.

use std::net::SocketAddr;
use std::time::Duration;

use flytrap_tests::lab::broker::Broker;
use flytrap_tests::lab::client::Way;
use flytrap_tests::lab::directory;
use flytrap_tests::lab::netns::{Net, Place};
use flytrap_tests::lab::packet::Version;
use flytrap_tests::lab::raw::{Raw, dial};
use flytrap_tests::lab::wallet::Login;
use flytrap_tests::lab::wire::Tap;

fn account(client_id: &str) -> Login {
    Login {
        user: Broker::GATEWAY_USER.to_owned(),
        password: Broker::GATEWAY_PASSWORD.to_owned(),
        client_id: client_id.to_owned(),
    }
}

const SOON: Duration = Duration::from_mins(1);

#[test]
fn the_observer_sees_what_real_and_raw_clients_publish() {
    let directory = directory().unwrap();
    let broker = Broker::start(&Place::Here, directory.path()).unwrap();
    let observer = broker.observe().unwrap();
    for version in Version::ALL {
        let way = Way {
            place: Place::Here,
            source: None,
            to: broker.address,
            ca: None,
            version,
        };
        let mut subscriber = way
            .subscribe(&account("s"), &["a/#"], 2, directory.path())
            .unwrap();
        assert_eq!(subscriber.subscribed().unwrap(), [2]);
        for qos in 0..3 {
            let payload = format!("{version:?} real {qos}");
            let run = way.publish(&account("p"), "a/b", &payload, qos).unwrap();
            assert_eq!(run.code, Some(0), "{run:?}");
            assert_eq!(observer.wait_for(&payload).unwrap().qos, qos);
            subscriber.wait_for(qos, "a/b", &payload).unwrap();

            let payload = format!("{version:?} raw {qos}");
            let stream = dial(&Place::Here, None, broker.address, SOON).unwrap();
            let mut raw = Raw::plain(stream, version);
            assert_eq!(raw.log_in(&account("raw")).unwrap(), 0);
            assert_eq!(raw.publish("a/c", payload.as_bytes(), qos).unwrap(), 0);
            assert_eq!(observer.wait_for(&payload).unwrap().topic, "a/c");
        }
    }
    assert!(!observer.saw("never published"));
}

#[test]
fn a_raw_client_receives_at_every_qos() {
    let directory = directory().unwrap();
    let broker = Broker::start(&Place::Here, directory.path()).unwrap();
    for version in Version::ALL {
        let stream = dial(&Place::Here, None, broker.address, SOON).unwrap();
        let mut raw = Raw::plain(stream, version);
        assert_eq!(raw.log_in(&account("raw")).unwrap(), 0);
        assert_eq!(
            raw.subscribe(&[("x", 0), ("y", 1), ("z", 2)]).unwrap(),
            [0, 1, 2]
        );
        for (qos, topic) in [(0, "x"), (1, "y")] {
            broker.publish(topic, "hello", false).unwrap();
            assert_eq!(
                raw.receive().unwrap(),
                (qos, topic.into(), b"hello".to_vec())
            );
        }
    }
}

#[test]
fn the_broker_refuses_strangers() {
    let directory = directory().unwrap();
    let broker = Broker::start(&Place::Here, directory.path()).unwrap();
    let stream = dial(&Place::Here, None, broker.address, SOON).unwrap();
    let mut raw = Raw::plain(stream, Version::V311);
    let stranger = Login {
        password: "wrong".into(),
        ..account("raw")
    };
    assert_eq!(raw.log_in(&stranger).unwrap(), 5);
}

#[test]
fn the_tap_keeps_every_byte() {
    let directory = directory().unwrap();
    let broker = Broker::start(&Place::Here, directory.path()).unwrap();
    let tap = Tap::start(&Place::Here, broker.address).unwrap();
    assert!(tap.tapes().is_empty());
    let stream = dial(&Place::Here, None, tap.address, SOON).unwrap();
    let mut raw = Raw::plain(stream, Version::V5);
    assert_eq!(raw.log_in(&account("raw")).unwrap(), 0);
    let tapes = tap.tapes();
    assert_eq!(tapes.len(), 1);
    assert_eq!(tapes[0].up, account("raw").connect(Version::V5).bytes());
    assert_eq!(tapes[0].down[0], 0x20);
    assert!(tap.went_up(Broker::GATEWAY_PASSWORD.as_bytes()));
    assert!(!tap.went_up(b"something else"));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn clients_reach_a_broker_between_namespaces_from_each_address() {
    let net = Net::isolated().unwrap();
    let v4: Vec<_> = (0..Net::DEVICES).map(|number| net.device(number)).collect();
    for (sources, gateway) in [
        (&v4[..], Net::GATEWAY[0]),
        (&Net::DEVICES_V6, Net::GATEWAY[1]),
    ] {
        let listener = net
            .gateway
            .run(|| Ok(std::net::TcpListener::bind(SocketAddr::new(gateway, 0))?))
            .unwrap();
        let to = listener.local_addr().unwrap();
        for source in sources {
            let client = dial(&net.devices, Some(*source), to, SOON).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), *source);
            assert_eq!(client.peer_addr().unwrap(), to);
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_namespace_is_gone_when_it_is_dropped() {
    let net = Net::isolated().unwrap();
    let Place::In(namespace) = &net.devices else {
        panic!()
    };
    let file = std::path::Path::new("/run/netns").join(namespace.name());
    assert!(file.exists());
    drop(net);
    assert!(!file.exists());
}
