//! From a frame to the address that sent it.
//!
//! Linux takes IP out of Ethernet and out of 802.1Q and 802.1ad tags; two of them are followed,
//! which is what a host can be reached through without a third VLAN device stacked on a second.

/// Bytes of a frame, from its link-layer header on.
pub trait Frame {
    /// The `N` bytes at `offset`, unless the frame ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Frame for [u8] {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address.
    V6([u8; 16]),
    /// Neither IPv4 nor IPv6: ARP and everything else that FlyTrap doesn't judge.
    NotIp,
    /// It claims to be IP, or to carry a tag, and ends before its source address, or has the
    /// version of another protocol. The host's own stack throws it away.
    Unparsed,
}

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Bytes of an Ethernet header: where its type field ends.
const ETHERNET: usize = 14;
/// Bytes that one VLAN tag adds.
const TAG: usize = 4;

/// Reads the source address of an Ethernet frame.
///
/// Written so that every offset is a constant after inlining: the verifier then needs one bounds
/// check for each read.
#[inline(always)]
pub fn source<F: Frame + ?Sized>(frame: &F) -> Source {
    let Some(outer) = ether_type(frame, ETHERNET) else {
        return Source::Unparsed;
    };
    if !is_tag(outer) {
        return address(frame, outer, ETHERNET);
    }
    let Some(inner) = ether_type(frame, ETHERNET + TAG) else {
        return Source::Unparsed;
    };
    if !is_tag(inner) {
        return address(frame, inner, ETHERNET + TAG);
    }
    let Some(innermost) = ether_type(frame, ETHERNET + 2 * TAG) else {
        return Source::Unparsed;
    };
    address(frame, innermost, ETHERNET + 2 * TAG)
}

/// The type field that ends at `end`.
#[inline(always)]
fn ether_type<F: Frame + ?Sized>(frame: &F, end: usize) -> Option<u16> {
    frame.bytes(end - 2).map(u16::from_be_bytes)
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, TYPE_VLAN | TYPE_SERVICE_VLAN)
}

/// The source address of the network header at `start`.
#[inline(always)]
fn address<F: Frame + ?Sized>(frame: &F, ether_type: u16, start: usize) -> Source {
    match ether_type {
        TYPE_IPV4 => match frame.bytes::<20>(start) {
            Some(header) if header[0] >> 4 == 4 => {
                Source::V4([header[12], header[13], header[14], header[15]])
            }
            _ => Source::Unparsed,
        },
        TYPE_IPV6 => match frame.bytes::<40>(start) {
            Some(header) if header[0] >> 4 == 6 => {
                let mut address = [0; 16];
                address.copy_from_slice(&header[8..24]);
                Source::V6(address)
            }
            _ => Source::Unparsed,
        },
        _ => Source::NotIp,
    }
}
