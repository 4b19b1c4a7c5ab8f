//! Whatever the encoders write, the decoder reads back.

use std::num::{NonZeroU16, NonZeroU32};

use proptest::prelude::*;

use super::*;
use crate::types::TopicName;

/// An owned property, so that strategies can make lists of them.
#[derive(Clone, Debug)]
struct Values {
    flag: bool,
    number: u32,
    text: String,
    topic: String,
    bytes: Vec<u8>,
    pairs: Vec<(String, String)>,
}

pub(super) fn text() -> impl Strategy<Value = String> {
    "[a-zü€😀\u{feff}\u{1}/+#]{0,12}"
}

/// At most 63 bytes and six levels: within [`LIMITS`].
pub(super) fn topic() -> impl Strategy<Value = String> {
    "[a-zü€ $]{1,6}(/[a-z😀]{0,2}){0,5}"
}

/// At most 41 bytes and six levels: within [`LIMITS`].
pub(super) fn filter() -> impl Strategy<Value = String> {
    "([$]share/[a-z]{1,3}/)?(([a-zü]{1,4}|[+])(/([a-z]{0,4}|[+])){0,4}(/#)?|#)"
}

pub(super) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

pub(super) fn packet_id() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|id| NonZeroU16::new(id).unwrap())
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

pub(super) fn qos() -> impl Strategy<Value = Qos> {
    (0..=2u8).prop_map(|bits| Qos::from_bits(bits).unwrap())
}

fn values() -> impl Strategy<Value = Values> {
    (
        any::<bool>(),
        1..=268_435_455u32,
        text(),
        topic(),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec((text(), text()), 0..4),
    )
        .prop_map(|(flag, number, text, topic, bytes, pairs)| Values {
            flag,
            number,
            text,
            topic,
            bytes,
            pairs,
        })
}

impl Values {
    fn topic(&self) -> TopicName<'_> {
        TopicName::new(&self.topic).unwrap()
    }

    fn u16(&self) -> NonZeroU16 {
        let [low, high, ..] = self.number.to_le_bytes();
        NonZeroU16::new(u16::from_le_bytes([low, high]) | 1).unwrap()
    }

    fn u32(&self) -> NonZeroU32 {
        NonZeroU32::new(self.number).unwrap()
    }

    fn user(&self) -> impl Iterator<Item = Property<'_>> {
        self.pairs
            .iter()
            .map(|(name, value)| Property::UserProperty((name, value)))
    }

    fn message(&self) -> Vec<Property<'_>> {
        [
            Property::PayloadFormatIndicator(self.flag),
            Property::MessageExpiryInterval(self.number),
            Property::ContentType(&self.text),
            Property::ResponseTopic(self.topic()),
            Property::CorrelationData(&self.bytes),
        ]
        .into_iter()
        .chain(self.user())
        .collect()
    }

    fn will(&self) -> Vec<Property<'_>> {
        let mut list = self.message();
        list.push(Property::WillDelayInterval(self.number));
        list
    }

    fn publish(&self) -> Vec<Property<'_>> {
        let mut list = self.message();
        list.push(Property::TopicAlias(self.u16()));
        list
    }

    fn connect(&self) -> Vec<Property<'_>> {
        [
            Property::SessionExpiryInterval(self.number),
            Property::AuthenticationMethod(&self.text),
            Property::AuthenticationData(Hidden(&self.bytes)),
            Property::RequestProblemInformation(self.flag),
            Property::RequestResponseInformation(self.flag),
            Property::ReceiveMaximum(self.u16()),
            Property::TopicAliasMaximum(self.u16().get()),
            Property::MaximumPacketSize(self.u32()),
        ]
        .into_iter()
        .chain(self.user())
        .collect()
    }

    fn connack(&self) -> Vec<Property<'_>> {
        [
            Property::AssignedClientIdentifier(&self.text),
            Property::ServerKeepAlive(self.u16().get()),
            Property::ResponseInformation(&self.text),
            Property::ServerReference(&self.text),
            Property::ReasonString(&self.text),
            Property::MaximumQos(self.flag),
            Property::RetainAvailable(self.flag),
            Property::WildcardSubscriptionAvailable(self.flag),
            Property::SubscriptionIdentifierAvailable(self.flag),
            Property::SharedSubscriptionAvailable(self.flag),
        ]
        .into_iter()
        .chain(self.user())
        .collect()
    }

    fn answer(&self) -> Vec<Property<'_>> {
        self.user()
            .chain([Property::ReasonString(&self.text)])
            .collect()
    }

    fn subscribe(&self) -> Vec<Property<'_>> {
        self.user()
            .chain([Property::SubscriptionIdentifier(self.u32())])
            .collect()
    }
}

/// What 3.1.1 can carry of a list: nothing.
fn carried<'p>(version: Version, list: &[Property<'p>]) -> Vec<Property<'p>> {
    match version {
        Version::V311 => Vec::new(),
        Version::V5 => list.to_vec(),
    }
}

fn list(properties: Properties<'_>) -> Vec<Property<'_>> {
    properties.iter().collect()
}

/// Decodes what was written behind other bytes as the packet type `kind`.
macro_rules! decode {
    ($kind:ident, $version:expr, $sender:expr, $out:expr) => {{
        prop_assert_eq!(&$out[..1], &[0xaa][..]);
        match read(&$out[1..], $version, $sender) {
            Ok(Packet::$kind(packet)) => packet,
            other => panic!("{other:?}"),
        }
    }};
}

proptest! {
    #[test]
    fn connect(
        version in version(),
        (bridge, clean_start, retain) in any::<(bool, bool, bool)>(),
        keep_alive: u16,
        client_id in text(),
        user_name in prop::option::of(text()),
        password in prop::option::of(bytes()),
        will in prop::option::of((topic(), bytes(), qos())),
        values in values(),
    ) {
        let bridge = bridge && version == Version::V311;
        let password = password.filter(|_| version == Version::V5 || user_name.is_some());
        let (properties, will_properties) = (values.connect(), values.will());
        let written = encode::ConnectOut {
            version,
            bridge,
            clean_start,
            keep_alive,
            client_id: &client_id,
            user_name: user_name.as_deref(),
            password: password.as_deref(),
            will: will.as_ref().map(|(topic, payload, qos)| encode::WillOut {
                topic: TopicName::new(topic).unwrap(),
                payload,
                qos: *qos,
                retain,
                properties: &will_properties,
            }),
            properties: &properties,
        };
        let mut out = vec![0xaa];
        encode::connect(&mut out, &written).unwrap();
        let connect = decode!(Connect, version, Sender::Client, out);
        prop_assert_eq!(connect.version, version);
        prop_assert_eq!(connect.bridge, bridge);
        prop_assert_eq!(connect.clean_start, clean_start);
        prop_assert_eq!(connect.keep_alive, keep_alive);
        prop_assert_eq!(connect.client_id, client_id.as_str());
        prop_assert_eq!(connect.user_name, user_name.as_deref());
        prop_assert_eq!(connect.password, password.as_deref());
        prop_assert_eq!(list(connect.properties), carried(version, &properties));
        prop_assert_eq!(connect.will.is_some(), will.is_some());
        if let (Some(read), Some((topic, payload, qos))) = (connect.will, &will) {
            prop_assert_eq!(read.topic.as_str(), topic.as_str());
            prop_assert_eq!(read.payload, payload.as_slice());
            prop_assert_eq!((read.qos, read.retain), (*qos, retain));
            prop_assert_eq!(list(read.properties), carried(version, &will_properties));
        }
    }

    #[test]
    fn connack(
        version in version(),
        session_present: bool,
        refuse: bool,
        values in values(),
    ) {
        let reason = match (refuse, version) {
            (false, _) => 0,
            (true, Version::V311) => return_code::NOT_AUTHORIZED,
            (true, Version::V5) => ReasonCode::NOT_AUTHORIZED.0,
        };
        let session_present = session_present && !refuse;
        let mut out = vec![0xaa];
        encode::connack(&mut out, version, session_present, reason, values.connack()).unwrap();
        let connack = decode!(Connack, version, Sender::Broker, out);
        prop_assert_eq!((connack.session_present, connack.reason), (session_present, reason));
        prop_assert_eq!(list(connack.properties), carried(version, &values.connack()));
    }

    #[test]
    fn publish(
        version in version(),
        (dup, retain, alias_only) in any::<(bool, bool, bool)>(),
        qos in qos(),
        id in packet_id(),
        topic in topic(),
        payload in bytes(),
        values in values(),
    ) {
        let written = Publish {
            dup: dup && qos != Qos::AtMostOnce,
            qos,
            retain,
            topic: (version == Version::V311 || !alias_only)
                .then(|| TopicName::new(&topic).unwrap()),
            packet_id: (qos != Qos::AtMostOnce).then_some(id),
            properties: Properties::default(),
            payload: &payload,
        };
        let mut out = vec![0xaa];
        encode::publish(&mut out, version, &written, values.publish()).unwrap();
        let publish = decode!(Publish, version, Sender::Client, out);
        prop_assert_eq!(list(publish.properties), carried(version, &values.publish()));
        prop_assert_eq!(Publish { properties: Properties::default(), ..publish }, written);

        // Re-encoded from what was decoded, it is the same packet.
        let mut again = vec![0xaa];
        encode::publish(&mut again, version, &publish, publish.properties.iter()).unwrap();
        prop_assert_eq!(again, out);
    }

    #[test]
    fn ack(version in version(), step in 0..4usize, id in packet_id(), failed: bool) {
        let (ack_type, failure) = [
            (AckType::Puback, ReasonCode::NOT_AUTHORIZED),
            (AckType::Pubrec, ReasonCode::QUOTA_EXCEEDED),
            (AckType::Pubrel, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
            (AckType::Pubcomp, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
        ][step];
        let reason = if failed { failure } else { ReasonCode::SUCCESS };
        let mut out = vec![0xaa];
        encode::ack(&mut out, ack_type, version, id, reason);
        let ack = decode!(Ack, version, Sender::Broker, out);
        prop_assert_eq!((ack.ack_type, ack.packet_id), (ack_type, id));
        let told = if version == Version::V5 { reason } else { ReasonCode::SUCCESS };
        prop_assert_eq!(ack.reason, told);
    }

    #[test]
    fn subscribe(
        version in version(),
        id in packet_id(),
        filters in prop::collection::vec((filter(), qos(), 0..=2u8), 1..=LIMITS.filters),
        values in values(),
    ) {
        let options = |qos: Qos, handling: u8| match version {
            Version::V311 => qos.bits(),
            Version::V5 => handling << 4 | 0b1000 | qos.bits(),
        };
        let requests: Vec<_> = filters
            .iter()
            .map(|(filter, qos, handling)| (filter.as_str(), options(*qos, *handling)))
            .collect();
        let mut out = vec![0xaa];
        encode::subscribe(&mut out, version, id, values.subscribe(), requests.iter().copied())
            .unwrap();
        let subscribe = decode!(Subscribe, version, Sender::Client, out);
        prop_assert_eq!(subscribe.packet_id, id);
        prop_assert_eq!(list(subscribe.properties), carried(version, &values.subscribe()));
        let read: Vec<_> = subscribe.requests.iter().map(|r| (r.text, r.options)).collect();
        prop_assert_eq!(read, requests);

        let mut out = vec![0xaa];
        let texts = filters.iter().map(|(filter, ..)| filter.as_str());
        encode::unsubscribe(&mut out, version, id, values.user(), texts.clone()).unwrap();
        let unsubscribe = decode!(Unsubscribe, version, Sender::Client, out);
        prop_assert_eq!(unsubscribe.packet_id, id);
        prop_assert_eq!(unsubscribe.filters, texts.collect::<Vec<_>>());
    }

    #[test]
    fn answers(version in version(), id in packet_id(), denied: bool, values in values()) {
        let failure = match version {
            Version::V311 => return_code::SUBSCRIBE_FAILURE,
            Version::V5 => ReasonCode::NOT_AUTHORIZED.0,
        };
        let reasons = [0, if denied { failure } else { 0 }];
        let mut out = vec![0xaa];
        encode::suback(&mut out, version, id, values.answer(), &reasons).unwrap();
        let suback = decode!(Suback, version, Sender::Broker, out);
        prop_assert_eq!((suback.packet_id, suback.reasons), (id, &reasons[..]));
        prop_assert_eq!(list(suback.properties), carried(version, &values.answer()));

        let mut out = vec![0xaa];
        encode::unsuback(&mut out, version, id, values.answer(), &reasons).unwrap();
        if version == Version::V311 || !denied {
            let unsuback = decode!(Unsuback, version, Sender::Broker, out);
            let told: &[u8] = if version == Version::V5 { &reasons } else { &[] };
            prop_assert_eq!((unsuback.packet_id, unsuback.reasons), (id, told));
        }
    }
}

#[test]
fn packets_without_content() {
    let mut out = Vec::new();
    encode::pingreq(&mut out);
    assert_eq!(read(&out, Version::V5, Sender::Client), Ok(Packet::Ping));
    out.clear();
    encode::pingresp(&mut out);
    assert_eq!(read(&out, Version::V5, Sender::Broker), Ok(Packet::Ping));
    for (version, reason, expected) in [
        (Version::V311, ReasonCode::SUCCESS, ReasonCode::SUCCESS),
        (Version::V311, ReasonCode(0x04), ReasonCode::SUCCESS),
        (Version::V5, ReasonCode::SUCCESS, ReasonCode::SUCCESS),
        (Version::V5, ReasonCode(0x04), ReasonCode(0x04)),
    ] {
        out.clear();
        encode::disconnect(&mut out, version, reason);
        let Ok(Packet::Disconnect(read)) = read(&out, version, Sender::Client) else {
            panic!("{out:x?}");
        };
        assert_eq!(read.reason, expected);
    }
}

/// The length of the length changes at 128, 16,384 and 2,097,152 bytes.
#[test]
fn lengths_at_their_borders() {
    let limits = PacketLimits {
        packet_bytes: usize::MAX,
        ..LIMITS
    };
    for size in [127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let payload = vec![7; size - 3];
        let written = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: Some(TopicName::new("a").unwrap()),
            packet_id: None,
            properties: Properties::default(),
            payload: &payload,
        };
        let mut out = Vec::new();
        encode::publish(&mut out, Version::V311, &written, []).unwrap();
        let frame = next_frame(&out, Sender::Client, &limits).unwrap().unwrap();
        assert_eq!((frame.body.len(), frame.raw.len()), (size, out.len()));
        let read = Publish::decode(&frame, Version::V311, Sender::Client, &limits);
        assert_eq!(read, Ok(written));
    }
}

#[test]
fn what_is_too_long_is_not_written() {
    let long = "x".repeat(65_536);
    let id = NonZeroU16::MIN;
    let mut out = vec![1, 2, 3];
    let written = encode::subscribe(&mut out, Version::V5, id, [], [("a", 0), (&long, 0)]);
    assert_eq!(written, Err(encode::TooLong));
    let property = Property::ReasonString(&long);
    let written = encode::suback(&mut out, Version::V5, id, [property], &[0]);
    assert_eq!(written, Err(encode::TooLong));
    assert_eq!(out, [1, 2, 3]);
}
