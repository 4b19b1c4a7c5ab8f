//! Receive CPU for each packet that a filter drops, end to end over veth pairs.
//!
//! Frames are injected as `xdp_frame`s: a sender with sockets would make XDP on veth pay for a
//! conversion that no network card needs. The receiving NAPI thread has a CPU of its own; its run
//! time, which counts no time that the machine took away, is divided by the packets that the
//! filter itself counted.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flytrap::kernel::VerdictReason;
use flytrap::types::Prefix;
use rustix::process::Pid;

use super::report::{Figure, Requirement, Table};
use super::rig::{SOURCES, ban, rig};
use super::spoofer::{Spoofer, packet};
use super::xdp_filter::XdpFilter;
use super::{RECEIVER_CPU, SENDER_CPU, pin_to};
use crate::lab::netns::{Namespace, Place};
use crate::lab::numbers::Numbers;
use crate::lab::process::must;
use crate::lab::rig::Rig;
use crate::lab::{directory, wait_for};

/// Bans in every filter.
const BANS: u32 = 1_000;
/// Frames sent in a round; what the receiver's ring has no room for is lost before the filter.
const FRAMES: u32 = 300_000;

/// What the figures must be.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        figure: "flood-flytrap",
        to: Some("flood-nft-ingress"),
        must: Some(0.5),
        aim: Some(0.4),
    },
    Requirement {
        figure: "flood-flytrap",
        to: Some("flood-nft-input"),
        must: Some(0.4),
        aim: Some(0.25),
    },
];

/// Who drops.
enum Filter {
    /// Nobody: the host finds no socket.
    None,
    FlyTrap(Box<Rig>),
    XdpFilter(XdpFilter),
    Nftables,
    Ipset,
}

/// A veth pair with a filter on its receiving end.
struct Lane {
    id: &'static str,
    what: &'static str,
    filter: Filter,
    place: Place,
    napi: Pid,
    sender: Place,
    injector: Spoofer,
    rounds: Vec<f64>,
    /// Removes links and namespaces; dropped last.
    _namespaces: [std::sync::Arc<Namespace>; 2],
}

const LANES: [(&str, &str); 6] = [
    ("flood-flytrap", "FlyTrap, native XDP"),
    ("flood-xdp-filter", "xdp-filter, native XDP"),
    ("flood-nft-ingress", "nftables, netdev ingress"),
    ("flood-nft-input", "nftables, input"),
    ("flood-ipset", "iptables and ipset, input"),
    ("flood-none", "no filter: no socket has the port"),
];

/// Measures; `object` is the benchmark's own programs.
pub fn measure(object: &Path, rounds: u32) -> Result<Table> {
    pin_to(SENDER_CPU, None)?;
    let mut lanes = Vec::new();
    let mut missing = Vec::new();
    for (number, (id, what)) in LANES.into_iter().enumerate() {
        match Lane::new(number, id, what, object).with_context(|| what.to_owned())? {
            Some(lane) => lanes.push(lane),
            None => missing.push(Figure::missing(id, what, "not installed")),
        }
    }
    for round in 0..=rounds {
        for lane in &mut lanes {
            let result = lane.round().with_context(|| lane.what.to_owned())?;
            if round > 0 {
                lane.rounds.push(result);
            }
        }
    }
    let figure = |lane: &Lane| Figure::of(lane.id, lane.what, &lane.rounds);
    Ok(Table {
        title: "Receive CPU for each dropped packet, end to end",
        unit: "ns",
        base: "flood-nft-ingress",
        figures: lanes.iter().map(figure).chain(missing).collect(),
    })
}

fn banned() -> impl Iterator<Item = Ipv4Addr> {
    (0..BANS).map(|number| Ipv4Addr::from_bits(0xc612_0000 + number * 7))
}

impl Lane {
    /// `None`: the filter is not installed.
    fn new(
        number: usize,
        id: &'static str,
        what: &'static str,
        object: &Path,
    ) -> Result<Option<Self>> {
        let tools: &[&str] = match id {
            "flood-nft-ingress" | "flood-nft-input" => &["nft"],
            "flood-ipset" => &["ipset", "iptables"],
            _ => &[],
        };
        if !tools.iter().all(|tool| installed(tool)) || !installed("ethtool") {
            return Ok(None);
        }
        let name = |side| format!("ftb{}-{number}{side}", std::process::id());
        let namespaces = [
            std::sync::Arc::new(Namespace::create(&name('s'))?),
            std::sync::Arc::new(Namespace::create(&name('r'))?),
        ];
        let [sender, receiver] = &namespaces;
        let (sender, place) = (Place::In(sender.clone()), Place::In(receiver.clone()));
        // Linux names the thread after the interface, so no two may have the same name.
        let link = format!("fr{}x{number}", std::process::id());
        let peer = format!("{link}p");
        shell(
            &sender,
            &format!(
                "ip link add {peer} numtxqueues 1 numrxqueues 1 type veth peer name {link} \
                 numtxqueues 1 numrxqueues 1 netns {}; ip link set {peer} up",
                name('r')
            ),
        )?;
        // GRO gives the receiver its NAPI also without an XDP program.
        shell(
            &place,
            &format!(
                "ip link set {link} address 02:00:00:00:00:01; ip address add 192.0.2.1/24 dev \
                 {link}; ip link set {link} up; ethtool -K {link} gro on"
            ),
        )?;
        let Some(filter) = Filter::new(id, &place, &link)? else {
            return Ok(None);
        };
        shell(
            &Place::Here,
            &format!(
                "ip netns exec {} sh -c 'echo 1 > /sys/class/net/{link}/threaded'",
                name('r')
            ),
        )?;
        let napi = wait_for("the NAPI thread", || napi_thread(&link))?;
        pin_to(RECEIVER_CPU, Some(napi))?;
        let index = shell(&sender, &format!("ip -o link show {peer}"))?;
        let index = index.split(':').next().context("no interface index")?;
        let addresses: Vec<IpAddr> = banned().map(IpAddr::from).collect();
        let spread = Numbers(9).take(SOURCES).filter_map(|number| {
            let index = usize::try_from(number >> 32).ok()? % addresses.len();
            addresses.get(index).copied()
        });
        let sources: Vec<IpAddr> = spread.collect();
        Ok(Some(Self {
            id,
            what,
            filter,
            place,
            napi,
            injector: Spoofer::onto(object, &sources, index.trim().parse()?)?,
            sender,
            rounds: Vec::new(),
            _namespaces: namespaces,
        }))
    }

    /// Nanoseconds of the receiving thread for each packet that the filter counted.
    fn round(&self) -> Result<f64> {
        let dropped = self.filter.dropped(&self.place)?;
        let ran = run_time(self.napi)?;
        let frame = packet(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)));
        self.sender.run(|| self.injector.send(&frame, FRAMES))?;
        let mut last = 0;
        let ran = wait_for("the receiver to come to rest", || {
            let now = run_time(self.napi)?;
            let rests = now == last;
            last = now;
            Ok(rests.then_some(now - ran))
        })?;
        let dropped = self.filter.dropped(&self.place)? - dropped;
        // A filter that isn't in force must not look cheap.
        ensure!(
            dropped > u64::from(FRAMES) / 100,
            "only {dropped} of {FRAMES} frames were dropped by it"
        );
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(ran as f64 / dropped as f64)
    }
}

impl Filter {
    fn new(id: &str, place: &Place, link: &str) -> Result<Option<Self>> {
        let list = |separator: &str| {
            banned()
                .map(|each| each.to_string())
                .collect::<Vec<_>>()
                .join(separator)
        };
        Ok(Some(match id {
            "flood-flytrap" => {
                let rig =
                    place.run(|| rig(|settings| settings.interfaces = vec![link.to_owned()]))?;
                ban(
                    &rig,
                    banned().map(|address| Prefix::covering(address.into(), 32)),
                )?;
                let id = rig.plane.status().program_id;
                attached(place, link, id)?;
                Self::FlyTrap(Box::new(rig))
            }
            "flood-xdp-filter" => {
                let addresses: Vec<Ipv4Addr> = banned().collect();
                let Some(mut filter) = XdpFilter::new(&addresses)? else {
                    return Ok(None);
                };
                let id = place.run(|| filter.attach(link))?;
                attached(place, link, id)?;
                Self::XdpFilter(filter)
            }
            "flood-nft-ingress" | "flood-nft-input" => {
                let (family, hook) = if id == "flood-nft-ingress" {
                    ("netdev", format!("ingress device {link}"))
                } else {
                    ("ip", "input".to_owned())
                };
                let rules = format!(
                    "table {family} bench {{ counter dropped {{ }}\n\
                     set bans {{ type ipv4_addr; elements = {{ {} }} }}\n\
                     chain bans {{ type filter hook {hook} priority 0; \
                     ip saddr @bans counter name dropped drop\n}}\n}}\n",
                    list(", ")
                );
                let files = directory()?;
                let file = files.path().join("rules");
                fs::write(&file, rules)?;
                shell(place, &format!("nft -f {}", file.display()))?;
                Self::Nftables
            }
            "flood-ipset" => {
                let files = directory()?;
                let file = files.path().join("bans");
                fs::write(
                    &file,
                    format!("create bans hash:ip\nadd bans {}\n", list("\nadd bans ")),
                )?;
                shell(
                    place,
                    &format!(
                        "ipset restore -f {}; iptables -I INPUT -m set --match-set bans src -j DROP",
                        file.display()
                    ),
                )?;
                Self::Ipset
            }
            _ => Self::None,
        }))
    }

    /// Packets that it dropped, by its own count.
    fn dropped(&self, place: &Place) -> Result<u64> {
        let text = match self {
            Self::FlyTrap(rig) => return rig.counted(VerdictReason::DropByHand),
            Self::XdpFilter(filter) => return filter.dropped(),
            // `packets 17 bytes 1088`
            Self::Nftables => shell(place, "nft list counters | grep -o 'packets [0-9]*'")?,
            Self::Ipset => shell(
                place,
                "iptables -nvxL INPUT | awk '/DROP.*bans/ { print \"packets\", $1 }'",
            )?,
            // The first number is received, the second had no port.
            Self::None => shell(
                place,
                "awk '/^Udp: [0-9]/ { print \"packets\", $3 }' /proc/net/snmp",
            )?,
        };
        let number = text.trim().strip_prefix("packets ");
        number
            .with_context(|| format!("no count in {text:?}"))?
            .parse()
            .context("a count")
    }
}

/// The interface has to have exactly this program: one that was refused looks like a fast filter.
fn attached(place: &Place, link: &str, id: u32) -> Result<()> {
    let shown = shell(place, &format!("ip -o -d link show {link}"))?;
    ensure!(
        shown.contains(&format!("prog/xdp id {id} ")),
        "program {id} is not attached: {shown}"
    );
    Ok(())
}

pub(super) fn installed(tool: &str) -> bool {
    ["/usr/sbin", "/sbin", "/usr/bin"]
        .iter()
        .any(|place| Path::new(place).join(tool).exists())
}

pub(super) fn shell(place: &Place, script: &str) -> Result<String> {
    let mut command: Command = place.command("sh");
    must(command.args(["-e", "-c", script]))
}

fn napi_thread(link: &str) -> Result<Option<Pid>> {
    Ok(napi_threads(link)?.first().copied())
}

/// The NAPI threads of all interfaces of this name, in whatever namespace.
pub(super) fn napi_threads(link: &str) -> Result<Vec<Pid>> {
    let prefix = format!("napi/{link}-");
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.starts_with(&prefix) {
            let id = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            threads.extend(id.and_then(Pid::from_raw));
        }
    }
    Ok(threads)
}

/// Nanoseconds that a thread has run.
fn run_time(thread: Pid) -> Result<u64> {
    let file = format!("/proc/{}/schedstat", thread.as_raw_nonzero());
    let text = fs::read_to_string(&file).with_context(|| file.clone())?;
    let first = text.split(' ').next().context("an empty schedstat")?;
    first.parse().with_context(|| file)
}
