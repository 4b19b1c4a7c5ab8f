//! Installs what the other commands need, and says so. Does nothing, at once, where all is there.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Something that commands need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A compiler with `core` for BPF, and the linker.
    Kernel,
    /// The linker alone.
    BpfLinker,
    /// Brokers, clients and tools that the demo and the tests run.
    Lab,
    /// Other packet filters, which the benchmark measures beside.
    Peers,
    /// A C++ compiler, for libFuzzer.
    Fuzz,
    /// Where kernel objects are pinned.
    BpfFs,
    /// What runs the contract's compiler and fetches it.
    Node,
}

/// A Debian package, with a file that tells it is there.
type Package = (&'static str, &'static str);

const LLVM: &str = "/usr/lib/llvm-22";
const COMPILER: &[Package] = &[
    ("rustc-web", "/usr/bin/rustc"),
    (
        "libstd-rust-web-dev-bpf",
        "/usr/lib/rustlib/bpfel-unknown-none/lib",
    ),
];
const LINKER_BUILD: &[Package] = &[
    ("llvm-22-dev", "/usr/lib/llvm-22/bin/llvm-config"),
    ("libpolly-22-dev", "/usr/lib/llvm-22/lib/libPolly.a"),
];
const LAB: &[Package] = &[
    ("mosquitto", "/usr/sbin/mosquitto"),
    ("mosquitto-clients", "/usr/bin/mosquitto_pub"),
    ("bpftool", "/usr/sbin/bpftool"),
    ("nftables", "/usr/sbin/nft"),
    ("iproute2", "/usr/bin/ip"),
];
const PEERS: &[Package] = &[
    ("xdp-tools", "/usr/sbin/xdp-filter"),
    ("nftables", "/usr/sbin/nft"),
    ("ipset", "/usr/sbin/ipset"),
    ("iptables", "/usr/sbin/iptables"),
    // Gives a veth pair without XDP the receive path that one with XDP has.
    ("ethtool", "/usr/sbin/ethtool"),
];
const NODE: &[Package] = &[("nodejs", "/usr/bin/node"), ("npm", "/usr/bin/npm")];
const FUZZ: &[Package] = &[("g++", "/usr/bin/c++")];
const LINKER_INSTALL: &str =
    "install bpf-linker --version 0.13.0 --no-default-features --features llvm-22 --locked";

impl Need {
    /// Everything.
    pub(crate) const ALL: [Self; 3] = [Self::Kernel, Self::Lab, Self::BpfFs];

    /// The line to type where this program can't.
    pub(crate) fn by_hand(self) -> String {
        let linker =
            format!("LLVM_PREFIX={LLVM} LLVM_SYS_221_PREFIX={LLVM} cargo {LINKER_INSTALL}");
        match self {
            Self::Kernel => format!(
                "apt-get update && apt-get install -y {} {} && {linker}",
                names(COMPILER),
                names(LINKER_BUILD)
            ),
            Self::BpfLinker => linker,
            Self::Lab => format!("apt-get update && apt-get install -y {}", names(LAB)),
            Self::Peers => format!("apt-get update && apt-get install -y {}", names(PEERS)),
            Self::Fuzz => format!("apt-get update && apt-get install -y {}", names(FUZZ)),
            Self::Node => format!("apt-get update && apt-get install -y {}", names(NODE)),
            Self::BpfFs => "mount -t bpf bpf /sys/fs/bpf".to_owned(),
        }
    }
}

/// Installs what is missing of `needs`, or fails with what to type.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    for need in needs {
        let done = match need {
            Need::Kernel => {
                packages(COMPILER, "to compile the kernel program").and_then(|()| bpf_linker())
            }
            Need::BpfLinker => bpf_linker(),
            Need::Lab => packages(LAB, "to run the demo and the tests"),
            Need::Peers => packages(PEERS, "to measure beside"),
            Need::Fuzz => packages(FUZZ, "to compile libFuzzer"),
            Need::Node => node(),
            Need::BpfFs => bpffs(),
        };
        done.with_context(|| format!("what to type instead, as root: {}", need.by_hand()))?;
    }
    Ok(())
}

fn names(packages: &[Package]) -> String {
    let names: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
    names.join(" ")
}

fn packages(wanted: &[Package], why: &str) -> Result<()> {
    let missing: Vec<Package> = wanted
        .iter()
        .copied()
        .filter(|(_, file)| !Path::new(file).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = names(&missing);
    if !on_path("apt-get") {
        bail!("missing {why}: {list}; without apt-get they can't be installed here");
    }
    if !is_root() {
        bail!("missing {why}: {list}; only root can install them");
    }
    println!("set-up: installing {list}, {why}");
    // The package lists of a fresh machine are old or missing.
    if apt(&["install", "--yes", "--no-install-recommends"], &missing).is_err() {
        apt(&["update"], &[])?;
        apt(&["install", "--yes", "--no-install-recommends"], &missing)?;
    }
    Ok(())
}

fn apt(arguments: &[&str], packages: &[Package]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet=2")
        .args(arguments)
        .args(packages.iter().map(|(name, _)| *name))
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command)
}

fn bpf_linker() -> Result<()> {
    if on_path("bpf-linker") {
        return Ok(());
    }
    packages(LINKER_BUILD, "to compile bpf-linker")?;
    println!(
        "set-up: installing bpf-linker with cargo, to link the kernel program (a minute or two)"
    );
    let mut command = Command::new("cargo");
    command
        .args(LINKER_INSTALL.split(' '))
        // With the second alone another LLVM's llvm-config is taken from the PATH.
        .env("LLVM_PREFIX", LLVM)
        .env("LLVM_SYS_221_PREFIX", LLVM)
        // Its build belongs to no target directory of this project.
        .env_remove("CARGO_TARGET_DIR");
    run(&mut command)?;
    if !on_path("bpf-linker") {
        bail!("cargo installed bpf-linker, but its directory is not in the PATH");
    }
    Ok(())
}

/// Wherever they come from: not only Debian packages them.
fn node() -> Result<()> {
    if on_path("node") && on_path("npm") {
        return Ok(());
    }
    packages(NODE, "to compile and test the contract")
}

/// Pins live on a BPF file system; not every machine mounts one.
fn bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let mounted = mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some("/sys/fs/bpf"));
    if mounted {
        return Ok(());
    }
    println!("set-up: mounting the BPF file system on /sys/fs/bpf, to pin maps there");
    run(Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("starting {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

pub(crate) fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path).any(|directory| directory.join(program).exists())
    })
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1))
        == Some("0")
}
