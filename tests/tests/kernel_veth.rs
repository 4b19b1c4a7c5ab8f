//! Verdicts on the wire: native XDP on the gateway's end of a veth pair, TCP connections from the
//! other.

use std::time::{Duration, Instant};

use flytrap::kernel::{AttachedMode, Blocklist};
use flytrap_common::abi::{ABI_VERSION, MAP_BAN4, MAP_CONFIG, MAPS, reason};
use flytrap_tests::lab::veth::{
    BRIEF, FOREVER, GATEWAY, GATEWAY6, HOUR, Lab, attached, ban, dropped, eventually, run,
};

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_ban_drops_its_source_until_it_is_lifted() {
    let lab = Lab::create();
    let plane = lab.start(&["gw0"]);
    let status = plane.status();
    assert_eq!(attached("gw0"), Some((1, status.program_id.into())));
    assert_eq!(status.interfaces[0].mode, AttachedMode::Native);
    assert!(status.interfaces[0].attached);
    for (target, banned, to, other) in [
        (
            "198.51.100.7",
            "198.51.100.7",
            GATEWAY,
            Some("198.51.100.8"),
        ),
        (
            "198.51.100.6/31",
            "198.51.100.7",
            GATEWAY,
            Some("198.51.100.8"),
        ),
        ("2001:db8::/64", "2001:db8::7", GATEWAY6, None),
        ("2001:db8::/32", "2001:db8::7", GATEWAY6, None),
    ] {
        assert!(lab.connects(banned, to, FOREVER), "{target}");
        let before = dropped(&plane);
        ban(&plane, target, HOUR);
        assert!(!lab.connects(banned, to, BRIEF), "{target}");
        eventually(|| dropped(&plane) > before);
        if let Some(other) = other {
            assert!(lab.connects(other, to, FOREVER), "{target}");
        }
        assert!(plane.lift(target.parse().unwrap()).unwrap());
        assert!(lab.connects(banned, to, FOREVER), "{target}");
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_ban_ends_by_itself() {
    let lab = Lab::create();
    let plane = lab.start(&["gw0"]);
    let started = Instant::now();
    ban(&plane, "198.51.100.7", Duration::from_secs(2));
    // Repeated SYNs get through as soon as the ban has run out; its clock ticks coarsely.
    assert!(lab.connects("198.51.100.7", GATEWAY, FOREVER));
    assert!(started.elapsed() >= Duration::from_millis(1900));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn bpftool_shows_field_names() {
    let lab = Lab::create();
    let plane = lab.start(&["gw0"]);
    ban(&plane, "198.51.100.7", HOUR);
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
    eventually(|| dropped(&plane) > 0);
    let dump = |map: &str| {
        let pin = lab.pin_dir.join(map);
        let dump = run(
            "bpftool",
            &["-j", "map", "dump", "pinned", pin.to_str().unwrap()],
        );
        serde_json::from_slice::<serde_json::Value>(&dump.stdout).unwrap()
    };
    let bans = dump(MAP_BAN4);
    let value = &bans[0]["formatted"]["value"];
    assert_eq!(value["reason"], u64::from(reason::AUTH_FAILED));
    assert!(value["packets"].as_u64().unwrap() > 0, "{bans}");
    assert!(bans[0]["formatted"]["key"]["address"].is_array(), "{bans}");
    let counters = dump("ft_counters");
    let cpus = counters[0]["formatted"]["values"].as_array().unwrap();
    let packets: u64 = cpus
        .iter()
        .map(|cpu| {
            cpu["value"]["drop_auth_failed"]["packets"]
                .as_u64()
                .unwrap()
        })
        .sum();
    assert!(packets > 0 && packets <= dropped(&plane));
    assert_eq!(
        dump(MAP_CONFIG)[0]["formatted"]["value"]["abi_version"],
        ABI_VERSION
    );
    // Every map of ours is pinned under its own name.
    let pins = lab.pins();
    assert!(MAPS.iter().all(|map| pins.contains(&(*map).to_owned())));
}
