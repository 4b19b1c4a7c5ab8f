//! `flytrap token`: making login tokens and reading them.

mod device;
mod show;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::json;

use super::args::whole_seconds;
use crate::config::{domain_problem, read_secret};
use crate::failure::{Failure, exit};
use crate::identity::{
    self, Algorithm, ClientScope, Known, Login, LoginRules, MAX_PASSWORD_BYTES, Minted, Request,
    Signer, Token,
};
use crate::types::{
    Clock, Deployment, DeviceKey, KeyIdPrefix, KeyKind, PublicKey, SystemClock, Validity, Wallet,
    escape_control,
};

/// `flytrap token …`
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Sign a login token with a wallet's keystore file or a device's key file
    ///
    /// Prints the MQTT user name and password. The password is a secret: whoever has it can log
    /// in until it expires.
    Create(Create),
    /// Show what a login token says, and check it
    ///
    /// The token comes from a file or the standard input, never from the arguments: those can be
    /// read by every user of the machine.
    Inspect(Inspect),
    /// Show the public key of a device's key file, and what its wallet registers
    PublicKey(PublicKeyOf),
}

#[derive(Debug, Args)]
struct PublicKeyOf {
    /// The device's key: a PKCS#8 file in PEM form, or with --kind 64 hexadecimal digits
    #[arg(value_name = "FILE")]
    device_key: PathBuf,
    /// What the hexadecimal digits are: secp256k1, p256 or ed25519
    #[arg(long, value_parser = device::parse_kind)]
    kind: Option<KeyKind>,
    /// The wallet that the key shall act for
    #[arg(long, value_name = "ADDRESS")]
    wallet: Wallet,
}

/// Which gateway a token is for.
#[derive(Debug, Args)]
struct GatewayArgs {
    /// The gateway's configuration file, to take domain, chain and contract from
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's public name, in lower case
    #[arg(long, value_name = "NAME", value_parser = parse_domain)]
    domain: Option<String>,
    /// The chain that holds the contract; 0 where there is none
    #[arg(
        long,
        value_name = "N",
        requires = "domain",
        conflicts_with = "config",
        default_value_t = 0
    )]
    chain_id: u64,
    /// The contract's address; zero where there is none
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "domain",
        conflicts_with = "config",
        default_value_t
    )]
    contract: Wallet,
}

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("gateway").args(["config", "domain"]).required(true)),
    group(ArgGroup::new("key").args(["keystore", "device_key"]).required(true)),
    group(ArgGroup::new("clients").args(["client_id", "any_client_id", "client_id_prefix"]).required(true)),
)]
struct Create {
    /// The wallet's encrypted key, as geth, cast or a wallet's export writes it
    #[arg(long, value_name = "FILE")]
    keystore: Option<PathBuf>,
    /// A file with the keystore's password; without it the password is asked for
    #[arg(long, value_name = "FILE", requires = "keystore")]
    password_file: Option<PathBuf>,
    /// A device's key instead: a PKCS#8 file in PEM form, or with --kind 64 hexadecimal digits
    #[arg(long, value_name = "FILE", requires = "wallet", conflicts_with_all = ["keystore", "alg"])]
    device_key: Option<PathBuf>,
    /// What the hexadecimal digits are: secp256k1, p256 or ed25519
    #[arg(long, requires = "device_key", value_parser = device::parse_kind)]
    kind: Option<KeyKind>,
    /// The wallet that the device's key acts for
    #[arg(long, value_name = "ADDRESS", requires = "device_key")]
    wallet: Option<Wallet>,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The one client id that the token is for
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Make it valid with every client id
    #[arg(long)]
    any_client_id: bool,
    /// Make it valid with every client id that starts so
    #[arg(long, value_name = "PREFIX")]
    client_id_prefix: Option<String>,
    /// Let its sessions subscribe but not publish
    #[arg(long)]
    subscribe_only: bool,
    /// Let it open one session only
    #[arg(long)]
    single_use: bool,
    /// How long it is valid: 90s, 15m, 12h, 30d; the gateway sets a maximum, 24h by default
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = parse_lifetime)]
    lifetime: u64,
    /// How to sign
    #[arg(long, value_enum, default_value_t = Alg::Eip191)]
    alg: Alg,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("gateway").args(["config", "domain"])))]
struct Inspect {
    /// A file that holds the token [default: the standard input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Also check the signature: the user name to log in with, a wallet or dev:…
    #[arg(long, value_name = "NAME", requires_all = ["client_id", "gateway"])]
    user_name: Option<String>,
    /// With --user-name: the client id to log in with
    #[arg(long, value_name = "ID", requires = "user_name")]
    client_id: Option<String>,
    /// With a device's --user-name: its public key, in hexadecimal digits
    #[arg(long, value_name = "HEX", requires_all = ["user_name", "wallet"])]
    public_key: Option<String>,
    /// With --public-key: the wallet that it acts for
    #[arg(long, value_name = "ADDRESS", requires = "public_key")]
    wallet: Option<Wallet>,
    #[command(flatten)]
    gateway: GatewayArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Alg {
    /// A sign-in text (EIP-4361), signed with `personal_sign`
    Eip191,
    /// Typed data
    Eip712,
}

impl TokenArgs {
    /// Runs the command and returns what it prints. `from_config` reads the deployment out of a
    /// configuration file.
    ///
    /// # Errors
    /// What went wrong and what to do; for `inspect`, also that the token is refused.
    pub(super) fn run(
        self,
        json: bool,
        from_config: impl FnOnce(&Path) -> Result<Deployment, Failure>,
    ) -> Result<String, Failure> {
        match self.command {
            TokenCommand::Create(command) => command.run(json, from_config),
            TokenCommand::Inspect(command) => command.run(json, from_config),
            TokenCommand::PublicKey(command) => {
                let signer = device::open(&command.device_key, command.kind)?;
                Ok(device::shown(&signer, command.wallet, json))
            }
        }
    }
}

impl GatewayArgs {
    /// The deployment that the arguments name, if any.
    fn deployment(
        &self,
        from_config: impl FnOnce(&Path) -> Result<Deployment, Failure>,
    ) -> Result<Option<Deployment>, Failure> {
        if let Some(path) = &self.config {
            return from_config(path).map(Some);
        }
        let (chain_id, contract) = (self.chain_id, self.contract);
        Ok(self.domain.clone().map(|domain| Deployment {
            domain,
            chain_id,
            contract,
        }))
    }
}

impl Create {
    fn run(
        self,
        json: bool,
        from_config: impl FnOnce(&Path) -> Result<Deployment, Failure>,
    ) -> Result<String, Failure> {
        let Some(deployment) = self.gateway.deployment(from_config)? else {
            return Err(Failure::new(exit::USAGE, "a token is for one gateway")
                .help("give --config or --domain"));
        };
        let scope = match (&self.client_id, &self.client_id_prefix) {
            (Some(client_id), _) => ClientScope::Exact(client_id),
            (None, Some(prefix)) => ClientScope::Prefix(prefix),
            (None, None) => ClientScope::Any,
        };
        let request = Request {
            algorithm: match self.alg {
                Alg::Eip191 => Algorithm::Eip191,
                Alg::Eip712 => Algorithm::Eip712,
            },
            scope,
            subscribe_only: self.subscribe_only,
            single_use: self.single_use,
            issued: SystemClock.now(),
            lifetime: self.lifetime,
        };
        let minted = self.signed(&deployment, &request)?;
        Ok(if json {
            created_json(&minted, scope)
        } else {
            created_text(&minted, scope, &deployment)
        })
    }
}

impl Create {
    /// The token, signed by the wallet or by its device.
    fn signed(&self, deployment: &Deployment, request: &Request<'_>) -> Result<Minted, Failure> {
        match (&self.keystore, &self.device_key, self.wallet) {
            (Some(keystore), ..) => {
                let password = keystore_password(self.password_file.as_deref())?;
                let signer = Signer::open(keystore, &password).map_err(failed)?;
                identity::mint(&signer, deployment, request).map_err(failed)
            }
            (None, Some(file), Some(wallet)) => {
                let signer = device::open(file, self.kind)?;
                let algorithm = Algorithm::Device(signer.public_key().kind());
                let request = Request {
                    algorithm,
                    ..*request
                };
                identity::mint_for(wallet, &signer, deployment, &request).map_err(failed)
            }
            _ => Err(Failure::new(exit::USAGE, "a token needs a key")
                .help("give --keystore, or --device-key and --wallet")),
        }
    }
}

/// The keystore's password from the file or from the terminal.
fn keystore_password(file: Option<&Path>) -> Result<String, Failure> {
    let Some(path) = file else {
        return rpassword::prompt_password("Password of the keystore: ").map_err(|error| {
            Failure::new(exit::FAIL, "the keystore's password can't be asked for")
                .cause(error)
                .help("give --password-file")
        });
    };
    read_secret(path)
        .and_then(|secret| {
            String::from_utf8(secret).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        })
        .map_err(|error| {
            let what = format_args!("the password file {} can't be read", path.display());
            Failure::new(exit::FAIL, what).cause(error)
        })
}

fn created_json(minted: &Minted, scope: ClientScope<'_>) -> String {
    let (client_id, prefix) = match scope {
        ClientScope::Exact(client_id) => (Some(client_id), None),
        ClientScope::Prefix(prefix) => (None, Some(prefix)),
        ClientScope::Any => (None, None),
    };
    let created = json!({
        "user_name": minted.user_name,
        "password": minted.password,
        "wallet": minted.wallet,
        "client_id": client_id,
        "client_id_prefix": prefix,
        "issued": minted.issued,
        "expires": minted.expires,
    });
    format!("{created:#}")
}

fn created_text(minted: &Minted, scope: ClientScope<'_>, deployment: &Deployment) -> String {
    let Minted {
        user_name,
        password,
        expires,
        ..
    } = minted;
    let id_option = match scope {
        ClientScope::Exact(client_id) => format!("\n  -i {}", escape_control(client_id)),
        ClientScope::Prefix(prefix) => format!("\n  -i {}…", escape_control(prefix)),
        ClientScope::Any => String::new(),
    };
    // mosquitto's -P would show the password to every user of the machine.
    format!(
        "user name  {user_name}\n\
         password   {password}\n\
         valid      until {expires}\n\
         \n\
         mosquitto_pub and mosquitto_sub read their options from files of these names in\n\
         $XDG_CONFIG_HOME, or ~/.config. In one that only you can read, write\n  \
         -h {host}\n  \
         -p 8883{id_option}\n  \
         -u {user_name}\n  \
         -P PASSWORD",
        host = deployment.domain,
    )
}

impl Inspect {
    fn run(
        self,
        json: bool,
        from_config: impl FnOnce(&Path) -> Result<Deployment, Failure>,
    ) -> Result<String, Failure> {
        let password = read_token(self.file.as_deref())?;
        let token = Token::decode(password.as_bytes()).map_err(|fault| {
            Failure::new(exit::FAIL, "this is no login token that can be used").cause(fault)
        })?;
        let device = self.device(token.claims.algorithm)?;
        let device_key = |_: &KeyIdPrefix| device.as_ref();
        let known = Known {
            device_key: &device_key,
            ..Known::NOTHING
        };
        let mut proof = None;
        if let (Some(user_name), Some(client_id), Some(deployment)) = (
            &self.user_name,
            &self.client_id,
            self.gateway.deployment(from_config)?,
        ) {
            let login = Login {
                user_name,
                password: password.as_bytes(),
                client_id,
            };
            // What a gateway allows and what is revoked is known to the gateway only.
            let rules = LoginRules {
                max_lifetime: u64::MAX,
                max_lifetime_bound: u64::MAX,
                ..LoginRules::default()
            };
            let now = SystemClock.now();
            let verified = identity::verify(&login, &deployment, &rules, &known, now);
            proof = Some(verified.map_err(failed)?);
        }
        Ok(if json {
            show::json_of(&token, proof)
        } else {
            show::text_of(&token, proof)
        })
    }
}

impl Inspect {
    /// The device key that the arguments name.
    fn device(&self, algorithm: Algorithm) -> Result<Option<DeviceKey>, Failure> {
        let (Some(digits), Some(wallet)) = (&self.public_key, self.wallet) else {
            return Ok(None);
        };
        let usage = |cause: &dyn std::fmt::Display| {
            Failure::new(exit::USAGE, "--public-key is no key of this token").cause(cause)
        };
        let Algorithm::Device(kind) = algorithm else {
            return Err(usage(&"the token is signed by a wallet"));
        };
        let bytes = hex::decode(digits.strip_prefix("0x").unwrap_or(digits));
        let bytes = bytes.map_err(|error| usage(&error))?;
        Ok(Some(DeviceKey {
            wallet,
            key: PublicKey::parse(kind, &bytes).map_err(|error| usage(&error))?,
            until: Validity::Forever,
            scope: None,
        }))
    }
}

/// The token in the file, or on the standard input; a terminal doesn't show it.
fn read_token(file: Option<&Path>) -> Result<String, Failure> {
    let read = match file {
        Some(path) => File::open(path).and_then(token_in),
        None if io::stdin().is_terminal() => rpassword::prompt_password("Token: "),
        None => token_in(io::stdin()),
    };
    let token = read.map_err(|error| {
        let failure = Failure::new(exit::FAIL, "the token can't be read").cause(error);
        failure.help("give a file that holds nothing else with --file, or pipe it in")
    })?;
    Ok(token.trim_end().to_owned())
}

fn token_in(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than the longest token with its line break shows that it is too long.
    let enough = MAX_PASSWORD_BYTES.saturating_add(3);
    let enough = u64::try_from(enough).unwrap_or(u64::MAX);
    source.take(enough).read_to_string(&mut text)?;
    Ok(text)
}

fn failed(error: impl std::error::Error) -> Failure {
    let failure = Failure::new(exit::FAIL, &error);
    match error.source() {
        Some(source) => failure.cause(source),
        None => failure,
    }
}

fn parse_domain(text: &str) -> Result<String, String> {
    match domain_problem(text) {
        Some(problem) => Err(format!("the gateway's name {problem}")),
        None => Ok(text.to_owned()),
    }
}

fn parse_lifetime(text: &str) -> Result<u64, String> {
    whole_seconds(text).map(|span| span.as_secs())
}

#[cfg(test)]
mod tests;
