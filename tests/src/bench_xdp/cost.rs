//! Nanoseconds for each packet, by `BPF_PROG_TEST_RUN`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flytrap::geo::{Country, Policy, Tables};
use flytrap::kernel::{CountryScope, Limit, Limits, VerdictReason};
use flytrap::types::Prefix;
use flytrap_common::abi::{EMPTY_PROGRAM, GEO_PROGRAM, PROGRAM};
use flytrap_common::packet::EXTENSION_HEADERS;

use super::case::{Case, table};
use super::report::{Figure, Requirement, Table};
use super::restore::{self, Restorer};
use super::rig::{SOURCES, ban, nanoseconds, rig};
use super::sources::{banned4, banned6, in_ranges, random4, random6};
use super::spoofer::{Spoofer, packet};
use super::xdp_filter::XdpFilter;
use super::{SENDER_CPU, pin_to};
use crate::lab::frame::{IPV6, SYN, TCP, destination_options, ethernet, ipv6, segment, tcp};
use crate::lab::geo::Row;
use crate::lab::numbers::Numbers;
use crate::lab::rig::{Rig, XDP_DROP, XDP_PASS, XDP_TX};

/// The bans of a busy site, and as many as fit.
const FEW: u32 = 1_000;
/// All of [`flytrap_common::abi::EXACT_BANS`].
const MANY: u32 = 1 << 20;
/// New connections each second, and at once: more than the benchmark opens.
const PLENTY: u32 = 1_000_000;
const GUARDED: u16 = 1_883;

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));

const fn requirement(figure: &'static str, to: &'static str, must: f64, aim: f64) -> Requirement {
    Requirement {
        figure,
        to: Some(to),
        must: Some(must),
        aim: Some(aim),
    }
}

/// What the figures must be.
pub const REQUIREMENTS: &[Requirement] = &[
    requirement("ban-hit", "xdp-filter", 1.5, 1.2),
    requirement("full-v4", "empty", 9.0, 7.0),
    requirement("full-v6", "empty", 10.0, 8.0),
    requirement("country-v4", "empty", 3.0, 2.0),
    requirement("country-v6", "empty", 3.0, 2.0),
];

/// What is measured.
struct Programs {
    few: Rig,
    many: Rig,
    /// Also with countries and limits.
    full: Rig,
    /// With a limit that lets nobody in.
    tight: Rig,
    /// With a total limit that lets nobody in, and SYN cookies.
    answering: Rig,
    /// In a country that is kept out.
    kept_out: IpAddr,
    empty4: Spoofer,
    empty6: Spoofer,
    miss4: Spoofer,
    miss6: Spoofer,
    hit4: Spoofer,
    full4: Spoofer,
    full6: Spoofer,
    country4: Spoofer,
    country6: Spoofer,
    restored4: Restorer,
    restored6: Restorer,
    answered4: Restorer,
    answered6: Restorer,
    peer: Option<XdpFilter>,
}

/// Rows of a country database, and its tables.
pub struct Countries<'a> {
    /// What the tables are made of.
    pub rows: &'a [Row],
    /// For the kernel.
    pub tables: &'a Tables,
}

impl Programs {
    fn load(object: &Path, countries: &Countries<'_>) -> Result<Self> {
        let banning = |rig: Rig, bans| {
            ban(
                &rig,
                (0..bans).map(|each| Prefix::covering(banned4(each).into(), 32)),
            )?;
            ban(
                &rig,
                (0..bans).map(|each| Prefix::covering(banned6(each).into(), 64)),
            )?;
            anyhow::Ok(rig)
        };
        let few = banning(rig(|_| ())?, FEW)?;
        let many = banning(rig(|_| ())?, MANY)?;
        let kept_out: Country = "XK".parse()?;
        let limited = |source, total| Limits {
            source: Limit::per_second(source, source),
            total: Limit::per_second(total, total),
        };
        let full = rig(|settings| {
            settings.countries = Some(CountryScope::Host);
            settings.limits = limited(PLENTY, PLENTY);
        })?;
        full.plane.set_countries(countries.tables)?;
        full.plane.set_country_policy(&Policy {
            countries: vec![kept_out],
            ..Policy::default()
        })?;
        let full = banning(full, MANY)?;
        let tight = rig(|settings| {
            settings.limits = limited(1, PLENTY);
        })?;

        let random4: Vec<IpAddr> = Numbers(4).take(SOURCES).map(random4).collect();
        let random6: Vec<IpAddr> = Numbers(6).take(SOURCES).map(random6).collect();
        let banned: Vec<IpAddr> = Numbers(5)
            .take(SOURCES)
            .filter_map(|number| Some(banned4(u32::try_from(number >> 44).ok()?).into()))
            .collect();
        let ranges4 = in_ranges(countries.rows, true, kept_out);
        let ranges6 = in_ranges(countries.rows, false, kept_out);
        let mut rows = countries.rows.iter();
        let (kept_out, ..) = rows
            .find(|(start, _, country)| start.is_ipv4() && *country == kept_out)
            .context("no row of the country that is kept out")?;
        let spoofer = |sources: &[IpAddr], rig: &Rig, name| {
            Spoofer::in_front_of(object, sources, rig.programs.named(name)?)
        };
        let answering = restore::answering()?;
        let restorer = |from: IpAddr, rig: &Rig, name| {
            Restorer::in_front_of(object, restore::syn(from), rig.programs.named(name)?)
        };
        let listed: Vec<Ipv4Addr> = (0..FEW).map(banned4).collect();
        Ok(Self {
            empty4: spoofer(&random4, &few, EMPTY_PROGRAM)?,
            empty6: spoofer(&random6, &few, EMPTY_PROGRAM)?,
            miss4: spoofer(&random4, &many, PROGRAM)?,
            miss6: spoofer(&random6, &many, PROGRAM)?,
            hit4: spoofer(&banned, &many, PROGRAM)?,
            full4: spoofer(&ranges4, &full, PROGRAM)?,
            full6: spoofer(&ranges6, &full, PROGRAM)?,
            country4: spoofer(&ranges4, &full, GEO_PROGRAM)?,
            country6: spoofer(&ranges6, &full, GEO_PROGRAM)?,
            restored4: restorer(ANY4, &few, EMPTY_PROGRAM)?,
            restored6: restorer(ANY6, &few, EMPTY_PROGRAM)?,
            answered4: restorer(ANY4, &answering, PROGRAM)?,
            answered6: restorer(ANY6, &answering, PROGRAM)?,
            answering,
            kept_out: *kept_out,
            few,
            many,
            full,
            tight,
            peer: XdpFilter::new(&listed)?,
        })
    }
}

/// Measures; `object` is the benchmark's own programs.
pub fn measure(object: &Path, countries: &Countries<'_>, rounds: u32) -> Result<Table> {
    pin_to(SENDER_CPU, None)?;
    let programs = Programs::load(object, countries)?;
    let mut cases = cases(&programs);
    cases.extend(more_cases(&programs));
    cases.extend(answers(&programs));
    cases.extend(programs.peer.as_ref().map(beside));
    for _ in 0..rounds {
        for case in &mut cases {
            case.round()?;
        }
    }
    let mut table = table(&cases);
    if programs.peer.is_none() {
        let figure = Figure::missing("xdp-filter", "xdp-filter, drop by address", "not installed");
        table.figures.push(figure);
    }
    Ok(table)
}

fn beside(peer: &XdpFilter) -> Case<'_> {
    let frame = packet(banned4(7).into());
    let run = move |repeat| {
        let before = peer.dropped()?;
        let result = nanoseconds(peer.program()?, &frame, XDP_DROP, repeat)?;
        let seen = peer.dropped()? - before;
        ensure!(
            seen == u64::from(repeat),
            "xdp-filter counted {seen} of {repeat} packets"
        );
        Ok(result)
    };
    let what = "xdp-filter, drop by address: the same packet and bans";
    Case::new("xdp-filter", what, Box::new(run))
}

fn cases(all: &Programs) -> Vec<Case<'_>> {
    let (any4, any6) = (ANY4, ANY6);
    let allowed: IpAddr = Ipv4Addr::new(10, 3, 0, 1).into();
    let (hit, hit6): (IpAddr, IpAddr) = (banned4(7).into(), banned6(7).into());
    let Programs { few, many, .. } = all;
    let empty = (few, EMPTY_PROGRAM);
    let flytrap = (few, PROGRAM);
    let passed = (XDP_PASS, Some(VerdictReason::Pass));
    let exempt = (XDP_PASS, Some(VerdictReason::PassAllowlisted));
    let other = (XDP_PASS, Some(VerdictReason::PassNotIp));
    let dropped = (XDP_DROP, Some(VerdictReason::DropByHand));
    let missed = (many, XDP_PASS, Some(VerdictReason::Pass));
    let caught = (many, XDP_DROP, Some(VerdictReason::DropByHand));
    let spoof = (few, XDP_PASS, None);
    vec![
        Case::fixed(
            "empty",
            "an empty program",
            empty,
            packet(any4),
            (XDP_PASS, None),
        ),
        Case::spoofed(
            "spoof-v4",
            "writing the next source, then the empty program; IPv4",
            &all.empty4,
            any4,
            spoof,
        ),
        Case::spoofed("spoof-v6", "the same; IPv6", &all.empty6, any6, spoof),
        Case::fixed("not-ip", "pass: ARP", flytrap, arp(), other),
        Case::fixed(
            "allowlisted",
            "pass: on the allowlist",
            flytrap,
            packet(allowed),
            exempt,
        ),
        Case::fixed(
            "pass-v4",
            "pass: one IPv4 source, 1,000 bans",
            flytrap,
            packet(any4),
            passed,
        ),
        Case::fixed(
            "pass-v6",
            "pass: one IPv6 source, 1,000 bans",
            flytrap,
            packet(any6),
            passed,
        ),
        Case::fixed(
            "ban-hit",
            "drop: one banned IPv4 source, 1,000 bans",
            flytrap,
            packet(hit),
            dropped,
        ),
        Case::fixed(
            "ban-hit-v6",
            "drop: one banned IPv6 source, 1,000 bans",
            flytrap,
            packet(hit6),
            dropped,
        ),
        Case::spoofed(
            "ban-miss-v4",
            "pass: random IPv4 sources, 1,048,576 bans",
            &all.miss4,
            any4,
            missed,
        ),
        Case::spoofed(
            "ban-miss-v6",
            "pass: random IPv6 sources, 1,048,576 bans",
            &all.miss6,
            any6,
            missed,
        ),
        Case::spoofed(
            "ban-hit-many",
            "drop: random ones of 1,048,576 banned IPv4 sources",
            &all.hit4,
            hit,
            caught,
        ),
    ]
}

/// Countries, limits, and the longest way through.
fn more_cases(all: &Programs) -> Vec<Case<'_>> {
    let any4 = ANY4;
    let any6 = Ipv6Addr::new(0x2400, 0xdb8, 0, 0, 0, 0, 0, 9);
    let Programs { full, tight, .. } = all;
    let passed = (XDP_PASS, Some(VerdictReason::Pass));
    vec![
        Case::country(
            "country-v4",
            "the lookup of a country alone, a random IPv4 range each time",
            &all.country4,
            any4,
        ),
        Case::country("country-v6", "the same; IPv6", &all.country6, any6.into()),
        Case::fixed(
            "country-drop",
            "drop: one IPv4 source of a country that is kept out, 1,048,576 bans",
            (full, PROGRAM),
            packet(all.kept_out),
            (XDP_DROP, Some(VerdictReason::DropCountry)),
        ),
        Case::spoofed(
            "full-v4",
            "pass: random IPv4 ranges, 1,048,576 bans, countries, limits on",
            &all.full4,
            any4,
            (full, XDP_PASS, Some(VerdictReason::Pass)),
        ),
        Case::spoofed(
            "full-v6",
            "pass: random IPv6 ranges, the same",
            &all.full6,
            any6.into(),
            (full, XDP_PASS, Some(VerdictReason::Pass)),
        ),
        Case::fixed(
            "syn-v4",
            "pass: a SYN to a guarded port, under both limits; IPv4",
            (full, PROGRAM),
            tcp(any4, GUARDED, SYN),
            passed,
        ),
        Case::mostly(
            "limit",
            "drop: a SYN over the limit of its source; IPv4",
            tight,
            tcp(any4, GUARDED, SYN),
            VerdictReason::DropSourceLimit,
        ),
        Case::fixed(
            "worst",
            "pass: a SYN behind two tags and eight IPv6 extension headers, all features on",
            (full, PROGRAM),
            far_syn(any6),
            passed,
        ),
    ]
}

/// The longest way to a SYN: two tags, and all the extension headers that are followed.
fn far_syn(source: Ipv6Addr) -> Vec<u8> {
    let chain = vec![destination_options(); EXTENSION_HEADERS];
    let packet = ipv6(source, &chain, TCP, &segment(GUARDED, SYN));
    ethernet(&[0x88a8, 0x8100], IPV6, &packet)
}

/// SYN cookies.
fn answers(all: &Programs) -> Vec<Case<'_>> {
    let empty = (&all.few, XDP_PASS, None);
    let answer = Some(VerdictReason::AnswerCookie);
    let sent = (&all.answering, XDP_TX, answer);
    vec![
        Case::restored(
            "restore-v4",
            "writing a SYN anew, then the empty program; IPv4",
            &all.restored4,
            empty,
        ),
        Case::restored("restore-v6", "the same; IPv6", &all.restored6, empty),
        Case::restored(
            "cookie-v4",
            "answer: a SYN over the limit of all together, with a cookie; IPv4",
            &all.answered4,
            sent,
        ),
        Case::restored("cookie-v6", "the same; IPv6", &all.answered6, sent),
    ]
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x06]);
    frame.resize(60, 0);
    frame
}
