//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (3.8 to 3.11).

use std::num::NonZeroU16;

use crate::types::SubscriptionFilter;

use super::property::Place;
use super::reader::Reader;
use super::{Frame, Malformed, PacketLimits, PacketType, Properties, Qos, ReasonCode, Version};

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_HANDLING: u8 = 0b0011_0000;
const RESERVED: u8 = 0b1100_0000;

/// One subscription that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeRequest<'a> {
    /// The filter as it was written, with `$share` and group.
    pub text: &'a str,
    /// What it says.
    pub subscription: SubscriptionFilter<'a>,
    /// The options byte (3.8.3.1); in 3.1.1 the QoS.
    pub options: u8,
}

/// Asks for subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// What its SUBACK names.
    pub packet_id: NonZeroU16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// At least one, at most [`PacketLimits::filters`].
    pub requests: Vec<SubscribeRequest<'a>>,
}

impl<'a> Subscribe<'a> {
    /// # Errors
    /// The frame is no SUBSCRIBE or breaks a rule of section 3.8 or a limit.
    pub fn decode(
        frame: &Frame<'a>,
        version: Version,
        limits: &PacketLimits,
    ) -> Result<Self, Malformed> {
        frame.expect(PacketType::Subscribe)?;
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(&mut reader, version, Place::SUBSCRIBE)?;
        let mut requests = Vec::new();
        while !reader.is_empty() {
            limits.check_filters(requests.len())?;
            let text = reader.text()?;
            let subscription = limits.subscription(text)?;
            let options = reader.u8()?;
            check_options(options, version, subscription.group.is_some())?;
            requests.push(SubscribeRequest {
                text,
                subscription,
                options,
            });
        }
        if requests.is_empty() {
            return Err(Malformed::protocol(
                "a SUBSCRIBE holds at least one filter (3.8.3-2; 3.1.1: 3.8.3-3)",
            ));
        }
        Ok(Self {
            packet_id,
            properties,
            requests,
        })
    }
}

fn check_options(options: u8, version: Version, shared: bool) -> Result<(), Malformed> {
    match version {
        Version::V311 if options > QOS => {
            return Err(Malformed::packet(
                "the reserved bits of a requested QoS are 0 (3.1.1: 3.8.3-4)",
            ));
        }
        Version::V5 if options & RESERVED != 0 => {
            return Err(Malformed::packet(
                "the reserved bits of subscription options are 0 (3.8.3-5)",
            ));
        }
        Version::V5 if options & RETAIN_HANDLING == RETAIN_HANDLING => {
            return Err(Malformed::protocol(
                "the retain handling of a subscription is 0, 1 or 2 (3.8.3.1)",
            ));
        }
        Version::V5 if options & NO_LOCAL != 0 && shared => {
            return Err(Malformed::protocol(
                "a shared subscription does not have No Local (3.8.3-4)",
            ));
        }
        Version::V311 | Version::V5 => {}
    }
    if Qos::from_bits(options & QOS).is_none() {
        return Err(Malformed::protocol(
            "the QoS of a subscription is 0, 1 or 2 (3.8.3.1; 3.1.1: 3.8.3-4)",
        ));
    }
    Ok(())
}

/// Ends subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// What its UNSUBACK names.
    pub packet_id: NonZeroU16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// At least one, at most [`PacketLimits::filters`]; each is valid and stands as it was written.
    pub filters: Vec<&'a str>,
}

impl<'a> Unsubscribe<'a> {
    /// # Errors
    /// The frame is no UNSUBSCRIBE or breaks a rule of section 3.10 or a limit.
    pub fn decode(
        frame: &Frame<'a>,
        version: Version,
        limits: &PacketLimits,
    ) -> Result<Self, Malformed> {
        frame.expect(PacketType::Unsubscribe)?;
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(&mut reader, version, Place::UNSUBSCRIBE)?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            limits.check_filters(filters.len())?;
            let text = reader.text()?;
            limits.subscription(text)?;
            filters.push(text);
        }
        if filters.is_empty() {
            return Err(Malformed::protocol(
                "an UNSUBSCRIBE holds at least one filter (3.10.3-2)",
            ));
        }
        Ok(Self {
            packet_id,
            properties,
            filters,
        })
    }
}

/// Answers a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// The id of the SUBSCRIBE.
    pub packet_id: NonZeroU16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// One code for each filter, in order; at least one.
    pub reasons: &'a [u8],
}

impl<'a> Suback<'a> {
    /// # Errors
    /// The frame is no SUBACK or breaks a rule of section 3.9.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        frame.expect(PacketType::Suback)?;
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(&mut reader, version, Place::ACK)?;
        let reasons = reader.rest();
        let fits = |&code: &u8| match version {
            Version::V311 => matches!(code, 0x00..=0x02 | 0x80),
            Version::V5 => ReasonCode(code).fits_suback(),
        };
        if reasons.is_empty() || !reasons.iter().all(fits) {
            return Err(Malformed::protocol(
                "a SUBACK holds one of its codes for each filter (3.9.3-1, 3.9.3-2)",
            ));
        }
        Ok(Self {
            packet_id,
            properties,
            reasons,
        })
    }
}

/// Answers an UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// The id of the UNSUBSCRIBE.
    pub packet_id: NonZeroU16,
    /// Its properties.
    pub properties: Properties<'a>,
    /// One code for each filter, in order; none in 3.1.1.
    pub reasons: &'a [u8],
}

impl<'a> Unsuback<'a> {
    /// # Errors
    /// The frame is no UNSUBACK or breaks a rule of section 3.11.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, Malformed> {
        frame.expect(PacketType::Unsuback)?;
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        if version == Version::V311 {
            reader.finish()?;
        }
        let properties = Properties::read(&mut reader, version, Place::ACK)?;
        let reasons = reader.rest();
        let fits = |&code: &u8| ReasonCode(code).fits_unsuback();
        if version == Version::V5 && (reasons.is_empty() || !reasons.iter().all(fits)) {
            return Err(Malformed::protocol(
                "an UNSUBACK holds one of its codes for each filter (3.11.3-1, 3.11.3-2)",
            ));
        }
        Ok(Self {
            packet_id,
            properties,
            reasons,
        })
    }
}
