//! `flytrap xdp`: the kernel program by hand, without a gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Done;
use super::args::Output;
use super::show::{flush_left, table, warn};
use crate::api::{PacketTally, XdpInterface};
use crate::app::xdp::{self, Attached, Detached, ExemptView, LimitView, PinnedView, SettingView};
use crate::config::{DEFAULT_PIN_DIR, XdpMode, about};
use crate::failure::Failure;
use crate::types::escape_control;

#[derive(Debug, Subcommand)]
pub(super) enum XdpCommand {
    /// Show where the program is attached and who holds its pins; needs no gateway
    Status(Pins),
    /// Attach the program and leave it attached; needs no gateway
    ///
    /// Earlier pins are taken over, with their bans and counters. The address that this shell is
    /// connected from by SSH is exempt for an hour.
    Attach(Attach),
    /// Detach the program; without interfaces everything goes, bans and counters too
    Detach {
        /// The interfaces to take it off [default: all]
        #[arg(value_name = "IFACE")]
        interfaces: Vec<String>,
        #[command(flatten)]
        pins: Pins,
    },
    /// Show what became of packets, by verdict; needs no gateway
    Counters(Pins),
}

#[derive(Debug, Args)]
pub(super) struct Pins {
    /// Where maps and links are pinned: `xdp.pin_dir` of the gateway
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pin_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Attach {
    /// The interfaces
    #[arg(value_name = "IFACE", required = true)]
    interfaces: Vec<String>,
    /// Where in the kernel it runs
    #[arg(long, value_enum, default_value_t)]
    mode: XdpMode,
    #[command(flatten)]
    pins: Pins,
}

impl XdpCommand {
    /// Does it.
    pub(super) fn run(self, output: Output) -> Result<Done, Failure> {
        match self {
            Self::Status(pins) => Done::new(output, &xdp::status(&pins.pin_dir)?, status),
            Self::Attach(Attach {
                interfaces,
                mode,
                pins,
            }) => {
                let attached = xdp::attach(&pins.pin_dir, interfaces, mode)?;
                Done::new(output, &attached, self::attached)
            }
            Self::Detach { interfaces, pins } => {
                let detached = xdp::detach(&pins.pin_dir, &interfaces)?;
                Done::new(output, &detached, self::detached)
            }
            Self::Counters(pins) => {
                let counters = xdp::counters(&pins.pin_dir)?;
                Done::new(output, &counters, |counters| {
                    let mut table = table();
                    table.set_header(["VERDICT", "PACKETS", "BYTES"]);
                    for row in counters {
                        let PacketTally { packets, bytes } = row.count;
                        table.add_row([
                            row.verdict.to_owned(),
                            packets.to_string(),
                            bytes.to_string(),
                        ]);
                    }
                    flush_left(table)
                })
            }
        }
    }
}

fn status(view: &PinnedView) -> String {
    let mut programs = table();
    programs.set_header(["INTERFACE", "MODE", "PROGRAM", "NAME", ""]);
    for program in &view.programs {
        programs.add_row([
            program.interface.clone(),
            program.mode.to_owned(),
            program.program_id.to_string(),
            escape_control(&program.program_name),
            if program.ours { "" } else { "not FlyTrap's" }.to_owned(),
        ]);
    }
    let programs = if view.programs.is_empty() {
        "no interface has an XDP program".to_owned()
    } else {
        flush_left(programs)
    };
    let dir = view.pin_dir.display();
    let pins = match (view.abi_version, view.warnings.is_empty()) {
        (Some(version), _) => format!("{dir}, ABI {version}"),
        (None, true) => format!("none in {dir}"),
        (None, false) => format!("{dir}, which can't be read"),
    };
    let gateway = match view.gateway_pid {
        Some(pid) => format!("process {pid} holds the pins"),
        None => "none holds the pins".to_owned(),
    };
    let mut rest = table();
    rest.add_row(["pins", &pins]);
    rest.add_row(["gateway", &gateway]);
    if let Some(cookies) = &view.syn_cookies {
        rest.add_row(["cookies", if cookies.on { "on" } else { "off" }]);
    }
    for exempt in &view.exempt {
        rest.add_row(["exempt", &exempt_for(exempt)]);
    }
    for (whose, limit) in [
        ("each source", view.source_limit),
        ("all sources", view.total_limit),
    ] {
        if let Some(LimitView { rate, burst }) = limit {
            let limit = format!("{whose}: {rate} new connections/s, {burst} at once");
            rest.add_row(["limit", &limit]);
        }
    }
    let mut text = format!("{programs}\n\n{}\n", flush_left(rest));
    warn(&mut text, &view.warnings);
    text
}

fn exempt_for(exempt: &ExemptView) -> String {
    format!("{} for {}", exempt.prefix, about(exempt.seconds))
}

fn attached(attached: &Attached) -> String {
    let interface = |interface: &XdpInterface| {
        let XdpInterface {
            name,
            mode,
            program_id,
        } = interface;
        format!("{name} has program {program_id}, {mode}")
    };
    let exempt = match &attached.exempt {
        Some(exempt) => format!(
            "exempt: {}, where this shell is connected from",
            exempt_for(exempt)
        ),
        None => "nobody is exempt: this shell is not connected by SSH".to_owned(),
    };
    let lines = attached.interfaces.iter().map(interface);
    lines.chain([exempt]).collect::<Vec<_>>().join("\n")
}

fn detached(detached: &Detached) -> String {
    let interfaces = if detached.interfaces.is_empty() {
        "the program was attached nowhere".to_owned()
    } else {
        format!("detached from {}", detached.interfaces.join(", "))
    };
    let setting = |setting: &SettingView| {
        let how = if setting.restored {
            "as before"
        } else {
            "left alone: it was changed meanwhile"
        };
        format!("{} is {}, {how}", setting.name, setting.value)
    };
    let settings = detached.settings.iter().map(setting);
    [interfaces]
        .into_iter()
        .chain(settings)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::xdp::{CookieView, ProgramView};

    #[test]
    fn a_status_tells_ours_from_others() {
        let program = |interface: &str, ours| ProgramView {
            interface: interface.to_owned(),
            mode: "native",
            program_id: 7,
            program_name: "xdp_x".to_owned(),
            ours,
        };
        let mut view = PinnedView {
            pin_dir: "/pins".into(),
            abi_version: Some(3),
            gateway_pid: Some(4_711),
            programs: vec![program("eth0", true), program("eth1", false)],
            exempt: vec![ExemptView {
                prefix: "192.0.2.7".parse().unwrap(),
                seconds: 3_600,
            }],
            source_limit: Some(LimitView {
                rate: 20,
                burst: 40,
            }),
            total_limit: Some(LimitView {
                rate: 5_000,
                burst: 10_000,
            }),
            syn_cookies: Some(CookieView {
                on: true,
                settings_changed: true,
            }),
            warnings: vec!["other ABI".to_owned()],
        };
        let lines = |view: &PinnedView| -> Vec<String> {
            status(view)
                .lines()
                .map(|line| line.trim_end().to_owned())
                .collect()
        };
        assert_eq!(
            lines(&view),
            [
                "INTERFACE  MODE    PROGRAM  NAME",
                "eth0       native  7        xdp_x",
                "eth1       native  7        xdp_x  not FlyTrap's",
                "",
                "pins     /pins, ABI 3",
                "gateway  process 4711 holds the pins",
                "cookies  on",
                "exempt   192.0.2.7 for 1h",
                "limit    each source: 20 new connections/s, 40 at once",
                "limit    all sources: 5000 new connections/s, 10000 at once",
                "warning: other ABI",
            ]
        );
        view.programs.clear();
        view.exempt.clear();
        view.source_limit = None;
        view.total_limit = None;
        view.warnings.clear();
        view.abi_version = None;
        view.syn_cookies = None;
        view.gateway_pid = None;
        assert_eq!(
            lines(&view),
            [
                "no interface has an XDP program",
                "",
                "pins     none in /pins",
                "gateway  none holds the pins",
            ]
        );
    }
}
