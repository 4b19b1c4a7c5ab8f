//! Cuts packets out of a byte stream: the fixed header (2.1).

use std::fmt;

use super::{Malformed, PacketLimits, Qos, ReasonCode, Sender, reader::varint};

/// What a packet is (2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// Opens a session.
    Connect = 1,
    /// Answers CONNECT.
    Connack,
    /// Carries a message.
    Publish,
    /// Answers a QoS 1 PUBLISH.
    Puback,
    /// Answers a QoS 2 PUBLISH.
    Pubrec,
    /// Answers PUBREC.
    Pubrel,
    /// Answers PUBREL.
    Pubcomp,
    /// Asks for subscriptions.
    Subscribe,
    /// Answers SUBSCRIBE.
    Suback,
    /// Ends subscriptions.
    Unsubscribe,
    /// Answers UNSUBSCRIBE.
    Unsuback,
    /// Asks for a sign of life.
    Pingreq,
    /// Answers PINGREQ.
    Pingresp,
    /// Ends a connection; from a broker in 5.0 only.
    Disconnect,
    /// Goes on with an authentication; in 5.0 only.
    Auth,
}

impl PacketType {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Whether `sender` may write it in any version. A decode function that takes the version
    /// refuses what only one version has.
    fn is_for(self, sender: Sender) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq => {
                sender == Sender::Client
            }
            Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp => {
                sender == Sender::Broker
            }
            _ => true,
        }
    }

    /// The first byte of its packets but PUBLISH, whose flags vary (2.1.3).
    pub(super) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}

/// One whole packet in the receive buffer, its fixed header checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub packet_type: PacketType,
    /// The low four bits of its first byte; they are legal for its type.
    pub flags: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
    /// The whole packet.
    pub raw: &'a [u8],
}

impl Frame<'_> {
    /// # Errors
    /// The packet is none of `packet_type`: a protocol error where only that one may come.
    pub(super) fn expect(&self, packet_type: PacketType) -> Result<(), Malformed> {
        if self.packet_type == packet_type {
            Ok(())
        } else {
            Err(UNEXPECTED)
        }
    }
}

pub(super) const UNEXPECTED: Malformed =
    Malformed::protocol("this packet may not be sent at this point (3.1.0-1, 3.2.0-1)");

/// Shows no content: it may be a password.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("packet_type", &self.packet_type)
            .field("flags", &self.flags)
            .field("bytes", &self.raw.len())
            .finish()
    }
}

fn check_flags(packet_type: PacketType, flags: u8) -> Result<(), Malformed> {
    if packet_type != PacketType::Publish {
        return if flags == packet_type.first_byte() & 0x0f {
            Ok(())
        } else {
            Err(Malformed::packet(
                "the flags of the fixed header are those of the packet type (2.1.3; 3.1.1: 2.2.2)",
            ))
        };
    }
    if publish_qos(flags)? == Qos::AtMostOnce && flags & 0b1000 != 0 {
        return Err(Malformed::packet(
            "a PUBLISH of QoS 0 does not have DUP (3.3.1-2)",
        ));
    }
    Ok(())
}

pub(super) fn publish_qos(flags: u8) -> Result<Qos, Malformed> {
    Qos::from_bits(flags >> 1 & 0b11).ok_or(Malformed::packet(
        "the QoS of a PUBLISH is 0, 1 or 2 (3.3.1-4)",
    ))
}

/// The first packet in `input`, which `sender` wrote; none while it isn't complete and what is
/// there breaks no rule. Allocates nothing and looks at the fixed header only.
///
/// # Errors
/// A packet type that is reserved or not for this sender, wrong flags, an overlong or
/// non-minimal remaining length, a packet larger than [`PacketLimits::packet_bytes`] (as soon as its
/// length is known), a PINGREQ or PINGRESP with content.
pub fn next_frame<'a>(
    input: &'a [u8],
    sender: Sender,
    limits: &PacketLimits,
) -> Result<Option<Frame<'a>>, Malformed> {
    let Some((&first, after_first)) = input.split_first() else {
        return Ok(None);
    };
    let packet_type = PacketType::from_bits(first >> 4)
        .ok_or(Malformed::packet("packet type 0 is reserved (2.1.2)"))?;
    if !packet_type.is_for(sender) {
        return Err(Malformed::protocol(
            "this packet type flows in the other direction only (2.1.2)",
        ));
    }
    let flags = first & 0x0f;
    check_flags(packet_type, flags)?;

    let Some((length, content)) = varint(after_first)? else {
        return Ok(None);
    };
    let length = length as usize;
    let size = input.len() - content.len() + length;
    if size > limits.packet_bytes {
        return Err(Malformed {
            rule: "the packet is larger than this gateway accepts (3.1.2.11.4)",
            reason: ReasonCode::PACKET_TOO_LARGE,
        });
    }
    let is_ping = matches!(packet_type, PacketType::Pingreq | PacketType::Pingresp);
    if is_ping && length > 0 {
        return Err(Malformed::packet(
            "PINGREQ and PINGRESP have no content (3.12, 3.13)",
        ));
    }
    Ok(content
        .get(..length)
        .zip(input.get(..size))
        .map(|(body, raw)| Frame {
            packet_type,
            flags,
            body,
            raw,
        }))
}
