//! Country databases for tests and benchmarks: made up, of real size and shape.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use flytrap::geo::Country;
use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;

use super::numbers::Numbers;

/// A prefix and its country.
pub type Row = (IpAddr, u8, Country);

/// Some `count` prefixes of each family, disjoint and ascending within it. IPv4: most /16s belong
/// to one country, the others to many, some down to single addresses. IPv6: allocations of /32 to
/// /48 with few gaps, and some /64s that are divided further.
pub fn rows(seed: u64, count: usize) -> Vec<Row> {
    let mut numbers = Numbers(seed);
    let countries: Vec<Country> = Country::all().collect();
    let mut rows = ipv4(&mut numbers, &countries, count);
    rows.extend(ipv6(&mut numbers, &countries, count));
    rows
}

fn pick(numbers: &mut Numbers, countries: &[Country], before: Country, changes: u64) -> Country {
    if numbers.below(100) >= changes {
        return before;
    }
    let position = numbers.below(countries.len() as u64);
    let position = usize::try_from(position).unwrap_or(0);
    countries.get(position).copied().unwrap_or(before)
}

fn ipv4(numbers: &mut Numbers, countries: &[Country], count: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let Some(mut country) = countries.first().copied() else {
        return rows;
    };
    let mut at = 1_u64 << 24;
    let end = 224_u64 << 24;
    let mut busy = false;
    while rows.len() < count && at < end {
        if at.trailing_zeros() >= 16 {
            busy = numbers.below(5) == 0;
        }
        let bits = match numbers.below(1000) {
            _ if !busy => 16,
            0..5 => numbers.bits(25, 32),
            _ => numbers.bits(20, 24),
        };
        let bits = bits.max(32 - u8::try_from(at.trailing_zeros().min(32)).unwrap_or(32));
        country = pick(numbers, countries, country, 60);
        if numbers.below(20) != 0
            && let Ok(start) = u32::try_from(at)
        {
            rows.push((Ipv4Addr::from_bits(start).into(), bits, country));
        }
        at += 1 << (32 - bits);
    }
    rows
}

fn ipv6(numbers: &mut Numbers, countries: &[Country], count: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let Some(mut country) = countries.first().copied() else {
        return rows;
    };
    let mut at = 0x2400_u128 << 112;
    let end = 0x3fff_u128 << 112;
    while rows.len() < count && at < end {
        let divided = numbers.below(1000) == 0;
        let wanted = if divided { 64 } else { numbers.bits(32, 48) };
        let fitting = 128 - u8::try_from(at.trailing_zeros().min(127)).unwrap_or(127);
        let bits = wanted.max(fitting);
        if divided && bits == 64 {
            for part in 0..16 {
                country = pick(numbers, countries, country, 80);
                let start = Ipv6Addr::from_bits(at + (part << 60));
                rows.push((start.into(), 68, country));
            }
        } else {
            country = pick(numbers, countries, country, 50);
            if numbers.below(50) != 0 {
                rows.push((Ipv6Addr::from_bits(at).into(), bits, country));
            }
        }
        at += 1 << (128 - u32::from(bits));
    }
    rows
}

/// A file in `MaxMind`'s format with these rows; where they cover each other, the later ones win.
pub fn database(rows: &[Row]) -> Result<Vec<u8>> {
    let mut database = Database::default();
    database.metadata.binary_format_major_version = 2;
    database.metadata.ip_version = IpVersion::V6;
    database.metadata.database_type = "FlyTrap-Test-Country".into();
    let mut records = HashMap::new();
    for (start, bits, country) in rows {
        let record = match records.entry(*country) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let code = HashMap::from([("iso_code", country.code())]);
                *new.insert(database.insert_value(HashMap::from([("country", code)]))?)
            }
        };
        // IPv4 lies at ::/96.
        let (start, bits) = match start {
            IpAddr::V4(start) => (u128::from(start.to_bits()), bits + 96),
            IpAddr::V6(start) => (start.to_bits(), *bits),
        };
        let path = (0..bits).map(move |bit| start >> (127 - bit) & 1 != 0);
        database.insert_node(path, record);
    }
    database.write_to(Vec::new()).context("writing a database")
}
