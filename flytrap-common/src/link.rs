//! The end of an attachment, `BPF_LINK_DETACH` (Linux 5.9), which aya doesn't have: whoever else
//! holds the link open, the program is off the interface when the call returns.

extern crate std;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Of `enum bpf_cmd` in `linux/bpf.h`.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The member for `BPF_OBJ_*` of `union bpf_attr`.
#[repr(C)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Detaches the link that is pinned there; the pin stays, as that of a link to nothing.
///
/// # Errors
/// Those of the kernel: `NotFound` without a pin, `InvalidInput` for one of something else.
pub fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjectAttr {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the kernel reads a path that ends with 0 and lives until the call is over, takes a
    // `bpf_attr` in part, and answers with a descriptor that nobody else has.
    let link = unsafe {
        let fd = libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET,
            &raw const get,
            size_of_val(&get),
        );
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let fd = link.as_raw_fd().cast_unsigned();
    // SAFETY: the kernel reads four bytes, the descriptor.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_DETACH,
            &raw const fd,
            size_of_val(&fd),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
