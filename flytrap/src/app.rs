//! The one place that builds, wires, supervises and drains.
//!
//! Everything that can fail is done before the program is attached and before the first client is
//! accepted; what was started is taken down in reverse.

mod control;
mod logging;
mod settings;
mod start;

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
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
        workers,
        surroundings,
    } = gateway;

    let finished = CancellationToken::new();
    let bans_task = tokio::spawn(bans_task.run(finished.clone()));
    if let Some(drops) = drops {
        tokio::spawn(start::report_drops(
            drops,
            surroundings.metrics.clone(),
            config.xdp.event_sample,
        ));
    }
    let watch = start::watch_upstream(Arc::clone(&control), finished.clone());
    let watch = tokio::spawn(watch);
    let running = workers.start(&surroundings).map_err(|error| {
        Failure::new(exit::FAIL, "the threads of the data plane can't be started").cause(error)
    })?;
    let server = tokio::spawn(api::serve(socket, Arc::clone(&control), finished.clone()));
    control.say_ready();

    stop.wait().await;
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
    // A task that panicked has said so; the rest still has to be taken down.
    let _ = tokio::join!(server, bans_task, watch);
    control.close_kernel()
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
