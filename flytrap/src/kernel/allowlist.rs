//! The allowlist in the kernel: entries for ever, and entries with a deadline.
//!
//! A trie answers with the longest prefix only. So no entry may end before one that covers it: it
//! would hide that one once it has run out. Whoever writes sees to it.

use std::collections::HashSet;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{LpmTrie, MapData};
use flytrap_common::abi::{Allowed, MAP_ALLOW4, MAP_ALLOW6, Trie4, Trie6};

use super::AllowedPrefix;
use super::error::KernelError;
use super::tables::{
    insert_error, nanoseconds, now, prefix4, prefix6, removed, take_map, trie_key,
};
use crate::types::Prefix;

/// The deadline of what stays.
const FOR_EVER: u64 = 0;

/// The tries of both families.
pub(super) struct Allowlist {
    allow4: LpmTrie<MapData, Trie4, Allowed>,
    allow6: LpmTrie<MapData, Trie6, Allowed>,
}

impl Allowlist {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            allow4: take_map(ebpf, MAP_ALLOW4)?,
            allow6: take_map(ebpf, MAP_ALLOW6)?,
        })
    }

    /// Makes `prefixes` what is exempt for ever. Entries with a deadline stay until then.
    pub(super) fn set(&mut self, prefixes: &[Prefix]) -> Result<(), KernelError> {
        let wanted: HashSet<Prefix> = prefixes.iter().copied().collect();
        for prefix in &wanted {
            self.write(*prefix, FOR_EVER)?;
        }
        let now = now();
        for (prefix, deadline) in self.entries()? {
            let temporary = deadline > now && !wanted.iter().any(|one| covers(one, &prefix));
            if !temporary && !wanted.contains(&prefix) {
                self.remove(prefix)?;
            }
        }
        Ok(())
    }

    /// Exempts `prefix` for `duration` at least.
    pub(super) fn allow_for(
        &mut self,
        prefix: Prefix,
        duration: Duration,
    ) -> Result<(), KernelError> {
        let entries = self.entries()?;
        let mut deadline = now().saturating_add(nanoseconds(duration));
        for (_, covering) in entries.iter().filter(|(one, _)| covers(one, &prefix)) {
            if *covering == FOR_EVER {
                return Ok(());
            }
            deadline = deadline.max(*covering);
        }
        // The shorter ones first: written last, the new one would be hidden by them meanwhile.
        let inner = entries
            .iter()
            .filter(|(one, until)| covers(&prefix, one) && *until != FOR_EVER && *until < deadline);
        for (one, _) in inner {
            self.write(*one, deadline)?;
        }
        self.write(prefix, deadline)
    }

    /// What is exempt now.
    pub(super) fn list(&self) -> Result<Vec<AllowedPrefix>, KernelError> {
        let now = now();
        let entry = |(prefix, deadline): (Prefix, u64)| {
            let left = Duration::from_nanos(deadline.saturating_sub(now));
            let remaining = (deadline != FOR_EVER).then_some(left);
            AllowedPrefix { prefix, remaining }
        };
        let mut list: Vec<_> = self.entries()?.into_iter().map(entry).collect();
        list.retain(|one| one.remaining != Some(Duration::ZERO));
        list.sort_unstable_by_key(|one| one.prefix);
        Ok(list)
    }

    fn entries(&self) -> Result<Vec<(Prefix, u64)>, KernelError> {
        let mut entries = Vec::new();
        for entry in &self.allow4 {
            let (key, allowed) = entry.map_err(KernelError::map(MAP_ALLOW4))?;
            entries.push((prefix4(&key), allowed.deadline));
        }
        for entry in &self.allow6 {
            let (key, allowed) = entry.map_err(KernelError::map(MAP_ALLOW6))?;
            entries.push((prefix6(&key), allowed.deadline));
        }
        Ok(entries)
    }

    fn write(&mut self, prefix: Prefix, deadline: u64) -> Result<(), KernelError> {
        let value = Allowed { deadline };
        match trie_key(prefix) {
            Ok(key) => {
                let written = self.allow4.insert(&key, value, 0);
                written.map_err(insert_error(MAP_ALLOW4))
            }
            Err(key) => {
                let written = self.allow6.insert(&key, value, 0);
                written.map_err(insert_error(MAP_ALLOW6))
            }
        }
    }

    fn remove(&mut self, prefix: Prefix) -> Result<bool, KernelError> {
        match trie_key(prefix) {
            Ok(key) => removed(MAP_ALLOW4, self.allow4.remove(&key)),
            Err(key) => removed(MAP_ALLOW6, self.allow6.remove(&key)),
        }
    }
}

/// Whether all of `inner` lies in `outer`.
fn covers(outer: &Prefix, inner: &Prefix) -> bool {
    outer.bits() <= inner.bits() && outer.contains(inner.base())
}
