//! From a country database's file to tables in force.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::Result;
use flytrap::geo::{Database, Tables};

use super::report::{Figure, Requirement, Table};
use super::rig::rig;
use crate::lab::directory;
use crate::lab::geo::{Row, database, rows};

/// Prefixes of each family.
pub const PREFIXES: usize = 500_000;

/// What the figures are wanted to be.
pub const REQUIREMENTS: &[Requirement] = &[Requirement {
    figure: "geo-in-force",
    to: None,
    must: None,
    aim: Some(3_000.0),
}];

/// Made up, of real size.
pub fn countries() -> Vec<Row> {
    rows(1, PREFIXES)
}

/// Measures; the tables are those of the last round.
pub fn measure(rows: &[Row], rounds: u32) -> Result<(Table, Tables)> {
    let files = directory()?;
    let file = files.path().join("countries.mmdb");
    std::fs::write(&file, database(rows)?)?;
    let rig = rig(|_| ())?;
    let [mut read, mut built, mut set, mut whole] = [const { Vec::new() }; 4];
    let mut tables = None;
    for _ in 0..rounds {
        let begin = Instant::now();
        let map = Database::read(&file, &mut |_| {})?;
        let was_read = begin.elapsed();
        let new = Tables::build(&map)?;
        let was_built = begin.elapsed();
        rig.plane.set_countries(&new)?;
        let in_force = begin.elapsed();
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        read.push(milliseconds(was_read));
        built.push(milliseconds(was_built.saturating_sub(was_read)));
        set.push(milliseconds(in_force.saturating_sub(was_built)));
        whole.push(milliseconds(in_force));
        tables = Some(new);
    }
    let tables = tables.ok_or_else(|| anyhow::anyhow!("no rounds"))?;
    let ipv4 = rows
        .iter()
        .filter(|row| matches!(row.0, IpAddr::V4(_)))
        .count();
    let what = format!(
        "file to in force: {ipv4} IPv4 and {} IPv6 prefixes",
        rows.len() - ipv4
    );
    let table = Table {
        title: "A country database",
        unit: "ms",
        base: "geo-in-force",
        figures: vec![
            Figure::of("geo-in-force", &what, &whole),
            Figure::of("geo-read", "of these: reading and flattening", &read),
            Figure::of("geo-build", "building the tables", &built),
            Figure::of("geo-set", "filling and exchanging the maps", &set),
        ],
    };
    Ok((table, tables))
}
