//! What can go wrong between the gateway and the kernel.

use std::io;
use std::path::PathBuf;

use flytrap_common::abi::ABI_VERSION;

/// Why the kernel plane can't do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The binary holds no kernel program.
    #[error("this binary was built without the kernel program")]
    NotBuilt,
    /// The process may not load or attach programs.
    #[error("not privileged: {missing} is needed to load and attach the kernel program")]
    NotPrivileged {
        /// The capability.
        missing: &'static str,
    },
    /// The kernel doesn't describe its own types.
    #[error("this kernel has no BTF: /sys/kernel/btf/vmlinux is missing")]
    NoBtf,
    /// The pin directory isn't on a BPF file system.
    #[error("{path} is on no BPF file system", path = path.display())]
    NoBpffs {
        /// The pin directory, or what is to hold it.
        path: PathBuf,
    },
    /// There is no such interface.
    #[error("there is no network interface `{name}` here")]
    UnknownInterface {
        /// As configured.
        name: String,
    },
    /// Someone else's program is attached.
    #[error(
        "interface {interface} already has another XDP program ({}), and FlyTrap replaces none",
        taken_by(*program_id, program_name)
    )]
    InterfaceTaken {
        /// The interface.
        interface: String,
        /// The program's id in the kernel; 0 if it couldn't be found out.
        program_id: u32,
        /// The program's name; empty if it has none or it couldn't be found out.
        program_name: String,
    },
    /// The driver can't run XDP programs.
    #[error("interface {interface} takes no XDP program in native mode: {source}")]
    NativeUnsupported {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Pinned maps of another FlyTrap.
    #[error(
        "{dir} holds the maps of a FlyTrap with another ABI ({found}; this one has {ABI_VERSION})",
        dir = dir.display()
    )]
    AbiMismatch {
        /// The pin directory.
        dir: PathBuf,
        /// The version found, or why it can't be read.
        found: String,
    },
    /// Nothing is pinned.
    #[error("no FlyTrap has its maps in {dir}", dir = dir.display())]
    NoPins {
        /// The pin directory.
        dir: PathBuf,
    },
    /// FlyTrap's program isn't there.
    #[error("interface {name} doesn't have FlyTrap's program")]
    NotAttached {
        /// The interface.
        name: String,
    },
    /// Another gateway runs with the same pins.
    #[error("another gateway is running with the pins in {dir}", dir = dir.display())]
    InUse {
        /// The pin directory.
        dir: PathBuf,
    },
    /// A table has no room.
    #[error("the kernel table {map} is full")]
    Full {
        /// The map.
        map: &'static str,
    },
    /// A setting of the host can't be written.
    #[error("{name} can't be set to {value}: {source}")]
    Setting {
        /// As `sysctl` names it.
        name: &'static str,
        /// What it was to become.
        value: u8,
        /// How it failed.
        source: io::Error,
    },
    /// Somebody else changed a setting of the host.
    #[error("{name} is {value} now, and SYN cookies need {needed}")]
    SettingChanged {
        /// As `sysctl` names it.
        name: &'static str,
        /// What it is.
        value: u8,
        /// What it has to be.
        needed: u8,
    },
    /// The kernel refused the program.
    #[error("the kernel doesn't load the program: {0}")]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel refused to attach the program, or to change what is attached.
    #[error("can't attach to interface {interface}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
    /// A map can't be read or written.
    #[error("kernel map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        source: Box<aya::maps::MapError>,
    },
    /// Something of the operating system failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// How it failed.
        source: io::Error,
    },
}

fn taken_by(id: u32, name: &str) -> String {
    match (id, name) {
        (0, _) => "its id can't be read".to_owned(),
        (id, "") => format!("id {id}"),
        (id, name) => format!("id {id}, `{name}`"),
    }
}

impl KernelError {
    /// What to do about it; empty where there is no general advice.
    pub fn help(&self) -> String {
        match self {
            Self::NotBuilt => "run `cargo xtask build-ebpf` and build again, or switch XDP off \
                               with interfaces = [] in [xdp]"
                .to_owned(),
            Self::NotPrivileged { missing } => {
                format!("run as root, or give the service {missing}")
            }
            Self::NoBtf => "use a kernel with CONFIG_DEBUG_INFO_BTF=y, as current distributions \
                            have, or switch XDP off with interfaces = [] in [xdp]"
                .to_owned(),
            Self::NoBpffs { .. } => "type `mount -t bpf bpf /sys/fs/bpf`, or set pin_dir in [xdp] \
                                     to a directory below it"
                .to_owned(),
            Self::UnknownInterface { .. } => {
                "`ip -br link` lists the interfaces; correct `interfaces` in [xdp]".to_owned()
            }
            Self::InterfaceTaken { interface, .. } => format!(
                "detach it with what attached it, or take {interface} out of `interfaces` in [xdp]"
            ),
            Self::NativeUnsupported { .. } => {
                "set mode = \"generic\" or \"auto\" in [xdp]".to_owned()
            }
            Self::AbiMismatch { dir, .. } => format!(
                "stop that one and type `flytrap xdp detach --pin-dir {}`: it detaches the program \
                 and forgets the kernel's counters; bans come back from the database",
                dir.display()
            ),
            Self::NoPins { .. } => "`flytrap xdp status` shows what is attached, --pin-dir names \
                                    another directory, `flytrap xdp attach` attaches"
                .to_owned(),
            Self::NotAttached { .. } => "`flytrap xdp status` shows where it is".to_owned(),
            Self::InUse { .. } => {
                "stop that one, or give this one another pin_dir and other interfaces".to_owned()
            }
            Self::Full { .. } => "lift some bans, or ban a wider prefix".to_owned(),
            Self::Setting { .. } => {
                "SYN cookies need it: run as root where /proc/sys is writable, \
                                     or set syn_cookies = false in [xdp]"
                    .to_owned()
            }
            Self::SettingChanged { name, needed, .. } => format!(
                "type `sysctl {name}={needed}`, or set syn_cookies = false in [xdp] and restart"
            ),
            Self::Load(_) => "Linux 6.0 is needed; `dmesg` may say more".to_owned(),
            Self::Attach { interface, .. } => format!(
                "`ip -d link show dev {interface}` and `bpftool link` show what is attached; \
                 mode = \"generic\" in [xdp] works with every driver"
            ),
            Self::Map { map, .. } => format!(
                "`bpftool map show name {map}` shows it; restarting flytrap opens or makes it anew"
            ),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root".to_owned()
            }
            Self::Io { .. } => String::new(),
        }
    }

    /// For `map_err`: what was tried.
    pub(super) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |error| Self::Io {
            doing,
            source: error.into(),
        }
    }

    /// For `map_err`: the map that failed.
    pub(super) fn map(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> Self {
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }
}
