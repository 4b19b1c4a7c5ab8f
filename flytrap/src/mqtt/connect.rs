//! CONNECT (3.1) and CONNACK (3.2).

use std::fmt;

use crate::types::TopicName;

use super::property::Place;
use super::reader::Reader;
use super::{Frame, Malformed, PacketLimits, PacketType, Properties, Qos, ReasonCode, Version};

/// The bits of the connect flags (3.1.2.3), shared with the encoder.
pub(super) mod flag {
    pub(crate) const RESERVED: u8 = 1;
    pub(crate) const CLEAN_START: u8 = 1 << 1;
    pub(crate) const WILL: u8 = 1 << 2;
    pub(crate) const WILL_QOS_SHIFT: u8 = 3;
    pub(crate) const WILL_RETAIN: u8 = 1 << 5;
    pub(crate) const PASSWORD: u8 = 1 << 6;
    pub(crate) const USER_NAME: u8 = 1 << 7;
}

/// Set in the protocol level by bridges, a custom of brokers: the level is the rest.
pub(super) const BRIDGE: u8 = 0x80;

/// Why a CONNECT isn't served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Neither MQTT 3.1.1 nor 5.0: send [`ConnectError::answer`] and close.
    #[error("protocol level {level:#04x} is not served; use MQTT 3.1.1 or 5.0 (3.1.2-2)")]
    UnsupportedVersion {
        /// The level in the packet; with another protocol name than `MQTT` it may be any.
        level: u8,
    },
    /// The packet breaks a rule.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl ConnectError {
    /// The CONNACK that tells the client, in the form that fits the version it claims; none if
    /// it is to be closed without an answer.
    pub const fn answer(self) -> Option<&'static [u8]> {
        match self {
            Self::UnsupportedVersion { level } if level & !BRIDGE >= 5 => {
                Some(&[0x20, 0x03, 0x00, 0x84, 0x00])
            }
            Self::UnsupportedVersion { .. } => Some(&[0x20, 0x02, 0x00, 0x01]),
            Self::Malformed(_) => None,
        }
    }
}

/// The message that the broker publishes when the client is gone (3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where it goes.
    pub topic: TopicName<'a>,
    /// Its content.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is kept.
    pub retain: bool,
    /// Its properties.
    pub properties: Properties<'a>,
}

/// The first packet of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the connection speaks from here on.
    pub version: Version,
    /// Whether bit 7 of the level was set, which tells mosquitto that a bridge connects; 3.1.1
    /// only.
    pub bridge: bool,
    /// Whether an older session is dropped; in 3.1.1 "clean session".
    pub clean_start: bool,
    /// In seconds; 0 switches it off.
    pub keep_alive: u16,
    /// May be empty: then the broker is asked to make one up.
    pub client_id: &'a str,
    /// Part of the login.
    pub user_name: Option<&'a str>,
    /// Part of the login.
    pub password: Option<&'a [u8]>,
    /// The will, if there is one.
    pub will: Option<Will<'a>>,
    /// Its properties.
    pub properties: Properties<'a>,
}

/// Shows neither user name nor password.
impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
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

impl<'a> Connect<'a> {
    /// # Errors
    /// The frame is no CONNECT, asks for another version, or breaks a rule of section 3.1 or a
    /// limit.
    pub fn decode(frame: &Frame<'a>, limits: &PacketLimits) -> Result<Self, ConnectError> {
        frame.expect(PacketType::Connect)?;
        let mut reader = Reader::new(frame.body);
        let name = reader.text()?;
        let level = reader.u8()?;
        let (version, bridge) = match (name, level) {
            ("MQTT", 4) => (Version::V311, false),
            ("MQTT", 0x84) => (Version::V311, true),
            ("MQTT", 5) => (Version::V5, false),
            _ => return Err(ConnectError::UnsupportedVersion { level }),
        };
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let keep_alive = reader.u16()?;
        let properties = Properties::read(&mut reader, version, Place::CONNECT)?;
        let client_id = reader.text()?;
        let will = if flags & flag::WILL == 0 {
            None
        } else {
            Some(Will::read(&mut reader, version, flags, limits)?)
        };
        let mut user_name = None;
        if flags & flag::USER_NAME != 0 {
            user_name = Some(reader.text()?);
        }
        let mut password = None;
        if flags & flag::PASSWORD != 0 {
            password = Some(reader.bytes()?);
        }
        reader.finish()?;
        Ok(Self {
            version,
            bridge,
            clean_start: flags & flag::CLEAN_START != 0,
            keep_alive,
            client_id,
            user_name,
            password,
            will,
            properties,
        })
    }
}

impl<'a> Will<'a> {
    fn read(
        reader: &mut Reader<'a>,
        version: Version,
        flags: u8,
        limits: &PacketLimits,
    ) -> Result<Self, Malformed> {
        let properties = Properties::read(reader, version, Place::WILL)?;
        if let Some(response) = properties.response_topic() {
            limits.check_name(response)?;
        }
        Ok(Self {
            topic: limits.topic_name(reader.text()?)?,
            payload: reader.bytes()?,
            qos: will_qos(flags)?,
            retain: flags & flag::WILL_RETAIN != 0,
            properties,
        })
    }
}

fn will_qos(flags: u8) -> Result<Qos, Malformed> {
    Qos::from_bits(flags >> flag::WILL_QOS_SHIFT & 0b11).ok_or(Malformed::packet(
        "the QoS of a will is 0, 1 or 2 (3.1.2-12; 3.1.1: 3.1.2-14)",
    ))
}

fn check_flags(flags: u8, version: Version) -> Result<(), Malformed> {
    if flags & flag::RESERVED != 0 {
        return Err(Malformed::packet(
            "the reserved connect flag is 0 (3.1.2-3)",
        ));
    }
    let qos = will_qos(flags)?;
    if flags & flag::WILL == 0 && (qos != Qos::AtMostOnce || flags & flag::WILL_RETAIN != 0) {
        return Err(Malformed::packet(
            "without a will its QoS and retain flags are 0 (3.1.2-11, 3.1.2-13)",
        ));
    }
    let only_password = flags & (flag::USER_NAME | flag::PASSWORD) == flag::PASSWORD;
    if version == Version::V311 && only_password {
        return Err(Malformed::packet(
            "a password needs a user name in 3.1.1 (3.1.1: 3.1.2-22)",
        ));
    }
    Ok(())
}

/// Answers a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Whether the broker resumes a session.
    pub session_present: bool,
    /// 0 for success; else a [`super::return_code`] in 3.1.1, a [`ReasonCode`] in 5.0.
    pub reason: u8,
    /// Its properties.
    pub properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    /// # Errors
    /// The frame is no CONNACK or breaks a rule of section 3.2.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        frame.expect(PacketType::Connack)?;
        let mut reader = Reader::new(frame.body);
        let flags = reader.u8()?;
        if flags > 1 {
            return Err(Malformed::packet(
                "the reserved connect acknowledge flags are 0 (3.2.2-1)",
            ));
        }
        let session_present = flags == 1;
        let reason = reader.u8()?;
        let fits = match version {
            Version::V311 => reason <= super::return_code::NOT_AUTHORIZED,
            Version::V5 => ReasonCode(reason).fits_connack(),
        };
        if !fits {
            return Err(Malformed::protocol(
                "the code of a CONNACK is one of its table (3.2.2-8; 3.1.1: 3.2.2.3)",
            ));
        }
        if session_present && reason != 0 {
            return Err(Malformed::protocol(
                "a CONNACK that refuses has no session present (3.2.2-6; 3.1.1: 3.2.2-4)",
            ));
        }
        let properties = Properties::read(&mut reader, version, Place::CONNACK)?;
        reader.finish()?;
        Ok(Self {
            session_present,
            reason,
            properties,
        })
    }
}
