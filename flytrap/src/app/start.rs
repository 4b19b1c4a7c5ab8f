//! Builds the gateway, the fallible parts first, the kernel last.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use super::control::{Control, Kernel};
use super::cookies::Cookies;
use super::countries::Countries;
use super::drops::Reports;
use super::settings;
use crate::api::ControlSocket;
use crate::bans::{Bans, BansStore, BansTask};
use crate::chain::{FileLedger, Ledger, LedgerFileError};
use crate::config::{Config, Listener};
use crate::failure::{Failure, exit};
use crate::kernel::{Blocklist, Events, KernelError, KernelPlane, NoKernel};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::nonces::{Nonces, NoncesStore};
use crate::proxy::{Endpoint, Registry, Surroundings, Workers, dial};
use crate::session::BrokerAccount;
use crate::tls;
use crate::types::{Clock, SystemClock};

/// How often the broker's port is tried, for `status`.
const UPSTREAM_CHECK: Duration = Duration::from_secs(10);

/// Everything that is needed to run, built and bound but at rest.
pub(super) struct Gateway {
    pub(super) control: Arc<Control>,
    pub(super) socket: ControlSocket,
    pub(super) bans_task: BansTask,
    pub(super) drops: Option<Reports>,
    pub(super) cookies: Option<Cookies>,
    pub(super) workers: Workers,
    pub(super) surroundings: Arc<Surroundings>,
}

/// What the files hold that the configuration names.
pub(super) struct Inputs {
    ledger: FileLedger,
    mirror: Mirror,
    account: Option<BrokerAccount>,
    endpoints: Vec<Endpoint>,
    metrics: Metrics,
    countries: Option<Countries>,
}

impl Inputs {
    pub(super) fn read(config: &Config) -> Result<Self, Failure> {
        let (ledger, mirror) = ledger(config)?;
        let metrics = Metrics::new();
        Ok(Self {
            ledger,
            mirror,
            account: account(config)?,
            endpoints: config
                .listeners
                .iter()
                .map(endpoint)
                .collect::<Result<_, _>>()?,
            countries: Countries::read(config, &metrics)?,
            metrics,
        })
    }
}

/// The ledger, and what follows from it.
pub(super) fn ledger(config: &Config) -> Result<(FileLedger, Mirror), Failure> {
    let ledger = FileLedger::open(&config.ledger.path).map_err(ledger_failure)?;
    let mirror = Mirror::load(&ledger, &settings::mirror(config)).map_err(|error| {
        Failure::new(exit::CONFIG, "the ledger can't be used")
            .cause(error)
            .help(format_args!("mend {}", config.ledger.path.display()))
    })?;
    Ok((ledger, mirror))
}

/// The gateway's account at the broker, if it has one.
pub(super) fn account(config: &Config) -> Result<Option<BrokerAccount>, Failure> {
    settings::broker_account(&config.upstream).map_err(|(error, file)| {
        Failure::new(exit::CONFIG, "the password for the broker can't be read")
            .cause(format_args!("{}: {error}", file.display()))
            .help("make upstream.password_file readable for the user that runs flytrap")
    })
}

pub(super) async fn build(config: &Config) -> Result<Gateway, Failure> {
    let Inputs {
        ledger,
        mirror,
        account,
        endpoints,
        metrics,
        countries,
    } = Inputs::read(config)?;
    allow_open_files(config.limits.connections);
    reach_broker(config).await?;
    make_state_dir(&config.gateway.state_dir)?;
    let workers = Workers::bind(&endpoints, config.gateway.workers).map_err(|error| {
        Failure::new(exit::FAIL, &error).help(match error.source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process has this port: stop it, or choose another bind"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "no interface has this address: `ip -br address` lists them"
            }
            std::io::ErrorKind::PermissionDenied => "ports under 1024 need CAP_NET_BIND_SERVICE",
            _ => "choose another bind",
        })
    })?;
    let socket = ControlSocket::bind(&config.gateway.socket)?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store =
        BansStore::open(&config.gateway.state_dir).map_err(|error| bans_failure(&error, config))?;
    let nonces = nonces(config)?;
    let plane = kernel_plane(config, workers.addresses(), countries.as_ref())?;
    let (plane, drops) = plane.unzip();
    let blocklist: Arc<dyn Blocklist> = match &plane {
        Some(plane) => Arc::clone(plane) as _,
        None => Arc::new(NoKernel),
    };
    let (bans, bans_task) = Bans::start(
        store,
        settings::bans(config),
        blocklist,
        Arc::clone(&clock),
        metrics.clone(),
    )
    .map_err(|error| bans_failure(&error, config))?;
    let session = settings::session(config, ledger.deployment(&config.gateway.domain), account);
    let surroundings = Arc::new(Surroundings {
        session: Arc::new(session),
        limits: settings::proxy(config),
        upstream: config.upstream.address.as_str().into(),
        mirror,
        bans,
        nonces,
        metrics,
        clock,
        started: Instant::now(),
        registry: Registry::default(),
        drain: CancellationToken::new(),
    });
    let drops = drops.zip(plane.as_deref());
    let drops = drops.map(|(events, plane)| Reports::new(events, plane, config.xdp.event_sample));
    let stream = drops.as_ref().map(Reports::stream);
    let cookies = plane.as_ref().filter(|_| config.answers_with_cookies());
    let cookies = cookies.map(|plane| Cookies::new(plane, workers.addresses()));
    let kernel = plane.map(|plane| Kernel {
        plane,
        countries: countries.map(Arc::new),
        drops: stream,
    });
    let control = Control::new(config, workers.addresses(), &surroundings, kernel);
    Ok(Gateway {
        control: Arc::new(control),
        socket,
        bans_task,
        drops,
        cookies,
        workers,
        surroundings,
    })
}

/// Where a listener listens, with its certificate and key.
pub(super) fn endpoint(listener: &Listener) -> Result<Endpoint, Failure> {
    let tls = match &listener.tls {
        None => None,
        Some(files) => Some(
            tls::server_config(&files.certificate_file, &files.key_file).map_err(|error| {
                Failure::new(exit::CONFIG, format_args!("no TLS on {}", listener.bind))
                    .cause(error)
                    .help("certificate_file and key_file are PEM files that belong together")
            })?,
        ),
    };
    Ok(Endpoint {
        bind: listener.bind,
        tls,
    })
}

/// A gateway in front of nothing is a mistake that is best told at once.
pub(super) async fn reach_broker(config: &Config) -> Result<(), Failure> {
    let address = &config.upstream.address;
    let Err(cause) = dial(address, config.upstream.connect_timeout).await else {
        return Ok(());
    };
    Err(Failure::new(
        exit::UNAVAILABLE,
        format_args!("the broker at {address} can't be reached"),
    )
    .cause(cause)
    .help("start the broker, or correct upstream.address"))
}

/// Raises the limit of open files as far as it may be, and says if that isn't enough.
fn allow_open_files(connections: usize) {
    // A session has one to the client and one to the broker; the rest is for everything else.
    let wanted = connections as u64 * 2 + 100;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let current = Some(raised);
        let set = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
        if raised < wanted || set.is_err() {
            tracing::warn!(
                allowed = raised,
                wanted,
                "limits.connections needs more open files than the system allows: raise the hard \
                 limit (LimitNOFILE in systemd) or lower limits.connections"
            );
        }
    }
}

fn make_state_dir(path: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path);
    made.map_err(|error| {
        let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
        let code = if denied {
            exit::NOT_PERMITTED
        } else {
            exit::FAIL
        };
        Failure::new(code, format_args!("{} can't be made", path.display()))
            .cause(error)
            .help("choose a gateway.state_dir that this user may write to")
    })
}

fn nonces(config: &Config) -> Result<Nonces, Failure> {
    let failure = |error: &dyn std::fmt::Display| {
        Failure::new(exit::FAIL, "used tokens can't be remembered")
            .cause(error)
            .help(format_args!(
                "{} must be writable and hold no damaged nonces.db",
                config.gateway.state_dir.display()
            ))
    };
    let store = NoncesStore::open(&config.gateway.state_dir).map_err(|error| failure(&error))?;
    Nonces::start(store).map_err(|error| failure(&error))
}

fn kernel_plane(
    config: &Config,
    bound: &[SocketAddr],
    countries: Option<&Countries>,
) -> Result<Option<(Arc<KernelPlane>, Events)>, Failure> {
    if config.xdp.interfaces.is_empty() {
        return Ok(None);
    }
    let settings = settings::kernel(config, bound);
    let started = match countries {
        None => KernelPlane::start(settings),
        Some(countries) => countries.hand_over(|tables, policy| {
            KernelPlane::start_with_countries(settings, tables, policy)
        }),
    };
    started
        .and_then(|(plane, drops)| {
            let cookies = config.answers_with_cookies();
            plane.set_cookies(cookies)?;
            for listener in bound.iter().filter(|_| cookies) {
                plane.prepare_listener(*listener)?;
            }
            Ok(Some((Arc::new(plane), drops)))
        })
        .map_err(|error| kernel_failure(&error))
}

pub(super) fn ledger_failure(error: LedgerFileError) -> Failure {
    let failure = Failure::new(exit::CONFIG, "the ledger can't be used");
    match error {
        LedgerFileError::Content {
            path,
            line,
            column,
            problem,
            help,
        } => failure
            .cause(format_args!(
                "{}:{line}:{column}: {problem}",
                path.display()
            ))
            .help(help),
        LedgerFileError::Read { .. } => failure
            .cause(error)
            .help("ledger.path names a file that this user may read"),
    }
}

pub(super) fn kernel_exit(error: &KernelError) -> u8 {
    match error {
        KernelError::NotPrivileged { .. } | KernelError::Setting { .. } => exit::NOT_PERMITTED,
        _ => exit::FAIL,
    }
}

pub(super) fn kernel_failure(error: &KernelError) -> Failure {
    let code = match error {
        KernelError::UnknownInterface { .. } => exit::CONFIG,
        _ => kernel_exit(error),
    };
    Failure::new(code, "the kernel program can't be put in force")
        .cause(error)
        .help(error.help())
}

fn bans_failure(error: &dyn std::fmt::Display, config: &Config) -> Failure {
    Failure::new(exit::FAIL, "the bans can't be put in force")
        .cause(error)
        .help(format_args!(
            "{} must be writable and hold no damaged bans.db",
            config.gateway.state_dir.display()
        ))
}

/// Keeps up whether the broker can be reached, for `status`.
pub(super) async fn watch_upstream(control: Arc<Control>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPSTREAM_CHECK) => {}
        }
        control.check_upstream().await;
    }
}
