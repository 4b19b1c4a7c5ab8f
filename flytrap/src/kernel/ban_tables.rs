//! The maps that hold the bans.

use std::collections;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, IterableMap, LpmTrie, Map, MapData, MapError};
use aya::{Ebpf, Pod};
use flytrap_common::abi::{
    Address4, Ban, MAP_BAN4, MAP_BAN6, MAP_BANNET4, MAP_BANNET6, MAP_FILTER4, MAP_FILTER6,
    Network6, Trie4, Trie6,
};
use flytrap_common::filter::Bits;
use rustix::io::Errno;

use super::error::KernelError;
use super::filter::Filter;
use super::tables::{
    errno, insert_error, nanoseconds, now, prefix4, prefix6, removed, take_map, trie_key,
};
use super::{ActiveBan, KernelBan, PacketCount};
use crate::types::Prefix;

/// `BPF_NOEXIST`: insert, and fail with `EEXIST` where there is an entry.
const ONLY_NEW: u64 = 1;

/// The bans, and the filters in front of the exact ones.
pub(super) struct BanTables {
    maps: BanMaps,
    filter4: Filter,
    filter6: Filter,
}

/// The maps alone, to be read.
pub(super) struct BanMaps {
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

impl BanTables {
    /// Takes over what an earlier start pinned.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let maps = BanMaps {
            ban4: take_map(ebpf, MAP_BAN4)?,
            ban6: take_map(ebpf, MAP_BAN6)?,
            bannet4: take_map(ebpf, MAP_BANNET4)?,
            bannet6: take_map(ebpf, MAP_BANNET6)?,
        };
        let bits4 = maps.ban4.keys().map(|key| {
            key.map(|key| Bits::of_address4(key.address))
                .map_err(KernelError::map(MAP_BAN4))
        });
        let bits6 = maps.ban6.keys().map(|key| {
            key.map(|key| Bits::of_network6(key.network))
                .map_err(KernelError::map(MAP_BAN6))
        });
        let filter4 = Filter::new(take_map(ebpf, MAP_FILTER4)?, MAP_FILTER4, bits4)?;
        let filter6 = Filter::new(take_map(ebpf, MAP_FILTER6)?, MAP_FILTER6, bits6)?;
        Ok(Self {
            maps,
            filter4,
            filter6,
        })
    }

    pub(super) fn maps(&self) -> &BanMaps {
        &self.maps
    }

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
                let bits = Bits::of_address4(key.address);
                self.filter4.add(bits)?;
                let placed = insert(&mut self.maps.ban4, MAP_BAN4, key, value);
                if !matches!(placed, Ok(true)) {
                    // Counted by the ban that was there, or by none.
                    self.filter4.remove(bits)?;
                }
                placed.map(drop)
            }
            Place::Network6(key) => {
                let bits = Bits::of_network6(key.network);
                self.filter6.add(bits)?;
                let placed = insert(&mut self.maps.ban6, MAP_BAN6, key, value);
                if !matches!(placed, Ok(true)) {
                    self.filter6.remove(bits)?;
                }
                placed.map(drop)
            }
            // A trie may answer with a shorter prefix: another ban, so another id.
            Place::Trie4(key) => {
                let old = self.maps.bannet4.get(&key, 0);
                let written = self.maps.bannet4.insert(&key, continued(value, &old), 0);
                written.map_err(insert_error(MAP_BANNET4))
            }
            Place::Trie6(key) => {
                let old = self.maps.bannet6.get(&key, 0);
                let written = self.maps.bannet6.insert(&key, continued(value, &old), 0);
                written.map_err(insert_error(MAP_BANNET6))
            }
        }
    }

    pub(super) fn lift(&mut self, target: Prefix) -> Result<bool, KernelError> {
        match place(target) {
            Place::Address4(key) => {
                let was = removed(MAP_BAN4, self.maps.ban4.remove(&key))?;
                if was {
                    self.filter4.remove(Bits::of_address4(key.address))?;
                }
                Ok(was)
            }
            Place::Network6(key) => {
                let was = removed(MAP_BAN6, self.maps.ban6.remove(&key))?;
                if was {
                    self.filter6.remove(Bits::of_network6(key.network))?;
                }
                Ok(was)
            }
            Place::Trie4(key) => removed(MAP_BANNET4, self.maps.bannet4.remove(&key)),
            Place::Trie6(key) => removed(MAP_BANNET6, self.maps.bannet6.remove(&key)),
        }
    }
}

impl BanMaps {
    /// The same maps under handles of their own: reading all of them takes long, and nobody has
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

/// Whether the ban is a new one; else it took the place of that of the same key.
fn insert<K: Pod>(
    map: &mut HashMap<MapData, K, Ban>,
    name: &'static str,
    key: K,
    value: Ban,
) -> Result<bool, KernelError> {
    // Nearly all are new: one system call rather than two.
    match map.insert(key, value, ONLY_NEW) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(Errno::EXIST) => {
            let old = map.get(&key, 0);
            let written = map.insert(key, continued(value, &old), 0);
            written.map(|()| false).map_err(insert_error(name))
        }
        Err(error) => Err(insert_error(name)(error)),
    }
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
