//! mosquitto on loopback, and what it received.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::netns::Place;
use super::pki::write_secret;
use super::process::{Process, must};
use super::{free_ports, text_of, wait_for};

/// A running mosquitto that admits only the accounts made here, with everything it sees in its log.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    place: Place,
    directory: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Broker {
    /// The account that the gateway uses.
    pub const GATEWAY_USER: &'static str = "flytrap";
    /// Its password.
    pub const GATEWAY_PASSWORD: &'static str = "gateway-own-secret";
    const OBSERVER: &'static str = "observer";
    const OBSERVER_PASSWORD: &'static str = "observer-secret";

    /// Starts it on a free port of loopback in `place` and waits until it listens.
    pub fn start(place: &Place, directory: &Path) -> Result<Self> {
        let directory = directory.join("broker");
        std::fs::create_dir_all(&directory)?;
        let [port] = place.run(|| Ok(free_ports(Ipv4Addr::LOCALHOST.into())?))?;
        let mut broker = Self {
            process: Self::spawn(place, &directory, port)?,
            place: place.clone(),
            directory,
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        };
        broker.process.wait_for_output("running")?;
        Ok(broker)
    }

    fn spawn(place: &Place, directory: &Path, port: u16) -> Result<Process> {
        let accounts = directory.join("accounts");
        write_secret(
            &accounts,
            &format!(
                "{}:{}\n{}:{}\n",
                Self::GATEWAY_USER,
                Self::GATEWAY_PASSWORD,
                Self::OBSERVER,
                Self::OBSERVER_PASSWORD
            ),
        )?;
        must(Command::new("mosquitto_passwd").arg("-U").arg(&accounts))?;
        let configuration = directory.join("mosquitto.conf");
        // `user root`: else mosquitto changes to an account that can't read this directory.
        std::fs::write(
            &configuration,
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n\
                 persistence false\nuser root\nlog_dest stderr\nlog_type all\n\
                 set_tcp_nodelay true\nmax_queued_messages 0\nsys_interval 1\n",
                accounts.display()
            ),
        )?;
        let mut command = place.command("mosquitto");
        command.arg("-c").arg(&configuration);
        Process::start("mosquitto", &mut command, &directory.join("log"))
    }

    /// Everything it has logged: each packet it received and sent, without payloads.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it at once.
    pub fn kill(self) {}

    /// Subscribes to everything, behind the gateway's back.
    pub fn observe(&self) -> Result<Observer> {
        let client_id = format!("observer-{}", super::raw::serial());
        let log = self.directory.join(&client_id);
        let mut command = self.place.command("mosquitto_sub");
        command
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args([
                "-i",
                &client_id,
                "-u",
                Self::OBSERVER,
                "-P",
                Self::OBSERVER_PASSWORD,
            ])
            .args(["-t", "#", "-q", "2", "-F", "%q %r %x %t"]);
        let observer = Observer {
            process: Process::start("mosquitto_sub", &mut command, &log)?,
            log,
        };
        let answer = format!("Sending SUBACK to {client_id}");
        wait_for("the observer's subscription", || {
            Ok(self.log().contains(&answer).then_some(()))
        })?;
        Ok(observer)
    }

    /// Publishes at the broker, behind the gateway's back.
    pub fn publish(&self, topic: &str, payload: &str, retain: bool) -> Result<()> {
        let mut command = self.place.command("mosquitto_pub");
        command
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(["-u", Self::OBSERVER, "-P", Self::OBSERVER_PASSWORD])
            .args(["-q", "1", "-t", topic, "-m", payload]);
        if retain {
            command.arg("-r");
        }
        must(&mut command).context("publishing at the broker")?;
        Ok(())
    }
}

/// A message as the broker handed it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// 0, 1 or 2.
    pub qos: u8,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Everything that is published at a broker while this lives.
#[derive(Debug)]
pub struct Observer {
    #[expect(dead_code, reason = "holds the subscriber alive")]
    process: Process,
    log: PathBuf,
}

impl Observer {
    /// All messages so far, in order.
    pub fn messages(&self) -> Vec<Received> {
        let text = text_of(&self.log);
        // A line without its end is still being written.
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .filter_map(parse)
            .collect()
    }

    /// Waits for a message with this payload.
    pub fn wait_for(&self, payload: &str) -> Result<Received> {
        wait_for(&format!("`{payload}` at the broker"), || {
            Ok(self
                .messages()
                .into_iter()
                .find(|message| message.payload == payload.as_bytes()))
        })
    }

    /// Whether a message with this payload was published. Publish another one after it and
    /// wait for that first: messages of one connection arrive in order.
    pub fn saw(&self, payload: &str) -> bool {
        self.messages()
            .iter()
            .any(|message| message.payload == payload.as_bytes())
    }
}

/// `1 0 68656c6c6f a/b`: QoS, retain, payload in hex, topic.
fn parse(line: &str) -> Option<Received> {
    let mut words = line.splitn(4, ' ');
    let qos = words.next()?.parse().ok()?;
    let _retain = words.next()?;
    let digits = words.next()?.as_bytes();
    let topic = words.next()?.to_owned();
    let payload = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    Some(Received {
        qos,
        topic,
        payload,
    })
}
