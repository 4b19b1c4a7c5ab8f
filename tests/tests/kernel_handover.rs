//! While one program takes the place of another, in the same mode or in another one, no packet is
//! let in that neither has judged.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aya::programs::links::PinnedLink;
use flytrap::kernel::{Mode, detach};
use flytrap_tests::lab::veth::{
    FOREVER, GATEWAY, HOUR, Lab, attached, ban, dropped, enter, eventually, started,
};

/// Raises its flag when it goes, also by a panic, so that no thread waits for ever.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// 20 datagrams of a banned source and one of an honest one, and again, until told to stop; then
/// honest ones until somebody listened. How many of the banned source's were sent.
fn flood(lab: &Lab, to: SocketAddr, stop: &AtomicBool, listened: &AtomicBool) -> u64 {
    enter(&lab.devices);
    let banned = UdpSocket::bind("198.51.100.7:0").unwrap();
    let honest = UdpSocket::bind("198.51.100.8:0").unwrap();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            sent += u64::from(banned.send_to(b"banned", to).is_ok());
        }
        honest.send_to(b"honest", to).unwrap();
        // Without a rest it starves the kernel's own threads, and with them every other test.
        std::thread::sleep(Duration::from_millis(1));
    }
    while !listened.load(Ordering::Relaxed) {
        honest.send_to(b"honest", to).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// Starts a plane in each of these modes, one after the other, under a flood of a banned source:
/// none of its packets comes through.
fn no_packet_goes_unjudged(modes: impl Iterator<Item = Mode>) {
    let lab = Lab::create();
    let first = lab.start(&["gw0"]);
    let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
    let to = socket.local_addr().unwrap();
    // Neighbours know each other, so that from here on all packets are datagrams.
    assert!(lab.connects("198.51.100.7", GATEWAY, FOREVER));
    ban(&first, "198.51.100.7", HOUR);
    drop(first);

    let (stop, listened) = (AtomicBool::new(false), AtomicBool::new(false));
    let honest = AtomicU64::new(0);
    let (sent, dropped) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| flood(&lab, to, &stop, &listened));
        let socket_reader = scope.spawn(|| {
            let _done = Raised(&listened);
            let mut unjudged = 0_u64;
            let mut buffer = [0; 16];
            // A busy machine takes its time to change a program, and then lets nobody in meanwhile.
            let brief = Duration::from_millis(100);
            socket.set_read_timeout(Some(brief)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, _)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                match &buffer[..length] {
                    b"honest" => drop(honest.fetch_add(1, Ordering::Relaxed)),
                    _ => unjudged += 1,
                }
            }
            unjudged
        });
        let stopped = Raised(&stop);
        let mut programs = HashSet::new();
        let mut before = 0;
        for mode in modes {
            let mut settings = lab.settings(&["gw0"]);
            settings.mode = mode;
            let plane = started(settings);
            let id = plane.status().program_id;
            let shown = if mode == Mode::Native { 1 } else { 2 };
            assert_eq!(attached("gw0"), Some((shown, id.into())));
            assert!(programs.insert(id));
            // Each of them drops, and none starts to count anew.
            let start = dropped(&plane);
            assert!(start >= before);
            eventually(|| dropped(&plane) > start);
            before = dropped(&plane);
            // And each lets in whom it should.
            let passed = honest.load(Ordering::Relaxed);
            eventually(|| honest.load(Ordering::Relaxed) > passed);
        }
        drop(stopped);
        let sent = sender.join().unwrap();
        assert_eq!(socket_reader.join().unwrap(), 0, "unjudged");
        (sent, before)
    });
    assert!(dropped > 0 && dropped <= sent, "{dropped} of {sent}");
    // Whatever is still queued was honest, too.
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 16];
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        assert_eq!(&buffer[..length], b"honest");
    }
    // And nothing is left that would keep packets out.
    assert!(lab.connects("198.51.100.8", GATEWAY, FOREVER));
}

/// As `bpftool link` may, or an agent that watches.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn somebody_who_holds_the_link_open_keeps_no_mode() {
    let lab = Lab::create();
    drop(lab.start(&["gw0"]));
    let held = PinnedLink::from_pin(lab.pin_dir.join("link_gw0")).unwrap();
    for (mode, shown) in [(Mode::Generic, 2), (Mode::Native, 1)] {
        let mut settings = lab.settings(&["gw0"]);
        settings.mode = mode;
        let plane = started(settings);
        let id = plane.status().program_id.into();
        assert_eq!(attached("gw0"), Some((shown, id)));
    }
    let again = PinnedLink::from_pin(lab.pin_dir.join("link_gw0")).unwrap();
    assert_eq!(detach(&lab.pin_dir, &[]).unwrap().interfaces, ["gw0"]);
    assert_eq!(attached("gw0"), None);
    drop((held, again));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn no_packet_goes_unjudged_while_programs_are_replaced() {
    no_packet_goes_unjudged([Mode::Native; 12].into_iter());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn no_packet_goes_unjudged_while_the_mode_is_changed() {
    no_packet_goes_unjudged([Mode::Generic, Mode::Native].into_iter().cycle().take(12));
}
