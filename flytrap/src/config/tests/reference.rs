//! `docs/configuration.md` against what is read.

use std::collections::BTreeSet;

use super::*;

const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

/// `(section, key, default)` for every row of the reference.
fn documented() -> BTreeSet<(String, String, String)> {
    let mut section = String::new();
    let mut rows = BTreeSet::new();
    for line in REFERENCE.lines() {
        if let Some(title) = line.strip_prefix("## `") {
            section = title
                .trim_end_matches('`')
                .trim_matches(['[', ']'])
                .to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.split(" | ").collect();
            rows.insert((
                section.clone(),
                cells[0].trim_end_matches('`').to_owned(),
                cells[1].to_owned(),
            ));
        }
    }
    rows
}

/// `(section, key, value)` for every key of a configuration.
fn keys(section: &str, value: &toml::Table, found: &mut BTreeSet<(String, String, String)>) {
    for (key, value) in value {
        let inner = if section.is_empty() {
            key.clone()
        } else {
            format!("{section}.{key}")
        };
        let tables: Vec<&toml::Table> = match value {
            toml::Value::Table(table) => vec![table],
            toml::Value::Array(array) => array.iter().filter_map(|v| v.as_table()).collect(),
            _ => Vec::new(),
        };
        for table in &tables {
            if key != "dollar_topics" {
                keys(&inner, table, found);
            }
        }
        if !section.is_empty() {
            let shown = if tables.is_empty() {
                value.to_string()
            } else {
                String::new()
            };
            found.insert((section.to_owned(), key.clone(), shown));
        }
    }
}

#[test]
fn the_reference_lists_every_key_and_no_other() {
    let mut everything = BTreeSet::new();
    let effective = parse(EVERYTHING).effective().unwrap();
    keys("", &effective.parse().unwrap(), &mut everything);
    let name = |(section, key, _): (String, String, String)| format!("{section}.{key}");
    let known: BTreeSet<String> = everything.into_iter().map(name).collect();
    let documented: BTreeSet<String> = documented().into_iter().map(name).collect();
    assert_eq!(documented, known);
    assert!(REFERENCE.contains("## `[dollar_topics]`"));
}

#[test]
fn the_reference_names_every_offence() {
    let names = Offence::ALL.map(|offence| format!("`\"{offence}\"`"));
    let row = format!("| `offence` | required | {} |", names.join(", "));
    assert!(REFERENCE.contains(&row), "{row}");
    for offence in Offence::ALL {
        let explained = format!("- `{offence}`: ");
        assert!(REFERENCE.contains(&explained), "{explained}");
    }
}

#[test]
fn the_reference_says_the_defaults_that_hold() {
    let mut effective = BTreeSet::new();
    let text = LEAST.to_owned() + "[[defence.rule]]\noffence = \"malformed\"\n";
    let text = parse(&text).effective().unwrap();
    keys("", &text.parse().unwrap(), &mut effective);
    let mut compared = 0;
    for (section, key, default) in documented() {
        let Some(default) = default.strip_prefix('`') else {
            continue;
        };
        let default = default.trim_end_matches('`').to_owned();
        let row = (section, key, default);
        assert!(effective.contains(&row), "{row:?}\n{text}");
        compared += 1;
    }
    assert_eq!(compared, 46);
}
