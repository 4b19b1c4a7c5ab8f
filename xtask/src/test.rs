//! `cargo xtask test`.

use std::io::{BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::leftovers::Snapshot;
use crate::process::{self, cargo, must, target};
use crate::setup::{self, Need};
use crate::{arch, contracts, ebpf};

pub(crate) fn test(without_kernel: bool, rest: &[String]) -> Result<ExitCode> {
    if !without_kernel && let Some(missing) = process::missing_privilege() {
        eprintln!(
            "error: some tests make network namespaces and load XDP programs\n\
             cause: {missing}\n\
             help:  run the same command as root, or leave those tests out: \
             cargo xtask test --without-kernel"
        );
        return Ok(ExitCode::from(process::NOT_PERMITTED));
    }
    setup::ensure(&[Need::Lab])?;
    if !without_kernel {
        setup::ensure(&[Need::BpfFs])?;
        ebpf::build()?;
    }
    // The end-to-end tests start the gateway's own binary.
    must(cargo().args(["build", "--workspace", "--bins", "--locked"]))?;

    let before = Snapshot::take();
    let mut count = Count::default();
    let whole = rest.is_empty();
    if whole {
        count.add("arch", arch::check().map(|_| ()));
    }
    let cargo_arguments: Vec<&String> = rest.iter().take_while(|word| *word != "--").collect();
    let test_arguments = rest.iter().skip_while(|word| *word != "--").skip(1);
    let mut tests = Vec::new();
    // A filter chooses among all tests; options choose programs themselves.
    if !cargo_arguments.iter().any(|word| word.starts_with('-')) {
        tests.extend(["--workspace", "--lib", "--bins", "--tests"]);
    }
    tests.extend(cargo_arguments.iter().map(|word| word.as_str()));
    tests.push("--");
    if !without_kernel {
        // What needs root is `#[ignore]`d for a plain `cargo test`.
        tests.push("--include-ignored");
    }
    tests.extend(test_arguments.map(String::as_str));
    count.run(&tests)?;
    if whole {
        count.run(&["--workspace", "--doc"])?;
    }
    if whole {
        count.contract();
    }
    let left = before.new_since();
    count.add(
        "nothing is left behind",
        if left.is_empty() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("left behind:\n  {}", left.join("\n  ")))
        },
    );
    if count.skipped > 0 {
        println!(
            "skipped: {} (they need root and a kernel with BPF)",
            count.skipped
        );
    }
    if let Some(why) = &count.no_contract {
        println!("skipped: all tests of the contract ({why})");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        count.passed, count.failed, count.skipped
    );
    Ok(if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Why the contract's tests were not run; they are not in the numbers.
    no_contract: Option<String>,
}

impl Count {
    /// A check of this command itself.
    fn add(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                println!("check {name} ... ok");
                self.passed += 1;
            }
            Err(error) => {
                println!("check {name} ... FAILED\n{error:#}");
                self.failed += 1;
            }
        }
    }

    /// The contract's tests, where its tools can be had.
    fn contract(&mut self) {
        if let Err(error) = contracts::prepare() {
            self.no_contract = Some(format!("{error:#}"));
            return;
        }
        match contracts::test() {
            Ok(tally) => {
                self.passed += tally.passed;
                self.failed += tally.failed;
                self.skipped += tally.skipped;
            }
            Err(error) => self.add("the contract's tests", Err(error)),
        }
        self.add(
            "the contract's ABI and bytecode are what its sources compile to",
            contracts::check_artifacts(),
        );
    }

    /// One `cargo test`, shown as it runs and counted.
    fn run(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = cargo();
        command
            .args(["test", "--locked", "--no-fail-fast"])
            .args(arguments)
            .env("FLYTRAP_BIN", target().join("debug/flytrap"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let failed_before = self.failed;
        let mut child = command.spawn().context("cannot start cargo")?;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines() {
                let line = line?;
                writeln!(std::io::stdout(), "{line}")?;
                self.count(&line);
            }
        }
        if !child.wait()?.success() && self.failed == failed_before {
            // A build that fails, or a test program that is killed, counts nothing.
            self.failed += 1;
        }
        Ok(())
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
    fn count(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let mut words = result
            .split([' ', ';', '.'])
            .filter(|word| !word.is_empty());
        let mut previous = words.next().unwrap_or_default();
        for word in words {
            let number = previous.parse::<u64>().unwrap_or(0);
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
            previous = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn counts_are_summed_over_test_programs() {
        let mut count = Count::default();
        count.count("running 3 tests");
        count.count("test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.01s");
        count.count("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        assert_eq!((count.passed, count.failed, count.skipped), (16, 2, 3));
    }
}
