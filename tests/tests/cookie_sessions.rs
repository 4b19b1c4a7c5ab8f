//! MQTT sessions through SYN cookies: a real gateway, a real broker, and a flood on a real
//! interface.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader};
use flytrap::kernel::program;
use flytrap_common::abi::EMPTY_PROGRAM;
use flytrap_common::cookie::{checksum, sum};
use flytrap_tests::lab::gateway::binary;
use flytrap_tests::lab::netns::{Net, Place};
use flytrap_tests::lab::packet::Version;
use flytrap_tests::lab::process::{Finished, must};
use flytrap_tests::lab::raw::{Raw, dial};
use flytrap_tests::lab::story::World;
use flytrap_tests::lab::{PATIENCE, wait_for};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use serde_json::Value;

/// SYNs of one burst: with one allowed each second, nearly all are over the limit.
const BURST: u8 = 20;

/// The world, and the program that a veth's other end needs to take what is sent back.
struct Flooded {
    world: World,
    _peer: Ebpf,
}

impl Flooded {
    fn new() -> Self {
        Self::in_mode("native")
    }

    fn in_mode(mode: &str) -> Self {
        let net = Net::isolated().unwrap();
        // Each side scales its window in another way.
        for (place, largest) in [(&net.gateway, 16_777_216), (&net.devices, 8_388_608)] {
            let buffers = format!("net.ipv4.tcp_rmem=4096 131072 {largest}");
            must(place.command("sysctl").args(["-qw", &buffers])).unwrap();
        }
        let world = World::new(net, |setup, _| {
            setup
                .set("xdp.mode", mode)
                .set("xdp.syn_cookies", true)
                .set("xdp.total_rate", 1)
                .set("xdp.total_burst", 1);
            let listeners = setup.config.get_mut("listener").unwrap();
            let ipv6 = format!(
                "bind = \"{}\"\ndanger_tokens_readable_on_the_wire = true",
                ipv6()
            );
            let ipv6: toml::Table = ipv6.parse().unwrap();
            listeners.as_array_mut().unwrap().push(ipv6.into());
        })
        .unwrap();
        let peer = world.net.devices.run(|| {
            let mut ebpf = EbpfLoader::new().load(program()?)?;
            let pass: &mut Xdp = ebpf.program_mut(EMPTY_PROGRAM).unwrap().try_into()?;
            pass.load()?;
            pass.attach("dev0", XdpMode::Driver)?;
            Ok(ebpf)
        });
        Self {
            world,
            _peer: peer.unwrap(),
        }
    }

    fn pins(&self) -> String {
        self.world.gateway.setup.pins().display().to_string()
    }

    /// `flytrap xdp …` on the gateway's pins.
    fn xdp(&self, arguments: &[&str]) -> Finished {
        let mut command = self
            .world
            .net
            .gateway
            .command(binary().unwrap().to_str().unwrap());
        command
            .arg("xdp")
            .args(arguments)
            .args(["--pin-dir", &self.pins()]);
        Finished::of(&mut command).unwrap()
    }

    fn json(&self, command: &str) -> Value {
        let finished = self.xdp(&[command, "-o", "json"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        serde_json::from_str(&finished.out).unwrap()
    }

    fn packets(&self, verdict: &str) -> u64 {
        let counters = self.json("counters");
        let rows = counters.as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row.get("verdict").unwrap() == verdict);
        row.unwrap().get("packets").unwrap().as_u64().unwrap()
    }

    /// How many SYNs were answered by the program.
    fn answered(&self) -> u64 {
        self.packets("answer_cookie")
    }

    /// SYNs from nobody to the plain listener, until the last of them has been judged.
    fn flood(&self) {
        let judged = || self.answered() + self.packets("drop_total_limit");
        let before = judged();
        let to = self.world.gateway.setup.plain;
        self.world.net.devices.run(|| flood(to)).unwrap();
        wait_for("the end of a flood", || {
            // One of them, or two on a slow machine, may be within the limit.
            Ok((judged() >= before + u64::from(BURST) / 2).then_some(()))
        })
        .unwrap();
    }

    /// Both ends of a connection have what they would have without a cookie.
    #[track_caller]
    fn check_options(&self, stream: &TcpStream, to: SocketAddr, mss: u16) {
        let net = &self.world.net;
        let own = stream.local_addr().unwrap().port();
        let here = socket_info(&net.gateway, to.port(), own);
        let there = socket_info(&net.devices, own, to.port());
        let sizes = [format!("mss:{mss}"), format!("advmss:{mss}")];
        for (side, scale) in [(&here, "wscale:8,9"), (&there, "wscale:9,8")] {
            for expected in ["ts", "sack", scale, &sizes[0], &sizes[1]] {
                let found = side.iter().any(|word| word == expected);
                assert!(found, "{expected}: {here:?} {there:?}");
            }
        }
    }

    /// A connection whose SYN was answered by the program.
    fn dial(&self, from: IpAddr, to: SocketAddr) -> TcpStream {
        let devices = &self.world.net.devices;
        wait_for("a connection through a cookie", || {
            self.flood();
            let before = self.answered();
            let known = tcp_counter(&self.world.net.gateway, "SyncookiesRecv");
            let stream = dial(devices, Some(from), to, PATIENCE)?;
            // Nobody else opens one now; on a slow machine it may have been within the limit.
            let answered = self.answered() > before;
            if answered {
                let known_now = tcp_counter(&self.world.net.gateway, "SyncookiesRecv");
                assert!(known_now > known);
            }
            Ok(answered.then_some(stream))
        })
        .unwrap()
    }
}

/// A listener beside the laboratory's two.
fn ipv6() -> SocketAddr {
    SocketAddr::new(Net::GATEWAY[1], 1883)
}

/// A burst of SYNs from addresses that nobody has.
fn flood(to: SocketAddr) -> Result<()> {
    let IpAddr::V4(destination) = to.ip() else {
        return Ok(());
    };
    let raw: OwnedFd = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
    for last in 0..BURST {
        let source = Ipv4Addr::new(198, 51, 100, 200 + last);
        let mut segment = vec![0x9c, 0x40];
        segment.extend(to.port().to_be_bytes());
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]);
        let addresses = sum(&source.octets()) + sum(&destination.octets());
        let sum = checksum(addresses + 6 + 20 + sum(&segment));
        segment.splice(16..18, sum);
        // The kernel fills in the header's checksum.
        let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(segment);
        sendto(
            &raw,
            &packet,
            SendFlags::empty(),
            &SocketAddr::new(to.ip(), 0),
        )?;
    }
    Ok(())
}

fn setting(place: &Place, name: &str) -> String {
    let value = must(place.command("sysctl").args(["-n", name])).unwrap();
    value.trim().to_owned()
}

fn settings(place: &Place) -> [String; 2] {
    ["net.ipv4.tcp_syncookies", "net.ipv4.tcp_timestamps"].map(|name| setting(place, name))
}

/// A counter of the kernel, of the line pair that begins with `TcpExt`.
fn tcp_counter(place: &Place, name: &str) -> u64 {
    let text = place
        .run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?))
        .unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let names = lines.next().unwrap().split(' ');
    let values = lines.next().unwrap().split(' ');
    let value = names.zip(values).find(|(one, _)| *one == name).unwrap().1;
    value.parse().unwrap()
}

/// What `ss` says of the connection between these ports, seen from one side.
fn socket_info(place: &Place, local: u16, peer: u16) -> Vec<String> {
    let filter = format!("sport = :{local} and dport = :{peer}");
    let shown = must(place.command("ss").args(["-Htino", &filter])).unwrap();
    shown.split_whitespace().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn sessions_work_through_cookies_while_connections_are_flooded() {
    let flooded = Flooded::new();
    let world = &flooded.world;
    let gateway = &world.net.gateway;
    assert_eq!(settings(gateway), ["2", "2"]);
    assert_eq!(
        flooded.json("status").pointer("/syn_cookies/on").unwrap(),
        true
    );

    let plain = world.gateway.setup.plain;
    let stream = flooded.dial(world.net.device(0), plain);
    flooded.check_options(&stream, plain, 1_448);
    let v6 = flooded.dial(Net::DEVICES_V6[0], ipv6());
    flooded.check_options(&v6, ipv6(), 1_428);

    // A subscriber, through the listener that no SYN of the flood was for, and a publisher.
    let tls = flooded.dial(world.net.device(1), world.gateway.setup.tls);
    let setup = &world.gateway.setup;
    let mut dashboard = Raw::tls(tls, Version::V5, &setup.pki.ca, "gw.example.org").unwrap();
    let login = world.login(&world.people.dashboard, "dashboard").unwrap();
    assert_eq!(dashboard.log_in(&login).unwrap(), 0);
    assert_eq!(dashboard.subscribe(&[("plant/line1/#", 1)]).unwrap(), [1]);
    let mut sensor = Raw::plain(stream, Version::V5);
    let login = world.login(&world.people.sensor, "sensor").unwrap();
    assert_eq!(sensor.log_in(&login).unwrap(), 0);
    let mut technician = Raw::plain(v6, Version::V311);
    let login = world.login(&world.people.technician, "technician").unwrap();
    assert_eq!(technician.log_in(&login).unwrap(), 0);
    // More than an unscaled window holds.
    let payload = vec![b'x'; 500_000];
    assert_eq!(
        sensor.publish("plant/line1/picture", &payload, 1).unwrap(),
        0
    );
    let (_, topic, received) = dashboard.receive().unwrap();
    assert_eq!(topic, "plant/line1/picture");
    assert!(received == payload);

    // Without a flood, connections are the listener's own.
    wait_for("a connection without a cookie", || {
        let before = flooded.answered();
        world.session(&world.people.technician, "technician", Version::V5)?;
        let answered = flooded.answered() > before;
        std::thread::sleep(Duration::from_millis(1_100));
        Ok((!answered).then_some(()))
    })
    .unwrap();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn sessions_work_through_cookies_in_generic_mode() {
    let flooded = Flooded::in_mode("generic");
    let world = &flooded.world;
    for (from, to) in [
        (world.net.device(0), world.gateway.setup.plain),
        (Net::DEVICES_V6[0], ipv6()),
    ] {
        let mut sensor = Raw::plain(flooded.dial(from, to), Version::V5);
        let login = world.login(&world.people.sensor, "sensor").unwrap();
        assert_eq!(sensor.log_in(&login).unwrap(), 0);
        assert_eq!(sensor.publish("plant/line1/x", b"21.5", 1).unwrap(), 0);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn after_a_kill_cookies_end_and_detaching_puts_the_settings_back() {
    let mut flooded = Flooded::new();
    let gateway = flooded.world.net.gateway.clone();
    wait_for("cookies", || {
        flooded.flood();
        Ok((flooded.answered() > 0).then_some(()))
    })
    .unwrap();
    flooded.world.gateway.kill().unwrap();
    wait_for("the end of cookies", || {
        let before = flooded.answered();
        let dropped = flooded.packets("drop_total_limit");
        flooded.flood();
        let ended = flooded.answered() == before;
        Ok((ended && flooded.packets("drop_total_limit") > dropped).then_some(()))
    })
    .unwrap();
    assert_eq!(settings(&gateway), ["2", "2"]);
    let status = flooded.xdp(&["status"]).out;
    assert!(status.contains("cookies  off"), "{status}");
    assert!(status.contains("still changed for SYN cookies"), "{status}");
    let detached = flooded.xdp(&["detach"]);
    assert_eq!(detached.code, Some(0), "{detached:?}");
    assert!(
        detached
            .out
            .contains("net.ipv4.tcp_syncookies is 1, as before"),
        "{detached:?}"
    );
    assert_eq!(settings(&gateway), ["1", "1"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_clean_stop_puts_back_what_a_killed_gateway_changed_and_nobody_else_did() {
    let mut flooded = Flooded::new();
    let gateway = flooded.world.net.gateway.clone();
    flooded.world.gateway.kill().unwrap();
    flooded.world.gateway.restart().unwrap();
    assert_eq!(settings(&gateway), ["2", "2"]);
    must(
        gateway
            .command("sysctl")
            .args(["-qw", "net.ipv4.tcp_timestamps=0"]),
    )
    .unwrap();
    wait_for("the mode to end", || {
        Ok((flooded.json("status").pointer("/syn_cookies/on").unwrap() == false).then_some(()))
    })
    .unwrap();
    assert!(
        flooded
            .world
            .gateway
            .log()
            .contains("net.ipv4.tcp_timestamps is 0 now")
    );
    let status = flooded.world.gateway.stop().unwrap();
    assert!(status.success());
    assert_eq!(settings(&gateway), ["1", "0"]);
    assert!(flooded.world.gateway.log().contains("left alone"));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn settings_that_cannot_be_written_fail_the_start() {
    let mut flooded = Flooded::new();
    let gateway = flooded.world.net.gateway.clone();
    flooded.world.gateway.stop().unwrap();
    let mut command = gateway.command("unshare");
    let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
                     exec \"$@\"";
    command.args(["--mount", "sh", "-c", read_only, "sh"]);
    command.arg(binary().unwrap());
    command.args(["run", "--config"]);
    command.arg(flooded.world.gateway.setup.file());
    let failed = Finished::of(&mut command).unwrap();
    assert_ne!(failed.code, Some(0));
    for words in [
        "error: the kernel program can't be put in force",
        "net.ipv4.tcp_syncookies can't be set to 2",
        "help: SYN cookies need it",
    ] {
        assert!(failed.err.contains(words), "{failed:?}");
    }
    assert_eq!(settings(&gateway), ["1", "1"]);
    assert!(!flooded.world.gateway.setup.pins().exists());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_start_without_cookies_puts_back_what_a_killed_one_changed() {
    let mut flooded = Flooded::new();
    let gateway = flooded.world.net.gateway.clone();
    flooded.world.gateway.kill().unwrap();
    assert_eq!(settings(&gateway), ["2", "2"]);
    flooded.world.gateway.setup.set("xdp.syn_cookies", false);
    flooded.world.gateway.restart().unwrap();
    assert_eq!(settings(&gateway), ["1", "1"]);
    flooded.flood();
    assert_eq!(flooded.answered(), 0);
}
