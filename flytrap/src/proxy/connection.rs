//! The life of one connection: the door, TLS, CONNECT, the broker, the relay, the farewell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Surroundings;
use super::registry::{Full, Place};
use super::relay::Relay;
use super::report::Reporter;
use crate::bans::Standing;
use crate::events::{ConnectionRefusal, ConnectionRefused, TlsFailed, UpstreamFailed};
use crate::offence::Offence;
use crate::session::{Close, End, Phase, Session};

/// How long a source that misbehaved, but has proven sessions, waits for each new connection.
const THROTTLE: Duration = Duration::from_secs(1);

/// The door: bans and limits, before anything is spent on the connection.
pub(super) fn admit(peer: SocketAddr, surroundings: &Surroundings) -> Option<Place> {
    let refuse = |reason| {
        ConnectionRefused { peer, reason }.emit(&surroundings.metrics);
        None
    };
    // The kernel drops the banned on the interfaces it guards; here, on all others.
    if surroundings.bans.standing(peer.ip()) == Standing::Banned {
        return refuse(ConnectionRefusal::Banned);
    }
    let limits = &surroundings.limits;
    let entered = surroundings.registry.enter(
        peer.ip(),
        limits.connections,
        limits.connections_per_address,
    );
    match entered {
        Ok(place) => {
            surroundings.metrics.connection_accepted();
            Some(place)
        }
        Err(Full::Total) => refuse(ConnectionRefusal::TotalLimit),
        Err(Full::Address) => refuse(ConnectionRefusal::AddressLimit),
    }
}

/// Serves an admitted connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    acceptor: Option<TlsAcceptor>,
    surroundings: Arc<Surroundings>,
) {
    if surroundings.bans.standing(peer.ip()) == Standing::Throttled {
        tokio::time::sleep(THROTTLE).await;
    }
    // Packets are small and their senders wait for the answer.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return converse(stream, peer, &place, surroundings).await;
    };
    let timeout = surroundings.limits.tls_handshake_timeout;
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(timeout, acceptor.accept(stream)) => handshake,
        () = place.banned.cancelled() => return,
        () = surroundings.drain.cancelled() => return,
    };
    match handshake {
        Ok(Ok(stream)) => converse(stream, peer, &place, surroundings).await,
        Ok(Err(error)) => TlsFailed {
            peer,
            error: &error,
        }
        .emit(&surroundings.metrics),
        Err(_) => {
            let error = format!("no TLS handshake within {timeout:?}");
            TlsFailed {
                peer,
                error: &error,
            }
            .emit(&surroundings.metrics);
            surroundings
                .bans
                .offence(peer.ip(), Offence::HandshakeTimeout);
        }
    }
}

async fn converse<C: AsyncRead + AsyncWrite + Unpin>(
    stream: C,
    peer: SocketAddr,
    place: &Place,
    surroundings: Arc<Surroundings>,
) {
    let mut entropy = [0; 16];
    // Only an assigned client id comes of it, which names a session and is no secret.
    if rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty()).is_err() {
        entropy = surroundings.started.elapsed().as_nanos().to_be_bytes();
    }
    let elapsed = surroundings.started.elapsed();
    let session = Session::new(Arc::clone(&surroundings.session), entropy, elapsed);
    let mut relay = Relay::new(session, stream, Arc::clone(&surroundings));
    let mut reporter = Reporter::new(peer, Arc::clone(&surroundings));

    let close = tokio::select! {
        biased;
        () = place.banned.cancelled() => relay.end(End::Banned),
        () = surroundings.drain.cancelled() => relay.end(End::Draining),
        close = live(&mut relay, &surroundings, &mut reporter) => close,
    };
    reporter.closed(&close, relay.session.principal());
    if close.delay {
        tokio::time::sleep(surroundings.limits.stale_delay).await;
    }
    let farewell = async {
        relay.finish().await;
        relay.linger().await;
    };
    // A client that doesn't close its side has the rest of its time limit and no more.
    let _ = tokio::time::timeout(surroundings.limits.farewell_timeout, farewell).await;
}

/// Runs the session until something ends it.
async fn live<C: AsyncRead + AsyncWrite + Unpin>(
    relay: &mut Relay<C>,
    surroundings: &Surroundings,
    reporter: &mut Reporter,
) -> Close {
    let mut phases = async || -> Result<std::convert::Infallible, Close> {
        relay
            .run_while(Phase::AwaitConnect, |out| reporter.report(out, None))
            .await?;
        match dial(surroundings).await {
            Ok(broker) => relay.connected(broker),
            Err(error) => {
                let address = &surroundings.upstream;
                UpstreamFailed {
                    address,
                    error: &error,
                }
                .emit(&surroundings.metrics);
                return Err(relay.end(End::BrokerUnreachable));
            }
        }
        let principal = relay.session.principal().cloned();
        relay
            .run_while(Phase::AwaitConnack, |out| {
                reporter.report(out, principal.as_ref());
            })
            .await?;
        loop {
            relay
                .run_while(Phase::Live, |out| reporter.report(out, principal.as_ref()))
                .await?;
        }
    };
    match phases().await {
        Ok(never) => match never {},
        Err(close) => close,
    }
}

async fn dial(surroundings: &Surroundings) -> std::io::Result<TcpStream> {
    let dialling = TcpStream::connect(&*surroundings.upstream);
    let stream = tokio::time::timeout(surroundings.limits.upstream_timeout, dialling)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
