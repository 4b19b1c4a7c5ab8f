//! The packet in the kernel, as the packet walk reads it.

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
        // SAFETY: the bytes lie between the packet's start and its end, checked above as the
        // verifier asks; an array of bytes may lie anywhere.
        Some(unsafe { ptr::read((start + offset) as *const [u8; N]) })
    }
}
