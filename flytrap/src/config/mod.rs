//! The configuration file: read strictly, checked as a whole, printed back with every default.
//!
//! `docs/configuration.md` is the reference of the keys.

mod duration;
mod error;
mod reader;
mod rule;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::geo::Country;
use crate::offence::Rule;
use crate::types::{Prefix, Wallet};

pub use duration::{BadDuration, about, parse_duration, show_duration};
pub use error::{ConfigError, Finding, Place};
pub use schema::domain_problem;

/// The configuration file unless another is named.
pub const DEFAULT_FILE: &str = "/etc/flytrap/flytrap.toml";
/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/flytrap/flytrap.sock";
/// Where maps and links are pinned unless the configuration says otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/flytrap";

/// A whole, valid configuration. Every path in it is absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[[listener]]`: at least one.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[ledger]`
    pub ledger: Ledger,
    /// `[login]`
    pub login: Login,
    /// `[mqtt]`
    pub mqtt: Mqtt,
    /// `[limits]`
    pub limits: Limits,
    /// `[xdp]`
    pub xdp: Xdp,
    /// Countries.
    pub geo: Geo,
    /// `[defence]`
    pub defence: Defence,
    /// `[dollar_topics]`: filters that begin with `$`, and the wallets that may use them.
    pub dollar_topics: BTreeMap<String, Vec<Wallet>>,
    /// `[log]`
    pub log: Log,
}

/// The gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// The public name that login tokens are bound to: lower case, at most 253 characters.
    pub domain: String,
    /// The directory of `bans.db` and `nonces.db`; made if it isn't there.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Threads of the data plane, 1 to 1,024.
    pub workers: usize,
    /// How long sessions may go on after SIGTERM.
    #[serde(serialize_with = "duration::serialize")]
    pub drain_timeout: Duration,
}

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Address and port.
    pub bind: SocketAddr,
    /// Lets a listener without TLS stand off loopback.
    pub danger_tokens_readable_on_the_wire: bool,
    /// None: plain TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// What a TLS listener shows its clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsFiles {
    /// PEM, the server's certificate first.
    pub certificate_file: PathBuf,
    /// PEM, the key of that certificate.
    pub key_file: PathBuf,
}

/// The broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upstream {
    /// `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets.
    pub address: String,
    /// How long dialling the broker may take.
    #[serde(serialize_with = "duration::serialize")]
    pub connect_timeout: Duration,
    /// What the gateway calls itself at the broker; always together with `password_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Holds the gateway's password at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// Where topic spaces, terms and grants come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Which kind of ledger.
    pub kind: LedgerKind,
    /// The file of a file ledger.
    pub path: PathBuf,
    /// The top-level topic spaces that are served; empty: all of the ledger.
    pub spaces: Vec<String>,
}

/// The kinds of ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerKind {
    /// A file on this machine.
    File,
}

/// Who is let in, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Login {
    /// Which wallets may open a session.
    pub admit: Admit,
    /// The longest lifetime of a token, up to 30 days.
    #[serde(serialize_with = "duration::serialize")]
    pub max_token_lifetime: Duration,
    /// The same for tokens of one exact client id, up to 400 days; at least the other.
    #[serde(serialize_with = "duration::serialize")]
    pub max_bound_token_lifetime: Duration,
    /// How long a validly signed but stale token waits for its refusal.
    #[serde(serialize_with = "duration::serialize")]
    pub stale_delay: Duration,
}

/// Which wallets may open a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admit {
    /// Those that the ledger gives something to do.
    Entitled,
    /// Every wallet; unknown ones with clean sessions only.
    Any,
}

/// Choices where MQTT leaves some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mqtt {
    /// What a 3.1.1 client gets for a publish that is denied.
    pub denied_publish: DeniedPublish,
}

/// MQTT 3.1.1 has no negative acknowledgement: what is done instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeniedPublish {
    /// The message is acknowledged and thrown away.
    Acknowledge,
    /// The connection is closed.
    Close,
}

/// What one client, and all together, may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// From accept to the end of the TLS handshake.
    #[serde(serialize_with = "duration::serialize")]
    pub tls_handshake_timeout: Duration,
    /// From there to a whole CONNECT.
    #[serde(serialize_with = "duration::serialize")]
    pub connect_timeout: Duration,
    /// Bytes of a CONNECT packet.
    pub connect_bytes: usize,
    /// Bytes of any other packet.
    pub packet_bytes: usize,
    /// Bytes of a topic name or filter.
    pub topic_bytes: usize,
    /// Levels of a topic name or filter.
    pub topic_levels: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub filters: usize,
    /// Filters that one session may hold.
    pub subscriptions: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time of one IPv4 address or IPv6 /64.
    pub connections_per_address: usize,
}

/// The kernel plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Xdp {
    /// The network interfaces to attach to; empty: bans act at accept only.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub mode: XdpMode,
    /// A directory on a bpffs.
    pub pin_dir: PathBuf,
    /// Whether bans end with the daemon.
    pub detach_on_exit: bool,
    /// One of so many dropped packets is reported.
    pub event_sample: u32,
    /// What a ban keeps its target from.
    pub ban_scope: Scope,
    /// What becomes of packets that hide their ports.
    pub evasions: Evasions,
    /// New connections each second of one IPv4 address or IPv6 /64; 0: no limit.
    pub source_rate: u32,
    /// How many of them may come at once.
    pub source_burst: u32,
    /// New connections each second of all together; 0: no limit.
    pub total_rate: u32,
    /// How many of them may come at once.
    pub total_burst: u32,
    /// Whether SYNs over the total limit are answered with cookies;
    /// [`Config::answers_with_cookies`].
    pub syn_cookies: bool,
}

/// Which countries are kept out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Geo {
    /// A country database in `MaxMind`'s format; none: countries aren't looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<PathBuf>,
    /// What `countries` means.
    pub mode: GeoMode,
    /// The countries.
    pub countries: Vec<Country>,
    /// Addresses without a country.
    pub unknown: GeoUnknown,
    /// What blocked countries are kept from.
    pub scope: Scope,
}

/// What a list of countries means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeoMode {
    /// These are kept out.
    Deny,
    /// Only these come in.
    Allow,
}

/// What becomes of addresses without a country, such as private ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeoUnknown {
    /// They come in.
    Pass,
    /// They are kept out.
    Drop,
}

/// What a source is kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everything on this host.
    Host,
    /// The ports of the gateway's listeners.
    GuardedPorts,
}

/// What becomes of first fragments that hide their TCP header, and of overlong header chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evasions {
    /// They are dropped.
    Drop,
    /// They go to the host's own stack.
    Pass,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// In the driver, or not at all.
    #[default]
    Native,
    /// In the network stack: every interface can, at a higher cost.
    Generic,
    /// Native where the driver can, else generic.
    Auto,
}

/// Who is banned for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defence {
    /// Never banned, and dropped for nothing but `xdp.total_rate`.
    pub allowlist: Vec<Prefix>,
    /// Empty: nobody is banned but by hand.
    #[serde(rename = "rule", serialize_with = "rule::serialize")]
    pub rules: Vec<Rule>,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something needs attention.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

impl Config {
    /// Reads and checks a file, and that the files it names can be read. Relative names in it
    /// are taken from its own directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, schema::NamedFiles::MustBeReadable)
    }

    /// As [`Config::load`], but for users who may not read the files that it names: those are
    /// not looked at.
    pub fn load_alone(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, schema::NamedFiles::NotLookedAt)
    }

    /// Whether `syn_cookies` has an effect: some SYN can be over the total limit, in the kernel.
    pub fn answers_with_cookies(&self) -> bool {
        let Xdp {
            interfaces,
            total_rate,
            syn_cookies,
            ..
        } = &self.xdp;
        *syn_cookies && *total_rate > 0 && !interfaces.is_empty()
    }

    fn load_with(path: &Path, files: schema::NamedFiles) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        schema::read(&text, base_dir, files).map_err(|findings| ConfigError::Faulty {
            path: path.to_owned(),
            findings,
        })
    }

    /// Checks a text without looking at any file. Errors call it `flytrap.toml`.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, ConfigError> {
        schema::read(text, base_dir, schema::NamedFiles::NotLookedAt).map_err(|findings| {
            ConfigError::Faulty {
                path: base_dir.join("flytrap.toml"),
                findings,
            }
        })
    }

    /// The configuration as TOML with every default filled in. Holds no secrets: those are only
    /// named by file.
    pub fn effective(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// What is allowed but should be known.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for listener in &self.listeners {
            if listener.tls.is_none() && !listener.bind.ip().is_loopback() {
                warnings.push(format!(
                    "{} has no TLS: login tokens can be read and used by anyone on the way",
                    listener.bind
                ));
            }
        }
        if self.xdp.interfaces.is_empty() {
            warnings.push(
                "XDP is off: banned addresses are turned away at accept, not in the kernel"
                    .to_owned(),
            );
        }
        if self.xdp.interfaces.is_empty() && self.xdp.source_rate.max(self.xdp.total_rate) > 0 {
            warnings.push(
                "`source_rate` and `total_rate` are without effect: they hold in the kernel, and \
                 XDP is off"
                    .to_owned(),
            );
        }
        if self.xdp.syn_cookies && !self.answers_with_cookies() {
            warnings.push(
                "`syn_cookies` is without effect: it is for what is over `total_rate`, in the kernel"
                    .to_owned(),
            );
        }
        if self.defence.rules.is_empty() {
            warnings.push("there is no defence rule: nobody is banned but by hand".to_owned());
        }
        warnings
    }
}

/// What a file holds that has nothing but a secret; its last line break isn't part of that.
pub fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut secret = std::fs::read(path)?;
    if secret.pop_if(|byte| *byte == b'\n').is_some() {
        secret.pop_if(|byte| *byte == b'\r');
    }
    Ok(secret)
}
