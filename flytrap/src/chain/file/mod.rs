//! The ledger in one TOML file. `docs/policy.md` describes the format.

mod format;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{Ledger, LedgerEvent};
use crate::types::{
    Deployment, DeviceKey, Grant, Space, SpaceName, Terms, Wallet, escape_control, line_and_column,
    nearest,
};

use format::{Contents, DeviceKeyEntry, GrantEntry, SpaceEntry};

/// A ledger that was read from a file, once, and found consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLedger {
    chain_id: u64,
    contract: Wallet,
    events: Vec<LedgerEvent>,
}

/// Why a file is no ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// It can't be read.
    #[error("can't read the ledger {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It says something that can't be.
    #[error("{}:{line}:{column}: {problem}; {help}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
        /// What to do about it.
        help: String,
    },
}

/// A problem at a byte offset of the text.
#[derive(Debug)]
struct Problem {
    at: usize,
    what: String,
    help: String,
}

impl Problem {
    fn at<T>(place: &Spanned<T>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            at: place.span().start,
            what: what.into(),
            help: help.into(),
        }
    }
}

impl FileLedger {
    /// Reads and checks the whole file.
    pub fn open(path: &Path) -> Result<Self, LedgerFileError> {
        let text = std::fs::read_to_string(path).map_err(|source| LedgerFileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|Problem { at, what, help }| {
            let (line, column) = line_and_column(&text, at);
            LedgerFileError::Content {
                path: path.to_owned(),
                line,
                column,
                problem: what,
                help,
            }
        })
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let contents = Contents::parse(text)?;
        let contract = match &contents.contract {
            Some(contract) => format::wallet(contract)?,
            None => Wallet::default(),
        };
        let mut events = spaces(&contents.space)?;
        grants(&contents.grant, &mut events)?;
        device_keys(&contents.device_key, &mut events)?;
        for revocation in &contents.token_revocation {
            events.push(LedgerEvent::TokensRevoked {
                wallet: format::wallet(&revocation.wallet)?,
                before: format::time(&revocation.before)?,
            });
        }
        Ok(Self {
            chain_id: contents.chain_id.unwrap_or_default(),
            contract,
            events,
        })
    }
}

impl Ledger for FileLedger {
    fn deployment(&self, domain: &str) -> Deployment {
        Deployment {
            domain: domain.to_owned(),
            chain_id: self.chain_id,
            contract: self.contract,
        }
    }

    fn events(&self) -> &[LedgerEvent] {
        &self.events
    }
}

/// The events of the spaces, those around others first, whatever their order in the file.
fn spaces(entries: &[SpaceEntry]) -> Result<Vec<LedgerEvent>, Problem> {
    let mut spaces: Vec<(&SpaceEntry, Space)> = Vec::with_capacity(entries.len());
    let mut names = HashSet::with_capacity(entries.len());
    for entry in entries {
        let name = space_name(&entry.name)?;
        if !names.insert(name.as_str().to_owned()) {
            return Err(Problem::at(
                &entry.name,
                format!("topic space `{name}` is there twice"),
                "remove one of the two [[space]]",
            ));
        }
        let space = Space {
            name,
            owner: format::wallet(&entry.owner)?,
            terms: Terms {
                publish: entry.publish,
                subscribe: entry.subscribe,
            },
        };
        spaces.push((entry, space));
    }
    for (entry, space) in &spaces {
        if let Some(parent) = space.name.parent()
            && !names.contains(parent)
        {
            let parent = escape_control(parent);
            return Err(Problem::at(
                &entry.name,
                format!("topic space `{}` has nothing around it", space.name),
                format!("every level must be registered: add a [[space]] named `{parent}`"),
            ));
        }
    }
    spaces.sort_by_cached_key(|(_, space)| space.name.labels().count());
    let events = spaces.into_iter().map(|(_, space)| space);
    Ok(events.map(LedgerEvent::SpaceRegistered).collect())
}

/// Adds the events of the grants to those of the spaces.
fn grants(entries: &[GrantEntry], events: &mut Vec<LedgerEvent>) -> Result<(), Problem> {
    let spaces = registered(events);
    let mut seen: HashMap<SpaceName, HashSet<Wallet>> = HashMap::new();
    for entry in entries {
        let wallet = format::wallet(&entry.wallet)?;
        let space = known_space(&entry.space, &spaces)?;
        if !seen.entry(space.clone()).or_default().insert(wallet) {
            return Err(Problem::at(
                &entry.wallet,
                format!("wallet {wallet} has two grants in topic space `{space}`"),
                "write all its rights there in one [[grant]]",
            ));
        }
        let grant = Grant {
            publish: format::validity(entry.publish_until.as_ref())?,
            subscribe: format::validity(entry.subscribe_until.as_ref())?,
            deny_publish: entry.deny_publish,
            deny_subscribe: entry.deny_subscribe,
            subtree: entry.subtree,
        };
        let idle = Grant {
            subtree: grant.subtree,
            ..Grant::default()
        };
        if grant == idle {
            return Err(Problem::at(
                &entry.wallet,
                "this grant gives nothing and denies nothing",
                "set `publish_until`, `subscribe_until`, `deny_publish` or `deny_subscribe`",
            ));
        }
        events.push(LedgerEvent::Granted {
            space,
            wallet,
            grant,
        });
    }
    Ok(())
}

/// Adds the events of the device keys.
fn device_keys(entries: &[DeviceKeyEntry], events: &mut Vec<LedgerEvent>) -> Result<(), Problem> {
    let spaces = registered(events);
    let mut seen = HashSet::new();
    for entry in entries {
        let scope = entry.scope.as_ref();
        let device = DeviceKey {
            wallet: format::wallet(&entry.wallet)?,
            key: format::public_key(entry.kind, &entry.public_key)?,
            until: format::validity(Some(&entry.until))?,
            scope: scope.map(|name| known_space(name, &spaces)).transpose()?,
        };
        if !seen.insert(device.id()) {
            return Err(Problem::at(
                &entry.public_key,
                format!("wallet {} lists this key twice", device.wallet),
                "remove one of the two [[device_key]]",
            ));
        }
        events.push(LedgerEvent::DeviceKeySet(device));
    }
    Ok(())
}

/// The names of the topic spaces so far.
fn registered(events: &[LedgerEvent]) -> HashSet<SpaceName> {
    let name = |event: &LedgerEvent| match event {
        LedgerEvent::SpaceRegistered(space) => Some(space.name.clone()),
        _ => None,
    };
    events.iter().filter_map(name).collect()
}

fn known_space(text: &Spanned<String>, spaces: &HashSet<SpaceName>) -> Result<SpaceName, Problem> {
    let space = space_name(text)?;
    if spaces.contains(&space) {
        return Ok(space);
    }
    let known = spaces.iter().map(SpaceName::as_str);
    Err(Problem::at(
        text,
        format!("there is no topic space `{space}`"),
        match nearest(space.as_str(), known) {
            Some(near) => format!("did you mean `{}`?", escape_control(near)),
            None => "add a [[space]] of that name".to_owned(),
        },
    ))
}

fn space_name(text: &Spanned<String>) -> Result<SpaceName, Problem> {
    let name = text.get_ref();
    name.parse().map_err(|error| {
        Problem::at(
            text,
            format!("`{}` is no name of a topic space", escape_control(name)),
            format!("{error}"),
        )
    })
}
