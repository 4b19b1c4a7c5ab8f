//! What is wrong with a configuration, shown where it stands.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::types::line_and_column;

/// Why there is no configuration. Its Display text has several lines and is written for the
/// person who wrote the file.
#[derive(Debug)]
pub enum ConfigError {
    /// The file can't be read at all.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read, and these are all its problems, in the order of its lines.
    Faulty {
        /// The file.
        path: PathBuf,
        /// At least one.
        findings: Vec<Finding>,
    },
}

/// One problem in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, and why it is refused where that isn't plain.
    pub what: String,
    /// Where; none for something that is missing altogether.
    pub place: Option<Place>,
    /// What to do.
    pub help: String,
}

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// Counted in characters from 1.
    pub column: usize,
    /// How many characters of the line it covers, at least 1.
    pub width: usize,
    /// The line, without control characters; a value that looks like a secret is left out.
    pub shown: String,
}

impl Place {
    /// The place of the bytes `span` of `text`; of a span over several lines the first counts.
    pub(super) fn of(text: &str, span: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text.get(line_start..).unwrap_or("");
        let line = line.split(['\n', '\r']).next().unwrap_or("");
        let (number, column) = line_and_column(text, start);
        let covered = text.get(start..text.floor_char_boundary(span.end));
        let width = covered
            .and_then(|covered| covered.lines().next())
            .map_or(1, |covered| covered.chars().count().max(1));
        Self {
            line: number,
            column,
            width,
            shown: without_secret(line)
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
        }
    }
}

/// Messages end up in journals, and people write passwords where only file names belong.
fn without_secret(line: &str) -> String {
    let Some((key, _)) = line.split_once('=') else {
        return line.to_owned();
    };
    let name = key.trim().to_ascii_lowercase();
    let secret = ["password", "passwd", "secret", "private"]
        .iter()
        .any(|word| name.contains(word));
    if secret && !name.ends_with("_file") {
        format!("{key}= (not shown)")
    } else {
        line.to_owned()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            None => write!(f, "{}", self.what)?,
            Some(place) => {
                let number = place.line.to_string();
                let margin = " ".repeat(number.len());
                let indent = " ".repeat(place.column - 1);
                let left = place.shown.chars().count().saturating_sub(place.column - 1);
                let marks = "^".repeat(place.width.min(left).max(1));
                write!(
                    f,
                    "line {number}, column {}: {}\n  {number} | {}\n  {margin} | {indent}{marks}",
                    place.column, self.what, place.shown
                )?;
            }
        }
        write!(f, "\n  help: {}", self.help)
    }
}

impl ConfigError {
    /// The one line that says what failed.
    pub fn headline(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => {
                format!("the configuration {} can't be read", path.display())
            }
            Self::Faulty { path, findings } => match findings.len() {
                1 => format!("the configuration {} has a problem", path.display()),
                count => format!("the configuration {} has {count} problems", path.display()),
            },
        }
    }

    /// Everything behind the headline.
    pub fn details(&self) -> String {
        match self {
            Self::Unreadable { source, .. } => source.to_string(),
            Self::Faulty { findings, .. } => findings
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "name the file with --config FILE or FLYTRAP_CONFIG; \
                 docs/examples/flytrap.toml is one to start from"
            }
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as a user who may read it"
            }
            Self::Unreadable { .. } => "name a file of UTF-8 text with --config FILE",
            Self::Faulty { .. } => "docs/configuration.md lists every key with default and range",
        }
        .to_owned()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.headline(), self.details())
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Faulty { .. } => None,
        }
    }
}
