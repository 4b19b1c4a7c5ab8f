//! The demo's story, played by real clients and checked on all sides: at the client, at the
//! broker, and in the kernel.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::packet::Version;
use super::process::must;
use super::raw::dial;
use super::story::World;
use super::wait_for;

/// How long a ban of the drill lasts. The steps that need it in force take about three seconds.
pub const BAN: &str = "20s";

/// Something that is so, and how to see it.
type Step = (&'static str, fn(&World) -> Result<()>);

const STEPS: [Step; 14] = [
    (
        "TLS, MQTT 3.1.1: permitted publishes at QoS 0, 1, 2 reach a permitted subscriber",
        |world| permitted(world, true, Version::V311),
    ),
    ("TLS, MQTT 5: the same", |world| {
        permitted(world, true, Version::V5)
    }),
    ("plain, MQTT 3.1.1: the same", |world| {
        permitted(world, false, Version::V311)
    }),
    ("plain, MQTT 5: the same", |world| {
        permitted(world, false, Version::V5)
    }),
    (
        "a publish without a grant does not reach the broker",
        denied_publish,
    ),
    (
        "a subscription without a grant is denied, and nothing is delivered",
        denied_subscription,
    ),
    (
        "a wildcard that is wider than the grant is denied",
        wide_wildcard,
    ),
    ("a wallet without any right is not admitted", not_admitted),
    (
        "the broker never saw a token: the gateway logs in with its own account",
        own_account,
    ),
    (
        "six wrong logins: XDP drops that address, and others are served",
        six_wrong_logins,
    ),
    (
        "the ban expires by itself, and the address is served again",
        expiry,
    ),
    (
        "a ban by hand drops too, and spares its neighbour",
        ban_by_hand,
    ),
    (
        "bpftool shows the ban in the kernel, with field names",
        field_names,
    ),
    ("the ban is lifted, and the address is served again", lift),
];

/// Plays every step, a line for each, and says whether all of them were as they should be.
/// Ends early when `interrupted` says so.
pub fn play(world: &World, out: &mut impl Write, interrupted: impl Fn() -> bool) -> Result<bool> {
    let mut failed = 0;
    for (number, (name, step)) in (1..).zip(STEPS) {
        if interrupted() {
            bail!("interrupted");
        }
        let of = STEPS.len();
        match step(world) {
            Ok(()) => writeln!(out, "ok    {number:2}/{of}  {name}")?,
            Err(error) => {
                failed += 1;
                writeln!(out, "FAIL  {number:2}/{of}  {name}\n      {error:#}")?;
            }
        }
        out.flush()?;
    }
    Ok(failed == 0)
}

/// The sources of the story.
const GOOD: u8 = 0;
const ATTACKER: u8 = 1;
const BY_HAND: u8 = 2;

fn permitted(world: &World, tls: bool, version: Version) -> Result<()> {
    let way = world.way(GOOD, tls, version);
    let dashboard = world.login(&world.people.dashboard, "dashboard-1")?;
    let sensor = world.login(&world.people.sensor, "sensor-1")?;
    let mut subscriber = way.subscribe(&dashboard, &["plant/line1/#"], 2, &world.directory)?;
    let reasons = subscriber.subscribed()?;
    ensure!(reasons == [2], "expected SUBACK 2, saw {reasons:?}");
    for qos in 0..3 {
        let payload = format!("21.{qos}-{version:?}-{tls}");
        let published = way.publish(&sensor, "plant/line1/temperature", &payload, qos)?;
        ensure!(
            published.code == Some(0),
            "expected the publish to pass, saw {published:?}"
        );
        let at_broker = world.observer.wait_for(&payload)?;
        ensure!(
            at_broker.qos == qos,
            "expected QoS {qos} at the broker, saw {at_broker:?}"
        );
        subscriber.wait_for(qos, "plant/line1/temperature", &payload)?;
    }
    Ok(())
}

fn denied_publish(world: &World) -> Result<()> {
    let sensor = world.login(&world.people.sensor, "sensor-1")?;
    for version in Version::ALL {
        let way = world.way(GOOD, true, version);
        for qos in 0..3 {
            let payload = format!("forbidden-{qos}-{version:?}");
            let run = way.publish(&sensor, "plant/line2/valve", &payload, qos)?;
            let told = run.out.contains("Not authorized") || run.err.contains("Not authorized");
            ensure!(
                version == Version::V311 || qos == 0 || told,
                "expected the reason Not authorized (0x87), saw {run:?}"
            );
            // Behind it on the same way, so whatever was forwarded is at the broker before.
            let marker = format!("marker-{qos}-{version:?}");
            way.publish(&sensor, "plant/line1/marker", &marker, 1)?;
            world.observer.wait_for(&marker)?;
            ensure!(
                !world.observer.saw(&payload),
                "the broker received `{payload}`"
            );
        }
    }
    Ok(())
}

fn denied_subscription(world: &World) -> Result<()> {
    let dashboard = world.login(&world.people.dashboard, "dashboard-1")?;
    let technician = world.login(&world.people.technician, "technician-1")?;
    let sensor = world.login(&world.people.sensor, "sensor-1")?;
    for (version, denied) in [(Version::V311, 0x80), (Version::V5, 0x87)] {
        let way = world.way(GOOD, true, version);
        let filters = ["plant/line1/#", "plant/line2/#"];
        let mut subscriber = way.subscribe(&dashboard, &filters, 1, &world.directory)?;
        let reasons = subscriber.subscribed()?;
        ensure!(
            reasons == [1, denied],
            "expected SUBACK 1, {denied:#04x}, saw {reasons:02x?}"
        );

        let secret = format!("line2-{version:?}");
        way.publish(&technician, "plant/line2/valve", &secret, 1)?;
        world.observer.wait_for(&secret)?;
        let after = format!("line1-{version:?}");
        way.publish(&sensor, "plant/line1/temperature", &after, 1)?;
        subscriber.wait_for(1, "plant/line1/temperature", &after)?;
        ensure!(
            !subscriber.saw(&secret),
            "the subscriber got `{secret}`:\n{}",
            subscriber.log()
        );
    }
    Ok(())
}

fn wide_wildcard(world: &World) -> Result<()> {
    let dashboard = world.login(&world.people.dashboard, "dashboard-1")?;
    for (version, denied) in [(Version::V311, 0x80), (Version::V5, 0x87)] {
        let way = world.way(GOOD, true, version);
        let filters = ["plant/line1/+/x", "plant/#", "plant/+/temperature", "#"];
        let mut subscriber = way.subscribe(&dashboard, &filters, 0, &world.directory)?;
        let reasons = subscriber.subscribed()?;
        let expected = [0, denied, denied, denied];
        ensure!(
            reasons == expected,
            "expected SUBACK {expected:02x?}, saw {reasons:02x?}"
        );
    }
    Ok(())
}

fn not_admitted(world: &World) -> Result<()> {
    let stranger = world.login(&world.people.stranger, "stranger-1")?;
    let before = world.tap.sessions().len();
    for version in Version::ALL {
        let run = world
            .way(GOOD, true, version)
            .publish(&stranger, "plant/line1/x", "hi", 1)?;
        ensure!(
            run.code != Some(0),
            "expected a refused CONNECT, saw {run:?}"
        );
        ensure!(
            !world.observer.saw("hi"),
            "the broker received the stranger's message"
        );
    }
    let dialled = world.tap.sessions().len() - before;
    ensure!(
        dialled == 0,
        "the gateway opened {dialled} sessions at the broker for a stranger"
    );
    Ok(())
}

fn own_account(world: &World) -> Result<()> {
    let login = world.login(&world.people.sensor, "sensor-1")?;
    let run = world
        .way(GOOD, true, Version::V311)
        .publish(&login, "plant/line1/x", "own", 1)?;
    ensure!(
        run.code == Some(0),
        "expected the publish to pass, saw {run:?}"
    );
    world.observer.wait_for("own")?;
    for secret in [&login.password, &login.user, &login.client_id] {
        ensure!(
            !world.tap.went_up(secret.as_bytes()),
            "`{secret}` went to the broker"
        );
    }
    let account = super::broker::Broker::GATEWAY_USER;
    ensure!(
        world.tap.went_up(account.as_bytes()),
        "the gateway did not log in as `{account}`"
    );
    Ok(())
}

/// Whether a TCP connection from a device comes about.
fn reaches(world: &World, device: u8, timeout: Duration) -> bool {
    let source = Some(world.net.device(device));
    dial(
        &world.net.devices,
        source,
        world.gateway.setup.plain,
        timeout,
    )
    .is_ok()
}

/// Publishes from a device through the whole of it.
fn served(world: &World, device: u8, payload: &str) -> Result<()> {
    let sensor = world.login(&world.people.sensor, "sensor-2")?;
    let run = world
        .way(device, true, Version::V5)
        .publish(&sensor, "plant/line1/x", payload, 1)?;
    ensure!(run.code == Some(0), "expected to be served, saw {run:?}");
    world.observer.wait_for(payload)?;
    Ok(())
}

fn banned(world: &World, device: u8) -> Result<bool> {
    let target = world.net.device(device).to_string();
    Ok(world.gateway.bans()?.iter().any(|ban| names(ban, &target)))
}

/// `198.51.100.12` or `198.51.100.12/32`.
fn names(ban: &str, address: &str) -> bool {
    ban.split('/').next() == Some(address)
}

/// Connections of a device time out, and the kernel counts the dropped packets.
fn dropped_in_kernel(world: &World, device: u8) -> Result<()> {
    let before = world.gateway.dropped()?;
    let reached = reaches(world, device, Duration::from_secs(2));
    ensure!(
        !reached,
        "expected the connection to time out, but it came about"
    );
    let after = world.gateway.dropped()?;
    ensure!(
        after > before,
        "expected the kernel to count drops, saw {before} before, {after} after"
    );
    Ok(())
}

fn six_wrong_logins(world: &World) -> Result<()> {
    let forged = world.login(&world.people.sensor, "sensor-1")?.forged();
    let way = world.way(ATTACKER, true, Version::V311);
    for attempt in 1..=6 {
        ensure!(
            !banned(world, ATTACKER)?,
            "banned after {} wrong logins, not 6",
            attempt - 1
        );
        let run = way.publish(&forged, "plant/line1/x", "forged", 0)?;
        ensure!(
            run.code != Some(0),
            "expected login {attempt} to be refused, saw {run:?}"
        );
    }
    wait_for("the ban", || Ok(banned(world, ATTACKER)?.then_some(())))?;
    dropped_in_kernel(world, ATTACKER)?;
    served(world, GOOD, "while-another-is-banned")?;
    ensure!(
        banned(world, ATTACKER)?,
        "the ban ended before the other address was served"
    );
    Ok(())
}

fn expiry(world: &World) -> Result<()> {
    wait_for("the end of the ban", || {
        Ok((!banned(world, ATTACKER)?).then_some(()))
    })?;
    wait_for("a connection after the ban", || {
        Ok(reaches(world, ATTACKER, Duration::from_secs(1)).then_some(()))
    })?;
    served(world, ATTACKER, "after-the-ban")
}

fn ban_by_hand(world: &World) -> Result<()> {
    let target = world.net.device(BY_HAND).to_string();
    let run = world.gateway.cli(&["ban", "add", &target, "--for", "1h"])?;
    ensure!(
        run.code == Some(0),
        "expected `ban add` to succeed, saw {run:?}"
    );
    dropped_in_kernel(world, BY_HAND)?;
    served(world, GOOD, "beside-a-ban-by-hand")
}

fn field_names(world: &World) -> Result<()> {
    let pins = world.gateway.setup.pins();
    let bans = dump(&pins.join("ft_ban4"))?;
    let IpAddr::V4(address) = world.net.device(BY_HAND) else {
        bail!("the story's addresses are IPv4");
    };
    for field in ["\"address\"", "\"deadline\"", "\"packets\"", "\"reason\""] {
        ensure!(
            bans.contains(field),
            "expected the field {field} in the ban map, saw {bans}"
        );
    }
    // As decimal or as hexadecimal bytes, depending on bpftool's version.
    let bytes = |show: fn(&u8) -> String| {
        let shown: Vec<String> = address.octets().iter().map(show).collect();
        shown.join(",")
    };
    let flat: String = bans
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '"')
        .collect();
    let there = flat.contains(&bytes(u8::to_string))
        || flat.contains(&bytes(|byte| format!("0x{byte:02x}")));
    ensure!(there, "expected {address} in the ban map, saw {bans}");
    let counters = dump(&pins.join("ft_counters"))?;
    ensure!(
        counters.contains("\"drop_by_hand\""),
        "expected the field drop_by_hand in the counters, saw {counters}"
    );
    Ok(())
}

fn dump(pin: &Path) -> Result<String> {
    let mut command = Command::new("bpftool");
    must(command.args(["map", "dump", "pinned"]).arg(pin)).context("bpftool")
}

fn lift(world: &World) -> Result<()> {
    let target = world.net.device(BY_HAND).to_string();
    let run = world.gateway.cli(&["ban", "lift", &target])?;
    ensure!(
        run.code == Some(0),
        "expected `ban lift` to succeed, saw {run:?}"
    );
    ensure!(!banned(world, BY_HAND)?, "still listed after `ban lift`");
    served(world, BY_HAND, "after-the-lift")
}
