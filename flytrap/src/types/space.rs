//! Topic spaces: their names, their terms, and the grants in them.

use std::fmt;
use std::str::FromStr;

use super::{MAX_TOPIC_BYTES, escape_control};
use super::{UnixTime, Wallet};

/// The longest label of a topic space, in bytes.
pub const MAX_LABEL_BYTES: usize = 64;

/// Why a text is no name of a topic space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSpaceName {
    /// A label has no character, as in `a//b`, `/a` and `a/`.
    #[error("every level of a topic space's name needs at least one character")]
    Empty,
    /// A label is longer than [`MAX_LABEL_BYTES`].
    #[error("a level of a topic space's name has at most 64 bytes")]
    LongLabel,
    /// The whole is longer than a topic can be.
    #[error("a topic space's name has at most 65,535 bytes")]
    TooLong,
    /// A label holds `+`, `#` or U+0000.
    #[error("a topic space's name must not contain +, # or U+0000")]
    Character,
    /// A label begins with `$`.
    #[error("no level of a topic space's name may begin with $")]
    Dollar,
}

/// The name of a topic space: labels of 1 to 64 bytes with `/` between them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceName(Box<str>);

impl SpaceName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels, the top level first; at least one.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The name of the topic space around this one; `None` at the top level.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Whether every topic with these levels lies in this space. Levels of a filter that the
    /// space's name reaches into may not be wildcards, which no label is.
    pub fn holds<'t>(&self, mut levels: impl Iterator<Item = &'t str>) -> bool {
        self.labels().all(|label| levels.next() == Some(label))
    }

    /// The top-level topic space that holds this one.
    pub fn top(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(top, _)| top)
    }
}

impl FromStr for SpaceName {
    type Err = BadSpaceName;

    fn from_str(text: &str) -> Result<Self, BadSpaceName> {
        if text.len() > MAX_TOPIC_BYTES {
            return Err(BadSpaceName::TooLong);
        }
        for label in text.split('/') {
            if label.is_empty() {
                return Err(BadSpaceName::Empty);
            } else if label.len() > MAX_LABEL_BYTES {
                return Err(BadSpaceName::LongLabel);
            } else if label.contains(['+', '#', '\0']) {
                return Err(BadSpaceName::Character);
            } else if label.starts_with('$') {
                return Err(BadSpaceName::Dollar);
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SpaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_control(&self.0))
    }
}

impl fmt::Debug for SpaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What terms and grants are about. Receiving a message needs the right to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To publish.
    Publish,
    /// To subscribe, and to be delivered messages.
    Subscribe,
}

/// Who holds a right in a topic space without being named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody: the owner grants it.
    #[default]
    Closed,
    /// Every wallet that isn't denied it.
    Open,
}

/// The terms of a topic space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Who may publish.
    pub publish: Mode,
    /// Who may subscribe.
    pub subscribe: Mode,
}

impl Terms {
    /// The mode of one right.
    pub fn mode(&self, right: Right) -> Mode {
        match right {
            Right::Publish => self.publish,
            Right::Subscribe => self.subscribe,
        }
    }
}

/// How long something granted holds. The order is that of length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validity {
    /// Not at all: it was not granted.
    #[default]
    Never,
    /// While the time is before this one; at this second no longer.
    Until(UnixTime),
    /// Without an end.
    Forever,
}

impl Validity {
    /// Whether it holds at `now`.
    pub fn holds(self, now: UnixTime) -> bool {
        match self {
            Self::Never => false,
            Self::Until(end) => now < end,
            Self::Forever => true,
        }
    }

    /// When it ends; `None` where it has no end.
    pub fn end(self) -> Option<UnixTime> {
        match self {
            Self::Never => Some(UnixTime(0)),
            Self::Until(end) => Some(end),
            Self::Forever => None,
        }
    }
}

/// What the owner of a topic space gave to, or took from, one wallet there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// How long it may publish.
    pub publish: Validity,
    /// How long it may subscribe.
    pub subscribe: Validity,
    /// It must not publish, whatever else would permit it.
    pub deny_publish: bool,
    /// It must not subscribe, whatever else would permit it.
    pub deny_subscribe: bool,
    /// All this is for everything below as well, not for the space's own name alone.
    pub subtree: bool,
}

impl Grant {
    /// How long one right is granted, leaving denials aside.
    pub fn validity(&self, right: Right) -> Validity {
        match right {
            Right::Publish => self.publish,
            Right::Subscribe => self.subscribe,
        }
    }

    /// Whether one right is denied.
    pub fn denies(&self, right: Right) -> bool {
        match right {
            Right::Publish => self.deny_publish,
            Right::Subscribe => self.deny_subscribe,
        }
    }
}

/// A topic space as it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its full name.
    pub name: SpaceName,
    /// Who owns it.
    pub owner: Wallet,
    /// Its terms.
    pub terms: Terms,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["plant", "plant/line 1", "über/straße", "a/b$"] {
            assert_eq!(good.parse::<SpaceName>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", BadSpaceName::Empty),
            ("/a", BadSpaceName::Empty),
            ("a/", BadSpaceName::Empty),
            ("a//b", BadSpaceName::Empty),
            ("a/+", BadSpaceName::Character),
            ("#", BadSpaceName::Character),
            ("a\0", BadSpaceName::Character),
            ("$SYS", BadSpaceName::Dollar),
            ("a/$b", BadSpaceName::Dollar),
        ] {
            assert_eq!(bad.parse::<SpaceName>(), Err(why), "{bad}");
        }
        assert!("x".repeat(64).parse::<SpaceName>().is_ok());
        assert_eq!(
            "ü".repeat(33).parse::<SpaceName>(),
            Err(BadSpaceName::LongLabel)
        );
        assert_eq!(
            "a/".repeat(40_000).parse::<SpaceName>(),
            Err(BadSpaceName::TooLong)
        );
    }

    #[test]
    fn parent_and_top() {
        let name: SpaceName = "a/b/c".parse().unwrap();
        assert_eq!((name.parent(), name.top()), (Some("a/b"), "a"));
        let name: SpaceName = "a".parse().unwrap();
        assert_eq!((name.parent(), name.top()), (None, "a"));
    }

    #[test]
    fn holds_itself_and_what_is_below() {
        let name: SpaceName = "a/b".parse().unwrap();
        for inside in ["a/b", "a/b/", "a/b/c", "a/b/#", "a/b/+", "a/b/+/c"] {
            assert!(name.holds(inside.split('/')), "{inside}");
        }
        for outside in ["a", "a/+", "a/#", "#", "+/b", "a/bc", "/a/b", "$a/b", "A/b"] {
            assert!(!name.holds(outside.split('/')), "{outside}");
        }
    }

    #[test]
    fn validity_ends_at_its_second() {
        let until = Validity::Until(UnixTime(10));
        assert!(until.holds(UnixTime(9)) && !until.holds(UnixTime(10)));
        assert!(Validity::Forever.holds(UnixTime(u64::MAX)));
        assert!(!Validity::Never.holds(UnixTime(0)));
        assert!(Validity::Never < until && until < Validity::Forever);
    }
}
