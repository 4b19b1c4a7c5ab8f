//! Programs of the benchmark alone, in an object of their own: the gateway never loads them.
//!
//! One `BPF_PROG_TEST_RUN` repeats one packet, and a program that is asked for the same source
//! again and again finds everything in the cache. These write the next source of a list into the
//! packet and hand it on: to the program under test, as it is, or to an interface. Another one
//! writes all of the packet anew, for a program that answers by overwriting it.
#![no_std]
#![no_main]

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::{
    bpf_ktime_get_ns, bpf_redirect, bpf_xdp_get_buff_len, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

/// How many sources there are: a power of two, and more than one round takes.
const SOURCES: usize = 1 << 18;
/// Bytes of Ethernet before the network header; the benchmark's packets carry no tags.
const ETHERNET: usize = 14;

/// Bytes of a packet to be restored: a SYN of a Linux client, with 20 bytes of TCP options.
const PACKET4: usize = ETHERNET + 20 + 40;
/// The same over IPv6.
const PACKET6: usize = ETHERNET + 40 + 40;

/// IPv6: the source address. IPv4: the header's checksum and the address, which lie one behind
/// the other in the packet too.
#[btf_map]
#[expect(non_upper_case_globals, reason = "the name of the map")]
static fb_sources: Array<[u8; 16], SOURCES> = Array::new();

/// How many packets have got a source.
#[btf_map]
#[expect(non_upper_case_globals, reason = "the name of the map")]
static fb_position: Array<u32, 1> = Array::new();

/// Index of the interface that frames are sent from.
#[btf_map]
#[expect(non_upper_case_globals, reason = "the name of the map")]
static fb_interface: Array<u32, 1> = Array::new();

/// Nanoseconds from one frame to the next, 0 for none; and when the next is due.
#[btf_map]
#[expect(non_upper_case_globals, reason = "the name of the map")]
static fb_pace: Array<[u64; 2], 1> = Array::new();

/// The packet that `fb_restore` writes.
#[btf_map]
#[expect(non_upper_case_globals, reason = "the name of the map")]
static fb_packet: Array<[u8; PACKET6], 1> = Array::new();

/// The program under test.
#[btf_map]
#[expect(non_upper_case_globals, reason = "the name of the map")]
static fb_next: ProgramArray<1> = ProgramArray::new();

/// Gives the packet its source and runs the program in `fb_next`; aborts if there is none.
#[xdp(frags)]
pub fn fb_spoof(context: XdpContext) -> u32 {
    if next_source(&context).is_some() {
        // SAFETY: the map has one slot; without a program in it, this returns.
        unsafe { fb_next.tail_call(&context, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Gives the frame its source and sends it from the interface in `fb_interface`.
#[xdp]
pub fn fb_inject(context: XdpContext) -> u32 {
    let (Some(()), Some(interface)) = (next_source(&context), fb_interface.get(0)) else {
        return xdp_action::XDP_ABORTED;
    };
    wait_for_turn();
    // SAFETY: a helper that takes numbers.
    unsafe { bpf_redirect(*interface, 0) as u32 }
}

/// Makes the packet what it was before the last run, and runs the program in `fb_next`; aborts if
/// there is none, or the packet's length was changed.
#[xdp(frags)]
pub fn fb_restore(context: XdpContext) -> u32 {
    if let Some(packet) = fb_packet.get(0) {
        let from = ptr::from_ref(packet).cast_mut().cast::<c_void>();
        // SAFETY: the value has the bytes of the longer packet; the packet's own end is checked by
        // the helper. The map of programs has one slot; without a program in it, the call returns.
        unsafe {
            let stored = match bpf_xdp_get_buff_len(context.ctx) as usize {
                PACKET4 => bpf_xdp_store_bytes(context.ctx, 0, from, PACKET4 as u32),
                PACKET6 => bpf_xdp_store_bytes(context.ctx, 0, from, PACKET6 as u32),
                _ => -1,
            };
            if stored == 0 {
                fb_next.tail_call(&context, 0);
            }
        }
    }
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn next_source(context: &XdpContext) -> Option<()> {
    let position = fb_position.get_ptr_mut(0)?;
    // SAFETY: a map value lives while the program runs; only one CPU runs the benchmark.
    let now = unsafe {
        let now = *position;
        *position = now.wrapping_add(1);
        now
    };
    let source = *fb_sources.get(now & (SOURCES as u32 - 1))?;
    let (start, end) = (context.data(), context.data_end());
    if start + ETHERNET + 40 > end {
        return None;
    }
    let network = start + ETHERNET;
    // SAFETY: all reads and writes lie in the first 54 bytes, which are there as checked above;
    // arrays of bytes may lie anywhere.
    unsafe {
        if *(network as *const u8) >> 4 == 4 {
            let [a, b, c, d, e, f, ..] = source;
            ptr::write((network + 10) as *mut [u8; 6], [a, b, c, d, e, f]);
        } else {
            ptr::write((network + 8) as *mut [u8; 16], source);
        }
    }
    Some(())
}

/// Frames that come all at once overrun the receiver's ring however fast it is. Waits a microsecond
/// or two at most; a frame that is late moves all later ones.
fn wait_for_turn() {
    const LOOKS: u32 = 64;
    let Some(pace) = fb_pace.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the value of an array, which is there as long as the program; one CPU sends.
    let [gap, due] = unsafe { &mut *pace };
    if *gap == 0 {
        return;
    }
    // SAFETY: a helper without arguments.
    let mut now = unsafe { bpf_ktime_get_ns() };
    for _ in 0..LOOKS {
        if now >= *due {
            break;
        }
        // SAFETY: as above.
        now = unsafe { bpf_ktime_get_ns() };
    }
    *due = now.max(*due) + *gap;
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
