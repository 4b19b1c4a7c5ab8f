//! Wallets with a keystore file each, and the tokens that they sign.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use flytrap::identity::{Algorithm, ClientScope, Request, Signer, create_keystore, mint};
use flytrap::types::{Deployment, UnixTime, Wallet};

use super::packet::{Connect, Version};
use super::pki::write_secret;

/// A key, on file and in memory.
#[derive(Debug)]
pub struct Holder {
    /// What the story calls it.
    pub name: String,
    /// The address.
    pub wallet: Wallet,
    /// Its keystore file.
    pub keystore: PathBuf,
    signer: Signer,
}

/// The password of every keystore of the laboratory.
pub const KEYSTORE_PASSWORD: &str = "laboratory";

/// What a CONNECT says about who it is.
#[derive(Clone, Debug)]
pub struct Login {
    /// MQTT user name: the wallet.
    pub user: String,
    /// MQTT password: the token.
    pub password: String,
    /// MQTT client id.
    pub client_id: String,
}

impl Login {
    /// A CONNECT with it: clean, keep alive 60 s.
    pub fn connect(&self, version: Version) -> Connect<'_> {
        Connect {
            version,
            client_id: &self.client_id,
            user: Some(&self.user),
            password: Some(self.password.as_bytes()),
            clean: true,
            keep_alive: 60,
            will: None,
            properties: &[],
        }
    }

    /// The same with a token that nobody signed.
    #[must_use]
    pub fn forged(&self) -> Self {
        // Turns a character inside the signature, so the rest stays well formed.
        let mut password = self.password.clone().into_bytes();
        if let Some(byte) = password.get_mut(60) {
            *byte = if *byte == b'A' { b'B' } else { b'A' };
        }
        Self {
            password: String::from_utf8_lossy(&password).into_owned(),
            ..self.clone()
        }
    }
}

impl Holder {
    /// Makes a key and its keystore file in `directory`, with its password file beside it.
    pub fn create(directory: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let keystore = directory.join(format!("{name}.json"));
        let wallet = create_keystore(&keystore, KEYSTORE_PASSWORD)?;
        write_secret(&directory.join("password"), KEYSTORE_PASSWORD)?;
        let signer = Signer::open(&keystore, KEYSTORE_PASSWORD)?;
        Ok(Self {
            name: name.to_owned(),
            wallet,
            keystore,
            signer,
        })
    }

    /// A login for exactly this client id, valid for an hour.
    pub fn login(&self, deployment: &Deployment, client_id: &str) -> Result<Login> {
        self.login_for(deployment, client_id, 0, 3600)
    }

    /// A login for this client id, issued `age` seconds ago, for `lifetime` seconds.
    pub fn login_for(
        &self,
        deployment: &Deployment,
        client_id: &str,
        age: u64,
        lifetime: u64,
    ) -> Result<Login> {
        self.sign(deployment, client_id, |request, now| {
            request.issued = UnixTime(now.saturating_sub(age));
            request.lifetime = lifetime;
        })
    }

    /// A login that may be used once, for this client id, valid for an hour.
    pub fn login_once(&self, deployment: &Deployment, client_id: &str) -> Result<Login> {
        self.sign(deployment, client_id, |request, _| {
            request.single_use = true;
        })
    }

    /// A login for this client id, issued now for an hour, but for what `change` makes of it.
    fn sign(
        &self,
        deployment: &Deployment,
        client_id: &str,
        change: impl FnOnce(&mut Request<'_>, u64),
    ) -> Result<Login> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut request = Request {
            algorithm: Algorithm::Eip191,
            scope: ClientScope::Exact(client_id),
            subscribe_only: false,
            single_use: false,
            issued: UnixTime(now),
            lifetime: 3600,
        };
        change(&mut request, now);
        let minted = mint(&self.signer, deployment, &request)?;
        Ok(Login {
            user: self.wallet.to_string(),
            password: minted.password,
            client_id: client_id.to_owned(),
        })
    }
}
