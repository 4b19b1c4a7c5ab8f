//! The maps, read and written.

use std::borrow::BorrowMut;
use std::collections::{self, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError, PerCpuArray};
use aya::{Ebpf, Pod};
use flytrap_common::abi::{
    Address4, Allowed, Ban, Config, Counters, MAP_ALLOW4, MAP_ALLOW6, MAP_BAN4, MAP_BAN6,
    MAP_BANNET4, MAP_BANNET6, MAP_CONFIG, MAP_COUNTERS, MAP_PORTS, Network6, Outcome, PORT_WORDS,
    Trie4, Trie6,
};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::error::KernelError;
use super::{ActiveBan, KernelBan, PacketCount};
use crate::types::Prefix;

/// Every map that user space writes or reads, but for the ring buffers.
pub(super) struct Tables {
    config: Array<MapData, Config>,
    ports: Array<MapData, u64>,
    counters: PerCpuArray<MapData, Counters>,
    allow4: LpmTrie<MapData, Trie4, Allowed>,
    allow6: LpmTrie<MapData, Trie6, Allowed>,
    bans: BanTables,
}

/// The maps that hold the bans.
pub(super) struct BanTables {
    ban4: HashMap<MapData, Address4, Ban>,
    ban6: HashMap<MapData, Network6, Ban>,
    bannet4: LpmTrie<MapData, Trie4, Ban>,
    bannet6: LpmTrie<MapData, Trie6, Ban>,
}

/// Where a prefix has its place.
enum Place {
    Address4(Address4),
    Network6(Network6),
    Trie4(Key<Trie4>),
    Trie6(Key<Trie6>),
}

/// The key in the tries, which hold prefixes of every length.
fn trie_key(prefix: Prefix) -> Result<Key<Trie4>, Key<Trie6>> {
    let bits = u32::from(prefix.bits());
    match prefix.base() {
        IpAddr::V4(address) => Ok(Key::new(
            bits,
            Trie4 {
                address: address.octets(),
                padding: [0; 4],
            },
        )),
        IpAddr::V6(address) => Err(Key::new(
            bits,
            Trie6 {
                address: address.octets(),
            },
        )),
    }
}

fn place(prefix: Prefix) -> Place {
    match (prefix.base(), prefix.bits()) {
        (IpAddr::V4(address), 32) => Place::Address4(Address4 {
            address: address.octets(),
        }),
        (IpAddr::V6(address), 64) => {
            let octets = address.octets();
            // Sixteen bytes have a first eight.
            let network = octets.first_chunk().copied().unwrap_or_default();
            Place::Network6(Network6 { network })
        }
        _ => match trie_key(prefix) {
            Ok(key) => Place::Trie4(key),
            Err(key) => Place::Trie6(key),
        },
    }
}

impl Tables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            config: take_map(ebpf, MAP_CONFIG)?,
            ports: take_map(ebpf, MAP_PORTS)?,
            counters: take_map(ebpf, MAP_COUNTERS)?,
            allow4: take_map(ebpf, MAP_ALLOW4)?,
            allow6: take_map(ebpf, MAP_ALLOW6)?,
            bans: BanTables {
                ban4: take_map(ebpf, MAP_BAN4)?,
                ban6: take_map(ebpf, MAP_BAN6)?,
                bannet4: take_map(ebpf, MAP_BANNET4)?,
                bannet6: take_map(ebpf, MAP_BANNET6)?,
            },
        })
    }

    pub(super) fn configure(&mut self, config: Config) -> Result<(), KernelError> {
        self.config
            .set(0, config, 0)
            .map_err(KernelError::map(MAP_CONFIG))
    }

    /// Makes `ports` the guarded ones, and no other.
    pub(super) fn guard(&mut self, ports: &[u16]) -> Result<(), KernelError> {
        let mut words = vec![0_u64; PORT_WORDS];
        for port in ports {
            if let Some(word) = words.get_mut(usize::from(port / 64)) {
                *word |= 1 << (port % 64);
            }
        }
        for (index, word) in (0..).zip(words) {
            self.ports
                .set(index, word, 0)
                .map_err(KernelError::map(MAP_PORTS))?;
        }
        Ok(())
    }

    pub(super) fn bans(&self) -> &BanTables {
        &self.bans
    }

    pub(super) fn bans_mut(&mut self) -> &mut BanTables {
        &mut self.bans
    }

    pub(super) fn set_allowlist(&mut self, prefixes: &[Prefix]) -> Result<(), KernelError> {
        let wanted: HashSet<Prefix> = prefixes.iter().copied().collect();
        let value = Allowed { deadline: 0 };
        for prefix in &wanted {
            match trie_key(*prefix) {
                Ok(key) => {
                    let written = self.allow4.insert(&key, value, 0);
                    written.map_err(insert_error(MAP_ALLOW4))?;
                }
                Err(key) => {
                    let written = self.allow6.insert(&key, value, 0);
                    written.map_err(insert_error(MAP_ALLOW6))?;
                }
            }
        }
        remove_others(&mut self.allow4, MAP_ALLOW4, |key| {
            wanted.contains(&prefix4(key))
        })?;
        remove_others(&mut self.allow6, MAP_ALLOW6, |key| {
            wanted.contains(&prefix6(key))
        })
    }

    pub(super) fn allow_for(
        &mut self,
        prefix: Prefix,
        duration: Duration,
    ) -> Result<(), KernelError> {
        let value = Allowed {
            deadline: now().saturating_add(nanoseconds(duration)),
        };
        // The longest entry decides: one that ends must not hide one that doesn't.
        let for_good = |found: Result<Allowed, MapError>| found.is_ok_and(|it| it.deadline == 0);
        match trie_key(prefix) {
            Ok(key) if for_good(self.allow4.get(&key, 0)) => Ok(()),
            Ok(key) => {
                let written = self.allow4.insert(&key, value, 0);
                written.map_err(insert_error(MAP_ALLOW4))
            }
            Err(key) if for_good(self.allow6.get(&key, 0)) => Ok(()),
            Err(key) => {
                let written = self.allow6.insert(&key, value, 0);
                written.map_err(insert_error(MAP_ALLOW6))
            }
        }
    }

    pub(super) fn counters(&self) -> Result<Vec<(Outcome, PacketCount)>, KernelError> {
        sums(&self.counters)
    }
}

impl BanTables {
    pub(super) fn ban(&mut self, ban: &KernelBan) -> Result<(), KernelError> {
        let value = Ban {
            deadline: now().saturating_add(nanoseconds(ban.remaining)),
            id: ban.id,
            packets: 0,
            bytes: 0,
            reason: u32::from(ban.reason),
            bits: u32::from(ban.target.bits()),
        };
        match place(ban.target) {
            Place::Address4(key) => {
                let old = self.ban4.get(&key, 0);
                let written = self.ban4.insert(key, continued(value, &old), 0);
                written.map_err(insert_error(MAP_BAN4))
            }
            Place::Network6(key) => {
                let old = self.ban6.get(&key, 0);
                let written = self.ban6.insert(key, continued(value, &old), 0);
                written.map_err(insert_error(MAP_BAN6))
            }
            // A trie may answer with a shorter prefix: another ban, so another id.
            Place::Trie4(key) => {
                let old = self.bannet4.get(&key, 0);
                let written = self.bannet4.insert(&key, continued(value, &old), 0);
                written.map_err(insert_error(MAP_BANNET4))
            }
            Place::Trie6(key) => {
                let old = self.bannet6.get(&key, 0);
                let written = self.bannet6.insert(&key, continued(value, &old), 0);
                written.map_err(insert_error(MAP_BANNET6))
            }
        }
    }

    pub(super) fn lift(&mut self, target: Prefix) -> Result<bool, KernelError> {
        match place(target) {
            Place::Address4(key) => removed(MAP_BAN4, self.ban4.remove(&key)),
            Place::Network6(key) => removed(MAP_BAN6, self.ban6.remove(&key)),
            Place::Trie4(key) => removed(MAP_BANNET4, self.bannet4.remove(&key)),
            Place::Trie6(key) => removed(MAP_BANNET6, self.bannet6.remove(&key)),
        }
    }

    /// The same tables under handles of their own: reading all of them takes long, and nobody has
    /// to wait for it.
    pub(super) fn reopened(&self) -> Result<Self, KernelError> {
        Ok(Self {
            ban4: reopened(&self.ban4, MAP_BAN4)?,
            ban6: reopened(&self.ban6, MAP_BAN6)?,
            bannet4: reopened(&self.bannet4, MAP_BANNET4)?,
            bannet6: reopened(&self.bannet6, MAP_BANNET6)?,
        })
    }

    pub(super) fn list(&self) -> Result<Vec<ActiveBan>, KernelError> {
        let now = now();
        // The kernel starts over when the entry it stands at is removed meanwhile.
        let mut bans = collections::HashMap::new();
        let mut add = |target, ban: &Ban| {
            bans.insert(target, active(target, ban, now));
        };
        for entry in &self.ban4 {
            let (key, ban) = entry.map_err(KernelError::map(MAP_BAN4))?;
            let address = Ipv4Addr::from(key.address);
            add(Prefix::covering(address.into(), 32), &ban);
        }
        for entry in &self.ban6 {
            let (key, ban) = entry.map_err(KernelError::map(MAP_BAN6))?;
            let upper = u128::from(u64::from_be_bytes(key.network)) << 64;
            let address = Ipv6Addr::from_bits(upper);
            add(Prefix::covering(address.into(), 64), &ban);
        }
        for entry in &self.bannet4 {
            let (key, ban) = entry.map_err(KernelError::map(MAP_BANNET4))?;
            add(prefix4(&key), &ban);
        }
        for entry in &self.bannet6 {
            let (key, ban) = entry.map_err(KernelError::map(MAP_BANNET6))?;
            add(prefix6(&key), &ban);
        }
        Ok(bans.into_values().collect())
    }
}

/// The counts of all CPUs together.
pub(super) fn sums(
    counters: &PerCpuArray<MapData, Counters>,
) -> Result<Vec<(Outcome, PacketCount)>, KernelError> {
    let per_cpu = counters
        .get(&0, 0)
        .map_err(KernelError::map(MAP_COUNTERS))?;
    let mut sums = Outcome::ALL.map(|outcome| (outcome, PacketCount::default()));
    for counters in per_cpu.iter() {
        for ((_, sum), count) in sums.iter_mut().zip(counters.counts()) {
            sum.packets = sum.packets.saturating_add(count.packets);
            sum.bytes = sum.bytes.saturating_add(count.bytes);
        }
    }
    Ok(sums.into())
}

/// Takes a map out of the loaded object, under the type that it has in the program.
pub(super) fn take_map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<Map, Error = MapError>,
{
    // A missing map would be another object than the one built from these sources.
    let missing = || MapError::InvalidName { name: name.into() };
    ebpf.take_map(name)
        .ok_or_else(missing)
        .and_then(T::try_from)
        .map_err(KernelError::map(name))
}

fn reopened<M, K, V>(map: &M, name: &'static str) -> Result<M, KernelError>
where
    M: IterableMap<K, V> + TryFrom<Map, Error = MapError>,
    K: Pod,
{
    let fd = map.map().fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(KernelError::io(format!("opening {name} once more")))?;
    MapData::from_fd(fd)
        .and_then(Map::from_map_data)
        .and_then(M::try_from)
        .map_err(KernelError::map(name))
}

fn remove_others<K: Pod, V: Pod>(
    trie: &mut LpmTrie<MapData, K, V>,
    map: &'static str,
    keep: impl Fn(&Key<K>) -> bool,
) -> Result<(), KernelError> {
    let keys: Vec<Key<K>> = trie
        .keys()
        .collect::<Result<_, _>>()
        .map_err(KernelError::map(map))?;
    for key in keys.iter().filter(|key| !keep(key)) {
        removed(map, trie.borrow_mut().remove(key))?;
    }
    Ok(())
}

/// The counters of `old`, if it is the same ban.
fn continued(new: Ban, old: &Result<Ban, MapError>) -> Ban {
    match old {
        Ok(old) if old.id == new.id => Ban {
            packets: old.packets,
            bytes: old.bytes,
            ..new
        },
        _ => new,
    }
}

fn insert_error(map: &'static str) -> impl FnOnce(MapError) -> KernelError {
    move |error| match errno(&error) {
        // A hash says the one, a trie the other.
        Some(Errno::TOOBIG | Errno::NOSPC) => KernelError::Full { map },
        _ => KernelError::map(map)(error),
    }
}

fn removed(map: &'static str, result: Result<(), MapError>) -> Result<bool, KernelError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(KernelError::map(map)(error)),
    }
}

fn errno(error: &MapError) -> Option<Errno> {
    match error {
        MapError::SyscallError(error) => Errno::from_io_error(&error.io_error),
        _ => None,
    }
}

pub(super) fn prefix4(key: &Key<Trie4>) -> Prefix {
    let bits = u8::try_from(key.prefix_len()).unwrap_or(u8::MAX);
    Prefix::covering(Ipv4Addr::from(key.data().address).into(), bits)
}

pub(super) fn prefix6(key: &Key<Trie6>) -> Prefix {
    let bits = u8::try_from(key.prefix_len()).unwrap_or(u8::MAX);
    Prefix::covering(Ipv6Addr::from(key.data().address).into(), bits)
}

fn active(target: Prefix, ban: &Ban, now: u64) -> ActiveBan {
    ActiveBan {
        target,
        id: ban.id,
        reason: u8::try_from(ban.reason).unwrap_or(u8::MAX),
        remaining: Duration::from_nanos(ban.deadline.saturating_sub(now)),
        dropped: PacketCount {
            packets: ban.packets,
            bytes: ban.bytes,
        },
    }
}

/// The clock that the program reads: `bpf_ktime_get_coarse_ns`.
pub(super) fn now() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
