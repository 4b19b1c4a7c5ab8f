//! `[[defence.rule]]`: the ranges and defaults are those of [`Rule`].

use std::time::Duration;

use serde::{Serialize, Serializer};
use toml::Spanned;

use super::duration;
use super::reader::Section;
use crate::offence::{Offence, Rule};

pub(super) fn read(mut section: Section<'_, '_>) -> Rule {
    let default = Rule::default();
    let offences = Offence::ALL.map(|offence| (offence.as_str(), offence));
    let offence = section.choice("offence", &offences);
    if offence.is_none() {
        section.missing("offence", "say what is counted: offence = \"auth-failed\"");
    }
    let more_than = section.number("more_than", 0..=u64::from(Rule::MORE_THAN_MAX));
    let consecutive = section.switch("consecutive");
    let window = section.duration("window", Rule::WINDOW);
    let ban = section
        .duration("ban", Rule::BAN_MIN..=Rule::BAN_MAX)
        .unwrap_or(default.ban);
    let ban_max = section.duration("ban_max", ban..=Rule::BAN_MAX);
    section.close();
    Rule {
        offence: offence.unwrap_or(default.offence),
        more_than: more_than.unwrap_or(default.more_than),
        // Only a failed login is made up for by one that succeeds.
        consecutive: consecutive.is_some_and(Spanned::into_inner),
        window: window.unwrap_or(default.window),
        ban,
        ban_max: ban_max.unwrap_or(ban.max(default.ban_max)),
    }
}

/// A rule as [`read`] reads it.
#[derive(Serialize)]
struct Written {
    offence: &'static str,
    more_than: u32,
    consecutive: bool,
    #[serde(serialize_with = "duration::serialize")]
    window: Duration,
    #[serde(serialize_with = "duration::serialize")]
    ban: Duration,
    #[serde(serialize_with = "duration::serialize")]
    ban_max: Duration,
}

/// For `#[serde(serialize_with)]`.
pub(super) fn serialize<S: Serializer>(rules: &[Rule], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rules.iter().map(|rule| Written {
        offence: rule.offence.as_str(),
        more_than: rule.more_than,
        consecutive: rule.consecutive,
        window: rule.window,
        ban: rule.ban,
        ban_max: rule.ban_max,
    }))
}
