//! What can be written behind `flytrap`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use super::geo::GeoCommand;
use super::observe::Observe;
use super::token::TokenArgs;
use super::xdp::XdpCommand;
use crate::config::{DEFAULT_FILE, DEFAULT_SOCKET, LogLevel, parse_duration, show_duration};
use crate::offence::Rule;
use crate::types::{Prefix, SubscriptionFilter, TopicName, Wallet};

/// An MQTT gateway: who may do what, who did, and who is kept out
#[derive(Debug, Parser)]
#[command(
    name = "flytrap",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 ok, 1 failed or denied, 2 usage, 69 gateway or broker not reachable, \
                  77 not permitted, 78 configuration."
)]
pub(super) struct Cli {
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Human)]
    pub(super) output: Output,
    /// The gateway's control socket; with `run` it replaces the configured one
    /// [default: /run/flytrap/flytrap.sock]
    #[arg(long, global = true, value_name = "FILE", env = "FLYTRAP_SOCKET")]
    pub(super) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Human,
    /// For programs; errors on stderr are JSON, too
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway
    Run(Run),
    /// Check a configuration file and the files that it names
    CheckConfig(CheckConfig),
    /// Look at everything that the gateway needs, and say what to do about what is wrong
    ///
    /// Changes nothing. Exit code 1 if something fails; warnings are none.
    Doctor(Doctor),
    /// Show what the gateway is doing
    Status,
    /// List, add and lift bans
    Ban {
        #[command(subcommand)]
        command: BanCommand,
    },
    /// The kernel program: attach and detach it by hand, look at it
    Xdp {
        #[command(subcommand)]
        command: XdpCommand,
    },
    /// Countries: put a database in force, look an address up
    Geo {
        #[command(subcommand)]
        command: GeoCommand,
    },
    /// Show packets as the kernel drops them
    ///
    /// The first packet that a ban drops is shown, and of the others one in `xdp.event_sample` of
    /// each reason on each CPU.
    Observe(Observe),
    /// Ask what the policy decides
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Make and read login tokens
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Token(TokenArgs),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "FLYTRAP_CONFIG",
        default_value = DEFAULT_FILE
    )]
    pub(super) config: PathBuf,
    /// Log from this level on, whatever the configuration says
    #[arg(long, value_enum, value_name = "LEVEL", env = "FLYTRAP_LOG_LEVEL")]
    pub(super) log_level: Option<LogLevel>,
}

#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    /// The configuration file
    #[arg(
        value_name = "FILE",
        env = "FLYTRAP_CONFIG",
        default_value = DEFAULT_FILE
    )]
    pub(super) file: PathBuf,
    /// Print the configuration with every default filled in
    #[arg(long)]
    pub(super) print_effective: bool,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The configuration file [default: /etc/flytrap/flytrap.toml, if there is one]
    #[arg(value_name = "CONFIG", env = "FLYTRAP_CONFIG")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum BanCommand {
    /// List the bans in force
    List,
    /// Ban an address or a prefix
    Add(BanAdd),
    /// Ban all addresses and prefixes of a file
    Import(BanImport),
    /// End a ban
    Lift {
        /// The address or prefix as `ban list` shows it
        target: Prefix,
    },
}

#[derive(Debug, Args)]
pub(super) struct BanAdd {
    /// An address or a prefix, such as 192.0.2.7 or 192.0.2.0/24
    pub(super) target: Prefix,
    /// For how long: a number and one of s, m, h, d
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = ban_duration)]
    pub(super) duration: Duration,
    /// Why, for other operators
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    /// Ban although the allowlist holds all or a part of it, which stays exempt
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct BanImport {
    /// An address or a prefix on each line; `;` and `#` begin a comment. `-` reads standard input
    pub(super) file: PathBuf,
    /// For how long: a number and one of s, m, h, d
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = ban_duration)]
    pub(super) duration: Duration,
    /// Why, for other operators
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    /// Ban also what the allowlist holds in whole or part, which stays exempt
    #[arg(long)]
    pub(super) force: bool,
    /// Leave out lines that are no address and no prefix, rather than import nothing
    #[arg(long)]
    pub(super) skip_bad: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Ask whether a wallet may do something; exit code 1 if it may not
    Check(PolicyCheck),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("action").args(["publish", "subscribe", "receive"]).required(true)))]
pub(super) struct PolicyCheck {
    /// The wallet's address
    #[arg(long, value_name = "ADDRESS")]
    pub(super) wallet: Wallet,
    /// May it publish to this topic?
    #[arg(long, value_name = "TOPIC", value_parser = topic_name)]
    pub(super) publish: Option<String>,
    /// May it subscribe with this filter?
    #[arg(long, value_name = "FILTER", value_parser = topic_filter)]
    pub(super) subscribe: Option<String>,
    /// May it be delivered a message of this topic?
    #[arg(long, value_name = "TOPIC", value_parser = topic_name)]
    pub(super) receive: Option<String>,
}

/// Where the socket is if nobody says otherwise.
pub(super) fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}

fn ban_duration(text: &str) -> Result<Duration, String> {
    let span = whole_seconds(text)?;
    if span > Rule::BAN_MAX {
        let longest = show_duration(Rule::BAN_MAX);
        return Err(format!("the longest ban lasts {longest}"));
    }
    Ok(span)
}

/// A span of time without milliseconds, at least a second.
pub(super) fn whole_seconds(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| error.to_string())?;
    if span.is_zero() || span.subsec_nanos() != 0 {
        return Err("write whole seconds, at least \"1s\"".to_owned());
    }
    Ok(span)
}

fn topic_name(text: &str) -> Result<String, String> {
    TopicName::new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn topic_filter(text: &str) -> Result<String, String> {
    SubscriptionFilter::new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}
