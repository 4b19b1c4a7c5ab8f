//! Every key with its default and range, and what keys must agree on.

mod kernel;
mod network;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flytrap_common::abi::ALLOWED_PREFIXES;
use toml::Spanned;

use super::reader::{Document, Section};
use super::{
    Admit, Config, DEFAULT_SOCKET, Defence, DeniedPublish, Finding, Gateway, Ledger, LedgerKind,
    Limits, Log, LogFormat, LogLevel, Login, Mqtt, rule,
};
use crate::offence::Rule;
use crate::types::{MAX_TOPIC_BYTES, Prefix, TopicFilter, TopicName, Wallet, escape_control};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Waiting for a peer: neither so short that a slow link fails nor so long that it doesn't count.
const PATIENCE: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=HOUR;
/// The longest packet of MQTT: five bytes of fixed header and 268,435,455 behind it.
const MAX_PACKET_BYTES: u64 = 268_435_460;
/// The longest name of a unix socket that Linux takes, without the closing zero.
const MAX_SOCKET_NAME: usize = 107;

/// Whether reading a configuration also opens the files that it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedFiles {
    MustBeReadable,
    NotLookedAt,
}

/// Reads a whole configuration, or says everything that is wrong with it.
pub(super) fn read(text: &str, base_dir: &Path, files: NamedFiles) -> Result<Config, Vec<Finding>> {
    let document = Document::new(text, base_dir);
    let config = document.parse().map(|table| {
        let mut root = Section::root(&document, &table);
        let listeners = network::listeners(&mut root, files);
        let gateway = gateway(root.section("gateway"));
        let upstream = network::upstream(root.section("upstream"), &listeners, files);
        let ledger = ledger(root.section("ledger"), files);
        let login = login(root.section("login"));
        let mqtt = mqtt(root.section("mqtt"));
        let limits = limits(root.section("limits"));
        let xdp = kernel::xdp(root.section("xdp"));
        let geo = kernel::geo(root.section("geo"), &xdp, files);
        let config = Config {
            gateway,
            upstream,
            listeners,
            ledger,
            login,
            mqtt,
            limits,
            geo,
            xdp,
            defence: defence(root.section("defence")),
            dollar_topics: dollar_topics(&root.section("dollar_topics")),
            log: log(root.section("log")),
        };
        root.close();
        config
    });
    match (config, document.into_findings()) {
        (Some(config), findings) if findings.is_empty() => Ok(config),
        (_, findings) => Err(findings),
    }
}

fn gateway(mut section: Section<'_, '_>) -> Gateway {
    let domain = section.text("domain");
    match &domain {
        None => section.missing(
            "domain",
            "name the gateway as clients know it: domain = \"gw.example.org\"",
        ),
        Some(domain) => {
            if let Some(problem) = domain_problem(domain.get_ref()) {
                section.refuse(
                    domain,
                    format!("`domain` {problem}"),
                    "write the public name alone, as in \"gw.example.org\": \
                     wallets sign exactly this text",
                );
            }
        }
    }
    let socket = section.path("socket");
    if let Some(socket) = &socket
        && socket.get_ref().as_os_str().len() > MAX_SOCKET_NAME
    {
        section.refuse(
            socket,
            format!("`socket` has more than {MAX_SOCKET_NAME} bytes with its directory"),
            "choose a shorter path",
        );
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let gateway = Gateway {
        domain: domain.map_or_else(String::new, |domain| domain.into_inner().to_owned()),
        state_dir: path_or(&mut section, "state_dir", "/var/lib/flytrap"),
        socket: socket.map_or_else(|| DEFAULT_SOCKET.into(), Spanned::into_inner),
        workers: section.number("workers", 1..=1_024).unwrap_or(cores),
        drain_timeout: section
            .duration("drain_timeout", Duration::ZERO..=HOUR)
            .unwrap_or(10 * SECOND),
    };
    section.close();
    gateway
}

/// What keeps `domain` from being a public name, behind the words "`domain`".
pub fn domain_problem(domain: &str) -> Option<&'static str> {
    if domain.contains("://") {
        Some("is a name, without a scheme like mqtts://")
    } else if domain.contains(':') {
        Some("is a name, without a port")
    } else if domain.bytes().any(|b| b.is_ascii_uppercase()) {
        Some("must be lower case")
    } else if domain.len() > 253 {
        Some("has more than 253 characters")
    } else if domain.split('.').any(|label| {
        label.is_empty()
            || label.len() > 63
            || label.starts_with('-')
            || label.ends_with('-')
            || !label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }) {
        Some("is no host name: letters, digits and hyphens, in labels parted by dots")
    } else {
        None
    }
}

fn ledger(mut section: Section<'_, '_>, files: NamedFiles) -> Ledger {
    let kind = section.choice("kind", &[("file", LedgerKind::File)]);
    let help = "name the file of topic spaces and grants: path = \"ledger.toml\"";
    let path = named_file(&mut section, "path", help, files);
    let spaces = section.texts("spaces").unwrap_or_default();
    for space in &spaces {
        if TopicName::new(space.get_ref()).is_err() || space.get_ref().contains('/') {
            section.refuse(
                space,
                format!(
                    "`{}` is no top-level topic space",
                    escape_control(space.get_ref())
                ),
                "write the first level of its topics, without / and wildcards",
            );
        }
    }
    section.close();
    Ledger {
        kind: kind.unwrap_or(LedgerKind::File),
        path: path.unwrap_or_default(),
        spaces: owned(spaces),
    }
}

fn login(mut section: Section<'_, '_>) -> Login {
    let admit = section.choice(
        "admit",
        &[("entitled", Admit::Entitled), ("any", Admit::Any)],
    );
    let max = section
        .duration("max_token_lifetime", MINUTE..=30 * DAY)
        .unwrap_or(DAY);
    let max_bound = section
        .duration("max_bound_token_lifetime", max..=400 * DAY)
        .unwrap_or(max.max(DAY));
    let login = Login {
        admit: admit.unwrap_or(Admit::Entitled),
        max_token_lifetime: max,
        max_bound_token_lifetime: max_bound,
        stale_delay: section
            .duration("stale_delay", Duration::ZERO..=MINUTE)
            .unwrap_or(SECOND),
    };
    section.close();
    login
}

fn mqtt(mut section: Section<'_, '_>) -> Mqtt {
    let choices = [
        ("acknowledge", DeniedPublish::Acknowledge),
        ("close", DeniedPublish::Close),
    ];
    let mqtt = Mqtt {
        denied_publish: section
            .choice("denied_publish", &choices)
            .unwrap_or(DeniedPublish::Acknowledge),
    };
    section.close();
    mqtt
}

fn limits(mut section: Section<'_, '_>) -> Limits {
    let topic_bytes = MAX_TOPIC_BYTES as u64;
    let limits = Limits {
        tls_handshake_timeout: section
            .duration("tls_handshake_timeout", PATIENCE)
            .unwrap_or(10 * SECOND),
        connect_timeout: section
            .duration("connect_timeout", PATIENCE)
            .unwrap_or(10 * SECOND),
        connect_bytes: section
            .number("connect_bytes", 512..=1_048_576)
            .unwrap_or(16_384),
        packet_bytes: section
            .number("packet_bytes", 512..=MAX_PACKET_BYTES)
            .unwrap_or(1_048_576),
        topic_bytes: section
            .number("topic_bytes", 1..=topic_bytes)
            .unwrap_or(1_024),
        topic_levels: section
            .number("topic_levels", 1..=topic_bytes)
            .unwrap_or(32),
        filters: section.number("filters", 1..=65_535).unwrap_or(64),
        subscriptions: section
            .number("subscriptions", 1..=1_000_000)
            .unwrap_or(1_024),
        connections: section
            .number("connections", 1..=10_000_000)
            .unwrap_or(10_000),
        connections_per_address: section
            .number("connections_per_address", 1..=10_000_000)
            .unwrap_or(1_000),
    };
    section.close();
    limits
}

fn defence(mut section: Section<'_, '_>) -> Defence {
    let allowlist = section.texts("allowlist").unwrap_or_default();
    let first = allowlist.first().map(Spanned::span);
    let allowlist: Vec<Prefix> =
        section.each_parsed(allowlist, "write prefixes: [\"192.0.2.0/24\"]");
    let v4 = allowlist.iter().filter(|one| one.base().is_ipv4()).count();
    if let Some(first) = first
        && v4.max(allowlist.len() - v4) > ALLOWED_PREFIXES
    {
        section.refuse(
            &Spanned::new(first, ()),
            format!("`allowlist` has more than {ALLOWED_PREFIXES} prefixes of one IP version"),
            "write shorter prefixes that hold several",
        );
    }
    let rules = match section.sections("rule", "defence.rule") {
        None => vec![Rule::default()],
        Some(sections) => sections.into_iter().map(rule::read).collect(),
    };
    section.close();
    Defence { allowlist, rules }
}

fn dollar_topics(section: &Section<'_, '_>) -> BTreeMap<String, Vec<Wallet>> {
    let mut topics = BTreeMap::new();
    for (filter, wallets) in section.entries() {
        let name: &str = filter.get_ref();
        let help = "write a filter for the broker's own topics: \"$SYS/#\"";
        let shown = escape_control(name);
        if let Err(error) = TopicFilter::new(name) {
            section.refuse(&filter, format!("`{shown}`: {error}"), help);
        } else if !name.starts_with('$') {
            section.refuse(&filter, format!("`{shown}` doesn't begin with $"), help);
        } else if name == "$share" || name.starts_with("$share/") {
            section.refuse(
                &filter,
                format!("`{shown}` is a shared subscription, not a topic of the broker"),
                help,
            );
        }
        let texts = section.texts_of(&shown, wallets);
        let wallets = section.each_parsed(texts, "list wallets: [\"0x…\"], 40 hex digits each");
        topics.insert(name.to_owned(), wallets);
    }
    topics
}

fn log(mut section: Section<'_, '_>) -> Log {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log = Log {
        level: section.choice("level", &levels).unwrap_or(LogLevel::Info),
        format: section
            .choice("format", &formats)
            .unwrap_or(LogFormat::Text),
    };
    section.close();
    log
}

fn owned(texts: Vec<Spanned<&str>>) -> Vec<String> {
    texts
        .into_iter()
        .map(|text| text.into_inner().to_owned())
        .collect()
}

fn path_or(section: &mut Section<'_, '_>, key: &'static str, default: &str) -> PathBuf {
    section
        .path(key)
        .map_or_else(|| default.into(), Spanned::into_inner)
}

/// The file that `key` must name.
fn named_file(
    section: &mut Section<'_, '_>,
    key: &'static str,
    help: &str,
    files: NamedFiles,
) -> Option<PathBuf> {
    let path = section.path(key);
    match &path {
        Some(path) => check_readable(section, key, path, files),
        None => section.missing(key, help),
    }
    path.map(Spanned::into_inner)
}

fn check_readable(
    section: &Section<'_, '_>,
    key: &str,
    path: &Spanned<PathBuf>,
    files: NamedFiles,
) {
    if files == NamedFiles::NotLookedAt {
        return;
    }
    // Opening a directory succeeds; reading it doesn't.
    let read = File::open(path.get_ref()).and_then(|mut file| file.read(&mut [0; 1]));
    if let Err(error) = read {
        section.refuse(
            path,
            format!("`{key}` can't be read: {error}"),
            &format!(
                "looked for {}: relative names start at the directory of the configuration",
                path.get_ref().display()
            ),
        );
    }
}
