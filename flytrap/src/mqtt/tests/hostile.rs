//! Arbitrary and damaged bytes: never a panic, and the answer doesn't depend on how they arrive.

use proptest::prelude::*;

use super::*;

/// One good packet of each type, with the version it is for.
pub(super) const GOOD: &[(Version, Sender, &str)] = &[
    (
        Version::V311,
        Sender::Client,
        "10 'MQTT' 04 ee 000a 'me' 'gone/me' 'bye' 'user' 'secret'",
    ),
    (
        Version::V5,
        Sender::Client,
        "10 'MQTT' 05 c6 003c [ 11 00000e10 21 0014 27 00010000 15 'm' 16 'x' ] 'c' \
         [ 18 0000001e 08 'r' 26 'k' 'v' ] 't' 'p' 'u' 'pw'",
    ),
    (Version::V311, Sender::Broker, "20 01 00"),
    (
        Version::V5,
        Sender::Broker,
        "20 00 00 [ 12 'made' 13 001e 24 01 ]",
    ),
    (Version::V311, Sender::Client, "3d 'a/b' 1234 68656c6c6f"),
    (
        Version::V5,
        Sender::Broker,
        "32 'ü/x' 1234 [ 0b 01 26 'b' '2' 0b ff7f 08 'r' 23 0001 ] ff",
    ),
    (Version::V311, Sender::Client, "40 1234"),
    (Version::V5, Sender::Client, "50 1234 87 [ 1f 'no' ]"),
    (Version::V5, Sender::Broker, "62 1234 92"),
    (Version::V5, Sender::Broker, "70 1234 92 00"),
    (
        Version::V311,
        Sender::Client,
        "82 1234 'a/+' 02 '$share/g/b/#' 01",
    ),
    (
        Version::V5,
        Sender::Client,
        "82 1234 [ 0b 05 ] 'a' 2e '#' 00",
    ),
    (Version::V5, Sender::Broker, "90 1234 [ 26 'k' 'v' ] 00 87"),
    (
        Version::V5,
        Sender::Client,
        "a2 1234 [ 26 'k' 'v' ] 'a' 'b/+'",
    ),
    (Version::V5, Sender::Broker, "b0 1234 [ 1f 'x' ] 00 11"),
    (Version::V5, Sender::Client, "c0"),
    (Version::V5, Sender::Broker, "d0"),
    (Version::V5, Sender::Client, "e0 04 [ 11 00000000 ]"),
];

/// A place, a byte, and whether it is set, put in or the one there taken out.
pub(super) type Change = (prop::sample::Index, u8, u8);

pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6)
}

/// A good packet and who sent it, damaged.
pub(super) fn damaged(which: usize, changes: Vec<Change>) -> (Sender, Vec<u8>) {
    let (_, sender, notation) = GOOD[which];
    let mut bytes = packet(notation);
    for (index, value, kind) in changes {
        let at = index.index(bytes.len());
        match kind {
            0 => bytes[at] = value,
            1 => bytes.insert(at, value),
            _ if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => {}
        }
    }
    (sender, bytes)
}

/// Frames and decodes all of `bytes` in every way there is.
fn judge(bytes: &[u8]) {
    for sender in [Sender::Client, Sender::Broker] {
        let mut rest = bytes;
        while let Ok(Some(frame)) = next_frame(rest, sender, &LIMITS) {
            assert!(frame.raw.ends_with(frame.body));
            for &version in BOTH {
                let Ok(packet) = Packet::decode(&frame, version, sender) else {
                    continue;
                };
                assert!(format!("{packet:?}").len() > 3);
                // Bytes behind the frame play no part: a copy without them says the same.
                let alone = frame.raw.to_vec();
                assert_eq!(read(&alone, version, sender), Ok(packet));
            }
            rest = &rest[frame.raw.len()..];
        }
    }
}

/// However the bytes are split: a prefix gives nothing yet, or the answer of the whole.
fn arrive(bytes: &[u8], sender: Sender) {
    let whole = next_frame(bytes, sender, &LIMITS);
    let mut answered = false;
    for end in 0..=bytes.len() {
        match next_frame(&bytes[..end], sender, &LIMITS) {
            Ok(None) => assert!(!answered, "an answer is final"),
            answer => {
                assert_eq!(answer, whole);
                answered = true;
            }
        }
    }
    if let Ok(Some(frame)) = whole {
        let early = &bytes[..frame.raw.len() - 1];
        assert_eq!(next_frame(early, sender, &LIMITS), Ok(None));
    }
}

#[test]
fn good_packets_are_good() {
    for &(version, sender, notation) in GOOD {
        let bytes = packet(notation);
        assert!(read(&bytes, version, sender).is_ok(), "{notation}");
        arrive(&bytes, sender);
    }
}

/// A packet that is cut anywhere, with its length corrected, is refused or is a legal shorter one.
#[test]
fn truncated_packets() {
    for &(version, sender, notation) in GOOD {
        let whole = packet(notation);
        let body = next_frame(&whole, sender, &LIMITS).unwrap().unwrap().body;
        for end in 0..body.len() {
            let mut cut = vec![whole[0], u8::try_from(end).unwrap()];
            cut.extend(&body[..end]);
            judge(&cut);
            // Only these have a part that may be left out or be shorter.
            let may_be_shorter = matches!(whole[0] >> 4, 3..=10 | 11 | 14 | 15);
            if !may_be_shorter {
                assert!(read(&cut, version, sender).is_err(), "{notation} {end}");
            }
        }
    }
}

/// Every single byte of every good packet, set to every value.
#[test]
fn one_wrong_byte() {
    for &(_, sender, notation) in GOOD {
        let mut bytes = packet(notation);
        for at in 0..bytes.len() {
            let before = bytes[at];
            for value in 0..=255 {
                bytes[at] = value;
                judge(&bytes);
            }
            bytes[at] = before;
        }
        arrive(&bytes, sender);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        judge(&bytes);
        arrive(&bytes, Sender::Client);
        arrive(&bytes, Sender::Broker);
    }

    /// Random content behind a good header reaches the decoders, which random bytes seldom do.
    #[test]
    fn arbitrary_content(
        first in prop::sample::select(vec![
            0x10, 0x20, 0x30, 0x32, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xa2, 0xb0, 0xe0, 0xf0u8,
        ]),
        body in prop::collection::vec(prop_oneof![0..8u8, any::<u8>()], 0..100),
    ) {
        let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        judge(&bytes);
    }

    #[test]
    fn damaged_packets(
        which in 0..GOOD.len(),
        changes in changes(),
    ) {
        let (sender, bytes) = damaged(which, changes);
        judge(&bytes);
        arrive(&bytes, sender);
    }
}
