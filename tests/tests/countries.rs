//! Countries beside a real gateway: kept out by the kernel, replaced while packets come, and what is
//! told of databases that are none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flytrap::geo::Country;
use flytrap_tests::lab::geo::{Row, database, rows};
use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::packet::Version;
use flytrap_tests::lab::story::World;
use serde_json::Value;

/// The databases of a test.
struct Databases(tempfile::TempDir);

impl Databases {
    /// Device 0 is in `first`, the others are in `others`.
    fn write(&self, name: &str, first: &str, others: &str) -> PathBuf {
        self.with(name, &[], first, others)
    }

    fn with(&self, name: &str, more: &[Row], first: &str, others: &str) -> PathBuf {
        let net: IpAddr = "198.51.100.0".parse().unwrap();
        let net6: IpAddr = "2001:db8::".parse().unwrap();
        let device: IpAddr = "198.51.100.11".parse().unwrap();
        let mut rows = more.to_vec();
        rows.push((net, 24, country(others)));
        rows.push((net6, 32, country(first)));
        rows.push((device, 32, country(first)));
        self.file(name, &database(&rows).unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn country(code: &str) -> Country {
    code.parse().unwrap()
}

/// A gateway that keeps DE out, by a database of its own.
fn world(databases: &Databases, installed: &Path) -> World {
    assert_eq!(installed.parent(), Some(databases.0.path()));
    World::new(Net::isolated().unwrap(), |setup, _| {
        setup
            .set("xdp.detach_on_exit", false)
            .set("geo.database", installed.to_str().unwrap())
            .set("geo.countries", vec!["DE"]);
    })
    .unwrap()
}

/// Datagrams to a port where nobody listens.
fn send(world: &World, from: IpAddr, count: u32) {
    let to = if from.is_ipv4() {
        Net::GATEWAY[0]
    } else {
        Net::GATEWAY[1]
    };
    let sent = world.net.devices.run(|| {
        let socket = UdpSocket::bind((from, 0))?;
        for _ in 0..count {
            socket.send_to(b"hello", (to, 1884))?;
        }
        Ok(())
    });
    sent.unwrap();
}

fn dropped(world: &World) -> u64 {
    let status = world.gateway.status().unwrap();
    let count = status.pointer("/xdp/counters/drop_country/packets");
    count.and_then(Value::as_u64).unwrap()
}

fn program(world: &World) -> u64 {
    let status = world.gateway.status().unwrap();
    let id = status.pointer("/xdp/interfaces/0/program_id");
    id.and_then(Value::as_u64).unwrap()
}

/// How many of `count` packets the kernel drops for their country.
fn lost(world: &World, from: IpAddr, count: u32) -> u64 {
    let before = dropped(world);
    send(world, from, count);
    dropped(world) - before
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_new_database_changes_who_is_kept_out_and_stays() {
    let databases = Databases(tempfile::tempdir().unwrap());
    let installed = databases.write("installed.mmdb", "DE", "FR");
    let new = databases.write("new.mmdb", "FR", "DE");
    let link = databases.0.path().join("link.mmdb");
    std::os::unix::fs::symlink(&installed, &link).unwrap();
    let mut world = world(&databases, &link);
    let (first, second) = (world.net.device(0), world.net.device(1));
    let id = program(&world);
    assert_eq!(lost(&world, first, 20), 20);
    assert_eq!(lost(&world, second, 20), 0);
    // With IPv6 not even its question for the gateway's link-layer address gets through.
    assert_ne!(lost(&world, Net::DEVICES_V6[0], 20), 0);
    // Who isn't kept out has real sessions.
    let login = world.login(&world.people.sensor, "thermometer").unwrap();
    let mut device = world.dial(1, Version::V5).unwrap();
    assert_eq!(device.log_in(&login).unwrap(), 0);
    drop(device);

    let answer = |world: &World, address: IpAddr| {
        world
            .gateway
            .json(&["geo", "lookup", &address.to_string()])
            .unwrap()
    };
    assert_eq!(answer(&world, first)["country"], "DE");
    assert_eq!(answer(&world, first)["dropped"], true);
    assert_eq!(answer(&world, second)["dropped"], false);
    let nowhere = answer(&world, "203.0.113.1".parse().unwrap());
    assert_eq!(nowhere["country"], Value::Null);
    let status = world.gateway.status().unwrap();
    assert_eq!(status["geo"]["countries"], serde_json::json!(["DE"]));
    assert!(status["geo"]["networks"].as_u64().unwrap() >= 3);

    let updated = world
        .gateway
        .json(&["geo", "update", new.to_str().unwrap()]);
    let updated = updated.unwrap();
    assert_eq!(updated["geo"]["kind"], "FlyTrap-Test-Country");
    assert!(updated["seconds_to_force"].as_f64().unwrap() > 0.0);
    assert_eq!(lost(&world, first, 20), 0);
    assert_eq!(lost(&world, second, 20), 20);
    assert_eq!(lost(&world, Net::DEVICES_V6[0], 20), 0);
    assert_eq!(answer(&world, first)["country"], "FR");
    let mut device = world.dial(0, Version::V5).unwrap();
    assert_eq!(device.log_in(&login).unwrap(), 0);
    drop(device);
    assert_eq!(program(&world), id, "the same program with other tables");

    // What is none changes nothing, in the kernel or on disk.
    let same = std::fs::read(&new).unwrap();
    let cut = same.get(..same.len() / 2).unwrap();
    for (name, bytes, why) in [
        (
            "text",
            &b"no database"[..],
            "no database in MaxMind's format",
        ),
        ("cut", cut, "no database in MaxMind's format"),
    ] {
        let file = databases.file(name, bytes);
        let finished = world
            .gateway
            .cli(&["geo", "update", file.to_str().unwrap()]);
        let finished = finished.unwrap();
        assert_eq!(finished.code, Some(1), "{name}: {finished:?}");
        assert!(finished.err.contains(why), "{name}: {finished:?}");
        assert!(finished.err.contains("help: "), "{name}: {finished:?}");
    }
    assert_eq!(lost(&world, second, 20), 20);
    assert_eq!(std::fs::read(&installed).unwrap(), same);
    assert!(!databases.0.path().join("installed.mmdb.new").exists());

    // A file that somebody removed comes back, where the link leads that the configuration names.
    std::fs::remove_file(&installed).unwrap();
    let updated = world
        .gateway
        .json(&["geo", "update", new.to_str().unwrap()]);
    updated.unwrap();
    assert_eq!(std::fs::read(&installed).unwrap(), same);
    assert!(link.is_symlink());

    // Killed, it leaves them in force; started again, it has the new ones.
    world.gateway.kill().unwrap();
    world.gateway.restart().unwrap();
    assert_ne!(program(&world), id);
    assert_eq!(lost(&world, first, 20), 0);
    assert_eq!(lost(&world, second, 20), 20);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn tables_are_exchanged_under_traffic_without_a_wrong_verdict() {
    let databases = Databases(tempfile::tempdir().unwrap());
    let installed = databases.write("installed.mmdb", "DE", "FR");
    // Of other addresses they say other things, in tables of another size.
    let others = [
        databases.with("many.mmdb", &rows(1, 20_000), "DE", "FR"),
        databases.with("few.mmdb", &rows(2, 2_000), "DE", "US"),
    ];
    let world = world(&databases, &installed);
    let id = program(&world);
    let before = dropped(&world);
    let ended = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !ended.load(Ordering::Relaxed) {
                for number in 0..4 {
                    send(&world, world.net.device(number), 25);
                }
                sent += 25;
            }
            sent
        });
        for round in 0..6 {
            let file = &others[round % 2];
            let updated = world
                .gateway
                .json(&["geo", "update", file.to_str().unwrap()]);
            if let Err(error) = updated {
                ended.store(true, Ordering::Relaxed);
                panic!("{error}");
            }
        }
        ended.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    assert!(sent >= 25);
    // Those of device 0 and no others.
    assert_eq!(dropped(&world) - before, sent);
    assert_eq!(program(&world), id);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_start_with_a_bad_database_leaves_nothing_attached() {
    let databases = Databases(tempfile::tempdir().unwrap());
    let installed = databases.write("installed.mmdb", "DE", "FR");
    let mut world = world(&databases, &installed);
    // Without a database there is nothing to update.
    world.gateway.stop().unwrap();
    let setup = world.gateway.setup.clone();
    databases.file("installed.mmdb", b"no database");
    let finished = setup.run_to_the_end().unwrap();
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.err.contains("no database in MaxMind's format"));
    assert!(finished.err.contains("help: download it anew"));

    world.gateway.setup.config.remove("geo");
    world.gateway.restart().unwrap();
    let file = installed.to_str().unwrap();
    for arguments in [
        &["geo", "update", file][..],
        &["geo", "lookup", "192.0.2.7"],
    ] {
        let refused = world.gateway.cli(arguments).unwrap();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused
                .err
                .contains("no database of countries is configured")
        );
        assert!(refused.err.contains("geo.database"));
    }
    assert_eq!(world.gateway.status().unwrap()["geo"], Value::Null);
    assert_eq!(lost(&world, world.net.device(0), 20), 0);
}
