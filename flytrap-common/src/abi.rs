//! Map names, keys, values and events. All integers are in host order, all addresses in network
//! order.

mod outcome;

use bytemuck::{Pod, Zeroable};
pub use outcome::{Count, Counters, Outcome};

use crate::limit::Limit;

/// Changes with every change of a type, a map or a number in this module. Pinned maps of another
/// version are refused, never reinterpreted.
pub const ABI_VERSION: u32 = 5;

/// How many IPv4 addresses, and how many IPv6 /64s, can be banned at a time.
pub const EXACT_BANS: usize = 1 << 20;
/// How many prefixes of each family can be banned at a time.
pub const PREFIX_BANS: usize = 1 << 16;
/// How many prefixes of each family the allowlist holds.
pub const ALLOWED_PREFIXES: usize = 1 << 12;
/// 64-bit words of the set of guarded ports: one bit for each port.
pub const PORT_WORDS: usize = (1 << 16) / 64;
/// How many sources of each family have a state of their own under [`Limits::source`]: 10 MiB for
/// each family. The least recently seen ones are forgotten first.
pub const RATED_SOURCES: usize = 1 << 17;
/// Bytes of the ring buffer: a power of two and whole pages.
pub const EVENT_BYTES: usize = 1 << 18;

/// The program that judges packets.
pub const PROGRAM: &str = "flytrap_xdp";
/// The program that passes every packet: what benchmarks subtract.
pub const EMPTY_PROGRAM: &str = "ft_empty";
/// The program that lets nothing in, behind XDP, while XDP's mode is changed.
pub const CLOSED_PROGRAM: &str = "ft_closed";
/// The program that answers with the country of the source: for tests and benchmarks.
pub const GEO_PROGRAM: &str = "ft_geo";
/// `BPF_MAP_TYPE_ARRAY` of one [`Config`].
pub const MAP_CONFIG: &str = "ft_config";
/// `BPF_MAP_TYPE_PERCPU_ARRAY` of one [`Counters`].
pub const MAP_COUNTERS: &str = "ft_counters";
/// `BPF_MAP_TYPE_RINGBUF` of [`DropRecord`].
pub const MAP_EVENTS: &str = "ft_events";
/// `BPF_MAP_TYPE_ARRAY` of [`PORT_WORDS`] words: port `p` is guarded if bit `p % 64` of word
/// `p / 64` is set.
pub const MAP_PORTS: &str = "ft_ports";
/// `BPF_MAP_TYPE_LPM_TRIE`: IPv4 prefix to [`Allowed`].
pub const MAP_ALLOW4: &str = "ft_allow4";
/// `BPF_MAP_TYPE_LPM_TRIE`: IPv6 prefix to [`Allowed`].
pub const MAP_ALLOW6: &str = "ft_allow6";
/// `BPF_MAP_TYPE_HASH`: [`Address4`] to [`Ban`].
pub const MAP_BAN4: &str = "ft_ban4";
/// `BPF_MAP_TYPE_HASH`: [`Network6`] to [`Ban`].
pub const MAP_BAN6: &str = "ft_ban6";
/// `BPF_MAP_TYPE_LPM_TRIE`: IPv4 prefix to [`Ban`].
pub const MAP_BANNET4: &str = "ft_bannet4";
/// `BPF_MAP_TYPE_LPM_TRIE`: IPv6 prefix to [`Ban`].
pub const MAP_BANNET6: &str = "ft_bannet6";
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS` of one: an array of one [`Table4`](crate::geo::Table4).
pub const MAP_GEO4: &str = "ft_geo4";
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS` of one: an array of one [`Table6`](crate::geo::Table6).
pub const MAP_GEO6: &str = "ft_geo6";
/// `BPF_MAP_TYPE_ARRAY` of one [`CountryPolicy`](crate::geo::CountryPolicy).
pub const MAP_COUNTRY: &str = "ft_country";

/// `BPF_MAP_TYPE_ARRAY` of [`crate::filter::WORDS`] words: the filter in front of [`MAP_BAN4`].
pub const MAP_FILTER4: &str = "ft_filter4";
/// The filter in front of [`MAP_BAN6`].
pub const MAP_FILTER6: &str = "ft_filter6";
/// `BPF_MAP_TYPE_ARRAY` of one [`Limits`].
pub const MAP_LIMITS: &str = "ft_limits";
/// `BPF_MAP_TYPE_LRU_HASH`: [`Address4`] to the source's theoretical arrival time, `u64`, in
/// nanoseconds on `CLOCK_MONOTONIC` (see [`limit`](crate::limit)).
pub const MAP_RATE4: &str = "ft_rate4";
/// `BPF_MAP_TYPE_LRU_HASH`: [`Network6`] to the same.
pub const MAP_RATE6: &str = "ft_rate6";
/// `BPF_MAP_TYPE_ARRAY` of one: the same for all sources together.
pub const MAP_TOTAL: &str = "ft_total";
/// `BPF_MAP_TYPE_ARRAY` of one [`Cookies`](crate::cookie::Cookies).
pub const MAP_COOKIE: &str = "ft_cookie";

/// Every map of ours, as it is named in the kernel and in the pin directory.
pub const MAPS: [&str; 20] = [
    MAP_CONFIG,
    MAP_COUNTERS,
    MAP_EVENTS,
    MAP_PORTS,
    MAP_ALLOW4,
    MAP_ALLOW6,
    MAP_BAN4,
    MAP_BAN6,
    MAP_BANNET4,
    MAP_BANNET6,
    MAP_GEO4,
    MAP_GEO6,
    MAP_COUNTRY,
    MAP_FILTER4,
    MAP_FILTER6,
    MAP_LIMITS,
    MAP_RATE4,
    MAP_RATE6,
    MAP_TOTAL,
    MAP_COOKIE,
];

/// What user space tells the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// [`ABI_VERSION`] of the user space that made the maps.
    pub abi_version: u32,
    /// Report one in this many drops of a reason on a CPU; 0 reports first hits only.
    pub event_sample: u32,
    /// Not 0: the program's own diagnostics are written. May be switched at run time.
    pub diagnostics: u32,
    /// Any of [`flag`].
    pub flags: u32,
}

/// What the program is to do, as bits of [`Config::flags`].
pub mod flag {
    /// Bans drop what goes to guarded ports, and nothing else.
    pub const BANS_ON_GUARDED_PORTS: u32 = 1;
    /// Sources are judged by their country.
    pub const COUNTRIES: u32 = 1 << 1;
    /// Countries drop what goes to guarded ports, and nothing else.
    pub const COUNTRIES_ON_GUARDED_PORTS: u32 = 1 << 2;
    /// Tiny fragments and overlong header chains pass.
    pub const PASS_EVASIONS: u32 = 1 << 3;
}

/// How many connections may be opened to guarded ports: TCP segments with SYN and without ACK.
/// Apart from [`Config`], whose size tells versions that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Limits {
    /// By one source, an IPv4 address or an IPv6 /64. The allowlist is exempt.
    pub source: Limit,
    /// By all together, also those of the allowlist; what is over [`source`](Self::source) doesn't
    /// count.
    pub total: Limit,
}

impl Limits {
    /// As many as there come.
    pub const NONE: Self = Self {
        source: Limit::NONE,
        total: Limit::NONE,
    };
}

/// Key of [`MAP_BAN4`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Address4 {
    /// The address.
    pub address: [u8; 4],
}

/// Key of [`MAP_BAN6`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Network6 {
    /// The upper 64 bits of the address.
    pub network: [u8; 8],
}

/// Key data of the IPv4 tries. An LPM trie puts its values right behind the key data, and values
/// with 64-bit counters have to lie on 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Trie4 {
    /// The address.
    pub address: [u8; 4],
    /// Zero; never compared, as no prefix is longer than 32 bits.
    pub padding: [u8; 4],
}

/// Key data of the IPv6 tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Trie6 {
    /// The address.
    pub address: [u8; 16],
}

/// Value of the allowlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Allowed {
    /// Nanoseconds on `CLOCK_MONOTONIC_COARSE`; from then on the entry is without effect. 0: for
    /// ever. User space sees to it that none ends before one that covers it, as it would hide it.
    pub deadline: u64,
}

/// A ban, with its own counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ban {
    /// Nanoseconds on `CLOCK_MONOTONIC_COARSE`; from then on the ban is without effect.
    pub deadline: u64,
    /// The ban's number in user space.
    pub id: u64,
    /// Packets that it dropped.
    pub packets: u64,
    /// Bytes that it dropped, link-layer header included.
    pub bytes: u64,
    /// Which of [`reason`] it was made for.
    pub reason: u32,
    /// Length of the banned prefix.
    pub bits: u32,
}

/// What a ban is for. The numbers are kept in databases too.
pub mod reason {
    /// By an operator, or from a list.
    pub const BY_HAND: u8 = 0;
    /// Failed authentications.
    pub const AUTH_FAILED: u8 = 1;
    /// Denied actions.
    pub const ACL_DENIED: u8 = 2;
    /// Packets that break the protocol.
    pub const MALFORMED: u8 = 3;
    /// More than the rate limits allow. Reserved: this version has no such limits.
    pub const RATE_EXCEEDED: u8 = 4;
    /// Connections that never got to log in.
    pub const HANDSHAKE_TIMEOUT: u8 = 5;
}

/// When a CPU last read the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Clock {
    /// Jiffies.
    pub tick: u64,
    /// Nanoseconds on `CLOCK_MONOTONIC_COARSE`.
    pub time: u64,
}

/// One reported drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DropRecord {
    /// Nanoseconds on `CLOCK_MONOTONIC_COARSE`.
    pub time: u64,
    /// [`Ban::id`]; 0 if no ban dropped it.
    pub ban_id: u64,
    /// The source; IPv4 in its IPv6-mapped form.
    pub source: [u8; 16],
    /// The interface that received the packet.
    pub ifindex: u32,
    /// The packet's bytes, link-layer header included.
    pub bytes: u32,
    /// Index of the source's country; 0: unknown, or not looked at.
    pub country: u16,
    /// Where it was going; 0: unknown, or not looked at.
    pub destination_port: u16,
    /// The number of its [`Outcome`].
    pub outcome: u8,
    /// The IP protocol.
    pub protocol: u8,
    /// Not 0: the first packet that this ban dropped; else one of a sample.
    pub first_hit: u8,
    /// Zero.
    pub reserved: u8,
}

#[cfg(feature = "user")]
mod user {
    use super::{Address4, Allowed, Ban, Config, Counters, Limits, Network6, Trie4, Trie6};

    macro_rules! plain_data {
        ($($name:ident),+) => { $(
            // SAFETY: `bytemuck::Pod` is derived: `repr(C)`, no padding, every bit pattern valid.
            unsafe impl aya::Pod for $name {}
        )+ };
    }
    plain_data!(
        Address4, Allowed, Ban, Config, Counters, Limits, Network6, Trie4, Trie6
    );
}

// What the maps hold; a changed size is a changed ABI_VERSION.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time, where there are no iterators"
)]
const _: () = {
    assert!(size_of::<Config>() == 16);
    assert!(size_of::<Limits>() == 32);
    assert!(size_of::<Address4>() == 4);
    assert!(size_of::<Network6>() == 8);
    assert!(size_of::<Trie4>() == 8);
    assert!(size_of::<Trie6>() == 16);
    assert!(size_of::<Allowed>() == 8);
    assert!(size_of::<Ban>() == 40);
    assert!(size_of::<Count>() == 16);
    assert!(size_of::<Counters>() == Outcome::ALL.len() * size_of::<Count>());
    assert!(size_of::<DropRecord>() == 48);
    assert!(align_of::<Ban>() == 8 && align_of::<DropRecord>() == 8);
    let mut map = 0;
    while map < MAPS.len() {
        // The kernel cuts longer names.
        assert!(MAPS[map].len() <= 15);
        map += 1;
    }
};
