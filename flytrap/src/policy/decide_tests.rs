//! Each sentence of `docs/policy.md`, made to happen.

use super::*;
use crate::types::{
    Action, Grant, Mode, Principal, Space, Terms, TopicFilter, TopicName, Validity, Wallet,
};

const NOW: UnixTime = UnixTime(1_000);
const FACTORY: Wallet = Wallet([1; 20]);
const TENANT: Wallet = Wallet([2; 20]);
const DEVICE: Wallet = Wallet([3; 20]);
const STRANGER: Wallet = Wallet([4; 20]);

const CLOSED: Terms = Terms {
    publish: Mode::Closed,
    subscribe: Mode::Closed,
};
const READABLE: Terms = Terms {
    publish: Mode::Closed,
    subscribe: Mode::Open,
};
const NOTHING: Grant = Grant {
    publish: Validity::Never,
    subscribe: Validity::Never,
    deny_publish: false,
    deny_subscribe: false,
    subtree: false,
};
const READ: Grant = Grant {
    subscribe: Validity::Forever,
    ..NOTHING
};
const READ_ALL: Grant = Grant {
    subtree: true,
    ..READ
};
const DENY: Grant = Grant {
    deny_subscribe: true,
    ..NOTHING
};
const DENY_ALL: Grant = Grant {
    subtree: true,
    ..DENY
};

fn until(end: u64) -> Validity {
    Validity::Until(UnixTime(end))
}

struct World(SnapshotBuilder);

fn world() -> World {
    World(SnapshotBuilder::new(1, Admit::Entitled))
}

impl World {
    fn space(mut self, name: &str, owner: Wallet, terms: Terms) -> Self {
        let name = name.parse().unwrap();
        self.0.space(Space { name, owner, terms }).unwrap();
        self
    }

    fn grant(mut self, space: &str, wallet: Wallet, grant: Grant) -> Self {
        self.0
            .grant(&space.parse().unwrap(), wallet, grant)
            .unwrap();
        self
    }

    fn done(self) -> Snapshot {
        self.0.build()
    }
}

fn ask(snapshot: &Snapshot, wallet: Wallet, action: Action<'_>, now: UnixTime) -> Decision {
    let principal = Principal {
        wallet,
        client_id: "c".to_owned(),
    };
    decide(snapshot, &principal, action, now)
}

fn receive(snapshot: &Snapshot, wallet: Wallet, topic: &str) -> Decision {
    let topic = TopicName::new(topic).unwrap();
    ask(snapshot, wallet, Action::Receive(topic), NOW)
}

fn publish(snapshot: &Snapshot, wallet: Wallet, topic: &str) -> Decision {
    let topic = TopicName::new(topic).unwrap();
    ask(snapshot, wallet, Action::Publish(topic), NOW)
}

fn subscribe(snapshot: &Snapshot, wallet: Wallet, filter: &str) -> Decision {
    let filter = TopicFilter::new(filter).unwrap();
    ask(snapshot, wallet, Action::Subscribe(filter), NOW)
}

fn permit(why: Why) -> Decision {
    Decision::Permit { why, until: None }
}

fn deny(reason: DenyReason) -> Decision {
    Decision::Deny { reason }
}

#[test]
fn a_topic_of_no_space_is_denied() {
    let s = world().space("plant", FACTORY, READABLE).done();
    for topic in ["other", "other/plant", "/plant", "plan", "plant2"] {
        assert_eq!(
            receive(&s, FACTORY, topic),
            deny(DenyReason::NoSuchSpace),
            "{topic}"
        );
    }
}

#[test]
fn what_is_not_registered_belongs_to_the_nearest_space_above() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/open", FACTORY, READABLE)
        .done();
    assert_eq!(receive(&s, STRANGER, "plant/open/x/y"), permit(Why::Open));
    assert_eq!(receive(&s, STRANGER, "plant/open/"), permit(Why::Open));
    assert_eq!(
        receive(&s, STRANGER, "plant//open"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(
        receive(&s, STRANGER, "plant/x"),
        deny(DenyReason::NotGranted)
    );
}

#[test]
fn the_owner_may_and_cannot_be_denied() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .grant("plant", FACTORY, DENY_ALL)
        .done();
    assert_eq!(receive(&s, FACTORY, "plant"), permit(Why::Owner));
    assert_eq!(publish(&s, FACTORY, "plant/a/b"), permit(Why::Owner));
    assert_eq!(subscribe(&s, FACTORY, "plant/#"), permit(Why::Owner));
}

#[test]
fn a_sold_child_is_its_owners_alone() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/flat", TENANT, CLOSED)
        .space("plant/flat/box", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ_ALL)
        .grant("plant", TENANT, DENY_ALL)
        .done();
    assert_eq!(
        receive(&s, FACTORY, "plant/flat/x"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(
        receive(&s, DEVICE, "plant/flat"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(receive(&s, TENANT, "plant/flat/x"), permit(Why::Owner));
    // Nor does a grant jump over the sold level to a space of the first owner.
    assert_eq!(
        receive(&s, DEVICE, "plant/flat/box"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(receive(&s, DEVICE, "plant/x"), permit(Why::Grant));
}

#[test]
fn a_grant_without_subtree_is_for_the_name_alone() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ)
        .done();
    assert_eq!(receive(&s, DEVICE, "plant"), permit(Why::Grant));
    for topic in ["plant/x", "plant/line", "plant/"] {
        assert_eq!(
            receive(&s, DEVICE, topic),
            deny(DenyReason::NotGranted),
            "{topic}"
        );
    }
    assert_eq!(
        publish(&s, DEVICE, "plant"),
        deny(DenyReason::NotGranted),
        "another right"
    );
}

#[test]
fn a_subtree_grant_reaches_registered_and_other_topics_below() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ_ALL)
        .done();
    for topic in ["plant", "plant/x", "plant/line", "plant/line/x"] {
        assert_eq!(receive(&s, DEVICE, topic), permit(Why::Grant), "{topic}");
    }
}

#[test]
fn a_denial_beats_any_grant_and_openness() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/line", FACTORY, READABLE)
        .grant("plant", DEVICE, DENY_ALL)
        .grant("plant/line", DEVICE, READ_ALL)
        .grant("plant", STRANGER, DENY)
        .done();
    for topic in ["plant", "plant/x", "plant/line", "plant/line/x"] {
        assert_eq!(
            receive(&s, DEVICE, topic),
            deny(DenyReason::Denied),
            "{topic}"
        );
    }
    assert_eq!(receive(&s, STRANGER, "plant"), deny(DenyReason::Denied));
    assert_eq!(receive(&s, STRANGER, "plant/x"), permit(Why::Open));
    assert_eq!(
        publish(&s, DEVICE, "plant"),
        deny(DenyReason::NotGranted),
        "another right"
    );
}

#[test]
fn the_longest_of_several_grants_counts_and_ends_on_its_second() {
    let ends = |end| Grant {
        subscribe: until(end),
        subtree: true,
        ..NOTHING
    };
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line", FACTORY, CLOSED)
        .grant("plant", DEVICE, ends(2_000))
        .grant("plant/line", DEVICE, ends(1_500))
        .done();
    let topic = Action::Receive(TopicName::new("plant/line").unwrap());
    assert_eq!(
        ask(&s, DEVICE, topic, UnixTime(1_999)),
        Decision::Permit {
            why: Why::Grant,
            until: Some(UnixTime(2_000))
        }
    );
    assert_eq!(
        ask(&s, DEVICE, topic, UnixTime(2_000)),
        deny(DenyReason::Expired)
    );
}

#[test]
fn an_expired_grant_does_not_close_an_open_space() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .grant(
            "plant",
            DEVICE,
            Grant {
                subscribe: until(NOW.0),
                ..NOTHING
            },
        )
        .done();
    assert_eq!(receive(&s, DEVICE, "plant"), permit(Why::Open));
}

#[test]
fn a_later_grant_replaces_the_earlier_one() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ)
        .grant("plant", DEVICE, NOTHING)
        .done();
    assert_eq!(receive(&s, DEVICE, "plant"), deny(DenyReason::NotGranted));
    assert_eq!(s.grants(), 1);
}

#[test]
fn a_filter_without_wildcards_is_decided_like_a_name() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .grant("plant", DEVICE, READ)
        .done();
    assert_eq!(subscribe(&s, DEVICE, "plant"), permit(Why::Grant));
    assert_eq!(
        subscribe(&s, DEVICE, "plant/x"),
        deny(DenyReason::NotGranted)
    );
    assert_eq!(
        subscribe(&s, DEVICE, "other"),
        deny(DenyReason::NoSuchSpace)
    );
}

#[test]
fn a_filter_is_permitted_only_if_all_that_it_matches_is() {
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line1", FACTORY, CLOSED)
        .space("plant/line2", FACTORY, CLOSED)
        .space("plant/sold", TENANT, CLOSED)
        .space("plant/sold/public", TENANT, READABLE)
        .grant("plant/line1", DEVICE, READ_ALL)
        .grant("plant/line2", DEVICE, READ)
        .done();
    for (wallet, filter, expected) in [
        (DEVICE, "plant/line1/#", permit(Why::Grant)),
        (DEVICE, "plant/line1/+/temp", permit(Why::Grant)),
        (DEVICE, "plant/line2/#", deny(DenyReason::NotCovered)),
        (DEVICE, "plant/line2/+", deny(DenyReason::NotCovered)),
        (DEVICE, "plant/+/temp", deny(DenyReason::NotCovered)),
        (DEVICE, "plant/#", deny(DenyReason::NotCovered)),
        (DEVICE, "#", deny(DenyReason::NotCovered)),
        (DEVICE, "+/line1", deny(DenyReason::NotCovered)),
        (DEVICE, "other/#", deny(DenyReason::NoSuchSpace)),
        (STRANGER, "plant/#", deny(DenyReason::NotGranted)),
        // All of the plant is the owner's but for what was sold.
        (FACTORY, "plant/#", deny(DenyReason::NotCovered)),
        (FACTORY, "plant/+", deny(DenyReason::NotCovered)),
        (FACTORY, "plant/+/temp", deny(DenyReason::NotCovered)),
        (FACTORY, "plant/+/public", permit(Why::Owner)),
        (FACTORY, "plant/line1/#", permit(Why::Owner)),
        (FACTORY, "plant/unregistered/#", permit(Why::Owner)),
        (TENANT, "plant/sold/#", permit(Why::Owner)),
        (STRANGER, "plant/sold/public/#", permit(Why::Open)),
    ] {
        assert_eq!(subscribe(&s, wallet, filter), expected, "{wallet} {filter}");
    }
}

#[test]
fn a_single_level_wildcard_needs_no_more_than_that_level() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/sold", TENANT, CLOSED)
        .grant("plant/sold", DEVICE, READ)
        .done();
    assert_eq!(subscribe(&s, DEVICE, "plant/+"), permit(Why::Open));
    assert_eq!(
        subscribe(&s, DEVICE, "plant/+/x"),
        deny(DenyReason::NotCovered)
    );
    assert_eq!(
        subscribe(&s, STRANGER, "plant/+"),
        deny(DenyReason::NotCovered)
    );
}

#[test]
fn a_filter_that_overlaps_a_denial_is_refused() {
    let s = world()
        .space("plant", FACTORY, READABLE)
        .space("plant/line", FACTORY, READABLE)
        .space("plant/line/vault", FACTORY, READABLE)
        .grant("plant/line/vault", DEVICE, DENY)
        .done();
    for (filter, expected) in [
        ("plant/#", deny(DenyReason::Denied)),
        ("plant/+/vault", deny(DenyReason::Denied)),
        ("plant/line/+", deny(DenyReason::Denied)),
        // The denial is for the name alone; below it all is open.
        ("plant/line/vault/+", permit(Why::Open)),
        ("plant/+/vault/+", permit(Why::Open)),
        // `a/#` matches `a`.
        ("plant/line/vault/#", deny(DenyReason::Denied)),
        ("plant/+", permit(Why::Open)),
        ("plant/+/door", permit(Why::Open)),
    ] {
        assert_eq!(subscribe(&s, DEVICE, filter), expected, "{filter}");
    }
    assert_eq!(subscribe(&s, STRANGER, "plant/#"), permit(Why::Open));
}

/// Which child the walk meets first must not show.
#[test]
fn the_reason_does_not_depend_on_the_order_of_spaces() {
    for _ in 0..32 {
        let s = world()
            .space("p", FACTORY, READABLE)
            .space("p/a", FACTORY, CLOSED)
            .space("p/b", FACTORY, READABLE)
            .space("p/c", FACTORY, CLOSED)
            .grant("p/b", DEVICE, DENY)
            .done();
        assert_eq!(subscribe(&s, DEVICE, "p/+"), deny(DenyReason::Denied));
    }
}

#[test]
fn a_filter_is_permitted_until_the_first_part_ends() {
    let ends = |end| Grant {
        subscribe: until(end),
        subtree: true,
        ..NOTHING
    };
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/sold", TENANT, CLOSED)
        .grant("plant", DEVICE, ends(3_000))
        .grant("plant/sold", DEVICE, ends(2_000))
        .done();
    let all = Action::Subscribe(TopicFilter::new("plant/#").unwrap());
    assert_eq!(
        ask(&s, DEVICE, all, UnixTime(1_999)),
        Decision::Permit {
            why: Why::Grant,
            until: Some(UnixTime(2_000))
        }
    );
    assert_eq!(
        ask(&s, DEVICE, all, UnixTime(2_000)),
        deny(DenyReason::NotCovered)
    );
    assert_eq!(
        ask(&s, DEVICE, all, UnixTime(3_000)),
        deny(DenyReason::Expired)
    );
}

#[test]
fn dollar_topics_are_for_the_configured_wallets_alone() {
    let mut builder = world().space("plant", FACTORY, READABLE).0;
    builder.dollar_topics(TopicFilter::new("$SYS/broker/#").unwrap(), [DEVICE]);
    let s = builder.build();
    for permitted in ["$SYS/broker", "$SYS/broker/x"] {
        assert_eq!(receive(&s, DEVICE, permitted), permit(Why::DollarTopics));
        assert_eq!(publish(&s, DEVICE, permitted), permit(Why::DollarTopics));
        assert_eq!(
            receive(&s, FACTORY, permitted),
            deny(DenyReason::DollarTopic)
        );
    }
    assert_eq!(
        subscribe(&s, DEVICE, "$SYS/broker/+"),
        permit(Why::DollarTopics)
    );
    for wider in ["$SYS/#", "$SYS/+", "$SYS/+/x", "$other"] {
        assert_eq!(
            subscribe(&s, DEVICE, wider),
            deny(DenyReason::DollarTopic),
            "{wider}"
        );
    }
    assert_eq!(
        subscribe(&s, DEVICE, "plant/#"),
        permit(Why::Open),
        "others as ever"
    );
}

#[test]
fn who_is_admitted() {
    let connect = |s: &Snapshot, wallet| ask(s, wallet, Action::Connect, NOW);
    let ends = |end| Grant {
        publish: until(end),
        ..NOTHING
    };
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("plant/line", FACTORY, CLOSED)
        .grant("plant", DEVICE, ends(1_001))
        .grant("plant/line", DEVICE, ends(1_500))
        .grant("plant", TENANT, ends(1_000))
        .grant("plant", STRANGER, DENY_ALL)
        .done();
    assert_eq!(connect(&s, FACTORY), permit(Why::Owner));
    assert_eq!(
        connect(&s, DEVICE),
        Decision::Permit {
            why: Why::Grant,
            until: Some(UnixTime(1_500))
        }
    );
    assert_eq!(connect(&s, TENANT), deny(DenyReason::Expired));
    assert_eq!(connect(&s, STRANGER), deny(DenyReason::NotAdmitted));
    assert_eq!(connect(&s, Wallet([9; 20])), deny(DenyReason::NotAdmitted));

    let denied_grant = Grant {
        deny_publish: true,
        ..ends(2_000)
    };
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .grant("plant", DEVICE, denied_grant)
        .done();
    assert_eq!(connect(&s, DEVICE), deny(DenyReason::NotAdmitted));

    let publishable = Terms {
        publish: Mode::Open,
        ..CLOSED
    };
    let s = world().space("plant", FACTORY, publishable).done();
    assert_eq!(connect(&s, STRANGER), permit(Why::Open));

    let s = SnapshotBuilder::new(1, Admit::Any).build();
    assert_eq!(connect(&s, STRANGER), permit(Why::AdmitAny));
}

#[test]
fn the_latest_revocation_of_tokens_counts() {
    let mut builder = SnapshotBuilder::new(1, Admit::Any);
    builder.revoke_tokens(DEVICE, UnixTime(20));
    builder.revoke_tokens(DEVICE, UnixTime(10));
    let s = builder.build();
    assert_eq!(s.tokens_revoked_before(DEVICE), Some(UnixTime(20)));
    assert_eq!(s.tokens_revoked_before(STRANGER), None);
}

#[test]
fn a_ledger_that_contradicts_itself_is_refused() {
    let space = |name: &str| Space {
        name: name.parse().unwrap(),
        owner: FACTORY,
        terms: CLOSED,
    };
    let mut builder = world().space("a", FACTORY, CLOSED).0;
    assert_eq!(
        builder.space(space("a")),
        Err(Inconsistent::Duplicate("a".parse().unwrap()))
    );
    assert_eq!(
        builder.space(space("a/b/c")),
        Err(Inconsistent::NoParent {
            name: "a/b/c".parse().unwrap(),
            parent: "a/b".to_owned()
        })
    );
    assert_eq!(
        builder.grant(&"b".parse().unwrap(), DEVICE, READ),
        Err(Inconsistent::GrantNowhere("b".parse().unwrap()))
    );
}

#[test]
fn causes_have_stable_names() {
    for reason in DenyReason::ALL {
        let json = serde_json::to_string(reason).unwrap();
        assert_eq!(json, format!("\"{}\"", reason.as_str()));
    }
    let decision = Decision::Permit {
        why: Why::Grant,
        until: Some(UnixTime(1_767_225_600)),
    };
    assert_eq!(
        decision.to_string(),
        "permit (grant) until 2026-01-01T00:00:00Z: the wallet has a grant"
    );
    assert_eq!(
        serde_json::to_string(&decision).unwrap(),
        r#"{"decision":"permit","why":"grant","until":1767225600}"#
    );
    assert_eq!(
        deny(DenyReason::DollarTopic).to_string(),
        "deny (dollar-topic): the configuration's [dollar_topics] do not name the wallet for this $ topic"
    );
}
