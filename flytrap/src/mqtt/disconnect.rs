//! DISCONNECT (3.14) and AUTH (3.15).

use super::property::Place;
use super::reader::Reader;
use super::{Frame, Malformed, PacketType, Properties, PropertyId, ReasonCode, Sender, Version};

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

/// A step of an extended authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Which step.
    pub reason: ReasonCode,
    /// Its properties.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    /// # Errors
    /// The frame is no AUTH, the version is 3.1.1, or a rule of section 3.15 is broken.
    pub fn decode(frame: &Frame<'a>, version: Version, sender: Sender) -> Result<Self, Malformed> {
        frame.expect(PacketType::Auth)?;
        if version == Version::V311 {
            return Err(Malformed::packet(
                "packet type 15 is reserved in 3.1.1 (3.1.1: 2.2.1)",
            ));
        }
        let mut reader = Reader::new(frame.body);
        let mut auth = Self {
            reason: ReasonCode::SUCCESS,
            properties: Properties::default(),
        };
        // 3.15.2.1: reason and properties are left out together or not at all.
        if !reader.is_empty() {
            auth.reason = ReasonCode(reader.u8()?);
            auth.properties = Properties::read(&mut reader, version, Place::AUTH)?;
            if !auth.properties.has(PropertyId::AuthenticationMethod) {
                return Err(Malformed::protocol(
                    "an AUTH names its Authentication Method (3.15.2.2.2)",
                ));
            }
        }
        reader.finish()?;
        if !auth.reason.fits_auth(sender) {
            return Err(Malformed::protocol(
                "the reason code is one of this sender's AUTH (3.15.2-1)",
            ));
        }
        Ok(auth)
    }
}
