//! Starts that fail: each says why, and leaves interfaces and pins as they were.

use aya::maps::{Array, Map, MapData};
use flytrap::kernel::{KernelError, Mode, detach, look, pinned_counters};
use flytrap_common::abi::{ABI_VERSION, Config, EMPTY_PROGRAM, MAP_CONFIG};
use flytrap_tests::lab::veth::{BRIEF, GATEWAY, HOUR, Lab, attached, ban, start, started};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

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
