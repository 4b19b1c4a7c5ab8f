//! The kernel plane alone on a real interface: a veth pair between two network namespaces, and TCP
//! connections and datagrams from one to the other.
//!
//! Each test owns its namespaces and its pin directory, and its thread lives in the gateway's
//! namespace, so nothing touches the machine's own network and tests don't meet.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use flytrap::kernel::{
    Blocklist, KernelBan, KernelError, KernelPlane, KernelSettings, VerdictReason, program,
};
use flytrap_common::abi::{EMPTY_PROGRAM, reason};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Builder;

use super::rig;

/// Longer than any test.
pub const HOUR: Duration = Duration::from_hours(1);
/// Only a hang takes this long.
pub const FOREVER: Duration = Duration::from_mins(1);
/// A dropped SYN is repeated after one second, so this sees at least one of them dropped.
pub const BRIEF: Duration = Duration::from_millis(600);
/// The gateway's address on the first pair.
pub const GATEWAY: &str = "198.51.100.1";
/// The same in IPv6.
pub const GATEWAY6: &str = "2001:db8::1";

/// Two namespaces and the pin directory, removed with everything in them, also by a panic.
pub struct Lab {
    /// The gateway's namespace.
    pub gateway: String,
    /// The devices' namespace.
    pub devices: String,
    /// Where maps and links are pinned.
    pub pin_dir: PathBuf,
}

impl Lab {
    /// With one pair, `gw0` and `dev0`, whose devices are 198.51.100.7, .8 and `2001:db8::7`. This thread
    /// is in the gateway's namespace then.
    pub fn create() -> Self {
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
    pub fn veth(&self, here: &str, there: &str) {
        ip(&format!(
            "link add {here} type veth peer name {there} netns {}",
            self.devices
        ));
        ip(&format!("link set {here} up"));
        ip(&format!("-n {} link set {there} up", self.devices));
    }

    /// Those of the rig, on interfaces.
    pub fn settings(&self, interfaces: &[&str]) -> KernelSettings {
        KernelSettings {
            interfaces: interfaces.iter().map(ToString::to_string).collect(),
            ..rig::settings(self.pin_dir.clone())
        }
    }

    /// A plane that is kept.
    pub fn start(&self, interfaces: &[&str]) -> KernelPlane {
        started(self.settings(interfaces))
    }

    /// Why it doesn't start.
    pub fn refused(&self, interfaces: &[&str]) -> KernelError {
        start(self.settings(interfaces)).unwrap_err()
    }

    /// Whether a TCP connection from one of the devices' addresses succeeds; `within` bounds how
    /// long a refusal is waited for.
    pub fn connects(&self, from: &str, to: &str, within: Duration) -> bool {
        let listener = TcpListener::bind((to, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        self.connect(from, to, within).is_some()
    }

    /// A TCP connection from one of the devices' addresses, if it succeeds.
    pub fn connect(&self, from: &str, to: SocketAddr, within: Duration) -> Option<OwnedFd> {
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
                rustix::net::connect(&socket, &to).is_ok().then_some(socket)
            });
            device.join().unwrap()
        })
    }

    /// The names of what is pinned, sorted.
    pub fn pins(&self) -> Vec<String> {
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
    pub fn attach_foreign(&self, interface: &str) -> u32 {
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
pub fn enter(namespace: &str) {
    let namespace = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs a program that has to succeed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    output
}

/// `ip …`, which has to succeed.
#[track_caller]
pub fn ip(arguments: &str) -> Output {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Without its events: here nobody reads them.
pub fn start(settings: KernelSettings) -> Result<KernelPlane, KernelError> {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    KernelPlane::start(settings).map(|(plane, _events)| plane)
}

/// As a gateway whose start went well to its end.
pub fn started(settings: KernelSettings) -> KernelPlane {
    let plane = start(settings).unwrap();
    plane.keep().unwrap();
    plane
}

/// The attached program as iproute2 sees it: mode (1 native, 2 generic) and id.
pub fn attached(interface: &str) -> Option<(u64, u64)> {
    let shown = ip(&format!("-j -d link show dev {interface}")).stdout;
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    let xdp = shown[0].get("xdp")?;
    Some((
        xdp["mode"].as_u64().unwrap(),
        xdp["prog"]["id"].as_u64().unwrap(),
    ))
}

/// Bans for failed authentications, under the number 1.
pub fn ban(plane: &KernelPlane, target: &str, remaining: Duration) {
    plane
        .ban(&KernelBan {
            target: target.parse().unwrap(),
            id: 1,
            reason: reason::AUTH_FAILED,
            remaining,
        })
        .unwrap();
}

/// How many packets were dropped for failed authentications.
pub fn dropped(plane: &KernelPlane) -> u64 {
    let counters = plane.counters().unwrap();
    let (_, count) = counters
        .iter()
        .find(|(outcome, _)| *outcome == VerdictReason::DropAuthFailed)
        .unwrap();
    count.packets
}

/// Fails only where it would never come true.
#[track_caller]
pub fn eventually(true_now: impl Fn() -> bool) {
    let started = Instant::now();
    while !true_now() {
        assert!(started.elapsed() < FOREVER);
        std::thread::sleep(Duration::from_millis(5));
    }
}
