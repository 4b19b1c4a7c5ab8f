//! `flytrap doctor` on real machines: a healthy one, before and beside its gateway, and what is
//! wrong with others.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use flytrap_tests::lab::gateway::Setup;
use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::process::{Finished, must};
use flytrap_tests::lab::story::World;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;

/// `flytrap doctor` where the gateway of this set-up runs, by somebody who is connected by SSH.
fn doctor(setup: &Setup, more: &[&str]) -> Finished {
    setup.write().unwrap();
    let mut command = setup.command().unwrap();
    command.env("SSH_CONNECTION", "198.51.100.16 50000 198.51.100.1 22");
    Finished::of(command.arg("doctor").arg(setup.file()).args(more)).unwrap()
}

/// The checks, and the exit code.
fn checks(setup: &Setup) -> (Vec<Value>, Option<i32>) {
    let finished = doctor(setup, &["-o", "json"]);
    let Ok(Value::Array(checks)) = serde_json::from_str(&finished.out) else {
        panic!("{finished:?}");
    };
    for check in &checks {
        assert!(check["why"].as_str().is_some_and(|why| !why.is_empty()));
        assert_eq!(check["fix"].is_null(), check["state"] == "ok", "{check}");
    }
    (checks, finished.code)
}

/// The check of this name, and of this subject if it has one.
fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let mut found = checks.iter().filter(|check| check["name"] == name);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no {name}: {checks:?}"));
    assert!(name == "configuration" || found.next().is_none(), "{name}");
    one
}

fn found(checks: &[Value], name: &str) -> (String, String) {
    let check = check(checks, name);
    let text = |key: &str| check[key].as_str().unwrap().to_owned();
    (text("state"), text("found"))
}

#[track_caller]
fn expect(checks: &[Value], name: &str, state: &str, part: &str) {
    let (is, found) = found(checks, name);
    assert!(is == state && found.contains(part), "{name} {is}: {found}");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_healthy_machine_passes_beside_its_gateway_and_after_its_end() {
    let mut world = World::new(Net::isolated().unwrap(), |setup, _| {
        setup.set("xdp.detach_on_exit", false);
        setup.set("defence.allowlist", vec!["198.51.100.16/28"]);
    })
    .unwrap();
    let setup = world.gateway.setup.clone();
    let (running, code) = checks(&setup);
    assert_eq!(code, Some(0), "{running:?}");
    for name in [
        "kernel",
        "btf",
        "capabilities",
        "bpffs",
        "ledger",
        "password",
        "clock",
        "broker",
    ] {
        assert_eq!(found(&running, name).0, "ok", "{running:?}");
    }
    expect(&running, "interface", "ok", "is attached, native");
    expect(
        &running,
        "pins",
        "ok",
        &format!("process {}", world.gateway.id()),
    );
    // It warns of the plain listener, as the configuration's check does.
    expect(&running, "gateway", "warn", "runs, up");
    expect(&running, "ssh", "ok", "allowlisted by 198.51.100.16/28");
    expect(&running, "certificate", "ok", "server.pem");

    // Killed, and so the program goes on without anybody.
    world.gateway.kill().unwrap();
    let (left, code) = checks(&setup);
    assert_eq!(code, Some(0), "{left:?}");
    expect(&left, "gateway", "warn", "is attached all the same");
    expect(&left, "pins", "ok", "held by nobody");
    let text = doctor(&setup, &[]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for line in [
        "ok    kernel",
        "warn  gateway",
        "        why: ",
        "        fix: ",
        ", 0 fail\n",
    ] {
        assert!(text.out.contains(line), "no `{line}` in:\n{}", text.out);
    }
    world.gateway.restart().unwrap();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_is_wrong_is_found_and_nothing_is_changed() {
    let net = Net::isolated().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let nobody = "127.0.0.1:1".parse().unwrap();
    let mut setup = Setup::new(&net, directory.path(), nobody, "").unwrap();
    // A certificate that ran out, and an interface without native mode.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["gw.example.org".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(&setup.pki.certificate, certificate.pem()).unwrap();
    std::fs::write(&setup.pki.key, key.serialize_pem()).unwrap();
    setup.set("xdp.interfaces", vec!["lo"]);
    let (sick, code) = checks(&setup);
    assert_eq!(code, Some(1));
    expect(&sick, "interface", "fail", "native mode");
    expect(&sick, "certificate", "fail", "at 2021-01-01T00:00:00Z");
    expect(&sick, "broker", "fail", "127.0.0.1:1");
    expect(&sick, "ssh", "warn", "198.51.100.16");
    expect(&sick, "gateway", "ok", "none is running");
    expect(&sick, "pins", "ok", "none in");
    assert!(!setup.pins().exists() && !setup.directory.join("state").exists());

    setup.set("xdp.mode", "auto");
    expect(&checks(&setup).0, "interface", "warn", "generic");
    setup.set("xdp.interfaces", vec!["gw0"]);
    expect(&checks(&setup).0, "interface", "ok", "native mode");
    setup.set("xdp.interfaces", vec!["none0"]);
    expect(&checks(&setup).0, "interface", "fail", "none0");

    // Somebody else's program: here another FlyTrap's, with other pins.
    let other = format!("{}-other", setup.pins().display());
    let mut attach = setup.command().unwrap();
    must(attach.args(["xdp", "attach", "gw0", "--pin-dir", &other])).unwrap();
    setup.set("xdp.interfaces", vec!["gw0"]);
    expect(&checks(&setup).0, "interface", "fail", "`flytrap_xdp`");
    // Its own, where the pins have another ABI.
    setup.set("xdp.pin_dir", other.as_str());
    expect(&checks(&setup).0, "interface", "ok", "is attached, native");
    let config = format!("{other}/ft_config");
    let mut map = std::process::Command::new("bpftool");
    map.args([
        "map", "update", "pinned", &config, "key", "0", "0", "0", "0", "value",
    ]);
    must(map.args(["hex", "63", "0", "0", "0"].iter().chain(&["0"; 12]))).unwrap();
    expect(&checks(&setup).0, "pins", "fail", "version 99");
    let mut detach = setup.command().unwrap();
    must(detach.args(["xdp", "detach", "--pin-dir", &other])).unwrap();
}
