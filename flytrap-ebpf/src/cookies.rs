//! A SYN answered with a cookie: by this program, on the way back out of the interface, so that
//! the host keeps nothing of it.
//!
//! Headers are copied to the stack and written back from there: the verifier then has bounds of
//! constants to check, and the helpers take packets in several pieces too.

use core::arch::asm;
use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{iphdr, ipv6hdr, tcphdr, xdp_md};
use aya_ebpf::helpers::{
    bpf_check_mtu, bpf_tcp_raw_gen_syncookie_ipv4, bpf_tcp_raw_gen_syncookie_ipv6,
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use flytrap_common::cookie::{
    self, Answer, Cookies, NO_WINDOW_SCALE, OPTIONS, Offer, SYN_ACK, TCP_HEADER,
};
use flytrap_common::packet::Tcp;

use crate::clock;
use crate::maps::ft_cookie;

/// Version 4, and a header of five words.
const V4_WITHOUT_OPTIONS: u8 = 0x45;
const TCP: u8 = 6;
const SYN: u8 = 2;
/// FIN, SYN, RST and ACK.
const OPENING: u8 = 0x17;

/// The whole of a SYN's TCP header, and its length. 60 bytes are the most; the verifier counts 63.
struct Syn {
    bytes: [u8; 64],
    length: u64,
}

/// Where the network header of a SYN starts, in bytes.
#[derive(Clone, Copy)]
pub enum Place {
    V4(usize),
    V6(usize),
}

/// Makes a SYN the answer to itself, which is to be sent back. `false`: it isn't answered, and may
/// be spoilt.
#[inline(always)]
pub fn answer(context: &XdpContext, place: Place, tcp: &Tcp) -> bool {
    let (start, network, ipv6) = match place {
        Place::V4(start) => (start, 20, 0),
        Place::V6(start) => (start, 40, 1),
    };
    // Nothing between the headers; RST and FIN are no offer.
    tcp.start == start + network
        && tcp.flags & OPENING == SYN
        && ft_answer(context.ctx, start as u64, ipv6, tcp.length as u64) != 0
}

/// Reads options and packet one after the other: the stacks of both, together with the caller's,
/// are more than a program has.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ft_answer(context: *mut xdp_md, start: u64, ipv6: u64, length: u64) -> u32 {
    let start = start as u32;
    if in_force().is_none() {
        return 0;
    }
    if ipv6 == 0 {
        ft_answer4(context, start, ft_offer(context, start + 20, length))
    } else {
        ft_answer6(context, start, ft_offer(context, start + 40, length))
    }
}

/// 0: the SYN isn't answered.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ft_answer4(context: *mut xdp_md, start: u32, offer: u64) -> u32 {
    let Some((cookies, now)) = in_force() else {
        return 0;
    };
    let mut ip = [0; 20];
    let mut syn = Syn {
        bytes: [0; 64],
        length: 0,
    };
    if !load(context, start, &mut ip)
        || ip[0] != V4_WITHOUT_OPTIONS
        || ip[6] & 0x3f != 0
        || ip[7] != 0
        || ip[9] != TCP
        || !syn.load(context, start + 20)
        || u64::from(u16::from_be_bytes([ip[2], ip[3]])) < 20 + syn.length
    {
        // Among these: a fragment.
        return 0;
    }
    // SAFETY: both headers lie on this stack, and the TCP header has the length that it says.
    let cookie = unsafe {
        bpf_tcp_raw_gen_syncookie_ipv4(
            (&raw mut ip).cast::<iphdr>(),
            (&raw mut syn.bytes).cast::<tcphdr>(),
            syn.length as u32,
        )
    };
    let Some(answer) = syn.answer(context, cookie, 20, offer, cookies, now) else {
        return 0;
    };
    let length = u32::from(cookie::answer4(&mut ip, syn.header(), &answer));
    let sent = resize(context, start + 20 + length)
        && store(context, start, &mut ip)
        && syn.store(context, start + 20, length)
        && turn_round(context);
    u32::from(sent)
}

/// The same over IPv6.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ft_answer6(context: *mut xdp_md, start: u32, offer: u64) -> u32 {
    let Some((cookies, now)) = in_force() else {
        return 0;
    };
    let mut ip = [0; 40];
    let mut syn = Syn {
        bytes: [0; 64],
        length: 0,
    };
    if !load(context, start, &mut ip)
        || ip[6] != TCP
        || !syn.load(context, start + 40)
        || u64::from(u16::from_be_bytes([ip[4], ip[5]])) < syn.length
    {
        return 0;
    }
    // SAFETY: as above.
    let cookie = unsafe {
        bpf_tcp_raw_gen_syncookie_ipv6(
            (&raw mut ip).cast::<ipv6hdr>(),
            (&raw mut syn.bytes).cast::<tcphdr>(),
            syn.length as u32,
        )
    };
    let Some(answer) = syn.answer(context, cookie, 40, offer, cookies, now) else {
        return 0;
    };
    let length = u32::from(cookie::answer6(&mut ip, syn.header(), &answer));
    let sent = resize(context, start + 40 + length)
        && store(context, start, &mut ip)
        && syn.store(context, start + 40, length)
        && turn_round(context);
    u32::from(sent)
}

/// What user space says, while it does so, and the time.
#[inline(always)]
fn in_force() -> Option<(&'static Cookies, u64)> {
    let cookies = ft_cookie.get(0)?;
    let now = clock::now();
    (cookies.deadline > now).then_some((cookies, now))
}

/// What the options of the TCP header at `start` offer, which has so many bytes. The verifier looks
/// at the loop once, and for neither of its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ft_offer(context: *mut xdp_md, start: u32, length: u64) -> u64 {
    let mut options = [0_u8; 64];
    let length = bounded(length.wrapping_sub(20));
    if length > 0 {
        let to = (&raw mut options).cast::<c_void>();
        // SAFETY: the context is valid while the program runs; the buffer has room for 63 bytes.
        if unsafe { bpf_xdp_load_bytes(context, start + 20, to, length as u32) } != 0 {
            return Offer::NOTHING.to_bits();
        }
    }
    // SAFETY: a part of the array, which has no alignment.
    let options = unsafe { &*(&raw const options).cast::<[u8; OPTIONS]>() };
    Offer::read(options, u64::from(start)).to_bits()
}

/// `length`, which is under 64, as a number that LLVM knows nothing about: it would fold the checks
/// of both its bounds into one that gives the verifier no lower one.
#[inline(always)]
fn bounded(mut length: u64) -> u64 {
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!("{length} &= 63", length = inout(reg) length, options(pure, nomem, nostack));
    }
    length
}

impl Syn {
    #[inline(always)]
    fn load(&mut self, context: *mut xdp_md, start: u32) -> bool {
        let mut words = [0];
        if !load(context, start + 12, &mut words) {
            return false;
        }
        let length = bounded(u64::from(words[0] >> 4) * 4);
        if length < 20 {
            return false;
        }
        self.length = length;
        let bytes = (&raw mut self.bytes).cast::<c_void>();
        // SAFETY: the context is valid while the program runs; the buffer has room for 63 bytes.
        unsafe { bpf_xdp_load_bytes(context, start, bytes, length as u32) == 0 }
    }

    /// What is room for.
    #[inline(always)]
    fn header(&mut self) -> &mut [u8; TCP_HEADER] {
        // SAFETY: a part of the array, which has no alignment.
        unsafe { &mut *(&raw mut self.bytes).cast::<[u8; TCP_HEADER]>() }
    }

    /// What it is answered with, behind `network` bytes of network header.
    #[inline(always)]
    fn answer(
        &mut self,
        context: *mut xdp_md,
        cookie: i64,
        network: u32,
        offer: u64,
        cookies: &Cookies,
        now: u64,
    ) -> Option<Answer> {
        if cookie < 0 {
            return None;
        }
        // The kernel's answer: the cookie, and above it the client's segment size, rounded down
        // to what the cookie can remember. Ours isn't larger than that, nor than the interface's.
        let mut mss = (cookie >> 32) as u16;
        let mut mtu = 0;
        // SAFETY: the interface is the packet's own; the number is written to this stack.
        if unsafe { bpf_check_mtu(context.cast::<c_void>(), 0, &raw mut mtu, 0, 0) } < 0 {
            return None;
        }
        let largest = mtu.saturating_sub(network + 20);
        if u32::from(mss) > largest {
            mss = largest as u16;
        }
        let offer = Offer::from_bits(offer)
            .limited(cookies.window_scale < NO_WINDOW_SCALE, cookies.sack != 0);
        Some(Answer {
            cookie: cookie as u32,
            mss,
            window: cookies.window,
            window_scale: if offer.window_scale() < NO_WINDOW_SCALE {
                cookies.window_scale
            } else {
                NO_WINDOW_SCALE
            },
            sack: offer.sack(),
            timestamps: offer.timestamp().map(|theirs| (offer.stamp(now), theirs)),
        })
    }

    /// Writes the answer, which has one of two lengths.
    #[inline(always)]
    fn store(&mut self, context: *mut xdp_md, start: u32, length: u32) -> bool {
        let bytes = (&raw mut self.bytes).cast::<c_void>();
        // SAFETY: the context is valid while the program runs; the buffer is longer than both.
        unsafe {
            if length == 24 {
                bpf_xdp_store_bytes(context, start, bytes, 24) == 0
            } else {
                bpf_xdp_store_bytes(context, start, bytes, SYN_ACK as u32) == 0
            }
        }
    }
}

/// Makes the frame end at `end`.
#[inline(always)]
fn resize(context: *mut xdp_md, end: u32) -> bool {
    // SAFETY: the context is valid while the program runs; nothing here points into the packet.
    unsafe {
        let now = bpf_xdp_get_buff_len(context);
        bpf_xdp_adjust_tail(context, end as i32 - now as i32) == 0
    }
}

/// Sends the frame back to whom it came from. Tags stay as they are.
#[inline(always)]
fn turn_round(context: *mut xdp_md) -> bool {
    let mut link = [0; 12];
    if !load(context, 0, &mut link) {
        return false;
    }
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = link;
    link = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5];
    // A host doesn't answer what is sent to a group.
    d0 & 1 == 0 && store(context, 0, &mut link)
}

#[inline(always)]
fn load<const N: usize>(context: *mut xdp_md, start: u32, bytes: &mut [u8; N]) -> bool {
    let to = ptr::from_mut(bytes).cast::<c_void>();
    // SAFETY: the context is valid while the program runs; the buffer has so many bytes.
    unsafe { bpf_xdp_load_bytes(context, start, to, N as u32) == 0 }
}

#[inline(always)]
fn store<const N: usize>(context: *mut xdp_md, start: u32, bytes: &mut [u8; N]) -> bool {
    let from = ptr::from_mut(bytes).cast::<c_void>();
    // SAFETY: as above.
    unsafe { bpf_xdp_store_bytes(context, start, from, N as u32) == 0 }
}
