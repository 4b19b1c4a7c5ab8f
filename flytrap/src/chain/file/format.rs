//! The file as it is written: keys, values, and where each stands.

use serde::Deserialize;
use toml::Spanned;

use super::Problem;
use crate::types::{KeyKind, Mode, PublicKey, UnixTime, Validity, Wallet, escape_control, nearest};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    pub(super) chain_id: Option<u64>,
    pub(super) contract: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) space: Vec<SpaceEntry>,
    #[serde(default)]
    pub(super) grant: Vec<GrantEntry>,
    #[serde(default)]
    pub(super) device_key: Vec<DeviceKeyEntry>,
    #[serde(default)]
    pub(super) token_revocation: Vec<RevocationEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpaceEntry {
    pub(super) name: Spanned<String>,
    pub(super) owner: Spanned<String>,
    #[serde(default)]
    pub(super) publish: Mode,
    #[serde(default)]
    pub(super) subscribe: Mode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantEntry {
    pub(super) wallet: Spanned<String>,
    pub(super) space: Spanned<String>,
    pub(super) publish_until: Option<Spanned<Moment>>,
    pub(super) subscribe_until: Option<Spanned<Moment>>,
    #[serde(default)]
    pub(super) deny_publish: bool,
    #[serde(default)]
    pub(super) deny_subscribe: bool,
    #[serde(default)]
    pub(super) subtree: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceKeyEntry {
    pub(super) wallet: Spanned<String>,
    pub(super) kind: KeyKind,
    pub(super) public_key: Spanned<String>,
    pub(super) until: Spanned<Moment>,
    pub(super) scope: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationEntry {
    pub(super) wallet: Spanned<String>,
    pub(super) before: Spanned<Moment>,
}

/// A time, as TOML's own kind of value or in quotes.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a time such as 2027-01-01T00:00:00Z, or \"forever\""
)]
pub(super) enum Moment {
    Toml(toml::value::Datetime),
    Text(String),
}

impl Contents {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| {
            let message = error.message();
            Problem {
                at: error.span().map_or(0, |span| span.start),
                what: escape_control(message),
                help: unknown_key(message).map_or_else(
                    || "docs/policy.md describes the format".to_owned(),
                    |known| format!("did you mean `{known}`?"),
                ),
            }
        })
    }
}

/// The known key that an unknown one is probably meant to be. The names of both come from
/// serde's message, which puts them in backticks, the unknown one first.
fn unknown_key(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown ") {
        return None;
    }
    nearest(quoted.next()?, quoted)
}

pub(super) fn wallet(text: &Spanned<String>) -> Result<Wallet, Problem> {
    text.get_ref().parse().map_err(|error| {
        Problem::at(
            text,
            format!("`{}` is no wallet", escape_control(text.get_ref())),
            format!("{error}"),
        )
    })
}

pub(super) fn public_key(kind: KeyKind, text: &Spanned<String>) -> Result<PublicKey, Problem> {
    let digits = text.get_ref();
    let bytes = hex::decode(digits.strip_prefix("0x").unwrap_or(digits)).map_err(|error| {
        Problem::at(
            text,
            format!("`{}` is no public key", escape_control(digits)),
            format!("write it in hexadecimal digits: {error}"),
        )
    })?;
    PublicKey::parse(kind, &bytes).map_err(|error| {
        let help = "`flytrap token public-key` shows that of a key file".to_owned();
        Problem::at(text, error.to_string(), help)
    })
}

/// How long something is granted; nothing written is not at all.
pub(super) fn validity(moment: Option<&Spanned<Moment>>) -> Result<Validity, Problem> {
    let Some(moment) = moment else {
        return Ok(Validity::Never);
    };
    match moment.get_ref() {
        Moment::Text(text) if text == "forever" => Ok(Validity::Forever),
        _ => Ok(Validity::Until(time(moment)?)),
    }
}

/// A whole second at or after 1970.
pub(super) fn time(moment: &Spanned<Moment>) -> Result<UnixTime, Problem> {
    let text = match moment.get_ref() {
        Moment::Toml(datetime) => datetime.to_string(),
        Moment::Text(text) => text.clone(),
    };
    text.parse::<jiff::Timestamp>()
        .ok()
        .filter(|time| time.subsec_nanosecond() == 0)
        .and_then(|time| u64::try_from(time.as_second()).ok())
        .map(UnixTime)
        .ok_or_else(|| {
            Problem::at(
                moment,
                format!("`{}` is no time", escape_control(&text)),
                "write it in whole seconds since 1970 with its offset from UTC, \
                 such as 2027-01-01T00:00:00Z",
            )
        })
}
