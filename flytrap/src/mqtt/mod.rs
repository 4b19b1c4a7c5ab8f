//! MQTT 3.1.1 and 5.0: framing, decoding and encoding. No IO, no policy, no state.
//!
//! [`next_frame`] cuts one packet out of a buffer; the `decode` function of its type then
//! checks every rule that can be checked by looking at that one packet. What the decoder
//! returns borrows from the buffer, so the original bytes ([`Frame::raw`]) can be forwarded
//! as they were judged. Only SUBSCRIBE and UNSUBSCRIBE allocate, and not more than
//! [`PacketLimits::filters`] entries.
//!
//! Rules that need memory of earlier packets (topic aliases, packet ids in flight, a second
//! CONNECT, the number of codes in a SUBACK) belong to the session. Two rules that the
//! specifications leave to the receiver are not applied: a payload that is declared to be
//! UTF-8 is not looked at (5.0, 3.3.2.3.2), and control characters in texts are accepted
//! (5.0, 1.5.4).
//!
//! Section numbers are those of MQTT 5.0 where they don't name a version.

mod ack;
mod connect;
mod disconnect;
pub mod encode;
mod frame;
mod property;
mod publish;
mod reader;
mod reason;
mod subscribe;
#[cfg(test)]
mod tests;

pub use ack::{Ack, AckType};
pub use connect::{Connack, Connect, ConnectError, Will};
pub use disconnect::Disconnect;
pub use frame::{Frame, PacketType, next_frame};
pub use property::{Hidden, Properties, Property, PropertyId};
pub use publish::Publish;
pub use reason::{ReasonCode, return_code};
pub use subscribe::{Suback, Subscribe, SubscribeRequest, Unsuback, Unsubscribe};

use std::fmt;

use crate::types::{BadTopic, SubscriptionFilter, TopicName};

/// The version that a connection speaks, fixed by its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// Quality of service of a message or a subscription (4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// QoS 0: not acknowledged.
    AtMostOnce,
    /// QoS 1: acknowledged by PUBACK.
    AtLeastOnce,
    /// QoS 2: acknowledged by PUBREC, PUBREL and PUBCOMP.
    ExactlyOnce,
}

impl Qos {
    /// The level of its two bits on the wire; none for 3.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// 0, 1 or 2.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// Which end of a connection wrote a packet: it decides what is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client wrote it.
    Client,
    /// A broker wrote it.
    Broker,
}

/// How large things may be, beyond what MQTT itself bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketLimits {
    /// The whole packet with its header, in bytes.
    pub packet_bytes: usize,
    /// A topic name or filter, in bytes; for `$share/group/filter` all of it.
    pub topic_bytes: usize,
    /// The levels of a topic name or filter.
    pub topic_levels: usize,
    /// The filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub filters: usize,
}

impl PacketLimits {
    fn exceeds(&self, text: &str, levels_of: &str) -> bool {
        let separators = levels_of.bytes().filter(|&byte| byte == b'/').count();
        text.len() > self.topic_bytes || separators >= self.topic_levels
    }

    fn check_name(&self, name: TopicName<'_>) -> Result<(), Malformed> {
        if self.exceeds(name.as_str(), name.as_str()) {
            return Err(Malformed {
                rule: "the topic name is longer or has more levels than this gateway accepts",
                reason: ReasonCode::TOPIC_NAME_INVALID,
            });
        }
        Ok(())
    }

    fn topic_name<'a>(&self, text: &'a str) -> Result<TopicName<'a>, Malformed> {
        let name = TopicName::new(text)
            .map_err(|bad| Malformed::topic(bad, ReasonCode::TOPIC_NAME_INVALID))?;
        self.check_name(name)?;
        Ok(name)
    }

    fn subscription<'a>(&self, text: &'a str) -> Result<SubscriptionFilter<'a>, Malformed> {
        let subscription = SubscriptionFilter::new(text)
            .map_err(|bad| Malformed::topic(bad, ReasonCode::TOPIC_FILTER_INVALID))?;
        if self.exceeds(text, subscription.filter.as_str()) {
            return Err(Malformed {
                rule: "the topic filter is longer or has more levels than this gateway accepts",
                reason: ReasonCode::TOPIC_FILTER_INVALID,
            });
        }
        Ok(subscription)
    }

    /// Called before one more filter is read.
    fn check_filters(&self, already: usize) -> Result<(), Malformed> {
        if already >= self.filters {
            return Err(Malformed {
                rule: "the packet holds more topic filters than this gateway accepts",
                reason: ReasonCode::QUOTA_EXCEEDED,
            });
        }
        Ok(())
    }
}

/// A packet broke a rule: the connection must be closed (4.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Malformed {
    /// The rule, with its section.
    pub rule: &'static str,
    /// What a v5 CONNACK or DISCONNECT answers before the close.
    pub reason: ReasonCode,
}

impl Malformed {
    /// The packet can't be parsed (0x81).
    const fn packet(rule: &'static str) -> Self {
        Self {
            rule,
            reason: ReasonCode::MALFORMED_PACKET,
        }
    }

    /// The packet can be parsed and isn't allowed (0x82).
    const fn protocol(rule: &'static str) -> Self {
        Self {
            rule,
            reason: ReasonCode::PROTOCOL_ERROR,
        }
    }

    const fn topic(bad: BadTopic, reason: ReasonCode) -> Self {
        let rule = match bad {
            BadTopic::Empty => "a topic has at least one character (4.7.3-1)",
            BadTopic::TooLong => "a topic has at most 65,535 bytes (4.7.3-3)",
            BadTopic::Null => "a topic does not contain U+0000 (4.7.3-2)",
            BadTopic::Wildcard => "a topic name does not contain + or # (3.3.2-2)",
            BadTopic::WildcardPlace => "a wildcard is a whole level, and # is the last (4.7.1)",
            BadTopic::Share => "a shared subscription is $share/GROUP/FILTER (4.8.2)",
        };
        Self { rule, reason }
    }
}
