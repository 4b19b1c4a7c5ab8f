//! The clients that people use: `mosquitto_pub` and `mosquitto_sub`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::netns::Place;
use super::packet::Version;
use super::process::{Finished, Process};
use super::raw::serial;
use super::wallet::Login;

/// How a client reaches the gateway.
#[derive(Clone, Debug)]
pub struct Way {
    /// Where the client runs.
    pub place: Place,
    /// Its own address.
    pub source: Option<IpAddr>,
    /// The gateway's listener.
    pub to: SocketAddr,
    /// The CA to trust; `None`: plain TCP.
    pub ca: Option<PathBuf>,
    /// Protocol version.
    pub version: Version,
}

impl Way {
    fn command(&self, program: &str, login: &Login) -> Command {
        // Line by line, also into a file.
        let mut command = self.place.command("stdbuf");
        command.args(["-oL", program]);
        command
            .args([
                "-h",
                &self.to.ip().to_string(),
                "-p",
                &self.to.port().to_string(),
            ])
            .args([
                "-V",
                if self.version == Version::V5 {
                    "mqttv5"
                } else {
                    "mqttv311"
                },
            ])
            .args([
                "-i",
                &login.client_id,
                "-u",
                &login.user,
                "-P",
                &login.password,
            ]);
        if let Some(source) = self.source {
            command.args(["-A", &source.to_string()]);
        }
        if let Some(ca) = &self.ca {
            command.arg("--cafile").arg(ca);
        }
        command
    }

    /// Publishes one message and waits until it is acknowledged. `-d` shows the packets.
    pub fn publish(&self, login: &Login, topic: &str, payload: &str, qos: u8) -> Result<Finished> {
        let mut command = self.command("mosquitto_pub", login);
        command.args(["-d", "-q", &qos.to_string(), "-t", topic, "-m", payload]);
        Finished::of(&mut command)
    }

    /// Subscribes with all filters in one packet. Returns at once; see [`Subscriber::subscribed`].
    pub fn subscribe(
        &self,
        login: &Login,
        filters: &[&str],
        qos: u8,
        directory: &Path,
    ) -> Result<Subscriber> {
        let log = directory.join(format!("subscriber-{}", serial()));
        let mut command = self.command("mosquitto_sub", login);
        command.args(["-d", "-q", &qos.to_string(), "-F", "message %q %t %p"]);
        for filter in filters {
            command.args(["-t", filter]);
        }
        Ok(Subscriber {
            process: Process::start("mosquitto_sub", &mut command, &log)?,
        })
    }
}

/// A running `mosquitto_sub`.
#[derive(Debug)]
pub struct Subscriber {
    process: Process,
}

impl Subscriber {
    /// Waits for the SUBACK and returns its reasons.
    pub fn subscribed(&mut self) -> Result<Vec<u8>> {
        self.process.wait_for_output("Subscribed (mid: ")?;
        // `Subscribed (mid: 1): 2, 128`, once the line is complete.
        super::wait_for("the reasons of the SUBACK", || {
            let log = self.process.log();
            Ok(log
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'))
                .find_map(|line| line.strip_prefix("Subscribed (mid: "))
                .and_then(|rest| {
                    let (_, reasons) = rest.split_once("): ")?;
                    reasons
                        .split(", ")
                        .map(|reason| reason.parse().ok())
                        .collect()
                }))
        })
    }

    /// Waits for a message with this payload on this topic at this QoS.
    pub fn wait_for(&mut self, qos: u8, topic: &str, payload: &str) -> Result<()> {
        self.process
            .wait_for_output(&format!("message {qos} {topic} {payload}\n"))
    }

    /// Whether a message with this payload came.
    pub fn saw(&self, payload: &str) -> bool {
        let log = self.process.log();
        log.lines()
            .any(|line| line.starts_with("message ") && line.ends_with(payload))
    }

    /// All that it printed.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
