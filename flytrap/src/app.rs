//! The one place that builds, wires, supervises and drains.
//!
//! Everything that can fail is done before the program is attached and before the first client is
//! accepted; what was started is taken down in reverse.

mod control;
mod cookies;
mod countries;
pub mod doctor;
mod drops;
mod logging;
mod settings;
mod start;
pub mod xdp;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::chain::{FileLedger, Ledger};
use crate::config::Config;
use crate::failure::{Failure, exit};
use crate::types::Deployment;

/// What login tokens for this gateway are bound to.
pub fn deployment(config: &Config) -> Result<Deployment, Failure> {
    let ledger = FileLedger::open(&config.ledger.path).map_err(start::ledger_failure)?;
    Ok(ledger.deployment(&config.gateway.domain))
}

/// Whether the files that the configuration names can be used: ledger, certificates, password.
pub fn check(config: &Config) -> Result<(), Failure> {
    start::Inputs::read(config).map(drop)
}

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting; nothing is left attached, listening or pinned then.
pub fn run(config: Config) -> Result<(), Failure> {
    logging::start(&config.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("flytrap-blocking")
        .build()
        .map_err(|error| Failure::new(exit::FAIL, "the runtime can't be started").cause(error))?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let gateway = start::build(&config).await?;
    let start::Gateway {
        control,
        socket,
        bans_task,
        drops,
        cookies,
        workers,
        surroundings,
    } = gateway;

    let finished = CancellationToken::new();
    let mut services = Services::default();
    services.spawn("bans", bans_task.run(finished.clone()));
    services.spawn(
        "broker watch",
        start::watch_upstream(Arc::clone(&control), finished.clone()),
    );
    if let Some(drops) = drops {
        let reports = drops.run(surroundings.metrics.clone());
        let stop = finished.clone();
        services.spawn("kernel events", async move {
            stop.run_until_cancelled(reports).await;
        });
    }
    if let Some(cookies) = cookies {
        services.spawn("SYN cookies", cookies.keep_on(finished.clone()));
    }
    let served = api::serve(socket, Arc::clone(&control), finished.clone());
    services.spawn("control socket", async {
        if let Err(error) = served.await {
            tracing::error!(%error, "the control socket failed");
        }
    });
    let running = workers.start(&surroundings).map_err(|error| {
        Failure::new(exit::FAIL, "the threads of the data plane can't be started").cause(error)
    })?;
    control.keep_kernel()?;
    control.say_ready();

    let result = tokio::select! {
        () = stop.wait() => Ok(()),
        name = services.ended() => Err(Failure::new(
            exit::FAIL,
            format_args!("the service `{name}` ended, so the gateway stops"),
        )
        .help("the log says what happened before; please report it")),
    };
    tracing::info!(
        sessions = surroundings.registry.count(),
        "stopping: a second signal cuts"
    );
    surroundings.drain.cancel();
    let cut = CancellationToken::new();
    let stopping = running.stop(config.gateway.drain_timeout, cut.clone());
    tokio::pin!(stopping);
    tokio::select! {
        () = &mut stopping => {}
        () = stop.wait() => {
            cut.cancel();
            stopping.await;
        }
    }
    finished.cancel();
    services.join().await;
    result.and(control.close_kernel())
}

/// The tasks of the control plane, none of which may end before the gateway does.
#[derive(Default)]
struct Services {
    tasks: JoinSet<()>,
    names: HashMap<tokio::task::Id, &'static str>,
}

impl Services {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.names.insert(self.tasks.spawn(task).id(), name);
    }

    /// The name of the first that ends. A panic has been printed by then.
    async fn ended(&mut self) -> &'static str {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => Some(id),
            Some(Err(error)) => Some(error.id()),
            None => None,
        };
        ended
            .and_then(|id| self.names.get(&id).copied())
            .unwrap_or("control plane")
    }

    async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let failed = |error| Failure::new(exit::FAIL, "signals can't be awaited").cause(error);
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
