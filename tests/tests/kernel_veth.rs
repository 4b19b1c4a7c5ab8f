//! The kernel plane on a real interface: a veth pair between two network namespaces, native XDP on
//! the gateway's end, TCP connections from the other.
//!
//! Each test owns its namespaces and its pin directory, and its thread lives in the gateway's
//! namespace, so nothing touches the machine's own network and tests don't meet.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use flytrap::kernel::{
    AttachedMode, Blocklist, KernelBan, KernelError, KernelPlane, KernelSettings, Mode,
    VerdictReason, program,
};
use flytrap_common::abi::{ABI_VERSION, Config, EMPTY_PROGRAM, MAP_BAN4, MAP_CONFIG, MAPS, reason};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space, set_capabilities,
};
use tokio::runtime::Builder;

const HOUR: Duration = Duration::from_hours(1);
/// Only a hang takes this long.
const FOREVER: Duration = Duration::from_mins(1);
/// A dropped SYN is repeated after one second, so this sees at least one of them dropped.
const BRIEF: Duration = Duration::from_millis(600);
const GATEWAY: &str = "198.51.100.1";
const GATEWAY6: &str = "2001:db8::1";

/// Two namespaces and the pin directory, removed with everything in them, also by a panic.
struct Lab {
    gateway: String,
    devices: String,
    pin_dir: PathBuf,
}

impl Lab {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let lab = Self {
            gateway: format!("ft-{id}-gw"),
            devices: format!("ft-{id}-dev"),
            pin_dir: PathBuf::from(format!("/sys/fs/bpf/flytrap-test-veth-{id}")),
        };
        ip(&format!("netns add {}", lab.gateway));
        ip(&format!("netns add {}", lab.devices));
        enter(&lab.gateway);
        ip("link set lo up");
        lab.veth("gw0", "dev0");
        ip(&format!("address add {GATEWAY}/24 dev gw0"));
        ip(&format!("address add {GATEWAY6}/64 dev gw0 nodad"));
        for address in ["198.51.100.7/24", "198.51.100.8/24"] {
            ip(&format!(
                "-n {} address add {address} dev dev0",
                lab.devices
            ));
        }
        ip(&format!(
            "-n {} address add 2001:db8::7/64 dev dev0 nodad",
            lab.devices
        ));
        lab
    }

    /// A further pair: this end in the gateway's namespace, that end in the devices'.
    fn veth(&self, here: &str, there: &str) {
        ip(&format!(
            "link add {here} type veth peer name {there} netns {}",
            self.devices
        ));
        ip(&format!("link set {here} up"));
        ip(&format!("-n {} link set {there} up", self.devices));
    }

    fn settings(&self, interfaces: &[&str]) -> KernelSettings {
        KernelSettings {
            interfaces: interfaces.iter().map(ToString::to_string).collect(),
            mode: Mode::Native,
            pin_dir: self.pin_dir.clone(),
            detach_on_exit: false,
            event_sample: 0,
            guarded_ports: vec![1883],
            bans_on_guarded_ports: false,
            pass_evasions: false,
            countries: None,
        }
    }

    fn start(&self, interfaces: &[&str]) -> KernelPlane {
        started(self.settings(interfaces))
    }

    fn refused(&self, interfaces: &[&str]) -> KernelError {
        start(self.settings(interfaces)).unwrap_err()
    }

    /// Whether a TCP connection from one of the devices' addresses succeeds; `within` bounds how
    /// long a refusal is waited for.
    fn connects(&self, from: &str, to: &str, within: Duration) -> bool {
        let listener = TcpListener::bind((to, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let from = SocketAddr::new(from.parse().unwrap(), 0);
        std::thread::scope(|scope| {
            let device = scope.spawn(|| {
                enter(&self.devices);
                let family = match from {
                    SocketAddr::V4(_) => AddressFamily::INET,
                    SocketAddr::V6(_) => AddressFamily::INET6,
                };
                let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
                rustix::net::bind(&socket, &from).unwrap();
                set_socket_timeout(&socket, Timeout::Send, Some(within)).unwrap();
                rustix::net::connect(&socket, &to).is_ok()
            });
            device.join().unwrap()
        })
    }

    fn pins(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.pin_dir) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Attaches the empty program as another tool would: pinned, and over netlink. Its id.
    fn attach_foreign(&self, interface: &str) -> u32 {
        let mut ebpf: Ebpf = EbpfLoader::new().load(program().unwrap()).unwrap();
        let foreign: &mut Xdp = ebpf.program_mut(EMPTY_PROGRAM).unwrap().try_into().unwrap();
        foreign.load().unwrap();
        let pin = format!("{}-foreign", self.pin_dir.display());
        foreign.pin(&pin).unwrap();
        ip(&format!("link set dev {interface} xdpdrv pinned {pin}"));
        std::fs::remove_file(pin).unwrap();
        foreign.info().unwrap().id()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.gateway, &self.devices] {
            let deleted = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
            assert!(deleted.is_ok_and(|status| status.success()) || std::thread::panicking());
        }
        let _gone = std::fs::remove_dir_all(&self.pin_dir);
    }
}

/// Moves this thread, and with it the children that it starts, into a namespace.
fn enter(namespace: &str) {
    let namespace = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    output
}

#[track_caller]
fn ip(arguments: &str) -> Output {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Without its events: here nobody reads them.
fn start(settings: KernelSettings) -> Result<KernelPlane, KernelError> {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    KernelPlane::start(settings).map(|(plane, _events)| plane)
}

/// As a gateway whose start went well to its end.
fn started(settings: KernelSettings) -> KernelPlane {
    let plane = start(settings).unwrap();
    plane.keep().unwrap();
    plane
}

/// The attached program as iproute2 sees it: mode (1 native, 2 generic) and id.
fn attached(interface: &str) -> Option<(u64, u64)> {
    let shown = ip(&format!("-j -d link show dev {interface}")).stdout;
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    let xdp = shown[0].get("xdp")?;
    Some((
        xdp["mode"].as_u64().unwrap(),
        xdp["prog"]["id"].as_u64().unwrap(),
    ))
}

fn ban(plane: &KernelPlane, target: &str, remaining: Duration) {
    plane
        .ban(&KernelBan {
            target: target.parse().unwrap(),
            id: 1,
            reason: reason::AUTH_FAILED,
            remaining,
        })
        .unwrap();
}

fn dropped(plane: &KernelPlane) -> u64 {
    let counters = plane.counters().unwrap();
    let (_, count) = counters
        .iter()
        .find(|(outcome, _)| *outcome == VerdictReason::DropAuthFailed)
        .unwrap();
    count.packets
}

/// Fails only where it would never come true.
#[track_caller]
fn eventually(true_now: impl Fn() -> bool) {
    let started = Instant::now();
    while !true_now() {
        assert!(started.elapsed() < FOREVER);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_ban_drops_its_source_until_it_is_lifted() {
    let lab = Lab::new();
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
    let lab = Lab::new();
    let plane = lab.start(&["gw0"]);
    let started = Instant::now();
    ban(&plane, "198.51.100.7", Duration::from_secs(2));
    // Repeated SYNs get through as soon as the ban has run out; its clock ticks coarsely.
    assert!(lab.connects("198.51.100.7", GATEWAY, FOREVER));
    assert!(started.elapsed() >= Duration::from_millis(1900));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_restart_keeps_bans_in_force_and_replaces_the_program() {
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    assert!(
        error
            .help()
            .contains(&format!("rm -r {}", lab.pin_dir.display()))
    );
    assert_eq!(lab.pins(), pins);
    assert_eq!(attached("gw0"), before);

    // And what it says to type does it.
    std::fs::remove_dir_all(&lab.pin_dir).unwrap();
    eventually(|| attached("gw0").is_none());
    drop(lab.start(&["gw0"]));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_pin_directory_elsewhere_is_refused() {
    let lab = Lab::new();
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
    let lab = Lab::new();
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
    let lab = Lab::new();
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
fn bpftool_shows_field_names() {
    let lab = Lab::new();
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
