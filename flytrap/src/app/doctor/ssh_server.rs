//! On which ports this host lets people in by SSH, by what `/proc` shows.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

/// The usual port, also where another program listens in the server's stead (systemd does).
const SSH: u16 = 22;
/// How the servers' processes are called, or begin to be.
const SERVERS: [&str; 2] = ["sshd", "dropbear"];
/// `TCP_LISTEN`
const LISTENING: &str = "0A";

/// A socket that waits for connections from elsewhere.
struct Listening {
    port: u16,
    inode: u64,
}

/// The ports of SSH servers that can be reached from outside.
pub(super) fn ports(proc: &Path) -> BTreeSet<u16> {
    let listed = |file| fs::read_to_string(proc.join("net").join(file)).unwrap_or_default();
    let servers = inodes_of_servers(proc);
    [listed("tcp"), listed("tcp6")]
        .iter()
        .flat_map(|list| list.lines().filter_map(listening))
        .filter(|one| one.port == SSH || servers.contains(&one.inode))
        .map(|one| one.port)
        .collect()
}

/// As in `0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 …`.
fn listening(line: &str) -> Option<Listening> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, LISTENING, ..] = words[..] else {
        return None;
    };
    let (address, port) = local.split_once(':')?;
    if is_loopback(address) {
        return None;
    }
    Some(Listening {
        port: u16::from_str_radix(port, 16).ok()?,
        inode: words.get(9)?.parse().ok()?,
    })
}

/// Words of 32 bits in hexadecimal digits, each in the machine's order of bytes.
fn is_loopback(address: &str) -> bool {
    let word = |text: &str| u32::from_str_radix(text, 16).map(u32::to_ne_bytes).ok();
    let v4 = |text: &str| word(text).is_some_and(|[first, ..]| first == 127);
    match address.len() {
        8 => v4(address),
        32 => {
            let (upper, last) = address.split_at_checked(24).unwrap_or_default();
            (upper.bytes().all(|digit| digit == b'0') && word(last) == Some([0, 0, 0, 1]))
                || (upper.ends_with("FFFF0000") && v4(last))
        }
        _ => false,
    }
}

fn inodes_of_servers(proc: &Path) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if !SERVERS.iter().any(|server| name.starts_with(server)) {
            continue;
        }
        let descriptors = fs::read_dir(process.path().join("fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            let inode = target
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']')?.parse::<u64>().ok());
            inodes.extend(inode);
        }
    }
    inodes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn servers_are_found_by_port_and_by_process() {
        let proc = tempfile::tempdir().unwrap();
        let net = proc.path().join("net");
        fs::create_dir(&net).unwrap();
        let line = |address: &str, port: u16, state: &str, inode: u32| {
            format!(
                "   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 \
                 00000000     0        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
            )
        };
        let any6 = "00000000000000000000000000000000";
        let own6 = "00000000000000000000000001000000";
        let tcp = [
            "  sl  local_address rem_address   st\n".to_owned(),
            line("00000000", 22, LISTENING, 1),
            line("00000000", 1_883, LISTENING, 2),
            line("0100007F", 2_201, LISTENING, 3),
            line("00000000", 2_202, LISTENING, 4),
            // Established, so no server's.
            line("00000000", 2_203, "01", 5),
        ];
        let tcp6 = [
            line(any6, 2_204, LISTENING, 6),
            line(own6, 2_205, LISTENING, 7),
            "nonsense\n".to_owned(),
        ];
        fs::write(net.join("tcp"), tcp.concat()).unwrap();
        fs::write(net.join("tcp6"), tcp6.concat()).unwrap();
        for (process, name, inodes) in [("40", "sshd-session\n", 3..8), ("41", "mosquitto\n", 2..3)]
        {
            let fd = proc.path().join(process).join("fd");
            fs::create_dir_all(&fd).unwrap();
            fs::write(proc.path().join(process).join("comm"), name).unwrap();
            symlink("/dev/null", fd.join("0")).unwrap();
            for inode in inodes {
                symlink(format!("socket:[{inode}]"), fd.join(inode.to_string())).unwrap();
            }
        }
        let found: Vec<u16> = ports(proc.path()).into_iter().collect();
        assert_eq!(found, [22, 2_202, 2_204]);
        assert!(ports(&net).is_empty());
    }
}
