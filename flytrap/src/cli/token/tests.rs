//! `flytrap token` as its user types it.

use std::fs;

use clap::Parser;

use super::*;
use crate::identity::create_keystore;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    token: TokenArgs,
}

fn run(json: bool, args: &[&str]) -> Result<String, Failure> {
    let cli = Cli::try_parse_from([&["token"], args].concat()).unwrap();
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
    fn file(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    /// A file with that token, which ends as files do.
    fn token(&self, token: &str) -> String {
        let file = self.file("token");
        fs::write(&file, format!("{token}\n")).unwrap();
        file
    }

    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let wallet = create_keystore(&directory.path().join("key.json"), "s3cret").unwrap();
        fs::write(directory.path().join("password"), "s3cret\n").unwrap();
        Self { directory, wallet }
    }

    fn create(&self, json: bool, args: &[&str]) -> Result<String, Failure> {
        let (keystore, password) = (self.file("key.json"), self.file("password"));
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

        let file = keystore.token(created["password"].as_str().unwrap());
        let user_name = created["user_name"].as_str().unwrap();
        let contract = Wallet([3; 20]).to_string();
        let mut inspect = vec!["inspect", "--file", &file, "--user-name", user_name];
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
fn the_text_has_what_mosquittos_option_file_needs() {
    let keystore = Keystore::new();
    let gateway = ["--domain", "gw.example.org", "--client-id", "it's 1"];
    let text = keystore.create(false, &gateway).unwrap();
    let wallet = keystore.wallet;
    assert!(
        text.contains(&format!("user name  {wallet}\npassword   AQEA")),
        "{text}"
    );
    let options =
        format!("  -h gw.example.org\n  -p 8883\n  -i it's 1\n  -u {wallet}\n  -P PASSWORD");
    assert!(text.ends_with(&options), "{text}");
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
    let file = keystore.token(created["password"].as_str().unwrap());
    let inspected = run(true, &["inspect", "--file", &file]).unwrap();
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["client_ids"], "prefix");
    assert_eq!(inspected["prefix_bytes"], 5);
    assert_eq!(inspected["subscribe_only"], true);
    assert_eq!(inspected["verified_wallet"], serde_json::Value::Null);
    assert_eq!(inspected["expires"], created["expires"]);
    let text = run(false, &["inspect", "--file", &file]).unwrap();
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
            "a unit, one of",
        ),
        (
            "create --domain d --client-id x --device-key k",
            "cannot be used with",
        ),
        (
            "create --domain d --client-id x --wallet 0x00",
            "40 hexadecimal",
        ),
        ("public-key k", "--wallet"),
        ("public-key k --kind rsa", "secp256k1, p256, ed25519"),
        ("inspect AQEAsecret", "unexpected argument"),
        ("inspect --user-name w --client-id x", "--domain"),
        ("inspect --user-name w --domain d", "--client-id"),
        ("inspect --client-id x", "--user-name"),
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
    let keystore = Keystore::new();
    let file = keystore.token("dGVzdGluZw");
    let error = run(false, &["inspect", "--file", &file]).unwrap_err();
    let cause = error.cause.unwrap();
    assert!(cause.contains("token version 116 is unknown"), "{cause}");
    let long = keystore.token(&"A".repeat(MAX_PASSWORD_BYTES + 1));
    let error = run(false, &["inspect", "--file", &long]).unwrap_err();
    let cause = error.cause.unwrap();
    assert!(cause.contains("2048 bytes"), "{cause}");
    let error = run(false, &["inspect", "--file", &keystore.file("none")]).unwrap_err();
    assert_eq!(error.error, "the token can't be read");
    let empty = ["--domain", "d", "--client-id", ""];
    let error = keystore.create(false, &empty).unwrap_err();
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
        assert_eq!(parse_lifetime(text).unwrap(), seconds, "{text}");
    }
    for text in ["", "12", "0s", "-1h", "1500ms", "1y", "1mo", "soon"] {
        assert!(parse_lifetime(text).is_err(), "{text}");
    }
}

/// Keys that `openssl genpkey` made.
const PEM: [(&str, &str); 3] = [
    (
        "secp256k1",
        "-----BEGIN PRIVATE KEY-----\nMIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQg6Z3GbR/4+aM2O8OGhIK6\nT2dsS/qzP+S9aOxV1k0J0nChRANCAARQ7HDQwDDRSLD75Jzh2reFHXAoOYkBVlD2\nl+sxEvImGmROAvxyM8NvWs4WuU9CTl6Us5WzywTCr9AHZ7TLnJO0\n-----END PRIVATE KEY-----\n",
    ),
    (
        "p256",
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPb9LJ/Avv+uqjQlS\nGweVlEgCXg5DnwTxVRFZExK4KJChRANCAASEd7H4u3aNp9sFCovwcTEhERblDB7S\nCJ9pY95w/GiXbb7/1XqCRuMLnAuz75sHZ1pwubhoXQfKsJP29DMFqOYO\n-----END PRIVATE KEY-----\n",
    ),
    (
        "ed25519",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFVOt3rcaoluLijHsPJIIheOZzdRy16rNIRrzsR/eJD+\n-----END PRIVATE KEY-----\n",
    ),
];

#[test]
fn a_devices_token_from_its_key_file_is_verified_by_inspect() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wallet = Wallet([9; 20]).to_string();
    let hex = file("hex", &format!("{}\n", "17".repeat(32)));
    let pems = PEM.map(|(kind, text)| (kind, file(kind, text), vec![]));
    let hexes =
        ["secp256k1", "p256", "ed25519"].map(|kind| (kind, hex.clone(), vec!["--kind", kind]));
    for (kind, key, options) in pems.into_iter().chain(hexes) {
        let args = [&["public-key", &key, "--wallet", &wallet][..], &options].concat();
        let shown = run(true, &args).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["kind"], kind);
        assert!(run(false, &args).unwrap().contains("[[device_key]]"));

        let create = [
            "create",
            "--config",
            "flytrap.toml",
            "--client-id",
            "pump 1",
        ];
        let device = ["--device-key", &key, "--wallet", &wallet, "--single-use"];
        let created = run(true, &[&create[..], &device, &options].concat()).unwrap();
        let created: serde_json::Value = serde_json::from_str(&created).unwrap();
        assert_eq!(created["user_name"], shown["user_name"]);
        let token = file("token", created["password"].as_str().unwrap());
        let mut inspect = vec!["inspect", "--file", &token, "--config", "flytrap.toml"];
        inspect.extend(["--user-name", shown["user_name"].as_str().unwrap()]);
        inspect.extend(["--client-id", "pump 1", "--wallet", &wallet]);
        inspect.extend(["--public-key", shown["public_key"].as_str().unwrap()]);
        let text = run(false, &inspect).unwrap();
        let id = shown["key_id"].as_str().unwrap();
        assert!(
            text.contains(&format!("valid, by the device key {id} of {wallet}")),
            "{text}"
        );
        assert!(
            text.contains("single use") && text.contains("device key"),
            "{text}"
        );
    }
    let error = run(false, &["public-key", &hex, "--wallet", &wallet]).unwrap_err();
    assert!(error.cause.unwrap().contains("BEGIN PRIVATE KEY"));
    let short = file("short", "17");
    let bad = ["public-key", &short, "--kind", "p256", "--wallet", &wallet];
    assert!(
        run(false, &bad)
            .unwrap_err()
            .cause
            .unwrap()
            .contains("64 hexadecimal digits")
    );
}
