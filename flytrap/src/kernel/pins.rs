//! FlyTrap's pins, looked at and removed without a gateway.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, LpmTrie, Map, MapData, MapError, PerCpuArray};
use flytrap_common::abi::{
    Allowed, Counters, Limits, MAP_ALLOW4, MAP_ALLOW6, MAP_CONFIG, MAP_COOKIE, MAP_COUNTERS,
    MAP_LIMITS, Trie4, Trie6,
};

use super::cookies::{CookieMap, CookieState};
use super::error::KernelError;
use super::plane::claim;
use super::preflight::{self, Interface};
use super::sysctl::SettingBack;
use super::tables::{self, prefix4, prefix6};
use super::{AttachedMode, PacketCount, VerdictReason, attach};
use crate::types::Prefix;

/// What a pin directory holds and what the interfaces of this network namespace run.
#[derive(Debug)]
pub struct Pinned {
    /// The ABI version of the pinned maps; `None` if there are none, or if they can't be read.
    pub abi_version: Option<u32>,
    /// Why the pinned maps can't be used by this FlyTrap.
    pub unusable: Option<KernelError>,
    /// The process that holds the pins, as a running gateway does.
    pub holder: Option<u32>,
    /// Interfaces with an XDP program, whoever's it is.
    pub programs: Vec<AttachedProgram>,
    /// Who is exempt for a time, and for how long still.
    pub exempt: Vec<(Prefix, Duration)>,
    /// How many connections may be opened to guarded ports; no limits without usable maps.
    pub limits: Limits,
    /// Whether SYNs are answered with cookies; `None` without maps.
    pub cookies: Option<CookieState>,
}

/// What [`detach`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Where the program was.
    pub interfaces: Vec<String>,
    /// Settings of the host that a killed gateway had left changed.
    pub settings: Vec<SettingBack>,
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// The interface.
    pub interface: String,
    /// How it is attached.
    pub mode: AttachedMode,
    /// Its id, as in `bpftool prog`; 0 if the kernel names none.
    pub id: u32,
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether its link is among the pins.
    pub ours: bool,
}

/// Looks, and changes nothing.
pub fn look(pin_dir: &Path) -> Result<Pinned, KernelError> {
    preflight::privileged()?;
    let mut programs = Vec::new();
    for interface in preflight::interfaces(&all_interfaces()?)? {
        programs.extend(program_on(pin_dir, interface)?);
    }
    let unusable = preflight::same_abi(pin_dir).err();
    let (exempt, limits, cookies) = match &unusable {
        None if pin_dir.join(MAP_CONFIG).exists() => {
            let cookies = CookieState::pinned(pin_dir)?;
            (exempt(pin_dir)?, limits(pin_dir)?, Some(cookies))
        }
        _ => (Vec::new(), Limits::NONE, None),
    };
    Ok(Pinned {
        abi_version: preflight::pinned_abi(pin_dir).and_then(Result::ok),
        unusable,
        holder: holder(pin_dir),
        programs,
        exempt,
        limits,
        cookies,
    })
}

/// The XDP program of an interface. Needs no privileges, but doesn't know without whose it is, and
/// what it is called.
pub(super) fn program_on(
    pin_dir: &Path,
    interface: Interface,
) -> Result<Option<AttachedProgram>, KernelError> {
    let attached = attach::current(&interface)?;
    Ok(attached.map(|attached| AttachedProgram {
        mode: attached.mode,
        id: attached.program_id,
        name: attach::program_name(attached.program_id),
        ours: attach::is_ours(pin_dir, &interface),
        interface: interface.name,
    }))
}

/// What became of packets, as [`KernelPlane::counters`](super::KernelPlane::counters) tells it,
/// from the pins.
pub fn counters(pin_dir: &Path) -> Result<Vec<(VerdictReason, PacketCount)>, KernelError> {
    preflight::privileged()?;
    preflight::same_abi(pin_dir)?;
    let map: PerCpuArray<_, Counters> = pinned_map(pin_dir, MAP_COUNTERS)?;
    tables::sums(&map)
}

/// Detaches the program from these interfaces; with none from all of them, and removes its maps
/// and so its bans. What a killed gateway changed in the host's settings is put back. Works on the
/// pins of every version.
pub fn detach(pin_dir: &Path, interfaces: &[String]) -> Result<Detached, KernelError> {
    preflight::privileged()?;
    if !pin_dir.exists() {
        return interfaces.first().map_or(Ok(Detached::default()), |name| {
            Err(KernelError::NotAttached { name: name.clone() })
        });
    }
    let _ours = claim(pin_dir)?;
    let pinned = attach::pinned_interfaces(pin_dir)?;
    if let Some(name) = interfaces.iter().find(|name| !pinned.contains(name)) {
        return Err(KernelError::NotAttached { name: name.clone() });
    }
    let settings = if pin_dir.join(MAP_COOKIE).exists() {
        CookieMap::pinned(pin_dir)?.switch_off()?
    } else {
        Vec::new()
    };
    let all = interfaces.is_empty();
    let going: Vec<String> = pinned
        .into_iter()
        .filter(|name| all || interfaces.contains(name))
        .collect();
    for name in &going {
        attach::detach_pinned(pin_dir, name)?;
    }
    if all {
        attach::remove_all_pins(pin_dir)?;
    }
    Ok(Detached {
        interfaces: going,
        settings,
    })
}

/// Every interface of this thread's network namespace.
fn all_interfaces() -> Result<Vec<String>, KernelError> {
    // Not /sys/class/net: that shows the namespace in which /sys was mounted.
    let listed = fs::read_to_string("/proc/thread-self/net/dev")
        .map_err(KernelError::io("listing the interfaces"))?;
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    Ok(listed.lines().filter_map(name).collect())
}

/// The process that holds the directory's lock, found without touching the lock: one that starts
/// at this moment must not fail for it.
fn holder(pin_dir: &Path) -> Option<u32> {
    let inode = rustix::fs::stat(pin_dir).ok()?;
    let (major, minor) = (
        rustix::fs::major(inode.st_dev),
        rustix::fs::minor(inode.st_dev),
    );
    let place = format!("{major:02x}:{minor:02x}:{}", inode.st_ino);
    fs::read_to_string("/proc/locks")
        .ok()?
        .lines()
        .find_map(|line| holder_in(line, &place))
}

/// As in `1: FLOCK  ADVISORY  WRITE 4711 00:1f:12345 0 EOF`.
fn holder_in(line: &str, place: &str) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let process = words.nth(2)?.parse().ok()?;
    (words.next()? == place).then_some(process)
}

fn exempt(pin_dir: &Path) -> Result<Vec<(Prefix, Duration)>, KernelError> {
    let now = tables::now();
    let remaining = |allowed: Allowed| match allowed.deadline.checked_sub(now) {
        Some(rest @ 1..) => Some(Duration::from_nanos(rest)),
        _ => None,
    };
    let mut exempt = Vec::new();
    let trie: LpmTrie<_, Trie4, Allowed> = pinned_map(pin_dir, MAP_ALLOW4)?;
    for entry in &trie {
        let (key, allowed) = entry.map_err(KernelError::map(MAP_ALLOW4))?;
        exempt.extend(remaining(allowed).map(|rest| (prefix4(&key), rest)));
    }
    let trie: LpmTrie<_, Trie6, Allowed> = pinned_map(pin_dir, MAP_ALLOW6)?;
    for entry in &trie {
        let (key, allowed) = entry.map_err(KernelError::map(MAP_ALLOW6))?;
        exempt.extend(remaining(allowed).map(|rest| (prefix6(&key), rest)));
    }
    Ok(exempt)
}

fn limits(pin_dir: &Path) -> Result<Limits, KernelError> {
    let map: Array<_, Limits> = pinned_map(pin_dir, MAP_LIMITS)?;
    map.get(&0, 0).map_err(KernelError::map(MAP_LIMITS))
}

pub(super) fn pinned_map<T>(pin_dir: &Path, map: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let pin = pin_dir.join(map);
    if !pin.exists() {
        return Err(KernelError::NoPins {
            dir: pin_dir.to_owned(),
        });
    }
    MapData::from_pin(pin)
        .and_then(Map::from_map_data)
        .and_then(T::try_from)
        .map_err(KernelError::map(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder() {
        let line = "3: FLOCK  ADVISORY  WRITE 4711 00:1f:12345 0 EOF";
        assert_eq!(holder_in(line, "00:1f:12345"), Some(4711));
        assert_eq!(holder_in(line, "00:1f:1234"), None);
        for other in [
            "3: POSIX  ADVISORY  WRITE 4711 00:1f:12345 0 EOF",
            "3: -> FLOCK  ADVISORY  WRITE 4712 00:1f:12345 0 EOF",
            "3: FLOCK",
            "",
        ] {
            assert_eq!(holder_in(other, "00:1f:12345"), None);
        }
    }

    #[test]
    fn loopback_is_an_interface() {
        assert!(all_interfaces().unwrap().contains(&"lo".to_owned()));
    }
}
