//! The XDP program and its maps, from the embedded object into the kernel.

use std::fs;
use std::os::fd::OwnedFd;

use aya::maps::RingBuf;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use flytrap_common::abi::{ABI_VERSION, Config, MAP_EVENTS, MAPS, PROGRAM};

use super::cookies::CookieMap;
use super::error::KernelError;
use super::events::{Events, LOG_TARGET, ToTracing};
use super::geo::GeoMaps;
use super::plane::{KernelSettings, State, claim};
use super::tables::{Tables, take_map};
use crate::geo;

/// The compiled kernel program: an ELF object with [`PROGRAM`] and
/// [`flytrap_common::abi::EMPTY_PROGRAM`].
pub fn program() -> Result<&'static [u8], KernelError> {
    let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flytrap.bpf.o"));
    if object.is_empty() {
        Err(KernelError::NotBuilt)
    } else {
        Ok(object)
    }
}

/// The program and its maps in the kernel, attached to nothing yet.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) program_id: u32,
    pub(super) tables: Tables,
    pub(super) geo: GeoMaps,
    pub(super) cookies: CookieMap,
    pub(super) events: Events,
    /// Locks the pin directory.
    pub(super) ours: OwnedFd,
}

impl Loaded {
    /// What it makes, `state` knows how to take back.
    pub(super) fn new(
        object: &[u8],
        settings: &KernelSettings,
        (configure, countries): (bool, Option<(&geo::Tables, &geo::Policy)>),
        state: &mut State,
    ) -> Result<Self, KernelError> {
        let pin_dir = settings.pin_dir.as_path();
        state.directory = !pin_dir.exists();
        fs::create_dir_all(pin_dir)
            .map_err(KernelError::io(format!("making {}", pin_dir.display())))?;
        let ours = claim(pin_dir)?;
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            let pin = pin_dir.join(map);
            if !pin.exists() {
                state.pins.push(pin.clone());
            }
            loader.map_pin_path(map, pin);
        }
        let mut ebpf = loader.load(object).map_err(load_error)?;
        let mut tables = Tables::take(&mut ebpf)?;
        let mut geo = GeoMaps::take(&mut ebpf)?;
        if let Some((tables, policy)) = countries {
            // Before the configuration: it may switch them on in a program that is attached.
            geo.set(tables, policy)?;
        }
        let cookies = CookieMap::take(&mut ebpf)?;
        if configure {
            // Before the program runs: it samples by what it finds here.
            tables.configure(Config {
                abi_version: ABI_VERSION,
                event_sample: settings.event_sample,
                diagnostics: u32::from(
                    tracing::enabled!(target: LOG_TARGET, tracing::Level::DEBUG),
                ),
                flags: settings.flags(),
            })?;
            tables.guard(&settings.guarded_ports)?;
            tables.limit(settings.limits)?;
        }
        let drops: RingBuf<_> = take_map(&mut ebpf, MAP_EVENTS)?;
        let logger = EbpfLogger::init_with_logger(&mut ebpf, ToTracing).map_err(|error| {
            KernelError::io("opening the program's log")(std::io::Error::other(error))
        })?;
        let events = Events::new(drops, logger)
            .map_err(KernelError::io("waiting for the kernel's events"))?;
        let program = xdp(&mut ebpf, PROGRAM)?;
        load(program)?;
        let info = program.info().map_err(|error| load_error(error.into()))?;
        Ok(Self {
            program_id: info.id(),
            ebpf,
            tables,
            geo,
            cookies,
            events,
            ours,
        })
    }
}

/// The XDP program of this name in the object.
pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, KernelError> {
    let missing = || EbpfError::FileError {
        path: name.into(),
        error: std::io::Error::other("the embedded object has no such program"),
    };
    ebpf.program_mut(name)
        .ok_or_else(|| load_error(missing()))?
        .try_into()
        .map_err(|error: ProgramError| load_error(error.into()))
}

/// The kernel gives up with EAGAIN when a signal comes while it verifies; that says nothing about
/// the program.
fn load(program: &mut Xdp) -> Result<(), KernelError> {
    const ATTEMPTS: usize = 10;
    let mut result = program.load();
    for _ in 1..ATTEMPTS {
        match &result {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                result = program.load();
            }
            _ => break,
        }
    }
    result.map_err(|error| load_error(error.into()))
}

fn load_error(error: EbpfError) -> KernelError {
    KernelError::Load(Box::new(error))
}
