//! `flytrap observe`: drops as they happen.

use clap::builder::PossibleValuesParser;
use clap::{Args, value_parser};

use super::args::Output;
use super::{print, wait_for};
use crate::api::client::Client;
use crate::api::{DropLine, DropView};
use crate::app::xdp::drop_reasons;
use crate::failure::{Failure, exit};
use crate::types::escape_control;

#[derive(Debug, Args)]
pub(super) struct Observe {
    /// End after so many drops
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only drops for this reason, as `xdp counters` names it
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(drop_reasons()))]
    reason: Option<String>,
}

impl Observe {
    /// Prints until there were enough, nobody reads any more, or the gateway ends.
    pub(super) fn run(self, output: Output, client: &Client) -> Result<(), Failure> {
        wait_for(async {
            let mut drops = client.drops().await?;
            let mut left = self.count;
            while left != Some(0) {
                let Some(line) = drops.next().await? else {
                    return Err(Failure::new(exit::UNAVAILABLE, "the gateway has ended")
                        .help("start it again; bans in the kernel stay in force"));
                };
                if let DropLine::Drop(drop) = &line {
                    if self
                        .reason
                        .as_ref()
                        .is_some_and(|only| *only != drop.reason)
                    {
                        continue;
                    }
                    left = left.map(|left| left.saturating_sub(1));
                }
                let text = match output {
                    Output::Human => shown(&line),
                    Output::Json => serde_json::to_string(&line).map_err(|error| {
                        Failure::new(exit::FAIL, "the drop can't be written as JSON").cause(error)
                    })?,
                };
                if !print(&text)? {
                    return Ok(());
                }
            }
            Ok(())
        })
    }
}

/// One line for people.
fn shown(line: &DropLine) -> String {
    match line {
        DropLine::Drop(drop) => shown_drop(drop),
        DropLine::Lost { lost } => format!("({lost} reports lost: they came too fast)"),
    }
}

fn shown_drop(drop: &DropView) -> String {
    let DropView {
        time,
        source,
        protocol,
        interface,
        reason,
        bytes,
        one_in,
        ..
    } = drop;
    let port = drop.destination_port;
    let port = port.map_or_else(String::new, |port| format!("/{port}"));
    let country = drop.country.as_ref();
    let country = country.map_or_else(String::new, |country| format!(" ({country})"));
    let ban = drop
        .ban
        .map_or_else(String::new, |ban| format!(" ban {ban}"));
    let sample = if drop.first_hit {
        "first hit".to_owned()
    } else {
        format!("1 in {one_in}")
    };
    let line = format!(
        "{time} {interface} {source}{country} {protocol}{port} {reason}{ban}, {bytes} bytes, {sample}"
    );
    escape_control(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UnixTime;

    #[test]
    fn a_line_says_what_is_known() {
        let mut drop = DropView {
            time: UnixTime(1_767_225_600),
            source: "192.0.2.7".parse().unwrap(),
            protocol: "tcp".to_owned(),
            destination_port: Some(1883),
            interface: "eth0".to_owned(),
            reason: "drop_country".to_owned(),
            ban: None,
            country: Some("XX".to_owned()),
            bytes: 74,
            first_hit: false,
            one_in: 1_024,
        };
        assert_eq!(
            shown(&DropLine::Drop(drop.clone())),
            "2026-01-01T00:00:00Z eth0 192.0.2.7 (XX) tcp/1883 drop_country, 74 bytes, 1 in 1024"
        );
        drop.country = None;
        drop.destination_port = None;
        drop.reason = "drop_by_hand".to_owned();
        drop.ban = Some(3);
        drop.first_hit = true;
        assert_eq!(
            shown(&DropLine::Drop(drop)),
            "2026-01-01T00:00:00Z eth0 192.0.2.7 tcp drop_by_hand ban 3, 74 bytes, first hit"
        );
    }
}
