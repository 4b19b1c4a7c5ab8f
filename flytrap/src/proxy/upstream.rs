//! The way to the broker.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// Connects to the broker, `host:port`, within `timeout`.
///
/// # Errors
/// The broker can't be reached; a timeout says how long it was waited for.
pub async fn dial(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let dialling = TcpStream::connect(address);
    let stream = tokio::time::timeout(timeout, dialling)
        .await
        .map_err(|_| {
            let waited = format!("no answer within {timeout:?}");
            io::Error::new(io::ErrorKind::TimedOut, waited)
        })??;
    // Packets are small and their senders wait for the answer.
    stream.set_nodelay(true)?;
    Ok(stream)
}
