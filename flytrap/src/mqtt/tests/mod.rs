//! Tests of the whole codec.

mod good;
mod hostile;
mod malformed;
mod round_trip;
mod second_opinion;

use super::*;

pub(super) const LIMITS: PacketLimits = PacketLimits {
    packet_bytes: 4096,
    topic_bytes: 64,
    topic_levels: 8,
    filters: 4,
};

pub(super) const BOTH: &[Version] = &[Version::V311, Version::V5];
pub(super) const V311: &[Version] = &[Version::V311];
pub(super) const V5: &[Version] = &[Version::V5];

/// Any packet, decoded by the function of its type.
#[derive(Debug, PartialEq)]
pub(super) enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Ack(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Ping,
    Disconnect(Disconnect<'a>),
}

impl<'a> Packet<'a> {
    pub(super) fn decode(
        frame: &Frame<'a>,
        version: Version,
        sender: Sender,
    ) -> Result<Self, ConnectError> {
        Ok(match frame.packet_type {
            PacketType::Connect => Self::Connect(Connect::decode(frame, &LIMITS)?),
            PacketType::Connack => Self::Connack(Connack::decode(frame, version)?),
            PacketType::Publish => Self::Publish(Publish::decode(frame, version, sender, &LIMITS)?),
            PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
                Self::Ack(Ack::decode(frame, version)?)
            }
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(frame, version, &LIMITS)?),
            PacketType::Suback => Self::Suback(Suback::decode(frame, version)?),
            PacketType::Unsubscribe => {
                Self::Unsubscribe(Unsubscribe::decode(frame, version, &LIMITS)?)
            }
            PacketType::Unsuback => Self::Unsuback(Unsuback::decode(frame, version)?),
            PacketType::Pingreq | PacketType::Pingresp => Self::Ping,
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(frame, version, sender)?),
            // The gateway refuses every AUTH unread.
            PacketType::Auth => return Err(Malformed::protocol("AUTH").into()),
        })
    }
}

/// Decodes one whole packet.
pub(super) fn read(
    bytes: &[u8],
    version: Version,
    sender: Sender,
) -> Result<Packet<'_>, ConnectError> {
    let frame = next_frame(bytes, sender, &LIMITS)?.expect("the packet is complete");
    assert_eq!(frame.raw, bytes, "one packet and nothing else");
    Packet::decode(&frame, version, sender)
}

/// Bytes written as hex, texts with their length in quotes, and short property lists with their
/// length in brackets.
pub(super) fn bytes(notation: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut list = 0;
    for token in notation.split_whitespace() {
        match token.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
            Some(text) => {
                out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
                out.extend(text.as_bytes());
            }
            None if token == "[" => list = out.len(),
            None if token == "]" => out.insert(list, u8::try_from(out.len() - list).unwrap()),
            None => out.extend(hex::decode(token).unwrap()),
        }
    }
    out
}

/// A packet whose length is filled in: `notation` is its first byte and its body.
pub(super) fn packet(notation: &str) -> Vec<u8> {
    let mut out = bytes(notation);
    let mut length = out.len() - 1;
    let mut at = 1;
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        out.insert(at, if length > 0 { low | 0x80 } else { low });
        at += 1;
        if length == 0 {
            return out;
        }
    }
}
