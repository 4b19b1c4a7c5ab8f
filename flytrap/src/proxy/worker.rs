//! The threads of the data plane, one per core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Endpoint, ListenError, Surroundings, connection, listener};

/// How long to wait when accepting fails, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The data plane: listening, not yet accepting.
pub struct Workers {
    sockets: Vec<Vec<(std::net::TcpListener, Option<TlsAcceptor>)>>,
    addresses: Vec<SocketAddr>,
}

/// The data plane at work.
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    /// Cancelled to cut the sessions that are left.
    cut: CancellationToken,
}

impl Workers {
    /// Binds all endpoints for `workers` threads; nothing is accepted yet.
    pub fn bind(endpoints: &[Endpoint], workers: usize) -> Result<Self, ListenError> {
        let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for one in endpoints {
            let acceptor = one
                .tls
                .as_ref()
                .map(|config| TlsAcceptor::from(Arc::clone(config)));
            let bound = listener::bind(one.bind, workers)?;
            let address = bound.first().and_then(|socket| socket.local_addr().ok());
            addresses.push(address.unwrap_or(one.bind));
            for (worker, socket) in sockets.iter_mut().zip(bound) {
                worker.push((socket, acceptor.clone()));
            }
        }
        Ok(Self { sockets, addresses })
    }

    /// The addresses bound, in the order of the endpoints.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// A thread or its runtime can't be created.
    pub fn start(self, surroundings: &Arc<Surroundings>) -> std::io::Result<Running> {
        let cut = CancellationToken::new();
        let mut threads = Vec::new();
        for (index, sockets) in self.sockets.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let surroundings = Arc::clone(surroundings);
            let cut = cut.clone();
            let thread = std::thread::Builder::new().name(format!("flytrap-{index}"));
            threads.push(thread.spawn(move || {
                runtime.block_on(work(sockets, surroundings, cut));
            })?);
        }
        Ok(Running { threads, cut })
    }
}

impl Running {
    /// Waits for the sessions to end after [`Surroundings::drain`] was cancelled, for at most
    /// `patience` or until `cut`; then cuts those that are left.
    pub async fn stop(self, patience: Duration, cut: CancellationToken) {
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A worker that panicked has said so on its own.
                let _ = thread.join();
            }
        });
        tokio::pin!(joined);
        tokio::select! {
            _ = &mut joined => return,
            () = tokio::time::sleep(patience) => {}
            () = cut.cancelled() => {}
        }
        self.cut.cancel();
        let _ = joined.await;
    }
}

async fn work(
    sockets: Vec<(std::net::TcpListener, Option<TlsAcceptor>)>,
    surroundings: Arc<Surroundings>,
    cut: CancellationToken,
) {
    let sessions = TaskTracker::new();
    for (socket, acceptor) in sockets {
        match TcpListener::from_std(socket) {
            Ok(listener) => {
                let accepting = accept(
                    listener,
                    acceptor,
                    Arc::clone(&surroundings),
                    sessions.clone(),
                );
                sessions.spawn(accepting);
            }
            Err(error) => tracing::error!(%error, "a listener can't be polled"),
        }
    }
    sessions.close();
    tokio::select! {
        () = sessions.wait() => {}
        () = cut.cancelled() => {}
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    surroundings: Arc<Surroundings>,
    sessions: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = surroundings.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => spawn(stream, peer, acceptor.clone(), &surroundings, &sessions),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: check the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn spawn(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    surroundings: &Arc<Surroundings>,
    sessions: &TaskTracker,
) {
    if let Some(place) = connection::admit(peer, surroundings) {
        let surroundings = Arc::clone(surroundings);
        sessions.spawn(connection::serve(
            stream,
            peer,
            place,
            acceptor,
            surroundings,
        ));
    }
}
