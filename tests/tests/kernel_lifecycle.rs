//! From attach to detach: modes, restarts, failures, and whose program it is.

use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use flytrap::kernel::{
    AttachedMode, Blocklist, KernelError, KernelPlane, Mode, VerdictReason, detach, look,
    pinned_counters,
};
use flytrap::types::Prefix;
use flytrap_common::abi::{ABI_VERSION, Config, EMPTY_PROGRAM, MAP_CONFIG, PROGRAM};
use flytrap_tests::lab::veth::{
    BRIEF, FOREVER, GATEWAY, HOUR, Lab, attached, ban, dropped, eventually, ip, start, started,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tokio::runtime::Builder;

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_restart_keeps_bans_in_force_and_replaces_the_program() {
    let lab = Lab::create();
    let first = lab.start(&["gw0"]);
    ban(&first, "198.51.100.7", HOUR);
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
    eventually(|| dropped(&first) > 0);
    let count = first.bans().unwrap()[0].dropped.packets;
    let first_id = first.status().program_id;
    drop(first);
    // No process holds anything now, as after a SIGKILL.
    assert_eq!(attached("gw0"), Some((1, first_id.into())));
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));

    let second = lab.start(&["gw0"]);
    let second_id = second.status().program_id;
    assert_ne!(second_id, first_id);
    assert_eq!(attached("gw0"), Some((1, second_id.into())));
    let bans = second.bans().unwrap();
    assert_eq!(bans.len(), 1);
    assert!(bans[0].dropped.packets >= count);
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
    assert!(lab.connects("198.51.100.8", GATEWAY, FOREVER));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn detaching_on_exit_leaves_nothing() {
    let lab = Lab::create();
    let mut settings = lab.settings(&["gw0"]);
    settings.detach_on_exit = true;
    let plane = started(settings.clone());
    ban(&plane, "198.51.100.7", HOUR);
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
    plane.close().unwrap();
    assert_eq!(attached("gw0"), None);
    assert!(!lab.pin_dir.exists());
    assert!(lab.connects("198.51.100.7", GATEWAY, FOREVER));
    plane.close().unwrap();
    drop(started(settings));
    assert_eq!(attached("gw0"), None);
    assert!(!lab.pin_dir.exists());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_foreign_program_is_named_and_stays() {
    let lab = Lab::create();
    let foreign = lab.attach_foreign("gw0");
    let error = lab.refused(&["gw0"]);
    let text = error.to_string();
    assert!(
        matches!(&error, KernelError::InterfaceTaken { interface, program_id, program_name }
            if interface == "gw0" && *program_id == foreign && program_name == EMPTY_PROGRAM),
        "{text}"
    );
    assert!(text.contains(&foreign.to_string()) && text.contains(EMPTY_PROGRAM));
    assert_eq!(attached("gw0"), Some((1, foreign.into())));
    assert!(!lab.pin_dir.exists());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_start_that_fails_on_the_second_interface_leaves_nothing() {
    let lab = Lab::create();
    lab.veth("gw1", "dev1");
    let foreign = lab.attach_foreign("gw1");
    let error = lab.refused(&["gw0", "gw1"]);
    assert!(matches!(error, KernelError::InterfaceTaken { .. }));
    assert_eq!(attached("gw1"), Some((1, foreign.into())));

    // Free as far as one can see beforehand: only attaching finds out that lo has no native mode.
    let error = lab.refused(&["gw0", "lo"]);
    let text = error.to_string();
    assert!(
        matches!(&error, KernelError::NativeUnsupported { interface, .. } if interface == "lo"),
        "{text}"
    );
    assert!(error.help().contains("mode = \"generic\""));

    let error = lab.refused(&["gw0", "nosuch0"]);
    assert!(matches!(&error, KernelError::UnknownInterface { name } if name == "nosuch0"));

    assert_eq!(attached("gw0"), None);
    assert_eq!(attached("lo"), None);
    assert!(!lab.pin_dir.exists());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_start_that_is_not_kept_leaves_nothing() {
    let lab = Lab::create();
    for detach_on_exit in [false, true] {
        let mut settings = lab.settings(&["gw0"]);
        settings.detach_on_exit = detach_on_exit;
        let plane = start(settings).unwrap();
        ban(&plane, "198.51.100.7", HOUR);
        assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
        drop(plane);
        assert_eq!(attached("gw0"), None);
        assert!(!lab.pin_dir.exists());
    }
    drop(lab.start(&["gw0"]));
    assert!(attached("gw0").is_some());
    assert!(lab.pins().contains(&"link_gw0".to_owned()));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_start_that_is_not_kept_leaves_what_was_there() {
    let lab = Lab::create();
    lab.veth("gw1", "dev1");
    lab.veth("gw2", "dev2");
    let first = lab.start(&["gw0", "gw1"]);
    ban(&first, "198.51.100.7", HOUR);
    drop(first);
    let pins = lab.pins();
    // One in another mode, one more, one less, and everything to go with the end.
    let mut settings = lab.settings(&["gw0", "gw2"]);
    settings.mode = Mode::Generic;
    settings.detach_on_exit = true;
    let second = start(settings).unwrap();
    assert!(attached("gw2").is_some());
    drop(second);
    assert_eq!(attached("gw2"), None);
    assert!(attached("gw0").is_some() && attached("gw1").is_some());
    assert_eq!(lab.pins(), pins);
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_mode_that_fails_leaves_the_mode_of_before() {
    let lab = Lab::create();
    let mut settings = lab.settings(&["lo"]);
    settings.mode = Mode::Generic;
    drop(started(settings));
    let pins = lab.pins();
    let error = lab.refused(&["lo"]);
    assert!(
        matches!(error, KernelError::NativeUnsupported { .. }),
        "{error}"
    );
    assert!(matches!(attached("lo"), Some((2, _))));
    assert_eq!(lab.pins(), pins);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_start_that_fails_leaves_the_earlier_program_in_force() {
    let lab = Lab::create();
    let first = lab.start(&["gw0"]);
    ban(&first, "198.51.100.7", HOUR);
    drop(first);
    let pins = lab.pins();
    assert!(matches!(
        lab.refused(&["gw0", "lo"]),
        KernelError::NativeUnsupported { .. }
    ));
    assert_eq!(lab.pins(), pins);
    assert!(attached("gw0").is_some());
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn auto_and_generic_attach_where_native_cannot() {
    let lab = Lab::create();
    let mut settings = lab.settings(&["gw0", "lo"]);
    settings.mode = Mode::Auto;
    let plane = started(settings.clone());
    let id = u64::from(plane.status().program_id);
    assert_eq!(attached("gw0"), Some((1, id)));
    assert_eq!(attached("lo"), Some((2, id)));
    let modes: Vec<_> = plane.status().interfaces.iter().map(|i| i.mode).collect();
    assert_eq!(modes, [AttachedMode::Native, AttachedMode::Generic]);
    drop(plane);

    // Another mode, and an interface that is configured no more.
    settings.mode = Mode::Generic;
    settings.interfaces = vec!["gw0".to_owned()];
    let plane = started(settings);
    let id = u64::from(plane.status().program_id);
    assert_eq!(attached("gw0"), Some((2, id)));
    assert!(!lab.pins().contains(&"link_lo".to_owned()));
    // Its link goes a moment after its pin.
    eventually(|| attached("lo").is_none());
    ban(&plane, "198.51.100.7", HOUR);
    assert!(!lab.connects("198.51.100.7", GATEWAY, BRIEF));
    eventually(|| dropped(&plane) > 0);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_interface_made_anew_is_attached_anew() {
    let lab = Lab::create();
    lab.veth("gw.1", "dev1");
    drop(lab.start(&["gw0", "gw.1"]));
    assert!(lab.pins().contains(&"link_gw%2E1".to_owned()));
    ip("link del gw.1");
    lab.veth("gw.1", "dev1");
    assert_eq!(attached("gw.1"), None);
    let plane = lab.start(&["gw0", "gw.1"]);
    let id = u64::from(plane.status().program_id);
    assert_eq!(attached("gw.1"), Some((1, id)));
    assert_eq!(attached("gw0"), Some((1, id)));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn two_gateways_do_not_share_pins() {
    let lab = Lab::create();
    let first = lab.start(&["gw0"]);
    let before = attached("gw0");
    let error = lab.refused(&["gw0"]);
    assert!(matches!(error, KernelError::InUse { .. }), "{error}");
    assert_eq!(attached("gw0"), before);
    drop(first);
    drop(lab.start(&["gw0"]));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn pins_of_another_abi_are_refused_and_left() {
    let lab = Lab::create();
    drop(lab.start(&["gw0"]));
    let pins = lab.pins();
    let before = attached("gw0");
    let map = MapData::from_pin(lab.pin_dir.join(MAP_CONFIG)).unwrap();
    let mut map: Array<_, Config> = Map::from_map_data(map).unwrap().try_into().unwrap();
    let mut config = map.get(&0, 0).unwrap();
    assert_eq!(config.abi_version, ABI_VERSION);
    config.abi_version += 1;
    map.set(0, config, 0).unwrap();

    let error = lab.refused(&["gw0"]);
    let text = error.to_string();
    assert!(matches!(error, KernelError::AbiMismatch { .. }), "{text}");
    let advice = format!("flytrap xdp detach --pin-dir {}", lab.pin_dir.display());
    assert!(error.help().contains(&advice), "{}", error.help());
    assert!(pinned_counters(&lab.pin_dir).is_err());
    assert!(matches!(
        look(&lab.pin_dir).unwrap().unusable,
        Some(KernelError::AbiMismatch { .. })
    ));
    assert_eq!(lab.pins(), pins);
    assert_eq!(attached("gw0"), before);

    // And what it says to type does it.
    assert_eq!(detach(&lab.pin_dir, &[]).unwrap().interfaces, ["gw0"]);
    assert_eq!(attached("gw0"), None);
    assert!(!lab.pin_dir.exists());
    drop(lab.start(&["gw0"]));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_pin_directory_elsewhere_is_refused() {
    let lab = Lab::create();
    let mut settings = lab.settings(&["gw0"]);
    let elsewhere = tempfile::tempdir().unwrap();
    settings.pin_dir = elsewhere.path().join("flytrap");
    let error = start(settings).unwrap_err();
    assert!(matches!(error, KernelError::NoBpffs { .. }), "{error}");
    assert!(!elsewhere.path().join("flytrap").exists());
    assert_eq!(attached("gw0"), None);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_failed_start_detaches_nothing_of_before_also_where_exit_would() {
    let lab = Lab::create();
    drop(lab.start(&["gw0"]));
    let mut settings = lab.settings(&["gw0", "lo"]);
    settings.detach_on_exit = true;
    let pins = lab.pins();
    let error = start(settings).unwrap_err();
    assert!(matches!(error, KernelError::NativeUnsupported { .. }));
    assert_eq!(lab.pins(), pins);
    assert!(attached("gw0").is_some());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn without_privileges_it_says_which() {
    let lab = Lab::create();
    // Capabilities belong to the thread; this one ends with the test.
    for (dropped, missing) in [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::BPF | CapabilitySet::SYS_ADMIN, "CAP_BPF"),
    ] {
        let settings = lab.settings(&["gw0"]);
        std::thread::scope(|scope| {
            let unprivileged = scope.spawn(|| {
                let mut held = capabilities(None).unwrap();
                held.effective.remove(dropped);
                set_capabilities(None, held).unwrap();
                start(settings).unwrap_err()
            });
            let error = unprivileged.join().unwrap();
            assert!(
                matches!(&error, KernelError::NotPrivileged { missing: is } if *is == missing),
                "{error}"
            );
        });
    }
    assert!(!lab.pin_dir.exists());
}

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
