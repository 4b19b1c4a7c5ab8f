//! Links: how the program gets onto an interface, stays there without this process, and leaves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, Xdp, loaded_programs};
use flytrap_common::abi::PROGRAM;
use flytrap_common::link;
use rustix::io::Errno;

use super::closed::Closed;
use super::error::KernelError;
use super::loaded::xdp;
use super::preflight::{self, Interface};
use super::{AttachedMode, Mode, netlink};

const LINK_PIN: &str = "link_";
/// How the names of all maps begin.
const MAP_PIN: &str = "ft_";

/// Where the link of an interface is pinned. A BPF file system takes no dots, VLAN interfaces
/// have some.
pub(super) fn link_pin(pin_dir: &Path, interface: &str) -> PathBuf {
    let name = interface.replace('%', "%25").replace('.', "%2E");
    pin_dir.join(format!("{LINK_PIN}{name}"))
}

/// An attached program. The link is held open: the last of its holders detaches.
pub(super) struct Attachment {
    pub(super) interface: Interface,
    pub(super) mode: AttachedMode,
    /// Whether it ends with the plane. To begin with: FlyTrap had no program there before.
    pub(super) temporary: bool,
    pin: PathBuf,
    link: FdLink,
}

impl Attachment {
    /// Detaches, also where another process holds the link open; what fails changes nothing.
    pub(super) fn detach(self) -> Result<(), KernelError> {
        let program_id = self.link.info().map_or(0, |info| info.program_id());
        end(&self.pin)?;
        remove_pin(&self.pin)?;
        drop(self.link);
        detached(&self.interface, program_id)
    }
}

/// Refuses an interface that has a program which isn't FlyTrap's.
pub(super) fn check_free(pin_dir: &Path, interface: &Interface) -> Result<(), KernelError> {
    let Some(attached) = current(interface)? else {
        return Ok(());
    };
    if is_ours(pin_dir, interface) {
        return Ok(());
    }
    Err(taken(interface, attached.program_id))
}

/// Whether the interface has FlyTrap's link.
pub(super) fn is_ours(pin_dir: &Path, interface: &Interface) -> bool {
    pinned_link(&link_pin(pin_dir, &interface.name), interface).is_some()
}

/// Puts the program onto the interface: in place of FlyTrap's earlier one without a packet
/// unjudged, or onto a free interface. A pinned link that can't serve any more, because its
/// interface was made anew or the mode was changed, is replaced.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    pin_dir: &Path,
    interface: &Interface,
    mode: Mode,
) -> Result<Attachment, KernelError> {
    let pin = link_pin(pin_dir, &interface.name);
    let Some(link) = pinned_link(&pin, interface) else {
        remove_pin(&pin)?;
        return attach_new(xdp(ebpf, PROGRAM)?, interface, pin, mode);
    };
    let old = Attachment {
        interface: interface.clone(),
        mode: current(interface)?.map_or(AttachedMode::Other, |attached| attached.mode),
        temporary: false,
        pin,
        link,
    };
    if suits(mode, old.mode) {
        return update(xdp(ebpf, PROGRAM)?, old);
    }
    // An interface has one link at a time, and a link has one mode: for a moment there is none.
    let closed = Closed::close(ebpf, interface)
        .inspect_err(|error| {
            tracing::warn!(
                interface = interface.name,
                reason = reason(error),
                "for some milliseconds no packet is judged: closing the interface meanwhile \
                 failed, which takes Linux 6.6"
            );
        })
        .ok();
    let attachment = change_mode(xdp(ebpf, PROGRAM)?, old, mode);
    if let Some(closed) = closed {
        closed.open();
    }
    attachment
}

fn change_mode(program: &mut Xdp, old: Attachment, mode: Mode) -> Result<Attachment, KernelError> {
    let (interface, pin, old_mode) = (old.interface.clone(), old.pin.clone(), old.mode);
    old.detach()?;
    let attachment = attach_new(program, &interface, pin.clone(), mode)
        .inspect_err(|_| restore(program, &interface, pin, old_mode))?;
    Ok(Attachment {
        temporary: false,
        ..attachment
    })
}

/// After a mode change that failed: the interface stays guarded as it was, by the new program.
fn restore(program: &mut Xdp, interface: &Interface, pin: PathBuf, old: AttachedMode) {
    let mode = match old {
        AttachedMode::Native => Mode::Native,
        AttachedMode::Generic => Mode::Generic,
        AttachedMode::Other => Mode::Auto,
    };
    if let Err(error) = attach_new(program, interface, pin, mode) {
        tracing::error!(interface = interface.name, %error, "no packet is judged any more");
    }
}

fn update(program: &mut Xdp, old: Attachment) -> Result<Attachment, KernelError> {
    let interface = old.interface.name.clone();
    let refused = |reason| KernelError::Attach { interface, reason };
    let update = || {
        let link = XdpLink::try_from(old.link).map_err(|error| error.to_string())?;
        let link = program
            .attach_to_link(link)
            .and_then(|id| program.take_link(id))
            .map_err(|error| reason(&error))?;
        FdLink::try_from(link).map_err(|error| error.to_string())
    };
    let link = update().map_err(refused)?;
    Ok(Attachment { link, ..old })
}

fn attach_new(
    program: &mut Xdp,
    interface: &Interface,
    pin: PathBuf,
    mode: Mode,
) -> Result<Attachment, KernelError> {
    let (link, mode) = link_new(program, interface, mode)?;
    let link = link.pin(&pin).map_err(|error| KernelError::Attach {
        interface: interface.name.clone(),
        reason: format!("can't pin the link at {}: {error}", pin.display()),
    })?;
    Ok(Attachment {
        interface: interface.clone(),
        mode,
        temporary: true,
        pin,
        link: link.into(),
    })
}

fn link_new(
    program: &mut Xdp,
    interface: &Interface,
    mode: Mode,
) -> Result<(FdLink, AttachedMode), KernelError> {
    if let Some(attached) = current(interface)? {
        return Err(taken(interface, attached.program_id));
    }
    let tries: &[_] = match mode {
        Mode::Native => &[(XdpMode::Driver, AttachedMode::Native)],
        Mode::Generic => &[(XdpMode::Skb, AttachedMode::Generic)],
        Mode::Auto => &[
            (XdpMode::Driver, AttachedMode::Native),
            (XdpMode::Skb, AttachedMode::Generic),
        ],
    };
    let mut failure = None;
    for (flag, attached) in tries {
        match program.attach_to_if_index(interface.index, *flag) {
            Ok(id) => {
                let link = program
                    .take_link(id)
                    .map_err(|error| reason(&error))
                    // Without BPF links a killed gateway would take its bans along.
                    .and_then(|link| {
                        FdLink::try_from(link).map_err(|_| {
                            "this kernel has no BPF links for XDP: Linux 5.9 is needed".to_owned()
                        })
                    });
                return match link {
                    Ok(link) => Ok((link, *attached)),
                    Err(reason) => Err(KernelError::Attach {
                        interface: interface.name.clone(),
                        reason,
                    }),
                };
            }
            Err(error) => failure = Some(explain(interface, *attached, &error)),
        }
        if matches!(failure, Some(KernelError::InterfaceTaken { .. })) {
            break;
        }
    }
    Err(failure.unwrap_or_else(|| KernelError::Attach {
        interface: interface.name.clone(),
        reason: "no mode to try".to_owned(),
    }))
}

fn explain(interface: &Interface, tried: AttachedMode, error: &ProgramError) -> KernelError {
    match os_error(error) {
        Some(Errno::BUSY | Errno::EXIST) => {
            let id = current(interface).ok().flatten();
            taken(interface, id.map_or(0, |attached| attached.program_id))
        }
        Some(errno) if tried == AttachedMode::Native && errno != Errno::PERM => {
            KernelError::NativeUnsupported {
                interface: interface.name.clone(),
                source: errno.into(),
            }
        }
        _ => KernelError::Attach {
            interface: interface.name.clone(),
            reason: reason(error),
        },
    }
}

fn taken(interface: &Interface, program_id: u32) -> KernelError {
    KernelError::InterfaceTaken {
        interface: interface.name.clone(),
        program_id,
        program_name: program_name(program_id),
    }
}

/// Empty where it has none, or this process may not read it.
pub(super) fn program_name(id: u32) -> String {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn suits(wanted: Mode, is: AttachedMode) -> bool {
    match wanted {
        Mode::Native => is == AttachedMode::Native,
        Mode::Generic => is == AttachedMode::Generic,
        Mode::Auto => true,
    }
}

pub(super) fn current(interface: &Interface) -> Result<Option<netlink::Attached>, KernelError> {
    netlink::xdp(interface.index).map_err(KernelError::io(format!(
        "asking what XDP program {} has",
        interface.name
    )))
}

/// The link pinned there, if it is on this very interface.
fn pinned_link(pin: &Path, interface: &Interface) -> Option<FdLink> {
    let link = FdLink::from(PinnedLink::from_pin(pin).ok()?);
    let id = link.info().ok()?.id();
    (link_ifindex(id) == Some(interface.index)).then_some(link)
}

/// The interface of a link that this process holds open; 0 for one whose interface is gone. The
/// kernel tells it to the owner of the descriptor only.
fn link_ifindex(link_id: u32) -> Option<u32> {
    let field = |info: &str, name: &str| -> Option<u32> {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    fs::read_dir("/proc/self/fdinfo")
        .ok()?
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .find(|info| field(info, "link_id:") == Some(link_id))
        .and_then(|info| field(&info, "ifindex:"))
}

/// Removes the links of interfaces that are configured no more, and so detaches their programs.
pub(super) fn remove_stale(pin_dir: &Path, attached: &[Attachment]) -> Result<(), KernelError> {
    for pin in link_pins(pin_dir)? {
        if !attached.iter().any(|attachment| attachment.pin == pin) {
            remove_pin(&pin)?;
            tracing::info!(pin = %pin.display(), "detached from an interface that is not configured any more");
        }
    }
    Ok(())
}

/// The names of the interfaces that links are pinned for, also of those that are gone.
pub(super) fn pinned_interfaces(pin_dir: &Path) -> Result<Vec<String>, KernelError> {
    let name = |pin: PathBuf| {
        let name = pin.file_name()?.to_str()?.strip_prefix(LINK_PIN)?;
        Some(name.replace("%2E", ".").replace("%25", "%"))
    };
    Ok(link_pins(pin_dir)?.into_iter().filter_map(name).collect())
}

/// Ends the attachment that is pinned there, if one is.
fn end(pin: &Path) -> Result<(), KernelError> {
    match link::detach(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KernelError::io(format!(
            "detaching {}",
            pin.display()
        ))(error)),
        _ => Ok(()),
    }
}

/// Removes the link of an interface and waits until the kernel has detached its program.
pub(super) fn detach_pinned(pin_dir: &Path, name: &str) -> Result<(), KernelError> {
    let pin = link_pin(pin_dir, name);
    // One that is gone has no program either.
    let interface = preflight::interfaces(&[name.to_owned()]).ok();
    let interface = interface.and_then(|mut found| found.pop());
    let id = PinnedLink::from_pin(&pin)
        .ok()
        .and_then(|link| FdLink::from(link).info().ok())
        .map(|link| link.program_id());
    end(&pin)?;
    remove_pin(&pin)?;
    match (interface, id) {
        (Some(interface), Some(id)) => detached(&interface, id),
        _ => Ok(()),
    }
}

/// Removes what FlyTrap, of whatever version, has pinned there, and the directory if it is empty.
pub(super) fn remove_all_pins(pin_dir: &Path) -> Result<(), KernelError> {
    for pin in listed(pin_dir)? {
        let name = pin.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(LINK_PIN) || name.starts_with(MAP_PIN) {
            remove_pin(&pin)?;
        }
    }
    remove_empty(pin_dir);
    Ok(())
}

/// Pins that someone else put there keep the directory.
pub(super) fn remove_empty(pin_dir: &Path) {
    if let Err(error) = fs::remove_dir(pin_dir) {
        tracing::debug!(%error, path = %pin_dir.display(), "the pin directory stays");
    }
}

fn link_pins(pin_dir: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let mut pins = listed(pin_dir)?;
    pins.retain(|pin| {
        let name = pin.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(LINK_PIN)
    });
    Ok(pins)
}

fn listed(pin_dir: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let listing = || format!("listing {}", pin_dir.display());
    let mut pins = Vec::new();
    for entry in fs::read_dir(pin_dir).map_err(KernelError::io(listing()))? {
        pins.push(entry.map_err(KernelError::io(listing()))?.path());
    }
    pins.sort();
    Ok(pins)
}

pub(super) fn remove_pin(pin: &Path) -> Result<(), KernelError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KernelError::io(format!(
            "removing {}",
            pin.display()
        ))(error)),
        _ => Ok(()),
    }
}

/// The kernel drops a removed pin's hold on its link a little later; the program leaves then.
fn detached(interface: &Interface, program_id: u32) -> Result<(), KernelError> {
    let started = Instant::now();
    loop {
        match current(interface) {
            Ok(Some(attached)) if attached.program_id == program_id => {}
            // Free, or someone else's already, or the interface is gone.
            _ => return Ok(()),
        }
        if started.elapsed() > Duration::from_secs(10) {
            return Err(KernelError::Attach {
                interface: interface.name.clone(),
                reason: format!(
                    "program {program_id} is still attached though its link was removed: another \
                     process holds it open"
                ),
            });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn os_error(error: &ProgramError) -> Option<Errno> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(errno) = error
            .downcast_ref::<io::Error>()
            .and_then(Errno::from_io_error)
        {
            return Some(errno);
        }
        cause = error.source();
    }
    None
}

/// The whole chain of causes: aya's outermost one rarely says what the kernel answered.
fn reason(error: &ProgramError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_has_a_pin_of_its_own() {
        let back = tempfile::tempdir().unwrap();
        for name in ["eth0", "eth0%2E7", "eth0.7"] {
            fs::write(link_pin(back.path(), name), "").unwrap();
        }
        let mut names = pinned_interfaces(back.path()).unwrap();
        names.sort();
        assert_eq!(names, ["eth0", "eth0%2E7", "eth0.7"]);

        let pin = |name| link_pin(Path::new("/pins"), name);
        assert_eq!(pin("eth0"), Path::new("/pins/link_eth0"));
        assert_eq!(pin("eth0.7"), Path::new("/pins/link_eth0%2E7"));
        assert_eq!(pin("eth0%2E7"), Path::new("/pins/link_eth0%252E7"));
    }

    #[test]
    fn a_link_that_is_not_open_has_no_interface() {
        assert_eq!(link_ifindex(u32::MAX), None);
    }
}
