//! The life of one connection: the door, TLS, CONNECT, the broker, the relay, the farewell.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Surroundings;
use super::registry::{Full, Place};
use super::relay::Relay;
use super::report::Reporter;
use crate::bans::Standing;
use crate::events::{ConnectionRefusal, ConnectionRefused, TlsFailed};
use crate::offence::Offence;
use crate::session::{Cause, Session};

/// How long a source that misbehaved, but has proven sessions, waits for each new connection.
const THROTTLE: Duration = Duration::from_secs(1);

/// The door: limits and bans, before anything is spent on the connection.
pub(super) fn admit(peer: SocketAddr, surroundings: &Surroundings) -> Option<Place> {
    let limits = &surroundings.limits;
    let entered = surroundings.registry.enter(
        peer.ip(),
        limits.connections,
        limits.connections_per_address,
    );
    // Entered first: a ban that comes now either is seen here or finds the connection there. The
    // kernel drops the banned on the interfaces it guards; here, on all others.
    let banned = surroundings.bans.standing(peer.ip()) == Standing::Banned;
    let reason = match entered {
        _ if banned => ConnectionRefusal::Banned,
        Ok(place) => {
            surroundings.metrics.connection_accepted();
            return Some(place);
        }
        Err(Full::Total) => ConnectionRefusal::TotalLimit,
        Err(Full::Address) => ConnectionRefusal::AddressLimit,
    };
    ConnectionRefused { peer, reason }.emit(&surroundings.metrics);
    None
}

/// Serves an admitted connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    acceptor: Option<TlsAcceptor>,
    surroundings: Arc<Surroundings>,
) {
    // Packets are small and their senders wait for the answer.
    let _ = stream.set_nodelay(true);
    let stopped = async {
        tokio::select! {
            () = place.banned.cancelled() => Cause::Banned,
            () = surroundings.drain.cancelled() => Cause::Draining,
        }
    };
    tokio::pin!(stopped);
    if surroundings.bans.standing(peer.ip()) == Standing::Throttled {
        tokio::select! {
            () = tokio::time::sleep(THROTTLE) => {}
            _ = &mut stopped => return,
        }
    }
    let Some(acceptor) = acceptor else {
        return converse(stream, peer, stopped, &surroundings).await;
    };
    let timeout = surroundings.limits.tls_handshake_timeout;
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(timeout, acceptor.accept(stream)) => handshake,
        _ = &mut stopped => return,
    };
    match handshake {
        Ok(Ok(stream)) => converse(stream, peer, stopped, &surroundings).await,
        Ok(Err(error)) => {
            let error = &error;
            TlsFailed { peer, error }.emit(&surroundings.metrics);
        }
        Err(_) => {
            let error = &format_args!("no TLS handshake within {timeout:?}");
            TlsFailed { peer, error }.emit(&surroundings.metrics);
            surroundings
                .bans
                .offence(peer.ip(), Offence::HandshakeTimeout);
        }
    }
}

/// Runs the session of an established connection until something ends it, `stopped` included.
async fn converse<C: AsyncRead + AsyncWrite + Unpin>(
    stream: C,
    peer: SocketAddr,
    mut stopped: Pin<&mut impl Future<Output = Cause>>,
    surroundings: &Arc<Surroundings>,
) {
    let mut entropy = [0; 16];
    if let Err(error) = getrandom(&mut entropy, GetRandomFlags::empty()) {
        tracing::error!(%error, "no random numbers: a connection is closed");
        return;
    }
    let elapsed = surroundings.started.elapsed();
    let session = Session::new(Arc::clone(&surroundings.session), entropy, elapsed);
    let reporter = Reporter::new(peer, Arc::clone(surroundings));
    let mut relay = Relay::new(session, stream, reporter, Arc::clone(surroundings));

    let close = tokio::select! {
        biased;
        cause = &mut stopped => relay.end(cause),
        close = relay.run() => close,
    };
    relay.report_end(&close);
    if close.delay {
        tokio::select! {
            () = tokio::time::sleep(surroundings.limits.stale_delay) => {}
            _ = stopped => {}
        }
    }
    let farewell = async {
        relay.finish().await;
        relay.linger().await;
    };
    // A client that doesn't close its side has the rest of its time limit and no more.
    let _ = tokio::time::timeout(surroundings.limits.farewell_timeout, farewell).await;
}
