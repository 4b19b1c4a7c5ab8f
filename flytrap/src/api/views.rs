//! What the API says and is asked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::types::{Prefix, UnixTime, Wallet};

/// The gateway at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of `flytrap`.
    pub version: String,
    /// When the daemon started.
    pub since: UnixTime,
    /// For how many seconds it has run.
    pub uptime_s: u64,
    /// The public name.
    pub domain: String,
    /// The addresses that clients connect to.
    pub listeners: Vec<ListenerView>,
    /// The broker.
    pub upstream: UpstreamView,
    /// Where grants come from.
    pub ledger: LedgerView,
    /// The kernel plane.
    pub xdp: XdpView,
    /// Countries that are kept out; none: they aren't looked at.
    pub geo: Option<GeoView>,
    /// Open sessions.
    pub sessions: u64,
    /// Bans in force.
    pub bans: u64,
    /// The gateway's own counts, by the names of `MetricsSnapshot`.
    pub counters: BTreeMap<String, u64>,
    /// What works but needs attention.
    pub warnings: Vec<String>,
}

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// Address and port.
    pub address: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether tokens can be read on the wire: no TLS off loopback.
    pub danger: bool,
}

/// The broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Host and port.
    pub address: String,
    /// Whether the last dial worked.
    pub reachable: bool,
    /// Connections to it.
    pub sessions: u64,
}

/// Where grants come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    /// The kind of ledger.
    pub kind: String,
    /// The file, or the contract.
    pub source: String,
    /// The number of the snapshot that decides now.
    pub generation: u64,
    /// Topic spaces in it.
    pub spaces: u64,
    /// Grants in it.
    pub grants: u64,
}

/// The kernel plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpView {
    /// Whether it is in force.
    pub state: XdpState,
    /// Where it is attached.
    pub interfaces: Vec<XdpInterface>,
    /// Packets and bytes by verdict reason.
    pub counters: BTreeMap<String, PacketTally>,
}

/// Whether the XDP program is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpState {
    /// Not configured: bans act at accept.
    Off,
    /// Bans act in the kernel.
    Attached,
}

/// An interface that the XDP program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpInterface {
    /// The interface.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
    /// The kernel's number of the program, as `bpftool prog` shows it.
    pub program_id: u32,
}

/// Whose packets are dropped for their country.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoView {
    /// The file.
    pub database: String,
    /// What the database calls itself.
    pub kind: String,
    /// When it was made; none if it doesn't say.
    pub built: Option<UnixTime>,
    /// Networks with data in it.
    pub networks: u64,
    /// How many of these have a code that is no country's: they count as without a country.
    pub unlisted: u64,
    /// What `countries` means: `deny` or `allow`.
    pub mode: String,
    /// Codes of ISO 3166-1.
    pub countries: Vec<String>,
    /// What becomes of addresses without a country: `pass` or `drop`.
    pub unknown: String,
    /// What they are kept from: `host` or `guarded-ports`.
    pub scope: String,
}

/// One line of the answer to an update of countries. The last is an outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeoLine {
    /// How far it has come.
    Progress {
        /// With what.
        phase: GeoPhase,
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// The new countries are in force.
    InForce(GeoUpdated),
    /// They are not.
    Failed(Problem),
}

/// What an update is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeoPhase {
    /// The database is read.
    Reading,
    /// The kernel's tables are made and exchanged.
    PuttingInForce,
}

/// The outcome of an update of countries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoUpdated {
    /// What is in force.
    pub geo: GeoView,
    /// How long it took, from the last byte of the file on.
    pub seconds_to_force: f64,
}

/// The country of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoAnswer {
    /// The address.
    pub address: IpAddr,
    /// The country's code; none if the database has none.
    pub country: Option<String>,
    /// Whether its packets are dropped for that, unless the allowlist has the address.
    pub dropped: bool,
}

/// How much traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketTally {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    /// Its number, as events name it.
    pub id: u64,
    /// Who is banned.
    pub target: Prefix,
    /// `banned`; or `throttled`, while a session of it is alive that proved who it is.
    pub standing: String,
    /// The kernel refused it: it acts when a connection is accepted, not on packets.
    #[serde(default)]
    pub kernel_refused: bool,
    /// The entry of the allowlist that holds all of the target: the ban was forced, and keeps
    /// nobody out as long as the entry stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowlisted: Option<Prefix>,
    /// The offence, or `by-hand`.
    pub reason: String,
    /// When it began.
    pub since: UnixTime,
    /// When it ends.
    pub until: UnixTime,
    /// What the kernel dropped by it; none with XDP off.
    pub dropped: Option<PacketTally>,
    /// What the operator noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A ban by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Who.
    pub target: Prefix,
    /// For how many seconds, at least 1.
    pub seconds: u64,
    /// Why, for other operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Ban although the gateway advises against it.
    #[serde(default)]
    pub force: bool,
}

/// A list of bans by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// Who; twice is once.
    pub targets: Vec<Prefix>,
    /// For how many seconds, at least 1.
    pub seconds: u64,
    /// The note of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Ban also what the allowlist holds in whole or part.
    #[serde(default)]
    pub force: bool,
}

/// What became of a list of bans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportView {
    /// Bans that were placed.
    pub imported: u64,
    /// How many of these took the place of another.
    pub replaced: u64,
    /// Entries that were there more than once.
    pub merged: u64,
    /// Entries left out for the allowlist.
    pub skipped: u64,
    /// The first of these.
    pub skipped_first: Vec<SkippedView>,
    /// Bans that ended to make room: of a list that is too long, its own too.
    pub evicted: u64,
    /// Bans that the kernel refused: they act when a connection is accepted.
    pub kernel_refused: u64,
    /// Until all were in force.
    pub seconds_to_force: f64,
    /// Until all were on disk as well.
    pub seconds: f64,
}

/// An entry of a list that the allowlist kept from being banned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedView {
    /// The entry.
    pub target: Prefix,
    /// What the allowlist has.
    pub allowed: Prefix,
}

/// A ban was lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// Who was banned.
    pub target: Prefix,
}

/// One line of the stream of drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DropLine {
    /// A reported drop.
    Drop(DropView),
    /// The reader was too slow.
    Lost {
        /// How many reports, of whatever reason, are missing here.
        lost: u64,
    },
}

/// A packet that the kernel dropped and reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropView {
    /// When.
    pub time: UnixTime,
    /// Who sent it. Not proven: anyone can write any source into a packet.
    pub source: IpAddr,
    /// The IP protocol: `tcp`, `udp`, `icmp`, `ipv6-icmp`, or its number.
    pub protocol: String,
    /// The port that it was sent to; none where that wasn't looked at.
    pub destination_port: Option<u16>,
    /// The interface that received it.
    pub interface: String,
    /// The verdict, as the counters name it.
    pub reason: String,
    /// The number of the ban; none if it wasn't a ban.
    pub ban: Option<u64>,
    /// The source's country; none where that wasn't looked at or isn't known.
    pub country: Option<String>,
    /// The packet's bytes, link-layer header included.
    pub bytes: u32,
    /// The first packet that this ban dropped.
    pub first_hit: bool,
    /// It stands for so many drops of its reason on a CPU; 1 for a first hit.
    pub one_in: u32,
}

/// May this wallet do that?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyQuestion {
    /// Who asks.
    pub wallet: Wallet,
    /// What for.
    pub action: PolicyAction,
}

/// What a [`PolicyQuestion`] is about: `{"publish": "a/b"}`. The text isn't checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyAction {
    /// Publish to this topic.
    Publish(String),
    /// Subscribe with this filter, which may be shared.
    Subscribe(String),
    /// Be delivered a message of this topic.
    Receive(String),
}

/// What the policy decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// Permitted, or denied.
    pub permit: bool,
    /// The reason for programs.
    pub reason: String,
    /// The reason as a sentence.
    pub sentence: String,
    /// Until when a permit holds; none: until something changes.
    pub until: Option<UnixTime>,
    /// The number of the snapshot that decided.
    pub generation: u64,
}
