//! `flytrap doctor`: everything that a gateway needs, looked at before it is missed.
//!
//! Each check says what it found, why that matters and what to do about it; none changes anything.
//! What a start would do is done by the code of the start, as far as that leaves no trace.

mod clock;
mod files;
mod gateway;
mod interfaces;
mod machine;
mod ssh;
mod ssh_server;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::api::client::Client;
use crate::config::{Config, DEFAULT_FILE, DEFAULT_PIN_DIR, DEFAULT_SOCKET};
use crate::failure::Failure;
use crate::kernel::{self, KernelError};
use crate::types::UnixTime;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and should be known or changed.
    Warn,
    /// A gateway doesn't start with it, or doesn't do what it is there for.
    Fail,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Which one, where there are several.
    pub subject: Option<String>,
    /// How it went.
    pub state: State,
    /// What was found; may have several lines.
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do; none where nothing needs to be done.
    pub fix: Option<String>,
}

impl Check {
    /// The same, of one of several.
    fn of(mut self, subject: impl fmt::Display) -> Self {
        self.subject = Some(subject.to_string());
        self
    }
}

/// A check to be made.
#[derive(Clone, Copy)]
struct Question {
    name: &'static str,
    why: &'static str,
}

impl Question {
    const fn new(name: &'static str, why: &'static str) -> Self {
        Self { name, why }
    }

    fn answer(self, state: State, found: impl fmt::Display, fix: impl fmt::Display) -> Check {
        Check {
            name: self.name,
            subject: None,
            state,
            found: found.to_string(),
            why: self.why,
            fix: Some(fix.to_string()).filter(|fix| !fix.is_empty()),
        }
    }

    fn ok(self, found: impl fmt::Display) -> Check {
        self.answer(State::Ok, found, "")
    }

    fn warn(self, found: impl fmt::Display, fix: impl fmt::Display) -> Check {
        self.answer(State::Warn, found, fix)
    }

    fn fail(self, found: impl fmt::Display, fix: impl fmt::Display) -> Check {
        self.answer(State::Fail, found, fix)
    }

    /// What a start would have failed with.
    fn refused(self, failure: &Failure) -> Check {
        let found = match &failure.cause {
            None => failure.error.clone(),
            Some(cause) => format!("{}: {cause}", failure.error),
        };
        self.fail(found, failure.help.as_deref().unwrap_or_default())
    }

    /// The same, from the kernel's part.
    fn kernel(self, error: &KernelError) -> Check {
        self.fail(error, error.help())
    }
}

const CONFIGURATION: Question = Question::new(
    "configuration",
    "it says what the gateway does, and it doesn't start with a faulty one",
);

/// Makes all checks for this configuration file. With none named the usual one is taken, if there
/// is one; without any, what doesn't depend on it is looked at. `socket`: the control socket,
/// instead of the configured one.
pub async fn examine(file: Option<&Path>, socket: Option<PathBuf>, now: UnixTime) -> Vec<Check> {
    let (config, mut checks) = configuration(file);
    let pin_dir = config
        .as_ref()
        .map_or(Path::new(DEFAULT_PIN_DIR), |config| &config.xdp.pin_dir);
    let has_xdp = config
        .as_ref()
        .is_none_or(|config| !config.xdp.interfaces.is_empty());
    // Without privileges the kernel shows no pins, and `capabilities` says so.
    let pinned = kernel::look(pin_dir).ok().filter(|_| has_xdp);
    if has_xdp {
        let cookies = config.as_ref().is_some_and(Config::answers_with_cookies);
        checks.extend(machine::checks(pin_dir, cookies));
        if let Some(config) = &config {
            checks.extend(interfaces::checks(config));
        }
        checks.extend(pinned.as_ref().map(|pinned| gateway::pins(pin_dir, pinned)));
    }
    let socket = socket.unwrap_or_else(|| match &config {
        Some(config) => config.gateway.socket.clone(),
        None => DEFAULT_SOCKET.into(),
    });
    checks.push(gateway::running(&Client::new(socket), pinned.as_ref()).await);
    let Some(config) = &config else {
        return checks;
    };
    let files = files::Files::read(config, now);
    checks.extend(ssh::checks(
        config,
        pinned.as_ref(),
        files.countries.as_ref(),
    ));
    checks.push(clock::check(now, &files.made));
    checks.extend(files.checks);
    checks.push(gateway::broker(config).await);
    checks
}

fn configuration(file: Option<&Path>) -> (Option<Config>, Vec<Check>) {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    if file.is_none() && !path.exists() {
        let found = format!("there is no {DEFAULT_FILE}: only the machine is looked at");
        let fix = "name the file behind `doctor`; docs/examples/flytrap.toml is one to start from";
        return (None, vec![CONFIGURATION.warn(found, fix)]);
    }
    // The files that it names have checks of their own.
    let config = match Config::load_alone(path) {
        Ok(config) => config,
        Err(error) => return (None, vec![CONFIGURATION.refused(&error.into())]),
    };
    let valid = CONFIGURATION.ok(format_args!("{} is valid", path.display()));
    let warning = |warning| CONFIGURATION.warn(warning, "change it, unless it is meant so");
    let warnings = config.warnings().into_iter().map(warning);
    let checks = [valid].into_iter().chain(warnings).collect();
    (Some(config), checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration without XDP whose broker isn't there.
    pub(super) fn config(folder: &Path, more: &str) -> Config {
        let text = format!(
            "[gateway]\ndomain = \"gw.example.org\"\n[[listener]]\nbind = \"127.0.0.1:1884\"\n\
             [upstream]\naddress = \"127.0.0.1:1\"\n[ledger]\npath = \"ledger.toml\"\n{more}"
        );
        Config::parse(&text, folder).unwrap()
    }

    #[tokio::test]
    async fn a_faulty_configuration_is_one_of_the_checks() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("flytrap.toml");
        std::fs::write(&file, "[gateway]\ndomian = 1\n").unwrap();
        let socket = folder.path().join("none.sock");
        let checks = examine(Some(&file), Some(socket), UnixTime(0)).await;
        assert_eq!(checks[0].name, "configuration");
        assert_eq!(checks[0].state, State::Fail);
        assert!(checks[0].found.contains("domian"), "{checks:?}");
        // The machine is looked at all the same, and nothing that a configuration names.
        let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
        assert!(names.contains(&"kernel") && names.contains(&"gateway"));
        assert!(!names.contains(&"broker"), "{names:?}");
    }
}
