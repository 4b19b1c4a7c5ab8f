//! Countries in the kernel: every answer against the database itself, the verdicts that follow
//! from it, and tables that are replaced while packets are looked up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use flytrap::geo::{self, Country, CountryMap, Database, Policy, Tables, Unknown};
use flytrap::kernel::{Blocklist, CountryScope, VerdictReason};
use flytrap_common::abi::GEO_PROGRAM;
use flytrap_common::geo::{Origin, origin};
use flytrap_tests::lab::frame::{SYN, tcp};
use flytrap_tests::lab::geo::{Row, database, rows};
use flytrap_tests::lab::numbers::Numbers;
use flytrap_tests::lab::rig::{Programs, Rig, XDP_DROP, XDP_PASS};
use maxminddb::{PathElement, Reader};

/// Reports every drop; `None` looks no country up.
fn blocking(countries: Option<CountryScope>) -> Rig {
    Rig::with(|settings| {
        settings.countries = countries;
        settings.event_sample = 1;
    })
}

fn country(programs: &Programs, address: IpAddr) -> Option<Country> {
    let (country, _) = programs.run(GEO_PROGRAM, &tcp(address, 1883, SYN), 1);
    Country::from_index(country.try_into().unwrap())
}

fn syn(source: &str, port: u16) -> Vec<u8> {
    tcp(source.parse().unwrap(), port, SYN)
}

fn code(text: &str) -> Country {
    text.parse().unwrap()
}

fn read(bytes: &[u8]) -> CountryMap {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Database::read(file.path(), &mut |_| {}).unwrap()
}

fn tables(rows: &[Row]) -> Tables {
    Tables::build(&read(&database(rows).unwrap())).unwrap()
}

fn row(start: &str, bits: u8, country: &str) -> Row {
    (start.parse().unwrap(), bits, code(country))
}

/// Around both ends of every row: the last address before, the first, the last, the first after.
fn boundaries(rows: &[Row]) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::new();
    for (start, bits, _) in rows {
        match start {
            IpAddr::V4(start) => {
                let start = start.to_bits();
                let last = start | u32::MAX.checked_shr((*bits).into()).unwrap_or(0);
                let around = [start.wrapping_sub(1), start, last, last.wrapping_add(1)];
                addresses.extend(around.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))));
            }
            IpAddr::V6(start) => {
                let start = start.to_bits();
                let last = start | u128::MAX.checked_shr((*bits).into()).unwrap_or(0);
                let around = [start.wrapping_sub(1), start, last, last.wrapping_add(1)];
                addresses.extend(around.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
            }
        }
    }
    addresses
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn database_list_and_kernel_agree_on_every_boundary() {
    let rows = rows(1, 500_000);
    let bytes = database(&rows).unwrap();
    let map = read(&bytes);
    assert_eq!(map.networks(), rows.len() as u64);
    let rig = blocking(None);
    rig.plane
        .set_countries(&Tables::build(&map).unwrap())
        .unwrap();
    let reader = Reader::from_source(bytes).unwrap();
    let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
    let (mut compared, mut with_country) = (0, 0);
    for address in boundaries(&rows) {
        if let IpAddr::V6(address) = address
            && !matches!(origin(address.octets()), Origin::Global(..))
        {
            continue;
        }
        let found: Option<&str> = reader.lookup(address).unwrap().decode_path(&path).unwrap();
        let expected = found.map(code);
        assert_eq!(map.country(address), expected, "{address}");
        assert_eq!(country(&rig.programs, address), expected, "{address}");
        compared += 1;
        with_country += u32::from(expected.is_some());
    }
    println!(
        "{compared} addresses, {with_country} with a country, {:?}",
        map.ranges()
    );
    assert!(compared > 1_500_000 && with_country > 1_000_000);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_inner_ipv4_address_decides_in_the_kernel_too() {
    let rig = blocking(None);
    let rows = [row("192.0.2.0", 24, "DE"), row("2400::", 12, "JP")];
    rig.plane.set_countries(&tables(&rows)).unwrap();
    for (address, expected) in [
        ("192.0.2.7", Some("DE")),
        ("192.0.3.7", None),
        ("2400::7", Some("JP")),
        ("2002:c000:207::1", Some("DE")),
        ("2002:c000:307::1", None),
        ("2001:0:2400:1:8000:ffff:3fff:fdf8", Some("DE")),
        ("64:ff9b::192.0.2.7", Some("DE")),
        ("64:ff9b:1::192.0.2.7", None),
        ("fe80::1", None),
        ("::", None),
        ("ffff::", None),
    ] {
        let expected = expected.map(code);
        assert_eq!(
            country(&rig.programs, address.parse().unwrap()),
            expected,
            "{address}"
        );
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_blocked_country_is_dropped_counted_and_reported() {
    let mut rig = blocking(Some(CountryScope::Host));
    let pass = VerdictReason::Pass;
    let drop = VerdictReason::DropCountry;
    let rows = [
        row("192.0.2.0", 24, "DE"),
        row("198.51.100.0", 24, "ZW"),
        row("2400::", 12, "JP"),
    ];
    let policy = |codes: &[&str], mode, unknown| {
        let countries = codes.iter().map(|text| code(text)).collect();
        let policy = Policy {
            mode,
            countries,
            unknown,
        };
        rig.plane.set_country_policy(&policy).unwrap();
    };
    // Without a table nobody has a country.
    policy(&["DE", "JP", "ZW"], geo::Mode::Deny, Unknown::Pass);
    rig.expect(&syn("192.0.2.7", 1883), XDP_PASS, pass);
    rig.plane.set_countries(&tables(&rows)).unwrap();
    for (source, port) in [("192.0.2.7", 1883), ("198.51.100.7", 22), ("2400::7", 1883)] {
        rig.expect(&syn(source, port), XDP_DROP, drop);
    }
    rig.expect(&syn("203.0.113.7", 1883), XDP_PASS, pass);
    rig.expect(&syn("fe80::7", 1883), XDP_PASS, pass);
    // The other way round.
    policy(&["DE"], geo::Mode::Allow, Unknown::Drop);
    rig.expect(&syn("192.0.2.7", 1883), XDP_PASS, pass);
    rig.expect(&syn("2002:c000:207::1", 1883), XDP_PASS, pass);
    for source in ["198.51.100.7", "2400::7", "203.0.113.7", "fe80::7"] {
        rig.expect(&syn(source, 1883), XDP_DROP, drop);
    }
    // The allowlist comes first.
    let allowed = ["198.51.100.0/24".parse().unwrap()];
    rig.plane.set_allowlist(&allowed).unwrap();
    rig.expect(
        &syn("198.51.100.7", 1883),
        XDP_PASS,
        VerdictReason::PassAllowlisted,
    );
    policy(&[], geo::Mode::Deny, Unknown::Pass);
    rig.expect(&syn("2400::7", 1883), XDP_PASS, pass);
    let event = rig.next_drop();
    assert_eq!(event.source, "192.0.2.7".parse::<IpAddr>().unwrap());
    assert_eq!(event.country, u16::from(code("DE").index()));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn countries_can_be_kept_from_guarded_ports_only_or_not_looked_at() {
    let all = Policy {
        mode: geo::Mode::Allow,
        countries: Vec::new(),
        unknown: Unknown::Drop,
    };
    let rig = blocking(Some(CountryScope::GuardedPorts));
    rig.plane.set_country_policy(&all).unwrap();
    rig.expect(
        &syn("192.0.2.7", 1883),
        XDP_DROP,
        VerdictReason::DropCountry,
    );
    rig.expect(&syn("192.0.2.7", 22), XDP_PASS, VerdictReason::Pass);
    rig.expect(&syn("2400::7", 1883), XDP_DROP, VerdictReason::DropCountry);
    rig.expect(&syn("2400::7", 22), XDP_PASS, VerdictReason::Pass);
    let rig = blocking(None);
    rig.plane.set_country_policy(&all).unwrap();
    rig.expect(&syn("192.0.2.7", 1883), XDP_PASS, VerdictReason::Pass);
}

/// Two databases that agree nowhere: each answer belongs to one of them, and both are seen.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn tables_are_replaced_without_a_wrong_answer() {
    let one = rows(2, 50_000);
    let other: Vec<Row> = rows(2, 50_000)
        .into_iter()
        .map(|(start, bits, country)| (start, bits, another(country)))
        .collect();
    let (first, second) = (tables(&one), tables(&other));
    let rig = blocking(None);
    rig.plane.set_countries(&first).unwrap();
    let done = AtomicBool::new(false);
    let lookups = AtomicU32::new(0);
    let lookup = &|seed| {
        let mut numbers = Numbers(seed);
        let mut seen = [0_u32; 2];
        while !done.load(Ordering::Relaxed) || seen.contains(&0) {
            let at = usize::try_from(numbers.below(one.len() as u64)).unwrap();
            let (address, _, old) = one[at];
            let found = country(&rig.programs, address).unwrap();
            let new = another(old);
            assert!(found == old || found == new, "{address}: {found}");
            seen[usize::from(found == new)] += 1;
            lookups.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let threads = [7, 8].map(|seed| scope.spawn(move || lookup(seed)));
        let mut swaps = 0;
        // So many, and on until both threads have looked up a lot.
        while swaps < 60 || lookups.load(Ordering::Relaxed) < 100_000 {
            if threads.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
            let next = if swaps % 2 == 0 { &second } else { &first };
            rig.plane.set_countries(next).unwrap();
            swaps += 1;
        }
        done.store(true, Ordering::Relaxed);
        println!(
            "{swaps} swaps under {} lookups",
            lookups.load(Ordering::Relaxed)
        );
    });
}

fn another(country: Country) -> Country {
    Country::from_index(country.index() % 200 + 1)
        .filter(|other| *other != country)
        .unwrap()
}

/// Shows how long it takes; `--release --nocapture`. Judges nothing: another load would.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn from_the_file_into_force() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&database(&rows(1, 500_000)).unwrap())
        .unwrap();
    let rig = blocking(None);
    for _ in 0..5 {
        let start = Instant::now();
        let map = Database::read(file.path(), &mut |_| {}).unwrap();
        let read = start.elapsed();
        let tables = Tables::build(&map).unwrap();
        let built = start.elapsed();
        rig.plane.set_countries(&tables).unwrap();
        let in_force = start.elapsed();
        println!(
            "{} networks: read {read:?}, build {:?}, put in force {:?}, all {in_force:?}",
            map.networks(),
            built.checked_sub(read).unwrap(),
            in_force.checked_sub(built).unwrap(),
        );
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_program_that_is_loaded_later_finds_the_tables() {
    let rig = blocking(Some(CountryScope::Host));
    rig.plane
        .set_countries(&tables(&[
            row("192.0.2.0", 24, "DE"),
            row("2400::", 16, "FR"),
        ]))
        .unwrap();
    let later = Programs::over(&rig.pin_dir).unwrap();
    assert_eq!(
        country(&rig.programs, "192.0.2.7".parse().unwrap()),
        Some(code("DE"))
    );
    for (address, expected) in [("192.0.2.7", "DE"), ("2400::7", "FR")] {
        assert_eq!(
            country(&later, address.parse().unwrap()),
            Some(code(expected))
        );
    }
}
