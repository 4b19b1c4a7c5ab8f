//! The connections that there are: counted against the limits, found again to be ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::types::Prefix;

/// Why a connection is turned away at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The gateway has as many connections as it may.
    Total,
    /// The address has.
    Address,
}

/// The connections of all workers. Cheap to clone; its lock is held for map operations only.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Connections>>);

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    by_id: HashMap<u64, (IpAddr, CancellationToken)>,
    by_source: HashMap<Prefix, usize>,
}

/// A place among the connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    registry: Registry,
    id: u64,
    source: Prefix,
    /// Cancelled when the connection must end because its source was banned.
    pub(super) banned: CancellationToken,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        // Nothing in here can be left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections at this moment.
    pub fn count(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Ends all connections from addresses that `banned` says so of; says how many.
    pub fn end_where(&self, banned: impl Fn(IpAddr) -> bool) -> usize {
        let connections = self.lock();
        let hit = connections
            .by_id
            .values()
            .filter(|(address, _)| banned(*address));
        hit.map(|(_, banned)| banned.cancel()).count()
    }

    /// Ends all connections from `target`; says how many.
    pub fn end_all_of(&self, target: &Prefix) -> usize {
        self.end_where(|address| target.contains(address))
    }

    pub(super) fn enter(
        &self,
        address: IpAddr,
        most: usize,
        most_per_source: usize,
    ) -> Result<Place, Full> {
        let source = Prefix::of_source(address);
        let banned = CancellationToken::new();
        let mut connections = self.lock();
        if connections.by_id.len() >= most {
            return Err(Full::Total);
        }
        let of_source = connections.by_source.entry(source).or_default();
        if *of_source >= most_per_source {
            return Err(Full::Address);
        }
        *of_source += 1;
        let id = connections.next;
        connections.next += 1;
        connections.by_id.insert(id, (address, banned.clone()));
        drop(connections);
        Ok(Place {
            registry: self.clone(),
            id,
            source,
            banned,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.registry.lock();
        connections.by_id.remove(&self.id);
        if let Some(count) = connections.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                connections.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let registry = Registry::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let two: IpAddr = "192.0.2.2".parse().unwrap();
        let first = registry.enter(one, 2, 1).unwrap();
        assert_eq!(registry.enter(one, 2, 1).unwrap_err(), Full::Address);
        let second = registry.enter(two, 2, 1).unwrap();
        let three: IpAddr = "192.0.2.3".parse().unwrap();
        assert_eq!(registry.enter(three, 2, 1).unwrap_err(), Full::Total);
        drop(first);
        assert_eq!(registry.count(), 1);
        drop(registry.enter(one, 2, 1).unwrap());
        assert!(!second.banned.is_cancelled());
        assert_eq!(registry.end_all_of(&"192.0.2.0/24".parse().unwrap()), 1);
        assert!(second.banned.is_cancelled());
        drop(second);
        assert_eq!(registry.count(), 0);
        assert!(registry.lock().by_source.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let registry = Registry::default();
        let _first = registry
            .enter("2001:db8::1".parse().unwrap(), 9, 1)
            .unwrap();
        let same_64 = registry.enter("2001:db8::2".parse().unwrap(), 9, 1);
        assert_eq!(same_64.unwrap_err(), Full::Address);
    }
}
