//! A world around one gateway: namespaces, a real broker, real clients, wallets and certificates.
//!
//! Everything here is a guard: dropping it ends the process, removes the namespace or the
//! directory, also when a test panics. Programs are started so that the kernel kills them if
//! the laboratory itself is killed.

pub mod broker;
pub mod client;
pub mod drill;
pub mod frame;
pub mod gateway;
pub mod geo;
pub mod netns;
pub mod numbers;
pub mod packet;
pub mod pki;
pub mod process;
pub mod raw;
pub mod rig;
pub mod story;
pub mod veth;
pub mod wallet;
pub mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take before a test calls it hung. Nothing is measured against it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A directory of its own under the system's temporary directory, removed when dropped. Its
/// name is how `cargo xtask test` recognises processes of the laboratory.
pub fn directory() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("flytrap-lab-")
        .tempdir()
        .context("cannot make a temporary directory")
}

/// Asks until there is an answer, for at most [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ports that nobody uses now, no two of them the same.
pub fn free_ports<const N: usize>(address: IpAddr) -> io::Result<[u16; N]> {
    let mut ports = [0; N];
    // All are held until the last is found.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind(SocketAddr::new(address, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// A file's text; empty if it isn't there yet.
pub fn text_of(path: &Path) -> String {
    std::fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
