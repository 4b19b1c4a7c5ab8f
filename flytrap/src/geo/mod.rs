//! Countries of addresses: from a database file to the tables that the kernel looks up.
//!
//! [`Database::read`] flattens a file into a [`CountryMap`], one list of ranges for each family.
//! [`Tables::build`] makes the kernel's tables of the same list, so that kernel and user space
//! can't disagree. [`Policy`] says which countries are kept out.

mod build;
mod country;
mod database;
mod flatten;
mod policy;
#[cfg(test)]
mod tests;
mod trie;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flytrap_common::geo::{Origin, Table4, Table6, origin};

pub use country::{Country, UnknownCountry};
pub use database::{Database, Progress};
pub use policy::{Mode, Policy, Unknown};

/// Which country every address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountryMap {
    /// Where ranges begin, and the country's number: ascending from 0 on.
    v4: Vec<(u32, u8)>,
    v6: Vec<(u128, u8)>,
    kind: String,
    built: u64,
    networks: u64,
    unknown: BTreeMap<String, u64>,
}

/// How many ranges of one country, or of none, a [`CountryMap`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// Of IPv4 addresses.
    pub ipv4: usize,
    /// Of IPv6 addresses.
    pub ipv6: usize,
}

impl CountryMap {
    /// The country of an address, if it has one. 6to4, Teredo, NAT64 (`64:ff9b::/96`) and
    /// IPv4-mapped addresses have that of the IPv4 address inside; of the others, only `2000::/3`
    /// has countries.
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let of_ipv4 = |octets| flatten::lookup(&self.v4, u32::from_be_bytes(octets));
        let index = match address {
            IpAddr::V4(address) => of_ipv4(address.octets()),
            IpAddr::V6(address) => match origin(address.octets()) {
                Origin::Inner(inner) => of_ipv4(inner),
                Origin::Global(..) => flatten::lookup(&self.v6, address.to_bits()),
                Origin::Local => 0,
            },
        };
        Country::from_index(index)
    }

    /// How many ranges there are once equal neighbours are one.
    pub fn ranges(&self) -> Ranges {
        Ranges {
            ipv4: self.v4.len(),
            ipv6: self.v6.len(),
        }
    }

    /// Networks with data that the database has.
    pub fn networks(&self) -> u64 {
        self.networks
    }

    /// What the database calls itself, as `GeoLite2-Country`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// When the database was made, as it says.
    pub fn built(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.built))
    }

    /// Codes in the database that are no country's, and how many networks have them. These
    /// networks have no country here.
    pub fn unknown_codes(&self) -> &BTreeMap<String, u64> {
        &self.unknown
    }
}

/// The kernel's tables of both families: 5 and 17 MiB.
pub struct Tables {
    pub(crate) v4: Box<Table4>,
    pub(crate) v6: Box<Table6>,
}

impl Tables {
    /// Builds both, or says which has no room.
    pub fn build(map: &CountryMap) -> Result<Self, GeoError> {
        Ok(Self {
            v4: build::table4(&map.v4)?,
            v6: build::table6(&map.v6)?,
        })
    }

    /// The country of an address, by the code that the kernel runs.
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let index = match address {
            IpAddr::V4(address) => self.v4.country(address.octets()),
            IpAddr::V6(address) => match origin(address.octets()) {
                Origin::Inner(inner) => self.v4.country(inner),
                Origin::Global(upper, lower) => self.v6.country(upper, lower),
                Origin::Local => 0,
            },
        };
        Country::from_index(index)
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

/// Why there are no country tables.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file can't be read.
    #[error("can't read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// The file is something else, or broken.
    #[error("{path} is no database in MaxMind's format, or it is damaged: {reason}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A database of something else.
    #[error(
        "{path} says no country of any address: it is a database of the kind `{kind}`",
        path = path.display()
    )]
    NoCountries {
        /// The file.
        path: PathBuf,
        /// What it calls itself.
        kind: String,
    },
    /// A table would be too small.
    #[error("the database needs {needed} {what}; the kernel's table has room for {room}")]
    TooLarge {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        needed: usize,
        /// How many are possible.
        room: usize,
    },
}

impl GeoError {
    /// What to do about it. Whatever tables are in force stay in force.
    pub fn help(&self) -> String {
        match self {
            Self::Read { .. } => {
                "check the path, and that flytrap may read the file; `geo update` wants an .mmdb \
                 file"
            }
            Self::Format { .. } => {
                "download it anew, and unpack it if it is a .tar.gz or .gz archive; `geo update` \
                 wants the .mmdb file inside"
            }
            Self::NoCountries { .. } => {
                "use a country or city database, such as GeoLite2-Country or DB-IP's country lite"
            }
            Self::TooLarge { .. } => {
                "use a country database instead of one that is finer; the tables in force stay"
            }
        }
        .to_owned()
    }
}
