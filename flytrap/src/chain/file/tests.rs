use std::path::PathBuf;

use super::*;
use crate::types::{Mode, UnixTime, Validity};

const OWNER: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const DEVICE: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";

/// What `open` says about a file of this content, without the name of its directory.
fn complaint(content: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.toml");
    std::fs::write(&path, content).unwrap();
    let error = FileLedger::open(&path).unwrap_err().to_string();
    error
        .strip_prefix(&format!("{}/", dir.path().display()))
        .unwrap_or(&error)
        .to_owned()
}

fn plant() -> String {
    format!("[[space]]\nname = \"plant\"\nowner = \"{OWNER}\"\n")
}

/// A file with `plant` and one grant of these lines, from line 5 on.
fn with_grant(lines: &str) -> String {
    format!(
        "{}[[grant]]\nwallet = \"{DEVICE}\"\nspace = \"plant\"\n{lines}\n",
        plant()
    )
}

#[test]
fn reads_all_there_is() {
    let content = format!(
        r#"
chain_id = 5
contract = "0x00000000000000000000000000000000000000ff"

[[space]]
name = "plant/line1"
owner = "{OWNER}"
subscribe = "open"

[[space]]
name = "plant"
owner = "{OWNER}"

[[grant]]
wallet = "{DEVICE}"
space = "plant/line1"
publish_until = "forever"
subscribe_until = 2026-01-01T01:00:00+01:00
subtree = true

[[grant]]
wallet = "{DEVICE}"
space = "plant"
publish_until = "2026-01-01T00:00:01Z"
deny_subscribe = true

[[token_revocation]]
wallet = "{DEVICE}"
before = 2026-01-01T00:00:00Z
"#
    );
    let ledger = FileLedger::parse(&content).unwrap();
    let deployment = ledger.deployment("gw.example.org");
    assert_eq!(deployment.domain, "gw.example.org");
    assert_eq!(deployment.chain_id, 5);
    assert_eq!(deployment.contract.0[19], 0xff);

    let owner: Wallet = OWNER.parse().unwrap();
    let wallet: Wallet = DEVICE.parse().unwrap();
    let space = |name: &str, subscribe| {
        LedgerEvent::SpaceRegistered(Space {
            name: name.parse().unwrap(),
            owner,
            terms: Terms {
                publish: Mode::Closed,
                subscribe,
            },
        })
    };
    let grant = |space: &str, grant| LedgerEvent::Granted {
        space: space.parse().unwrap(),
        wallet,
        grant,
    };
    let new_year = UnixTime(1_767_225_600);
    assert_eq!(
        ledger.events(),
        [
            space("plant", Mode::Closed),
            space("plant/line1", Mode::Open),
            grant(
                "plant/line1",
                Grant {
                    publish: Validity::Forever,
                    subscribe: Validity::Until(new_year),
                    subtree: true,
                    ..Grant::default()
                }
            ),
            grant(
                "plant",
                Grant {
                    publish: Validity::Until(new_year.plus(1)),
                    deny_subscribe: true,
                    ..Grant::default()
                }
            ),
            LedgerEvent::TokensRevoked {
                wallet,
                before: new_year
            },
        ]
    );
}

#[test]
fn an_empty_file_is_chain_0_and_the_zero_address() {
    let ledger = FileLedger::parse("").unwrap();
    let deployment = ledger.deployment("d");
    assert_eq!(
        (deployment.chain_id, deployment.contract),
        (0, Wallet([0; 20]))
    );
    assert_eq!(ledger.events(), []);
}

/// The example of the documentation is a ledger.
#[test]
fn the_example_is_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/ledger.toml");
    let ledger = FileLedger::open(&path).unwrap();
    let events = ledger.events();
    let count = |kind: fn(&LedgerEvent) -> bool| events.iter().filter(|e| kind(e)).count();
    assert_eq!(count(|e| matches!(e, LedgerEvent::SpaceRegistered(_))), 4);
    assert_eq!(count(|e| matches!(e, LedgerEvent::Granted { .. })), 4);
    assert_eq!(count(|e| matches!(e, LedgerEvent::TokensRevoked { .. })), 1);
    assert_eq!(count(|e| matches!(e, LedgerEvent::DeviceKeySet(_))), 1);
}

#[test]
fn a_missing_file() {
    let error = FileLedger::open(Path::new("no/such/ledger.toml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("can't read the ledger no/such/ledger.toml: No such file"),
        "{error}"
    );
}

#[test]
fn broken_toml() {
    let text = complaint("[[space]]\nname = plant\n");
    assert!(text.starts_with("ledger.toml:2:8: "), "{text}");
}

#[test]
fn unknown_keys() {
    assert_eq!(
        complaint("[[space]]\nnmae = \"plant\"\n"),
        "ledger.toml:2:1: unknown field `nmae`, expected one of `name`, `owner`, `publish`, \
         `subscribe`; did you mean `name`?"
    );
    assert_eq!(
        complaint("[[spaces]]\n"),
        "ledger.toml:1:3: unknown field `spaces`, expected one of `chain_id`, `contract`, \
         `space`, `grant`, `device_key`, `token_revocation`; did you mean `space`?"
    );
    assert!(
        complaint("colour = 1").ends_with("; docs/policy.md describes the format"),
        "nothing is like it"
    );
}

#[test]
fn unknown_modes() {
    assert_eq!(
        complaint(&(plant() + "subscribe = \"opne\"\n")),
        "ledger.toml:4:13: unknown variant `opne`, expected `closed` or `open`; \
         did you mean `open`?"
    );
}

#[test]
fn a_missing_owner() {
    let text = complaint("\n[[space]]\nname = \"plant\"\n");
    assert!(
        text.starts_with("ledger.toml:2:1: missing field `owner`;"),
        "{text}"
    );
}

#[test]
fn a_space_twice() {
    assert_eq!(
        complaint(&(plant() + &plant())),
        "ledger.toml:5:8: topic space `plant` is there twice; remove one of the two [[space]]"
    );
}

#[test]
fn a_level_that_is_not_registered() {
    assert_eq!(
        complaint(&format!(
            "{}[[space]]\nname = \"plant/line1/robot\"\nowner = \"{OWNER}\"\n",
            plant()
        )),
        "ledger.toml:5:8: topic space `plant/line1/robot` has nothing around it; \
         every level must be registered: add a [[space]] named `plant/line1`"
    );
}

#[test]
fn bad_labels() {
    for (name, why) in [
        (
            "plant/+",
            "a topic space's name must not contain +, # or U+0000",
        ),
        (
            "plant//x",
            "every level of a topic space's name needs at least one character",
        ),
        ("$SYS", "no level of a topic space's name may begin with $"),
    ] {
        assert_eq!(
            complaint(&format!(
                "[[space]]\nname = \"{name}\"\nowner = \"{OWNER}\"\n"
            )),
            format!("ledger.toml:2:8: `{name}` is no name of a topic space; {why}")
        );
    }
}

#[test]
fn a_mistyped_wallet() {
    let mistyped = OWNER.replace('d', "c");
    assert_eq!(
        complaint(&plant().replace(OWNER, &mistyped)),
        format!(
            "ledger.toml:3:9: `{mistyped}` is no wallet; the checksum in the wallet's upper and \
             lower case letters is wrong: check for a mistyped digit"
        )
    );
    assert!(
        complaint("contract = \"plant\"").starts_with("ledger.toml:1:12: `plant` is no wallet;")
    );
}

#[test]
fn a_grant_for_a_space_that_is_not_there() {
    let content = with_grant("subtree = true");
    assert_eq!(
        complaint(&content.replace("space = \"plant\"", "space = \"plnat\"")),
        "ledger.toml:6:9: there is no topic space `plnat`; did you mean `plant`?"
    );
    assert_eq!(
        complaint(&content.replace("space = \"plant\"", "space = \"x\\n\"")),
        "ledger.toml:6:9: there is no topic space `x\\u{a}`; add a [[space]] of that name"
    );
}

#[test]
fn two_grants_of_one_wallet_in_one_space() {
    let content = with_grant("publish_until = \"forever\"");
    let grant = content.strip_prefix(&plant()).unwrap();
    assert_eq!(
        complaint(&format!("{content}{grant}")),
        format!(
            "ledger.toml:9:10: wallet {DEVICE} has two grants in topic space `plant`; \
             write all its rights there in one [[grant]]"
        )
    );
}

#[test]
fn a_grant_of_nothing() {
    assert_eq!(
        complaint(&with_grant("subtree = true")),
        "ledger.toml:5:10: this grant gives nothing and denies nothing; set `publish_until`, \
         `subscribe_until`, `deny_publish` or `deny_subscribe`"
    );
}

#[test]
fn times_that_are_none() {
    for (written, shown) in [
        ("\"for ever\"", "for ever"),
        ("2027-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("2027-01-01", "2027-01-01"),
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
        ("2027-01-01T00:00:00.5Z", "2027-01-01T00:00:00.5Z"),
    ] {
        assert_eq!(
            complaint(&with_grant(&format!("publish_until = {written}"))),
            format!(
                "ledger.toml:7:17: `{shown}` is no time; write it in whole seconds since 1970 \
                 with its offset from UTC, such as 2027-01-01T00:00:00Z"
            )
        );
    }
    let number = complaint(&with_grant("publish_until = 5"));
    assert!(
        number.starts_with(
            "ledger.toml:7:17: expected a time such as 2027-01-01T00:00:00Z, or \"forever\";"
        ),
        "{number}"
    );
    let forever = format!("[[token_revocation]]\nwallet = \"{DEVICE}\"\nbefore = \"forever\"\n");
    assert!(complaint(&forever).starts_with("ledger.toml:3:10: `forever` is no time;"));
}

#[test]
fn columns_count_characters() {
    let content = format!("[[space]]\nname = \"plant\"\nowner = \"{OWNER}\" # über\n");
    let text = complaint(&format!("{content}\"ü\" = 1\n"));
    assert!(text.starts_with("ledger.toml:4:1: "), "{text}");
    let text = complaint(&format!(
        "space = [{{ name = \"ü\", owner = \"{OWNER}\", x = 1 }}]"
    ));
    assert!(
        text.starts_with("ledger.toml:1:78: unknown field `x`"),
        "{text}"
    );
}

const X: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
const P256: &str = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";

/// A file with `plant` and one device key of these lines, from line 6 on.
fn with_device(lines: &str) -> String {
    format!(
        "{}[[device_key]]\nwallet = \"{DEVICE}\"\n{lines}\n",
        plant()
    )
}

#[test]
fn device_keys() {
    let scoped = with_device(&format!(
        "kind = \"p256\"\npublic_key = \"0x{P256}\"\nuntil = \"forever\"\nscope = \"plant\""
    ));
    let both = format!(
        "{scoped}\n[[device_key]]\nwallet = \"{OWNER}\"\nkind = \"ed25519\"\n\
         public_key = \"{X}\"\nuntil = 2026-01-01T00:00:00Z\n"
    );
    let ledger = FileLedger::parse(&both).unwrap();
    let keys: Vec<_> = ledger
        .events()
        .iter()
        .filter_map(|event| match event {
            LedgerEvent::DeviceKeySet(device) => Some(device),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(hex::encode(keys[0].key.as_bytes()), P256);
    assert_eq!(keys[0].wallet, DEVICE.parse().unwrap());
    assert_eq!(keys[0].until, Validity::Forever);
    assert_eq!(keys[0].scope, Some("plant".parse().unwrap()));
    assert_eq!(keys[1].until, Validity::Until(UnixTime(1_767_225_600)));
    assert_eq!(keys[1].scope, None);
}

#[test]
fn device_keys_that_are_none() {
    let good = format!("kind = \"p256\"\npublic_key = \"{P256}\"\nuntil = \"forever\"");
    let twice = format!(
        "{}[[device_key]]\nwallet = \"{DEVICE}\"\n{good}\n",
        with_device(&good)
    );
    for (file, says) in [
        (
            twice,
            "lists this key twice; remove one of the two [[device_key]]",
        ),
        (
            with_device(&good.replace("036b", "zz6b")),
            "is no public key; write it in hexadecimal digits: Invalid character 'z' at position 0",
        ),
        (
            with_device(&good.replace("036b", "056b")),
            "no compressed point of the curve p256",
        ),
        (
            with_device(&good.replace("036b", "6b")),
            "has 33 bytes, this one has 32",
        ),
        (
            with_device(&good.replace("p256\"", "rsa\"")),
            "unknown variant `rsa`, expected one of `secp256k1`, `p256`, `ed25519`",
        ),
        (
            with_device(&format!("{good}\nscope = \"palnt\"")),
            "there is no topic space `palnt`; did you mean `plant`?",
        ),
        (
            with_device(&good.replace("until", "expires")),
            "unknown field `expires`",
        ),
    ] {
        let text = complaint(&file);
        assert!(text.contains(says), "{text}");
    }
}
