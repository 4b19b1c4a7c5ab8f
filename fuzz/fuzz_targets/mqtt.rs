//! MQTT framing and codecs over any bytes. Bytes behind a frame play no part, a frame that isn't
//! whole yet gives no other answer later, and what was read is written again as it came.
#![no_main]

use flytrap::mqtt::{
    Ack, Connack, Connect, Disconnect, Frame, Malformed, PacketLimits, PacketType, Publish, Sender,
    Suback, Subscribe, Unsuback, Unsubscribe, Version, encode, next_frame,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: PacketLimits = PacketLimits {
    packet_bytes: 400,
    topic_bytes: 64,
    topic_levels: 8,
    filters: 4,
};

fuzz_target!(|bytes: &[u8]| {
    for sender in [Sender::Client, Sender::Broker] {
        arrive(bytes, sender);
        let mut rest = bytes;
        while let Ok(Some(frame)) = next_frame(rest, sender, &LIMITS) {
            for version in [Version::V311, Version::V5] {
                judge(&frame, version, sender);
            }
            rest = &rest[frame.raw.len()..];
        }
    }
});

/// However the bytes are split: a part gives nothing yet, or the answer of the whole.
fn arrive(bytes: &[u8], sender: Sender) {
    let whole = next_frame(bytes, sender, &LIMITS);
    for end in 0..bytes.len().min(16) {
        match next_frame(&bytes[..end], sender, &LIMITS) {
            Ok(None) => {}
            answer => assert_eq!(answer, whole),
        }
    }
    if let Ok(Some(frame)) = whole {
        let early = &bytes[..frame.raw.len() - 1];
        assert_eq!(next_frame(early, sender, &LIMITS), Ok(None));
    }
}

/// Reads, writes and compares.
fn judge(frame: &Frame<'_>, version: Version, sender: Sender) {
    let alone = frame.raw.to_vec();
    let copy = next_frame(&alone, sender, &LIMITS).unwrap().unwrap();
    assert_eq!(
        written(frame, version, sender),
        written(&copy, version, sender)
    );
    if let Ok(Some(again)) = written(frame, version, sender) {
        assert_eq!(again, frame.raw);
    }
}

/// The packet as the encoders write it; `None` of what they have a shorter form for.
fn written(frame: &Frame<'_>, version: Version, sender: Sender) -> Result<Option<Vec<u8>>, String> {
    let mut out = Vec::new();
    let refused = |malformed: Malformed| malformed.to_string();
    match frame.packet_type {
        PacketType::Connect => {
            // Speaks the version that it names itself.
            let read = Connect::decode(frame, &LIMITS).map_err(|error| error.to_string())?;
            let properties: Vec<_> = read.properties.iter().collect();
            let of_will = read.will.map(|will| will.properties.iter().collect());
            let of_will: Vec<_> = of_will.unwrap_or_default();
            let connect = encode::ConnectOut {
                version: read.version,
                bridge: read.bridge,
                clean_start: read.clean_start,
                keep_alive: read.keep_alive,
                client_id: read.client_id,
                user_name: read.user_name,
                password: read.password,
                will: read.will.map(|will| encode::WillOut {
                    topic: will.topic,
                    payload: will.payload,
                    qos: will.qos,
                    retain: will.retain,
                    properties: &of_will,
                }),
                properties: &properties,
            };
            encode::connect(&mut out, &connect).unwrap();
        }
        PacketType::Connack => {
            let read = Connack::decode(frame, version).map_err(refused)?;
            let (present, reason) = (read.session_present, read.reason);
            encode::connack(&mut out, version, present, reason, read.properties.iter()).unwrap();
        }
        PacketType::Publish => {
            let read = Publish::decode(frame, version, sender, &LIMITS).map_err(refused)?;
            encode::publish(&mut out, version, &read, read.properties.iter()).unwrap();
        }
        PacketType::Subscribe => {
            let read = Subscribe::decode(frame, version, &LIMITS).map_err(refused)?;
            let requests = read.requests.iter().map(|one| (one.text, one.options));
            let (id, properties) = (read.packet_id, read.properties.iter());
            encode::subscribe(&mut out, version, id, properties, requests).unwrap();
        }
        PacketType::Suback => {
            let read = Suback::decode(frame, version).map_err(refused)?;
            let (id, properties) = (read.packet_id, read.properties.iter());
            encode::suback(&mut out, version, id, properties, read.reasons).unwrap();
        }
        PacketType::Unsubscribe => {
            let read = Unsubscribe::decode(frame, version, &LIMITS).map_err(refused)?;
            let (id, properties) = (read.packet_id, read.properties.iter());
            encode::unsubscribe(&mut out, version, id, properties, read.filters).unwrap();
        }
        PacketType::Unsuback => {
            let read = Unsuback::decode(frame, version).map_err(refused)?;
            let (id, properties) = (read.packet_id, read.properties.iter());
            encode::unsuback(&mut out, version, id, properties, read.reasons).unwrap();
        }
        PacketType::Puback | PacketType::Pubrec | PacketType::Pubrel | PacketType::Pubcomp => {
            Ack::decode(frame, version).map_err(refused)?;
            return Ok(None);
        }
        PacketType::Disconnect => {
            Disconnect::decode(frame, version, sender).map_err(refused)?;
            return Ok(None);
        }
        PacketType::Pingreq => encode::pingreq(&mut out),
        PacketType::Pingresp => encode::pingresp(&mut out),
        // The gateway refuses every AUTH unread.
        PacketType::Auth => return Ok(None),
    }
    Ok(Some(out))
}
