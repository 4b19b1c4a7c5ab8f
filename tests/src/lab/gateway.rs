//! The gateway's own binary, its configuration, and its command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use serde_json::Value;
use toml::Table;

use super::broker::Broker;
use super::netns::{Net, Place};
use super::pki::{Pki, write_secret};
use super::process::{Finished, Process};
use super::{free_ports, wait_for};

/// The binary under test: `$FLYTRAP_BIN`, or what cargo built beside this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FLYTRAP_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("flytrap"))
        .find(|path| path.is_file())
        .context("no gateway binary: build it with `cargo build -p flytrap`, or set FLYTRAP_BIN")
}

/// A gateway that isn't started yet: its files, and its configuration to change.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it runs.
    pub place: Place,
    /// Its files.
    pub directory: PathBuf,
    /// Its configuration, as it will be written.
    pub config: Table,
    /// Its plain listener.
    pub plain: SocketAddr,
    /// Its TLS listener.
    pub tls: SocketAddr,
    /// Its certificate, and the CA that clients trust.
    pub pki: Pki,
}

impl Setup {
    /// The public name that tokens are bound to.
    pub const DOMAIN: &'static str = "gw.example.org";

    /// A gateway on `net` in front of `broker`, with a plain and a TLS listener, XDP on the
    /// net's interface, and a ledger of this text.
    pub fn new(net: &Net, directory: &Path, broker: SocketAddr, ledger: &str) -> Result<Self> {
        let address = net.gateway_address();
        let [plain, tls] = if net.interface.is_some() {
            [1883, 8883]
        } else {
            free_ports(address)?
        };
        let names = [
            Self::DOMAIN.to_owned(),
            address.to_string(),
            Net::GATEWAY[1].to_string(),
        ];
        let pki = Pki::create(directory, &names)?;
        std::fs::write(directory.join("ledger.toml"), ledger)?;
        write_secret(&directory.join("broker-password"), Broker::GATEWAY_PASSWORD)?;
        let config = format!(
            r#"
[gateway]
domain = "{domain}"
state_dir = "{directory}/state"
socket = "{directory}/flytrap.sock"
drain_timeout = "2s"

[[listener]]
bind = "{address}:{tls}"
tls = {{ certificate_file = "server.pem", key_file = "server.key" }}

[[listener]]
bind = "{address}:{plain}"
danger_tokens_readable_on_the_wire = true

[upstream]
address = "{broker}"
username = "{user}"
password_file = "broker-password"

[ledger]
kind = "file"
path = "ledger.toml"

[xdp]
interfaces = {interfaces:?}
mode = "native"
pin_dir = "{pins}"
detach_on_exit = true
event_sample = 1
"#,
            domain = Self::DOMAIN,
            directory = directory.display(),
            user = Broker::GATEWAY_USER,
            interfaces = net.interface.as_slice(),
            pins = pin_directory(),
        );
        Ok(Self {
            place: net.gateway.clone(),
            directory: directory.to_owned(),
            config: config
                .parse()
                .context("the laboratory's own configuration")?,
            plain: SocketAddr::new(address, plain),
            tls: SocketAddr::new(address, tls),
            pki,
        })
    }

    /// Sets one key, as in `("login.admit", "any")`, making the section if there is none.
    pub fn set(&mut self, key: &str, value: impl Into<toml::Value>) -> &mut Self {
        let mut names: Vec<&str> = key.split('.').collect();
        let last = names.pop().unwrap_or_default();
        let mut table = &mut self.config;
        for name in names {
            let section = table.entry(name).or_insert_with(|| Table::new().into());
            let toml::Value::Table(section) = section else {
                return self;
            };
            table = section;
        }
        table.insert(last.to_owned(), value.into());
        self
    }

    /// A text of the configuration, empty if there is no such key.
    fn text(&self, section: &str, key: &str) -> &str {
        self.config
            .get(section)
            .and_then(|section| section.get(key)?.as_str())
            .unwrap_or_default()
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.directory.join("flytrap.toml")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.text("gateway", "socket").into()
    }

    /// Where the maps are pinned.
    pub fn pins(&self) -> PathBuf {
        self.text("xdp", "pin_dir").into()
    }

    /// Writes the configuration file.
    pub fn write(&self) -> Result<()> {
        Ok(std::fs::write(self.file(), self.config.to_string())?)
    }

    /// The gateway's binary, where the gateway runs.
    pub fn command(&self) -> Result<Command> {
        let binary = binary()?;
        let binary = binary.to_str().context("a path that isn't UTF-8")?;
        Ok(self.place.command(binary))
    }

    /// `flytrap run` with this configuration, for a start that fails: waits for its end.
    pub fn run_to_the_end(&self) -> Result<Finished> {
        self.write()?;
        let mut command = self.command()?;
        Finished::of(command.arg("run").arg("--config").arg(self.file()))
    }

    /// `flytrap run` with this configuration, not waiting until it serves.
    pub fn spawn(&self) -> Result<Process> {
        self.write()?;
        let mut command = self.command()?;
        command.arg("run").arg("--config").arg(self.file());
        Process::start("flytrap", &mut command, &self.directory.join("flytrap.log"))
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> Result<Gateway> {
        let process = self.spawn()?;
        let mut gateway = Gateway {
            process,
            setup: self,
        };
        wait_for("the gateway's control socket", || {
            if let Some(status) = gateway.process.ended()? {
                bail!("it ended with {status}");
            }
            Ok(gateway.status().ok())
        })
        .with_context(|| format!("the gateway's log:\n{}", gateway.process.log()))?;
        Ok(gateway)
    }
}

/// One that no other gateway has.
fn pin_directory() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("/sys/fs/bpf/ft{}-{number}", std::process::id())
}

/// A running gateway. Killed when dropped, and its pins removed.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    /// What it was started with.
    pub setup: Setup,
}

impl Gateway {
    /// `flytrap …` with its control socket.
    pub fn cli(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.setup.command()?;
        command
            .args(arguments)
            .arg("--socket")
            .arg(self.setup.socket());
        Finished::of(&mut command)
    }

    /// The same with JSON output, which has to succeed.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let finished = self.cli(&all)?;
        if finished.code != Some(0) {
            bail!(
                "flytrap {} ended with {:?}: {}",
                arguments.join(" "),
                finished.code,
                finished.err
            );
        }
        Ok(serde_json::from_str(&finished.out)?)
    }

    /// `flytrap status`.
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// Packets that the kernel dropped, for whatever reason.
    pub fn dropped(&self) -> Result<u64> {
        let status = self.status()?;
        let counters = status.pointer("/xdp/counters").and_then(Value::as_object);
        let counters = counters.with_context(|| format!("no kernel counters in {status}"))?;
        Ok(counters
            .iter()
            .filter(|(name, _)| !name.starts_with("pass"))
            .filter_map(|(_, count)| count.get("packets")?.as_u64())
            .sum())
    }

    /// One of the gateway's own counters; one that was never counted is 0.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let status = self.status()?;
        let counters = status.get("counters").context("no counters in status")?;
        Ok(counters.get(name).and_then(Value::as_u64).unwrap_or(0))
    }

    /// The bans in force, by target.
    pub fn bans(&self) -> Result<Vec<String>> {
        let list = self.json(&["ban", "list"])?;
        let bans = list
            .as_array()
            .ok_or_else(|| anyhow!("no list of bans: {list}"))?;
        Ok(bans
            .iter()
            .filter_map(|ban| Some(ban.get("target")?.as_str()?.to_owned()))
            .collect())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait()
    }

    /// Ends it with SIGKILL: nothing of its own runs any more.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::KILL)?;
        self.process.wait()
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`].
    pub fn restart(&mut self) -> Result<()> {
        let setup = self.setup.clone();
        // The pins stay: they are what a restart has to live with.
        self.process = setup.spawn()?;
        wait_for("the gateway's control socket", || {
            if let Some(status) = self.process.ended()? {
                bail!("it ended with {status}");
            }
            Ok(self.status().ok())
        })
        .with_context(|| format!("the gateway's log:\n{}", self.process.log()))?;
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // In order first: it may have to detach. Only one that hangs is killed, by its process.
        if matches!(self.process.ended(), Ok(None)) && self.process.signal(Signal::TERM).is_ok() {
            let _ = self.process.wait();
        }
        let pins = self.setup.pins();
        if pins.starts_with("/sys/fs/bpf") {
            let _ = std::fs::remove_dir_all(pins);
        }
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.process.log());
        }
    }
}
