//! Whose hands are on the keyboard: an operator must not lock himself out.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Ancestors that are looked at; a shell under sudo under a multiplexer has a handful.
const ANCESTORS: usize = 64;

/// Where the SSH connection comes from that this process was started over: `SSH_CONNECTION` of
/// its nearest ancestor that has it. sudo clears the variable, but not its parent's. `None` if
/// there is no such connection, or the ancestors' environments can't be read.
pub fn ssh_peer() -> Option<IpAddr> {
    ssh_peer_of(Path::new("/proc"), std::process::id())
}

fn ssh_peer_of(proc: &Path, mut process: u32) -> Option<IpAddr> {
    for _ in 0..ANCESTORS {
        let directory = proc.join(process.to_string());
        let environment = fs::read(directory.join("environ")).unwrap_or_default();
        let peer = environment
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(b"SSH_CONNECTION="))
            .and_then(|connection| std::str::from_utf8(connection).ok())
            .and_then(address);
        if peer.is_some() {
            return peer;
        }
        process = parent(&directory)?;
    }
    None
}

/// The first word of `SSH_CONNECTION`: the client's address, link-local ones with their zone.
fn address(connection: &str) -> Option<IpAddr> {
    let word = connection.split_whitespace().next()?;
    let address: IpAddr = word.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

/// `None` at the first process of all.
fn parent(directory: &Path) -> Option<u32> {
    let status = fs::read_to_string(directory.join("status")).ok()?;
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()?;
    (parent != 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, id: u32, parent: u32, environ: &[u8]) {
        let directory = proc.join(id.to_string());
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("environ"), environ).unwrap();
        let status = format!("Name:\tsh\nTgid:\t{id}\nPPid:\t{parent}\n");
        fs::write(directory.join("status"), status).unwrap();
    }

    fn peer(environ: &[u8]) -> Option<IpAddr> {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), 1, 0, b"");
        process(proc.path(), 40, 1, environ);
        process(proc.path(), 50, 40, b"PATH=/usr/bin\0SUDO_USER=ann\0");
        ssh_peer_of(proc.path(), 50)
    }

    #[test]
    fn the_shell_above_sudo_knows_its_peer() {
        let v4 = b"HOME=/root\0SSH_CONNECTION=192.0.2.7 50022 198.51.100.1 22\0TERM=x\0";
        assert_eq!(peer(v4), Some("192.0.2.7".parse().unwrap()));
        let v6 = b"SSH_CONNECTION=2001:db8::7 50022 2001:db8::1 22\0";
        assert_eq!(peer(v6), Some("2001:db8::7".parse().unwrap()));
        let mapped = b"SSH_CONNECTION=::ffff:192.0.2.7 1 ::ffff:198.51.100.1 22\0";
        assert_eq!(peer(mapped), Some("192.0.2.7".parse().unwrap()));
        let zone = b"SSH_CONNECTION=fe80::7%eth0 1 fe80::1%eth0 22\0";
        assert_eq!(peer(zone), Some("fe80::7".parse().unwrap()));
    }

    #[test]
    fn no_peer_is_made_up() {
        for environ in [
            b"".as_slice(),
            b"SSH_CONNECTION=\0",
            b"SSH_CONNECTION=nonsense 1 2 3\0",
            b"SSH_CONNECTION=\xff\xfe 1 2 3\0",
            b"MY_SSH_CONNECTION=192.0.2.7 1 2 3\0",
        ] {
            assert_eq!(peer(environ), None, "{environ:?}");
        }
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(ssh_peer_of(proc.path(), 50), None, "no such process");
        process(proc.path(), 50, 51, b"");
        process(proc.path(), 51, 50, b"");
        assert_eq!(ssh_peer_of(proc.path(), 50), None, "a circle ends");
    }
}
