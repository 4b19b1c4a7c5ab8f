use std::path::PathBuf;

use super::*;
use crate::chain::FileLedger;
use crate::policy::{Decision, DenyReason, decide};
use crate::types::{
    Action, Deployment, DeviceKey, Grant, KeyId, Principal, PublicKey, Space, SpaceName, Terms,
    TopicName, UnixTime, Validity,
};

const OWNER: Wallet = Wallet([1; 20]);
const DEVICE: Wallet = Wallet([2; 20]);

/// A ledger that is its events.
struct Told(Vec<LedgerEvent>);

impl Ledger for Told {
    fn deployment(&self, domain: &str) -> Deployment {
        Deployment {
            domain: domain.to_owned(),
            chain_id: 0,
            contract: Wallet::default(),
        }
    }

    fn events(&self) -> &[LedgerEvent] {
        &self.0
    }
}

fn name(text: &str) -> SpaceName {
    text.parse().unwrap()
}

fn space(text: &str) -> LedgerEvent {
    LedgerEvent::SpaceRegistered(Space {
        name: name(text),
        owner: OWNER,
        terms: Terms::default(),
    })
}

fn grant(text: &str, publish: Validity) -> LedgerEvent {
    LedgerEvent::Granted {
        space: name(text),
        wallet: DEVICE,
        grant: Grant {
            publish,
            ..Grant::default()
        },
    }
}

fn may_publish(mirror: &Mirror, wallet: Wallet, topic: &str) -> Decision {
    let principal = Principal {
        wallet,
        device: None,
        client_id: "c".to_owned(),
    };
    let action = Action::Publish(TopicName::new(topic).unwrap());
    decide(&mirror.current(), &principal, action, UnixTime(1_000))
}

fn serving(spaces: &[&str]) -> MirrorSettings {
    MirrorSettings {
        spaces: spaces.iter().map(|&s| s.to_owned()).collect(),
        ..MirrorSettings::default()
    }
}

#[test]
fn folds_what_happened_in_order() {
    let ledger = Told(vec![
        space("plant"),
        grant("plant", Validity::Never),
        grant("plant", Validity::Forever),
        LedgerEvent::TokensRevoked {
            wallet: DEVICE,
            before: UnixTime(7),
        },
    ]);
    let mirror = Mirror::load(&ledger, &MirrorSettings::default()).unwrap();
    assert!(may_publish(&mirror, DEVICE, "plant").is_permit());
    let snapshot = mirror.current();
    assert_eq!(
        (snapshot.generation, snapshot.spaces(), snapshot.grants()),
        (1, 1, 1)
    );
    assert_eq!(snapshot.tokens_revoked_before(DEVICE), Some(UnixTime(7)));
}

#[test]
fn serves_the_configured_spaces_alone() {
    let ledger = Told(vec![
        space("plant"),
        space("office"),
        space("office/door"),
        grant("office/door", Validity::Forever),
    ]);
    let mirror = Mirror::load(&ledger, &serving(&["plant"])).unwrap();
    assert!(may_publish(&mirror, OWNER, "plant/x").is_permit());
    assert_eq!(
        may_publish(&mirror, OWNER, "office/x"),
        Decision::Deny {
            reason: DenyReason::NoSuchSpace
        }
    );
    // A grant in a space that isn't served admits nobody.
    let principal = Principal {
        wallet: DEVICE,
        device: None,
        client_id: "c".to_owned(),
    };
    let connect = decide(&mirror.current(), &principal, Action::Connect, UnixTime(0));
    assert_eq!(
        connect,
        Decision::Deny {
            reason: DenyReason::NotAdmitted
        }
    );
}

#[test]
fn a_configured_space_must_exist() {
    let ledger = Told(vec![space("plant"), space("office"), space("plant/line1")]);
    for missing in ["plnat", "plant/line1"] {
        let error = Mirror::load(&ledger, &serving(&["plant", missing])).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the ledger has no top-level topic space `{missing}`; it has `office`, `plant`"
            )
        );
    }
    let error = Mirror::load(&Told(vec![]), &serving(&["plant"])).unwrap_err();
    assert!(error.to_string().ends_with("it has none"), "{error}");
}

#[test]
fn dollar_topics_are_checked() {
    let settings = |filter: &str| MirrorSettings {
        dollar_topics: vec![(filter.to_owned(), vec![DEVICE])],
        ..MirrorSettings::default()
    };
    let mirror = Mirror::load(&Told(vec![]), &settings("$SYS/#")).unwrap();
    assert!(may_publish(&mirror, DEVICE, "$SYS/x").is_permit());
    assert!(!may_publish(&mirror, OWNER, "$SYS/x").is_permit());
    for (filter, message) in [
        (
            "plant/#",
            "[dollar_topics] `plant/#` must be a topic filter that begins with $",
        ),
        (
            "$SYS/#/x",
            "[dollar_topics] `$SYS/#/x` must be a topic filter that begins with $: \
             a wildcard must be a whole level, and # must be the last",
        ),
    ] {
        let error = Mirror::load(&Told(vec![]), &settings(filter)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_ledger_that_contradicts_itself_is_refused() {
    let error = Mirror::load(
        &Told(vec![space("plant/line1")]),
        &MirrorSettings::default(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the ledger contradicts itself: topic space `plant/line1` is registered, but `plant` \
         around it is not"
    );
}

/// The table of `docs/policy.md` is what the example ledger comes to.
#[test]
fn the_documentation_is_true() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let ledger = FileLedger::open(&docs.join("examples/ledger.toml")).unwrap();
    let mirror = Mirror::load(&ledger, &MirrorSettings::default()).unwrap();
    let page = std::fs::read_to_string(docs.join("policy.md")).unwrap();
    let before_2031 = UnixTime(1_900_000_000);
    let mut rows = 0;
    for row in page.lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let &["", who, wants, answer, _, ""] = &cells[..] else {
            continue;
        };
        let wallet = match who {
            "factory" => "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "sensor" => "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "contractor" => "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
            "anybody" => "0x00000000000000000000000000000000000000aa",
            _ => continue,
        };
        let topic = TopicName::new(wants.split('`').nth(1).unwrap()).unwrap();
        let principal = Principal {
            wallet: wallet.parse().unwrap(),
            device: None,
            client_id: "c".to_owned(),
        };
        let action = if wants.starts_with("publish") {
            Action::Publish(topic)
        } else {
            Action::Receive(topic)
        };
        let decision = decide(&mirror.current(), &principal, action, before_2031).to_string();
        let answer = answer
            .split_once(" until")
            .map_or(answer, |(answer, _)| answer);
        assert!(decision.starts_with(answer), "{row}: {decision}");
        rows += 1;
    }
    assert_eq!(rows, 10);
}

fn key_of(wallet: Wallet) -> DeviceKey {
    DeviceKey {
        wallet,
        key: PublicKey::Ed25519([7; 32]),
        until: Validity::Forever,
        scope: None,
    }
}

#[test]
fn device_keys_are_set_replaced_and_removed() {
    let (first, other) = (key_of(DEVICE), key_of(OWNER));
    let shorter = DeviceKey {
        until: Validity::Until(UnixTime(5)),
        ..first.clone()
    };
    let mut told = vec![
        space("plant"),
        LedgerEvent::DeviceKeySet(first.clone()),
        LedgerEvent::DeviceKeySet(other.clone()),
        LedgerEvent::DeviceKeySet(shorter.clone()),
    ];
    let fold = |told: &[LedgerEvent]| {
        let mirror = Mirror::load(&Told(told.to_vec()), &MirrorSettings::default()).unwrap();
        mirror.current()
    };
    let snapshot = fold(&told);
    assert_eq!(snapshot.device_keys(), 2);
    assert_eq!(snapshot.device_key(&first.id()), Some(&shorter));
    assert_eq!(
        snapshot.device_key_of_prefix(&first.id().prefix()),
        Some(&shorter)
    );

    // What another wallet says of the same key is about another id.
    told.push(LedgerEvent::DeviceKeyRemoved(first.id()));
    told.push(LedgerEvent::DeviceKeyRemoved(KeyId([1; 32])));
    let snapshot = fold(&told);
    assert_eq!(snapshot.device_key_of_prefix(&first.id().prefix()), None);
    assert_eq!(
        snapshot.device_key_of_prefix(&other.id().prefix()),
        Some(&other)
    );
    assert_eq!(snapshot.device_key_of_prefix(&[0xff; 16]), None);
}
