//! Reading databases in `MaxMind`'s format.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};

use super::flatten::{Row, flatten};
use super::{Country, CountryMap, GeoError};

/// Where a record may have its country's code, in the order in which they are looked at.
const CODE_PATHS: [&[PathElement<'static>]; 4] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[
        PathElement::Key("registered_country"),
        PathElement::Key("iso_code"),
    ],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];

/// More than this is no search tree: a damaged file may refer back to itself and never end.
const MOST_NETWORKS: u64 = 1 << 25;
/// Networks between two reports.
const REPORT_EVERY: u64 = 1 << 14;

/// How far reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Parts of the database's tree that were looked at.
    pub done: u64,
    /// How many there are at most. The last report has as many done.
    pub total: u64,
}

/// A file in `MaxMind`'s format (.mmdb), of countries or of something with countries in it.
#[derive(Clone, Copy, Debug)]
pub struct Database;

impl Database {
    /// Reads all of it: a second or less for a million networks. The country of a network is
    /// `country.iso_code`, else `registered_country.iso_code`, else `country_code` or `country` as
    /// a text.
    pub fn read(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<CountryMap, GeoError> {
        let bytes = fs::read(path).map_err(|source| GeoError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(bytes, path, progress)
    }

    /// The same of what such a file holds; errors call it `path`.
    pub fn from_bytes(
        bytes: Vec<u8>,
        path: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CountryMap, GeoError> {
        let map = parse(bytes, progress).map_err(|error| GeoError::Format {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        if map.v4.iter().all(|(_, country)| *country == 0)
            && map.v6.iter().all(|(_, country)| *country == 0)
        {
            return Err(GeoError::NoCountries {
                path: path.to_owned(),
                kind: map.kind,
            });
        }
        Ok(map)
    }
}

/// The networks of a database.
#[derive(Default)]
struct Rows {
    v4: Vec<Row<u32>>,
    v6: Vec<Row<u128>>,
}

/// The map of a database's bytes.
pub(super) fn parse(
    bytes: Vec<u8>,
    progress: &mut dyn FnMut(Progress),
) -> Result<CountryMap, MaxMindDbError> {
    let reader = Reader::from_source(bytes)?;
    // A binary tree has one end more than inner nodes.
    let total = u64::from(reader.metadata().node_count).saturating_add(1);
    let mut rows = Rows::default();
    let mut codes = Codes::default();
    let mut networks = 0;
    // Also those without data: a damaged tree without any would be walked for ever.
    let options = WithinOptions::default().include_networks_without_data();
    for (done, network) in (0_u64..).zip(reader.networks(options)?) {
        if done == MOST_NETWORKS {
            return Err(MaxMindDbError::invalid_database(format!(
                "its tree has more than {MOST_NETWORKS} networks"
            )));
        }
        if done % REPORT_EVERY == 0 {
            let done = done.min(total);
            progress(Progress { done, total });
        }
        let network = network?;
        if network.has_data() {
            networks += 1;
            rows.add(&network, codes.country(&network)?)?;
        }
    }
    let map = CountryMap {
        v4: flatten(rows.v4),
        v6: flatten(rows.v6),
        kind: reader.metadata().database_type.clone(),
        built: reader.metadata().build_epoch,
        networks,
        unknown: codes.unknown,
    };
    progress(Progress { done: total, total });
    Ok(map)
}

impl Rows {
    fn add(
        &mut self,
        network: &LookupResult<'_, Vec<u8>>,
        country: u8,
    ) -> Result<(), MaxMindDbError> {
        let network = network.network()?;
        let bits = network.prefix();
        match network.ip() {
            IpAddr::V4(start) => self.v4.push(Row {
                start: start.to_bits(),
                bits,
                country,
            }),
            IpAddr::V6(start) => {
                let start = start.to_bits();
                if start == 0 && bits <= 96 {
                    // It covers ::/96, where such a database keeps IPv4.
                    self.v4.push(Row {
                        start: 0,
                        bits: 0,
                        country,
                    });
                }
                self.v6.push(Row {
                    start,
                    bits,
                    country,
                });
            }
        }
        Ok(())
    }
}

/// What records say, each decoded once: thousands of networks share one.
#[derive(Default)]
struct Codes {
    /// By the record's place: the country's number, or a code that is none.
    seen: HashMap<usize, Result<u8, String>>,
    unknown: BTreeMap<String, u64>,
}

impl Codes {
    fn country(&mut self, network: &LookupResult<'_, Vec<u8>>) -> Result<u8, MaxMindDbError> {
        let Some(offset) = network.offset() else {
            return Ok(0);
        };
        let country = match self.seen.entry(offset) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(unseen) => unseen.insert(read_code(network)?),
        };
        Ok(match country {
            Ok(country) => *country,
            Err(code) => {
                match self.unknown.get_mut(code) {
                    Some(count) => *count += 1,
                    None => {
                        self.unknown.insert(code.clone(), 1);
                    }
                }
                0
            }
        })
    }
}

fn read_code(network: &LookupResult<'_, Vec<u8>>) -> Result<Result<u8, String>, MaxMindDbError> {
    for path in CODE_PATHS {
        match network.decode_path::<&str>(path) {
            Ok(Some(code)) if !code.is_empty() => {
                let country = code.parse::<Country>().map(Country::index);
                return Ok(country.map_err(|_| code.to_owned()));
            }
            Err(error @ MaxMindDbError::InvalidDatabase { .. }) => return Err(error),
            // Not there, or of another type: `country` is a map in one database and a text in
            // another.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(Ok(0))
}
