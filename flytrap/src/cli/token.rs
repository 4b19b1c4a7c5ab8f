//! `flytrap token`: making login tokens and reading them.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::json;

use super::args::whole_seconds;
use crate::config::{domain_problem, read_secret};
use crate::failure::{Failure, exit};
use crate::identity::{
    self, Algorithm, ClientRule, ClientScope, Known, Login, LoginRules, MAX_PASSWORD_BYTES, Minted,
    Proof, Request, Signer, Token,
};
use crate::types::{Clock, Deployment, KeyKind, SystemClock, UnixTime, Wallet, escape_control};

/// `flytrap token …`
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Sign a login token with a wallet's keystore file
    ///
    /// Prints the MQTT user name and password. The password is a secret: whoever has it can log
    /// in until it expires.
    Create(Create),
    /// Show what a login token says, and check it
    ///
    /// The token comes from a file or the standard input, never from the arguments: those can be
    /// read by every user of the machine.
    Inspect(Inspect),
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
    group(ArgGroup::new("clients").args(["client_id", "any_client_id", "client_id_prefix"]).required(true)),
)]
struct Create {
    /// The wallet's encrypted key, as geth, cast or a wallet's export writes it
    #[arg(long, value_name = "FILE")]
    keystore: PathBuf,
    /// A file with the keystore's password; without it the password is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
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
    /// Also check the signature: the wallet that should have signed
    #[arg(long, value_name = "WALLET", requires_all = ["client_id", "gateway"])]
    user_name: Option<String>,
    /// With --user-name: the client id to log in with
    #[arg(long, value_name = "ID", requires = "user_name")]
    client_id: Option<String>,
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
        }
    }
}

impl GatewayArgs {
    /// The deployment that the arguments name, if any.
    fn deployment(
        self,
        from_config: impl FnOnce(&Path) -> Result<Deployment, Failure>,
    ) -> Result<Option<Deployment>, Failure> {
        if let Some(path) = self.config {
            return from_config(&path).map(Some);
        }
        let Self {
            chain_id, contract, ..
        } = self;
        Ok(self.domain.map(|domain| Deployment {
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
            single_use: false,
            issued: SystemClock.now(),
            lifetime: self.lifetime,
        };
        let password = keystore_password(self.password_file.as_deref())?;
        let signer = Signer::open(&self.keystore, &password).map_err(failed)?;
        let minted = identity::mint(&signer, &deployment, &request).map_err(failed)?;
        Ok(if json {
            created_json(&minted, scope)
        } else {
            created_text(&minted, scope, &deployment)
        })
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
        "user_name": minted.wallet,
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
        wallet,
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
        "user name  {wallet}\n\
         password   {password}\n\
         valid      until {expires}\n\
         \n\
         mosquitto_pub and mosquitto_sub read their options from files of these names in\n\
         $XDG_CONFIG_HOME, or ~/.config. In one that only you can read, write\n  \
         -h {host}\n  \
         -p 8883{id_option}\n  \
         -u {wallet}\n  \
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
            let verified = identity::verify(&login, &deployment, &rules, &Known::NOTHING, now);
            proof = Some(verified.map_err(failed)?);
        }
        Ok(if json {
            inspected_json(&token, proof)
        } else {
            inspected_text(&token, proof)
        })
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

fn inspected_json(token: &Token, proof: Option<Proof>) -> String {
    let claims = &token.claims;
    let (clients, prefix_bytes) = match claims.clients {
        ClientRule::Exact => ("exact", None),
        ClientRule::Any => ("any", None),
        ClientRule::Prefix(length) => ("prefix", Some(length)),
    };
    let inspected = json!({
        "version": 1,
        "alg": claims.algorithm.code(),
        "client_ids": clients,
        "prefix_bytes": prefix_bytes,
        "subscribe_only": claims.subscribe_only,
        "single_use": claims.single_use,
        "issued": claims.issued,
        "expires": claims.expires,
        "nonce": hex::encode(claims.nonce),
        "verified_wallet": proof.map(|proof| proof.wallet),
    });
    format!("{inspected:#}")
}

fn inspected_text(token: &Token, proof: Option<Proof>) -> String {
    let claims = &token.claims;
    let algorithm = match claims.algorithm {
        Algorithm::Eip191 => "1, EIP-191 sign-in text",
        Algorithm::Eip712 => "2, EIP-712 typed data",
        Algorithm::Device(KeyKind::Secp256k1) => "4, device key on secp256k1",
        Algorithm::Device(KeyKind::P256) => "5, device key on P-256",
        Algorithm::Device(KeyKind::Ed25519) => "6, device key, Ed25519",
    };
    let clients = match claims.clients {
        ClientRule::Exact => "one, which the signature covers".to_owned(),
        ClientRule::Any => "any".to_owned(),
        ClientRule::Prefix(length) => format!("all that share their first {length} bytes"),
    };
    let mut flags = Vec::new();
    if claims.subscribe_only {
        flags.push("subscribe only");
    }
    if claims.single_use {
        flags.push("single use");
    }
    if flags.is_empty() {
        flags.push("none");
    }
    let signature = proof.map_or_else(
        || "not checked: give --user-name, --client-id and --domain or --config".to_owned(),
        |proof| format!("valid, by {}", proof.wallet),
    );
    format!(
        "version    1\n\
         alg        {algorithm}\n\
         client ids {clients}\n\
         limits     {limits}\n\
         issued     {issued}\n\
         expires    {expires}\n\
         nonce      {nonce}\n\
         signature  {signature}",
        limits = flags.join(", "),
        issued = UnixTime(claims.issued.into()),
        expires = UnixTime(claims.expires.into()),
        nonce = hex::encode(claims.nonce),
    )
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
