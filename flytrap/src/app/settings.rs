//! The configuration in the words of each module.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::bans::BansSettings;
use crate::config::{self, Config};
use crate::identity::LoginRules;
use crate::kernel::{CountryScope, KernelSettings, Limit, Limits, Mode};
use crate::mirror::MirrorSettings;
use crate::policy::Admit;
use crate::types::Deployment;
use crate::{geo, mqtt, proxy, session};

/// Clocks of devices may be this many seconds ahead.
const MAX_SKEW: u64 = 120;

/// A will may be delayed by this many seconds: rights are looked at when a session ends, and a
/// will that waits in the broker could outlive them.
const MAX_WILL_DELAY: u32 = 60;

/// How long a client may take to read what it is told last.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

pub(super) fn mirror(config: &Config) -> MirrorSettings {
    MirrorSettings {
        spaces: config.ledger.spaces.clone(),
        admit: match config.login.admit {
            config::Admit::Entitled => Admit::Entitled,
            config::Admit::Any => Admit::Any,
        },
        dollar_topics: config.dollar_topics.clone().into_iter().collect(),
    }
}

pub(super) fn kernel(config: &Config, bound: &[SocketAddr]) -> KernelSettings {
    KernelSettings {
        interfaces: config.xdp.interfaces.clone(),
        mode: xdp_mode(config.xdp.mode),
        pin_dir: config.xdp.pin_dir.clone(),
        detach_on_exit: config.xdp.detach_on_exit,
        event_sample: config.xdp.event_sample,
        guarded_ports: bound.iter().map(SocketAddr::port).collect(),
        bans_on_guarded_ports: config.xdp.ban_scope == config::Scope::GuardedPorts,
        pass_evasions: config.xdp.evasions == config::Evasions::Pass,
        countries: config
            .geo
            .database
            .as_ref()
            .map(|_| match config.geo.scope {
                config::Scope::Host => CountryScope::Host,
                config::Scope::GuardedPorts => CountryScope::GuardedPorts,
            }),
        limits: Limits {
            source: Limit::per_second(config.xdp.source_rate, config.xdp.source_burst),
            total: Limit::per_second(config.xdp.total_rate, config.xdp.total_burst),
        },
    }
}

pub(super) fn xdp_mode(mode: config::XdpMode) -> Mode {
    match mode {
        config::XdpMode::Native => Mode::Native,
        config::XdpMode::Generic => Mode::Generic,
        config::XdpMode::Auto => Mode::Auto,
    }
}

/// The countries whose packets are dropped.
pub(super) fn countries(config: &Config) -> geo::Policy {
    geo::Policy {
        mode: match config.geo.mode {
            config::GeoMode::Deny => geo::Mode::Deny,
            config::GeoMode::Allow => geo::Mode::Allow,
        },
        countries: config.geo.countries.clone(),
        unknown: match config.geo.unknown {
            config::GeoUnknown::Pass => geo::Unknown::Pass,
            config::GeoUnknown::Drop => geo::Unknown::Drop,
        },
    }
}

pub(super) fn bans(config: &Config) -> BansSettings {
    BansSettings {
        rules: config.defence.rules.clone(),
        allowlist: config.defence.allowlist.clone(),
    }
}

pub(super) fn session(
    config: &Config,
    deployment: Deployment,
    broker_account: Option<session::BrokerAccount>,
) -> session::Settings {
    let limits = &config.limits;
    session::Settings {
        deployment,
        login: LoginRules {
            max_skew: MAX_SKEW,
            max_lifetime: config.login.max_token_lifetime.as_secs(),
            max_lifetime_bound: config.login.max_bound_token_lifetime.as_secs(),
        },
        limits: mqtt::PacketLimits {
            packet_bytes: limits.packet_bytes,
            topic_bytes: limits.topic_bytes,
            topic_levels: limits.topic_levels,
            filters: limits.filters,
        },
        connect_bytes: limits.connect_bytes,
        subscriptions: limits.subscriptions,
        denied_publish: match config.mqtt.denied_publish {
            config::DeniedPublish::Acknowledge => session::DeniedPublish::Acknowledge,
            config::DeniedPublish::Close => session::DeniedPublish::Close,
        },
        will_delay: MAX_WILL_DELAY,
        broker_account,
    }
}

pub(super) fn proxy(config: &Config) -> proxy::ConnectionLimits {
    let limits = &config.limits;
    proxy::ConnectionLimits {
        tls_handshake_timeout: limits.tls_handshake_timeout,
        connect_timeout: limits.connect_timeout,
        upstream_timeout: config.upstream.connect_timeout,
        stale_delay: config.login.stale_delay,
        connections: limits.connections,
        connections_per_address: limits.connections_per_address,
        farewell_timeout: FAREWELL,
    }
}

/// The gateway's account at the broker.
pub(super) fn broker_account(
    upstream: &config::Upstream,
) -> Result<Option<session::BrokerAccount>, (io::Error, &Path)> {
    let (Some(user_name), Some(file)) = (&upstream.username, &upstream.password_file) else {
        return Ok(None);
    };
    let password = config::read_secret(file).map_err(|error| (error, file.as_path()))?;
    Ok(Some(session::BrokerAccount {
        user_name: user_name.clone(),
        password,
    }))
}
