//! What `flytrap xdp` does beside a gateway, or without one: attach, detach, and look.

use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use flytrap::kernel::{
    AttachedMode, KernelError, KernelPlane, Mode, VerdictReason, detach, look, pinned_counters,
};
use flytrap::types::Prefix;
use flytrap_common::abi::{ABI_VERSION, Config, EMPTY_PROGRAM, MAP_CONFIG, PROGRAM};
use flytrap_tests::lab::veth::{
    BRIEF, FOREVER, GATEWAY, HOUR, Lab, attached, ban, eventually, started,
};
use tokio::runtime::Builder;

#[test]
#[ignore = "needs root: cargo xtask test"]
fn detaching_takes_some_or_all() {
    let lab = Lab::create();
    lab.veth("gw.1", "dev1");
    let plane = lab.start(&["gw0", "gw.1"]);
    let error = detach(&lab.pin_dir, &[]).unwrap_err();
    assert!(matches!(error, KernelError::InUse { .. }), "{error}");
    assert!(error.help().contains("stop that one"));
    assert_eq!(look(&lab.pin_dir).unwrap().holder, Some(std::process::id()));
    ban(&plane, "198.51.100.7", HOUR);
    drop(plane);
    assert_eq!(look(&lab.pin_dir).unwrap().holder, None);

    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let error = detach(&lab.pin_dir, &names(&["gw0", "lo"])).unwrap_err();
    assert!(matches!(&error, KernelError::NotAttached { name } if name == "lo"));
    assert!(attached("gw0").is_some());
    assert_eq!(
        detach(&lab.pin_dir, &names(&["gw.1"])).unwrap().interfaces,
        ["gw.1"]
    );
    assert_eq!(attached("gw.1"), None);
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
    assert_eq!(detach(&lab.pin_dir, &[]).unwrap().interfaces, ["gw0"]);
    assert_eq!(attached("gw0"), None);
    assert!(!lab.pin_dir.exists());
    assert!(lab.connects("198.51.100.7", GATEWAY, FOREVER));
    assert!(detach(&lab.pin_dir, &[]).unwrap().interfaces.is_empty());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn attaching_by_hand_leaves_bans_settings_and_other_interfaces() {
    let lab = Lab::create();
    lab.veth("gw1", "dev1");
    let mut settings = lab.settings(&["gw1"]);
    settings.event_sample = 77;
    let plane = started(settings);
    ban(&plane, "198.51.100.7", HOUR);
    ban(&plane, "198.51.100.8", HOUR);
    drop(plane);
    let before = attached("gw1");

    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let status = {
        let _entered = runtime.enter();
        let me: Prefix = "198.51.100.8".parse().unwrap();
        let names = vec!["gw0".to_owned()];
        KernelPlane::attach_by_hand(&lab.pin_dir, names, Mode::Native, Some((me, HOUR))).unwrap()
    };
    assert_eq!(attached("gw0"), Some((1, status.program_id.into())));
    assert_eq!(attached("gw1"), before);
    // Exempt for an hour, and nobody else is.
    assert!(lab.connects("198.51.100.8", GATEWAY, FOREVER));
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
    let count = |wanted| {
        let counters = pinned_counters(&lab.pin_dir).unwrap();
        let found = counters.iter().find(|(outcome, _)| *outcome == wanted);
        found.unwrap().1.packets
    };
    eventually(|| count(VerdictReason::DropAuthFailed) > 0);
    assert!(count(VerdictReason::PassAllowlisted) > 0);

    let pinned = look(&lab.pin_dir).unwrap();
    assert_eq!(pinned.abi_version, Some(ABI_VERSION));
    assert!(pinned.unusable.is_none());
    assert_eq!(pinned.programs.len(), 2);
    assert!(pinned.programs.iter().all(|program| program.ours
        && program.mode == AttachedMode::Native
        && program.name == PROGRAM));
    let [(prefix, rest)] = pinned.exempt[..] else {
        panic!("{:?}", pinned.exempt);
    };
    assert_eq!(prefix.to_string(), "198.51.100.8");
    assert!(rest > Duration::ZERO && rest <= HOUR);
    let map = MapData::from_pin(lab.pin_dir.join(MAP_CONFIG)).unwrap();
    let map: Array<_, Config> = Map::from_map_data(map).unwrap().try_into().unwrap();
    assert_eq!(map.get(&0, 0).unwrap().event_sample, 77);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn looking_shows_whose_program_it_is() {
    let lab = Lab::create();
    lab.veth("gw1", "dev1");
    let foreign = lab.attach_foreign("gw1");
    drop(lab.start(&["gw0"]));
    let pinned = look(&lab.pin_dir).unwrap();
    let shown: Vec<_> = pinned
        .programs
        .iter()
        .map(|program| {
            (
                program.interface.as_str(),
                program.name.as_str(),
                program.ours,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("gw0", PROGRAM, true), ("gw1", EMPTY_PROGRAM, false)]
    );
    assert_eq!(pinned.programs[1].id, foreign);
    let error = pinned_counters(&lab.pin_dir.join("none")).unwrap_err();
    assert!(matches!(error, KernelError::NoPins { .. }), "{error}");
}
