//! The ABI between the kernel program and user space.
#![no_std]
