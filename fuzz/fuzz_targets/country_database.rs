//! A country database of any bytes: it is refused, or says of every address what a lookup in the
//! file itself says.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use flytrap::geo::{Country, CountryMap, Database, GeoError};
use libfuzzer_sys::fuzz_target;
use maxminddb::{PathElement, Reader};

/// In such reports of progress. A tree that refers to itself is given up at millions of networks:
/// seconds that say nothing new.
const ENOUGH: u32 = 4;

fuzz_target!(|bytes: &[u8]| {
    let Some(Ok(map)) = read(bytes.to_vec()) else {
        return;
    };
    let reader = Reader::from_source(bytes.to_vec()).unwrap();
    let ipv6 = reader.metadata().ip_version == 6;
    for at in 0..bytes.len().min(64) {
        // Any addresses do, and the file's own bytes are such as it has.
        if let Some(chunk) = bytes[at..].first_chunk() {
            let address = IpAddr::V4(Ipv4Addr::from_octets(*chunk));
            assert_eq!(map.country(address), looked_up(&reader, address));
        }
        if ipv6 && let Some(chunk) = bytes[at..].first_chunk::<16>() {
            let mut octets = *chunk;
            // Where countries are, and no address of an IPv4 host is inside.
            octets[0] = 0x24 | octets[0] & 3;
            let address = IpAddr::V6(Ipv6Addr::from_octets(octets));
            assert_eq!(map.country(address), looked_up(&reader, address));
        }
    }
});

/// `None`: given up.
fn read(bytes: Vec<u8>) -> Option<Result<CountryMap, GeoError>> {
    let mut reports = 0;
    let read = || {
        Database::from_bytes(bytes, Path::new("fuzzed"), &mut |_| {
            reports += 1;
            if reports > ENOUGH {
                // Unlike a panic, this is told to nobody.
                resume_unwind(Box::new(()));
            }
        })
    };
    catch_unwind(AssertUnwindSafe(read)).ok()
}

fn looked_up(reader: &Reader<Vec<u8>>, address: IpAddr) -> Option<Country> {
    let [country, registered] = ["country", "registered_country"].map(PathElement::Key);
    let code = PathElement::Key("iso_code");
    let found = reader.lookup(address).unwrap();
    [
        &[country.clone(), code.clone()][..],
        &[registered, code],
        &[PathElement::Key("country_code")],
        &[country],
    ]
    .into_iter()
    .filter_map(|path| found.decode_path::<&str>(path).ok().flatten())
    .find(|code| !code.is_empty())?
    .parse()
    .ok()
}
