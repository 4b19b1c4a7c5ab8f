//! `cargo xtask contracts …`: forge, with what it needs from npm.

mod artifacts;
mod gas;
mod lint;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::process::{must, workspace};
use crate::setup::{self, Need};

/// What can be done with the contract.
#[derive(Subcommand)]
pub(crate) enum Contracts {
    /// Compile, and write the ABI and the creation bytecode to contracts/abi
    Build,
    /// Unit, fuzz and invariant tests as CI runs them, gas snapshot, committed ABI and bytecode
    Test {
        /// Passed on to `forge test`, which then runs with fewer random cases
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGUMENTS"
        )]
        rest: Vec<String>,
    },
    /// What each transaction costs, beside the goals
    Gas {
        /// Take the figures of now as the new snapshot
        #[arg(long)]
        write: bool,
    },
    /// Formatting, forge's linter, and slither where it is installed
    Lint,
    /// How much of the sources the tests reach
    Coverage,
}

/// How many tests did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

pub(crate) fn contracts(what: &Contracts) -> Result<ExitCode> {
    prepare()?;
    match what {
        Contracts::Build => artifacts::write()?,
        Contracts::Test { rest } if rest.is_empty() => {
            let tally = test()?;
            artifacts::check()?;
            println!("abi/ is what the sources compile to");
            if tally.failed > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
        Contracts::Test { rest } => must(forge()?.arg("test").args(rest))?,
        Contracts::Gas { write } => return gas::gas(*write),
        Contracts::Lint => return lint::lint(),
        Contracts::Coverage => {
            // By the IR's way without optimiser: with it, lines are lost; without the IR, the stack is too deep.
            let mut command = forge()?;
            command.args(["coverage", "--ir-minimum", "--no-match-coverage", "^test/"]);
            // The code is another one, and costs more.
            command.args(["--no-match-contract", "GasTest"]);
            must(command.env("FOUNDRY_PROFILE", "coverage"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes sure of node, npm, and the packages that the lock file names.
pub(crate) fn prepare() -> Result<()> {
    setup::ensure(&[Need::Node])?;
    if installed() {
        return Ok(());
    }
    println!(
        "set-up: npm ci in contracts/, for forge, the Solidity compiler and OpenZeppelin's contracts"
    );
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent"]).current_dir(folder());
    must(&mut npm)
        .context("the contract's tools come from npm; where it can't be reached, copy contracts/node_modules from elsewhere")
}

/// Whether npm has installed since the lock file last changed.
fn installed() -> bool {
    let changed =
        |path: &str| fs::metadata(folder().join(path)).and_then(|metadata| metadata.modified());
    match (
        changed("node_modules/.package-lock.json"),
        changed("package-lock.json"),
    ) {
        (Ok(installed), Ok(locked)) => installed >= locked,
        _ => false,
    }
}

/// Everything that forge can test, shown as it runs.
pub(crate) fn test() -> Result<Tally> {
    let mut command = forge()?;
    command
        .arg("test")
        .env("FOUNDRY_PROFILE", "ci")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start forge")?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            writeln!(std::io::stdout(), "{line}")?;
            if let Some(sum) = summary(&line) {
                tally = sum;
            }
        }
    }
    if !child.wait()?.success() && tally.failed == 0 {
        // It didn't compile, or gas differs from the snapshot.
        tally.failed += 1;
    }
    Ok(tally)
}

/// Whether contracts/abi is what the sources compile to.
pub(crate) fn check_artifacts() -> Result<()> {
    artifacts::check()
}

/// `Ran 11 test suites in 10.43s (12.40s CPU time): 118 tests passed, 1 failed, 0 skipped (119 total tests)`
fn summary(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("Ran ")?.split_once("): ")?.1;
    let mut numbers = counts
        .split([' ', ','])
        .filter_map(|word| word.parse::<u64>().ok());
    Some(Tally {
        passed: numbers.next()?,
        failed: numbers.next()?,
        skipped: numbers.next()?,
    })
}

fn folder() -> PathBuf {
    workspace().join("contracts")
}

/// forge, told where the compiler is: it wants an absolute path, which no committed file can have.
fn forge() -> Result<Command> {
    let folder = folder();
    let mut command = Command::new(forge_folder()?.join("forge"));
    command
        .env("FOUNDRY_SOLC", folder.join("tools/solc.js"))
        .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1")
        .current_dir(folder);
    Ok(command)
}

/// The folder of the native program, which npm installs for this platform alone. The script that
/// npm puts before it always exits with 0.
fn forge_folder() -> Result<PathBuf> {
    let vendor = folder().join("node_modules/@foundry-rs");
    fs::read_dir(&vendor)
        .with_context(|| vendor.display().to_string())?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .find(|bin| bin.join("forge").is_file())
        .with_context(|| format!("no forge for this platform in {}", vendor.display()))
}

#[cfg(test)]
mod tests {
    use super::{Tally, summary};

    #[test]
    fn forges_last_line_is_understood() {
        let line = "Ran 11 test suites in 10.43s (12.40s CPU time): 118 tests passed, 1 failed, 2 skipped (121 total tests)";
        let expected = Tally {
            passed: 118,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(summary(line), Some(expected));
        assert_eq!(summary("Ran 8 tests for test/Gas.t.sol:GasTest"), None);
        assert_eq!(
            summary("Suite result: ok. 8 passed; 0 failed; 0 skipped"),
            None
        );
    }
}
