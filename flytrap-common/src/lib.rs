//! The ABI between the kernel program and user space, and the packet walk that both run.
//!
//! Every type in [`abi`] lies in a BPF map or in the ring buffer: its layout is part of what a
//! pinned map keeps across restarts. [`packet`] reads a frame through [`packet::Frame`], so that
//! the code which the verifier checks in the kernel is the code that the tests run on the host.
#![no_std]
// Inline BPF assembly has no stable syntax yet.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
#[cfg(feature = "user")]
pub mod batch;
pub mod cookie;
pub mod filter;
pub mod geo;
pub mod limit;
#[cfg(feature = "user")]
pub mod link;
pub mod packet;
