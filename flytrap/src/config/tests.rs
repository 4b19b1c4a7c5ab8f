mod reference;

use std::net::Ipv4Addr;

use super::*;
use crate::offence::Offence;

const EXAMPLE: &str = include_str!("../../../docs/examples/flytrap.toml");

/// What must be written; the parts in front of `[ledger]` can be replaced.
const LEAST: &str = r#"[gateway]
domain = "gw.example.org"
[[listener]]
bind = "127.0.0.1:1884"
[upstream]
address = "127.0.0.1:1883"
[ledger]
path = "ledger.toml"
"#;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/flytrap")).unwrap_or_else(|error| panic!("{error}"))
}

/// The problems of `text`, as printed.
fn problems(text: &str) -> String {
    Config::parse(text, Path::new("/etc/flytrap"))
        .unwrap_err()
        .details()
}

/// The one problem of the least configuration with `more` behind it.
fn problem_of(more: &str) -> String {
    let shown = problems(&format!("{LEAST}{more}"));
    assert_eq!(shown.matches("help:").count(), 1, "{shown}");
    shown
}

#[test]
fn the_least_configuration_gets_every_default() {
    let config = parse(LEAST);
    assert_eq!(config.gateway.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!(config.gateway.state_dir, Path::new("/var/lib/flytrap"));
    assert_eq!(config.ledger.path, Path::new("/etc/flytrap/ledger.toml"));
    assert_eq!(config.login.admit, Admit::Entitled);
    assert_eq!(config.limits.connect_bytes, 16_384);
    assert_eq!(config.defence.rules, [Rule::default()]);
}

#[test]
fn the_example_holds_and_says_the_defaults() {
    let example = parse(EXAMPLE);
    assert_eq!(example.listeners.len(), 2);
    let least = parse(LEAST);
    assert_eq!(example.defence.rules, least.defence.rules);
    assert_eq!(example.xdp, least.xdp);
    assert_eq!(example.log, least.log);
    assert_eq!(example.login, least.login);
}

#[test]
fn effective_configurations_read_back_the_same() {
    for text in [LEAST, EXAMPLE, EVERYTHING] {
        let config = parse(text);
        let effective = config.effective().unwrap();
        let again = Config::parse(&effective, Path::new("/elsewhere"));
        assert_eq!(again.unwrap(), config, "{effective}");
    }
}

#[test]
fn a_misspelt_key_is_shown_with_the_one_that_was_meant() {
    assert_eq!(
        problem_of("[login]\nadmitt = \"any\"\n"),
        "line 10, column 1: unknown key `admitt` in [login]\n  \
         10 | admitt = \"any\"\n     \
         | ^^^^^^\n  \
         help: did you mean `admit`?"
    );
    assert_eq!(
        problem_of("[zzz]\n").lines().last().unwrap(),
        "  help: the keys here are listener, gateway, upstream, ledger, login, mqtt, limits, xdp, \
         geo, defence, dollar_topics, log"
    );
}

#[test]
fn every_problem_is_listed_in_the_order_of_the_lines() {
    let shown = problems(
        "[gateway]\ndomain = \"GW.example.org\"\nworkers = 0\n\
         [[listener]]\nbind = \"0.0.0.0:1883\"\n\
         [ledger]\npath = \"l\"\n[mqtt]\ndenied_publish = \"drop\"\n",
    );
    let whats: Vec<&str> = shown.lines().filter(|l| !l.starts_with(' ')).collect();
    assert_eq!(
        whats,
        [
            "`address` is missing in [upstream]",
            "line 2, column 10: `domain` must be lower case",
            "line 3, column 11: `workers` is out of range",
            "line 5, column 8: 0.0.0.0:1883 is reachable from outside and has no TLS: whoever is \
             on the way can read login tokens and use them until they expire",
            "line 9, column 18: `denied_publish` can't be \"drop\"",
        ]
    );
}

#[test]
fn every_wrong_value_has_its_message() {
    for (more, message) in [
        (
            "[login]\nadmit = 3\n",
            "`admit` has the wrong type: integer",
        ),
        (
            "[login]\nstale_delay = \"1\"\n",
            "`stale_delay` is no span of time",
        ),
        (
            "[login]\nmax_bound_token_lifetime = \"401d\"\n",
            "write a span from \"24h\" to \"400d\"",
        ),
        (
            "[login]\nmax_token_lifetime = \"48h\"\nmax_bound_token_lifetime = \"24h\"\n",
            "write a span from \"2d\" to \"400d\"",
        ),
        ("[limits]\nfilters = 0\n", "write a number from 1 to 65535"),
        (
            "[limits]\npacket_bytes = \"1MiB\"\n",
            "`packet_bytes` has the wrong type: string",
        ),
        (
            "[limits]\nconnections = -1\n",
            "`connections` is out of range",
        ),
        (
            "[xdp]\ninterfaces = [\"eth0\", \"eth0\"]\n",
            "`eth0` stands twice",
        ),
        (
            "[xdp]\ninterfaces = [\"../x\"]\n",
            "`../x` is no interface name",
        ),
        (
            "[xdp]\ninterfaces = \"eth0\"\n",
            "`interfaces` has the wrong type: string",
        ),
        (
            "[xdp]\nmode = \"fast\"\n",
            "write \"native\" or \"generic\" or \"auto\"",
        ),
        (
            "[xdp]\nsource_rate = 1000001\n",
            "write a number from 0 to 1000000",
        ),
        (
            "[xdp]\ntotal_burst = 0\n",
            "write a number from 1 to 1000000",
        ),
        (
            "[defence]\nallowlist = [\"192.0.2.1/24\"]\n",
            "write `192.0.2.0/24`",
        ),
        ("[defence]\nrule = 3\n", "write [[defence.rule]] for each"),
        (
            "[dollar_topics]\n\"SYS/#\" = []\n",
            "`SYS/#` doesn't begin with $",
        ),
        ("[dollar_topics]\n\"$SYS/#/x\" = []\n", "# must be the last"),
        (
            "[dollar_topics]\n\"$share/g/x\" = []\n",
            "is a shared subscription",
        ),
        (
            "[dollar_topics]\n\"$SYS/#\" = [\"0x12\"]\n",
            "40 hex digits",
        ),
        ("[log]\nlevel = \"loud\"\n", "`level` can't be \"loud\""),
        ("spaces = [\"a/b\"]\n", "`a/b` is no top-level topic space"),
        ("kind = \"chain\"\n", "write \"file\""),
        (
            "[[listener]]\nbind = \"127.0.0.1:1884\"\n",
            "another listener has 127.0.0.1:1884 already",
        ),
        (
            "[[listener]]\nbind = \"localhost\"\n",
            "write address and port",
        ),
        ("[[listener]]\n", "`bind` is missing in [[listener]]"),
        (
            "[[listener]]\nbind = \"0.0.0.0:2\"\ntls = { key_file = \"k\" }\n",
            "`certificate_file` is missing in [listener.tls]",
        ),
        (
            "[[listener]]\nbind = \"0.0.0.0:2\"\ndanger_tokens_readable_on_the_wire = true\ntls = { key_file = \"k\", certificate_file = \"c\" }\n",
            "contradicts `tls`",
        ),
        ("[gateway]\n", "duplicate key"),
        ("[log\n", "unclosed table"),
    ] {
        let shown = problem_of(more);
        assert!(shown.contains(message), "{more}\n{shown}");
    }
}

#[test]
fn countries_are_checked() {
    for (more, message) in [
        (
            "[geo]\ndatabase = \"c.mmdb\"\n",
            "`database` is for the kernel, and XDP is off",
        ),
        (
            "[geo]\ncountries = [\"DE\"]\n",
            "`countries` needs a `database`",
        ),
        ("[geo]\nmode = \"allow\"\n", "keeps everybody out"),
        (
            "[xdp]\ninterfaces = [\"eth0\"]\n[geo]\ndatabase = \"c\"\ncountries = [\"DEU\"]\n",
            "`DEU` is no country code",
        ),
    ] {
        let shown = problem_of(more);
        assert!(shown.contains(message), "{more}\n{shown}");
    }
}

#[test]
fn rules_are_checked() {
    for (more, message) in [
        (
            "[[defence.rule]]\noffence = \"rude\"\n",
            "`offence` can't be \"rude\"",
        ),
        (
            "[[defence.rule]]\noffence = \"auth-failed\"\nmore_than = 10001\n",
            "write a number from 0 to 10000",
        ),
        (
            "[[defence.rule]]\noffence = \"auth-failed\"\nwindow = \"500ms\"\n",
            "write a span from \"1s\" to \"30d\"",
        ),
        (
            "[[defence.rule]]\nmore_than = 3\n",
            "`offence` is missing in [[defence.rule]]",
        ),
        (
            "[[defence.rule]]\noffence = \"malformed\"\nban = \"2d\"\nban_max = \"1d\"\n",
            "write a span from \"2d\" to \"400d\"",
        ),
    ] {
        let shown = problem_of(more);
        assert!(shown.contains(message), "{more}\n{shown}");
    }
}

#[test]
fn gateway_and_upstream_are_checked() {
    for (from, to, message) in [
        ("\"gw.example.org\"", "\"mqtts://gw\"", "without a scheme"),
        ("\"gw.example.org\"", "\"gw:8883\"", "without a port"),
        ("\"gw.example.org\"", "\"gw..org\"", "is no host name"),
        ("\"gw.example.org\"", "\"\"", "is no host name"),
        (
            "domain = \"gw.example.org\"",
            "",
            "`domain` is missing in [gateway]",
        ),
        (
            "[[listener]]\nbind = \"127.0.0.1:1884\"",
            "",
            "`listener` is missing",
        ),
        ("[[listener]]", "[listener]", "write [[listener]] for each"),
        ("\"127.0.0.1:1883\"", "\"127.0.0.1\"", "is no host and port"),
        ("\"127.0.0.1:1883\"", "\"::1:1883\"", "is no host and port"),
        (
            "\"127.0.0.1:1883\"",
            "\"127.0.0.1:1884\"",
            "a listener of the gateway itself",
        ),
        (
            "[ledger]",
            "username = \"u\"\n[ledger]",
            "`username` without `password_file`",
        ),
        (
            "[ledger]",
            "password_file = \"p\"\n[ledger]",
            "`password_file` without `username`",
        ),
        (
            "path = \"ledger.toml\"",
            "",
            "`path` is missing in [ledger]",
        ),
    ] {
        assert!(LEAST.contains(from), "{from}");
        let shown = problems(&LEAST.replace(from, to));
        assert_eq!(shown.matches("help:").count(), 1, "{shown}");
        assert!(shown.contains(message), "{message}\n{shown}");
    }
    for broker in ["broker:1883", "[::1]:1883", "mosquitto_1.lan:1883"] {
        parse(&LEAST.replace("127.0.0.1:1883", broker));
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let shown = problems(&LEAST.replace("[ledger]", "password = \"hunter2\"\n[ledger]"));
    assert!(shown.contains("did you mean `password_file`?"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn named_files_must_be_readable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flytrap.toml");
    let text = format!(
        "{LEAST}[[listener]]\nbind = \"0.0.0.0:8883\"\n\
         tls = {{ certificate_file = \"server.pem\", key_file = \".\" }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let shown = Config::load(&file).unwrap_err().to_string();
    assert!(
        shown.contains("`path` can't be read: No such file"),
        "{shown}"
    );
    assert!(
        shown.contains("`certificate_file` can't be read: No such file"),
        "{shown}"
    );
    assert!(
        shown.contains("`key_file` can't be read: Is a directory"),
        "{shown}"
    );
    assert!(Config::load_alone(&file).is_ok());
}

#[test]
fn the_allowlist_has_room_in_the_kernel() {
    let allowlist = |v4: u32, v6: u32| {
        let v4 = (0..v4).map(|n| format!("\"{}\"", Ipv4Addr::from_bits(n)));
        let v6 = (0..v6).map(|n| format!("\"2001:db8::{n:x}\""));
        let all: Vec<_> = v4.chain(v6).collect();
        format!("[defence]\nallowlist = [{}]\n", all.join(","))
    };
    parse(&format!("{LEAST}{}", allowlist(4096, 4096)));
    for (v4, v6) in [(4097, 0), (0, 4097)] {
        let problem = problem_of(&allowlist(v4, v6));
        assert!(
            problem.contains("more than 4096 prefixes of one IP version"),
            "{problem}"
        );
    }
}

#[test]
fn tls_of_the_wrong_type_is_one_problem() {
    let shown = problem_of("[[listener]]\nbind = \"0.0.0.0:2\"\ntls = true\n");
    assert!(
        shown.contains("`tls` has the wrong type: boolean"),
        "{shown}"
    );
}

proptest::proptest! {
    /// Whatever is written where, it is read or refused with places that can be shown.
    #[test]
    fn no_text_makes_it_panic(at in 0..EVERYTHING.len(), cut in 0..40_usize, new in ".{0,20}") {
        let mut text = EVERYTHING.to_owned();
        text.replace_range(at..(at + cut).min(EVERYTHING.len()), &new);
        if let Err(error) = Config::parse(&text, Path::new("/etc/flytrap")) {
            proptest::prop_assert!(error.to_string().contains("help: "));
        }
    }
}

#[test]
fn warnings_name_what_is_dangerous() {
    let config = parse(&LEAST.replace(
        "\"127.0.0.1:1884\"",
        "\"0.0.0.0:1884\"\ndanger_tokens_readable_on_the_wire = true",
    ));
    assert!(config.warnings()[0].contains("0.0.0.0:1884 has no TLS"));
    let limited = |more: &str| {
        let config = parse(&format!("{LEAST}[xdp]\ntotal_rate = 5\n{more}"));
        let warnings = config.warnings();
        warnings.iter().any(|one| one.contains("without effect"))
    };
    assert!(limited(""));
    assert!(!limited("interfaces = [\"eth0\"]\n"));
    let cookies = |more: &str| {
        let config = parse(&format!("{LEAST}[xdp]\nsyn_cookies = true\n{more}"));
        let mut warnings = config.warnings().into_iter();
        let warned = warnings.any(|one| one.contains("`syn_cookies` is without effect"));
        assert_eq!(config.answers_with_cookies(), !warned);
        !warned
    };
    assert!(!cookies(""));
    assert!(!cookies("total_rate = 5\n"));
    assert!(!cookies("interfaces = [\"eth0\"]\n"));
    assert!(cookies("interfaces = [\"eth0\"]\ntotal_rate = 5\n"));
}

/// Every key, those with a default at another value.
const EVERYTHING: &str = r#"
[gateway]
domain = "a.b"
state_dir = "state"
socket = "s"
workers = 3
drain_timeout = "1s"
[[listener]]
bind = "[::]:8883"
tls = { certificate_file = "c", key_file = "/k" }
[[listener]]
bind = "0.0.0.0:1"
danger_tokens_readable_on_the_wire = true
[upstream]
address = "[::1]:1883"
connect_timeout = "1s"
username = "u"
password_file = "p"
[ledger]
kind = "file"
path = "l"
spaces = ["a"]
[login]
admit = "any"
max_token_lifetime = "1h"
max_bound_token_lifetime = "400d"
stale_delay = "0s"
[mqtt]
denied_publish = "close"
[limits]
tls_handshake_timeout = "1s"
connect_timeout = "1500ms"
connect_bytes = 1024
packet_bytes = 268435460
topic_bytes = 65535
topic_levels = 1
filters = 1
subscriptions = 1
connections = 1
connections_per_address = 1
[xdp]
interfaces = ["eth0", "ft-0"]
mode = "auto"
pin_dir = "/sys/fs/bpf/x"
detach_on_exit = true
event_sample = 1
ban_scope = "guarded-ports"
evasions = "pass"
source_rate = 1000000
source_burst = 1
total_rate = 1
total_burst = 1000000
syn_cookies = true
[geo]
database = "c"
mode = "allow"
countries = ["de", "XK"]
unknown = "drop"
scope = "guarded-ports"
[defence]
allowlist = ["::/0", "192.0.2.7"]
[[defence.rule]]
offence = "malformed"
more_than = 0
consecutive = true
window = "1s"
ban = "1s"
ban_max = "1s"
[dollar_topics]
"$SYS/#" = ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"]
[log]
level = "trace"
format = "json"
"#;
