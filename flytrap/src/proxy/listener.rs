//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections the kernel may hold for us to accept.
const BACKLOG: i32 = 1024;

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// One socket per worker on the same address; the kernel spreads connections over them. Port 0 is
/// chosen once for all.
pub(super) fn bind(
    address: SocketAddr,
    workers: usize,
) -> Result<Vec<std::net::TcpListener>, ListenError> {
    let failed = |source| ListenError { address, source };
    // Another process must not get in between the sockets of this one, so the first is bound
    // without SO_REUSEPORT as a probe.
    drop(bind_one(address, false).map_err(failed)?);
    let first = bind_one(address, true).map_err(failed)?;
    let chosen = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(bind_one(chosen, true).map_err(failed)?);
    }
    Ok(sockets)
}

fn bind_one(address: SocketAddr, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        // [::] serves IPv6 only: an IPv4 listener is a listener of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_refused() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = first[0].local_addr().unwrap();
        assert_eq!(first[1].local_addr().unwrap(), address);
        let error = bind(address, 1).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }
}
