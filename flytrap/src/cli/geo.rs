//! `flytrap geo`: countries of a running gateway.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Output;
use super::{Done, ask, import, show, wait_for};
use crate::api::client::Client;
use crate::api::{GeoAnswer, GeoLine, GeoPhase, GeoUpdated};
use crate::failure::{Failure, exit};

#[derive(Debug, Subcommand)]
pub(super) enum GeoCommand {
    /// Put a country database in force and keep it as `geo.database`
    ///
    /// The countries in force stay until the new ones are ready, and if anything fails.
    Update {
        /// A file in `MaxMind`'s format (.mmdb); `-` reads standard input
        file: PathBuf,
    },
    /// Show the country of an address, and whether its packets are dropped for that
    Lookup {
        /// An IPv4 or IPv6 address
        address: IpAddr,
    },
}

impl GeoCommand {
    pub(super) fn run(self, output: Output, client: &Client) -> Result<Done, Failure> {
        match self {
            Self::Update { file } => {
                let updated = update(output, client, &file)?;
                Done::new(output, &updated, show_updated)
            }
            Self::Lookup { address } => {
                let answer = ask(client.country(address))?;
                Done::new(output, &answer, show_answer)
            }
        }
    }
}

fn update(output: Output, client: &Client, file: &Path) -> Result<GeoUpdated, Failure> {
    let bytes = import::read(file).map_err(|error| {
        Failure::new(exit::FAIL, format_args!("{} can't be read", file.display())).cause(error)
    })?;
    let bar = bar(output);
    let outcome = wait_for(async {
        let mut lines = client.update_countries(bytes).await?;
        while let Some(line) = lines.next().await? {
            match line {
                GeoLine::Progress { phase, done, total } => {
                    bar.set_message(match phase {
                        GeoPhase::Reading => "reading",
                        GeoPhase::PuttingInForce => "putting in force",
                    });
                    bar.set_length(total);
                    bar.set_position(done);
                }
                GeoLine::InForce(updated) => return Ok(updated),
                GeoLine::Failed(problem) => {
                    return Err(Failure::new(
                        exit::FAIL,
                        format_args!("{} is not in force", file.display()),
                    )
                    .cause(problem.detail)
                    .help(problem.help));
                }
            }
        }
        let cut = Failure::new(
            exit::UNAVAILABLE,
            "the gateway ended before it had an outcome",
        );
        Err(cut.help("see its log; `flytrap status` shows the countries in force"))
    });
    bar.finish_and_clear();
    outcome
}

/// On a terminal only, and beside the answer.
fn bar(output: Output) -> ProgressBar {
    let target = match output {
        Output::Human => ProgressDrawTarget::stderr(),
        Output::Json => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    match ProgressStyle::with_template("{msg:16} [{wide_bar}] {percent:>3} %") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show_updated(updated: &GeoUpdated) -> String {
    let mut text = show::countries(&updated.geo);
    // Writing to a String doesn't fail.
    let _ = write!(text, "\nin force after {:.1} s", updated.seconds_to_force);
    text
}

fn show_answer(answer: &GeoAnswer) -> String {
    let country = answer.country.as_deref().unwrap_or("no country");
    let verdict = if answer.dropped {
        "dropped, unless it is on the allowlist"
    } else {
        "not dropped for that"
    };
    format!("{}: {country}, {verdict}", answer.address)
}
