//! DISCONNECT (3.14).

use super::property::Place;
use super::reader::Reader;
use super::{Frame, Malformed, PacketType, Properties, ReasonCode, Sender, Version};

/// The last packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; always 0x00 in 3.1.1.
    pub reason: ReasonCode,
    /// Its properties.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// # Errors
    /// The frame is no DISCONNECT, comes from a 3.1.1 broker, or breaks a rule of section 3.14.
    pub fn decode(frame: &Frame<'a>, version: Version, sender: Sender) -> Result<Self, Malformed> {
        frame.expect(PacketType::Disconnect)?;
        if version == Version::V311 && sender == Sender::Broker {
            return Err(Malformed::protocol(
                "a broker sends no DISCONNECT in 3.1.1 (3.1.1: 2.2.1)",
            ));
        }
        let mut reader = Reader::new(frame.body);
        let mut disconnect = Self {
            reason: ReasonCode::SUCCESS,
            properties: Properties::default(),
        };
        // The short forms of 5.0 leave out the reason and the properties, or these only.
        if version == Version::V5 && !reader.is_empty() {
            disconnect.reason = ReasonCode(reader.u8()?);
            if !reader.is_empty() {
                let place = match sender {
                    Sender::Client => Place::DISCONNECT,
                    Sender::Broker => Place::DISMISSAL,
                };
                disconnect.properties = Properties::read(&mut reader, version, place)?;
            }
        }
        reader.finish()?;
        if !disconnect.reason.fits_disconnect(sender) {
            return Err(Malformed::protocol(
                "the reason code is one of this sender's DISCONNECT (3.14.2-1)",
            ));
        }
        Ok(disconnect)
    }
}
