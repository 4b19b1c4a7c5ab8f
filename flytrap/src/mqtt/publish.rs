//! PUBLISH (3.3), in both directions.

use std::num::NonZeroU16;

use crate::types::TopicName;

use super::frame::publish_qos;
use super::property::Place;
use super::reader::Reader;
use super::{
    Frame, Malformed, PacketLimits, PacketType, Properties, PropertyId, Qos, Sender, Version,
};

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// How it is acknowledged.
    pub qos: Qos,
    /// Whether the broker keeps it, or had kept it.
    pub retain: bool,
    /// Where it goes; none where only [`Properties::topic_alias`] tells.
    pub topic: Option<TopicName<'a>>,
    /// There for QoS 1 and 2.
    pub packet_id: Option<NonZeroU16>,
    /// Its properties.
    pub properties: Properties<'a>,
    /// Its content; empty with `retain` deletes the retained message.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Allocates nothing.
    ///
    /// # Errors
    /// The frame is no PUBLISH or breaks a rule of section 3.3 or a limit.
    pub fn decode(
        frame: &Frame<'a>,
        version: Version,
        sender: Sender,
        limits: &PacketLimits,
    ) -> Result<Self, Malformed> {
        const NO_TOPIC: Malformed =
            Malformed::protocol("a PUBLISH names its topic or a topic alias (3.3.2.3.4)");

        frame.expect(PacketType::Publish)?;
        let qos = publish_qos(frame.flags)?;
        let mut reader = Reader::new(frame.body);
        let name = reader.text()?;
        let topic = match (name, version) {
            ("", Version::V5) => None,
            _ => Some(limits.topic_name(name)?),
        };
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce | Qos::ExactlyOnce => Some(reader.packet_id()?),
        };
        let place = match sender {
            Sender::Client => Place::PUBLISH,
            Sender::Broker => Place::DELIVERY,
        };
        let properties = Properties::read(&mut reader, version, place)?;
        if topic.is_none() && !properties.has(PropertyId::TopicAlias) {
            return Err(NO_TOPIC);
        }
        if let Some(response) = properties.response_topic() {
            limits.check_name(response)?;
        }
        Ok(Self {
            dup: frame.flags & 0b1000 != 0,
            qos,
            retain: frame.flags & 0b0001 != 0,
            topic,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }
}
