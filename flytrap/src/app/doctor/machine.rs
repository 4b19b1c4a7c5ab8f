//! The kernel, and what this process may do with it.

use std::fs;
use std::path::Path;

use super::{Check, Question};
use crate::kernel;

/// The first that can load the program.
const OLDEST: (u32, u32) = (6, 0);

const KERNEL: Question = Question::new(
    "kernel",
    "the program uses helpers and maps that Linux has from 6.0 on",
);
const BTF: Question = Question::new(
    "btf",
    "the maps have types, which the kernel checks against its own",
);
const CAPABILITIES: Question = Question::new(
    "capabilities",
    "they are needed to load and attach the program, and to look at what is attached",
);
const BPFFS: Question = Question::new(
    "bpffs",
    "maps and links are pinned there, so that bans outlive the gateway's process",
);

pub(super) fn checks(pin_dir: &Path, cookies: bool) -> Vec<Check> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        version(release.trim()),
        match kernel::has_btf() {
            Ok(()) => BTF.ok("the kernel describes its types"),
            Err(error) => BTF.kernel(&error),
        },
        capabilities(cookies),
        match kernel::bpffs_mounted(pin_dir) {
            Ok(true) => BPFFS.ok(format_args!(
                "{} is on a BPF file system",
                pin_dir.display()
            )),
            Ok(false) => BPFFS.warn(
                "/sys/fs/bpf isn't mounted: the gateway mounts it, if it may",
                "type `mount -t bpf bpf /sys/fs/bpf`",
            ),
            Err(error) => BPFFS.kernel(&error),
        },
    ]
}

fn version(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    let fix = "use Linux 6.0 or later, or switch XDP off with interfaces = [] in [xdp]";
    match (number(), number()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => {
            KERNEL.fail(format_args!("Linux {release} is too old"), fix)
        }
        (Some(_), Some(_)) => KERNEL.ok(format_args!("Linux {release}")),
        _ => KERNEL.warn(format_args!("`{release}` is no version of Linux"), fix),
    }
}

fn capabilities(cookies: bool) -> Check {
    if let Err(error) = kernel::privileged() {
        return CAPABILITIES.kernel(&error);
    }
    match kernel::may_send_raw() {
        Ok(false) if cookies => CAPABILITIES.fail(
            "CAP_NET_RAW is missing, which `syn_cookies` needs",
            "run as root, give the service CAP_NET_RAW, or set syn_cookies = false in [xdp]",
        ),
        Ok(_) => CAPABILITIES.ok("this process has what is needed"),
        Err(error) => CAPABILITIES.kernel(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn old_kernels_fail() {
        for (release, state) in [
            ("6.18.44-fc-v669", State::Ok),
            ("6.0.0", State::Ok),
            ("10.1", State::Ok),
            ("5.19.17-amd64", State::Fail),
            ("", State::Warn),
            ("6", State::Warn),
        ] {
            assert_eq!(version(release).state, state, "{release}");
        }
    }
}
