//! Sockets: accepts clients, runs one [`session`](crate::session) per connection, and carries its
//! bytes between client and broker.
//!
//! One thread with a current-thread runtime per core, each with its own `SO_REUSEPORT` listeners:
//! a session lives and dies on its core.

mod connection;
mod leg;
mod listener;
mod registry;
mod relay;
mod report;
mod upstream;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

pub use listener::ListenError;
pub use registry::Registry;
pub use upstream::dial;
pub use worker::{Running, Workers};

use crate::bans::Bans;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::nonces::Nonces;
use crate::session;
use crate::types::Clock;

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where.
    pub bind: SocketAddr,
    /// `None`: plain TCP.
    pub tls: Option<Arc<ServerConfig>>,
}

/// What connections may take, in time and number.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// From accept to the end of the TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// From there to the end of the CONNECT packet.
    pub connect_timeout: Duration,
    /// For the connection to the broker and its CONNACK.
    pub upstream_timeout: Duration,
    /// How long the answer to a stale token is held back.
    pub stale_delay: Duration,
    /// Connections at once, of all clients.
    pub connections: usize,
    /// Connections at once, of one IPv4 address or IPv6 /64.
    pub connections_per_address: usize,
    /// How long a connection may take to read the last bytes that are meant for it.
    pub farewell_timeout: Duration,
}

/// All that a connection needs to know of the gateway around it. All connections share one.
pub struct Surroundings {
    /// Settings of the sessions.
    pub session: Arc<session::Settings>,
    /// Limits in time and number.
    pub limits: ConnectionLimits,
    /// The broker, `host:port`.
    pub upstream: Arc<str>,
    /// The policy in force.
    pub mirror: Mirror,
    /// Who is banned, and where offences are reported.
    pub bans: Bans,
    /// Single-use tokens that were used.
    pub nonces: Nonces,
    /// Counters.
    pub metrics: Metrics,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Zero of the elapsed time.
    pub started: Instant,
    /// The connections there are.
    pub registry: Registry,
    /// Cancelled when the gateway stops.
    pub drain: CancellationToken,
}
