//! Connections, logins and sessions.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{info, warn};

use super::budget::LogBudget;
use crate::metrics::Metrics;
use crate::types::{Wallet, escape_control};

/// Why a connection was closed at accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// The source is banned.
    Banned,
    /// The gateway holds as many connections as it may.
    TotalLimit,
    /// The source holds as many connections as one may.
    AddressLimit,
    /// The gateway is being stopped.
    Draining,
}

impl ConnectionRefusal {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::TotalLimit => "total-limit",
            Self::AddressLimit => "address-limit",
            Self::Draining => "draining",
        }
    }
}

/// A connection was closed at accept.
pub struct ConnectionRefused {
    /// Who connected.
    pub peer: SocketAddr,
    /// Why it may not.
    pub reason: ConnectionRefusal,
}

impl ConnectionRefused {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        let reason = self.reason.as_str();
        metrics.fields().connections_refused.inc(reason);
        BUDGET.write(metrics, |suppressed| {
            info!(peer = %self.peer, reason, suppressed, "connection refused");
        });
    }
}

/// A TLS handshake didn't complete.
pub struct TlsFailed<'a> {
    /// Who connected.
    pub peer: SocketAddr,
    /// What went wrong.
    pub error: &'a dyn fmt::Display,
}

impl TlsFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().tls_handshakes_failed.inc();
        BUDGET.write(metrics, |suppressed| {
            let error = self.error.to_string();
            info!(peer = %self.peer, error = %escape_control(&error), suppressed, "TLS handshake failed");
        });
    }
}

/// A client logged in: its session begins. [`SessionEnded`] is its counterpart.
pub struct LoginAccepted<'a> {
    /// Who connected.
    pub peer: SocketAddr,
    /// As whom.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// With which version of MQTT.
    pub version: &'a dyn fmt::Display,
}

impl LoginAccepted<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().logins.inc("ok");
        metrics.fields().sessions.inc();
        info!(
            peer = %self.peer, wallet = %self.wallet, client_id = %escape_control(self.client_id),
            version = %self.version, "login accepted"
        );
    }
}

/// Which kind of refusal a CONNECT met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// No valid proof of the wallet's key: an offence.
    AuthFailed,
    /// A valid signature that no longer, not yet or not here counts.
    TokenStale,
    /// A proven wallet that the policy doesn't admit.
    NotAdmitted,
    /// A protocol version or an extension that the gateway doesn't speak.
    Unsupported,
    /// The broker couldn't be reached or refused.
    Unavailable,
}

impl LoginRefusal {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthFailed => "auth_failed",
            Self::TokenStale => "token_stale",
            Self::NotAdmitted => "not_admitted",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A CONNECT was refused.
pub struct LoginRefused<'a> {
    /// Who connected.
    pub peer: SocketAddr,
    /// Which kind of refusal it is.
    pub kind: LoginRefusal,
    /// Why, in plain words.
    pub why: &'a dyn fmt::Display,
}

impl LoginRefused<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        let kind = self.kind.as_str();
        metrics.fields().logins.inc(kind);
        BUDGET.write(metrics, |suppressed| {
            let why = self.why.to_string();
            info!(peer = %self.peer, kind, why = %escape_control(&why), suppressed, "login refused");
        });
    }
}

/// A client broke a rule of MQTT.
pub struct MalformedPacket<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Which rule was broken.
    pub rule: &'a dyn fmt::Display,
}

impl MalformedPacket<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().malformed_packets.inc();
        BUDGET.write(metrics, |suppressed| {
            let rule = self.rule.to_string();
            info!(peer = %self.peer, rule = %escape_control(&rule), suppressed, "malformed packet");
        });
    }
}

/// A session that [`LoginAccepted`] began is over.
pub struct SessionEnded<'a> {
    /// Who was connected.
    pub peer: SocketAddr,
    /// As whom.
    pub wallet: Wallet,
    /// Under which client id.
    pub client_id: &'a str,
    /// Why it ended.
    pub cause: &'a dyn fmt::Display,
    /// How long it lasted.
    pub duration: Duration,
}

impl SessionEnded<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().sessions.dec();
        let cause = self.cause.to_string();
        info!(
            peer = %self.peer, wallet = %self.wallet, client_id = %escape_control(self.client_id),
            cause = %escape_control(&cause), seconds = self.duration.as_secs(), "session ended"
        );
    }
}

/// The broker couldn't be reached, or went away.
pub struct UpstreamFailed<'a> {
    /// The configured address of the broker.
    pub address: &'a dyn fmt::Display,
    /// What went wrong.
    pub error: &'a dyn fmt::Display,
}

impl UpstreamFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        static BUDGET: LogBudget = LogBudget::new();
        metrics.fields().upstream_failures.inc();
        BUDGET.write(metrics, |suppressed| {
            let error = self.error.to_string();
            warn!(address = %self.address, error = %escape_control(&error), suppressed, "broker failed");
        });
    }
}
