//! Starts that fail: each with what failed, why, what to do, its exit code, and nothing left.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use aya::EbpfLoader;
use aya::programs::Xdp;
use flytrap_tests::lab::broker::Broker;
use flytrap_tests::lab::directory;
use flytrap_tests::lab::gateway::{Setup, binary};
use flytrap_tests::lab::netns::{Net, Place};
use flytrap_tests::lab::packet::Version;
use flytrap_tests::lab::process::{Finished, must};
use flytrap_tests::lab::raw::{Raw, dial};
use flytrap_tests::lab::story::{People, deployment};
use flytrap_tests::lab::{PATIENCE, wait_for};

/// All of a world but the gateway. Dropped in order.
struct Bench {
    setup: Setup,
    broker: Broker,
    people: People,
    net: Net,
    _files: tempfile::TempDir,
}

impl Bench {
    fn new(net: Net) -> Self {
        let files = directory().unwrap();
        let broker = Broker::start(&net.gateway, files.path()).unwrap();
        let people = People::create(files.path()).unwrap();
        let setup = Setup::new(&net, files.path(), broker.address, &people.ledger()).unwrap();
        Self {
            setup,
            broker,
            people,
            net,
            _files: files,
        }
    }

    fn loopback() -> Self {
        Self::new(Net::loopback())
    }

    fn isolated() -> Self {
        Self::new(Net::isolated().unwrap())
    }

    /// Runs the gateway, which has to fail with this exit code and to say these words; and then
    /// nothing of it may be there.
    fn fails(&self, code: i32, words: &[&str]) {
        let finished = self.setup.run_to_the_end().unwrap();
        self.check(&finished, code, words);
    }

    fn check(&self, finished: &Finished, code: i32, words: &[&str]) {
        let text = &finished.err;
        assert_eq!(finished.code, Some(code), "{text}");
        for part in ["error: ", "help: "] {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
        for word in words {
            assert!(text.contains(word), "no `{word}` in:\n{text}");
        }
        assert!(!self.setup.pins().exists(), "pins are left");
        assert!(!self.setup.socket().exists(), "the socket is left");
        if let Some(interface) = &self.net.interface {
            assert!(!self.attached(interface), "a program is left attached");
        }
    }

    /// `setpriv` takes privileges away before it starts the gateway.
    fn misses_capabilities(&self, mut setpriv: Command, gateway: &Path) {
        setpriv.arg(gateway).arg("run").arg("--config");
        setpriv.arg(self.setup.file());
        let finished = Finished::of(&mut setpriv).unwrap();
        self.check(&finished, 77, &["CAP_"]);
    }

    fn attached(&self, interface: &str) -> bool {
        let mut show = self.net.gateway.command("ip");
        must(show.args(["-d", "link", "show", interface]))
            .unwrap()
            .contains("prog/xdp")
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_likely_one() {
    let mut bench = Bench::loopback();
    bench.setup.set("gateway.drain_timout", "1s");
    bench.fails(
        78,
        &[
            "drain_timout",
            "flytrap.toml",
            "did you mean",
            "drain_timeout",
        ],
    );
}

#[test]
fn a_value_that_makes_no_sense_is_refused() {
    let mut bench = Bench::loopback();
    bench.setup.set(
        "defence.allowlist",
        vec![toml::Value::from("198.51.100.0/33")],
    );
    bench.fails(78, &["198.51.100.0/33"]);
}

#[test]
fn no_configuration_file_is_a_configuration_error() {
    let bench = Bench::loopback();
    let mut command = bench.setup.command().unwrap();
    let finished =
        Finished::of(command.args(["run", "--config", "/nonexistent/flytrap.toml"])).unwrap();
    bench.check(&finished, 78, &["/nonexistent/flytrap.toml"]);
}

#[test]
fn a_missing_certificate_is_named() {
    let bench = Bench::loopback();
    std::fs::remove_file(&bench.setup.pki.certificate).unwrap();
    bench.fails(78, &["server.pem", "certificate_file"]);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let bench = Bench::loopback();
    let other = Bench::loopback();
    std::fs::copy(&other.setup.pki.key, &bench.setup.pki.key).unwrap();
    bench.fails(78, &["key_file"]);
}

#[test]
fn a_ledger_that_contradicts_itself_is_refused() {
    let bench = Bench::loopback();
    let orphan = format!(
        "[[space]]\nname = \"a/b\"\nowner = \"{}\"\n",
        bench.people.operator.wallet
    );
    std::fs::write(bench.setup.directory.join("ledger.toml"), orphan).unwrap();
    bench.fails(78, &["ledger.toml", "a/b"]);
}

#[test]
fn a_plain_listener_needs_the_setting_named_for_the_danger() {
    let mut bench = Bench::loopback();
    let listener: toml::Table = "bind = \"0.0.0.0:1883\"".parse().unwrap();
    bench
        .setup
        .config
        .insert("listener".into(), vec![toml::Value::from(listener)].into());
    bench.fails(78, &["danger_tokens_readable_on_the_wire"]);
}

#[test]
fn a_taken_port_is_named() {
    let bench = Bench::loopback();
    let taken = TcpListener::bind(bench.setup.plain).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    bench.fails(1, &[&address]);
}

#[test]
fn a_second_gateway_does_not_take_the_socket() {
    let bench = Bench::loopback();
    let gateway = bench.setup.clone().start().unwrap();
    let mut second = bench.setup.clone();
    let listener: toml::Table = "bind = \"127.0.0.1:0\"".parse().unwrap();
    second
        .config
        .insert("listener".into(), vec![toml::Value::from(listener)].into());
    let finished = second.run_to_the_end().unwrap();
    assert_ne!(finished.code, Some(0));
    assert!(finished.err.contains("flytrap.sock"), "{}", finished.err);
    assert!(
        gateway.status().is_ok(),
        "the first gateway's socket is gone"
    );
}

#[test]
fn without_a_gateway_the_commands_say_so() {
    let bench = Bench::loopback();
    let mut command = bench.setup.command().unwrap();
    let finished = Finished::of(
        command
            .arg("status")
            .arg("--socket")
            .arg(bench.setup.socket()),
    )
    .unwrap();
    bench.check(&finished, 69, &["flytrap.sock"]);
}

#[test]
fn a_broker_that_is_not_there_is_a_clear_error() {
    let mut bench = Bench::loopback();
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    bench.setup.set("upstream.address", nobody.to_string());
    bench.fails(69, &[&nobody.to_string(), "upstream.address"]);
}

#[test]
fn a_broker_that_goes_away_is_told_to_clients_and_in_status() {
    let bench = Bench::loopback();
    let gateway = bench.setup.clone().start().unwrap();
    bench.broker.kill();
    let login = bench.people.sensor.login(&deployment(), "sensor").unwrap();
    for (version, answer) in [(Version::V311, 3), (Version::V5, 0x88)] {
        let stream = dial(&Place::Here, None, gateway.setup.plain, PATIENCE).unwrap();
        assert_eq!(Raw::plain(stream, version).log_in(&login).unwrap(), answer);
    }
    wait_for("status to tell that the broker is gone", || {
        let status = gateway.status()?;
        Ok((status.pointer("/upstream/reachable") == Some(&false.into())).then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_broker_that_is_not_there_leaves_nothing_attached() {
    let mut bench = Bench::isolated();
    bench.setup.set("upstream.address", "127.0.0.1:9");
    bench.fails(69, &["127.0.0.1:9"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_unknown_interface_is_named() {
    let mut bench = Bench::isolated();
    bench.setup.set(
        "xdp.interfaces",
        vec![toml::Value::from("gw0"), toml::Value::from("nosuch0")],
    );
    bench.fails(78, &["nosuch0"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn without_capabilities_the_error_names_what_is_missing() {
    let bench = Bench::isolated();
    bench.setup.write().unwrap();
    // Still root, so that all files can be read; only the capabilities are gone.
    let mut command = bench.net.gateway.command("setpriv");
    command.args([
        "--bounding-set",
        "-bpf,-net_admin,-perfmon,-sys_admin",
        "--",
    ]);
    bench.misses_capabilities(command, &binary().unwrap());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn as_an_ordinary_user_the_error_says_so() {
    let bench = Bench::isolated();
    bench.setup.write().unwrap();
    // Readable and writable for everyone, so that only XDP is in the way.
    let open = |path: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&bench.setup.directory, 0o777);
    open(&bench.setup.pki.key, 0o644);
    open(&bench.setup.directory.join("broker-password"), 0o644);
    // A copy, as the path of the built one may be closed to others.
    let program = bench.setup.directory.join("flytrap");
    std::fs::copy(binary().unwrap(), &program).unwrap();
    let mut command = bench.net.gateway.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    bench.misses_capabilities(command, &program);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_kernel_without_btf_is_told() {
    let bench = Bench::isolated();
    bench.setup.write().unwrap();
    let mut command = bench.net.gateway.command("unshare");
    command.args(["--mount", "--", "sh", "-c"]);
    command.arg("mount -t tmpfs none /sys/kernel/btf && exec \"$0\" run --config \"$1\"");
    command.arg(binary().unwrap()).arg(bench.setup.file());
    let finished = Finished::of(&mut command).unwrap();
    bench.check(&finished, 1, &["BTF", "/sys/kernel/btf/vmlinux"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_pin_directory_off_the_bpf_file_system_is_told() {
    let mut bench = Bench::isolated();
    let elsewhere = bench.setup.directory.join("pins");
    bench.setup.set("xdp.pin_dir", elsewhere.to_str().unwrap());
    bench.fails(1, &["pin_dir", "mount -t bpf"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_interface_of_another_xdp_program_stays_with_it() {
    let bench = Bench::isolated();
    let object = flytrap::kernel::program().unwrap();
    let mut other = EbpfLoader::new().load(object).unwrap();
    let program: &mut Xdp = other.program_mut("ft_empty").unwrap().try_into().unwrap();
    program.load().unwrap();
    let id = program.info().unwrap().id();
    let pin = format!("{}-other", bench.setup.pins().display());
    program.pin(&pin).unwrap();
    let mut attach = bench.net.gateway.command("ip");
    must(attach.args(["link", "set", "dev", "gw0", "xdpdrv", "pinned", &pin])).unwrap();
    std::fs::remove_file(pin).unwrap();

    let finished = bench.setup.run_to_the_end().unwrap();
    assert_eq!(finished.code, Some(1), "{}", finished.err);
    for word in ["error: ", "help: ", "gw0", "ft_empty", &id.to_string()] {
        assert!(
            finished.err.contains(word),
            "no `{word}` in:\n{}",
            finished.err
        );
    }
    assert!(bench.attached("gw0"), "the other program is gone");
    assert!(!bench.setup.pins().exists());
    assert!(!bench.setup.socket().exists());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_listener_that_cannot_bind_leaves_nothing_attached() {
    let bench = Bench::isolated();
    let taken = bench
        .net
        .gateway
        .run(|| {
            Ok(TcpListener::bind(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                1883,
            ))?)
        })
        .unwrap();
    bench.fails(1, &["1883"]);
    drop(taken);
}
