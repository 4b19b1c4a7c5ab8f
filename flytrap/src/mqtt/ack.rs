//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7): the same form, four meanings.

use std::num::NonZeroU16;

use super::frame::UNEXPECTED;
use super::property::Place;
use super::reader::Reader;
use super::{Frame, Malformed, PacketType, Properties, ReasonCode, Version};

/// Which step of an acknowledgement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckType {
    /// Ends QoS 1.
    Puback,
    /// The message of QoS 2 has arrived.
    Pubrec,
    /// It may be let go.
    Pubrel,
    /// Ends QoS 2.
    Pubcomp,
}

impl AckType {
    fn of(packet_type: PacketType) -> Option<Self> {
        match packet_type {
            PacketType::Puback => Some(Self::Puback),
            PacketType::Pubrec => Some(Self::Pubrec),
            PacketType::Pubrel => Some(Self::Pubrel),
            PacketType::Pubcomp => Some(Self::Pubcomp),
            _ => None,
        }
    }

    pub(super) const fn packet_type(self) -> PacketType {
        match self {
            Self::Puback => PacketType::Puback,
            Self::Pubrec => PacketType::Pubrec,
            Self::Pubrel => PacketType::Pubrel,
            Self::Pubcomp => PacketType::Pubcomp,
        }
    }
}

/// One step of the acknowledgement of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which step.
    pub ack_type: AckType,
    /// The id of the PUBLISH.
    pub packet_id: NonZeroU16,
    /// Always success in 3.1.1.
    pub reason: ReasonCode,
    /// Its properties.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// # Errors
    /// The frame is no acknowledgement of a PUBLISH or breaks a rule of sections 3.4 to 3.7.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        let ack_type = AckType::of(frame.packet_type).ok_or(UNEXPECTED)?;
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let mut ack = Self {
            ack_type,
            packet_id,
            reason: ReasonCode::SUCCESS,
            properties: Properties::default(),
        };
        // The short forms of 5.0 leave out the reason and the properties, or these only.
        if version == Version::V5 && !reader.is_empty() {
            ack.reason = ReasonCode(reader.u8()?);
            if !reader.is_empty() {
                ack.properties = Properties::read(&mut reader, version, Place::ACK)?;
            }
        }
        reader.finish()?;
        let fits = match ack_type {
            AckType::Puback | AckType::Pubrec => ack.reason.fits_puback(),
            AckType::Pubrel | AckType::Pubcomp => ack.reason.fits_pubrel(),
        };
        if !fits {
            return Err(Malformed::protocol(
                "the reason code is one of this acknowledgement's (3.4.2-1, 3.5.2-1, 3.6.2-1, 3.7.2-1)",
            ));
        }
        Ok(ack)
    }
}
