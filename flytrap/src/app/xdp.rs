//! The kernel program by hand: what `flytrap xdp` does without a gateway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::settings;
use super::start::kernel_exit;
use crate::api::{PacketTally, XdpInterface};
use crate::config::XdpMode;
use crate::failure::{Failure, exit};
use crate::kernel::{self, AttachedMode, KernelError, KernelPlane, Limit, Pinned, VerdictReason};
use crate::types::Prefix;

/// How long the shell's own SSH connection is exempt: long enough to see what was done, and to
/// put it into the configuration.
const EXEMPTION: Duration = Duration::from_hours(1);

/// What is pinned and attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedView {
    /// Where maps and links are pinned.
    pub pin_dir: PathBuf,
    /// The ABI version of the pinned maps; none without maps, or if they can't be read.
    pub abi_version: Option<u32>,
    /// The process that holds the pins: a running gateway.
    pub gateway_pid: Option<u32>,
    /// Every interface with an XDP program.
    pub programs: Vec<ProgramView>,
    /// Who is exempt for a time.
    pub exempt: Vec<ExemptView>,
    /// New connections to guarded ports that one IPv4 address or IPv6 /64 may open; none: any.
    pub source_limit: Option<LimitView>,
    /// The same for all together.
    pub total_limit: Option<LimitView>,
    /// SYN cookies; none without maps.
    pub syn_cookies: Option<CookieView>,
    /// What needs attention.
    pub warnings: Vec<String>,
}

/// Whether SYNs are answered with cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CookieView {
    /// Whether those over the total limit are, now.
    pub on: bool,
    /// Whether settings of the host are changed for that.
    pub settings_changed: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramView {
    /// The interface.
    pub interface: String,
    /// `native`, `generic` or `other`.
    pub mode: &'static str,
    /// The kernel's number of the program.
    pub program_id: u32,
    /// Its name; empty if it has none.
    pub program_name: String,
    /// Whether it is the one that is pinned here.
    pub ours: bool,
}

/// Who is exempt for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExemptView {
    /// Who.
    pub prefix: Prefix,
    /// For so many seconds still.
    pub seconds: u64,
}

/// How many may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LimitView {
    /// Each second, as the kernel has it: to the nearest whole number.
    pub rate: u64,
    /// At once.
    pub burst: u64,
}

/// The program was attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// Where.
    pub interfaces: Vec<XdpInterface>,
    /// Who is exempt for a time because this shell is connected from there.
    pub exempt: Option<ExemptView>,
}

/// The program was detached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detached {
    /// Where from.
    pub interfaces: Vec<String>,
    /// Settings of the host that a killed gateway had left changed.
    pub settings: Vec<SettingView>,
}

/// A setting of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SettingView {
    /// As `sysctl` names it.
    pub name: &'static str,
    /// Its value now.
    pub value: u8,
    /// Whether it is as before FlyTrap; else somebody changed it meanwhile, and it stays so.
    pub restored: bool,
}

/// What became of so many packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerdictCount {
    /// The verdict, and why.
    pub verdict: &'static str,
    /// How many.
    #[serde(flatten)]
    pub count: PacketTally,
}

/// The names of all reasons to drop.
pub fn drop_reasons() -> impl Iterator<Item = &'static str> {
    VerdictReason::ALL
        .into_iter()
        .filter(|outcome| outcome.is_drop())
        .map(VerdictReason::name)
}

/// Looks at pins and interfaces.
pub fn status(pin_dir: &Path) -> Result<PinnedView, Failure> {
    let pinned = kernel::look(pin_dir).map_err(|error| failed(&error))?;
    let syn_cookies = pinned.cookies.map(|cookies| CookieView {
        on: cookies.on,
        settings_changed: cookies.settings_changed,
    });
    let mut warnings: Vec<String> = pinned.unusable.iter().map(ToString::to_string).collect();
    warnings.extend(left_changed(&pinned));
    let exempt = pinned.exempt.into_iter().map(|(prefix, rest)| ExemptView {
        prefix,
        seconds: rest.as_secs(),
    });
    let programs = pinned.programs.into_iter().map(|program| ProgramView {
        interface: program.interface,
        mode: mode_name(program.mode),
        program_id: program.id,
        program_name: program.name,
        ours: program.ours,
    });
    Ok(PinnedView {
        pin_dir: pin_dir.to_owned(),
        abi_version: pinned.abi_version,
        gateway_pid: pinned.holder,
        programs: programs.collect(),
        exempt: exempt.collect(),
        source_limit: limit_view(pinned.limits.source),
        total_limit: limit_view(pinned.limits.total),
        syn_cookies,
        warnings,
    })
}

/// What a killed gateway left changed in the host's settings.
pub(super) fn left_changed(pinned: &Pinned) -> Option<String> {
    let changed = pinned.cookies.is_some_and(|one| one.settings_changed);
    (pinned.holder.is_none() && changed).then(|| {
        "settings of the host are still changed for SYN cookies: `flytrap xdp detach`, or the next \
         start, puts them back"
            .to_owned()
    })
}

fn limit_view(limit: Limit) -> Option<LimitView> {
    limit.is_set().then(|| LimitView {
        rate: limit.rate(),
        burst: limit.burst(),
    })
}

/// Attaches the program and leaves it attached.
pub fn attach(pin_dir: &Path, interfaces: Vec<String>, mode: XdpMode) -> Result<Attached, Failure> {
    // Reports are not read here, but their descriptors want a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| Failure::new(exit::FAIL, "the runtime can't be started").cause(error))?;
    let _entered = runtime.enter();
    let exempt = kernel::ssh_peer().map(|peer| (Prefix::of_source(peer), EXEMPTION));
    let mode = settings::xdp_mode(mode);
    let status = KernelPlane::attach_by_hand(pin_dir, interfaces, mode, exempt)
        .map_err(|error| failed(&error))?;
    let program_id = status.program_id;
    let interface = |interface: kernel::InterfaceStatus| XdpInterface {
        name: interface.name,
        mode: mode_name(interface.mode).to_owned(),
        program_id,
    };
    Ok(Attached {
        interfaces: status.interfaces.into_iter().map(interface).collect(),
        exempt: exempt.map(|(prefix, duration)| ExemptView {
            prefix,
            seconds: duration.as_secs(),
        }),
    })
}

/// Takes the program off these interfaces; with none off all, with maps and bans.
pub fn detach(pin_dir: &Path, interfaces: &[String]) -> Result<Detached, Failure> {
    let detached = kernel::detach(pin_dir, interfaces).map_err(|error| failed(&error))?;
    let setting = |back: kernel::SettingBack| SettingView {
        name: back.name,
        value: back.value,
        restored: back.restored,
    };
    Ok(Detached {
        interfaces: detached.interfaces,
        settings: detached.settings.into_iter().map(setting).collect(),
    })
}

/// What became of packets since the maps were made.
pub fn counters(pin_dir: &Path) -> Result<Vec<VerdictCount>, Failure> {
    let counters = kernel::pinned_counters(pin_dir).map_err(|error| failed(&error))?;
    let row = |(verdict, count): (VerdictReason, kernel::PacketCount)| VerdictCount {
        verdict: verdict.name(),
        count: PacketTally {
            packets: count.packets,
            bytes: count.bytes,
        },
    };
    Ok(counters.into_iter().map(row).collect())
}

pub(super) fn mode_name(mode: AttachedMode) -> &'static str {
    match mode {
        AttachedMode::Native => "native",
        AttachedMode::Generic => "generic",
        AttachedMode::Other => "other",
    }
}

fn failed(error: &KernelError) -> Failure {
    Failure::new(kernel_exit(error), error).help(error.help())
}
