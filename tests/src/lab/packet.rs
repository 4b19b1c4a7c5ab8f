//! MQTT packets by hand, right or wrong as a test needs them.
//!
//! Written from the specification and apart from the gateway's own codec, so that a mistake
//! there doesn't hide itself here.

/// 3.1.1 or 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

impl Version {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V311, Self::V5];

    /// What differs between the two: mostly the code of a refusal.
    pub fn pick(self, v311: u8, v5: u8) -> u8 {
        match self {
            Self::V311 => v311,
            Self::V5 => v5,
        }
    }

    fn level(self) -> u8 {
        self.pick(4, 5)
    }

    /// No properties: nothing in 3.1.1, a length of 0 in 5.
    fn no_properties(self) -> &'static [u8] {
        match self {
            Self::V311 => &[],
            Self::V5 => &[0],
        }
    }
}

/// What a CONNECT says.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// Protocol version.
    pub version: Version,
    /// Client id; may be empty.
    pub client_id: &'a str,
    /// User name.
    pub user: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Clean session, or clean start.
    pub clean: bool,
    /// Seconds.
    pub keep_alive: u16,
    /// Topic and payload of a QoS 0 will.
    pub will: Option<(&'a str, &'a [u8])>,
    /// Properties of version 5 without their length.
    pub properties: &'a [u8],
}

impl Connect<'_> {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        string(&mut body, b"MQTT");
        body.push(self.version.level());
        body.push(
            u8::from(self.user.is_some()) << 7
                | u8::from(self.password.is_some()) << 6
                | u8::from(self.will.is_some()) << 2
                | u8::from(self.clean) << 1,
        );
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            length(&mut body, self.properties.len());
            body.extend(self.properties);
        }
        string(&mut body, self.client_id.as_bytes());
        if let Some((topic, payload)) = self.will {
            body.extend(self.version.no_properties());
            string(&mut body, topic.as_bytes());
            string(&mut body, payload);
        }
        if let Some(user) = self.user {
            string(&mut body, user.as_bytes());
        }
        if let Some(password) = self.password {
            string(&mut body, password);
        }
        framed(0x10, &body)
    }
}

/// A PUBLISH; `id` is used from QoS 1.
pub fn publish(version: Version, topic: &str, payload: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, topic.as_bytes());
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend(version.no_properties());
    body.extend(payload);
    framed(0x30 | qos << 1, &body)
}

/// A SUBSCRIBE of filters, each with its options byte (the QoS, in 3.1.1).
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(version.no_properties());
    for (filter, options) in filters {
        string(&mut body, filter.as_bytes());
        body.push(*options);
    }
    framed(0x82, &body)
}

/// An UNSUBSCRIBE.
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(version.no_properties());
    for filter in filters {
        string(&mut body, filter.as_bytes());
    }
    framed(0xA2, &body)
}

/// PUBACK 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70: success in its short form.
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    framed(first, &id.to_be_bytes())
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// DISCONNECT, normal.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A fixed header before `body`.
pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    length(&mut packet, body.len());
    packet.extend(body);
    packet
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// A variable byte integer.
fn length(out: &mut Vec<u8>, mut value: usize) {
    loop {
        // Masked to seven bits.
        let digit = u8::try_from(value & 0x7F).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(digit);
            return;
        }
        out.push(digit | 0x80);
    }
}

/// One packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Type and flags.
    pub first: u8,
    /// All behind the fixed header.
    pub body: Vec<u8>,
}

/// The upper four bits of a packet's first byte, as 16 × the type.
pub mod kind {
    /// CONNACK
    pub const CONNACK: u8 = 0x20;
    /// PUBLISH
    pub const PUBLISH: u8 = 0x30;
    /// PUBACK
    pub const PUBACK: u8 = 0x40;
    /// PUBREC
    pub const PUBREC: u8 = 0x50;
    /// PUBREL
    pub const PUBREL: u8 = 0x60;
    /// PUBCOMP
    pub const PUBCOMP: u8 = 0x70;
    /// SUBACK
    pub const SUBACK: u8 = 0x90;
    /// UNSUBACK
    pub const UNSUBACK: u8 = 0xB0;
    /// PINGRESP
    pub const PINGRESP: u8 = 0xD0;
    /// DISCONNECT
    pub const DISCONNECT: u8 = 0xE0;
}

impl Packet {
    /// One of [`kind`].
    pub fn kind(&self) -> u8 {
        self.first & 0xF0
    }

    /// QoS of a PUBLISH.
    pub fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    /// The big-endian number at the start: a packet id, but for CONNACK and PUBLISH.
    pub fn id(&self) -> u16 {
        self.body
            .first_chunk()
            .map_or(0, |bytes| u16::from_be_bytes(*bytes))
    }

    /// Reason of a CONNACK.
    pub fn connack_reason(&self) -> Option<u8> {
        self.body.get(1).copied()
    }

    /// Reason of PUBACK, PUBREC, PUBREL and PUBCOMP; left out means success.
    pub fn ack_reason(&self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }

    /// Reason codes of SUBACK, and of UNSUBACK in version 5.
    pub fn reasons(&self, version: Version) -> Vec<u8> {
        let rest = self.body.get(2..).unwrap_or_default();
        behind_properties(version, rest).to_vec()
    }

    /// Reason of a DISCONNECT; left out means normal.
    pub fn disconnect_reason(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// Topic, packet id and payload of a PUBLISH.
    pub fn message(&self, version: Version) -> Option<(String, u16, Vec<u8>)> {
        let (size, rest) = self.body.split_first_chunk()?;
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        let (id, rest) = if self.qos() == 0 {
            (0, rest)
        } else {
            let (id, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*id), rest)
        };
        let payload = behind_properties(version, rest).to_vec();
        Some((String::from_utf8_lossy(topic).into_owned(), id, payload))
    }
}

/// Properties under 128 bytes only, which is all that comes here.
fn behind_properties(version: Version, bytes: &[u8]) -> &[u8] {
    match version {
        Version::V311 => bytes,
        Version::V5 => bytes
            .split_first()
            .and_then(|(size, rest)| rest.get(usize::from(*size)..))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_as_in_the_specifications_table() {
        for (value, bytes) in [
            (0, vec![0]),
            (127, vec![0x7F]),
            (128, vec![0x80, 1]),
            (16_383, vec![0xFF, 0x7F]),
            (2_097_152, vec![0x80, 0x80, 0x80, 1]),
        ] {
            let mut out = Vec::new();
            length(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_publish_is_read_as_it_was_written() {
        for version in Version::ALL {
            for qos in 0..3 {
                let bytes = publish(version, "a/b", b"hi", qos, 7);
                let packet = Packet {
                    first: bytes[0],
                    body: bytes[2..].to_vec(),
                };
                let id = if qos == 0 { 0 } else { 7 };
                assert_eq!(
                    packet.message(version),
                    Some(("a/b".into(), id, b"hi".to_vec()))
                );
            }
        }
    }
}
