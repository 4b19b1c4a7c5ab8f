//! The properties of MQTT 5.0 (2.2.2).

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::types::TopicName;

use super::{Malformed, Version, encode::Writer, reader::Reader};

/// Where a property list stands. PUBLISH and DISCONNECT differ by direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u16);

impl Place {
    pub(super) const CONNECT: Self = Self(1);
    pub(super) const WILL: Self = Self(1 << 1);
    pub(super) const CONNACK: Self = Self(1 << 2);
    pub(super) const PUBLISH: Self = Self(1 << 3);
    /// A PUBLISH from the broker.
    pub(super) const DELIVERY: Self = Self(1 << 4);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK: all have the same.
    pub(super) const ACK: Self = Self(1 << 5);
    pub(super) const SUBSCRIBE: Self = Self(1 << 6);
    pub(super) const UNSUBSCRIBE: Self = Self(1 << 7);
    pub(super) const DISCONNECT: Self = Self(1 << 8);
    /// A DISCONNECT from the broker.
    pub(super) const DISMISSAL: Self = Self(1 << 9);

    /// The same packet type in the other direction, where that makes a difference.
    const fn reversed(self) -> Self {
        match self {
            Self::PUBLISH => Self::DELIVERY,
            Self::DELIVERY => Self::PUBLISH,
            Self::DISCONNECT => Self::DISMISSAL,
            Self::DISMISSAL => Self::DISCONNECT,
            other => other,
        }
    }
}

const MESSAGE: u16 = Place::PUBLISH.0 | Place::DELIVERY.0 | Place::WILL.0;
const HANDSHAKE: u16 = Place::CONNECT.0 | Place::CONNACK.0;
const ANY_DISCONNECT: u16 = Place::DISCONNECT.0 | Place::DISMISSAL.0;
const ANSWER: u16 = Place::CONNACK.0 | Place::ACK.0 | ANY_DISCONNECT;

/// Bytes that are part of a login: they are never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hidden<'a>(pub &'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Each line: identifier, name, type of the value, its form on the wire (a method of [`Reader`]
/// and of [`Writer`]), the places where it is allowed (table 2-4).
macro_rules! properties {
    ($($(#[$doc:meta])* $id:literal $name:ident($type:ty) $form:ident in $places:expr;)*) => {
        /// What a property is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum PropertyId {
            $($(#[$doc])* $name = $id,)*
        }

        impl PropertyId {
            fn from_wire(id: u32) -> Option<Self> {
                Some(match id {
                    $($id => Self::$name,)*
                    _ => return None,
                })
            }

            const fn places(self) -> u16 {
                match self {
                    $(Self::$name => $places,)*
                }
            }

            const fn bit(self) -> u64 {
                1 << self as u8
            }
        }

        /// One property with its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $($(#[$doc])* $name($type),)*
        }

        impl<'a> Property<'a> {
            /// What it is.
            pub const fn id(self) -> PropertyId {
                match self {
                    $(Self::$name(_) => PropertyId::$name,)*
                }
            }

            fn read_value(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
                Ok(match id {
                    $(PropertyId::$name => Self::$name(reader.$form()?),)*
                })
            }

            pub(super) fn write(self, writer: &mut Writer<'_>) {
                writer.u8(self.id() as u8);
                match self {
                    $(Self::$name(value) => writer.$form(value),)*
                }
            }
        }
    };
}

properties! {
    /// Whether the payload is UTF-8 (3.3.2.3.2).
    0x01 PayloadFormatIndicator(bool) flag in MESSAGE;
    /// Lifetime of the message, in seconds (3.3.2.3.3).
    0x02 MessageExpiryInterval(u32) u32 in MESSAGE;
    /// What the payload is (3.3.2.3.9).
    0x03 ContentType(&'a str) text in MESSAGE;
    /// Where the answer is to be published (3.3.2.3.5).
    0x08 ResponseTopic(TopicName<'a>) topic in MESSAGE;
    /// Names the request in its answer (3.3.2.3.6).
    0x09 CorrelationData(&'a [u8]) bytes in MESSAGE;
    /// The subscriber's own number of a subscription, to 268,435,455 (3.3.2.3.8, 3.8.2.1.2).
    0x0b SubscriptionIdentifier(NonZeroU32) nonzero_varint in Place::DELIVERY.0 | Place::SUBSCRIBE.0;
    /// How long the session outlives the connection, in seconds (3.1.2.11.2).
    0x11 SessionExpiryInterval(u32) u32 in HANDSHAKE | Place::DISCONNECT.0;
    /// The client id that the broker made up (3.2.2.3.7).
    0x12 AssignedClientIdentifier(&'a str) text in Place::CONNACK.0;
    /// The keep alive to use, in seconds (3.2.2.3.14).
    0x13 ServerKeepAlive(u16) u16 in Place::CONNACK.0;
    /// Name of the extended authentication (3.1.2.11.9).
    0x15 AuthenticationMethod(&'a str) text in HANDSHAKE;
    /// Content of the extended authentication (3.1.2.11.10).
    0x16 AuthenticationData(Hidden<'a>) hidden in HANDSHAKE;
    /// Whether answers may tell reasons in words (3.1.2.11.7).
    0x17 RequestProblemInformation(bool) flag in Place::CONNECT.0;
    /// How long the will waits after the connection is lost, in seconds (3.1.3.2.2).
    0x18 WillDelayInterval(u32) u32 in Place::WILL.0;
    /// Whether the client wants Response Information (3.1.2.11.6).
    0x19 RequestResponseInformation(bool) flag in Place::CONNECT.0;
    /// What a client can build its response topics from (3.2.2.3.15).
    0x1a ResponseInformation(&'a str) text in Place::CONNACK.0;
    /// Another broker to use (3.2.2.3.16).
    0x1c ServerReference(&'a str) text in Place::CONNACK.0 | ANY_DISCONNECT;
    /// The reason in words (3.2.2.3.9).
    0x1f ReasonString(&'a str) text in ANSWER;
    /// How many QoS 1 and 2 messages may be unacknowledged (3.1.2.11.3).
    0x21 ReceiveMaximum(NonZeroU16) nonzero_u16 in HANDSHAKE;
    /// The highest topic alias that is accepted (3.1.2.11.5).
    0x22 TopicAliasMaximum(u16) u16 in HANDSHAKE;
    /// The number that stands for the topic name (3.3.2.3.4).
    0x23 TopicAlias(NonZeroU16) alias in Place::PUBLISH.0 | Place::DELIVERY.0;
    /// Whether QoS 1 is supported; where it is sent at all, QoS 2 isn't (3.2.2.3.4).
    0x24 MaximumQos(bool) flag in Place::CONNACK.0;
    /// Whether retained messages are supported (3.2.2.3.5).
    0x25 RetainAvailable(bool) flag in Place::CONNACK.0;
    /// A name and a value that MQTT gives no meaning (3.1.2.11.8).
    0x26 UserProperty((&'a str, &'a str)) pair in u16::MAX;
    /// The largest packet that is accepted, in bytes (3.1.2.11.4).
    0x27 MaximumPacketSize(NonZeroU32) nonzero_u32 in HANDSHAKE;
    /// Whether wildcard subscriptions are supported (3.2.2.3.11).
    0x28 WildcardSubscriptionAvailable(bool) flag in Place::CONNACK.0;
    /// Whether subscription identifiers are supported (3.2.2.3.12).
    0x29 SubscriptionIdentifierAvailable(bool) flag in Place::CONNACK.0;
    /// Whether shared subscriptions are supported (3.2.2.3.13).
    0x2a SharedSubscriptionAvailable(bool) flag in Place::CONNACK.0;
}

impl<'a> Property<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let id = PropertyId::from_wire(reader.varint()?).ok_or(Malformed::packet(
            "a property has an identifier of table 2-4 (2.2.2.2)",
        ))?;
        Self::read_value(id, reader)
    }
}

/// The valid property list of one packet or will; empty in 3.1.1.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    raw: &'a [u8],
    /// One bit per [`PropertyId`] that is there.
    present: u64,
}

impl<'a> Properties<'a> {
    /// Reads the length and the list; nothing in 3.1.1.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        version: Version,
        place: Place,
    ) -> Result<Self, Malformed> {
        if version == Version::V311 {
            return Ok(Self::default());
        }
        let length = reader.varint()?;
        let raw = reader.take(length as usize)?;
        Self::check(raw, place)
    }

    fn check(raw: &'a [u8], place: Place) -> Result<Self, Malformed> {
        let mut reader = Reader::new(raw);
        let mut present = 0;
        while !reader.is_empty() {
            let id = Property::read(&mut reader)?.id();
            if id.places() & place.0 == 0 {
                return Err(if id.places() & place.reversed().0 == 0 {
                    Malformed::packet("a property stands only in its packet types (2.2.2.2)")
                } else {
                    Malformed::protocol(
                        "this property flows in the other direction only (3.3.4-6, 3.14.2-2)",
                    )
                });
            }
            let repeats = id == PropertyId::UserProperty
                || (id == PropertyId::SubscriptionIdentifier && place == Place::DELIVERY);
            if present & id.bit() != 0 && !repeats {
                return Err(Malformed::protocol(
                    "a property other than User Property stands once (2.2.2.2)",
                ));
            }
            present |= id.bit();
        }
        let list = Self { raw, present };
        if list.has(PropertyId::AuthenticationData) && !list.has(PropertyId::AuthenticationMethod) {
            return Err(Malformed::protocol(
                "Authentication Data needs an Authentication Method (3.1.2.11.10)",
            ));
        }
        Ok(list)
    }

    /// Whether one of this kind is there.
    pub const fn has(self, id: PropertyId) -> bool {
        self.present & id.bit() != 0
    }

    /// All of them, in the order received.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        let mut reader = Reader::new(self.raw);
        // The list was checked when it was received: this ends at its end.
        std::iter::from_fn(move || Property::read(&mut reader).ok())
    }

    fn find<T>(self, id: PropertyId, value: impl FnMut(Property<'a>) -> Option<T>) -> Option<T> {
        if self.has(id) {
            self.iter().find_map(value)
        } else {
            None
        }
    }
}

macro_rules! getters {
    ($($getter:ident: $name:ident -> $type:ty;)*) => {
        impl<'a> Properties<'a> {
            $(
                #[doc = concat!("The value of [`Property::", stringify!($name), "`].")]
                pub fn $getter(self) -> Option<$type> {
                    self.find(PropertyId::$name, |property| match property {
                        Property::$name(value) => Some(value),
                        _ => None,
                    })
                }
            )*
        }
    };
}

getters! {
    response_topic: ResponseTopic -> TopicName<'a>;
    session_expiry_interval: SessionExpiryInterval -> u32;
    assigned_client_identifier: AssignedClientIdentifier -> &'a str;
    server_keep_alive: ServerKeepAlive -> u16;
    authentication_method: AuthenticationMethod -> &'a str;
    will_delay_interval: WillDelayInterval -> u32;
    topic_alias: TopicAlias -> NonZeroU16;
    maximum_packet_size: MaximumPacketSize -> NonZeroU32;
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
