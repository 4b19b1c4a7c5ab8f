//! FlyTrap's XDP program: drops what comes from a banned source, before the kernel allocates
//! anything for it.
//!
//! Allowlist, exact bans, prefix bans, in this order. A verdict is counted once, for the CPU that
//! gave it, and on the ban that caused it; one drop in N and the first of every ban are reported.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod maps;

use core::arch::asm;
use core::ptr;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_xdp_get_buff_len};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use flytrap_common::abi::{
    Address4, Ban, Config, Count, Counters, DropRecord, Network6, Outcome, Trie4, Trie6,
};
use flytrap_common::packet::{self, Frame, Source};

use crate::maps::{
    ft_allow4, ft_allow6, ft_ban4, ft_ban6, ft_bannet4, ft_bannet6, ft_config, ft_counters,
    ft_events,
};

/// Judges a packet by its source.
#[xdp(frags)]
pub fn flytrap_xdp(context: XdpContext) -> u32 {
    match packet::source(&Packet(context.ctx)) {
        Source::V4(address) => from_ipv4(&context, address),
        Source::V6(address) => from_ipv6(&context, address),
        Source::NotIp => pass(&context, Outcome::PassNotIp),
        Source::Unparsed => pass(&context, Outcome::PassUnparsed),
    }
}

/// Passes every packet: what an XDP program costs that does nothing.
#[xdp(frags)]
pub fn ft_empty(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
fn from_ipv4(context: &XdpContext, address: [u8; 4]) -> u32 {
    let data = Trie4 {
        address,
        padding: [0; 4],
    };
    if ft_allow4.get(&Key::new(32, data)).is_some() {
        return pass(context, Outcome::PassAllowlisted);
    }
    let exact = ft_ban4.get_ptr_mut(Address4 { address });
    let prefix = |bits| ft_bannet4.get(&Key::new(bits, data)).map(shared);
    match in_force(exact).or_else(|| longest_in_force::<32>(prefix)) {
        Some((ban, now)) => {
            let [a, b, c, d] = address;
            let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
            drop_packet(context, ban, now, mapped)
        }
        None => pass(context, Outcome::Pass),
    }
}

#[inline(always)]
fn from_ipv6(context: &XdpContext, address: [u8; 16]) -> u32 {
    let data = Trie6 { address };
    if ft_allow6.get(&Key::new(128, data)).is_some() {
        return pass(context, Outcome::PassAllowlisted);
    }
    let [a, b, c, d, e, f, g, h, ..] = address;
    let exact = ft_ban6.get_ptr_mut(Network6 {
        network: [a, b, c, d, e, f, g, h],
    });
    let prefix = |bits| ft_bannet6.get(&Key::new(bits, data)).map(shared);
    match in_force(exact).or_else(|| longest_in_force::<128>(prefix)) {
        Some((ban, now)) => drop_packet(context, ban, now, address),
        None => pass(context, Outcome::Pass),
    }
}

/// The longest banned prefix that is in force: one that has run out hides no wider one.
#[inline(always)]
fn longest_in_force<const LONGEST: u32>(
    lookup: impl Fn(u32) -> Option<*mut Ban>,
) -> Option<(*mut Ban, u64)> {
    let mut bits = LONGEST;
    for _ in 0..=LONGEST {
        let ban = lookup(bits)?;
        let found = in_force(Some(ban));
        if found.is_some() {
            return found;
        }
        // SAFETY: as in `in_force`.
        bits = unsafe { (*ban).bits }.checked_sub(1)?;
    }
    None
}

/// The ban as a pointer, because its counters change under every reader.
#[inline(always)]
fn shared(ban: &Ban) -> *mut Ban {
    ptr::from_ref(ban).cast_mut()
}

/// The ban and the time now, unless it has run out.
#[inline(always)]
fn in_force(ban: Option<*mut Ban>) -> Option<(*mut Ban, u64)> {
    let ban = ban?;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: a pointer to a map value, which the kernel keeps until the program returns; user
    // space replaces whole values and never writes a deadline in place.
    (unsafe { (*ban).deadline } > now).then_some((ban, now))
}

#[inline(always)]
fn pass(context: &XdpContext, outcome: Outcome) -> u32 {
    count(outcome, length(context));
    xdp_action::XDP_PASS
}

#[inline(always)]
fn drop_packet(context: &XdpContext, ban: *mut Ban, now: u64, source: [u8; 16]) -> u32 {
    let bytes = length(context);
    // SAFETY: the map value lives until the program returns; other CPUs and user space touch
    // these two fields only atomically or by replacing the whole value.
    let (packets_before, reason, id) = unsafe {
        fetch_add(&raw mut (*ban).bytes, bytes);
        (
            fetch_add(&raw mut (*ban).packets, 1),
            (*ban).reason,
            (*ban).id,
        )
    };
    let dropped = count(Outcome::of_ban(reason), bytes);
    let config = ft_config.get(0);
    let sample = config.map_or(0, |config| u64::from(config.event_sample));
    let first_hit = packets_before == 0;
    if first_hit || (sample != 0 && dropped.is_multiple_of(sample)) {
        report(
            config,
            DropRecord {
                time: now,
                ban_id: id,
                source,
                // SAFETY: the context is valid while the program runs.
                ifindex: unsafe { (*context.ctx).ingress_ifindex },
                bytes: bytes as u32,
                reason,
                first_hit: u32::from(first_hit),
            },
        );
    }
    xdp_action::XDP_DROP
}

#[inline(always)]
fn report(config: Option<&Config>, record: DropRecord) {
    if ft_events.output(record, 0).is_err() && config.is_some_and(|config| config.diagnostics != 0)
    {
        aya_log_ebpf::debug!(
            // The macro only takes what has a pointer; it reads no packet.
            core::ptr::null::<u8>(),
            "ring buffer full: a drop of ban {} is not reported",
            record.ban_id
        );
    }
}

/// Counts the packet and returns how often this CPU has now counted this outcome; 0 if it can't.
#[inline(always)]
fn count(outcome: Outcome, bytes: u64) -> u64 {
    const { assert!(size_of::<Counters>() == Outcome::ALL.len() * size_of::<Count>()) }
    let Some(counters) = ft_counters.get_ptr_mut(0) else {
        return 0;
    };
    let position = outcome as usize;
    if position >= Outcome::ALL.len() {
        return 0;
    }
    // SAFETY: `Counters` is one `Count` after the other (asserted above), the position is in
    // range, and no other CPU and no second program on this one has this value.
    unsafe {
        let count = counters.cast::<Count>().add(position);
        (*count).bytes += bytes;
        (*count).packets += 1;
        (*count).packets
    }
}

/// Adds to `target` atomically and returns what it was. `core` has no such operation for this
/// target.
///
/// # Safety
/// `target` points to a map value and is aligned to 8 bytes.
#[inline(always)]
unsafe fn fetch_add(target: *mut u64, amount: u64) -> u64 {
    let mut value = amount;
    // SAFETY: one instruction that touches only the value that the caller vouches for.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({target} + 0), {value})",
            target = in(reg) target,
            value = inout(reg) value,
            options(nostack),
        );
    }
    value
}

/// The packet's bytes, also of one that is spread over several pages.
#[inline(always)]
fn length(context: &XdpContext) -> u64 {
    // SAFETY: the context that the kernel passed to this program.
    unsafe { bpf_xdp_get_buff_len(context.ctx) }
}

/// The linear part of the packet, where its headers are.
struct Packet(*mut xdp_md);

impl Frame for Packet {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: the context is valid while the program runs.
        let (start, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        if start + offset + N > end {
            return None;
        }
        // SAFETY: the bytes lie between the packet's start and its end, checked above as the
        // verifier asks; an array of bytes may lie anywhere.
        Some(unsafe { ptr::read((start + offset) as *const [u8; N]) })
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

// The GPL-only helpers used here need a licence that the kernel knows.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
