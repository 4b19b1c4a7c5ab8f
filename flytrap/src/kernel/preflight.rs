//! What has to be true before a program is loaded, each with an error that says what to do.

use std::ffi::CStr;
use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError};
use flytrap_common::abi::{ABI_VERSION, Config, MAP_CONFIG};
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::CapabilitySet;

use super::error::KernelError;

const BPFFS: &str = "/sys/fs/bpf";

/// An interface as it exists now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
}

/// Whether this process has `CAP_BPF` (or `CAP_SYS_ADMIN`, which includes it) and `CAP_NET_ADMIN`.
pub fn privileged() -> Result<(), KernelError> {
    let held = held()?;
    if !held.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN) {
        return Err(KernelError::NotPrivileged { missing: "CAP_BPF" });
    }
    if !held.contains(CapabilitySet::NET_ADMIN) {
        return Err(KernelError::NotPrivileged {
            missing: "CAP_NET_ADMIN",
        });
    }
    Ok(())
}

/// Whether this process has `CAP_NET_RAW`, which SYN cookies need.
pub fn may_send_raw() -> Result<bool, KernelError> {
    Ok(held()?.contains(CapabilitySet::NET_RAW))
}

fn held() -> Result<CapabilitySet, KernelError> {
    let sets = rustix::thread::capabilities(None)
        .map_err(KernelError::io("reading this process's capabilities"))?;
    Ok(sets.effective)
}

/// Whether the kernel describes its own types.
pub fn has_btf() -> Result<(), KernelError> {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Ok(())
    } else {
        Err(KernelError::NoBtf)
    }
}

pub(super) fn interfaces(names: &[String]) -> Result<Vec<Interface>, KernelError> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)
        .map_err(KernelError::io("opening a socket to look up interfaces"))?;
    let lookup = |name: &String| match rustix::net::netdevice::name_to_index(&socket, name) {
        Ok(index) => Ok(Interface {
            name: name.clone(),
            index,
        }),
        Err(_) => Err(KernelError::UnknownInterface { name: name.clone() }),
    };
    names.iter().map(lookup).collect()
}

/// Makes sure that `pin_dir` is, or can be made, on a BPF file system; mounts the usual one.
pub(super) fn bpffs(pin_dir: &Path) -> Result<(), KernelError> {
    if !bpffs_mounted(pin_dir)? {
        rustix::mount::mount("bpf", BPFFS, "bpf", MountFlags::empty(), None::<&CStr>)
            .map_err(KernelError::io(format!("mounting {BPFFS}")))?;
        tracing::info!(path = BPFFS, "mounted the BPF file system");
    }
    Ok(())
}

/// Whether `pin_dir` is, or can be made, on a BPF file system; `false`: once the usual one is
/// mounted, as a start does.
pub fn bpffs_mounted(pin_dir: &Path) -> Result<bool, KernelError> {
    let existing = pin_dir
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(pin_dir);
    if is_bpffs(existing)? {
        return Ok(true);
    }
    if pin_dir.starts_with(BPFFS) && !is_bpffs(Path::new(BPFFS))? {
        return Ok(false);
    }
    Err(KernelError::NoBpffs {
        path: pin_dir.to_owned(),
    })
}

fn is_bpffs(path: &Path) -> Result<bool, KernelError> {
    const MAGIC: i64 = 0xcafe_4a11;
    let stat = rustix::fs::statfs(path)
        .map_err(KernelError::io(format!("looking at {}", path.display())))?;
    Ok(stat.f_type == MAGIC)
}

/// Refuses the pins of a FlyTrap whose maps mean something else.
pub(super) fn same_abi(pin_dir: &Path) -> Result<(), KernelError> {
    let found = match pinned_abi(pin_dir) {
        None | Some(Ok(ABI_VERSION)) => return Ok(()),
        Some(Ok(other)) => format!("version {other}"),
        Some(Err(error)) => error.to_string(),
    };
    Err(KernelError::AbiMismatch {
        dir: pin_dir.to_owned(),
        found,
    })
}

/// The version of the pinned maps, if there are any.
pub(super) fn pinned_abi(pin_dir: &Path) -> Option<Result<u32, MapError>> {
    let pin = pin_dir.join(MAP_CONFIG);
    pin.exists().then(|| {
        let map = MapData::from_pin(&pin).and_then(Map::from_map_data)?;
        let map = Array::<_, Config>::try_from(map)?;
        Ok(map.get(&0, 0)?.abi_version)
    })
}
