use std::io::Write;

use flytrap_common::geo::{FINE_STARTS, NEAR4};
use maxminddb_writer::paths::IpAddrWithMask;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::flatten::{Row, flatten};
use super::*;

fn country(code: &str) -> Country {
    code.parse().unwrap()
}

fn map(v4: Vec<Row<u32>>, v6: Vec<Row<u128>>) -> CountryMap {
    CountryMap {
        v4: flatten(v4),
        v6: flatten(v6),
        ..CountryMap::default()
    }
}

/// Where ranges begin, what lies right before, and the ends of the families.
fn boundaries(map: &CountryMap) -> Vec<IpAddr> {
    let v4 = map.v4.iter().flat_map(|(start, _)| {
        [*start, start.wrapping_sub(1), start.wrapping_add(1)]
            .map(|bits| IpAddr::V4(std::net::Ipv4Addr::from_bits(bits)))
    });
    let v6 = map.v6.iter().flat_map(|(start, _)| {
        let half = 1 << 64;
        [
            *start,
            start.wrapping_sub(1),
            start.wrapping_add(1),
            start.wrapping_add(half),
            start.wrapping_sub(half),
        ]
        .map(|bits| IpAddr::V6(std::net::Ipv6Addr::from_bits(bits)))
    });
    v4.chain(v6).collect()
}

#[track_caller]
fn assert_same(map: &CountryMap) {
    let tables = Tables::build(map).unwrap();
    for address in boundaries(map) {
        assert_eq!(tables.country(address), map.country(address), "{address}");
    }
}

/// Prefixes of every length in two /15s, so that slots, ends and what they inherit all come up.
fn rows4() -> impl Strategy<Value = Vec<Row<u32>>> {
    let row = (any::<u32>(), 0_u8..=32, 0_u8..5).prop_map(|(address, bits, country)| Row {
        start: (address & 0x8001_0f0f) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0),
        bits,
        country,
    });
    proptest::collection::vec(row, 0..60)
}

/// Prefixes of every length in `2000::/3`: bunches of them within as many bits as come, the last
/// addresses among them.
fn rows6() -> impl Strategy<Value = Vec<Row<u128>>> {
    let row = (any::<u128>(), 0_u8..=128, 0_u8..5);
    let bunch = (
        any::<u128>(),
        0_u32..=125,
        proptest::collection::vec(row, 0..40),
    );
    proptest::collection::vec(bunch, 1..6).prop_map(|bunches| {
        let last = (0x4000_u128 << 112) - 1;
        let mut rows = Vec::new();
        for (number, (at, spread, bunch)) in bunches.into_iter().enumerate() {
            let at = if number == 0 { u128::MAX } else { at };
            rows.extend(bunch.into_iter().map(|(address, bits, country)| {
                let address = (at & last) ^ (address >> (128 - spread).min(127));
                let kept = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Row {
                    start: (address & last | 0x2000 << 112) & kept,
                    bits,
                    country,
                }
            }));
        }
        rows
    })
}

proptest! {
    // Every case builds tables of 22 MiB.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tables_answer_as_the_list_does(v4 in rows4(), v6 in rows6()) {
        assert_same(&map(v4, v6));
    }
}

#[test]
fn an_empty_list_has_no_country_anywhere() {
    assert_same(&map(Vec::new(), Vec::new()));
    assert_eq!(Policy::default().drop_set(), [0; 4]);
}

/// A range for each of `count` places that lie `1 << apart` from each other, from `2400::` on.
fn apart(count: u128, apart: u32, bits: u8) -> Vec<Row<u128>> {
    let row = |number| Row {
        start: (0x2400 << 112) + (number << apart),
        bits,
        country: u8::try_from(number % 7 + 1).unwrap(),
    };
    (0..count).map(row).collect()
}

#[test]
fn dense_sparse_and_nested_regions_are_answered() {
    // All /48s in a row; /48s and single addresses far from each other.
    assert_same(&map(Vec::new(), apart(300_000, 80, 48)));
    assert_same(&map(Vec::new(), apart(2_000, 93, 48)));
    assert_same(&map(Vec::new(), apart(2_000, 101, 128)));
    // Dense ones inside of sparse ones, in a /16 with nothing else.
    let mut nested = apart(1 << 16, 80, 48);
    nested.extend(apart(40, 104, 30));
    nested.extend(apart(5_000, 64, 64));
    nested.extend(apart(3_000, 3, 125));
    assert_same(&map(Vec::new(), nested));
}

#[test]
fn a_region_of_many_changes_has_many_slots() {
    // Pairs of 15 changes in neighbouring pieces of 15 bits: nothing coarser leaves only ends.
    let mut v6 = vec![(0, 0)];
    for piece in (0..4_400_u128).flat_map(|pair| [pair * 14, pair * 14 + 1]) {
        let begin = (0x2400 << 32) + (piece << 15);
        let changes = (1..=15_u8).map(|number| {
            let key = begin + u128::from(number) * 37;
            (key << 80, number % 2 + 1)
        });
        v6.extend(changes);
    }
    v6.push((0x3000 << 112, 9));
    assert_same(&CountryMap {
        v4: vec![(0, 0)],
        v6,
        ..CountryMap::default()
    });
}

#[test]
fn slots_beside_each_other_share_an_end() {
    // Sixteen changes at the beginning of a /16, and then one in every eighth of it.
    let first = (0..=16).map(|number| number * 0x200);
    let then = (1..=6).map(|number| 0x2800 + number * 0x2000);
    let starts = first.chain(then).map(|offset| 0x0a00_0000 + offset);
    let ranges: Vec<(u32, u8)> = starts.zip(1..).collect();
    let table = build::table4(&ranges).unwrap();
    let ends = table.near.iter().filter(|near| near.values != [0; 16]);
    assert_eq!(ends.count(), 2);
    for (start, country) in ranges {
        assert_eq!(table.country(start.to_be_bytes()), country);
    }
}

#[test]
fn a_table_that_is_too_small_says_which() {
    let ends: Vec<_> = (0..u32::try_from(NEAR4 * 17).unwrap())
        .map(|number| (number << 11, u8::try_from(number % 2).unwrap() + 1))
        .collect();
    let error = build::table4(&ends).err().unwrap();
    assert!(error.to_string().contains("ends for IPv4"), "{error}");

    let error = Tables::build(&map(Vec::new(), apart(FINE_STARTS as u128, 1, 128))).unwrap_err();
    assert!(error.to_string().contains("inside of /48s"), "{error}");

    let error = Tables::build(&map(Vec::new(), apart(500_000, 104, 48))).unwrap_err();
    assert!(error.to_string().contains("IPv6"), "{error}");
}

/// A database with these networks and their records.
fn database(records: &[(&str, Value)]) -> Vec<u8> {
    let mut database = maxminddb_writer::Database::default();
    database.metadata.binary_format_major_version = 2;
    database.metadata.ip_version = maxminddb_writer::metadata::IpVersion::V6;
    database.metadata.database_type = "Test".to_owned();
    for (network, record) in records {
        let data = database.insert_value(record).unwrap();
        let network = match network.split_once('.') {
            // Where such a database has its IPv4 addresses.
            Some(_) => {
                let (address, bits) = network.split_once('/').unwrap();
                format!("::{address}/{}", 96 + bits.parse::<u8>().unwrap())
            }
            None => (*network).to_owned(),
        };
        let network: IpAddrWithMask = network.parse().unwrap();
        database.insert_node(network, data);
    }
    database.write_to(Vec::new()).unwrap()
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn read(bytes: &[u8]) -> Result<CountryMap, GeoError> {
    Database::read(file(bytes).path(), &mut |_| {})
}

#[test]
fn a_country_is_found_where_databases_keep_it() {
    let bytes = database(&[
        (
            "192.0.2.0/25",
            json!({"country": {"iso_code": "DE"}, "registered_country": {"iso_code": "US"}}),
        ),
        (
            "192.0.2.128/25",
            json!({"registered_country": {"iso_code": "US"}}),
        ),
        ("198.51.100.0/24", json!({"country_code": "FR"})),
        ("203.0.113.0/24", json!({"country": "GB"})),
        ("203.0.113.7/32", json!({"asn": "AS1"})),
        ("2400::/32", json!({"country": {"iso_code": "JP"}})),
        ("2400:0:7::/48", json!({"country": {"iso_code": "ZZ"}})),
        (
            "2400:0:9:1:8000::/65",
            json!({"country": {"iso_code": "xk"}}),
        ),
    ]);
    let map = read(&bytes).unwrap();
    assert_same(&map);
    for (address, expected) in [
        ("192.0.2.1", Some("DE")),
        ("192.0.2.200", Some("US")),
        ("198.51.100.1", Some("FR")),
        ("203.0.113.1", Some("GB")),
        ("203.0.113.7", None),
        ("192.0.3.0", None),
        ("2400::1", Some("JP")),
        ("2400:0:7::1", None),
        ("2400:0:9:1:8000::1", Some("XK")),
        ("2400:0:9:1:7fff::1", Some("JP")),
        ("2401::", None),
        ("2002:c000:0201::1", Some("DE")),
        ("2001:0:1:2:3:4:3fff:fd37", Some("US")),
        ("64:ff9b::192.0.2.1", Some("DE")),
        ("::ffff:192.0.2.1", Some("DE")),
        ("::192.0.2.1", None),
        ("fe80::1", None),
    ] {
        let found = map.country(address.parse().unwrap());
        assert_eq!(found, expected.map(country), "{address}");
    }
    let unknown: Vec<_> = map.unknown_codes().iter().collect();
    assert_eq!(unknown, [(&"ZZ".to_owned(), &1)]);
    assert_eq!(map.kind(), "Test");
}

#[test]
fn progress_ends_at_its_total() {
    let bytes = database(&[("192.0.2.0/24", json!({"country": "DE"}))]);
    let mut reports = Vec::new();
    Database::read(file(&bytes).path(), &mut |progress| reports.push(progress)).unwrap();
    let last = reports.last().unwrap();
    assert_eq!(last.done, last.total);
    assert!(reports.is_sorted_by_key(|progress| progress.done));
}

#[test]
fn what_is_no_country_database_is_refused() {
    let missing = std::path::Path::new("/nonexistent/countries.mmdb");
    let error = Database::read(missing, &mut |_| {}).unwrap_err();
    assert!(matches!(error, GeoError::Read { .. }), "{error}");
    for bytes in [&b""[..], b"not a database", &[0; 4096]] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, GeoError::Format { .. }), "{error}");
        assert!(error.help().contains(".mmdb"));
    }
    let error = read(&database(&[("192.0.2.0/24", json!({"asn": 1}))])).unwrap_err();
    assert!(error.to_string().contains("`Test`"), "{error}");
}

proptest! {
    #[test]
    fn a_damaged_database_is_an_error_or_a_map(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let mut bytes = database(&[
            ("192.0.2.0/24", json!({"country": {"iso_code": "DE"}})),
            ("2400::/12", json!({"country": {"iso_code": "JP"}})),
        ]);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        // A tree that refers to itself may have millions of networks; it ends all the same.
        if let Ok(map) = database::parse(bytes, &mut |_| {}) {
            prop_assert_eq!(map.v4[0].0, 0);
        }
    }
}
