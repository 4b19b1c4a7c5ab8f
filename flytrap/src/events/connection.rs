//! Connections, logins and sessions.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{info, warn};

use super::budget::LogBudget;
use crate::metrics::{ConnectionRefusal, LOGIN_OK, Metrics, RefusalKind};
use crate::types::{KeyId, Wallet, escape_control};

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

/// A client logged in: its session begins. [`SessionEnded`] is its counterpart, and
/// [`Metrics::session`] counts it meanwhile.
pub struct LoginAccepted<'a> {
    /// Who connected.
    pub peer: SocketAddr,
    /// As whom.
    pub wallet: Wallet,
    /// With which device key of that wallet, if not with its own.
    pub device: Option<KeyId>,
    /// Under which client id.
    pub client_id: &'a str,
    /// With which version of MQTT.
    pub version: &'a dyn fmt::Display,
}

impl LoginAccepted<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fields().logins.inc(LOGIN_OK);
        info!(
            peer = %self.peer, wallet = %self.wallet,
            device = self.device.map(tracing::field::display), client_id = %escape_control(self.client_id),
            version = %self.version, "login accepted"
        );
    }
}

/// A CONNECT was refused.
pub struct LoginRefused<'a> {
    /// Who connected.
    pub peer: SocketAddr,
    /// The wallet, if it proved itself.
    pub wallet: Option<Wallet>,
    /// Which kind of refusal it is.
    pub kind: RefusalKind,
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
            let wallet = self.wallet.map(tracing::field::display);
            info!(
                peer = %self.peer, wallet, kind, why = %escape_control(&why), suppressed,
                "login refused"
            );
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
    /// Logs it. Ended sessions have no count.
    pub fn emit(&self) {
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
