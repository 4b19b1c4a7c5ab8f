//! From attach to detach: modes, restarts, and what the end leaves.

use flytrap::kernel::{AttachedMode, Blocklist, Mode};
use flytrap_tests::lab::veth::{
    BRIEF, FOREVER, GATEWAY, HOUR, Lab, attached, ban, dropped, eventually, ip, start, started,
};

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
