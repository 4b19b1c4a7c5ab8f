//! How many connections may be opened, by one source and by all together.
//!
//! A state is one word that every CPU reads and replaces by compare-and-exchange: a state for each
//! CPU would let through the limit once for each. Only what is let through writes, so that under a
//! flood the word stays in every CPU's cache.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use flytrap_common::abi::{Address4, Network6, RATED_SOURCES};
use flytrap_common::limit::Limit;

use crate::maps::{ft_limits, ft_rate4, ft_rate6, ft_total};

/// Who opens a connection.
#[derive(Clone, Copy)]
pub enum Source {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The upper half of an IPv6 address.
    V6([u8; 8]),
    /// One of the allowlist: counted in total only.
    Exempt,
}

/// Whether a connection may be opened.
#[derive(Clone, Copy)]
pub enum Answer {
    Within,
    OverSource,
    OverTotal,
}

const WITHIN: u32 = 0;
const OVER_SOURCE: u32 = 1;
const OVER_TOTAL: u32 = 2;

/// Whether there is a limit for all together.
#[inline(always)]
pub fn total_is_set() -> bool {
    ft_limits.get(0).is_some_and(|limits| limits.total.is_set())
}

/// Counts a new connection.
#[inline(always)]
pub fn new_connection(source: Source) -> Answer {
    let (family, address) = match source {
        Source::Exempt => (0, 0),
        Source::V4(address) => (4, u64::from(u32::from_ne_bytes(address))),
        Source::V6(network) => (6, u64::from_ne_bytes(network)),
    };
    match ft_new_connection(family, address) {
        OVER_SOURCE => Answer::OverSource,
        OVER_TOTAL => Answer::OverTotal,
        _ => Answer::Within,
    }
}

/// A global function with nothing but numbers in and out: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ft_new_connection(family: u32, address: u64) -> u32 {
    let Some(limits) = ft_limits.get(0) else {
        return WITHIN;
    };
    if !limits.source.is_set() && !limits.total.is_set() {
        return WITHIN;
    }
    // The coarse clock stands still for as long as a burst may take.
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let network = address.to_ne_bytes();
    let [a, b, c, d, ..] = network;
    let address = [a, b, c, d];
    let within_source = !limits.source.is_set()
        || match family {
            4 => one_more_of(&ft_rate4, &Address4 { address }, limits.source, now),
            6 => one_more_of(&ft_rate6, &Network6 { network }, limits.source, now),
            _ => true,
        };
    if !within_source {
        return OVER_SOURCE;
    }
    match ft_total.get_ptr_mut(0) {
        Some(due) if limits.total.is_set() && !one_more(due, limits.total, now) => OVER_TOTAL,
        _ => WITHIN,
    }
}

/// Whether this source may open one more.
#[inline(always)]
fn one_more_of<K>(
    sources: &LruHashMap<K, u64, RATED_SOURCES>,
    key: &K,
    limit: Limit,
    now: u64,
) -> bool {
    if let Some(due) = sources.get_ptr_mut(key) {
        return one_more(due, limit, now);
    }
    // Nothing is known of it, so it has its whole burst.
    let first = limit.arrival(0, now).due;
    if sources.insert(key, first, u64::from(BPF_NOEXIST)).is_ok() {
        return true;
    }
    // Another CPU was quicker; or the table has no room at this moment, and the source stays new.
    sources
        .get_ptr_mut(key)
        .is_none_or(|due| one_more(due, limit, now))
}

/// Whether one more is within the limit, and counts it if so.
#[inline(always)]
fn one_more(due: *mut u64, limit: Limit, now: u64) -> bool {
    ft_one_more(due, limit.interval, limit.tolerance, now) != 0
}

/// A global function too, for the loop that would else be looked at for every state.
///
/// The element of a source may be given to another one meanwhile. It then has another number and
/// the exchange fails; should it have the same, the other source has one connection less.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ft_one_more(due: *mut u64, interval: u64, tolerance: u64, now: u64) -> u32 {
    /// Each one that fails is another CPU's that succeeded.
    const ATTEMPTS: usize = 8;
    let limit = Limit {
        interval,
        tolerance,
    };
    if due.is_null() {
        return 0;
    }
    for _ in 0..ATTEMPTS {
        // SAFETY: a map value, which the kernel keeps until the program returns. Volatile, because
        // other CPUs write it meanwhile.
        let before = unsafe { due.read_volatile() };
        let arrival = limit.arrival(before, now);
        // SAFETY: the same value, aligned as every map value is.
        if arrival.due == before || unsafe { compare_exchange(due, before, arrival.due) } == before
        {
            return u32::from(arrival.within);
        }
    }
    // A client repeats its SYN; the limit holds in any case.
    0
}

/// Writes `new` if `target` holds `expected`, and returns what it held. `core` has no such
/// operation for this target.
///
/// # Safety
/// `target` points to a map value and is aligned to 8 bytes.
#[inline(always)]
unsafe fn compare_exchange(target: *mut u64, expected: u64, new: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = expected;
        // SAFETY: one instruction that touches only the value that the caller vouches for.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({target} + 0, r0, {new})",
                target = in(reg) target,
                new = in(reg) new,
                inout("r0") value,
                options(nostack),
            );
        }
        value
    }
    // What lints the program for the host knows no such register.
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: as the caller vouches.
        let target = unsafe { AtomicU64::from_ptr(target) };
        match target.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) | Err(found) => found,
        }
    }
}
