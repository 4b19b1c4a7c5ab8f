//! Whether the operator could lock himself out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::{Check, Question, ssh_server};
use crate::app::countries::Countries;
use crate::config::{Config, Scope, about};
use crate::kernel::{self, Pinned};
use crate::types::Prefix;

const PEER: Question = Question::new(
    "ssh",
    "a ban or a kept-out country drops everything that its source sends, your own connection too",
);
const SERVER: Question = Question::new(
    "ssh server",
    "whoever manages this host by SSH can be banned or be in a kept-out country like anybody else",
);
const ALLOWLIST: &str = "put where you manage it from into defence.allowlist";

pub(super) fn checks(
    config: &Config,
    pinned: Option<&Pinned>,
    countries: Option<&Countries>,
) -> Vec<Check> {
    let peer = kernel::ssh_peer().map(|address| Peer {
        address,
        allowed: find(&config.defence.allowlist, address),
        exempt: pinned.and_then(|pinned| {
            let mut covering = pinned
                .exempt
                .iter()
                .filter(|(one, _)| one.contains(address));
            covering.next().map(|(_, rest)| rest.as_secs())
        }),
        dropped: countries.is_some_and(|countries| countries.lookup(address).dropped),
    });
    let ports = ssh_server::ports(Path::new("/proc"));
    vec![
        self::peer(peer.as_ref(), reach(config)),
        server(&ports, reach(config), config.defence.allowlist.len()),
    ]
}

/// Where this shell is connected from.
struct Peer {
    address: IpAddr,
    /// What it is allowlisted by.
    allowed: Option<Prefix>,
    /// For how many seconds it is exempt still.
    exempt: Option<u64>,
    /// Whether its country is kept out.
    dropped: bool,
}

/// What reaches every port of the host.
#[derive(Clone, Copy)]
struct Reach {
    bans: bool,
    countries: bool,
}

fn reach(config: &Config) -> Reach {
    let on = !config.xdp.interfaces.is_empty();
    Reach {
        bans: on && config.xdp.ban_scope == Scope::Host,
        countries: on && config.geo.database.is_some() && config.geo.scope == Scope::Host,
    }
}

fn find(prefixes: &[Prefix], address: IpAddr) -> Option<Prefix> {
    prefixes.iter().copied().find(|one| one.contains(address))
}

fn peer(peer: Option<&Peer>, reach: Reach) -> Check {
    let Some(&Peer {
        address,
        allowed,
        exempt,
        dropped,
    }) = peer
    else {
        return PEER.ok("this shell is not connected by SSH");
    };
    let from = format!("this shell is connected from {address}");
    if let Some(prefix) = allowed {
        return PEER.ok(format_args!("{from}, allowlisted by {prefix}"));
    }
    let fix = format!("put {} into defence.allowlist", Prefix::of_source(address));
    match (reach, exempt) {
        (
            Reach {
                bans: false,
                countries: false,
            },
            _,
        ) => PEER.ok(format_args!(
            "{from}, and only the listeners' ports are guarded"
        )),
        (
            Reach {
                countries: true, ..
            },
            None,
        ) if dropped => PEER.fail(format_args!("{from}, a country that is kept out"), fix),
        (_, Some(seconds)) => {
            let rest = about(seconds);
            PEER.warn(format_args!("{from}, exempt for {rest} and no longer"), fix)
        }
        (_, None) => PEER.warn(format_args!("{from}, which is on no allowlist"), fix),
    }
}

fn server(ports: &BTreeSet<u16>, reach: Reach, allowed: usize) -> Check {
    if ports.is_empty() {
        return SERVER.ok("none listens here");
    }
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let ports = format!("one listens on port {}", ports.join(", "));
    let what = match (reach.bans, reach.countries) {
        (false, false) => {
            return SERVER.ok(format_args!(
                "{ports}, and only the listeners' ports are guarded"
            ));
        }
        (true, false) => "bans reach",
        (false, true) => "countries reach",
        (true, true) => "bans and countries reach",
    };
    match allowed {
        0 => SERVER.warn(
            format_args!("{ports}, which {what}, and nobody is allowlisted"),
            ALLOWLIST,
        ),
        1 => SERVER.ok(format_args!("{ports}, and one prefix is allowlisted")),
        count => SERVER.ok(format_args!(
            "{ports}, and {count} prefixes are allowlisted"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{State, tests::config};
    use super::*;

    const HOST: Reach = Reach {
        bans: true,
        countries: true,
    };
    const GUARDED: Reach = Reach {
        bans: false,
        countries: false,
    };

    fn seen(allowed: Option<&str>, exempt: Option<u64>, dropped: bool) -> Peer {
        Peer {
            address: "192.0.2.7".parse().unwrap(),
            allowed: allowed.map(|prefix| prefix.parse().unwrap()),
            exempt,
            dropped,
        }
    }

    #[test]
    fn a_peer_that_could_be_locked_out_is_told() {
        assert_eq!(peer(None, HOST).state, State::Ok);
        for (who, reach, state) in [
            (seen(Some("192.0.2.0/24"), None, true), HOST, State::Ok),
            (seen(None, None, true), GUARDED, State::Ok),
            (seen(None, None, false), HOST, State::Warn),
            (seen(None, Some(60), true), HOST, State::Warn),
            (seen(None, None, true), HOST, State::Fail),
        ] {
            let check = peer(Some(&who), reach);
            assert_eq!(check.state, state, "{check:?}");
            if state != State::Ok {
                let fix = check.fix.unwrap();
                assert_eq!(fix, "put 192.0.2.7 into defence.allowlist");
            }
        }
    }

    #[test]
    fn a_server_without_an_allowlist_is_told() {
        let ports = BTreeSet::from([22]);
        assert_eq!(server(&BTreeSet::new(), HOST, 0).state, State::Ok);
        assert_eq!(server(&ports, GUARDED, 0).state, State::Ok);
        assert_eq!(server(&ports, HOST, 1).state, State::Ok);
        let alone = server(&ports, HOST, 0);
        assert_eq!(alone.state, State::Warn);
        assert!(alone.found.contains("port 22"), "{alone:?}");
    }

    #[test]
    fn the_configuration_says_what_reaches_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let told = |more: &str| {
            let Reach { bans, countries } = reach(&config(folder.path(), more));
            (bans, countries)
        };
        assert_eq!(told(""), (false, false));
        assert_eq!(told("[xdp]\ninterfaces = [\"lo\"]\n"), (true, false));
        let guarded = "[xdp]\ninterfaces = [\"lo\"]\nban_scope = \"guarded-ports\"\n";
        assert_eq!(told(guarded), (false, false));
        let countries = format!("{guarded}[geo]\ndatabase = \"c.mmdb\"\n");
        assert_eq!(told(&countries), (false, true));
        let guarded = format!("{countries}scope = \"guarded-ports\"\n");
        assert_eq!(told(&guarded), (false, false));
    }
}
