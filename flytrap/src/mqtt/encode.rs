//! Writes packets. Every function appends one packet to a buffer, which it leaves as it was if
//! it fails. Properties are written in 5.0 only.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::types::TopicName;

use super::connect::{BRIDGE, flag};
use super::reader::MAX_VARINT;
use super::{AckType, Hidden, PacketType, Property, Publish, Qos, ReasonCode, Version};

/// A text has more than 65,535 bytes, or a packet more than 268,435,455: MQTT can't carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text or packet is too long for MQTT (1.5.4, 2.1.4); shorten it")]
pub struct TooLong;

/// The will of a [`ConnectOut`].
#[derive(Clone, Copy, Debug)]
pub struct WillOut<'a> {
    /// Where it goes.
    pub topic: TopicName<'a>,
    /// Its content.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is kept.
    pub retain: bool,
    /// Its properties.
    pub properties: &'a [Property<'a>],
}

/// What [`connect`] writes.
#[derive(Clone, Copy)]
pub struct ConnectOut<'a> {
    /// The version to speak.
    pub version: Version,
    /// Sets bit 7 of the level; 3.1.1 only.
    pub bridge: bool,
    /// Whether an older session is dropped.
    pub clean_start: bool,
    /// In seconds; 0 switches it off.
    pub keep_alive: u16,
    /// May be empty.
    pub client_id: &'a str,
    /// Part of the login.
    pub user_name: Option<&'a str>,
    /// Part of the login; in 3.1.1 it needs a user name.
    pub password: Option<&'a [u8]>,
    /// The will, if there is one.
    pub will: Option<WillOut<'a>>,
    /// Its properties.
    pub properties: &'a [Property<'a>],
}

/// Shows neither user name nor password.
impl fmt::Debug for ConnectOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOut")
            .field("version", &self.version)
            .field("bridge", &self.bridge)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

/// CONNECT (3.1).
pub fn connect(out: &mut Vec<u8>, connect: &ConnectOut<'_>) -> Result<(), TooLong> {
    let version = connect.version;
    let level = match version {
        Version::V311 if connect.bridge => 4 | BRIDGE,
        Version::V311 => 4,
        Version::V5 => 5,
    };
    let mut flags = 0;
    for (is_set, bit) in [
        (connect.clean_start, flag::CLEAN_START),
        (connect.user_name.is_some(), flag::USER_NAME),
        (connect.password.is_some(), flag::PASSWORD),
        (connect.will.is_some(), flag::WILL),
        (
            connect.will.is_some_and(|will| will.retain),
            flag::WILL_RETAIN,
        ),
    ] {
        if is_set {
            flags |= bit;
        }
    }
    if let Some(will) = connect.will {
        flags |= will.qos.bits() << flag::WILL_QOS_SHIFT;
    }
    packet(out, PacketType::Connect.first_byte(), |writer| {
        writer.text("MQTT");
        writer.u8(level);
        writer.u8(flags);
        writer.u16(connect.keep_alive);
        writer.properties(version, connect.properties.iter().copied());
        writer.text(connect.client_id);
        if let Some(will) = connect.will {
            writer.properties(version, will.properties.iter().copied());
            writer.topic(will.topic);
            writer.bytes(will.payload);
        }
        if let Some(user_name) = connect.user_name {
            writer.text(user_name);
        }
        if let Some(password) = connect.password {
            writer.bytes(password);
        }
    })
}

/// CONNACK (3.2). `reason` is a [`super::return_code`] in 3.1.1, a [`ReasonCode`] in 5.0.
pub fn connack<'p>(
    out: &mut Vec<u8>,
    version: Version,
    session_present: bool,
    reason: u8,
    properties: impl IntoIterator<Item = Property<'p>>,
) -> Result<(), TooLong> {
    packet(out, PacketType::Connack.first_byte(), |writer| {
        writer.flag(session_present);
        writer.u8(reason);
        writer.properties(version, properties);
    })
}

/// PUBLISH (3.3) with `properties` in the place of its own, which are not looked at: a message
/// whose alias was resolved gets its topic and a list without the alias. What has no packet id
/// is written as QoS 0, since QoS 1 and 2 need one; DUP is written for these only.
pub fn publish<'p>(
    out: &mut Vec<u8>,
    version: Version,
    publish: &Publish<'_>,
    properties: impl IntoIterator<Item = Property<'p>>,
) -> Result<(), TooLong> {
    let qos = match publish.packet_id {
        Some(_) => publish.qos,
        None => Qos::AtMostOnce,
    };
    let dup = publish.dup && qos != Qos::AtMostOnce;
    let flags = u8::from(dup) << 3 | qos.bits() << 1 | u8::from(publish.retain);
    packet(out, PacketType::Publish.first_byte() | flags, |writer| {
        writer.text(publish.topic.map_or("", TopicName::as_str));
        if let (Some(id), true) = (publish.packet_id, qos != Qos::AtMostOnce) {
            writer.u16(id.get());
        }
        writer.properties(version, properties);
        writer.raw(publish.payload);
    })
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7), in the shortest form. The reason is left out
/// in 3.1.1.
pub fn ack(
    out: &mut Vec<u8>,
    ack_type: AckType,
    version: Version,
    packet_id: NonZeroU16,
    reason: ReasonCode,
) {
    let first = ack_type.packet_type().first_byte();
    let [high, low] = packet_id.get().to_be_bytes();
    if version == Version::V311 || reason == ReasonCode::SUCCESS {
        out.extend([first, 2, high, low]);
    } else {
        out.extend([first, 3, high, low, reason.0]);
    }
}

/// SUBSCRIBE (3.8): for each request the filter as it is written and its options byte.
pub fn subscribe<'p, 't>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    properties: impl IntoIterator<Item = Property<'p>>,
    requests: impl IntoIterator<Item = (&'t str, u8)>,
) -> Result<(), TooLong> {
    packet(out, PacketType::Subscribe.first_byte(), |writer| {
        writer.u16(packet_id.get());
        writer.properties(version, properties);
        for (filter, options) in requests {
            writer.text(filter);
            writer.u8(options);
        }
    })
}

/// SUBACK (3.9) with one code for each filter.
pub fn suback<'p>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    properties: impl IntoIterator<Item = Property<'p>>,
    reasons: &[u8],
) -> Result<(), TooLong> {
    packet(out, PacketType::Suback.first_byte(), |writer| {
        writer.u16(packet_id.get());
        writer.properties(version, properties);
        writer.raw(reasons);
    })
}

/// UNSUBSCRIBE (3.10).
pub fn unsubscribe<'p, 't>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    properties: impl IntoIterator<Item = Property<'p>>,
    filters: impl IntoIterator<Item = &'t str>,
) -> Result<(), TooLong> {
    packet(out, PacketType::Unsubscribe.first_byte(), |writer| {
        writer.u16(packet_id.get());
        writer.properties(version, properties);
        for filter in filters {
            writer.text(filter);
        }
    })
}

/// UNSUBACK (3.11) with one code for each filter, which are left out in 3.1.1.
pub fn unsuback<'p>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    properties: impl IntoIterator<Item = Property<'p>>,
    reasons: &[u8],
) -> Result<(), TooLong> {
    packet(out, PacketType::Unsuback.first_byte(), |writer| {
        writer.u16(packet_id.get());
        if version == Version::V5 {
            writer.properties(version, properties);
            writer.raw(reasons);
        }
    })
}

/// PINGREQ (3.12).
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend([PacketType::Pingreq.first_byte(), 0]);
}

/// PINGRESP (3.13).
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend([PacketType::Pingresp.first_byte(), 0]);
}

/// DISCONNECT (3.14), in the shortest form. The reason is left out in 3.1.1, where only a client
/// may send it.
pub fn disconnect(out: &mut Vec<u8>, version: Version, reason: ReasonCode) {
    let first = PacketType::Disconnect.first_byte();
    if version == Version::V311 || reason == ReasonCode::SUCCESS {
        out.extend([first, 0]);
    } else {
        out.extend([first, 1, reason.0]);
    }
}

/// Appends a packet: its first byte, its length, and the body that `write` gives it.
fn packet(
    out: &mut Vec<u8>,
    first: u8,
    write: impl FnOnce(&mut Writer<'_>),
) -> Result<(), TooLong> {
    let start = out.len();
    let mut writer = Writer {
        out,
        too_long: false,
    };
    writer.u8(first);
    writer.counted(write);
    if writer.too_long {
        out.truncate(start);
        return Err(TooLong);
    }
    Ok(())
}

/// Writes the data types of section 1.5, and remembers if one was too long.
pub(super) struct Writer<'v> {
    out: &'v mut Vec<u8>,
    too_long: bool,
}

impl Writer<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        match u16::try_from(value.len()) {
            Ok(length) => {
                self.u16(length);
                self.raw(value);
            }
            Err(_) => self.too_long = true,
        }
    }

    pub(super) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// A variable byte integer in front of what `write` writes: its length.
    fn counted(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        write(self);
        let length = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        let end = self.out.len();
        self.varint(length);
        let prefix = self.out.len() - end;
        if let Some(written) = self.out.get_mut(start..) {
            written.rotate_right(prefix);
        }
    }

    fn varint(&mut self, value: u32) {
        if value > MAX_VARINT {
            self.too_long = true;
            return;
        }
        let mut left = value;
        loop {
            let [low, ..] = left.to_le_bytes();
            left >>= 7;
            if left == 0 {
                self.u8(low & 0x7f);
                return;
            }
            self.u8(low | 0x80);
        }
    }

    fn properties<'p>(
        &mut self,
        version: Version,
        properties: impl IntoIterator<Item = Property<'p>>,
    ) {
        if version == Version::V5 {
            self.counted(|writer| {
                for property in properties {
                    property.write(writer);
                }
            });
        }
    }

    // One method for each form of a property's value.

    pub(super) fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(super) fn nonzero_u16(&mut self, value: NonZeroU16) {
        self.u16(value.get());
    }

    pub(super) fn alias(&mut self, value: NonZeroU16) {
        self.u16(value.get());
    }

    pub(super) fn nonzero_u32(&mut self, value: NonZeroU32) {
        self.u32(value.get());
    }

    pub(super) fn nonzero_varint(&mut self, value: NonZeroU32) {
        self.varint(value.get());
    }

    pub(super) fn topic(&mut self, value: TopicName<'_>) {
        self.text(value.as_str());
    }

    pub(super) fn hidden(&mut self, value: Hidden<'_>) {
        self.bytes(value.0);
    }

    pub(super) fn pair(&mut self, (name, value): (&str, &str)) {
        self.text(name);
        self.text(value);
    }
}
