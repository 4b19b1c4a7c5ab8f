//! The packet in the kernel, as the packet walk reads it.

use core::arch::asm;
use core::ptr;

use aya_ebpf::bindings::xdp_md;
use flytrap_common::packet::Frame;

/// The linear part of the packet, where its headers are.
pub struct Packet(pub *mut xdp_md);

impl Frame for Packet {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: the context is valid while the program runs.
        let (start, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        if start + offset + N > end {
            return None;
        }
        let from = start + offset;
        let mut bytes = [0; N];
        let mut words = bytes.chunks_exact_mut(size_of::<u64>());
        let mut at = from;
        for bytes in &mut words {
            // SAFETY: the bytes lie between the packet's start and its end, checked above as the
            // verifier asks.
            bytes.copy_from_slice(&unsafe { word(at) }.to_ne_bytes());
            at += size_of::<u64>();
        }
        let rest = words.into_remainder();
        // SAFETY: as above; single bytes may lie anywhere.
        unsafe { ptr::copy_nonoverlapping(at as *const u8, rest.as_mut_ptr(), rest.len()) };
        Some(bytes)
    }
}

/// Eight bytes of the packet in one read. LLVM makes eight of it, since it doesn't know that BPF
/// may read what isn't aligned, and told so it does it on the stack too, where BPF may not.
///
/// # Safety
/// The packet has so many bytes from `at` on, and the verifier knows.
#[inline(always)]
unsafe fn word(at: usize) -> u64 {
    let word;
    // SAFETY: reads the bytes that the caller vouches for and does nothing else.
    unsafe {
        asm!(
            "{word} = *(u64 *)({at} + 0)",
            word = out(reg) word,
            at = in(reg) at,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    word
}
