//! What runs already: earlier pins, the gateway, the broker.

use std::path::Path;

use super::{Check, Question};
use crate::api::Status;
use crate::api::client::{Client, ClientError};
use crate::app::start::reach_broker;
use crate::app::xdp::left_changed;
use crate::config::{Config, about};
use crate::failure::Failure;
use crate::kernel::Pinned;

const PINS: Question = Question::new(
    "pins",
    "a gateway takes over the maps of the one before, with bans and counters, if they mean the same",
);
const GATEWAY: Question = Question::new(
    "gateway",
    "without one nobody is let in, bans that are in force end at their deadline, and new ones don't \
     come",
);
const BROKER: Question = Question::new(
    "broker",
    "a gateway doesn't start in front of nothing, and clients are only let in while it answers",
);

pub(super) fn pins(pin_dir: &Path, pinned: &Pinned) -> Check {
    if let Some(error) = &pinned.unusable {
        return PINS.kernel(error);
    }
    if let Some(left) = left_changed(pinned) {
        return PINS.warn(left, "start flytrap, or type `flytrap xdp detach`");
    }
    let dir = pin_dir.display();
    match (pinned.abi_version, pinned.holder) {
        (None, _) => PINS.ok(format_args!("none in {dir}")),
        (Some(abi), Some(process)) => PINS.ok(format_args!(
            "ABI {abi} in {dir}, held by process {process}"
        )),
        (Some(abi), None) => PINS.ok(format_args!("ABI {abi} in {dir}, held by nobody")),
    }
}

pub(super) async fn running(client: &Client, pinned: Option<&Pinned>) -> Check {
    match client.status().await {
        Ok(status) => answering(&status),
        Err(error @ ClientError::Down { .. }) => {
            let attached = pinned.is_some_and(|one| one.programs.iter().any(|one| one.ours));
            match pinned.and_then(|pinned| pinned.holder) {
                Some(process) => GATEWAY.warn(
                    format_args!("process {process} holds the pins, and {error}"),
                    "if that is a gateway, name its gateway.socket with --socket; else wait for it",
                ),
                None if attached => GATEWAY.warn(
                    format_args!("{error}, and the program is attached all the same"),
                    "start flytrap, or type `flytrap xdp detach`",
                ),
                None => GATEWAY.ok(format_args!("none is running: {error}")),
            }
        }
        Err(error) => {
            let failure = Failure::from(error);
            GATEWAY.warn(failure.error, failure.help.unwrap_or_default())
        }
    }
}

fn answering(status: &Status) -> Check {
    let Status {
        version,
        uptime_s,
        warnings,
        ..
    } = status;
    let found = format!("flytrap {version} runs, up {}", about(*uptime_s));
    if version != env!("CARGO_PKG_VERSION") {
        return GATEWAY.warn(
            format_args!("{found}; this is {}", env!("CARGO_PKG_VERSION")),
            "restart flytrap, so that both are the same",
        );
    }
    if warnings.is_empty() {
        return GATEWAY.ok(found);
    }
    GATEWAY.warn(
        [&[found], warnings.as_slice()].concat().join("\n"),
        "`flytrap status` shows it all",
    )
}

pub(super) async fn broker(config: &Config) -> Check {
    match reach_broker(config).await {
        Ok(()) => BROKER.ok(format_args!("{} answers", config.upstream.address)),
        Err(failure) => BROKER.refused(&failure),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{State, tests::config};
    use super::*;
    use crate::kernel::{AttachedMode, AttachedProgram, CookieState, KernelError, Limits};

    fn pinned() -> Pinned {
        Pinned {
            abi_version: Some(6),
            unusable: None,
            holder: None,
            programs: Vec::new(),
            exempt: Vec::new(),
            limits: Limits::NONE,
            cookies: None,
        }
    }

    #[test]
    fn pins_of_another_abi_fail_and_leftovers_warn() {
        let look = |pinned: &Pinned| pins(Path::new("/pins"), pinned);
        assert_eq!(look(&pinned()).state, State::Ok);
        let other = Pinned {
            unusable: Some(KernelError::AbiMismatch {
                dir: "/pins".into(),
                found: "version 3".to_owned(),
            }),
            ..pinned()
        };
        assert_eq!(look(&other).state, State::Fail);
        assert!(look(&other).fix.unwrap().contains("--pin-dir /pins"));
        let cookies = Some(CookieState {
            on: false,
            settings_changed: true,
        });
        let mut left = Pinned {
            cookies,
            ..pinned()
        };
        assert_eq!(look(&left).state, State::Warn);
        left.holder = Some(4_711);
        assert_eq!(look(&left).state, State::Ok);
    }

    #[tokio::test]
    async fn nobody_there_is_fine_unless_something_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(folder.path().join("none.sock"));
        assert_eq!(running(&client, None).await.state, State::Ok);
        assert_eq!(running(&client, Some(&pinned())).await.state, State::Ok);
        let mut left = pinned();
        left.programs.push(AttachedProgram {
            interface: "eth0".to_owned(),
            mode: AttachedMode::Native,
            id: 7,
            name: String::new(),
            ours: true,
        });
        assert_eq!(running(&client, Some(&left)).await.state, State::Warn);
        left.holder = Some(4_711);
        let held = running(&client, Some(&left)).await;
        assert!(held.found.contains("process 4711"), "{held:?}");

        let broker = broker(&config(folder.path(), "")).await;
        assert_eq!(broker.state, State::Fail);
        assert!(broker.found.contains("127.0.0.1:1"), "{broker:?}");
    }
}
