//! What becomes of a packet: counted once, and some of the drops reported.

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use flytrap_common::abi::{Config, Count, Counters, DropRecord, Outcome};

use crate::bans::Hit;
use crate::clock;
use crate::maps::{ft_config, ft_counters, ft_events};

/// What a report says of a dropped packet.
#[derive(Clone, Copy)]
pub struct Seen {
    /// IPv4 in its IPv6-mapped form.
    pub source: [u8; 16],
    pub destination_port: u16,
    pub protocol: u8,
    pub country: u16,
}

impl Seen {
    /// Of a packet in which no source was reached.
    pub const NOTHING: Self = Self {
        source: [0; 16],
        destination_port: 0,
        protocol: 0,
        country: 0,
    };
}

#[inline(always)]
pub fn pass(context: &XdpContext, outcome: Outcome) -> u32 {
    count(outcome, length(context));
    xdp_action::XDP_PASS
}

/// Sends the packet back, which has become the answer to one of so many bytes.
#[inline(always)]
pub fn send_back(outcome: Outcome, bytes: u64) -> u32 {
    count(outcome, bytes);
    xdp_action::XDP_TX
}

/// Drops for a ban, which counts it too; its first packet is reported.
#[inline(always)]
pub fn drop_banned(context: &XdpContext, hit: Hit, seen: Seen) -> u32 {
    let Hit { ban, now } = hit;
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
    let outcome = Outcome::of_ban(reason);
    let dropped = count(outcome, bytes);
    let first_hit = packets_before == 0;
    if first_hit || sampled(dropped) {
        report(context, outcome, bytes, seen, now, id, first_hit);
    }
    xdp_action::XDP_DROP
}

/// Drops for a reason other than a ban.
#[inline(always)]
pub fn drop_packet(context: &XdpContext, outcome: Outcome, seen: Seen) -> u32 {
    let bytes = length(context);
    if sampled(count(outcome, bytes)) {
        report(context, outcome, bytes, seen, clock::now(), 0, false);
    }
    xdp_action::XDP_DROP
}

/// Whether the drop of this number is one in so many that are reported.
#[inline(always)]
fn sampled(number: u64) -> bool {
    let sample = ft_config.get(0).map_or(0, |config| config.event_sample);
    sample != 0 && number.is_multiple_of(u64::from(sample))
}

#[inline(always)]
fn report(
    context: &XdpContext,
    outcome: Outcome,
    bytes: u64,
    seen: Seen,
    time: u64,
    ban_id: u64,
    first_hit: bool,
) {
    let record = DropRecord {
        time,
        ban_id,
        source: seen.source,
        // SAFETY: the context is valid while the program runs.
        ifindex: unsafe { (*context.ctx).ingress_ifindex },
        bytes: bytes as u32,
        country: seen.country,
        destination_port: seen.destination_port,
        outcome: outcome as u8,
        protocol: seen.protocol,
        first_hit: u8::from(first_hit),
        reserved: 0,
    };
    ft_report(&record);
}

/// Hands a report to user space. A global function, so that the verifier looks at it once and not
/// for every reason to drop; its answer means nothing, but it has to have one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ft_report(record: *const DropRecord) -> u32 {
    // SAFETY: null, or a record on the caller's stack.
    let Some(record) = (unsafe { record.as_ref() }) else {
        return 0;
    };
    if ft_events.output(*record, 0).is_err()
        && ft_config
            .get(0)
            .is_some_and(|config: &Config| config.diagnostics != 0)
    {
        aya_log_ebpf::debug!(
            // The macro only takes what has a pointer; it reads no packet.
            core::ptr::null::<u8>(),
            "ring buffer full: a drop counted as outcome {} is not reported",
            record.outcome
        );
    }
    0
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
pub fn length(context: &XdpContext) -> u64 {
    // SAFETY: the context that the kernel passed to this program.
    unsafe { bpf_xdp_get_buff_len(context.ctx) }
}
