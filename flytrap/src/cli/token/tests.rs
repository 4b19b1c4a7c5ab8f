//! `flytrap token` as its user types it.

use clap::Parser;

use super::*;
use crate::identity::create_keystore;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    token: TokenArgs,
}

fn run(json: bool, args: &[&str]) -> anyhow::Result<String> {
    let cli = Cli::try_parse_from([&["token"], args].concat())?;
    cli.token.run(json, |path| {
        assert_eq!(path, Path::new("flytrap.toml"));
        Ok(Deployment {
            domain: "gw.example.org".to_owned(),
            chain_id: 5,
            contract: Wallet([3; 20]),
        })
    })
}

struct Keystore {
    directory: tempfile::TempDir,
    wallet: Wallet,
}

impl Keystore {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let wallet = create_keystore(&directory.path().join("key.json"), "s3cret").unwrap();
        fs::write(directory.path().join("password"), "s3cret\n").unwrap();
        Self { directory, wallet }
    }

    fn create(&self, json: bool, args: &[&str]) -> anyhow::Result<String> {
        let path = |name| {
            self.directory
                .path()
                .join(name)
                .to_str()
                .unwrap()
                .to_owned()
        };
        let (keystore, password) = (path("key.json"), path("password"));
        let files = [
            "create",
            "--keystore",
            &keystore,
            "--password-file",
            &password,
        ];
        run(json, &[&files, args].concat())
    }
}

#[test]
fn what_is_created_for_a_configured_gateway_is_verified_by_inspect() {
    let keystore = Keystore::new();
    for alg in ["eip191", "eip712"] {
        let create = [
            "--config",
            "flytrap.toml",
            "--client-id",
            "probe 1",
            "--alg",
            alg,
            "--lifetime",
            "15m",
        ];
        let created = keystore.create(true, &create).unwrap();
        let created: serde_json::Value = serde_json::from_str(&created).unwrap();
        assert_eq!(created["client_id"], "probe 1");
        assert_eq!(created["wallet"], keystore.wallet.to_string());
        let lifetime = created["expires"].as_u64().unwrap() - created["issued"].as_u64().unwrap();
        assert_eq!(lifetime, 900);

        let password = created["password"].as_str().unwrap();
        let user_name = created["user_name"].as_str().unwrap();
        let contract = Wallet([3; 20]).to_string();
        let mut inspect = vec!["inspect", password, "--user-name", user_name];
        inspect.extend([
            "--domain",
            "gw.example.org",
            "--chain-id",
            "5",
            "--contract",
            &contract,
        ]);
        inspect.extend(["--client-id", "probe 1"]);
        let text = run(false, &inspect).unwrap();
        assert!(
            text.contains(&format!("valid, by {}", keystore.wallet)),
            "{text}"
        );
        *inspect.last_mut().unwrap() = "probe 2";
        let error = run(false, &inspect).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the signature is not this wallet's"),
            "{error}"
        );
    }
}

#[test]
fn the_text_has_user_name_password_and_a_command_to_copy() {
    let keystore = Keystore::new();
    let gateway = ["--domain", "gw.example.org", "--client-id", "it's"];
    let text = keystore.create(false, &gateway).unwrap();
    assert!(
        text.contains(&format!("user name  {}\npassword   AQEA", keystore.wallet)),
        "{text}"
    );
    assert!(text.contains(r"-i 'it'\''s'"), "{text}");
    let token = text
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    assert_eq!(text.matches(token).count(), 1);
}

#[test]
fn inspect_shows_what_the_record_says() {
    let keystore = Keystore::new();
    let args = [
        "--domain",
        "d",
        "--client-id-prefix",
        "farm-",
        "--subscribe-only",
    ];
    let created = keystore.create(true, &args).unwrap();
    let created: serde_json::Value = serde_json::from_str(&created).unwrap();
    assert_eq!(created["client_id_prefix"], "farm-");
    let password = created["password"].as_str().unwrap();
    let inspected = run(true, &["inspect", password]).unwrap();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["client_ids"], "prefix");
    assert_eq!(inspected["prefix_bytes"], 5);
    assert_eq!(inspected["subscribe_only"], true);
    assert_eq!(inspected["verified_wallet"], serde_json::Value::Null);
    assert_eq!(inspected["expires"], created["expires"]);
    let text = run(false, &["inspect", password]).unwrap();
    assert!(
        text.contains("first 5 bytes") && text.contains("subscribe only"),
        "{text}"
    );
}

#[test]
fn arguments_that_say_too_little_or_too_much_are_refused() {
    for (args, complaint) in [
        ("create --domain d", "--client-id"),
        ("create --client-id x", "--domain"),
        ("create --domain D --client-id x", "lower case"),
        (
            "create --domain d --config c --client-id x",
            "cannot be used with",
        ),
        (
            "create --config c --chain-id 1 --client-id x",
            "cannot be used with",
        ),
        (
            "create --config c --contract 0x00 --client-id x",
            "40 hexadecimal digits",
        ),
        (
            "create --domain d --client-id x --any-client-id",
            "cannot be used with",
        ),
        (
            "create --domain d --client-id x --lifetime 12",
            "write a time like",
        ),
        ("inspect", "<TOKEN>"),
        ("inspect t --user-name w --client-id x", "--domain"),
        ("inspect t --user-name w --domain d", "--client-id"),
        ("inspect t --client-id x", "--user-name"),
    ] {
        let mut words = vec!["token"];
        words.extend(args.split(' '));
        if words[1] == "create" {
            words.extend(["--keystore", "k"]);
        }
        let error = Cli::try_parse_from(words).unwrap_err().to_string();
        assert!(error.contains(complaint), "{args}: {error}");
    }
}

#[test]
fn what_is_no_token_or_cannot_become_one_is_explained() {
    let error = run(false, &["inspect", "dGVzdGluZw"]).unwrap_err();
    assert!(
        error.to_string().contains("token version 116 is unknown"),
        "{error}"
    );
    let empty = ["--domain", "d", "--client-id", ""];
    let error = Keystore::new().create(false, &empty).unwrap_err();
    assert!(
        error.to_string().contains("the client id is empty"),
        "{error}"
    );
}

#[test]
fn lifetimes_are_whole_seconds() {
    for (text, seconds) in [
        ("90s", 90),
        ("15m", 900),
        ("24h", 86_400),
        ("30d", 2_592_000),
    ] {
        assert_eq!(parse_lifetime(text), Ok(seconds), "{text}");
    }
    for text in ["", "12", "0s", "-1h", "1500ms", "1y", "1mo", "soon"] {
        assert!(parse_lifetime(text).is_err(), "{text}");
    }
}

#[test]
fn a_token_in_the_arguments_is_not_in_the_debug_output() {
    let cli = Cli::try_parse_from(["token", "inspect", "AQEAsecret"]).unwrap();
    assert!(!format!("{cli:?}").contains("AQEAsecret"));
}
