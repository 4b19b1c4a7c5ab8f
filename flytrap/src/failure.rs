//! How a command fails: one shape for the errors of all modules, and the exit codes.

use std::fmt;
use std::io;

use crate::api::SocketError;
use crate::api::client::ClientError;
use crate::config::ConfigError;

/// What the process answers to its caller; the higher ones are those of `sysexits.h`.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// It failed, or the policy denies.
    pub const FAIL: u8 = 1;
    /// The arguments aren't understood.
    pub const USAGE: u8 = 2;
    /// Gateway or broker not reachable.
    pub const UNAVAILABLE: u8 = 69;
    /// This user may not do it.
    pub const NOT_PERMITTED: u8 = 77;
    /// The configuration can't be used.
    pub const CONFIG: u8 = 78;
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// One of [`exit`].
    pub exit: u8,
    /// What failed.
    pub error: String,
    /// Why; may have several lines.
    pub cause: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Failure {
    /// `error` says what failed, `code` is one of [`exit`].
    pub fn new(code: u8, error: impl fmt::Display) -> Self {
        Self {
            exit: code,
            error: error.to_string(),
            cause: None,
            help: None,
        }
    }

    /// With the reason.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string()).filter(|cause| !cause.is_empty());
        self
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string()).filter(|help| !help.is_empty());
        self
    }

    /// As it is printed on stderr.
    pub fn shown(&self, json: bool) -> String {
        if json {
            // A struct of texts and a number always has a JSON form.
            serde_json::to_string(self).unwrap_or_else(|_| self.to_string())
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        for (name, text) in [("cause", &self.cause), ("help", &self.help)] {
            if let Some(text) = text {
                write!(f, "\n{name}: {}", text.replace('\n', "\n  "))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(exit::CONFIG, error.headline())
            .cause(error.details())
            .help(error.help())
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let failure = Self::new(exit::FAIL, &error);
        match error {
            SocketError::InUse(_) => {
                failure.help("stop that one, or give this one another gateway.socket")
            }
            SocketError::NoSocket(_) => {
                failure.help("move it away, or choose another gateway.socket")
            }
            SocketError::System { source, .. } => {
                let denied = source.kind() == io::ErrorKind::PermissionDenied;
                Self {
                    exit: if denied {
                        exit::NOT_PERMITTED
                    } else {
                        exit::FAIL
                    },
                    ..failure
                }
                .cause(source)
                .help("choose a gateway.socket in a directory that this user may write to")
            }
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(exit::FAIL, &error);
        match error {
            ClientError::Down { source, socket } => Self {
                exit: exit::UNAVAILABLE,
                ..failure
            }
            .cause(source)
            .help(format_args!(
                "is `flytrap run` running, and is {} its gateway.socket? \
                 --socket or FLYTRAP_SOCKET name another",
                socket.display()
            )),
            ClientError::NotPermitted { source, .. } => Self {
                exit: exit::NOT_PERMITTED,
                ..failure
            }
            .cause(source)
            .help("run as root, or as a member of the group that owns the socket"),
            ClientError::Garbled { .. } => failure
                .help("compare `flytrap --version` with the version of the gateway that runs"),
            ClientError::Problem(problem) => Self::new(exit::FAIL, problem.title)
                .cause(problem.detail)
                .help(problem.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Problem;

    fn denied() -> io::Error {
        io::Error::from(io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn each_cause_has_its_exit_code() {
        let socket = std::path::PathBuf::from("/s");
        let kept_out = ClientError::NotPermitted {
            socket: socket.clone(),
            source: denied(),
        };
        assert_eq!(Failure::from(kept_out).exit, exit::NOT_PERMITTED);
        let down = ClientError::Down {
            socket: socket.clone(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        assert_eq!(Failure::from(down).exit, exit::UNAVAILABLE);
        let no = ClientError::Problem(Problem::conflict("it is allowlisted", "lift it"));
        let no = Failure::from(no);
        assert_eq!(no.exit, exit::FAIL);
        assert_eq!(no.cause.as_deref(), Some("it is allowlisted"));
        let unwritable = SocketError::System {
            path: socket.clone(),
            source: denied(),
        };
        assert_eq!(Failure::from(unwritable).exit, exit::NOT_PERMITTED);
        assert_eq!(Failure::from(SocketError::InUse(socket)).exit, exit::FAIL);
    }

    #[test]
    fn empty_help_is_left_out_and_lines_are_indented() {
        let failure = Failure::new(exit::FAIL, "e").cause("a\nb").help("");
        assert_eq!(failure.to_string(), "error: e\ncause: a\n  b");
    }
}
