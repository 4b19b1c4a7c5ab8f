//! Who is banned, for what, and for how long, through the gateway's own binary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::time::Duration;

use flytrap::types::Prefix;
use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::packet::Version;
use flytrap_tests::lab::process::must;
use flytrap_tests::lab::raw::{Raw, dial};
use flytrap_tests::lab::story::{World, deployment};
use flytrap_tests::lab::wait_for;
use flytrap_tests::lab::wallet::Login;
use toml::{Table, Value};

/// The default rule with another duration.
fn rule(ban: &str) -> Vec<Value> {
    let rule: Table = format!(
        "offence = \"auth-failed\"\nmore_than = 5\nconsecutive = true\nban = \"{ban}\"\nban_max = \"{ban}\""
    )
    .parse()
    .unwrap();
    vec![rule.into()]
}

fn forged(world: &World) -> Login {
    world
        .login(&world.people.sensor, "sensor")
        .unwrap()
        .forged()
}

/// One refused login from a device.
fn fail(world: &World, device: u8) {
    let answer = world
        .dial(device, Version::V5)
        .unwrap()
        .log_in(&forged(world))
        .unwrap();
    assert_eq!(answer, 0x86);
}

/// One accepted login from a device.
fn succeed(world: &World, device: u8) -> Raw {
    let mut raw = world.dial(device, Version::V5).unwrap();
    let login = world
        .login(&world.people.sensor, &format!("sensor-{device}"))
        .unwrap();
    assert_eq!(raw.log_in(&login).unwrap(), 0);
    raw
}

fn is_banned(world: &World, device: u8) -> bool {
    let address = world.net.device(device).to_string();
    let bans = world.gateway.bans().unwrap();
    bans.iter()
        .any(|ban| ban.split('/').next() == Some(&address))
}

fn wait_until_banned(world: &World, device: u8) {
    wait_for("the ban", || Ok(is_banned(world, device).then_some(()))).unwrap();
}

/// Whether the gateway closes a connection before a word is said.
fn is_turned_away(world: &World, device: u8) -> bool {
    let mut raw = world.dial(device, Version::V5).unwrap();
    let login = world.login(&world.people.sensor, "turned-away").unwrap();
    raw.log_in(&login).is_err()
}

#[test]
fn without_xdp_the_sixth_failure_in_a_row_bans_at_accept() {
    let world = World::new(Net::loopback(), |setup, _| {
        setup.set("defence.rule", rule("1h"));
    })
    .unwrap();
    for _ in 0..5 {
        fail(&world, 0);
    }
    assert!(world.gateway.bans().unwrap().is_empty());
    fail(&world, 0);
    wait_until_banned(&world, 0);
    assert!(is_turned_away(&world, 0));
    succeed(&world, 1);

    let address = world.net.device(0).to_string();
    let lifted = world.gateway.cli(&["ban", "lift", &address]).unwrap();
    assert_eq!(lifted.code, Some(0), "{lifted:?}");
    succeed(&world, 0);
}

#[test]
fn a_success_in_between_starts_the_count_again() {
    let world = World::loopback().unwrap();
    for _ in 0..3 {
        for _ in 0..5 {
            fail(&world, 0);
        }
        drop(succeed(&world, 0));
    }
    assert!(world.gateway.bans().unwrap().is_empty());
}

#[test]
fn an_expired_token_is_no_offence() {
    let world = World::new(Net::loopback(), |setup, _| {
        setup.set("login.stale_delay", "0s");
    })
    .unwrap();
    let stale = world
        .people
        .sensor
        .login_for(&deployment(), "sensor", 7200, 3600)
        .unwrap();
    for _ in 0..10 {
        assert_eq!(
            world.dial(0, Version::V5).unwrap().log_in(&stale).unwrap(),
            0x87
        );
    }
    assert!(world.gateway.bans().unwrap().is_empty());
    succeed(&world, 0);
}

#[test]
fn an_address_with_a_proven_session_is_slowed_down_and_not_cut_off() {
    let world = World::loopback().unwrap();
    let mut proven = succeed(&world, 0);
    for _ in 0..8 {
        fail(&world, 0);
    }
    let list = world.gateway.json(&["ban", "list"]).unwrap();
    let standing = |number| list.pointer(&format!("/{number}/standing")).cloned();
    assert_eq!(standing(0), Some("throttled".into()), "{list}");
    assert_eq!(standing(1), None, "{list}");
    assert_eq!(
        proven.publish("plant/line1/x", b"still here", 1).unwrap(),
        0
    );
    succeed(&world, 0);
}

#[test]
fn an_allowlisted_address_is_never_banned() {
    let world = World::new(Net::loopback(), |setup, _| {
        setup.set("defence.allowlist", vec![Value::from("127.0.0.11/32")]);
    })
    .unwrap();
    for _ in 0..10 {
        fail(&world, 0);
    }
    succeed(&world, 0);
    for _ in 0..6 {
        fail(&world, 1);
    }
    wait_until_banned(&world, 1);
    assert!(!is_banned(&world, 0));
}

#[test]
fn bans_outlive_a_restart_and_expire() {
    let mut world = World::new(Net::loopback(), |setup, _| {
        setup.set("defence.rule", rule("5s"));
    })
    .unwrap();
    let address = world.net.device(3).to_string();
    let added = world
        .gateway
        .cli(&["ban", "add", &address, "--for", "1h", "--note", "by hand"])
        .unwrap();
    assert_eq!(added.code, Some(0), "{added:?}");
    for _ in 0..6 {
        fail(&world, 0);
    }
    wait_until_banned(&world, 0);
    world.gateway.kill().unwrap();
    world.gateway.restart().unwrap();
    assert!(is_banned(&world, 3));
    assert!(is_turned_away(&world, 3));
    wait_for("the end of the ban", || {
        Ok((!is_banned(&world, 0)).then_some(()))
    })
    .unwrap();
    succeed(&world, 0);
    assert!(is_banned(&world, 3));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_kernel_drops_a_banned_ipv6_network_and_spares_its_neighbour() {
    let world = World::new(Net::isolated().unwrap(), |setup, _| {
        let mut v6 = Table::new();
        v6.insert("bind".into(), format!("[{}]:1883", Net::GATEWAY[1]).into());
        v6.insert("danger_tokens_readable_on_the_wire".into(), true.into());
        if let Some(Value::Array(listeners)) = setup.config.get_mut("listener") {
            listeners.push(v6.into());
        }
    })
    .unwrap();
    let to = std::net::SocketAddr::new(Net::GATEWAY[1], 1883);
    let connect = |source: usize, timeout| {
        dial(
            &world.net.devices,
            Some(Net::DEVICES_V6[source]),
            to,
            timeout,
        )
        .map(|stream| Raw::plain(stream, Version::V5))
    };
    let patience = Duration::from_mins(1);
    for _ in 0..6 {
        assert_eq!(
            connect(0, patience)
                .unwrap()
                .log_in(&forged(&world))
                .unwrap(),
            0x86
        );
    }
    wait_for("the ban", || {
        Ok((!world.gateway.bans().unwrap().is_empty()).then_some(()))
    })
    .unwrap();
    assert_eq!(world.gateway.bans().unwrap(), ["2001:db8:f1:11::/64"]);
    let before = world.gateway.dropped().unwrap();
    // The whole /64 of the attacker.
    for source in [0, 1] {
        assert!(connect(source, Duration::from_secs(2)).is_err());
    }
    assert!(world.gateway.dropped().unwrap() > before);
    let login = world.login(&world.people.sensor, "neighbour").unwrap();
    assert_eq!(connect(2, patience).unwrap().log_in(&login).unwrap(), 0);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn bans_stay_in_the_kernel_while_the_gateway_is_dead_and_after_its_restart() {
    let mut world = World::new(Net::isolated().unwrap(), |setup, _| {
        setup.set("xdp.detach_on_exit", false);
    })
    .unwrap();
    for _ in 0..6 {
        fail(&world, 1);
    }
    wait_until_banned(&world, 1);
    let reaches = |world: &World, device| {
        let to = world.gateway.setup.plain;
        let source = Some(world.net.device(device));
        dial(&world.net.devices, source, to, Duration::from_secs(2)).map(|_| ())
    };
    // Refused by the kernel because nobody listens: so this one's packets still arrive.
    let is_refused = |world: &World, device| {
        let error = reaches(world, device).unwrap_err();
        error
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind)
            == Some(std::io::ErrorKind::ConnectionRefused)
    };
    world.gateway.kill().unwrap();
    assert!(is_refused(&world, 0));
    assert!(!is_refused(&world, 1), "the killed gateway's ban is gone");

    world.gateway.restart().unwrap();
    assert!(reaches(&world, 0).is_ok());
    assert!(reaches(&world, 1).is_err());
    assert!(is_banned(&world, 1));

    world.gateway.stop().unwrap();
    assert!(is_refused(&world, 0));
    assert!(!is_refused(&world, 1), "the stopped gateway's ban is gone");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn stopping_with_detach_on_exit_leaves_nothing() {
    let mut world = World::isolated().unwrap();
    let pins = world.gateway.setup.pins();
    let link = |world: &World| {
        must(
            world
                .net
                .gateway
                .command("ip")
                .args(["-d", "link", "show", "gw0"]),
        )
        .unwrap()
    };
    assert!(pins.join("ft_ban4").exists());
    assert!(link(&world).contains("prog/xdp"));
    assert!(world.gateway.stop().unwrap().success());
    assert!(!pins.exists());
    assert!(!link(&world).contains("prog/xdp"), "{}", link(&world));
    assert!(!world.gateway.setup.socket().exists());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_list_of_a_million_is_in_force_at_once() {
    const ENTRIES: u32 = 1_000_000;
    let world = World::isolated().unwrap();
    let attacker = world.net.device(1);
    let mut list = format!("; a list in the form of Spamhaus DROP\n{attacker} ; SBL1\n");
    for n in 1..ENTRIES {
        let address = Ipv4Addr::from_bits(0x0b00_0000 + n * 13);
        list.push_str(&address.to_string());
        list.push('\n');
    }
    let file = world.gateway.setup.directory.join("list.txt");
    std::fs::write(&file, format!("{list}not an address\n")).unwrap();
    let name = file.to_str().unwrap();
    let refused = world.gateway.cli(&["ban", "import", name]).unwrap();
    assert_eq!(refused.code, Some(1));
    let told = format!("line {}", ENTRIES + 2);
    assert!(refused.err.contains(&told), "{}", refused.err);
    assert_eq!(world.gateway.counter("bans").unwrap(), 0);

    let begin = std::time::Instant::now();
    let import = ["ban", "import", name, "--skip-bad", "--note", "a list"];
    let imported = world.gateway.json(&import).unwrap();
    println!("whole command {:?}: {imported}", begin.elapsed());
    assert_eq!(imported["imported"], ENTRIES);
    assert_eq!(imported["kernel_refused"], 0);
    assert_eq!(world.gateway.counter("bans").unwrap(), u64::from(ENTRIES));
    let reaches = |device| {
        let to = world.gateway.setup.plain;
        let source = Some(world.net.device(device));
        dial(&world.net.devices, source, to, Duration::from_secs(2)).is_ok()
    };
    let before = world.gateway.dropped().unwrap();
    assert!(!reaches(1));
    assert!(world.gateway.dropped().unwrap() > before);
    assert!(reaches(0));
}

/// Every prefix that the kernel has room for, and one more: through command line, store and map.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_soonest_to_end_makes_room_in_a_full_table() {
    const ROOM: u32 = 1 << 16;
    let mut world = World::new(Net::isolated().unwrap(), |setup, _| {
        // Killed below: what it leaves is for its successor.
        setup.set("xdp.detach_on_exit", false);
    })
    .unwrap();
    let gateway = &world.gateway;
    let soonest = Prefix::covering(world.net.device(0), 30).to_string();
    gateway
        .json(&["ban", "add", &soonest, "--for", "1h"])
        .unwrap();
    let list = |first: u32, count: u32| {
        let line = |number: u32| format!("{}/24\n", Ipv4Addr::from_bits(number << 8));
        (first..first + count).map(line).collect::<String>()
    };
    let file = world.directory.join("list");
    let import = |text: String| {
        std::fs::write(&file, text).unwrap();
        let name = file.to_str().unwrap();
        gateway
            .json(&["ban", "import", name, "--for", "24h"])
            .unwrap()
    };
    let ten = 10 << 16;
    let imported = import(list(ten, ROOM - 1));
    assert_eq!(imported.get("evicted"), Some(&0.into()));
    assert_eq!(gateway.bans().unwrap().len(), ROOM as usize);
    let drops = |world: &World| {
        let before = world.gateway.dropped().unwrap();
        let refused = dial_quickly(world).is_err();
        (refused, world.gateway.dropped().unwrap() > before)
    };
    assert_eq!(drops(&world), (true, true));

    // One of the same size takes its place, and it says so.
    let imported = import(list(172 << 16, 1));
    assert_eq!(imported.get("evicted"), Some(&1.into()), "{imported}");
    assert_eq!(imported.get("kernel_refused"), Some(&0.into()));
    let bans = gateway.bans().unwrap();
    assert_eq!(bans.len(), ROOM as usize);
    assert!(!bans.contains(&soonest));
    assert!(bans.contains(&"172.0.0.0/24".to_owned()));
    assert_eq!(gateway.counter("bans_evicted").unwrap(), 1);
    assert_eq!(drops(&world), (false, false));

    // A successor has as many in the kernel, and not the one that ended.
    world.gateway.kill().unwrap();
    world.gateway.restart().unwrap();
    assert_eq!(world.gateway.bans().unwrap().len(), ROOM as usize);
    assert_eq!(drops(&world), (false, false));
    let refused = world.gateway.json(&["ban", "list"]).unwrap();
    let refused = refused.as_array().unwrap().iter();
    assert_eq!(
        refused
            .filter(|ban| ban.get("kernel_refused") == Some(&true.into()))
            .count(),
        0
    );
}

fn dial_quickly(world: &World) -> anyhow::Result<std::net::TcpStream> {
    let to = world.gateway.setup.plain;
    let from = Some(world.net.device(0));
    dial(&world.net.devices, from, to, Duration::from_secs(2))
}
