//! The world of tests and demo: a plant with two lines, and five wallets.

use std::path::{Path, PathBuf};

use anyhow::Result;
use flytrap::types::{Deployment, Wallet};

use super::PATIENCE;
use super::broker::{Broker, Observer};
use super::client::Way;
use super::directory;
use super::gateway::{Gateway, Setup};
use super::netns::Net;
use super::packet::Version;
use super::raw::{Raw, dial};
use super::wallet::{Holder, Login};
use super::wire::Tap;

/// Who there is.
#[derive(Debug)]
pub struct People {
    /// Owns `plant` and all below.
    pub operator: Holder,
    /// May publish in `plant/line1`.
    pub sensor: Holder,
    /// May subscribe in `plant/line1`.
    pub dashboard: Holder,
    /// May publish and subscribe in `plant/line2`.
    pub technician: Holder,
    /// Has no right anywhere.
    pub stranger: Holder,
}

impl People {
    /// Makes their keystores in `directory`.
    pub fn create(directory: &Path) -> Result<Self> {
        let directory = directory.join("wallets");
        let make = |name| Holder::create(&directory, name);
        Ok(Self {
            operator: make("operator")?,
            sensor: make("sensor")?,
            dashboard: make("dashboard")?,
            technician: make("technician")?,
            stranger: make("stranger")?,
        })
    }

    /// The ledger that gives them what they may.
    pub fn ledger(&self) -> String {
        let space = |name: &str| {
            let owner = self.operator.wallet;
            format!("\n[[space]]\nname = \"{name}\"\nowner = \"{owner}\"\n")
        };
        let grant = |holder: &Holder, space: &str, rights: &str| {
            let Holder { name, wallet, .. } = holder;
            format!(
                "\n# {name}\n[[grant]]\nwallet = \"{wallet}\"\nspace = \"{space}\"\nsubtree = true\n{rights}\n"
            )
        };
        let (publish, subscribe) = (
            "publish_until = \"forever\"",
            "subscribe_until = \"forever\"",
        );
        [
            "# Topic spaces and grants of the laboratory.\n".to_owned(),
            space("plant"),
            space("plant/line1"),
            space("plant/line2"),
            grant(&self.sensor, "plant/line1", publish),
            grant(&self.dashboard, "plant/line1", subscribe),
            grant(
                &self.technician,
                "plant/line2",
                &format!("{publish}\n{subscribe}"),
            ),
        ]
        .concat()
    }
}

/// What the laboratory's tokens are bound to.
pub fn deployment() -> Deployment {
    Deployment {
        domain: Setup::DOMAIN.to_owned(),
        chain_id: 0,
        contract: Wallet([0; 20]),
    }
}

/// A gateway between clients and a broker, and eyes on all three. Fields are dropped in order.
#[derive(Debug)]
pub struct World {
    /// The gateway.
    pub gateway: Gateway,
    /// Subscribed to everything at the broker.
    pub observer: Observer,
    /// Between gateway and broker.
    pub tap: Tap,
    /// The broker.
    pub broker: Broker,
    /// The wallets.
    pub people: People,
    /// The links.
    pub net: Net,
    /// All files.
    pub directory: PathBuf,
    /// Removes the directory.
    removes: Option<tempfile::TempDir>,
}

impl World {
    /// On loopback: no privileges, no XDP.
    pub fn loopback() -> Result<Self> {
        Self::new(Net::loopback(), |_, _| ())
    }

    /// In namespaces of its own, with XDP.
    pub fn isolated() -> Result<Self> {
        Self::new(Net::isolated()?, |_, _| ())
    }

    /// Anywhere, with another configuration, in a directory that goes with it.
    pub fn new(net: Net, change: impl FnOnce(&mut Setup, &People)) -> Result<Self> {
        let directory = directory()?;
        let mut world = Self::in_directory(net, directory.path(), |setup, _, people| {
            change(setup, people);
        })?;
        world.removes = Some(directory);
        Ok(world)
    }

    /// Anywhere, in a directory that stays. The configuration leads through the tap to the
    /// broker, if it isn't changed.
    pub fn in_directory(
        net: Net,
        directory: &Path,
        change: impl FnOnce(&mut Setup, &Broker, &People),
    ) -> Result<Self> {
        let broker = Broker::start(&net.gateway, directory)?;
        let observer = broker.observe()?;
        let tap = Tap::start(&net.gateway, broker.address)?;
        let people = People::create(directory)?;
        let mut setup = Setup::new(&net, directory, tap.address, &people.ledger())?;
        change(&mut setup, &broker, &people);
        Ok(Self {
            gateway: setup.start()?,
            observer,
            tap,
            broker,
            people,
            net,
            directory: directory.to_owned(),
            removes: None,
        })
    }

    /// A login of one of the people.
    pub fn login(&self, holder: &Holder, client_id: &str) -> Result<Login> {
        holder.login(&deployment(), client_id)
    }

    /// How a real client reaches the gateway from the address of a device.
    pub fn way(&self, device: u8, tls: bool, version: Version) -> Way {
        let setup = &self.gateway.setup;
        Way {
            place: self.net.devices.clone(),
            source: Some(self.net.device(device)),
            to: if tls { setup.tls } else { setup.plain },
            ca: tls.then(|| setup.pki.ca.clone()),
            version,
        }
    }

    /// A connection from the address of a device, with nothing said yet.
    pub fn dial(&self, device: u8, version: Version) -> Result<Raw> {
        let source = Some(self.net.device(device));
        let stream = dial(
            &self.net.devices,
            source,
            self.gateway.setup.plain,
            PATIENCE,
        )?;
        Ok(Raw::plain(stream, version))
    }

    /// The same over TLS.
    pub fn dial_tls(&self, device: u8, version: Version) -> Result<Raw> {
        let setup = &self.gateway.setup;
        let stream = dial(
            &self.net.devices,
            Some(self.net.device(device)),
            setup.tls,
            PATIENCE,
        )?;
        Raw::tls(stream, version, &setup.pki.ca, Setup::DOMAIN)
    }

    /// A session of one of the people over a plain connection.
    pub fn session(&self, holder: &Holder, client_id: &str, version: Version) -> Result<Raw> {
        let mut raw = self.dial(0, version)?;
        let reason = raw.log_in(&self.login(holder, client_id)?)?;
        anyhow::ensure!(
            reason == 0,
            "CONNECT of {} refused with {reason:#04x}",
            holder.name
        );
        Ok(raw)
    }
}
