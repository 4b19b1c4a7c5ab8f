//! The countries in force: read at the start, replaced by `geo update`, asked by `geo lookup`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use arc_swap::ArcSwap;
use flytrap_common::geo::CountryPolicy;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::api::{GeoAnswer, GeoLine, GeoPhase, GeoUpdated, GeoView, Problem};
use crate::config::{self, Config};
use crate::failure::{Failure, exit};
use crate::geo::{
    Country, CountryMap, Database, GeoError, Mode, Policy, Progress, Tables, Unknown,
};
use crate::kernel::{KernelError, KernelPlane};
use crate::metrics::Metrics;
use crate::types::UnixTime;

/// Addresses move between countries: databases are published twice a week to once a month.
const OLD: Duration = Duration::from_hours(90 * 24);

/// Whose packets are dropped for their country.
pub(super) struct Countries {
    /// As it is configured.
    database: PathBuf,
    /// The same without symbolic links: what an update replaces.
    file: PathBuf,
    policy: Policy,
    scope: config::Scope,
    in_force: ArcSwap<InForce>,
    /// Held during an update.
    updating: Arc<Mutex<()>>,
    metrics: Metrics,
}

/// The tables that the kernel has, and where they are from.
struct InForce {
    tables: Tables,
    kind: String,
    built: Option<UnixTime>,
    networks: u64,
    unlisted: u64,
}

impl InForce {
    fn new(map: &CountryMap) -> Result<Self, GeoError> {
        let built = map.built().filter(|built| *built > UNIX_EPOCH);
        Ok(Self {
            tables: Tables::build(map)?,
            kind: map.kind().to_owned(),
            built: built.and_then(|built| {
                let since = built.duration_since(UNIX_EPOCH).ok()?;
                Some(UnixTime(since.as_secs()))
            }),
            networks: map.networks(),
            unlisted: map.unknown_codes().values().sum(),
        })
    }
}

impl Countries {
    /// Reads the configured database, if there is one.
    pub(super) fn read(config: &Config, metrics: &Metrics) -> Result<Option<Self>, Failure> {
        let Some(database) = &config.geo.database else {
            return Ok(None);
        };
        let path = |source| GeoError::Read {
            path: database.clone(),
            source,
        };
        let read = fs::canonicalize(database).map_err(path).and_then(|file| {
            let map = Database::read(database, &mut |_| {})?;
            Ok((file, InForce::new(&map)?))
        });
        let (file, in_force) = read.map_err(|error| {
            Failure::new(exit::CONFIG, "the database of countries can't be used")
                .cause(&error)
                .help(error.help())
        })?;
        let countries = Self {
            database: database.clone(),
            file,
            policy: super::settings::countries(config),
            scope: config.geo.scope,
            in_force: ArcSwap::from_pointee(in_force),
            updating: Arc::default(),
            metrics: metrics.clone(),
        };
        countries.tell("countries read");
        Ok(Some(countries))
    }

    /// Hands tables and policy over, before the first packet is judged.
    pub(super) fn hand_over<T>(
        &self,
        take: impl FnOnce(&Tables, &Policy) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        take(&self.in_force.load().tables, &self.policy)
    }

    fn tell(&self, what: &str) {
        let now = self.in_force.load();
        tracing::info!(
            database = %self.database.display(), networks = now.networks, unlisted = now.unlisted,
            "{what}"
        );
        let built = now.built.map_or(0, |built| built.0);
        self.metrics
            .country_database_built(i64::try_from(built).unwrap_or(i64::MAX));
    }

    pub(super) fn view(&self) -> GeoView {
        let now = self.in_force.load();
        let countries = self.policy.countries.iter().map(ToString::to_string);
        let text = |text: &str| text.to_owned();
        GeoView {
            database: self.database.display().to_string(),
            kind: now.kind.clone(),
            built: now.built,
            networks: now.networks,
            unlisted: now.unlisted,
            mode: text(match self.policy.mode {
                Mode::Deny => "deny",
                Mode::Allow => "allow",
            }),
            countries: countries.collect(),
            unknown: text(match self.policy.unknown {
                Unknown::Pass => "pass",
                Unknown::Drop => "drop",
            }),
            scope: text(match self.scope {
                config::Scope::Host => "host",
                config::Scope::GuardedPorts => "guarded-ports",
            }),
        }
    }

    /// What needs attention.
    pub(super) fn warning(&self, now: UnixTime) -> Option<String> {
        let built = self.in_force.load().built?;
        let age = now.since(built);
        (age > OLD.as_secs()).then(|| {
            format!(
                "the country database is {} days old: `flytrap geo update` takes a newer one",
                age / (24 * 60 * 60)
            )
        })
    }

    pub(super) fn lookup(&self, address: IpAddr) -> GeoAnswer {
        let country = self.in_force.load().tables.country(address);
        let policy = CountryPolicy {
            drop: self.policy.drop_set(),
        };
        GeoAnswer {
            address,
            country: country.map(|country| country.to_string()),
            dropped: policy.drops(country.map_or(0, Country::index)),
        }
    }

    /// Begins to put these bytes of a database in force; the answer ends with the outcome. What is
    /// in force stays so until all of the new is ready, and where anything of it fails.
    pub(super) fn update(
        self: &Arc<Self>,
        plane: &Arc<KernelPlane>,
        bytes: Vec<u8>,
    ) -> Result<UnboundedReceiver<GeoLine>, Problem> {
        let busy = |_| Problem::conflict("another update is under way", "wait until it has ended");
        let alone = Arc::clone(&self.updating).try_lock_owned().map_err(busy)?;
        // There are no more lines than parts of a database that are reported.
        let (lines, answer) = unbounded_channel();
        let update = Update {
            countries: Arc::clone(self),
            plane: Arc::clone(plane),
            lines,
            begin: Instant::now(),
            _alone: alone,
        };
        tokio::task::spawn_blocking(move || update.run(bytes));
        Ok(answer)
    }
}

/// One update on its way.
struct Update {
    countries: Arc<Countries>,
    plane: Arc<KernelPlane>,
    lines: UnboundedSender<GeoLine>,
    begin: Instant,
    _alone: OwnedMutexGuard<()>,
}

impl Update {
    fn run(self, bytes: Vec<u8>) {
        let outcome = match self.put_in_force(bytes) {
            Ok(seconds_to_force) => {
                self.countries.tell("countries in force");
                GeoLine::InForce(GeoUpdated {
                    geo: self.countries.view(),
                    seconds_to_force,
                })
            }
            Err(problem) => {
                tracing::warn!(problem = %problem.detail, "the countries were not updated");
                GeoLine::Failed(problem)
            }
        };
        self.say(outcome);
    }

    fn put_in_force(&self, bytes: Vec<u8>) -> Result<f64, Problem> {
        let database = &self.countries.database;
        let unusable = |error: GeoError| Problem::bad_request(error.to_string(), error.help());
        let unsaved = |error: io::Error| {
            Problem::unavailable(
                format!(
                    "the database can't be saved as {}: {error}",
                    database.display()
                ),
                "make geo.database a file in a directory that flytrap may write to; the old \
                 countries are in force",
            )
        };
        // What is read is what is saved: the bytes are written before they are used up.
        let saved = Saved::beside(&self.countries.file, &bytes).map_err(unsaved)?;
        let map = Database::from_bytes(bytes, Path::new("what was sent"), &mut |read| {
            self.progress(GeoPhase::Reading, read);
        })
        .map_err(unusable)?;
        let half = |done| Progress { done, total: 2 };
        self.progress(GeoPhase::PuttingInForce, half(0));
        let new = InForce::new(&map).map_err(unusable)?;
        self.progress(GeoPhase::PuttingInForce, half(1));
        self.plane.set_countries(&new.tables).map_err(|error| {
            Problem::unavailable(error.to_string(), "see the log of the gateway")
        })?;
        let seconds_to_force = self.begin.elapsed().as_secs_f64();
        self.countries.in_force.store(Arc::new(new));
        saved.take_the_place_of(&self.countries.file).map_err(|error| {
            Problem::unavailable(
                format!(
                    "the countries are in force, but the next start reads the old ones: {}: {error}",
                    database.display()
                ),
                "make geo.database a file in a directory that flytrap may write to",
            )
        })?;
        Ok(seconds_to_force)
    }

    fn progress(&self, phase: GeoPhase, Progress { done, total }: Progress) {
        self.say(GeoLine::Progress { phase, done, total });
    }

    fn say(&self, line: GeoLine) {
        // Nobody may listen any more; what was begun is done all the same.
        let _ = self.lines.send(line);
    }
}

/// A file that is on disk under another name; gone where it doesn't take its place.
struct Saved {
    file: Option<PathBuf>,
}

impl Saved {
    fn beside(file: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut name = OsString::from(file);
        name.push(".new");
        let path = PathBuf::from(name);
        let mut file = File::create(&path)?;
        let saved = Self { file: Some(path) };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(saved)
    }

    fn take_the_place_of(mut self, place: &Path) -> io::Result<()> {
        if let Some(file) = &self.file {
            fs::rename(file, place)?;
        }
        self.file = None;
        place
            .parent()
            .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Some(file) = &self.file
            && let Err(error) = fs::remove_file(file)
        {
            tracing::warn!(file = %file.display(), %error, "can't be removed");
        }
    }
}
