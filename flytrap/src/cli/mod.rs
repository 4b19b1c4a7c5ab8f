//! The command line: reads it, does what it says, prints the outcome.

mod args;
mod doctor;
mod geo;
mod import;
mod observe;
mod show;
mod token;
mod xdp;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use crate::api::client::{Client, ClientError};
use crate::api::{BanRequest, PolicyAction, PolicyQuestion};
use crate::app;
use crate::config::Config;
use crate::failure::{Failure, exit};
use crate::types::{Clock, SystemClock};
use args::{BanCommand, Cli, Command, Output, PolicyCheck, PolicyCommand};

/// Does what this process's arguments say. The exit codes are those of [`exit`].
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do where even this can't be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let output = cli.output;
    let outcome = execute(cli).and_then(|done| {
        print(&done.text)?;
        Ok(done.exit)
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // As above.
            let _ = writeln!(io::stderr(), "{}", failure.shown(output == Output::Json));
            ExitCode::from(failure.exit)
        }
    }
}

/// What a command has to say, and the exit code that goes with it.
struct Done {
    text: String,
    exit: u8,
}

impl Done {
    /// `value` as JSON, or as `human` shows it.
    fn new<T: Serialize>(
        output: Output,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<Self, Failure> {
        let text = match output {
            Output::Human => human(value),
            Output::Json => serde_json::to_string_pretty(value).map_err(|error| {
                Failure::new(exit::FAIL, "the answer can't be written as JSON").cause(error)
            })?,
        };
        Ok(Self {
            text,
            exit: exit::OK,
        })
    }
}

/// Ends the text with a line break. Whether anybody reads on: a reader that has seen enough
/// (`| head`) is no error.
fn print(text: &str) -> Result<bool, Failure> {
    let mut text = text.trim_end().to_owned();
    if text.is_empty() {
        return Ok(true);
    }
    text.push('\n');
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(exit::FAIL, "the output can't be written").cause(error)),
    }
}

fn execute(cli: Cli) -> Result<Done, Failure> {
    let output = cli.output;
    let client = || Client::new(cli.socket.clone().unwrap_or_else(args::default_socket));
    match cli.command {
        Command::Run(run) => {
            let mut config = Config::load(&run.config)?;
            if let Some(level) = run.log_level {
                config.log.level = level;
            }
            if let Some(socket) = cli.socket {
                config.gateway.socket = std::path::absolute(&socket).unwrap_or(socket);
            }
            app::run(config)?;
            Ok(Done {
                text: String::new(),
                exit: exit::OK,
            })
        }
        Command::CheckConfig(check) => check_config(output, &check.file, check.print_effective),
        Command::Doctor(doctor) => doctor.run(output, cli.socket),
        Command::Status => {
            let status = ask(client().status())?;
            Done::new(output, &status, show::status)
        }
        Command::Ban { command } => ban(output, &client(), command),
        Command::Xdp { command } => command.run(output),
        Command::Geo { command } => command.run(output, &client()),
        Command::Observe(observe) => {
            observe.run(output, &client())?;
            Ok(Done {
                text: String::new(),
                exit: exit::OK,
            })
        }
        Command::Policy {
            command: PolicyCommand::Check(check),
        } => policy_check(output, &client(), check),
        Command::Token(token) => {
            let deployment = |path: &Path| app::deployment(&Config::load_alone(path)?);
            Ok(Done {
                text: token.run(output == Output::Json, deployment)?,
                exit: exit::OK,
            })
        }
    }
}

fn check_config(output: Output, file: &Path, print_effective: bool) -> Result<Done, Failure> {
    let config = Config::load(file)?;
    app::check(&config)?;
    if print_effective {
        let text = match output {
            Output::Json => return Done::new(output, &config, |_| String::new()),
            Output::Human => config.effective().map_err(|error| {
                Failure::new(exit::FAIL, "the configuration can't be written as TOML").cause(error)
            })?,
        };
        return Ok(Done {
            text,
            exit: exit::OK,
        });
    }
    let checked = show::Checked {
        file: file.to_owned(),
        valid: true,
        warnings: config.warnings(),
    };
    Done::new(output, &checked, show::checked)
}

fn ban(output: Output, client: &Client, command: BanCommand) -> Result<Done, Failure> {
    let now = SystemClock.now();
    match command {
        BanCommand::List => {
            let bans = ask(client.bans())?;
            Done::new(output, &bans, |bans| show::bans(bans, now))
        }
        BanCommand::Add(add) => {
            let request = BanRequest {
                target: add.target,
                seconds: add.duration.as_secs(),
                note: add.note,
                force: add.force,
            };
            let ban = ask(client.ban(&request))?;
            Done::new(output, &ban, |ban| show::banned(ban, now))
        }
        BanCommand::Import(import) => {
            let (request, warning) = import::request(import)?;
            if let Some(warning) = warning {
                // Nothing is left to do where even this can't be printed.
                let _ = writeln!(io::stderr(), "warning: left out {warning}");
            }
            let imported = ask(client.import(&request))?;
            Done::new(output, &imported, show::imported)
        }
        BanCommand::Lift { target } => {
            let lifted = ask(client.lift(target))?;
            Done::new(output, &lifted, |lifted| {
                format!("{} is not banned any more", lifted.target)
            })
        }
    }
}

fn policy_check(output: Output, client: &Client, check: PolicyCheck) -> Result<Done, Failure> {
    // The arguments hold exactly one of the three.
    let action = match (check.publish, check.subscribe, check.receive) {
        (Some(topic), _, _) => PolicyAction::Publish(topic),
        (_, Some(filter), _) => PolicyAction::Subscribe(filter),
        (_, _, topic) => PolicyAction::Receive(topic.unwrap_or_default()),
    };
    let wallet = check.wallet;
    let answer = ask(client.check(&PolicyQuestion { wallet, action }))?;
    let mut done = Done::new(output, &answer, show::answer)?;
    if !answer.permit {
        done.exit = exit::FAIL;
    }
    Ok(done)
}

/// Waits for the gateway's answer.
fn ask<T>(request: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
    wait_for(async { Ok(request.await?) })
}

fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::FAIL, "the client can't start").cause(error))?
        .block_on(work)
}
