//! Network namespaces, and the link between the gateway's side and the clients'.

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{bound, must};

/// The clients' end of the link.
pub(crate) const DEVICES_LINK: &str = "dev0";

/// A named network namespace, removed when dropped, and its links with it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it and brings its loopback up.
    pub fn create(name: &str) -> Result<Self> {
        must(ip().args(["netns", "add", name]))?;
        let namespace = Self {
            name: name.to_owned(),
        };
        must(ip().args(["-n", name, "link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// A name that no other test has, in this process or another.
    fn unique() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!(
            "ft{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// As `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A client that somebody still runs in it would keep it, and the link with it.
        let mut links = ip();
        links.args(["-n", &self.name, "link", "delete", DEVICES_LINK]);
        let _ = links.stderr(Stdio::null()).status();
        if let Err(error) = must(ip().args(["netns", "delete", &self.name])) {
            eprintln!("laboratory: {error:#}");
        }
    }
}

fn ip() -> Command {
    Command::new("ip")
}

/// Where a program runs or a socket is opened.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the namespace of this process.
    Here,
    /// In one of the laboratory's.
    In(Arc<Namespace>),
}

impl Place {
    /// A command that runs there and dies with the thread that starts it. Only the network is
    /// another one: files and the BPF file system stay the same.
    pub fn command(&self, program: &str) -> Command {
        match self {
            Self::Here => bound(program),
            Self::In(namespace) => {
                let mut command = bound("nsenter");
                command.arg(format!("--net=/run/netns/{namespace}"));
                command.args(["--", program]);
                command
            }
        }
    }

    /// Runs `work` there. Sockets that it makes stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Self::In(namespace) = self else {
            return work();
        };
        // The namespace is a property of the thread, so it is one that ends right after.
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    let file = File::open(format!("/run/netns/{namespace}"))?;
                    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                        .with_context(|| format!("cannot enter namespace {namespace}"))?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("panicked in namespace {namespace}"))?
        })
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Where gateway and clients are, and their addresses.
#[derive(Debug)]
pub struct Net {
    /// Where broker and gateway run.
    pub gateway: Place,
    /// Where clients run.
    pub devices: Place,
    /// The gateway's side of the veth pair; none on loopback.
    pub interface: Option<String>,
}

impl Net {
    /// The gateway's addresses on the link: from the ranges for documentation.
    pub const GATEWAY: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf1, 0, 0, 0, 0, 1)),
    ];

    /// The clients' IPv6 addresses on the link: two of one /64, and one of another.
    pub const DEVICES_V6: [IpAddr; 3] = [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf1, 0x11, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf1, 0x11, 0, 0, 0, 2)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf1, 0x12, 0, 0, 0, 1)),
    ];

    /// How many IPv4 addresses clients have.
    pub const DEVICES: u8 = 6;

    /// The gateway's IPv4 address.
    pub fn gateway_address(&self) -> IpAddr {
        match self.interface {
            Some(_) => Self::GATEWAY[0],
            None => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The IPv4 address of a client, from 0 to [`Self::DEVICES`].
    pub fn device(&self, number: u8) -> IpAddr {
        let last = 11_u8.saturating_add(number);
        match self.interface {
            Some(_) => Ipv4Addr::new(198, 51, 100, last).into(),
            None => Ipv4Addr::new(127, 0, 0, last).into(),
        }
    }

    /// All on loopback: needs no privileges, and has no XDP.
    pub fn loopback() -> Self {
        Self {
            gateway: Place::Here,
            devices: Place::Here,
            interface: None,
        }
    }

    /// Both sides in namespaces of their own: as many at the same time as one likes.
    pub fn isolated() -> Result<Self> {
        let gateway = Namespace::create(&Namespace::unique())?;
        let devices = Namespace::create(&Namespace::unique())?;
        let net = Self {
            gateway: Place::In(Arc::new(gateway)),
            devices: Place::In(Arc::new(devices)),
            interface: Some("gw0".to_owned()),
        };
        net.link("gw0", DEVICES_LINK)?;
        Ok(net)
    }

    /// The gateway's side in the namespace of this process, as the demo shows it.
    pub fn here(devices: &str, interface: &str) -> Result<Self> {
        let net = Self {
            gateway: Place::Here,
            devices: Place::In(Arc::new(Namespace::create(devices)?)),
            interface: Some(interface.to_owned()),
        };
        net.link(interface, DEVICES_LINK)?;
        Ok(net)
    }

    fn link(&self, interface: &str, peer: &str) -> Result<()> {
        let Place::In(devices) = &self.devices else {
            return Err(anyhow!("clients need a namespace of their own"));
        };
        // Made on the clients' side, so that it is gone with their namespace in any case.
        let mut pair = ip();
        pair.args(["-n", devices.name(), "link", "add", peer, "type", "veth"]);
        pair.args(["peer", "name", interface]);
        match &self.gateway {
            Place::Here => pair.args(["netns", &std::process::id().to_string()]),
            Place::In(namespace) => pair.args(["netns", namespace.name()]),
        };
        must(&mut pair)?;
        for (address, length) in Self::GATEWAY.iter().zip([24, 48]) {
            let mut add = self.gateway.command("ip");
            // nodad: usable at once.
            add.args(["address", "add", &format!("{address}/{length}"), "dev"]);
            must(add.args([interface, "nodad"]))?;
        }
        must(
            self.gateway
                .command("ip")
                .args(["link", "set", interface, "up"]),
        )?;
        let devices = (0..Self::DEVICES).map(|number| self.device(number));
        for address in devices.chain(Self::DEVICES_V6) {
            let length = if address.is_ipv4() { 24 } else { 48 };
            let mut add = self.devices.command("ip");
            add.args(["address", "add", &format!("{address}/{length}"), "dev"]);
            must(add.args([peer, "nodad"]))?;
        }
        must(self.devices.command("ip").args(["link", "set", peer, "up"]))?;
        Ok(())
    }
}
