//! Topic names and filters, as MQTT defines them (3.1.1 and 5.0, section 4.7).

use std::fmt;

use super::escape_control;

/// The longest topic name or filter that MQTT can carry, in bytes (section 1.5.4).
pub const MAX_TOPIC_BYTES: usize = 65_535;

/// Why a text is no topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// It has no character (4.7.3-1).
    #[error("a topic has at least one character")]
    Empty,
    /// It is longer than [`MAX_TOPIC_BYTES`] (4.7.3-3).
    #[error("a topic has at most 65,535 bytes")]
    TooLong,
    /// It holds U+0000 (4.7.3-2).
    #[error("a topic must not contain U+0000")]
    Null,
    /// A topic name holds `+` or `#` (3.3.2-2).
    #[error("a topic name must not contain the wildcards + and #")]
    Wildcard,
    /// `#` isn't the whole last level, or `+` isn't a whole level (4.7.1).
    #[error("a wildcard must be a whole level, and # must be the last")]
    WildcardPlace,
    /// `$share` without a plain group name and a filter (5.0, 4.8.2).
    #[error("a shared subscription is written as $share/GROUP/FILTER, GROUP without wildcards")]
    Share,
}

fn check(text: &str) -> Result<(), BadTopic> {
    if text.is_empty() {
        Err(BadTopic::Empty)
    } else if text.len() > MAX_TOPIC_BYTES {
        Err(BadTopic::TooLong)
    } else if text.contains('\0') {
        Err(BadTopic::Null)
    } else {
        Ok(())
    }
}

/// A valid topic name: at least one character, no wildcards, no U+0000.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// # Errors
    /// Whatever makes `text` no topic name.
    pub fn new(text: &'a str) -> Result<Self, BadTopic> {
        check(text)?;
        if text.contains(['+', '#']) {
            Err(BadTopic::Wildcard)
        } else {
            Ok(Self(text))
        }
    }

    /// The name as it was written.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Its levels; an empty level counts (4.7.1.1).
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether it belongs to the broker: wildcards in the first level don't match it (4.7.2).
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }
}

/// A valid topic filter: at least one character, wildcards only as whole levels, `#` only last.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// # Errors
    /// Whatever makes `text` no topic filter.
    pub fn new(text: &'a str) -> Result<Self, BadTopic> {
        check(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let wild = level.contains(['+', '#']);
            if wild && (level.len() > 1 || (level == "#" && levels.peek().is_some())) {
                return Err(BadTopic::WildcardPlace);
            }
        }
        Ok(Self(text))
    }

    /// The filter as it was written.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Its levels; an empty level counts (4.7.1.1).
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether it names the broker's own topics: `#` and `+/x` don't (4.7.2).
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    /// Whether the filter matches the topic (4.7.1, 4.7.2). Comparison is bytewise.
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        if topic.is_dollar() && !self.is_dollar() {
            return false;
        }
        let mut names = topic.levels();
        for level in self.levels() {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                // `a/#` also matches `a`: the parent level (4.7.1.2).
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl<'a> From<TopicName<'a>> for TopicFilter<'a> {
    fn from(name: TopicName<'a>) -> Self {
        Self(name.0)
    }
}

/// What a SUBSCRIBE names: a filter, perhaps shared by a group (5.0, 4.8.2). Brokers honour
/// `$share` from 3.1.1 clients as well, so it is read from those too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionFilter<'a> {
    /// The group that shares the subscription.
    pub group: Option<&'a str>,
    /// What it matches.
    pub filter: TopicFilter<'a>,
}

impl<'a> SubscriptionFilter<'a> {
    /// # Errors
    /// Whatever makes `text` no filter, and [`BadTopic::Share`].
    pub fn new(text: &'a str) -> Result<Self, BadTopic> {
        check(text)?;
        let Some(shared) = text.strip_prefix("$share") else {
            return Ok(Self {
                group: None,
                filter: TopicFilter::new(text)?,
            });
        };
        if !shared.is_empty() && !shared.starts_with('/') {
            return Ok(Self {
                group: None,
                filter: TopicFilter::new(text)?,
            });
        }
        let rest = shared.strip_prefix('/').ok_or(BadTopic::Share)?;
        let (group, filter) = rest.split_once('/').ok_or(BadTopic::Share)?;
        if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
            return Err(BadTopic::Share);
        }
        Ok(Self {
            group: Some(group),
            filter: TopicFilter::new(filter)?,
        })
    }
}

macro_rules! show_escaped {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&escape_control(self.0))
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.0, f)
            }
        }
    )*};
}
show_escaped!(TopicName, TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "a",
            "/",
            "a//b",
            "sport/tennis",
            "über/straße",
            "$SYS/x",
            " ",
        ] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        assert_eq!(TopicName::new(""), Err(BadTopic::Empty));
        assert_eq!(TopicName::new("a\0b"), Err(BadTopic::Null));
        assert_eq!(TopicName::new("a/+"), Err(BadTopic::Wildcard));
        assert_eq!(TopicName::new(&"x".repeat(65_536)), Err(BadTopic::TooLong));
    }

    #[test]
    fn filters() {
        for good in ["#", "+", "a/#", "+/a/+", "/", "a//+", "$SYS/#"] {
            assert!(TopicFilter::new(good).is_ok(), "{good}");
        }
        for bad in ["a#", "#/a", "a/#/b", "a+", "+a/b", "##"] {
            assert_eq!(TopicFilter::new(bad), Err(BadTopic::WildcardPlace), "{bad}");
        }
    }

    /// The examples of section 4.7 and the corners that brokers get wrong.
    #[test]
    fn matching() {
        let matches = |filter, topic| {
            TopicFilter::new(filter)
                .unwrap()
                .matches(TopicName::new(topic).unwrap())
        };
        for (filter, topic) in [
            ("sport/tennis/#", "sport/tennis"),
            ("sport/tennis/#", "sport/tennis/player1/ranking"),
            ("#", "a/b"),
            ("+", "a"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("a//b", "a//b"),
            ("$SYS/#", "$SYS/broker"),
            ("a/+/c", "a//c"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("+", "/finance"),
            ("+", "a/b"),
            ("a/+", "a"),
            ("a/#", "ab"),
            ("#", "$SYS/broker"),
            ("+/broker", "$SYS/broker"),
            ("a", "A"),
            ("a/b", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn shared() {
        let shared = SubscriptionFilter::new("$share/g/a/#").unwrap();
        assert_eq!((shared.group, shared.filter.as_str()), (Some("g"), "a/#"));
        assert_eq!(SubscriptionFilter::new("$shared/x").unwrap().group, None);
        for bad in [
            "$share",
            "$share/g",
            "$share/g/",
            "$share//x",
            "$share/+/x",
            "$share/#/x",
        ] {
            assert_eq!(SubscriptionFilter::new(bad), Err(BadTopic::Share), "{bad}");
        }
    }
}
