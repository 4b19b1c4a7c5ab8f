//! The plane: what is in force from attach to detach, and who may ask it for what.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flytrap_common::abi::{MAP_CONFIG, MAPS, flag};
use rustix::fs::{FlockOperation, Mode as FsMode, OFlags};
use rustix::io::Errno;

use super::attach::{self, Attachment};
use super::cookies::CookieMap;
use super::error::KernelError;
use super::events::Events;
use super::geo::GeoMaps;
use super::loaded::Loaded;
use super::tables::Tables;
use super::{
    ActiveBan, AllowedPrefix, AttachedMode, Blocklist, KernelBan, Limits, Mode, PacketCount,
    VerdictReason, loaded, preflight,
};
use crate::geo;
use crate::types::Prefix;

/// What to attach where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSettings {
    /// Interfaces of this network namespace, by name. With none the maps are made and no packet
    /// is judged.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub mode: Mode,
    /// Where maps and links are pinned: a directory of FlyTrap's own on a BPF file system.
    pub pin_dir: PathBuf,
    /// Whether the end of the gateway is the end of program and bans.
    pub detach_on_exit: bool,
    /// One in this many drops of a reason is reported, counted per CPU; 0 reports none but the
    /// first of every ban.
    pub event_sample: u32,
    /// The ports that are FlyTrap's own business.
    pub guarded_ports: Vec<u16>,
    /// Whether bans keep their targets from `guarded_ports` only, and not from the whole host.
    pub bans_on_guarded_ports: bool,
    /// Whether packets pass that hide their ports: tiny fragments and overlong header chains.
    pub pass_evasions: bool,
    /// Where countries are kept out; `None`: countries aren't looked up.
    pub countries: Option<CountryScope>,
    /// How many connections may be opened to `guarded_ports`.
    pub limits: Limits,
}

/// What a country's packets are kept from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountryScope {
    /// The whole host.
    #[default]
    Host,
    /// The guarded ports.
    GuardedPorts,
}

impl KernelSettings {
    pub(super) fn flags(&self) -> u32 {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        flag(self.bans_on_guarded_ports, flag::BANS_ON_GUARDED_PORTS)
            | flag(self.pass_evasions, flag::PASS_EVASIONS)
            | flag(self.countries.is_some(), flag::COUNTRIES)
            | flag(
                self.countries == Some(CountryScope::GuardedPorts),
                flag::COUNTRIES_ON_GUARDED_PORTS,
            )
    }
}

/// What is in force, asked of the kernel at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelStatus {
    /// The program's id, as in `bpftool prog`.
    pub program_id: u32,
    /// The configured interfaces.
    pub interfaces: Vec<InterfaceStatus>,
}

/// An interface and whether packets are judged on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name when it was attached.
    pub name: String,
    /// Its number, as reports of drops name it.
    pub index: u32,
    /// How it was attached.
    pub mode: AttachedMode,
    /// Whether it has FlyTrap's program now.
    pub attached: bool,
}

/// FlyTrap's program, attached.
pub struct KernelPlane {
    settings: KernelSettings,
    program_id: u32,
    tables: Mutex<Tables>,
    pub(super) geo: Mutex<GeoMaps>,
    pub(super) cookies: Mutex<CookieMap>,
    state: Mutex<State>,
    /// Held, so that no other gateway takes over the pins while this one runs.
    _ours: OwnedFd,
}

impl KernelPlane {
    /// Loads the program and attaches it to every interface, or changes nothing and says why.
    ///
    /// Pins of an earlier start are taken over: bans and counters stay, and where its program is
    /// still attached this one takes its place between two packets. Until [`keep`](Self::keep) is
    /// called, dropping the plane takes back what the start made.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO enabled.
    pub fn start(settings: KernelSettings) -> Result<(Self, Events), KernelError> {
        Self::put_in_force(settings, true, None)
    }

    /// The same, and no packet is judged without these countries.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with_countries(
        settings: KernelSettings,
        tables: &geo::Tables,
        policy: &geo::Policy,
    ) -> Result<(Self, Events), KernelError> {
        Self::put_in_force(settings, true, Some((tables, policy)))
    }

    /// Attaches the program and leaves it: what earlier pins hold stays, bans, settings and the
    /// links of other interfaces. `exempt` is allowlisted for a time.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn attach_by_hand(
        pin_dir: &Path,
        interfaces: Vec<String>,
        mode: Mode,
        exempt: Option<(Prefix, Duration)>,
    ) -> Result<KernelStatus, KernelError> {
        let configure = !pin_dir.join(MAP_CONFIG).exists();
        let settings = KernelSettings {
            interfaces,
            mode,
            pin_dir: pin_dir.to_owned(),
            detach_on_exit: false,
            event_sample: 0,
            guarded_ports: Vec::new(),
            bans_on_guarded_ports: false,
            pass_evasions: false,
            countries: None,
            limits: Limits::NONE,
        };
        let (plane, _unread) = Self::put_in_force(settings, configure, None)?;
        if let Some((prefix, duration)) = exempt {
            plane.allow_for(prefix, duration)?;
        }
        plane.keep_beside();
        Ok(plane.status())
    }

    /// With `configure`, what the program is to do becomes what `settings` say.
    fn put_in_force(
        settings: KernelSettings,
        configure: bool,
        countries: Option<(&geo::Tables, &geo::Policy)>,
    ) -> Result<(Self, Events), KernelError> {
        let object = loaded::program()?;
        preflight::privileged()?;
        preflight::has_btf()?;
        let interfaces = preflight::interfaces(&settings.interfaces)?;
        let pin_dir = settings.pin_dir.as_path();
        preflight::bpffs(pin_dir)?;
        preflight::same_abi(pin_dir)?;
        for interface in &interfaces {
            attach::check_free(pin_dir, interface)?;
        }

        let mut state = State::default();
        let result = Loaded::new(object, &settings, (configure, countries), &mut state).and_then(
            |mut loaded| {
                for interface in &interfaces {
                    let ebpf = &mut loaded.ebpf;
                    let attachment = attach::attach(ebpf, pin_dir, interface, settings.mode)?;
                    state.attachments.push(attachment);
                }
                Ok(loaded)
            },
        );
        match result {
            Ok(loaded) => {
                let plane = Self {
                    program_id: loaded.program_id,
                    tables: Mutex::new(loaded.tables),
                    geo: Mutex::new(loaded.geo),
                    cookies: Mutex::new(loaded.cookies),
                    state: Mutex::new(state),
                    _ours: loaded.ours,
                    settings,
                };
                Ok((plane, loaded.events))
            }
            Err(error) => {
                if let Err(error) = state.take_back(pin_dir) {
                    tracing::error!(%error, "a failed start could not be undone completely");
                }
                Err(error)
            }
        }
    }

    /// Makes the start final, once nothing else can fail: the links of interfaces that are
    /// configured no more are removed, and from now on `detach_on_exit` says what the end leaves.
    pub fn keep(&self) -> Result<(), KernelError> {
        let state = lock(&self.state);
        attach::remove_stale(&self.settings.pin_dir, &state.attachments)?;
        drop(state);
        self.keep_beside();
        Ok(())
    }

    /// The same, but links of interfaces that are not configured stay.
    fn keep_beside(&self) {
        let mut state = lock(&self.state);
        let detach = self.settings.detach_on_exit;
        for attachment in &mut state.attachments {
            attachment.temporary = detach;
        }
        state.directory = detach;
        let maps: &[&str] = if detach { &MAPS } else { &[] };
        let pin = |map| self.settings.pin_dir.join(map);
        state.pins = maps.iter().map(pin).collect();
    }

    /// What is in force now.
    pub fn status(&self) -> KernelStatus {
        let interface = |attachment: &Attachment| InterfaceStatus {
            name: attachment.interface.name.clone(),
            index: attachment.interface.index,
            mode: attachment.mode,
            attached: attach::current(&attachment.interface)
                .ok()
                .flatten()
                .is_some_and(|attached| attached.program_id == self.program_id),
        };
        KernelStatus {
            program_id: self.program_id,
            interfaces: lock(&self.state)
                .attachments
                .iter()
                .map(interface)
                .collect(),
        }
    }

    /// What became of packets since the program was first attached, in the order of
    /// [`VerdictReason::ALL`].
    pub fn counters(&self) -> Result<Vec<(VerdictReason, PacketCount)>, KernelError> {
        lock(&self.tables).counters()
    }

    /// Exempts `prefix` from every drop for `duration` at least, besides the allowlist that was
    /// set. Outlives a restart; an address that is exempt for ever stays so.
    pub fn allow_for(&self, prefix: Prefix, duration: Duration) -> Result<(), KernelError> {
        lock(&self.tables).allowlist.allow_for(prefix, duration)
    }

    /// What is exempt now, by prefix.
    pub fn allowlist(&self) -> Result<Vec<AllowedPrefix>, KernelError> {
        lock(&self.tables).allowlist.list()
    }

    /// Ends this process's part. After [`keep`](Self::keep): with `detach_on_exit` the program is
    /// off every interface and all pins are gone when it returns, else everything stays in force.
    /// Before it: what the start made is gone, what it found stays. Does nothing the second time.
    /// SYN cookies end in any case, and the host's settings are as before.
    /// Dropping closes too, but can only log an error.
    pub fn close(&self) -> Result<(), KernelError> {
        // While the pins are there: what couldn't be put back is noted in one of them.
        let settings = lock(&self.cookies).close();
        let state = std::mem::take(&mut *lock(&self.state));
        settings.and(state.take_back(&self.settings.pin_dir))
    }
}

impl Drop for KernelPlane {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the kernel program could not be detached");
        }
    }
}

impl std::fmt::Debug for KernelPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelPlane")
            .field("settings", &self.settings)
            .field("program_id", &self.program_id)
            .finish_non_exhaustive()
    }
}

impl Blocklist for KernelPlane {
    fn ban(&self, ban: &KernelBan) -> Result<(), KernelError> {
        lock(&self.tables).bans.ban(ban)
    }

    fn ban_all(&self, bans: &[KernelBan]) -> Vec<(usize, KernelError)> {
        lock(&self.tables).bans.ban_all(bans)
    }

    fn lift(&self, target: Prefix) -> Result<bool, KernelError> {
        lock(&self.tables).bans.lift(target)
    }

    fn bans(&self) -> Result<Vec<ActiveBan>, KernelError> {
        let maps = lock(&self.tables).bans.maps().reopened()?;
        maps.list()
    }

    fn set_allowlist(&self, prefixes: &[Prefix]) -> Result<(), KernelError> {
        lock(&self.tables).allowlist.set(prefixes)
    }
}

/// What is attached, and what goes when the plane ends: at first what the start made, so that a
/// failed one leaves what was there; from [`KernelPlane::keep`] on, everything or nothing.
#[derive(Default)]
pub(super) struct State {
    attachments: Vec<Attachment>,
    /// Pins that go.
    pub(super) pins: Vec<PathBuf>,
    /// Whether the pin directory goes, if it is empty.
    pub(super) directory: bool,
}

impl State {
    /// All of it, whatever becomes of one. The first error.
    fn take_back(self, pin_dir: &Path) -> Result<(), KernelError> {
        let mut result = Ok(());
        for attachment in self.attachments {
            if attachment.temporary {
                result = result.and(attachment.detach());
            }
        }
        for pin in &self.pins {
            result = result.and(attach::remove_pin(pin));
        }
        if self.directory {
            attach::remove_empty(pin_dir);
        }
        result
    }
}

/// Locks the directory until the descriptor is closed, at the latest with the process.
pub(super) fn claim(pin_dir: &Path) -> Result<OwnedFd, KernelError> {
    let doing = || format!("locking {}", pin_dir.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(pin_dir, flags, FsMode::empty()).map_err(KernelError::io(doing()))?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(Errno::WOULDBLOCK) => Err(KernelError::InUse {
            dir: pin_dir.to_owned(),
        }),
        Err(error) => Err(KernelError::io(doing())(error)),
    }
}

/// The maps are whole after every system call, so a panic elsewhere spoils nothing here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
