//! The immutable view that sessions decide with: a trie over the levels of topic spaces.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::types::{
    DeviceKey, Grant, KeyId, KeyIdPrefix, Mode, Right, Space, SpaceName, TopicFilter, UnixTime,
    Validity, Wallet,
};

/// Which wallets may open a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admit {
    /// Those that have a grant or own a topic space; every wallet where any space is open.
    #[default]
    Entitled,
    /// Every wallet that proves its key.
    Any,
}

/// Why the snapshot can't take what it was told: the ledger contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// The space around a new one isn't registered.
    #[error("topic space `{name}` is registered, but `{parent}` around it is not")]
    NoParent {
        /// The new one.
        name: SpaceName,
        /// What is missing.
        parent: String,
    },
    /// A space is registered a second time.
    #[error("topic space `{0}` is registered twice")]
    Duplicate(SpaceName),
    /// A grant names a space that isn't registered.
    #[error("a grant names topic space `{0}`, which is not registered")]
    GrantNowhere(SpaceName),
}

/// All that decisions need, at one moment of the ledger. Never changes once it is built.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Rises with every snapshot that a mirror publishes: a decision of another generation is
    /// no decision any more.
    pub generation: u64,
    pub(super) admit: Admit,
    top: Children,
    nodes: Vec<Node>,
    holders: HashMap<Wallet, Holder>,
    grants: usize,
    pub(super) any_open: bool,
    dollar_topics: Vec<(Box<str>, HashSet<Wallet>)>,
    revocations: HashMap<Wallet, UnixTime>,
    devices: BTreeMap<KeyId, DeviceKey>,
}

/// Positions in [`Snapshot::nodes`] by label; a child's is behind its parent's.
type Children = HashMap<Box<str>, usize>;

/// One registered topic space.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) space: Space,
    pub(super) grants: HashMap<Wallet, Grant>,
    /// Everything registered below has the same owner and terms.
    pub(super) uniform: bool,
    children: Children,
}

/// What one wallet has anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holder {
    pub(super) owns: bool,
    /// The longest grant of any right, denied ones left out.
    pub(super) latest: Validity,
    /// Some right is denied to it somewhere.
    pub(super) denied: bool,
}

impl Snapshot {
    /// Tokens that `wallet` issued before this time are void; `None`: it revoked none.
    pub fn tokens_revoked_before(&self, wallet: Wallet) -> Option<UnixTime> {
        self.revocations.get(&wallet).copied()
    }

    /// The device key of that id, which may have expired.
    pub fn device_key(&self, id: &KeyId) -> Option<&DeviceKey> {
        self.devices.get(id)
    }

    /// The device key whose id begins so. `None` if two do: making them takes 2^64 attempts, and
    /// only their maker loses by it.
    pub fn device_key_of_prefix(&self, prefix: &KeyIdPrefix) -> Option<&DeviceKey> {
        let mut first = [0; 32];
        first
            .iter_mut()
            .zip(prefix)
            .for_each(|(slot, byte)| *slot = *byte);
        let mut from = self.devices.range(KeyId(first)..);
        let mut next = || from.next().filter(|(id, _)| id.prefix() == *prefix);
        next().filter(|_| next().is_none()).map(|(_, key)| key)
    }

    /// How many device keys it holds, expired ones included.
    pub fn device_keys(&self) -> usize {
        self.devices.len()
    }

    /// How many topic spaces it holds.
    pub fn spaces(&self) -> usize {
        self.nodes.len()
    }

    /// How many grants it holds, pure denials and expired ones included.
    pub fn grants(&self) -> usize {
        self.grants
    }

    /// The node of `label` below `above`; at the top level without one.
    pub(super) fn child(&self, above: Option<&Node>, label: &str) -> Option<&Node> {
        let children = above.map_or(&self.top, |node| &node.children);
        children.get(label).and_then(|at| self.nodes.get(*at))
    }

    /// All nodes one level below `node`, in no order.
    pub(super) fn children(&self, node: &Node) -> impl Iterator<Item = &Node> {
        node.children.values().filter_map(|at| self.nodes.get(*at))
    }

    pub(super) fn holder(&self, wallet: Wallet) -> Holder {
        self.holders.get(&wallet).copied().unwrap_or_default()
    }

    /// The filters over `$` topics that are `wallet`'s.
    pub(super) fn dollar_filters(&self, wallet: Wallet) -> impl Iterator<Item = TopicFilter<'_>> {
        self.dollar_topics
            .iter()
            .filter(move |(_, wallets)| wallets.contains(&wallet))
            .filter_map(|(filter, _)| TopicFilter::new(filter).ok())
    }
}

/// Collects what a snapshot is made of. Parents come before what is below them.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
}

impl SnapshotBuilder {
    /// An empty one: nobody may do anything.
    pub fn new(generation: u64, admit: Admit) -> Self {
        Self {
            snapshot: Snapshot {
                generation,
                admit,
                ..Snapshot::default()
            },
        }
    }

    /// Adds a topic space.
    pub fn space(&mut self, space: Space) -> Result<(), Inconsistent> {
        let snapshot = &mut self.snapshot;
        let at = snapshot.nodes.len();
        let (above, label) = match space.name.as_str().rsplit_once('/') {
            None => (&mut snapshot.top, space.name.as_str()),
            Some((parent, label)) => match find(&snapshot.top, &snapshot.nodes, parent)
                .and_then(|at| snapshot.nodes.get_mut(at))
            {
                Some(node) => (&mut node.children, label),
                None => {
                    return Err(Inconsistent::NoParent {
                        parent: parent.to_owned(),
                        name: space.name,
                    });
                }
            },
        };
        if above.contains_key(label) {
            return Err(Inconsistent::Duplicate(space.name));
        }
        above.insert(label.into(), at);
        snapshot.any_open |=
            space.terms.publish == Mode::Open || space.terms.subscribe == Mode::Open;
        snapshot.holders.entry(space.owner).or_default().owns = true;
        snapshot.nodes.push(Node {
            space,
            grants: HashMap::new(),
            uniform: true,
            children: Children::new(),
        });
        Ok(())
    }

    /// Gives `wallet` a grant in the topic space of that name; it replaces an earlier one.
    pub fn grant(
        &mut self,
        space: &SpaceName,
        wallet: Wallet,
        grant: Grant,
    ) -> Result<(), Inconsistent> {
        let snapshot = &mut self.snapshot;
        let node = find(&snapshot.top, &snapshot.nodes, space.as_str())
            .and_then(|at| snapshot.nodes.get_mut(at))
            .ok_or_else(|| Inconsistent::GrantNowhere(space.clone()))?;
        node.grants.insert(wallet, grant);
        Ok(())
    }

    /// Voids the tokens that `wallet` issued before a time; the latest such time counts.
    pub fn revoke_tokens(&mut self, wallet: Wallet, before: UnixTime) {
        let latest = self.snapshot.revocations.entry(wallet).or_default();
        *latest = before.max(*latest);
    }

    /// Lets a key act for its wallet; replaces what was said of that key before.
    pub fn set_device_key(&mut self, device: DeviceKey) {
        self.snapshot.devices.insert(device.id(), device);
    }

    /// Ends a key. There may be none of that id.
    pub fn remove_device_key(&mut self, id: &KeyId) {
        self.snapshot.devices.remove(id);
    }

    /// Lets `wallets` do everything on the `$` topics that the filter matches.
    pub fn dollar_topics(
        &mut self,
        filter: TopicFilter<'_>,
        wallets: impl IntoIterator<Item = Wallet>,
    ) {
        self.snapshot
            .dollar_topics
            .push((filter.as_str().into(), wallets.into_iter().collect()));
    }

    /// The snapshot of all that.
    pub fn build(self) -> Snapshot {
        let mut snapshot = self.snapshot;
        // Behind their parents stand children: from the back, each node finds them done.
        for at in (0..snapshot.nodes.len()).rev() {
            let uniform = snapshot.nodes.get(at).is_some_and(|node| {
                snapshot.children(node).all(|child| {
                    child.uniform
                        && child.space.owner == node.space.owner
                        && child.space.terms == node.space.terms
                })
            });
            if let Some(node) = snapshot.nodes.get_mut(at) {
                node.uniform = uniform;
            }
        }
        for node in &snapshot.nodes {
            snapshot.grants += node.grants.len();
            for (wallet, grant) in &node.grants {
                let holder = snapshot.holders.entry(*wallet).or_default();
                for right in [Right::Publish, Right::Subscribe] {
                    if grant.denies(right) {
                        holder.denied = true;
                    } else {
                        holder.latest = holder.latest.max(grant.validity(right));
                    }
                }
            }
        }
        snapshot
    }
}

fn find(top: &Children, nodes: &[Node], name: &str) -> Option<usize> {
    let mut labels = name.split('/');
    let mut at = *top.get(labels.next()?)?;
    for label in labels {
        at = *nodes.get(at)?.children.get(label)?;
    }
    Some(at)
}
