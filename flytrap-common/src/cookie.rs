//! The answer to a SYN with a cookie: what the SYN offers, and the bytes of the SYN-ACK.
//!
//! No state is kept of such a SYN. What the listener has to know when the client's ACK comes is in
//! the sequence number, which the kernel makes, and in the timestamp that the client echoes: the
//! layout of the latter is Linux' own (`net/ipv4/syncookies.c`, `cookie_init_timestamp`).
#![expect(
    clippy::inline_always,
    reason = "the verifier follows the bytes on a stack only within one function"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are narrower than registers, and what is put into them is in range or wraps"
)]

use bytemuck::{Pod, Zeroable};

/// Bytes that the options of a TCP header have at most.
pub const OPTIONS: usize = 40;
/// How many options and bytes of padding are read; what clients send has no more than eight.
const ELEMENTS: usize = 16;
/// Bytes of a TCP header at most.
pub const TCP_HEADER: usize = 20 + OPTIONS;
/// Bytes of a SYN-ACK's TCP header at most: 24 to a client without timestamps, else 40.
pub const SYN_ACK: usize = 40;

/// "No window scaling": larger than every shift count.
pub const NO_WINDOW_SCALE: u8 = 15;
/// The largest shift count (RFC 7323).
const MAX_WINDOW_SCALE: u8 = 14;

const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

/// How many bits of the timestamp hold options: four of the window scale, SACK, ECN.
const TIMESTAMP_BITS: u32 = 6;
const NANOSECONDS_PER_TICK: u64 = 1_000_000;

const SYN_AND_ACK: u8 = 0x12;
const DONT_FRAGMENT: u8 = 0x40;
const TIME_TO_LIVE: u8 = 64;
const TCP: u8 = 6;

/// How SYNs are answered, and what that changed in the host's settings: the value of
/// [`MAP_COOKIE`](crate::abi::MAP_COOKIE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Cookies {
    /// Nanoseconds on `CLOCK_MONOTONIC_COARSE`; from then on no SYN is answered. User space moves
    /// it on while it lives. 0: switched off.
    pub deadline: u64,
    /// The network namespace whose settings were changed: the inode of its file. 0: none.
    pub namespace: u64,
    /// The window that a SYN-ACK offers, in bytes.
    pub window: u16,
    /// Its shift count, the same that the listener will take;
    /// [`NO_WINDOW_SCALE`] if windows aren't scaled.
    pub window_scale: u8,
    /// Not 0: selective acknowledgements are accepted.
    pub sack: u8,
    /// `net.ipv4.tcp_syncookies` as it was before.
    pub tcp_syncookies: u8,
    /// `net.ipv4.tcp_timestamps` as it was before.
    pub tcp_timestamps: u8,
    /// Zero.
    pub reserved: u16,
}

#[cfg(feature = "user")]
// SAFETY: `bytemuck::Pod` is derived: `repr(C)`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Cookies {}

const _: () = assert!(size_of::<Cookies>() == 24);

/// What a SYN's options offer, but for the segment size, which the kernel reads.
///
/// One number, so that the verifier has one to follow. The lowest bits are what a timestamp
/// remembers, the upper half is the client's own timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer(u64);

impl Offer {
    const WINDOW_SCALE: u64 = 15;
    const SACK: u64 = 1 << 4;
    const STAMPED: u64 = 1 << 5;
    const REMEMBERED: u64 = Self::WINDOW_SCALE | Self::SACK;

    /// No options.
    pub const NOTHING: Self = Self(NO_WINDOW_SCALE as u64);

    /// Reads options; the bytes behind them are 0. What is malformed ends them, as in Linux. What is
    /// not read is not offered, which does no harm.
    /// `noise` is a number that the verifier doesn't know, and any will do.
    #[inline(always)]
    pub fn read(options: &[u8; OPTIONS], noise: u64) -> Self {
        let mut offer = Self::NOTHING.0;
        let mut at = 0;
        for _ in 0..ELEMENTS {
            // What the verifier sees after one option is then the same after the next.
            at = unknown(at, noise) & 63;
            offer = unknown(offer, noise);
            let Some(&kind) = options.get(at as usize) else {
                break;
            };
            if kind == END {
                break;
            }
            if kind == NOTHING {
                at += 1;
                continue;
            }
            let Some(&length) = options.get(at as usize + 1) else {
                break;
            };
            if length < 2 || at + u64::from(length) > OPTIONS as u64 {
                break;
            }
            match (kind, length) {
                (WINDOW_SCALE, 3) => {
                    if let Some(&shift) = options.get(at as usize + 2) {
                        let shift = if shift > MAX_WINDOW_SCALE {
                            MAX_WINDOW_SCALE
                        } else {
                            shift
                        };
                        offer = offer & !Self::WINDOW_SCALE | u64::from(shift);
                    }
                }
                (SACK_PERMITTED, 2) => offer |= Self::SACK,
                (TIMESTAMPS, 10) => {
                    if let Some([a, b, c, d]) = options.get(at as usize + 2..at as usize + 6) {
                        let theirs = u32::from_be_bytes([*a, *b, *c, *d]);
                        offer = offer & 0xffff_ffff | Self::STAMPED | u64::from(theirs) << 32;
                    }
                }
                _ => {}
            }
            at += u64::from(length);
        }
        Self(offer)
    }

    /// As one number.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From such a number.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Without what the host doesn't do.
    #[inline(always)]
    #[must_use]
    pub const fn limited(self, window_scale: bool, sack: bool) -> Self {
        let scale = if window_scale { 0 } else { Self::WINDOW_SCALE };
        let sack = if sack { 0 } else { Self::SACK };
        Self((self.0 | scale) & !sack)
    }

    /// The client's shift count, or [`NO_WINDOW_SCALE`].
    #[inline(always)]
    pub const fn window_scale(self) -> u8 {
        (self.0 & Self::WINDOW_SCALE) as u8
    }

    /// Whether the client takes selective acknowledgements.
    #[inline(always)]
    pub const fn sack(self) -> bool {
        self.0 & Self::SACK != 0
    }

    /// The client's timestamp, if it sends some.
    #[inline(always)]
    pub const fn timestamp(self) -> Option<u32> {
        if self.0 & Self::STAMPED != 0 {
            Some((self.0 >> 32) as u32)
        } else {
            None
        }
    }

    /// Our timestamp: the time, with the offer in its lowest bits and never in the future, as those
    /// that the listener sends later must not be older. `now` is nanoseconds on `CLOCK_MONOTONIC`.
    ///
    /// ECN is never accepted, so its bit stays clear.
    #[inline(always)]
    pub const fn stamp(self, now: u64) -> u32 {
        const STEP: u64 = 1 << TIMESTAMP_BITS;
        let ticks = now / NANOSECONDS_PER_TICK;
        let encoded = (ticks & !(STEP - 1)) | (self.0 & Self::REMEMBERED);
        // The field has 32 bits and wraps after 49 days.
        if encoded > ticks {
            encoded.wrapping_sub(STEP) as u32
        } else {
            encoded as u32
        }
    }
}

/// `number`, as one that the verifier knows nothing about.
#[inline(always)]
fn unknown(number: u64, noise: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: arithmetic on one register.
        unsafe {
            core::arch::asm!(
                "{number} += {noise}",
                "{number} -= {noise}",
                number = inout(reg) number,
                noise = in(reg) noise,
                options(pure, nomem, nostack),
            );
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number.wrapping_add(noise).wrapping_sub(noise)
    }
}

/// What a SYN is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The sequence number.
    pub cookie: u32,
    /// The largest segment that we take, in bytes.
    pub mss: u16,
    /// The window that we offer, in bytes.
    pub window: u16,
    /// Our own shift count, or [`NO_WINDOW_SCALE`]. Without timestamps neither this nor `sack`
    /// can be remembered, so neither is sent.
    pub window_scale: u8,
    /// Whether we take selective acknowledgements.
    pub sack: bool,
    /// Our timestamp and the client's.
    pub timestamps: Option<(u32, u32)>,
}

/// Makes the headers of a SYN over IPv4 those of its answer. The length of the TCP header then.
#[inline(always)]
pub fn answer4(ip: &mut [u8; 20], tcp: &mut [u8; TCP_HEADER], answer: &Answer) -> u16 {
    let length = answer_tcp(tcp, answer);
    ip[0] = 0x45;
    ip[1] = 0;
    ip[2..4].copy_from_slice(&(20 + length).to_be_bytes());
    ip[4..8].copy_from_slice(&[0, 0, DONT_FRAGMENT, 0]);
    ip[8..12].copy_from_slice(&[TIME_TO_LIVE, TCP, 0, 0]);
    let (source, destination) = ip[12..].split_at_mut(4);
    source.swap_with_slice(destination);
    let header = checksum(sum(ip));
    ip[10..12].copy_from_slice(&header);
    finish(tcp, length, sum(&ip[12..]));
    length
}

/// The same over IPv6.
#[inline(always)]
pub fn answer6(ip: &mut [u8; 40], tcp: &mut [u8; TCP_HEADER], answer: &Answer) -> u16 {
    let length = answer_tcp(tcp, answer);
    ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    ip[4..6].copy_from_slice(&length.to_be_bytes());
    ip[6..8].copy_from_slice(&[TCP, TIME_TO_LIVE]);
    let (source, destination) = ip[8..].split_at_mut(16);
    source.swap_with_slice(destination);
    finish(tcp, length, sum(&ip[8..]));
    length
}

/// All of the TCP header but its checksum, which is 0; so is what lies behind it.
#[inline(always)]
fn answer_tcp(tcp: &mut [u8; TCP_HEADER], answer: &Answer) -> u16 {
    let [s0, s1, d0, d1, q0, q1, q2, q3, ..] = *tcp;
    let next = u32::from_be_bytes([q0, q1, q2, q3]).wrapping_add(1);
    let [window, scale] = answer.window.to_be_bytes();
    let [mss, segment] = answer.mss.to_be_bytes();
    let (length, words) = match answer.timestamps {
        Some(_) => (40, 10 << 4),
        None => (24, 6 << 4),
    };
    tcp[..4].copy_from_slice(&[d0, d1, s0, s1]);
    tcp[4..8].copy_from_slice(&answer.cookie.to_be_bytes());
    tcp[8..12].copy_from_slice(&next.to_be_bytes());
    tcp[12..20].copy_from_slice(&[words, SYN_AND_ACK, window, scale, 0, 0, 0, 0]);
    tcp[20..24].copy_from_slice(&[MSS, 4, mss, segment]);
    tcp[24..].fill(0);
    if let Some((ours, theirs)) = answer.timestamps {
        let [sack, sack_length] = if answer.sack {
            [SACK_PERMITTED, 2]
        } else {
            [NOTHING; 2]
        };
        let scale = if answer.window_scale < NO_WINDOW_SCALE {
            [NOTHING, WINDOW_SCALE, 3, answer.window_scale]
        } else {
            [NOTHING; 4]
        };
        tcp[24..28].copy_from_slice(&[sack, sack_length, TIMESTAMPS, 10]);
        tcp[28..32].copy_from_slice(&ours.to_be_bytes());
        tcp[32..36].copy_from_slice(&theirs.to_be_bytes());
        tcp[36..40].copy_from_slice(&scale);
    }
    length
}

/// Fills in the checksum.
#[inline(always)]
fn finish(tcp: &mut [u8; TCP_HEADER], length: u16, addresses: u32) {
    let pseudo = addresses + u32::from(TCP) + u32::from(length);
    // What lies behind the header is 0 and adds nothing.
    let checksum = checksum(pseudo + sum(&tcp[..SYN_ACK]));
    tcp[16..18].copy_from_slice(&checksum);
}

/// The sum of big-endian words, not folded: for headers, which are too short for an overflow.
#[inline(always)]
pub fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0;
    for word in bytes.chunks_exact(2) {
        if let [high, low] = word {
            sum = in_order(sum) + u32::from(u16::from_be_bytes([*high, *low]));
        }
    }
    sum
}

/// Keeps LLVM from reading all words before it adds the first: of its eleven registers it would
/// put them on the stack, which is small.
#[inline(always)]
fn in_order(sum: u32) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let mut sum = u64::from(sum);
        // SAFETY: the number stays as it is.
        unsafe {
            core::arch::asm!("{sum} = {sum}", sum = inout(reg) sum, options(nostack));
        }
        sum as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        sum
    }
}

/// The Internet checksum (RFC 1071) from such a sum.
#[inline(always)]
pub const fn checksum(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests;
