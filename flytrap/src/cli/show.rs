//! Answers as people read them. Nothing is coloured.

use std::fmt::Write as _;
use std::path::PathBuf;

use comfy_table::{Table, presets};

use crate::api::{BanView, GeoView, ImportView, PacketTally, PolicyAnswer, Status, XdpState};
use crate::config::about;
use crate::types::{UnixTime, escape_control};

/// The outcome of `check-config`.
#[derive(serde::Serialize)]
pub(super) struct Checked {
    pub(super) file: PathBuf,
    pub(super) valid: bool,
    pub(super) warnings: Vec<String>,
}

pub(super) fn checked(checked: &Checked) -> String {
    let mut text = format!("{} is valid\n", checked.file.display());
    warn(&mut text, &checked.warnings);
    text
}

pub(super) fn status(status: &Status) -> String {
    let mut rows = vec![
        (
            "gateway",
            format!(
                "{}, flytrap {}, up {} (since {})",
                status.domain,
                status.version,
                about(status.uptime_s),
                status.since
            ),
        ),
        ("sessions", status.sessions.to_string()),
        ("bans", status.bans.to_string()),
    ];
    for listener in &status.listeners {
        let kind = match (listener.tls, listener.danger) {
            (true, _) => "TLS",
            (false, false) => "plain, loopback only",
            (false, true) => "plain: LOGIN TOKENS READABLE ON THE WIRE",
        };
        rows.push(("listener", format!("{} {kind}", listener.address)));
    }
    let upstream = &status.upstream;
    let reachable = if upstream.reachable {
        "reachable"
    } else {
        "NOT REACHABLE"
    };
    rows.push((
        "upstream",
        format!(
            "{} {reachable}, {}",
            upstream.address,
            count(upstream.sessions, "connection")
        ),
    ));
    let ledger = &status.ledger;
    rows.push((
        "ledger",
        format!(
            "{} {}, generation {}: {}, {}",
            ledger.kind,
            ledger.source,
            ledger.generation,
            count(ledger.spaces, "topic space"),
            count(ledger.grants, "grant")
        ),
    ));
    if status.xdp.state == XdpState::Off {
        rows.push(("xdp", "off".to_owned()));
    }
    for interface in &status.xdp.interfaces {
        rows.push((
            "xdp",
            format!(
                "{} {}, program {}",
                interface.name, interface.mode, interface.program_id
            ),
        ));
    }
    if let Some(geo) = &status.geo {
        rows.push(("geo", countries(geo)));
    }
    for (reason, tally) in &status.xdp.counters {
        rows.push(("packets", format!("{reason}: {}", traffic(*tally))));
    }
    for (name, value) in &status.counters {
        rows.push(("counter", format!("{name} {value}")));
    }
    let mut table = table();
    let mut last = "";
    for (name, value) in rows {
        table.add_row([
            if name == last { "" } else { name },
            &escape_control(&value),
        ]);
        last = name;
    }
    let mut text = flush_left(table);
    text.push('\n');
    warn(&mut text, &status.warnings);
    text
}

pub(super) fn countries(geo: &GeoView) -> String {
    let listed = match (geo.mode.as_str(), geo.countries.as_slice()) {
        (_, []) => "none kept out".to_owned(),
        ("allow", countries) => format!("only {} let in", countries.join(", ")),
        (_, countries) => format!("{} kept out", countries.join(", ")),
    };
    let unknown = match (geo.mode.as_str(), geo.unknown.as_str()) {
        ("deny", "drop") | ("allow", "pass") => ", and what has no country",
        _ => "",
    };
    let scope = match geo.scope.as_str() {
        "host" => "",
        _ => " of the guarded ports",
    };
    let built = geo
        .built
        .map_or_else(|| "of no date".to_owned(), |built| format!("of {built}"));
    format!(
        "{listed}{unknown}{scope}; {} {built}, {}",
        geo.kind,
        count(geo.networks, "network")
    )
}

pub(super) fn bans(bans: &[BanView], now: UnixTime) -> String {
    if bans.is_empty() {
        return "nobody is banned".to_owned();
    }
    let mut table = table();
    table.set_header([
        "TARGET", "STANDING", "REASON", "SINCE", "UNTIL", "DROPPED", "NOTE",
    ]);
    for ban in bans {
        table.add_row([
            ban.target.to_string(),
            match ban.allowlisted {
                Some(_) => format!("{}, but allowlisted", ban.standing),
                None => ban.standing.clone(),
            },
            ban.reason.clone(),
            ban.since.to_string(),
            ends(ban.until, now),
            match ban.dropped {
                _ if ban.kernel_refused => "kernel refused it".to_owned(),
                Some(dropped) => traffic(dropped),
                None => "-".to_owned(),
            },
            escape_control(ban.note.as_deref().unwrap_or("")),
        ]);
    }
    flush_left(table)
}

pub(super) fn banned(ban: &BanView, now: UnixTime) -> String {
    let (target, standing) = (ban.target, &ban.standing);
    let mut text = format!("{target} is {standing} until {}", ends(ban.until, now));
    if let Some(allowed) = ban.allowlisted {
        let _ = write!(
            text,
            "\nwarning: the allowlist has {allowed} and comes first: nobody is kept out as long as \
             it does"
        );
    }
    if ban.kernel_refused {
        text.push_str(
            "\nwarning: the kernel refused the ban, so it acts only when a connection is accepted",
        );
    }
    text
}

pub(super) fn imported(imported: &ImportView) -> String {
    let mut text = format!(
        "{} in force after {:.2} s, on disk after {:.2} s",
        count(imported.imported, "ban"),
        imported.seconds_to_force,
        imported.seconds
    );
    for (number, what) in [
        (imported.replaced, "took the place of another ban"),
        (imported.merged, "left out: there more than once"),
        (imported.skipped, "left out: allowlisted in whole or part"),
    ] {
        if number > 0 {
            let _ = write!(text, "\n{number} {what}");
        }
    }
    for skipped in &imported.skipped_first {
        let _ = write!(
            text,
            "\n  {} (the allowlist has {})",
            skipped.target, skipped.allowed
        );
    }
    for (number, what) in [
        (
            imported.evicted,
            "evicted: the table is full, and these would have ended first",
        ),
        (
            imported.kernel_refused,
            "refused by the kernel: these act only when a connection is accepted",
        ),
    ] {
        if number > 0 {
            let _ = write!(text, "\nwarning: {} {what}", count(number, "ban"));
        }
    }
    text
}

pub(super) fn answer(answer: &PolicyAnswer) -> String {
    let decision = if answer.permit { "permit" } else { "deny" };
    let mut text = format!("{decision}: {} ({})", answer.sentence, answer.reason);
    if let Some(until) = answer.until {
        text.push_str(", until ");
        text.push_str(&until.to_string());
    }
    text
}

pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

pub(super) fn flush_left(mut table: Table) -> String {
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table.trim_fmt()
}

pub(super) fn warn(text: &mut String, warnings: &[String]) {
    for warning in warnings {
        text.push_str("warning: ");
        text.push_str(&escape_control(warning));
        text.push('\n');
    }
}

/// `2026-01-01T00:10:00Z (in 9m 58s)`
fn ends(until: UnixTime, now: UnixTime) -> String {
    format!("{until} (in {})", about(until.since(now)))
}

fn traffic(tally: PacketTally) -> String {
    format!(
        "{}, {}",
        count(tally.packets, "packet"),
        count(tally.bytes, "byte")
    )
}

fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LedgerView, ListenerView, UpstreamView, XdpInterface, XdpView};

    const NOW: UnixTime = UnixTime(1_767_225_602);

    fn ban(note: Option<&str>) -> BanView {
        BanView {
            id: 1,
            target: "192.0.2.7".parse().unwrap(),
            standing: "banned".to_owned(),
            kernel_refused: false,
            allowlisted: None,
            reason: "auth-failed".to_owned(),
            since: UnixTime(1_767_225_600),
            until: UnixTime(1_767_226_200),
            dropped: Some(PacketTally {
                packets: 1,
                bytes: 74,
            }),
            note: note.map(str::to_owned),
        }
    }

    #[test]
    fn a_ban_list_is_a_table() {
        let text = bans(&[ban(None), ban(Some("a\u{1b}[31mb"))], NOW);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("TARGET"), "{text}");
        assert!(
            lines[1].contains("2026-01-01T00:10:00Z (in 9m 58s)"),
            "{text}"
        );
        assert!(lines[1].contains("1 packet, 74 bytes"), "{text}");
        assert!(lines[2].ends_with(r"a\u{1b}[31mb"), "{text}");
        assert_eq!(bans(&[], NOW), "nobody is banned");
    }

    #[test]
    fn a_status_reads_from_top_to_bottom() {
        let tally = PacketTally {
            packets: 2,
            bytes: 148,
        };
        let status = Status {
            version: "0.1.0".to_owned(),
            since: UnixTime(1_767_225_600),
            uptime_s: 3_720,
            domain: "gw.example.org".to_owned(),
            listeners: vec![
                ListenerView {
                    address: "0.0.0.0:8883".to_owned(),
                    tls: true,
                    danger: false,
                },
                ListenerView {
                    address: "0.0.0.0:1883".to_owned(),
                    tls: false,
                    danger: true,
                },
            ],
            upstream: UpstreamView {
                address: "127.0.0.1:1883".to_owned(),
                reachable: true,
                sessions: 1,
            },
            ledger: LedgerView {
                kind: "file".to_owned(),
                source: "/l.toml".to_owned(),
                generation: 1,
                spaces: 3,
                grants: 7,
            },
            geo: Some(GeoView {
                database: "/etc/flytrap/countries.mmdb".to_owned(),
                kind: "Countries".to_owned(),
                built: Some(UnixTime(0)),
                networks: 1,
                unlisted: 0,
                mode: "deny".to_owned(),
                countries: vec!["DE".to_owned(), "FR".to_owned()],
                unknown: "drop".to_owned(),
                scope: "host".to_owned(),
            }),
            xdp: XdpView {
                state: XdpState::Attached,
                interfaces: vec![XdpInterface {
                    name: "eth0".to_owned(),
                    mode: "native".to_owned(),
                    program_id: 42,
                }],
                counters: std::iter::once(("ban".to_owned(), tally)).collect(),
            },
            sessions: 1,
            bans: 0,
            counters: std::iter::once(("flytrap_logins".to_owned(), 1)).collect(),
            warnings: vec!["something".to_owned()],
        };
        let shown = super::status(&status);
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "gateway   gw.example.org, flytrap 0.1.0, up 1h 2m (since 2026-01-01T00:00:00Z)",
                "sessions  1",
                "bans      0",
                "listener  0.0.0.0:8883 TLS",
                "          0.0.0.0:1883 plain: LOGIN TOKENS READABLE ON THE WIRE",
                "upstream  127.0.0.1:1883 reachable, 1 connection",
                "ledger    file /l.toml, generation 1: 3 topic spaces, 7 grants",
                "xdp       eth0 native, program 42",
                "geo       DE, FR kept out, and what has no country; Countries of \
                 1970-01-01T00:00:00Z, 1 network",
                "packets   ban: 2 packets, 148 bytes",
                "counter   flytrap_logins 1",
                "warning: something",
            ]
        );
    }

    #[test]
    fn an_answer_is_a_sentence() {
        let denied = PolicyAnswer {
            permit: false,
            reason: "no-grant".to_owned(),
            sentence: "no grant covers it".to_owned(),
            until: None,
            generation: 1,
        };
        assert_eq!(answer(&denied), "deny: no grant covers it (no-grant)");
        let permitted = PolicyAnswer {
            permit: true,
            until: Some(UnixTime(0)),
            ..denied
        };
        assert!(answer(&permitted).ends_with(", until 1970-01-01T00:00:00Z"));
    }
}
