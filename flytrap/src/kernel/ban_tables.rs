//! The maps that hold the bans.

use std::collections;
use std::iter::zip;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, IterableMap, LpmTrie, Map, MapData, MapError};
use aya::{Ebpf, Pod};
use flytrap_common::abi::{
    Address4, Ban, MAP_BAN4, MAP_BAN6, MAP_BANNET4, MAP_BANNET6, MAP_FILTER4, MAP_FILTER6,
    Network6, Trie4, Trie6,
};
use flytrap_common::batch;
use flytrap_common::filter::Bits;

use super::error::KernelError;
use super::filter::{self, Filter};
use super::tables::{
    insert_error, nanoseconds, now, prefix4, prefix6, removed, take_map, trie_key,
};
use super::{ActiveBan, KernelBan, PacketCount};
use crate::types::Prefix;

/// As many bans as take the kernel much longer than it takes to start a thread.
const WORTH_A_THREAD: usize = 1024;

/// The bans, and the filters in front of the exact ones.
pub(super) struct BanTables {
    maps: BanMaps,
    filter4: Filter<Address4>,
    filter6: Filter<Network6>,
}

/// The maps alone, to be read.
pub(super) struct BanMaps {
    ban4: HashMap<MapData, Address4, Ban>,
    ban6: HashMap<MapData, Network6, Ban>,
    bannet4: LpmTrie<MapData, Trie4, Ban>,
    bannet6: LpmTrie<MapData, Trie6, Ban>,
}

impl filter::Key for Address4 {
    fn bits(self) -> Bits {
        Bits::of_address4(self.address)
    }
}

impl filter::Key for Network6 {
    fn bits(self) -> Bits {
        Bits::of_network6(self.network)
    }
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
        let map = take_map(ebpf, MAP_FILTER4)?;
        let keys = maps.ban4.keys();
        let keys = keys.map(|key| key.map_err(KernelError::map(MAP_BAN4)));
        let filter4 = Filter::new(map, MAP_FILTER4, keys)?;
        let map = take_map(ebpf, MAP_FILTER6)?;
        let keys = maps.ban6.keys();
        let keys = keys.map(|key| key.map_err(KernelError::map(MAP_BAN6)));
        let filter6 = Filter::new(map, MAP_FILTER6, keys)?;
        Ok(Self {
            maps,
            filter4,
            filter6,
        })
    }

    fn exact4(&mut self) -> Exact<'_, Address4> {
        Exact {
            map: &mut self.maps.ban4,
            filter: &mut self.filter4,
            name: MAP_BAN4,
        }
    }

    fn exact6(&mut self) -> Exact<'_, Network6> {
        Exact {
            map: &mut self.maps.ban6,
            filter: &mut self.filter6,
            name: MAP_BAN6,
        }
    }

    pub(super) fn maps(&self) -> &BanMaps {
        &self.maps
    }

    pub(super) fn ban(&mut self, ban: &KernelBan) -> Result<(), KernelError> {
        let value = value(ban, now());
        match place(ban.target) {
            Place::Address4(key) => self.exact4().ban(key, value),
            Place::Network6(key) => self.exact6().ban(key, value),
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

    /// None of them is there under the same id. What isn't banned, by its position.
    pub(super) fn ban_all(&mut self, bans: &[KernelBan]) -> Vec<(usize, KernelError)> {
        let now = now();
        let (mut all4, mut all6) = (Many::new(), Many::new());
        // Singly: those of the tries, and what stopped a batch and whatever was behind that.
        let mut singly = Vec::new();
        for (position, ban) in bans.iter().enumerate() {
            match place(ban.target) {
                Place::Address4(key) => all4.push(position, key, value(ban, now)),
                Place::Network6(key) => all6.push(position, key, value(ban, now)),
                Place::Trie4(_) | Place::Trie6(_) => singly.push(position),
            }
        }
        singly.extend(self.exact4().ban_all(all4));
        singly.extend(self.exact6().ban_all(all6));
        let refused = |position: usize| {
            let result = self.ban(bans.get(position)?);
            Some((position, result.err()?))
        };
        singly.into_iter().filter_map(refused).collect()
    }

    pub(super) fn lift(&mut self, target: Prefix) -> Result<bool, KernelError> {
        match place(target) {
            Place::Address4(key) => self.exact4().lift(key),
            Place::Network6(key) => self.exact6().lift(key),
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

/// The bans of a hash, behind its filter.
struct Exact<'a, K> {
    map: &'a mut HashMap<MapData, K, Ban>,
    filter: &'a mut Filter<K>,
    name: &'static str,
}

/// Bans for one hash, and where each stands in the list that they come from.
struct Many<K> {
    positions: Vec<usize>,
    keys: Vec<K>,
    values: Vec<Ban>,
}

impl<K> Many<K> {
    fn new() -> Self {
        Self {
            positions: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    fn push(&mut self, position: usize, key: K, value: Ban) {
        self.positions.push(position);
        self.keys.push(key);
        self.values.push(value);
    }
}

impl<K: Pod + filter::Key> Exact<'_, K> {
    fn ban(self, key: K, mut value: Ban) -> Result<(), KernelError> {
        // What the filter doesn't count isn't in the table: nearly all bans are new.
        let new = self.filter.add(&[key])? == [true];
        if !new {
            value = continued(value, &self.map.get(&key, 0));
        }
        let written = self.map.insert(key, value, 0);
        if new && written.is_err() {
            self.filter.remove(key)?;
        }
        written.map_err(insert_error(self.name))
    }

    /// The positions of those that have to be banned singly: where the kernel stopped, and what is
    /// behind.
    fn ban_all(self, many: Many<K>) -> Vec<usize> {
        let Ok(new) = self.filter.add(&many.keys) else {
            return many.positions;
        };
        let written = update(self.map.map(), &many.keys, &many.values);
        let entries = zip(zip(many.positions, many.keys), new).enumerate();
        let mut singly = Vec::new();
        for (_, ((position, key), new)) in
            entries.filter(|(n, _)| !written.iter().any(|part| part.contains(n)))
        {
            singly.push(position);
            if new {
                // It fails with the bits set, which costs time and no ban.
                let _ = self.filter.remove(key);
            }
        }
        singly
    }

    fn lift(self, key: K) -> Result<bool, KernelError> {
        let was = removed(self.name, self.map.remove(&key))?;
        self.filter.remove(key)?;
        Ok(was)
    }
}

/// Writes two halves at a time, as the time goes by waiting for memory; what is written of each.
fn update<K: Pod + Sync>(map: &MapData, keys: &[K], values: &[Ban]) -> [Range<usize>; 2] {
    let half = |keys: &[K], values: &[Ban]| match batch::update(map, keys, values) {
        Ok(()) => keys.len(),
        Err(stopped) => stopped.written,
    };
    if keys.len() < WORTH_A_THREAD {
        return [0..half(keys, values), 0..0];
    }
    let middle = keys.len() / 2;
    let (keys, behind) = keys.split_at(middle);
    let (values, values_behind) = values.split_at(middle);
    thread::scope(|scope| {
        let helper = thread::Builder::new().spawn_scoped(scope, || half(behind, values_behind));
        let written = half(keys, values);
        // Without a helper they are placed singly.
        let behind = helper.map_or(0, |helper| helper.join().unwrap_or(0));
        [0..written, middle..middle + behind]
    })
}

fn value(ban: &KernelBan, now: u64) -> Ban {
    Ban {
        deadline: now.saturating_add(nanoseconds(ban.remaining)),
        id: ban.id,
        packets: 0,
        bytes: 0,
        reason: u32::from(ban.reason),
        bits: u32::from(ban.target.bits()),
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
