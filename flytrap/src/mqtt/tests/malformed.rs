//! A packet for each way to break a rule, and its answer.

use super::*;

use Sender::{Broker, Client};

#[test]
fn every_row_of_the_table() {
    let mut rows = 0;
    for line in include_str!("malformed.txt").lines() {
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        let [who, notation, reason, rule] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not a row: {line}");
        };
        let (versions, sender) = who.split_once(' ').unwrap();
        let versions = match versions {
            "both" => BOTH,
            "3.1.1" => V311,
            "5.0" => V5,
            _ => panic!("no version: {line}"),
        };
        let sender = match sender.trim() {
            "client" => Client,
            "broker" => Broker,
            _ => panic!("no sender: {line}"),
        };
        let reason = ReasonCode(u8::from_str_radix(reason, 16).unwrap());
        let bytes = packet(notation);
        for &version in versions {
            let answer = next_frame(&bytes, sender, &LIMITS)
                .map_err(ConnectError::from)
                .and_then(|frame| {
                    Packet::decode(&frame.expect("complete"), version, sender).map(|_| ())
                });
            let Err(ConnectError::Malformed(found)) = answer else {
                panic!("{version:?} {line}: {answer:?}");
            };
            assert!(
                found.rule.contains(rule) && found.reason == reason,
                "{version:?} {line}: {found:?}"
            );
        }
        rows += 1;
    }
    assert!(rows > 150, "{rows}");
}

#[test]
fn fixed_header() {
    for (sender, notation, reason, rule) in [
        (Client, "00 00", 0x81, "type 0"),
        (Broker, "00", 0x81, "type 0"),
        // Each type that only the other side may send.
        (Broker, "10", 0x82, "direction"),
        (Client, "20", 0x82, "direction"),
        (Broker, "82", 0x82, "direction"),
        (Client, "90", 0x82, "direction"),
        (Broker, "a2", 0x82, "direction"),
        (Client, "b0", 0x82, "direction"),
        (Broker, "c0", 0x82, "direction"),
        (Client, "d0", 0x82, "direction"),
        // Flags of each type.
        (Client, "11", 0x81, "flags"),
        (Broker, "28", 0x81, "flags"),
        (Client, "42", 0x81, "flags"),
        (Client, "51", 0x81, "flags"),
        (Client, "60", 0x81, "flags"),
        (Client, "63", 0x81, "flags"),
        (Client, "72", 0x81, "flags"),
        (Client, "80", 0x81, "flags"),
        (Broker, "92", 0x81, "flags"),
        (Client, "a0", 0x81, "flags"),
        (Broker, "b2", 0x81, "flags"),
        (Client, "c1", 0x81, "flags"),
        (Broker, "d1", 0x81, "flags"),
        (Client, "e1", 0x81, "flags"),
        (Client, "f1", 0x81, "flags"),
        (Client, "36", 0x81, "QoS of a PUBLISH"),
        (Broker, "3f", 0x81, "QoS of a PUBLISH"),
        (Client, "38", 0x81, "DUP"),
        (Client, "39", 0x81, "DUP"),
        // Remaining length.
        (Client, "30 8000", 0x81, "fewest bytes"),
        (Client, "30 ff00", 0x81, "fewest bytes"),
        (Client, "30 818000", 0x81, "fewest bytes"),
        (Client, "30 80808000", 0x81, "fewest bytes"),
        (Client, "30 ffffffff", 0x81, "four bytes"),
        (Client, "30 80808080 01", 0x81, "four bytes"),
        (Client, "30 ffffff7f", 0x95, "larger"),
        // 1 + 2 + 4094 = 4097 bytes.
        (Client, "30 fe1f", 0x95, "larger"),
        (Client, "c0 01 00", 0x81, "no content"),
        (Client, "c0 01", 0x81, "no content"),
        (Broker, "d0 01 00", 0x81, "no content"),
    ] {
        let bytes = bytes(notation);
        let found = next_frame(&bytes, sender, &LIMITS);
        let Err(found) = found else {
            panic!("{notation}: {found:?}, expected {rule}");
        };
        assert!(
            found.rule.contains(rule) && found.reason == ReasonCode(reason),
            "{notation}: {found:?}, expected {reason:#x} {rule}"
        );
    }
    // 1 + 2 + 4093 = 4096 bytes: just small enough.
    assert_eq!(next_frame(&bytes("30 fd1f"), Client, &LIMITS), Ok(None));
}

#[test]
fn other_versions() {
    for (notation, level, answer) in [
        ("10 'MQIsdp' 03 02 003c 'c'", 3, "20 02 00 01"),
        ("10 'MQTT' 03 02 003c 'c'", 3, "20 02 00 01"),
        ("10 'MQTT' 00 02 003c 'c'", 0, "20 02 00 01"),
        ("10 'MQTT' 83 02 003c 'c'", 0x83, "20 02 00 01"),
        ("10 'mqtt' 04 02 003c 'c'", 4, "20 02 00 01"),
        ("10 'MQTT' 06 02 003c 00 'c'", 6, "20 03 00 84 00"),
        ("10 'MQTT' 85 02 003c 00 'c'", 0x85, "20 03 00 84 00"),
        // Nothing behind the level is looked at.
        ("10 'MQTT' ff", 0xff, "20 03 00 84 00"),
    ] {
        let sent = packet(notation);
        let frame = next_frame(&sent, Client, &LIMITS).unwrap().unwrap();
        let error = Connect::decode(&frame, &LIMITS).unwrap_err();
        assert_eq!(
            error,
            ConnectError::UnsupportedVersion { level },
            "{notation}"
        );
        assert_eq!(error.answer(), Some(&bytes(answer)[..]), "{notation}");
    }
}

/// Table 2-4 once more, written the other way round: each packet type with what it may hold.
#[test]
fn every_property_stands_only_in_its_packets() {
    const VALUES: &[(u8, &str)] = &[
        (0x01, "01"),
        (0x02, "00000001"),
        (0x03, "'x'"),
        (0x08, "'x'"),
        (0x09, "'x'"),
        (0x0b, "01"),
        (0x11, "00000001"),
        (0x12, "'x'"),
        (0x13, "0001"),
        (0x15, "'x'"),
        (0x16, "'x'"),
        (0x17, "01"),
        (0x18, "00000001"),
        (0x19, "01"),
        (0x1a, "'x'"),
        (0x1c, "'x'"),
        (0x1f, "'x'"),
        (0x21, "0001"),
        (0x22, "0001"),
        (0x23, "0001"),
        (0x24, "01"),
        (0x25, "01"),
        (0x26, "'x' 'y'"),
        (0x27, "00000001"),
        (0x28, "01"),
        (0x29, "01"),
        (0x2a, "01"),
    ];
    /// Sender, the packet with `@` for its properties, what may stand there.
    const PACKETS: &[(Sender, &str, &[u8])] = &[
        (
            Client,
            "10 'MQTT' 05 02 003c @ 'c'",
            &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
        ),
        (
            Client,
            "10 'MQTT' 05 06 003c 00 'c' @ 't' 'p'",
            &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
        ),
        (
            Broker,
            "20 00 00 @",
            &[
                0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
                0x28, 0x29, 0x2a,
            ],
        ),
        (
            Client,
            "30 'a' @",
            &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26],
        ),
        (
            Broker,
            "30 'a' @",
            &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26],
        ),
        (Client, "40 0001 00 @", &[0x1f, 0x26]),
        (Broker, "50 0001 00 @", &[0x1f, 0x26]),
        (Client, "62 0001 00 @", &[0x1f, 0x26]),
        (Broker, "70 0001 00 @", &[0x1f, 0x26]),
        (Client, "82 0001 @ 'a' 00", &[0x0b, 0x26]),
        (Broker, "90 0001 @ 00", &[0x1f, 0x26]),
        (Client, "a2 0001 @ 'a'", &[0x26]),
        (Broker, "b0 0001 @ 00", &[0x1f, 0x26]),
        (Client, "e0 00 @", &[0x11, 0x1c, 0x1f, 0x26]),
        (Broker, "e0 00 @", &[0x1c, 0x1f, 0x26]),
    ];

    for &(sender, template, allowed) in PACKETS {
        for &(id, value) in VALUES {
            // Authentication Data needs a method.
            let method = if id == 0x16 { "15 'm'" } else { "" };
            let list = format!("[ {id:02x} {value} {method} ]");
            let bytes = packet(&template.replace('@', &list));
            assert_eq!(
                read(&bytes, Version::V5, sender).is_ok(),
                allowed.contains(&id),
                "{template} {list}"
            );
        }
    }
}

/// Every decode function refuses what isn't its packet: nothing but CONNECT may come first.
#[test]
fn unexpected_packets() {
    let bytes = packet("c0");
    let frame = next_frame(&bytes, Client, &LIMITS).unwrap().unwrap();
    let version = Version::V5;
    let answers = [
        Connack::decode(&frame, version).err(),
        Publish::decode(&frame, version, Client, &LIMITS).err(),
        Ack::decode(&frame, version).err(),
        Subscribe::decode(&frame, version, &LIMITS).err(),
        Suback::decode(&frame, version).err(),
        Unsubscribe::decode(&frame, version, &LIMITS).err(),
        Unsuback::decode(&frame, version).err(),
        Disconnect::decode(&frame, version, Client).err(),
    ];
    for answer in answers {
        assert_eq!(answer.unwrap().reason, ReasonCode::PROTOCOL_ERROR);
    }
    assert!(Connect::decode(&frame, &LIMITS).is_err());
}

/// The reason codes of each packet, written out; every other value is refused.
#[test]
fn reason_codes() {
    let fits = |template: &str, sender| -> Vec<u8> {
        (0..=255)
            .filter(|code| {
                let bytes = packet(&template.replace('@', &format!("{code:02x}")));
                read(&bytes, Version::V5, sender).is_ok()
            })
            .collect()
    };
    let puback = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    assert_eq!(fits("40 0001 @", Client), puback);
    assert_eq!(fits("50 0001 @ 00", Broker), puback);
    assert_eq!(fits("62 0001 @", Client), [0x00, 0x92]);
    assert_eq!(fits("70 0001 @", Broker), [0x00, 0x92]);
    assert_eq!(
        fits("20 00 @ 00", Broker),
        [
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90,
            0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f
        ]
    );
    assert_eq!(
        fits("90 0001 00 00 @", Broker),
        [
            0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2
        ]
    );
    assert_eq!(
        fits("b0 0001 00 00 @", Broker),
        [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]
    );
    assert_eq!(
        fits("e0 @", Client),
        [
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99
        ]
    );
    assert_eq!(
        fits("e0 @", Broker),
        [
            0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93,
            0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1,
            0xa2
        ]
    );
}
