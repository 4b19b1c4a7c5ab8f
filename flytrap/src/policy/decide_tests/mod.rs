//! Each sentence of `docs/policy.md`, made to happen.

mod devices;
mod filters;
mod names;

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
        device: None,
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

/// Every wallet is admitted where a space is open; one that has a grant is known for that.
#[test]
fn a_grant_counts_for_more_than_an_open_space() {
    let grant = Grant {
        publish: until(1_500),
        ..NOTHING
    };
    let open = Terms {
        publish: Mode::Open,
        ..CLOSED
    };
    let s = world()
        .space("plant", FACTORY, CLOSED)
        .space("square", FACTORY, open)
        .grant("plant", DEVICE, grant)
        .done();
    let why = |wallet| match ask(&s, wallet, Action::Connect, NOW) {
        Decision::Permit { why, until } => (why, until),
        Decision::Deny { reason } => panic!("{reason}"),
    };
    assert_eq!(why(DEVICE), (Why::Grant, None));
    assert_eq!(why(STRANGER), (Why::Open, None));
    assert_eq!(why(FACTORY), (Why::Owner, None));
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
