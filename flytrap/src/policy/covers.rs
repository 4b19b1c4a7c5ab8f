//! Coverage between topic filters.

use crate::types::TopicFilter;

/// Whether `outer` matches every topic name that `inner` matches (MQTT 4.7).
pub fn covers(outer: TopicFilter<'_>, inner: TopicFilter<'_>) -> bool {
    // A wildcard in the first level never matches a `$` topic (4.7.2).
    if inner.is_dollar() && !outer.is_dollar() {
        return false;
    }
    let mut outer = outer.levels();
    // `a/#` matches `a` too. What `#` and `/#` would match so, the empty text, is no topic: they
    // always match one level more.
    let mut inner = match inner.as_str() {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    }
    .split('/');
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (_, Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::types::TopicName;

    fn yes(outer: &str, inner: &str) -> bool {
        covers(
            TopicFilter::new(outer).unwrap(),
            TopicFilter::new(inner).unwrap(),
        )
    }

    #[test]
    fn corners() {
        for (outer, inner) in [
            ("#", "a/+/b/#"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("a/+", "a/b"),
            ("a/+", "a/"),
            ("+/#", "#"),
            ("/+/#", "/#"),
            ("+/+/#", "/#"),
            ("#", "+/#"),
            ("$SYS/#", "$SYS/broker/+"),
        ] {
            assert!(yes(outer, inner), "{outer} covers {inner}");
        }
        for (outer, inner) in [
            ("a/b", "a/+"),
            ("a/+", "a/#"),
            ("a/+/#", "a/#"),
            ("+/+/#", "#"),
            ("a/+", "a"),
            ("a", "a/#"),
            ("#", "$SYS/#"),
            ("+/broker", "$SYS/broker"),
            ("$SYS/a", "$SYS/+"),
        ] {
            assert!(!yes(outer, inner), "{outer} doesn't cover {inner}");
        }
    }

    fn filters() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "", "+", "$a"]);
        (
            prop::collection::vec(level, 0..4),
            prop::bool::weighted(0.4),
        )
            .prop_map(|(mut levels, rest)| {
                if rest {
                    levels.push("#");
                }
                levels.join("/")
            })
            .prop_filter("a filter", |text| TopicFilter::new(text).is_ok())
    }

    /// All names of up to five levels over the filters' labels and one that they don't have.
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let labels = ["a", "b", "", "$a", "fresh"];
        let mut all: Vec<String> = Vec::new();
        let mut longest: Vec<String> = labels.map(str::to_owned).to_vec();
        for _ in 0..5 {
            all.extend(longest.iter().filter(|name| !name.is_empty()).cloned());
            longest = longest
                .iter()
                .flat_map(|name| labels.map(|label| format!("{name}/{label}")))
                .collect();
        }
        all
    });

    proptest! {
        #[test]
        fn is_inclusion_of_what_they_match(pairs in prop::collection::vec((filters(), filters()), 1..6)) {
            let names: Vec<_> = NAMES.iter().map(|name| TopicName::new(name).unwrap()).collect();
            for (outer, inner) in pairs {
                let (outer, inner) = (TopicFilter::new(&outer).unwrap(), TopicFilter::new(&inner).unwrap());
                let included = names.iter().all(|name| !inner.matches(*name) || outer.matches(*name));
                prop_assert_eq!(covers(outer, inner), included, "{} {}", outer, inner);
            }
        }
    }
}
