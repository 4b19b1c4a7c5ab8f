//! The decision itself.

use super::covers::covers;
use super::snapshot::{Admit, Node, Snapshot};
use super::{Decision, DenyReason, Why};
use crate::types::{
    Action, Grant, KeyId, Mode, Principal, Right, TopicFilter, TopicName, UnixTime, Validity,
    Wallet,
};

/// Whether `principal` may do `action` at `now`.
///
/// Pure. Names are decided without allocating; the cost is one lookup of the label and one of
/// the wallet per registered level. A filter with wildcards costs that for every registered
/// space that it reaches, unless all of them have one owner and the same terms and the wallet
/// has no denial.
pub fn decide(
    snapshot: &Snapshot,
    principal: &Principal,
    action: Action<'_>,
    now: UnixTime,
) -> Decision {
    let case = |right| Case {
        snapshot,
        wallet: principal.wallet,
        right,
        now,
    };
    let of_wallet = match action {
        Action::Connect => connect(snapshot, principal.wallet, now),
        Action::Publish(topic) => case(Right::Publish).name(topic),
        Action::Receive(topic) => case(Right::Subscribe).name(topic),
        Action::Subscribe(filter) => case(Right::Subscribe).filter(filter),
    };
    match &principal.device {
        None => of_wallet,
        Some(device) => by_device(snapshot, device, action, now, of_wallet),
    }
}

/// What a device may do: what its wallet may, inside its scope, while its key is good.
fn by_device(
    snapshot: &Snapshot,
    device: &KeyId,
    action: Action<'_>,
    now: UnixTime,
    of_wallet: Decision,
) -> Decision {
    let Some(key) = snapshot
        .device_key(device)
        .filter(|key| key.until.holds(now))
    else {
        return deny(DenyReason::DeviceKey);
    };
    let Decision::Permit { why, until } = of_wallet else {
        return of_wallet;
    };
    let inside = key.scope.as_ref().is_none_or(|scope| match action {
        Action::Connect => true,
        Action::Publish(topic) | Action::Receive(topic) => scope.holds(topic.levels()),
        Action::Subscribe(filter) => scope.holds(filter.levels()),
    });
    if !inside {
        return deny(DenyReason::OutsideScope);
    }
    permit(why, until.into_iter().chain(key.until.end()).min())
}

fn connect(snapshot: &Snapshot, wallet: Wallet, now: UnixTime) -> Decision {
    let holder = snapshot.holder(wallet);
    if holder.owns {
        permit(Why::Owner, None)
    } else if holder.latest.holds(now) {
        // The strongest reason comes first: what every wallet has says nothing about this one.
        let end = holder.latest.end().filter(|_| !snapshot.any_open);
        permit(Why::Grant, end)
    } else if snapshot.any_open {
        permit(Why::Open, None)
    } else if snapshot.admit == Admit::Any {
        permit(Why::AdmitAny, None)
    } else if holder.latest > Validity::Never {
        deny(DenyReason::Expired)
    } else {
        deny(DenyReason::NotAdmitted)
    }
}

fn permit(why: Why, until: Option<UnixTime>) -> Decision {
    Decision::Permit { why, until }
}

fn deny(reason: DenyReason) -> Decision {
    Decision::Deny { reason }
}

/// One wallet that wants one right at one time.
#[derive(Clone, Copy)]
struct Case<'s> {
    snapshot: &'s Snapshot,
    wallet: Wallet,
    right: Right,
    now: UnixTime,
}

/// Which part of a topic space a topic lies in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is the space's own name.
    Name,
    /// It is below, and no registered space below holds it.
    Rest,
}

/// What grants and denials of one wallet come to.
#[derive(Clone, Copy, Default)]
struct Sum {
    denied: bool,
    latest: Validity,
}

impl Sum {
    fn and(self, grant: &Grant, right: Right) -> Self {
        Self {
            denied: self.denied || grant.denies(right),
            latest: self.latest.max(grant.validity(right)),
        }
    }
}

/// A topic space with what reaches it, from itself and from the spaces above with its owner.
#[derive(Clone, Copy)]
struct Place<'s> {
    node: &'s Node,
    /// For the space's own name.
    name: Sum,
    /// For what is below.
    rest: Sum,
}

impl<'s> Case<'s> {
    fn place(&self, above: Option<&Place<'s>>, node: &'s Node) -> Place<'s> {
        // What another owner gave or denied ends where a sold space begins.
        let inherited = above
            .filter(|above| above.node.space.owner == node.space.owner)
            .map_or_else(Sum::default, |above| above.rest);
        match node.grants.get(&self.wallet) {
            None => Place {
                node,
                name: inherited,
                rest: inherited,
            },
            Some(grant) => {
                let name = inherited.and(grant, self.right);
                let rest = if grant.subtree { name } else { inherited };
                Place { node, name, rest }
            }
        }
    }

    fn child(&self, above: Option<&Place<'s>>, label: &str) -> Option<Place<'s>> {
        let node = self.snapshot.child(above.map(|above| above.node), label)?;
        Some(self.place(above, node))
    }

    /// The order of these questions is the rule: an owner can't be denied, and a denial beats
    /// grants and openness.
    fn at(&self, place: &Place<'s>, part: Part) -> Decision {
        let sum = match part {
            Part::Name => place.name,
            Part::Rest => place.rest,
        };
        if place.node.space.owner == self.wallet {
            permit(Why::Owner, None)
        } else if sum.denied {
            deny(DenyReason::Denied)
        } else if sum.latest.holds(self.now) {
            permit(Why::Grant, sum.latest.end())
        } else if place.node.space.terms.mode(self.right) == Mode::Open {
            permit(Why::Open, None)
        } else if sum.latest > Validity::Never {
            deny(DenyReason::Expired)
        } else {
            deny(DenyReason::NotGranted)
        }
    }

    fn name(&self, topic: TopicName<'_>) -> Decision {
        if topic.is_dollar() {
            return self.dollar(|filter| filter.matches(topic));
        }
        let mut deepest: Option<Place<'_>> = None;
        for label in topic.levels() {
            match self.child(deepest.as_ref(), label) {
                Some(place) => deepest = Some(place),
                None => {
                    return deepest.map_or(deny(DenyReason::NoSuchSpace), |place| {
                        self.at(&place, Part::Rest)
                    });
                }
            }
        }
        deepest.map_or(deny(DenyReason::NoSuchSpace), |place| {
            self.at(&place, Part::Name)
        })
    }

    fn dollar(&self, reaches: impl Fn(TopicFilter<'_>) -> bool) -> Decision {
        if self.snapshot.dollar_filters(self.wallet).any(reaches) {
            permit(Why::DollarTopics, None)
        } else {
            deny(DenyReason::DollarTopic)
        }
    }

    /// Walks all parts of topic spaces that hold a topic which the filter matches; each must be
    /// permitted.
    fn filter(&self, filter: TopicFilter<'_>) -> Decision {
        if filter.is_dollar() {
            return self.dollar(|own| covers(own, filter));
        }
        let levels: Vec<&str> = filter.levels().collect();
        let wild = |level: &&str| ["+", "#"].contains(level);
        let head = levels.iter().take_while(|level| !wild(level)).count();
        let (literal, wildcards) = levels.split_at_checked(head).unwrap_or((&levels, &[]));

        let mut place: Option<Place<'_>> = None;
        for label in literal {
            match self.child(place.as_ref(), label) {
                Some(below) => place = Some(below),
                None => {
                    return place.map_or(deny(DenyReason::NoSuchSpace), |place| {
                        self.head(&place, !wildcards.is_empty())
                    });
                }
            }
        }
        match place {
            // Wildcards from the first level on match topics that no space holds.
            None => deny(DenyReason::NotCovered),
            Some(place) if wildcards.is_empty() => self.at(&place, Part::Name),
            Some(place) => match self.head(&place, true) {
                Decision::Permit { why, until } => self.below(place, wildcards, why, until),
                denied @ Decision::Deny { .. } => denied,
            },
        }
    }

    /// Decides for what lies below the levels before the first wildcard. Where wildcards follow,
    /// a wallet that has rights somewhere is told that it asked for too much, not that it has none.
    fn head(&self, place: &Place<'s>, wildcards: bool) -> Decision {
        let decision = self.at(place, Part::Rest);
        let holder = self.snapshot.holder(self.wallet);
        if wildcards
            && decision == deny(DenyReason::NotGranted)
            && (holder.owns || holder.latest.holds(self.now))
        {
            return deny(DenyReason::NotCovered);
        }
        decision
    }

    /// Decides what `filter`, of which a wildcard comes next, reaches in and below `place`.
    fn below(
        &self,
        place: Place<'s>,
        filter: &[&str],
        why: Why,
        mut until: Option<UnixTime>,
    ) -> Decision {
        let may_be_denied = self.snapshot.holder(self.wallet).denied;
        let mut refused = None;
        // Not recursive: how deep spaces nest is up to their owners.
        let mut open = vec![(place, filter)];
        while let Some((place, filter)) = open.pop() {
            let (name, rest, next) = match filter.split_first() {
                None => (true, false, filter),
                // `a/#` matches `a` too, and goes on at every level below.
                Some((&"#", _)) => (true, true, filter),
                // There are always labels that no space has.
                Some((&"+", next)) => (false, true, next),
                Some((label, next)) => match self.child(Some(&place), label) {
                    Some(child) => {
                        open.push((child, next));
                        continue;
                    }
                    None => (false, true, next),
                },
            };
            for (reached, part) in [(name, Part::Name), (rest, Part::Rest)] {
                if !reached {
                    continue;
                }
                match self.at(&place, part) {
                    Decision::Permit { until: end, .. } => {
                        until = [until, end].into_iter().flatten().min();
                    }
                    Decision::Deny {
                        reason: DenyReason::Denied,
                    } => return deny(DenyReason::Denied),
                    Decision::Deny { .. } => refused = Some(DenyReason::NotCovered),
                }
            }
            // Children come in no order, and the answer must not depend on it: a denial that
            // is still ahead would be the one to name.
            if let Some(reason) = refused
                && !may_be_denied
            {
                return deny(reason);
            }
            let wild = matches!(filter.first(), Some(&("+" | "#")));
            // One owner, the same terms, no denial: what holds here holds for all of it.
            let settled = place.node.uniform && !may_be_denied;
            if wild && !settled {
                let children = self.snapshot.children(place.node);
                open.extend(children.map(|node| (self.place(Some(&place), node), next)));
            }
        }
        refused.map_or(permit(why, until), deny)
    }
}
