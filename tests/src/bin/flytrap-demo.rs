//! `cargo xtask run`: a working gateway to play with, or its drill.

use std::fs::{File, OpenOptions};
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Parser;
use flytrap_tests::lab::broker::Broker;
use flytrap_tests::lab::drill;
use flytrap_tests::lab::gateway::{Setup, binary};
use flytrap_tests::lab::netns::Net;
use flytrap_tests::lab::pki::write_secret;
use flytrap_tests::lab::process::must;
use flytrap_tests::lab::story::World;
use flytrap_tests::lab::wallet::Login;
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};
use toml::Table;

const NAMESPACE: &str = "ft-devices";
const INTERFACE: &str = "ft-gateway";
const DIRECTORY: &str = "/run/flytrap-demo";
const LOCK: &str = "/run/flytrap-demo.lock";
const PINS: &str = "/sys/fs/bpf/flytrap";

/// A local demo of FlyTrap: broker, gateway with XDP, and a namespace for clients
#[derive(Parser)]
struct Arguments {
    /// Play the story with real clients, check each step, exit 0 or 1
    #[arg(long)]
    drill: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let interrupted = Interrupted::watch()?;
    let _lock = lock()?;
    clean_up_after_a_killed_run()?;
    if Path::new(PINS).exists() {
        bail!("{PINS} exists: another gateway runs on this machine, or its bans are to outlive it");
    }
    // Dropped last, after all that uses it.
    let _files = Files::create()?;
    let net = Net::here(NAMESPACE, INTERFACE)?;
    let world = World::in_directory(net, Path::new(DIRECTORY), |setup, broker, _| {
        configure(setup, broker, arguments.drill);
    })?;
    if arguments.drill {
        return drill::play(&world, &mut stdout(), || interrupted.now());
    }
    explain(&world)?;
    interrupted.wait();
    println!("\nstopping");
    Ok(true)
}

fn configure(setup: &mut Setup, broker: &Broker, drill: bool) {
    setup.set("xdp.pin_dir", PINS);
    if !drill {
        // The tap in between is for the drill's checks.
        setup.set("upstream.address", broker.address.to_string());
    }
    let mut rule = Table::new();
    rule.insert("offence".to_owned(), "auth-failed".into());
    rule.insert("more_than".to_owned(), 5.into());
    rule.insert("consecutive".to_owned(), true.into());
    rule.insert("ban".to_owned(), drill::BAN.into());
    rule.insert("ban_max".to_owned(), drill::BAN.into());
    setup.set("defence.rule", vec![toml::Value::from(rule)]);
}

/// What to type next.
fn explain(world: &World) -> Result<()> {
    let setup = &world.gateway.setup;
    let flytrap = binary()?;
    let mosquitto = |name: &str, login: &Login| -> Result<String> {
        // Options in files that only root reads: a command line can be read by everybody.
        let directory = Path::new(DIRECTORY).join(name);
        std::fs::create_dir(&directory)?;
        let options = [
            format!("-h {}", setup.tls.ip()),
            format!("-p {}", setup.tls.port()),
            format!("--cafile {}", setup.pki.ca.display()),
            format!("-i {}", login.client_id),
            format!("-u {}", login.user),
            format!("-P {}\n", login.password),
        ]
        .join("\n");
        for program in ["mosquitto_pub", "mosquitto_sub"] {
            write_secret(&directory.join(program), &options)?;
        }
        Ok(format!(
            "XDG_CONFIG_HOME={} ip netns exec {NAMESPACE}",
            directory.display()
        ))
    };
    let login = world.login(&world.people.dashboard, "dashboard-1")?;
    let dashboard = mosquitto("dashboard", &login)?;
    let login = world.login(&world.people.sensor, "sensor-1")?;
    let sensor = mosquitto("sensor", &login)?;
    let forger = mosquitto("forger", &login.forged())?;
    println!(
        "
FlyTrap runs.

  clients   in the network namespace {NAMESPACE}
  gateway   {tls_at} (TLS), {plain_at} (plain: danger_tokens_readable_on_the_wire is set)
  broker    {broker} (mosquitto)
  XDP       native, on {INTERFACE}; maps in {PINS}
  files     {DIRECTORY}: flytrap.toml, ledger.toml, flytrap.log, wallets/

Type in other terminals, as root:

  # the dashboard may subscribe in plant/line1
  {dashboard} mosquitto_sub -t 'plant/line1/#' -v

  # the sensor may publish there: this one arrives
  {sensor} mosquitto_pub -t plant/line1/temperature -m 21.5

  # and not in plant/line2: this one is denied, and never reaches the broker
  {sensor} mosquitto_pub -V 5 -q 1 -t plant/line2/valve -m open

  # six logins with a forged token from one address: XDP drops its packets for {ban}
  for n in 1 2 3 4 5 6; do {forger} mosquitto_pub -A {attacker} -t t -m m; done
  {forger} timeout 3 mosquitto_pub -A {attacker} -t t -m m; echo $?  # 124: no answer
  bpftool map dump pinned {PINS}/ft_ban4
  {flytrap} ban list --socket {socket}
  {flytrap} ban lift {attacker} --socket {socket}
  {flytrap} status --socket {socket}

Ctrl-C stops it and leaves nothing behind.",
        tls_at = setup.tls,
        plain_at = setup.plain,
        broker = world.broker.address,
        ban = drill::BAN,
        attacker = world.net.device(1),
        flytrap = flytrap.display(),
        socket = setup.socket().display(),
    );
    Ok(())
}

/// One demo at a time: the lock goes with the process, however it ends.
fn lock() -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(LOCK)
        .with_context(|| format!("cannot open {LOCK}: the demo needs root"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("a demo or drill runs already; it holds {LOCK}");
    }
    Ok(file)
}

/// The demo's files, which are also the mark that a demo was here.
struct Files;

impl Files {
    fn create() -> Result<Self> {
        std::fs::create_dir(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
        Ok(Self)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(DIRECTORY);
        // Still locked: whoever comes next makes a new one.
        let _ = std::fs::remove_file(LOCK);
    }
}

/// The lock is ours and the mark is there, so a demo was killed. Its processes died with it;
/// namespace, link, pins and files are removed here.
fn clean_up_after_a_killed_run() -> Result<()> {
    if !Path::new(DIRECTORY).exists() {
        return Ok(());
    }
    println!("cleaning up after a demo that was killed");
    if Path::new("/sys/class/net").join(INTERFACE).exists() {
        must(Command::new("ip").args(["link", "delete", INTERFACE]))?;
    }
    if Path::new("/run/netns").join(NAMESPACE).exists() {
        must(Command::new("ip").args(["netns", "delete", NAMESPACE]))?;
    }
    if PathBuf::from(PINS).exists() {
        std::fs::remove_dir_all(PINS)?;
    }
    std::fs::remove_dir_all(DIRECTORY)?;
    Ok(())
}

/// SIGINT or SIGTERM came.
struct Interrupted {
    flag: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Interrupted {
    fn watch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let flag = Arc::new(AtomicBool::new(false));
        let raised = Arc::clone(&flag);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                }
            });
            raised.store(true, Ordering::Release);
        });
        Ok(Self { flag, thread })
    }

    fn now(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    fn wait(self) {
        let _ = stdout().flush();
        let _ = self.thread.join();
    }
}
