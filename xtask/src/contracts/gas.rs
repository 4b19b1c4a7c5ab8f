//! What transactions cost, beside the goals of the design.

use std::fmt::{self, Write};
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::{folder, forge};
use crate::process::must;

/// Names as in the tests, and the most that each should cost.
const GOALS: [(&str, u64); 9] = [
    ("deploy", 4_500_000),
    ("register with prices", 100_000),
    ("grant publish and subscribe", 58_000),
    ("100 grants in one batch, each", 28_000),
    ("revoke", 36_000),
    ("buy subscribe, first", 73_000),
    ("buy subscribe, renewal", 55_000),
    ("anchor", 46_000),
    ("ban report, address", 35_000),
];

pub(super) fn gas(write: bool) -> Result<ExitCode> {
    let mut command = forge()?;
    command.args(["test", "--match-contract", "GasTest"]);
    if write {
        command
            .env("FOUNDRY_GAS_SNAPSHOT_CHECK", "false")
            .env("FOUNDRY_GAS_SNAPSHOT_EMIT", "true");
    }
    must(&mut command)?;
    let path = folder().join("snapshots/Gas.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let measured: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    print!("{}", table(&measured)?);
    Ok(ExitCode::SUCCESS)
}

fn table(measured: &Map<String, Value>) -> Result<String, fmt::Error> {
    let mut table = format!("{:<34} {:>9} {:>9}\n", "operation", "gas", "goal");
    for (name, gas) in measured {
        let gas = gas.as_str().and_then(|gas| gas.parse::<u64>().ok());
        let goal = GOALS
            .iter()
            .find(|(goal, _)| goal == name)
            .map(|goal| goal.1);
        let gas_text = gas.map_or_else(|| "?".to_owned(), |gas| gas.to_string());
        let goal_text = goal.map_or_else(String::new, |goal| goal.to_string());
        let over = match (gas, goal) {
            (Some(gas), Some(goal)) if gas > goal => format!("  over by {}", gas - goal),
            _ => String::new(),
        };
        writeln!(table, "{name:<34} {gas_text:>9} {goal_text:>9}{over}")?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn what_is_over_its_goal_is_told() {
        let measured = serde_json::json!({ "anchor": "45000", "revoke": "36001", "other": "7" });
        let table = table(measured.as_object().unwrap()).unwrap();
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].ends_with("45000     46000"), "{table}");
        assert!(lines[2].ends_with("7          "), "{table}");
        assert!(lines[3].ends_with("36001     36000  over by 1"), "{table}");
    }
}
