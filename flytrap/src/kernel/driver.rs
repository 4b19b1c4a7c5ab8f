//! What an interface can do and has, looked at without attaching anything.

use std::io;
use std::path::Path;

use rustix::net::netlink;

use super::error::KernelError;
use super::netlink::{HEADER, ask, attributes, kind, odd};
use super::pins::{AttachedProgram, program_on};
use super::preflight;

const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// Runs programs in native mode: `NETDEV_XDP_ACT_BASIC`.
const BASIC: u8 = 1;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = HEADER + 4;

/// An interface as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceState {
    /// Its XDP program, whoever's it is. Without privileges it has no name and is nobody's.
    pub program: Option<AttachedProgram>,
    /// Whether its driver says that it runs XDP programs itself; `None`: the kernel doesn't tell,
    /// which Linux does from 6.3 on.
    pub native: Option<bool>,
}

/// Looks at an interface of this network namespace; `pin_dir` tells whose its program is.
pub fn interface(name: &str, pin_dir: &Path) -> Result<InterfaceState, KernelError> {
    let unknown = || KernelError::UnknownInterface {
        name: name.to_owned(),
    };
    let found = preflight::interfaces(&[name.to_owned()])?.pop();
    let interface = found.ok_or_else(unknown)?;
    Ok(InterfaceState {
        native: native(interface.index).ok(),
        program: program_on(pin_dir, interface)?,
    })
}

/// Asks the driver by the family `netdev` of generic netlink.
fn native(ifindex: u32) -> io::Result<bool> {
    let mut body = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    body.extend(attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0\0")); // the second zero pads
    let family = ask(Some(netlink::GENERIC), GENL_ID_CTRL, &body)?;
    let [low, high, ..] = value(&family, CTRL_ATTR_FAMILY_ID)? else {
        return Err(odd());
    };
    let family = u16::from_ne_bytes([*low, *high]);
    let mut body = vec![NETDEV_CMD_DEV_GET, 1, 0, 0];
    body.extend(attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes()));
    let device = ask(Some(netlink::GENERIC), family, &body)?;
    runs_programs(value(&device, NETDEV_A_DEV_XDP_FEATURES)?)
}

fn runs_programs(features: &[u8]) -> io::Result<bool> {
    let features: &[u8; 8] = features.first_chunk().ok_or_else(odd)?;
    Ok(u64::from_ne_bytes(*features) & u64::from(BASIC) != 0)
}

/// The value of an answer's attribute.
fn value(answer: &[u8], wanted: u16) -> io::Result<&[u8]> {
    kind(answer)?;
    let mut all = attributes(answer.get(HEADERS..).unwrap_or_default());
    let found = all.find(|(kind, _)| *kind == wanted);
    found.map(|(_, value)| value).ok_or_else(odd)
}

/// `value` has a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_native_mode() {
        let lo = interface("lo", Path::new("/sys/fs/bpf/flytrap-none")).unwrap();
        assert_ne!(lo.native, Some(true));
        let error = interface("no-such-0", Path::new("/")).unwrap_err();
        assert!(matches!(error, KernelError::UnknownInterface { name } if name == "no-such-0"));
    }

    #[test]
    fn features_are_read_and_odd_answers_are_errors() {
        let mut answer = vec![0; HEADERS];
        answer.extend(attribute(NETDEV_A_DEV_IFINDEX, &[1, 0, 0, 0]));
        answer.extend(attribute(
            NETDEV_A_DEV_XDP_FEATURES,
            &0x6f_u64.to_ne_bytes(),
        ));
        let features = |answer: &[u8]| value(answer, NETDEV_A_DEV_XDP_FEATURES).map(runs_programs);
        assert!(features(&answer).unwrap().unwrap());
        assert!(!runs_programs(&2_u64.to_ne_bytes()).unwrap());
        for length in 0..answer.len() {
            assert!(features(&answer[..length]).is_err(), "{length}");
        }
        assert!(runs_programs(&[1, 0, 0, 0]).is_err());
    }
}
