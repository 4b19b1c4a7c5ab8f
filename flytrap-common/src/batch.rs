//! Many entries of a map in one system call, `BPF_MAP_UPDATE_BATCH` (Linux 5.6), which aya doesn't
//! have. `docs/adr/batches.md` says why it is worth an unsafe call.

extern crate std;

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Pod;
use aya::maps::{MapData, MapError, MapType};
use aya::sys::SyscallError;

/// Of `enum bpf_cmd` in `linux/bpf.h`.
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

/// The member `batch` of `union bpf_attr` in `linux/bpf.h`.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    /// In: how many entries there are. Out: how many of them are written.
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Why not all of a batch is written.
#[derive(Debug)]
pub struct Interrupted {
    /// How many entries are: the first ones.
    pub written: usize,
    /// What the kernel says to the next one.
    pub error: MapError,
}

/// Writes each of `values` under its key, in turn: new, or in place of what was there. What has no
/// partner is left out. The map has to be a hash or an array, with keys and values of these sizes.
pub fn update<K: Pod, V: Pod>(map: &MapData, keys: &[K], values: &[V]) -> Result<(), Interrupted> {
    fits::<K, V>(map).map_err(|error| Interrupted { written: 0, error })?;
    let count = keys.len().min(values.len());
    let count = u32::try_from(count).map_err(|_| Interrupted {
        written: 0,
        error: failed(io::ErrorKind::InvalidInput.into()),
    })?;
    let mut batch = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    let size = size_of::<BatchAttr>();
    // SAFETY: the kernel reads `count` keys and values of the map's sizes. These are the sizes of
    // `K` and `V`, which are plain data, and both slices are at least that long and borrowed for
    // the call. It writes to `batch.count` and nowhere else, and takes a `bpf_attr` in part.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_BATCH, &raw mut batch, size) };
    if result == 0 {
        return Ok(());
    }
    let error = failed(io::Error::last_os_error());
    // A kernel that doesn't know the call leaves the count as it was.
    let written = if batch.count < count { batch.count } else { 0 };
    Err(Interrupted {
        written: usize::try_from(written).unwrap_or_default(),
        error,
    })
}

/// Whether the kernel will read from slices of these what it takes for the map's entries.
fn fits<K, V>(map: &MapData) -> Result<(), MapError> {
    let info = map.info()?;
    let map_type = info.map_type()?;
    if !matches!(map_type, MapType::Hash | MapType::Array) {
        return Err(MapError::InvalidMapType {
            map_type: map_type as u32,
        });
    }
    let [key, value] = [info.key_size(), info.value_size()].map(|size| size as usize);
    if key != size_of::<K>() {
        return Err(MapError::InvalidKeySize {
            size: size_of::<K>(),
            expected: key,
        });
    }
    if value != size_of::<V>() {
        return Err(MapError::InvalidValueSize {
            size: size_of::<V>(),
            expected: value,
        });
    }
    Ok(())
}

fn failed(io_error: io::Error) -> MapError {
    let call = "bpf_map_update_batch";
    SyscallError { call, io_error }.into()
}
