//! The country tables and the country policy in the kernel.

use aya::Ebpf;
use aya::Pod;
use aya::maps::{Array, ArrayOfMaps, MapData};
use flytrap_common::abi::{MAP_COUNTRY, MAP_GEO4, MAP_GEO6};
use flytrap_common::geo::{CountryPolicy, Table4, Table6};

use super::error::KernelError;
use super::plane::{KernelPlane, lock};
use super::tables::take_map;
use crate::geo::{Policy, Tables};

/// `BPF_F_MMAPABLE`, as the program declares its tables: their values then lie on whole pages.
const ALIGNED: u32 = 1 << 10;

/// A table: the single value of the single element.
type Slot<T> = ArrayOfMaps<MapData, Array<MapData, T>>;

/// The maps of this module.
pub(super) struct GeoMaps {
    geo4: Slot<Table4>,
    geo6: Slot<Table6>,
    country: Array<MapData, CountryPolicy>,
}

impl GeoMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            geo4: take_map(ebpf, MAP_GEO4)?,
            geo6: take_map(ebpf, MAP_GEO6)?,
            country: take_map(ebpf, MAP_COUNTRY)?,
        })
    }
}

impl KernelPlane {
    /// Puts the tables in force. A packet is looked up in the old table of its family or in the
    /// new one, never in parts of both; where one fails, the old one stays. Takes some tens of
    /// milliseconds, during which packets are judged and bans can be made.
    pub fn set_countries(&self, tables: &Tables) -> Result<(), KernelError> {
        // Filled before the lock is taken: only the exchange is done under it.
        let filled = Filled::new(tables)?;
        lock(&self.geo).exchange(&filled)
    }

    /// Makes these the countries whose packets are dropped: [`Policy::drop_set`].
    pub fn set_country_policy(&self, policy: &Policy) -> Result<(), KernelError> {
        lock(&self.geo).set_policy(policy)
    }
}

impl GeoMaps {
    /// The tables, and who is dropped by them.
    pub(super) fn set(&mut self, tables: &Tables, policy: &Policy) -> Result<(), KernelError> {
        let filled = Filled::new(tables)?;
        // The tables first: with those of an earlier start, or none, the new policy would judge
        // countries that it doesn't know.
        self.exchange(&filled)?;
        self.set_policy(policy)
    }

    fn exchange(&mut self, filled: &Filled) -> Result<(), KernelError> {
        let set4 = self.geo4.set(0, &filled.v4, 0);
        set4.map_err(KernelError::map(MAP_GEO4))?;
        let set6 = self.geo6.set(0, &filled.v6, 0);
        set6.map_err(KernelError::map(MAP_GEO6))
    }

    fn set_policy(&mut self, policy: &Policy) -> Result<(), KernelError> {
        let drop = policy.drop_set();
        let set = self.country.set(0, CountryPolicy { drop }, 0);
        set.map_err(KernelError::map(MAP_COUNTRY))
    }
}

/// New maps that hold both tables, in force nowhere yet.
struct Filled {
    v4: Array<MapData, Table4>,
    v6: Array<MapData, Table6>,
}

impl Filled {
    fn new(tables: &Tables) -> Result<Self, KernelError> {
        Ok(Self {
            v4: filled(&*tables.v4, MAP_GEO4)?,
            v6: filled(&*tables.v6, MAP_GEO6)?,
        })
    }
}

/// A new map that holds the table.
fn filled<T: Pod>(table: &T, name: &'static str) -> Result<Array<MapData, T>, KernelError> {
    let mut map = Array::create(1, ALIGNED).map_err(KernelError::map(name))?;
    map.set(0, table, 0).map_err(KernelError::map(name))?;
    Ok(map)
}
