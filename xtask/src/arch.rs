//! `docs/ARCHITECTURE.md` is the rule: an edge between modules that its table doesn't list fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::workspace;

/// Module → the modules it may use; `None`: all.
type Table = BTreeMap<String, Option<BTreeSet<String>>>;

/// Returns the number of edges found, each of which the table allows.
pub(crate) fn check() -> Result<usize> {
    let page = workspace().join("docs/ARCHITECTURE.md");
    let text = std::fs::read_to_string(&page)
        .with_context(|| format!("cannot read {}", page.display()))?;
    let table = parse(&text);
    if table.is_empty() {
        bail!(
            "{}: no table `| module | purpose | may use |`",
            page.display()
        );
    }
    let mut edges = BTreeMap::new();
    let source = workspace().join("flytrap/src");
    collect(&source, None, &mut edges)?;
    let faults = faults(&table, &edges);
    if !faults.is_empty() {
        bail!("docs/ARCHITECTURE.md forbids:\n  {}", faults.join("\n  "));
    }
    Ok(edges.len())
}

/// The rows below the header `| module | purpose | may use |`.
fn parse(text: &str) -> Table {
    let cells = |line: &str| -> Vec<String> {
        line.trim()
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let words = |cell: &str| -> Vec<String> {
        cell.split([' ', ',', '`'])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    text.lines()
        .skip_while(|line| cells(line) != ["module", "purpose", "may use"])
        .skip(2)
        .take_while(|line| line.trim_start().starts_with('|'))
        .flat_map(|line| {
            let row = cells(line);
            let names = row.first().map(|cell| words(cell)).unwrap_or_default();
            let allowed = row.last().map(|cell| words(cell)).unwrap_or_default();
            let allowed = (allowed != ["all"])
                .then(|| allowed.into_iter().filter(|word| word != "–").collect());
            names.into_iter().map(move |name| (name, allowed.clone()))
        })
        .collect()
}

/// Edge (from, to) → the first place that makes it.
type Edges = BTreeMap<(String, String), String>;

fn collect(directory: &Path, module: Option<&str>, edges: &mut Edges) -> Result<()> {
    for entry in std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let name = module.unwrap_or(&stem);
        if stem == "tests" || stem.ends_with("_tests") {
            // Tests may use what they like.
            continue;
        }
        if path.is_dir() {
            collect(&path, Some(name), edges)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "lib" {
            let text = std::fs::read_to_string(&path)?;
            for (number, target) in used(&text) {
                if target != name {
                    edges
                        .entry((name.to_owned(), target))
                        .or_insert_with(|| format!("{}:{number}", path.display()));
                }
            }
        }
    }
    Ok(())
}

/// The modules that a source text names as `crate::x`, `flytrap::x` (in main), or
/// `flytrap_common`, outside comments and below no `#[cfg(test)]`, with the line numbers.
fn used(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // By this project's order tests close a file.
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        let mut names = Vec::new();
        for root in ["crate::", "flytrap::"] {
            for (_, rest) in code.match_indices(root).map(|(at, _)| code.split_at(at)) {
                let rest = rest.strip_prefix(root).unwrap_or_default();
                names.extend(first_segments(rest));
            }
        }
        if code.contains("flytrap_common") {
            names.push("flytrap-common".to_owned());
        }
        found.extend(names.into_iter().map(|name| (index + 1, name)));
    }
    found
}

/// `a::b` → a; `{a::b, c}` → a, c.
fn first_segments(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let mut depth = 0_usize;
    let mut names = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 => {
                if let Some(last) = names.last_mut() {
                    last.push(c);
                }
            }
            _ => {}
        }
    }
    names
        .iter()
        .map(|name| word(name))
        .filter(|name| !name.is_empty())
        .collect()
}

fn faults(table: &Table, edges: &Edges) -> Vec<String> {
    edges
        .iter()
        .filter_map(|((from, to), place)| match table.get(from) {
            None => Some(format!("{from}: the table has no row for it ({place})")),
            Some(None) => None,
            Some(Some(allowed)) if allowed.contains(to) => None,
            Some(Some(_)) => Some(format!("{from} uses {to} ({place})")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text\n\n| module | purpose | may use |\n| --- | --- | --- |\n\
        | `types` | words | – |\n| `bans` | bans | types, kernel flytrap-common |\n| `app` | wires | all |\n\ntext";

    fn edges_of(module: &str, text: &str) -> Edges {
        used(text)
            .into_iter()
            .map(|(line, to)| ((module.to_owned(), to), format!("x.rs:{line}")))
            .collect()
    }

    #[test]
    fn an_edge_that_the_table_lists_passes() {
        let edges = edges_of(
            "bans",
            "use crate::types::Wallet;\nuse flytrap_common::Ban;",
        );
        assert_eq!(faults(&parse(PAGE), &edges), Vec::<String>::new());
    }

    #[test]
    fn an_edge_that_it_does_not_list_fails_with_its_place() {
        let edges = edges_of("types", "\nuse crate::bans::Bans;");
        assert_eq!(faults(&parse(PAGE), &edges), ["types uses bans (x.rs:2)"]);
    }

    #[test]
    fn a_path_in_an_expression_is_an_edge_and_a_comment_is_none() {
        let edges = edges_of("types", "// crate::app\nlet x = crate::bans::start();");
        assert_eq!(edges.len(), 1);
    }

    #[test]
    fn groups_are_split() {
        let names: Vec<_> = used("use crate::{types::{A, B}, kernel, bans::C};")
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["types", "kernel", "bans"]);
    }

    #[test]
    fn a_module_without_a_row_fails() {
        let edges = edges_of("stray", "use crate::types::Wallet;");
        assert_eq!(faults(&parse(PAGE), &edges).len(), 1);
    }

    #[test]
    fn app_may_use_all_and_tests_may_too() {
        let edges = edges_of("app", "use crate::bans::Bans;");
        assert!(faults(&parse(PAGE), &edges).is_empty());
        assert!(used("#[cfg(test)]\nmod tests { use crate::bans::Bans; }").is_empty());
    }
}
