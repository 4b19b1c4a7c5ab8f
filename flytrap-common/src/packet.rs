//! From a frame to the address that sent it, and to its ports.
//!
//! Linux takes IP out of Ethernet and out of 802.1Q and 802.1ad tags; two of them are followed. More
//! need a third VLAN device stacked on a second, or are there to hide something.
#![expect(
    clippy::inline_always,
    reason = "the verifier follows a packet pointer only within one function"
)]

/// Bytes of a frame, from its link-layer header on.
pub trait Frame {
    /// The `N` bytes at `offset`, unless the frame ends before. No caller asks beyond byte 20,000.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Frame for [u8] {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// The network header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An IPv4 header of at least 20 bytes.
    V4(Ipv4),
    /// A whole IPv6 header.
    V6(Ipv6),
    /// Neither IPv4 nor IPv6: ARP and everything else that FlyTrap doesn't judge.
    NotIp,
    /// More VLAN tags than are followed. Of those with VLAN id 0 the kernel takes off any number, so
    /// a host can have IP behind them.
    TagChain,
    /// It claims to be IP, or to carry a tag, and ends before its source address, or has the
    /// version of another protocol. The host's own stack throws it away.
    Unparsed,
}

/// What is read of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// The source.
    pub source: [u8; 4],
    /// What follows it.
    pub protocol: u8,
    /// Bytes from the start of the frame to the header.
    pub start: usize,
}

/// What is read of an IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// The source.
    pub source: [u8; 16],
    /// What follows it.
    pub next_header: u8,
    /// Bytes from the start of the frame to the header.
    pub start: usize,
}

/// What a packet carries, as far as ports and flags go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp {
        /// Where it goes.
        destination_port: u16,
    },
    /// Another protocol.
    Other,
    /// A fragment without the beginning, so without ports.
    LaterFragment,
    /// A first fragment that doesn't hold all headers (RFC 1858, RFC 3128, RFC 7112).
    TinyFragment,
    /// More extension headers than are followed.
    HeaderChain,
    /// The packet ends where a header should be.
    Truncated,
}

impl Transport {
    /// All of it in one number, which is what a global BPF function can answer with.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::Other => 0,
            Self::LaterFragment => 1,
            Self::TinyFragment => 2,
            Self::HeaderChain => 3,
            Self::Truncated => 4,
            Self::Udp { destination_port } => 5 | (destination_port as u64) << 16,
            Self::Tcp(tcp) => {
                6 | (tcp.length as u64 / 4) << 4
                    | (tcp.flags as u64) << 8
                    | (tcp.destination_port as u64) << 16
                    | (tcp.source_port as u64) << 32
                    | (tcp.start as u64) << 48
            }
        }
    }

    /// What [`to_bits`](Self::to_bits) made a number of.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "every field is cut out of the number"
    )]
    pub const fn from_bits(bits: u64) -> Self {
        let destination_port = (bits >> 16) as u16;
        match bits & 15 {
            1 => Self::LaterFragment,
            2 => Self::TinyFragment,
            3 => Self::HeaderChain,
            4 => Self::Truncated,
            5 => Self::Udp { destination_port },
            6 => Self::Tcp(Tcp {
                source_port: (bits >> 32) as u16,
                destination_port,
                flags: (bits >> 8) as u8,
                start: (bits >> 48) as usize,
                length: (bits >> 4 & 15) as usize * 4,
            }),
            _ => Self::Other,
        }
    }
}

/// What is read of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Where it comes from.
    pub source_port: u16,
    /// Where it goes.
    pub destination_port: u16,
    /// FIN, SYN, RST, PSH, ACK and so on, from bit 0.
    pub flags: u8,
    /// Bytes from the start of the frame to the TCP header.
    pub start: usize,
    /// The header's length in bytes, as it says itself.
    pub length: usize,
}

const SYN: u8 = 1 << 1;
const ACK: u8 = 1 << 4;

impl Tcp {
    /// Whether the segment asks for a new connection.
    #[inline]
    pub const fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }
}

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Bytes of an Ethernet header: where its type field ends.
const ETHERNET: usize = 14;
/// Bytes that one VLAN tag adds.
const TAG: usize = 4;

/// Reads the network header of an Ethernet frame.
///
/// Written so that every offset is a constant after inlining: the verifier then needs one bounds
/// check for each read.
#[inline(always)]
pub fn network<F: Frame + ?Sized>(frame: &F) -> Network {
    let Some(outer) = ether_type(frame, ETHERNET) else {
        return Network::Unparsed;
    };
    if !is_tag(outer) {
        return address(frame, outer, ETHERNET);
    }
    let Some(inner) = ether_type(frame, ETHERNET + TAG) else {
        return Network::Unparsed;
    };
    if !is_tag(inner) {
        return address(frame, inner, ETHERNET + TAG);
    }
    let Some(innermost) = ether_type(frame, ETHERNET + 2 * TAG) else {
        return Network::Unparsed;
    };
    if is_tag(innermost) {
        return Network::TagChain;
    }
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

/// The network header at `start`.
#[inline(always)]
fn address<F: Frame + ?Sized>(frame: &F, ether_type: u16, start: usize) -> Network {
    match ether_type {
        TYPE_IPV4 => match frame.bytes::<20>(start) {
            Some(header) if header[0] >> 4 == 4 => Network::V4(Ipv4 {
                source: [header[12], header[13], header[14], header[15]],
                protocol: header[9],
                start,
            }),
            _ => Network::Unparsed,
        },
        TYPE_IPV6 => match frame.bytes::<40>(start) {
            Some(header) if header[0] >> 4 == 6 => {
                let mut source = [0; 16];
                source.copy_from_slice(&header[8..24]);
                Network::V6(Ipv6 {
                    source,
                    next_header: header[6],
                    start,
                })
            }
            _ => Network::Unparsed,
        },
        _ => Network::NotIp,
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// IPv4: more fragments follow.
const MORE: u16 = 0x2000;
/// IPv4: where a fragment begins, in units of 8 bytes.
const OFFSET: u16 = 0x1fff;

/// How many IPv6 extension headers are followed. RFC 8200 knows no packet with more than seven,
/// and hosts have no use for nearly as many.
pub const EXTENSION_HEADERS: usize = 8;

/// Where the upper header begins, and how far the packet goes.
#[derive(Clone, Copy)]
struct Upper {
    protocol: u8,
    /// Bytes from the start of the frame to the header.
    start: usize,
    /// Bytes from the start of the frame to the end of the packet: frames may be padded.
    end: usize,
    /// The rest comes in later fragments.
    fragmented: bool,
}

/// What an IPv4 packet carries whose header is at `start`.
#[inline(always)]
pub fn transport4<F: Frame + ?Sized>(frame: &F, start: usize) -> Transport {
    let Some(header) = frame.bytes::<20>(start) else {
        return Transport::Truncated;
    };
    let length = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let protocol = header[9];
    match fragment & OFFSET {
        0 => {}
        // It would overwrite the flags of a TCP header (RFC 3128).
        1 if protocol == TCP => return Transport::TinyFragment,
        _ => return Transport::LaterFragment,
    }
    if length < 20 {
        return Transport::Truncated;
    }
    let upper = Upper {
        protocol,
        start: bounded(start + length),
        end: start + total,
        fragmented: fragment & MORE != 0,
    };
    payload(frame, upper)
}

/// What an IPv6 packet carries whose header is at `start`.
#[inline(always)]
pub fn transport6<F: Frame + ?Sized>(frame: &F, start: usize) -> Transport {
    let Some(header) = frame.bytes::<40>(start) else {
        return Transport::Truncated;
    };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut upper = Upper {
        protocol: header[6],
        start: bounded(start + 40),
        end: if length == 0 && header[6] == HOP_BY_HOP {
            // A jumbogram (RFC 2675) has its length elsewhere.
            usize::MAX
        } else {
            start + 40 + length
        },
        fragmented: false,
    };
    let mut followed = 0;
    while is_extension(upper.protocol) {
        if followed == EXTENSION_HEADERS {
            return Transport::HeaderChain;
        }
        let Some([next, length, offset, more]) = frame.bytes::<4>(upper.start) else {
            return missing(&upper);
        };
        let bytes = match upper.protocol {
            FRAGMENT => {
                let fragment = u16::from_be_bytes([offset, more]);
                if fragment & 0xfff8 != 0 {
                    return Transport::LaterFragment;
                }
                upper.fragmented |= fragment & 1 != 0;
                8
            }
            AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        upper.start += bytes;
        if upper.start > upper.end {
            return missing(&upper);
        }
        upper.protocol = next;
        // The same bound after every header, so that the verifier looks at what follows once.
        upper.start = bounded(upper.start);
        followed += 1;
    }
    payload(frame, upper)
}

/// `start`, which no chain takes further than 18 + 4 + 40 + 8 × 2,048 bytes, as a number that the
/// compiler knows nothing about.
#[inline(always)]
fn bounded(start: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut start = start;
        // SAFETY: arithmetic on one register.
        unsafe {
            core::arch::asm!(
                "{start} &= 0x7fff",
                start = inout(reg) start,
                options(pure, nomem, nostack),
            );
        }
        start
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        start & 0x7fff
    }
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
    )
}

/// The upper header.
#[inline(always)]
fn payload<F: Frame + ?Sized>(frame: &F, upper: Upper) -> Transport {
    match upper.protocol {
        TCP => match frame.bytes::<20>(upper.start) {
            Some(header) if upper.start + 20 <= upper.end => {
                let length = usize::from(header[12] >> 4) * 4;
                if upper.fragmented && upper.start + length > upper.end {
                    return Transport::TinyFragment;
                }
                Transport::Tcp(Tcp {
                    source_port: u16::from_be_bytes([header[0], header[1]]),
                    destination_port: u16::from_be_bytes([header[2], header[3]]),
                    flags: header[13],
                    start: upper.start,
                    length,
                })
            }
            _ => missing(&upper),
        },
        UDP => match frame.bytes::<8>(upper.start) {
            Some(header) if upper.start + 8 <= upper.end => Transport::Udp {
                destination_port: u16::from_be_bytes([header[2], header[3]]),
            },
            _ => missing(&upper),
        },
        _ => Transport::Other,
    }
}

/// A header that isn't there: in a fragment it is hidden on purpose, else the host drops the
/// packet itself.
#[inline(always)]
const fn missing(upper: &Upper) -> Transport {
    if upper.fragmented {
        Transport::TinyFragment
    } else {
        Transport::Truncated
    }
}

#[cfg(test)]
mod tests;
