//! The maps, named as in the kernel. BTF maps, so that `bpftool` prints field names.
#![expect(
    non_upper_case_globals,
    reason = "the name of the static is the name of the map, which is lower case"
)]

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use flytrap_common::abi::{
    ALLOWED_PREFIXES, Address4, Allowed, Ban, Clock, Config, Counters, DropRecord, EVENT_BYTES,
    EXACT_BANS, Limits, Network6, PORT_WORDS, PREFIX_BANS, RATED_SOURCES, Trie4, Trie6,
};
use flytrap_common::cookie::Cookies;
use flytrap_common::filter;
use flytrap_common::geo::{CountryPolicy, Table4, Table6};

/// Bans cost memory when they are made. Their elements then come from the kernel's BPF allocator,
/// and a value that user space replaces is freed only when no program can see it any more.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub static ft_config: Array<Config, 1> = Array::new();

#[btf_map]
pub static ft_counters: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// When the clock was read last. Of this load of the program alone, and not pinned.
#[btf_map]
pub static ft_clock: PerCpuArray<Clock, 1> = PerCpuArray::new();

#[btf_map]
pub static ft_events: RingBuf<DropRecord, EVENT_BYTES> = RingBuf::new();

#[btf_map]
pub static ft_ports: Array<u64, PORT_WORDS> = Array::new();

#[btf_map]
pub static ft_allow4: LpmTrie<Trie4, Allowed, ALLOWED_PREFIXES> = LpmTrie::new();

#[btf_map]
pub static ft_allow6: LpmTrie<Trie6, Allowed, ALLOWED_PREFIXES> = LpmTrie::new();

#[btf_map]
pub static ft_ban4: HashMap<Address4, Ban, EXACT_BANS, ON_DEMAND> = HashMap::new();

#[btf_map]
pub static ft_ban6: HashMap<Network6, Ban, EXACT_BANS, ON_DEMAND> = HashMap::new();

#[btf_map]
pub static ft_bannet4: LpmTrie<Trie4, Ban, PREFIX_BANS> = LpmTrie::new();

#[btf_map]
pub static ft_bannet6: LpmTrie<Trie6, Ban, PREFIX_BANS> = LpmTrie::new();

/// The kernel lays the values of mappable arrays on whole pages, so that every node of a table lies
/// in one cache line. Nothing maps them.
const ALIGNED: usize = BPF_F_MMAPABLE as usize;

/// One element, so that a table is replaced between two lookups and never while one runs.
#[btf_map]
pub static ft_geo4: ArrayOfMaps<Array<Table4, 1, ALIGNED>, 1> = ArrayOfMaps::new();

#[btf_map]
pub static ft_geo6: ArrayOfMaps<Array<Table6, 1, ALIGNED>, 1> = ArrayOfMaps::new();

#[btf_map]
pub static ft_country: Array<CountryPolicy, 1> = Array::new();

#[btf_map]
pub static ft_filter4: Array<u64, { filter::WORDS }> = Array::new();

#[btf_map]
pub static ft_filter6: Array<u64, { filter::WORDS }> = Array::new();

#[btf_map]
pub static ft_limits: Array<Limits, 1> = Array::new();

#[btf_map]
pub static ft_rate4: LruHashMap<Address4, u64, RATED_SOURCES> = LruHashMap::new();

#[btf_map]
pub static ft_rate6: LruHashMap<Network6, u64, RATED_SOURCES> = LruHashMap::new();

#[btf_map]
pub static ft_total: Array<u64, 1> = Array::new();

#[btf_map]
pub static ft_cookie: Array<Cookies, 1> = Array::new();
