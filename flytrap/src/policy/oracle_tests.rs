//! Random trees, grants and filters against a naive reading of `docs/policy.md`: flat lists,
//! upward walks, and every topic tried one by one.

use proptest::prelude::*;

use super::*;
use crate::types::{
    Action, Grant, Mode, Principal, Right, Space, Terms, TopicFilter, TopicName, Validity, Wallet,
};

const WALLETS: u8 = 3;
/// Spaces are at most this deep.
const DEPTH: usize = 3;
const LABELS: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
struct Flat {
    spaces: Vec<(String, Wallet, Terms)>,
    grants: Vec<(String, Wallet, Grant)>,
}

impl Flat {
    fn snapshot(&self) -> Snapshot {
        let mut builder = SnapshotBuilder::new(1, Admit::Entitled);
        for (name, owner, terms) in &self.spaces {
            let space = Space {
                name: name.parse().unwrap(),
                owner: *owner,
                terms: *terms,
            };
            builder.space(space).unwrap();
        }
        for (name, wallet, grant) in &self.grants {
            builder
                .grant(&name.parse().unwrap(), *wallet, *grant)
                .unwrap();
        }
        builder.build()
    }

    fn space(&self, name: &str) -> Option<&(String, Wallet, Terms)> {
        self.spaces.iter().find(|space| space.0 == name)
    }

    fn grant(&self, name: &str, wallet: Wallet) -> Option<Grant> {
        let found = self.grants.iter().find(|g| g.0 == name && g.1 == wallet);
        found.map(|g| g.2)
    }

    /// The steps 1 to 6 as the page numbers them; the answer is permitted-until or denied.
    fn may(&self, wallet: Wallet, right: Right, topic: &str, now: UnixTime) -> Option<Validity> {
        let mut prefix = topic;
        let (deepest, owner, terms) = loop {
            if let Some(space) = self.space(prefix) {
                break space;
            }
            prefix = prefix.rsplit_once('/')?.0;
        };
        let mut chain = vec![deepest.clone()];
        while let Some((above, _)) = chain.last().unwrap().rsplit_once('/') {
            if self.space(above).unwrap().1 != *owner {
                break;
            }
            chain.push(above.to_owned());
        }
        if wallet == *owner {
            return Some(Validity::Forever);
        }
        let reaching: Vec<Grant> = chain
            .iter()
            .filter_map(|name| {
                self.grant(name, wallet)
                    .filter(|grant| grant.subtree || name == topic)
            })
            .collect();
        if reaching.iter().any(|grant| grant.denies(right)) {
            return None;
        }
        let latest = reaching.iter().map(|grant| grant.validity(right)).max();
        match latest {
            Some(validity) if validity.holds(now) => Some(validity),
            _ if terms.mode(right) == Mode::Open => Some(Validity::Forever),
            _ => None,
        }
    }
}

/// Every topic over the labels of spaces and two that no space has, deeper than spaces and
/// filters go.
fn topics() -> Vec<String> {
    let labels = [LABELS[0], LABELS[1], "fresh", ""];
    let mut longest: Vec<String> = labels.map(str::to_owned).to_vec();
    let mut all = longest.clone();
    for _ in 1..=DEPTH {
        longest = longest
            .iter()
            .flat_map(|name| labels.map(|label| format!("{name}/{label}")))
            .collect();
        all.extend(longest.iter().cloned());
    }
    all.retain(|name| !name.is_empty());
    all
}

fn wallets() -> impl Strategy<Value = Wallet> {
    // Most spaces share one owner, so that chains get long.
    prop_oneof![3 => Just(0), 2 => 1..WALLETS].prop_map(|byte| Wallet([byte; 20]))
}

fn validities() -> impl Strategy<Value = Validity> {
    prop_oneof![
        2 => Just(Validity::Never),
        4 => (1..5_u64).prop_map(|t| Validity::Until(UnixTime(t))),
        2 => Just(Validity::Forever),
    ]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![2 => Just(Mode::Closed), 3 => Just(Mode::Open)]
}

fn grants() -> impl Strategy<Value = Grant> {
    (
        validities(),
        validities(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.6),
    )
        .prop_map(
            |(publish, subscribe, deny_publish, deny_subscribe, subtree)| Grant {
                publish,
                subscribe,
                deny_publish,
                deny_subscribe,
                subtree,
            },
        )
}

fn worlds() -> impl Strategy<Value = Flat> {
    let path = prop::collection::vec(prop::sample::select(&LABELS[..]), 1..=DEPTH);
    let space = (path, wallets(), modes(), modes());
    let grant = (any::<prop::sample::Index>(), wallets(), grants());
    (
        prop::collection::vec(space, 1..8),
        prop::collection::vec(grant, 0..8),
    )
        .prop_map(|(paths, given)| {
            let mut flat = Flat {
                spaces: Vec::new(),
                grants: Vec::new(),
            };
            for (path, owner, publish, subscribe) in paths {
                for depth in 1..=path.len() {
                    let name = path[..depth].join("/");
                    if flat.space(&name).is_none() {
                        flat.spaces
                            .push((name, owner, Terms { publish, subscribe }));
                    }
                }
            }
            for (index, wallet, grant) in given {
                let name = index.get(&flat.spaces).0.clone();
                if flat.grant(&name, wallet).is_none() {
                    flat.grants.push((name, wallet, grant));
                }
            }
            flat
        })
}

fn filters() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "a", "+", "", "fresh"]);
    (
        prop::sample::select(vec!["a", "b", "a", "+"]),
        prop::collection::vec(level, 0..DEPTH),
        prop::bool::weighted(0.4),
    )
        .prop_map(|(first, rest, all_below)| {
            let mut levels = vec![first];
            levels.extend(rest);
            if all_below {
                levels.truncate(DEPTH);
                levels.push("#");
            }
            levels.join("/")
        })
}

fn ask(snapshot: &Snapshot, wallet: Wallet, action: Action<'_>, now: UnixTime) -> Decision {
    let principal = Principal {
        wallet,
        device: None,
        client_id: String::new(),
    };
    decide(snapshot, &principal, action, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn names_are_decided_as_the_page_says(flat in worlds(), now in (0..6_u64).prop_map(UnixTime)) {
        let snapshot = flat.snapshot();
        for topic in topics() {
            let name = TopicName::new(&topic).unwrap();
            for wallet in (0..=WALLETS).map(|byte| Wallet([byte; 20])) {
                for (right, action) in [
                    (Right::Publish, Action::Publish(name)),
                    (Right::Subscribe, Action::Receive(name)),
                ] {
                    let until = match ask(&snapshot, wallet, action, now) {
                        Decision::Permit { until, .. } => Some(until),
                        Decision::Deny { .. } => None,
                    };
                    let expected = flat.may(wallet, right, &topic, now).map(Validity::end);
                    prop_assert_eq!(until, expected, "{} {:?} {}", wallet, right, topic);
                }
            }
        }
    }

    /// Sound and complete: permitted if and only if every topic that the filter matches is; and
    /// all of them stay permitted until just before `until`.
    #[test]
    fn a_filter_is_permitted_exactly_if_all_its_topics_are(
        flat in worlds(),
        filters in prop::collection::vec(filters(), 1..12),
        now in (0..6_u64).prop_map(UnixTime),
    ) {
        let snapshot = flat.snapshot();
        let topics = topics();
        let topics: Vec<_> = topics.iter().map(|topic| TopicName::new(topic).unwrap()).collect();
        for text in filters {
            let filter = TopicFilter::new(&text).unwrap();
            for wallet in (0..=WALLETS).map(|byte| Wallet([byte; 20])) {
                let all_permitted = |now| topics
                    .iter()
                    .filter(|topic| filter.matches(**topic))
                    .all(|topic| flat.may(wallet, Right::Subscribe, topic.as_str(), now).is_some());
                let decision = ask(&snapshot, wallet, Action::Subscribe(filter), now);
                prop_assert_eq!(decision.is_permit(), all_permitted(now), "{} {}", wallet, &text);
                if let Decision::Permit { until, .. } = decision {
                    let last = until.map_or(100, |until| until.0 - 1);
                    prop_assert!(last >= now.0, "until is in the future");
                    for second in now.0..=last.min(10) {
                        prop_assert!(all_permitted(UnixTime(second)), "{} {} at {}", wallet, &text, second);
                    }
                }
                let again = ask(&flat.snapshot(), wallet, Action::Subscribe(filter), now);
                prop_assert_eq!(decision, again, "another snapshot of the same");
            }
        }
    }

    /// Whoever the filter or name decision permits something is also admitted.
    #[test]
    fn who_may_do_anything_is_admitted(flat in worlds(), now in (0..6_u64).prop_map(UnixTime)) {
        let snapshot = flat.snapshot();
        let topics = topics();
        for wallet in (0..=WALLETS).map(|byte| Wallet([byte; 20])) {
            let may = topics.iter().any(|topic| {
                flat.may(wallet, Right::Publish, topic, now).is_some()
                    || flat.may(wallet, Right::Subscribe, topic, now).is_some()
            });
            let admitted = ask(&snapshot, wallet, Action::Connect, now).is_permit();
            prop_assert!(admitted || !may, "{} is not admitted", wallet);
        }
    }
}
