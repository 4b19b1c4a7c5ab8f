//! `flytrap xdp` and `flytrap observe` beside a real gateway: what they say while it runs, after it
//! was killed, and without one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::{SocketAddr, UdpSocket};

use flytrap_tests::lab::gateway::binary;
use flytrap_tests::lab::netns::{Net, Place};
use flytrap_tests::lab::packet::{PINGREQ, Version, kind};
use flytrap_tests::lab::process::{Finished, Process, must};
use flytrap_tests::lab::story::World;
use flytrap_tests::lab::wait_for;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use serde_json::Value;

/// Datagrams from a device to the gateway, to a port where nobody listens.
fn send(world: &World, device: u8, count: u32) {
    let from = world.net.device(device);
    let to = (world.net.gateway_address(), 1884);
    let sent = world.net.devices.run(|| {
        let socket = UdpSocket::bind((from, 0))?;
        for _ in 0..count {
            // An answer that the port is closed comes back as an error of the next one.
            let _ = socket.send_to(b"hello", to);
        }
        Ok(())
    });
    sent.unwrap();
}

/// `flytrap xdp …` in a namespace, as somebody types it who is connected by SSH.
fn xdp(place: &Place, arguments: &[&str]) -> Finished {
    let mut command = place.command(binary().unwrap().to_str().unwrap());
    command.env("SSH_CONNECTION", "198.51.100.16 50000 198.51.100.1 22");
    Finished::of(command.arg("xdp").args(arguments)).unwrap()
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.extend(["-o", "json"]);
    let finished = xdp(place, &all);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.out).unwrap()
}

/// The packets that were given a verdict, by the pinned maps.
fn packets(place: &Place, pins: &str, verdict: &str) -> u64 {
    let counters = json(place, &["counters", "--pin-dir", pins]);
    let rows = counters.as_array().unwrap();
    let row = rows.iter().find(|row| row["verdict"] == verdict).unwrap();
    row["packets"].as_u64().unwrap()
}

/// The number of the program on an interface, as iproute2 sees it; `None`: it has none.
fn program(place: &Place, interface: &str) -> Option<u64> {
    let mut show = place.command("ip");
    let shown = must(show.args(["-j", "-d", "link", "show", "dev", interface])).unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown[0].get("xdp")?["prog"]["id"].as_u64()
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_killed_gateway_leaves_its_bans_dropping_and_its_successor_takes_over() {
    let mut world = World::new(Net::isolated().unwrap(), |setup, _| {
        setup.set("xdp.detach_on_exit", false);
    })
    .unwrap();
    let place = world.net.gateway.clone();
    let pins = world.gateway.setup.pins();
    let pins = pins.to_str().unwrap();
    let address = world.net.device(0).to_string();
    world.gateway.json(&["ban", "add", &address]).unwrap();
    send(&world, 0, 10);
    let first = program(&place, "gw0").unwrap();
    let before = packets(&place, pins, "drop_by_hand");
    assert!(before >= 10);

    // While it runs the pins are its own, for looking at only.
    let status = json(&place, &["status", "--pin-dir", pins]);
    assert_eq!(status["gateway_pid"], world.gateway.id());
    assert_eq!(status["programs"][0]["program_id"], first);
    assert_eq!(status["programs"][0]["ours"], true);
    for refused in [&["detach"][..], &["attach", "gw0"]] {
        let finished = xdp(&place, &[refused, &["--pin-dir", pins]].concat());
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.err.contains("is running with the pins"));
        assert!(finished.err.contains("help: stop that one"));
    }
    assert_eq!(program(&place, "gw0"), Some(first));
    // What the kernel counts is among the metrics.
    let metrics = metrics(&world);
    for verdict in ["drop_by_hand", "pass", "drop_country"] {
        for family in ["packets", "bytes"] {
            let sample = format!("flytrap_xdp_{family}_total{{verdict=\"{verdict}\"}} ");
            assert!(metrics.contains(&sample), "{metrics}");
        }
    }
    let none = "flytrap_xdp_packets_total{verdict=\"drop_by_hand\"} 0\n";
    assert!(!metrics.contains(none));

    world.gateway.kill().unwrap();
    assert_eq!(program(&place, "gw0"), Some(first));
    send(&world, 0, 10);
    let killed = packets(&place, pins, "drop_by_hand");
    assert!(killed >= before + 10);
    let status = json(&place, &["status", "--pin-dir", pins]);
    assert_eq!(status["gateway_pid"], Value::Null);

    world.gateway.restart().unwrap();
    let second = program(&place, "gw0").unwrap();
    assert_ne!(second, first);
    send(&world, 0, 10);
    assert!(packets(&place, pins, "drop_by_hand") >= killed + 10);
    assert_eq!(world.gateway.bans().unwrap(), [address]);

    world.gateway.stop().unwrap();
    let detached = json(&place, &["detach", "--pin-dir", pins]);
    assert_eq!(detached["interfaces"], serde_json::json!(["gw0"]));
    assert_eq!(program(&place, "gw0"), None);
}

/// `GET /metrics`, as a scraper sees it.
fn metrics(world: &World) -> String {
    let mut curl = world.net.gateway.command("curl");
    curl.args(["--silent", "--fail", "--unix-socket"]);
    curl.arg(world.gateway.setup.socket());
    must(curl.arg("http://localhost/metrics")).unwrap()
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_program_is_attached_by_hand_and_stays() {
    let net = Net::isolated().unwrap();
    let place = &net.gateway;
    let pins = format!("/sys/fs/bpf/ft{}-by-hand", std::process::id());
    let at_pins = ["--pin-dir", pins.as_str()];
    let attached = json(
        place,
        &[&["attach", "gw0", "lo", "--mode", "auto"], &at_pins[..]].concat(),
    );
    let guard = Removed(&pins);
    let id = program(place, "gw0").unwrap();
    assert_eq!(program(place, "lo"), Some(id));
    assert_eq!(attached["exempt"]["prefix"], "198.51.100.16");
    assert_eq!(attached["exempt"]["seconds"], 3600);
    let modes: Vec<_> = [0, 1].map(|at| &attached["interfaces"][at]["mode"]).into();
    assert_eq!(modes, ["native", "generic"]);

    let shown = xdp(place, &[&["status"], &at_pins[..]].concat()).out;
    for word in [
        "gw0",
        "native",
        "lo",
        "generic",
        "flytrap_xdp",
        "ABI",
        "198.51.100.16 for",
    ] {
        assert!(shown.contains(word), "no {word} in:\n{shown}");
    }
    assert!(!shown.contains("not FlyTrap's"), "{shown}");
    let counters = xdp(place, &[&["counters"], &at_pins[..]].concat()).out;
    assert!(counters.contains("pass_allowlisted"), "{counters}");
    // Another FlyTrap finds the interface taken, and says by what.
    let other = format!("{pins}-other");
    let refused = xdp(place, &["attach", "gw0", "--pin-dir", &other]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains(&format!("id {id}, `flytrap_xdp`")),
        "{}",
        refused.err
    );
    let foreign = xdp(place, &["status", "--pin-dir", &other]).out;
    assert!(foreign.contains("not FlyTrap's"), "{foreign}");

    let detached = xdp(place, &[&["detach", "lo"], &at_pins[..]].concat());
    assert_eq!(detached.out, "detached from lo\n");
    assert_eq!(program(place, "lo"), None);
    assert_eq!(program(place, "gw0"), Some(id));
    let detached = xdp(place, &[&["detach"], &at_pins[..]].concat());
    assert_eq!(detached.out, "detached from gw0\n");
    assert_eq!(program(place, "gw0"), None);
    assert!(!std::path::Path::new(&pins).exists());
    let nothing = xdp(place, &[&["counters"], &at_pins[..]].concat());
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.err.contains("help: "), "{}", nothing.err);
    drop(guard);
}

/// Pins that go with the test.
struct Removed<'a>(&'a str);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(self.0);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn drops_are_watched_as_they_happen() {
    let world = World::isolated().unwrap();
    let address = world.net.device(0).to_string();
    let ban = world.gateway.json(&["ban", "add", &address]).unwrap();
    let mut command = world.gateway.setup.command().unwrap();
    command
        .args([
            "observe",
            "--reason",
            "drop_by_hand",
            "-o",
            "json",
            "--socket",
        ])
        .arg(world.gateway.setup.socket());
    let log = world.directory.join("observe.log");
    let observe = Process::start("observe", &mut command, &log).unwrap();
    // It watches from some moment on, so packets are sent until it has seen some.
    wait_for("drops to be seen", || {
        send(&world, 0, 1);
        Ok((observe.log().lines().count() > 2).then_some(()))
    })
    .unwrap();
    for line in observe.log().lines() {
        let drop: Value = serde_json::from_str(line).unwrap();
        assert_eq!(drop["source"], address.as_str());
        assert_eq!(drop["reason"], "drop_by_hand");
        assert_eq!(drop["interface"], "gw0");
        assert_eq!(drop["ban"], ban["id"]);
        assert!(drop["time"].as_u64() >= ban["since"].as_u64());
        assert!(drop["bytes"].as_u64().unwrap() > 14);
        assert_eq!(drop["one_in"], 1);
    }
    // For people, and no more than asked for.
    let mut command = world.gateway.setup.command().unwrap();
    command
        .args(["observe", "--count", "2", "--socket"])
        .arg(world.gateway.setup.socket());
    let log = world.directory.join("observe-two.log");
    let mut two = Process::start("observe", &mut command, &log).unwrap();
    let ended = wait_for("two drops", || {
        send(&world, 0, 1);
        two.ended()
    });
    assert!(ended.unwrap().success());
    let text = two.log();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(&format!("gw0 {address} udp")), "{text}");
    assert!(text.contains(" drop_by_hand ban "), "{text}");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn whoever_connects_too_fast_keeps_the_session_that_it_has() {
    let world = World::new(Net::isolated().unwrap(), |setup, _| {
        setup.set("xdp.source_rate", 1).set("xdp.source_burst", 2);
    })
    .unwrap();
    let place = world.net.gateway.clone();
    let pins = world.gateway.setup.pins();
    let pins = pins.to_str().unwrap();
    let status = json(&place, &["status", "--pin-dir", pins]);
    assert_eq!(status["source_limit"]["rate"], 1);
    assert_eq!(status["source_limit"]["burst"], 2);
    assert_eq!(status["total_limit"], Value::Null);
    let ours = status["programs"][0]["program_id"].as_u64();
    assert_eq!(program(&place, "gw0"), ours);

    let log_in = |device: u8| {
        let mut raw = world.dial(device, Version::V5).unwrap();
        let name = format!("sensor-{device}");
        let login = world.login(&world.people.sensor, &name).unwrap();
        assert_eq!(raw.log_in(&login).unwrap(), 0);
        raw
    };
    let mut established = log_in(0);
    assert_eq!(packets(&place, pins, "drop_source_limit"), 0);
    let to = world.gateway.setup.plain;
    let from = SocketAddr::new(world.net.device(0), 0);
    let hurried = world.net.devices.run(|| {
        // All SYNs at once: even one of them each second would take minutes.
        let connect = |_| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
            bind(&socket, &from)?;
            match connect(&socket, &to) {
                Err(Errno::INPROGRESS) => Ok(socket),
                other => other.map(|()| socket),
            }
        };
        Ok((0..200).map(connect).collect::<Result<Vec<_>, Errno>>()?)
    });
    let hurried = hurried.unwrap();
    let dropped = packets(&place, pins, "drop_source_limit");
    assert!(dropped > 0);
    established.send(&PINGREQ).unwrap();
    established.expect(kind::PINGRESP).unwrap();
    let mut other = log_in(1);
    other.send(&PINGREQ).unwrap();
    other.expect(kind::PINGRESP).unwrap();
    drop(hurried);

    // Nothing but that was dropped, and nobody is banned.
    let counters = json(&place, &["counters", "--pin-dir", pins]);
    for row in counters.as_array().unwrap() {
        let verdict = row["verdict"].as_str().unwrap();
        let only = verdict == "drop_source_limit" || verdict.starts_with("pass");
        assert!(only || row["packets"] == 0, "{row}");
    }
    assert!(world.gateway.bans().unwrap().is_empty());
    let shown = xdp(&place, &["status", "--pin-dir", pins]).out;
    assert!(
        shown.contains("each source: 1 new connections/s, 2 at once"),
        "{shown}"
    );
}
