//! What XDP program an interface has, asked of the kernel over rtnetlink: the only source that
//! also knows programs which were attached by other means than a BPF link.

use std::io;

use rustix::net::{self, AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::AttachedMode;

/// An attached program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) mode: AttachedMode,
    /// 0 if the kernel names none, as with programs in several places.
    pub(super) program_id: u32,
}

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
/// `struct nlmsghdr`
pub(super) const HEADER: usize = 16;
/// The same and `struct ifinfomsg`, of the same length.
const HEADERS: usize = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// The upper two bits of an attribute's type are flags.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// The program attached to an interface of this network namespace.
pub(super) fn xdp(ifindex: u32) -> io::Result<Option<Attached>> {
    let mut request = vec![0; 4]; // family, padding, device type
    request.extend(ifindex.to_ne_bytes());
    request.extend([0; 8]); // flags, change mask
    parse(&ask(None, RTM_GETLINK, &request)?)
}

/// Asks one question and returns the one answer. `protocol`: rtnetlink if it is `None`.
pub(super) fn ask(protocol: Option<Protocol>, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let socket = net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]); // sequence and port: one question, one answer
    request.extend(body);
    net::send(&socket, &request, SendFlags::empty())?;
    let mut answer = vec![0; 1 << 16];
    let (_, length) = net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// The kind of an answer, unless it is an error.
pub(super) fn kind(answer: &[u8]) -> io::Result<u16> {
    let number = |at: usize| -> io::Result<[u8; 4]> {
        let bytes = answer.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().ok_or_else(odd)
    };
    let [kind @ .., _, _] = number(4)?;
    match u16::from_ne_bytes(kind) {
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(number(HEADER)?);
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        kind => Ok(kind),
    }
}

pub(super) fn odd() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "netlink answered in an odd form",
    )
}

fn parse(answer: &[u8]) -> io::Result<Option<Attached>> {
    if kind(answer)? != RTM_NEWLINK {
        return Err(odd());
    }
    let mut attached = Attached {
        mode: AttachedMode::Other,
        program_id: 0,
    };
    let nest = attributes(answer.get(HEADERS..).unwrap_or_default());
    for (kind, value) in nest
        .filter(|(kind, _)| *kind == IFLA_XDP)
        .flat_map(|(_, nest)| attributes(nest))
    {
        match (kind, value) {
            (IFLA_XDP_ATTACHED, [0, ..]) => return Ok(None),
            (IFLA_XDP_ATTACHED, [1, ..]) => attached.mode = AttachedMode::Native,
            (IFLA_XDP_ATTACHED, [2, ..]) => attached.mode = AttachedMode::Generic,
            (IFLA_XDP_PROG_ID, [a, b, c, d, ..]) => {
                attached.program_id = u32::from_ne_bytes([*a, *b, *c, *d]);
            }
            _ => {}
        }
    }
    Ok((attached.mode != AttachedMode::Other || attached.program_id != 0).then_some(attached))
}

/// The attributes of a block, up to the first that doesn't fit into it.
pub(super) fn attributes(mut block: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1, ..] = *block else {
            return None;
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = block.get(4..length)?;
        block = block.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & ATTRIBUTE_TYPE, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answer(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADERS];
        bytes[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn reads_mode_and_program() {
        let mut nest = attribute(IFLA_XDP_ATTACHED, &[2]);
        nest.extend(attribute(IFLA_XDP_PROG_ID, &77_u32.to_ne_bytes()));
        let mut block = attribute(3, b"eth0\0");
        block.extend(attribute(0x8000 | IFLA_XDP, &nest));
        assert_eq!(
            parse(&answer(&block)).unwrap(),
            Some(Attached {
                mode: AttachedMode::Generic,
                program_id: 77
            })
        );
        let free = attribute(IFLA_XDP, &attribute(IFLA_XDP_ATTACHED, &[0]));
        assert_eq!(parse(&answer(&free)).unwrap(), None);
        assert_eq!(parse(&answer(&[])).unwrap(), None);
    }

    #[test]
    fn an_error_and_a_cut_answer_are_errors() {
        let mut error = answer(&[]);
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        error[16..20].copy_from_slice(&(-19_i32).to_ne_bytes());
        assert_eq!(parse(&error).unwrap_err().raw_os_error(), Some(19));
        for length in 0..8 {
            assert!(parse(&error[..length]).is_err());
        }
        // An attribute that claims more than is there, and one of length 0.
        assert_eq!(parse(&answer(&[255, 0, 43, 0, 1])).unwrap(), None);
        assert_eq!(parse(&answer(&[0, 0, 43, 0, 1, 1, 1, 1])).unwrap(), None);
    }
}
