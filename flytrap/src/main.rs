//! The `flytrap` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    flytrap::cli::main()
}
