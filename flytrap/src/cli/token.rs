//! `flytrap token`: making login tokens and reading them.

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::identity::{
    self, Algorithm, ClientRule, ClientScope, Login, LoginRules, MAX_PASSWORD_BYTES, Minted, Proof,
    Request, Signer, Token,
};
use crate::types::{Clock, Deployment, SystemClock, UnixTime, Wallet, escape_control};

/// `flytrap token …`
#[derive(Debug, Args)]
pub struct TokenArgs {
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
    /// The token, or - to read it from the standard input (which keeps it out of the shell's
    /// history and the process list)
    token: Secret,
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

/// Text that isn't for debug output.
#[derive(Clone)]
struct Secret(String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl TokenArgs {
    /// Runs the command and returns what it prints. `from_config` reads the deployment out of a
    /// configuration file.
    ///
    /// # Errors
    /// What went wrong and what to do; for `inspect`, also that the token is refused.
    pub fn run(
        self,
        json: bool,
        from_config: impl FnOnce(&Path) -> anyhow::Result<Deployment>,
    ) -> anyhow::Result<String> {
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
        from_config: impl FnOnce(&Path) -> anyhow::Result<Deployment>,
    ) -> anyhow::Result<Option<Deployment>> {
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
        from_config: impl FnOnce(&Path) -> anyhow::Result<Deployment>,
    ) -> anyhow::Result<String> {
        let Some(deployment) = self.gateway.deployment(from_config)? else {
            bail!("a token is for one gateway: give --config or --domain");
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
            issued: SystemClock.now(),
            lifetime: self.lifetime,
        };
        let password = keystore_password(self.password_file.as_deref())?;
        let signer = Signer::open(&self.keystore, &password)?;
        let minted = identity::mint(&signer, &deployment, &request)?;
        Ok(if json {
            created_json(&minted, scope)
        } else {
            created_text(&minted, scope, &deployment)
        })
    }
}

/// The keystore's password from the file, without its line end, or from the terminal.
fn keystore_password(file: Option<&Path>) -> anyhow::Result<String> {
    let Some(path) = file else {
        return rpassword::prompt_password("Password of the keystore: ")
            .context("cannot ask for the keystore's password: give --password-file");
    };
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
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
        ClientScope::Exact(client_id) => format!(" -i {}", shell_quoted(client_id)),
        ClientScope::Prefix(prefix) => format!(" -i {}", shell_quoted(&format!("{prefix}…"))),
        ClientScope::Any => String::new(),
    };
    let host = shell_quoted(&deployment.domain);
    format!(
        "user name  {wallet}\n\
         password   {password}\n\
         valid      until {expires}\n\
         \n\
         With the password in a file `token` that only you can read:\n\
         mosquitto_pub -h {host} -p 8883{id_option} -u {wallet} -P \"$(cat token)\" \
         -t TOPIC -m MESSAGE"
    )
}

/// One word for a POSIX shell, in quotes where it needs them.
fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", escape_control(text).replace('\'', r"'\''"))
    }
}

impl Inspect {
    fn run(
        self,
        json: bool,
        from_config: impl FnOnce(&Path) -> anyhow::Result<Deployment>,
    ) -> anyhow::Result<String> {
        let password = self.token.or_stdin()?;
        let token = Token::decode(password.as_bytes())
            .map_err(|fault| anyhow::anyhow!("this is no login token that can be used: {fault}"))?;
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
            proof = Some(identity::verify(
                &login,
                &deployment,
                &rules,
                |_| None,
                now,
            )?);
        }
        Ok(if json {
            inspected_json(&token, proof)
        } else {
            inspected_text(&token, proof)
        })
    }
}

impl Secret {
    /// The text itself, or what comes in from the standard input for `-`.
    fn or_stdin(self) -> anyhow::Result<String> {
        if self.0 != "-" {
            return Ok(self.0);
        }
        let mut text = String::new();
        let enough = u64::try_from(MAX_PASSWORD_BYTES)? + 2;
        io::stdin()
            .take(enough)
            .read_to_string(&mut text)
            .context("cannot read the token from the standard input")?;
        Ok(text.trim_end().to_owned())
    }
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

fn parse_domain(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase();
    if text.is_empty() || !text.chars().all(fits) {
        return Err("the gateway's name is written in lower case, without spaces");
    }
    Ok(text.to_owned())
}

/// Whole seconds, at least 1; a day has 24 hours.
fn parse_lifetime(text: &str) -> Result<u64, &'static str> {
    const HELP: &str = "write a time like 90s, 15m, 12h or 30d";
    let span: jiff::Span = text.parse().map_err(|_| HELP)?;
    let time = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| HELP)?;
    let seconds = u64::try_from(time.as_secs()).map_err(|_| HELP)?;
    if seconds == 0 || time.subsec_nanos() != 0 {
        return Err(HELP);
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests;
