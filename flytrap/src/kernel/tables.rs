//! The maps, read and written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use flytrap_common::abi::{
    Config, Counters, Limits, MAP_CONFIG, MAP_COUNTERS, MAP_LIMITS, MAP_PORTS, Outcome, PORT_WORDS,
    Trie4, Trie6,
};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::PacketCount;
use super::allowlist::Allowlist;
use super::ban_tables::BanTables;
use super::error::KernelError;
use crate::types::Prefix;

/// Every map that user space writes or reads, but for the ring buffers.
pub(super) struct Tables {
    config: Array<MapData, Config>,
    ports: Array<MapData, u64>,
    limits: Array<MapData, Limits>,
    counters: PerCpuArray<MapData, Counters>,
    pub(super) allowlist: Allowlist,
    pub(super) bans: BanTables,
}

/// The key in the tries, which hold prefixes of every length.
pub(super) fn trie_key(prefix: Prefix) -> Result<Key<Trie4>, Key<Trie6>> {
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

impl Tables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            config: take_map(ebpf, MAP_CONFIG)?,
            ports: take_map(ebpf, MAP_PORTS)?,
            limits: take_map(ebpf, MAP_LIMITS)?,
            counters: take_map(ebpf, MAP_COUNTERS)?,
            allowlist: Allowlist::take(ebpf)?,
            bans: BanTables::take(ebpf)?,
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

    pub(super) fn limit(&mut self, limits: Limits) -> Result<(), KernelError> {
        self.limits
            .set(0, limits, 0)
            .map_err(KernelError::map(MAP_LIMITS))
    }

    pub(super) fn counters(&self) -> Result<Vec<(Outcome, PacketCount)>, KernelError> {
        sums(&self.counters)
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

pub(super) fn insert_error(map: &'static str) -> impl FnOnce(MapError) -> KernelError {
    move |error| match errno(&error) {
        // A hash says the one, a trie the other.
        Some(Errno::TOOBIG | Errno::NOSPC) => KernelError::Full { map },
        _ => KernelError::map(map)(error),
    }
}

pub(super) fn removed(
    map: &'static str,
    result: Result<(), MapError>,
) -> Result<bool, KernelError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(KernelError::map(map)(error)),
    }
}

pub(super) fn errno(error: &MapError) -> Option<Errno> {
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

/// The clock that the program reads: `bpf_ktime_get_coarse_ns`.
pub(super) fn now() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
