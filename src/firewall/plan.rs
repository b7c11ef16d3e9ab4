//! What is wanted, what firewalld is believed to hold, and the next operation from one to the
//! other. Pure: no bus, no clock.
//!
//! firewalld refuses entries that overlap, so of nested networks only the widest is entered, and
//! a change of the widest is a swap: out with what is in the way, in with what takes its place.
//! A swap is the only time at which somebody who stays banned is let through, so it is always
//! finished before anything else is begun. Everything else is done entry by entry, bans first;
//! a whole set is rewritten only where that costs no cover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::sets::{Family, Layout, Set};
use super::side::Side;
use crate::jail::Scope;

/// Above this many pending operations in one set firewalld is quicker, by an order of magnitude
/// and more, when it gets the whole list, so much that a moment without cover is worth it.
const BULK: usize = 1000;

/// One call of firewalld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add(Set, String),
    Remove(Set, String),
    SetAll(Set, Vec<String>),
}

impl Op {
    pub(crate) fn set(&self) -> &Set {
        match self {
            Self::Add(set, _) | Self::Remove(set, _) | Self::SetAll(set, _) => set,
        }
    }
}

/// Where something has changed, and what.
pub(crate) type News = (Arc<Scope>, Change);

/// What an order or a finished operation has changed for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Blocked(IpNet),
    Released(IpNet),
}

/// What a look into firewalld has brought up that should not have been so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Entries that nobody here has asked for.
    pub(crate) foreign: Vec<String>,
    /// Entries that were in force and are gone.
    pub(crate) missing: Vec<String>,
}

/// firewalld compares entries as text, so there must be one text for each network: the network
/// address, with a prefix length only where it says something.
pub(crate) fn text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.network().to_string() } else { net.trunc().to_string() }
}

/// The network that an entry of firewalld stands for, if it is in the form that [`text`] writes.
pub(super) fn parse(family: Family, entry: &str) -> Option<IpNet> {
    let net = entry.parse::<IpNet>().or_else(|_| entry.parse::<std::net::IpAddr>().map(IpNet::from)).ok()?;
    (Family::of(&net) == family && text(&net) == entry).then_some(net)
}

#[derive(Debug)]
pub(crate) struct Plan {
    sides: BTreeMap<Set, Side>,
    /// Counts additions, so that bans are entered in the order in which they came.
    clock: u64,
    in_flight: Option<Op>,
    bulk: usize,
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self::with_bulk(BULK)
    }

    pub(super) fn with_bulk(bulk: usize) -> Self {
        Self { sides: BTreeMap::new(), clock: 0, in_flight: None, bulk }
    }

    /// These sets are there, or will be: new ones are empty and unknown, others are forgotten.
    pub(crate) fn lay_out(&mut self, layout: &Layout) {
        self.sides.retain(|set, _| layout.sets.contains(set));
        for set in &layout.sets {
            self.sides.entry(set.clone()).or_insert_with(|| Side::new(self.bulk));
        }
    }

    /// Works on the side of a set, if there is one, with the next tick of the clock and the
    /// operation that is in flight for it.
    fn on<T: Default>(&mut self, set: &Set, work: impl FnOnce(&mut Side, u64, Option<&Op>) -> T) -> T {
        self.clock += 1;
        let flight = self.in_flight.as_ref().filter(|op| op.set() == set);
        match self.sides.get_mut(set) {
            Some(side) => work(side, self.clock, flight),
            None => T::default(),
        }
    }

    pub(crate) fn block(&mut self, scope: &Arc<Scope>, net: IpNet) -> Vec<News> {
        let net = net.trunc();
        let set = Set { scope: Arc::clone(scope), family: Family::of(&net) };
        let changes = self.on(&set, |side, clock, flight| side.block(net, clock, flight));
        news(&set, changes)
    }

    pub(crate) fn release(&mut self, scope: &Arc<Scope>, net: IpNet) -> Vec<News> {
        let net = net.trunc();
        let set = Set { scope: Arc::clone(scope), family: Family::of(&net) };
        let changes = self.on(&set, |side, clock, flight| side.release(net, clock, flight));
        news(&set, changes)
    }

    /// Makes `list` the wanted list. What is in both is left alone.
    pub(crate) fn replace(&mut self, list: Vec<(Arc<Scope>, IpNet)>) -> Vec<News> {
        let list: BTreeSet<(Arc<Scope>, IpNet)> = list.into_iter().map(|(scope, net)| (scope, net.trunc())).collect();
        let wanted = self
            .sides
            .iter()
            .flat_map(|(set, side)| side.wanted.iter().map(|net| (Arc::clone(&set.scope), net)).collect::<Vec<_>>());
        let gone: Vec<(Arc<Scope>, IpNet)> = wanted.filter(|it| !list.contains(it)).collect();
        // Inner ones first, or they would be said to stand for themselves for a moment.
        let gone = gone.into_iter().rev();
        let mut all: Vec<News> = gone.flat_map(|(scope, net)| self.release(&scope, net)).collect();
        for (scope, net) in list {
            let set = Set { scope: Arc::clone(&scope), family: Family::of(&net) };
            if self.sides.get(&set).is_some_and(|side| !side.wanted.contains(&net)) {
                all.extend(self.block(&scope, net));
            }
        }
        all
    }

    /// firewalld has lost everything, or may have: nothing is known until it is asked again.
    pub(crate) fn lost(&mut self) {
        self.sides.values_mut().for_each(|side| side.synced = false);
    }

    /// All sets.
    pub(crate) fn sets(&self) -> Vec<Set> {
        self.sides.keys().cloned().collect()
    }

    /// Takes in what firewalld says that it holds.
    pub(crate) fn sync(&mut self, set: &Set, entries: &[String]) -> (Found, Vec<News>) {
        let (found, changes) = self.on(set, |side, clock, _| {
            let found = side.sync(set.family, entries, clock);
            (found, side.settle())
        });
        (found, news(set, changes))
    }

    /// The next operation, which is then in flight until [`Plan::done`], [`Plan::failed`] or
    /// [`Plan::refused`]. There is none as long as it is unknown what firewalld holds.
    pub(crate) fn next(&mut self) -> Option<Op> {
        if self.in_flight.is_some() || !self.sides.values().all(|side| side.synced) {
            return None;
        }
        let turns = self.sides.iter_mut().filter_map(|(set, side)| Some((side.urgency()?, set, side)));
        let (_, set, side) = turns.min_by_key(|(urgency, ..)| *urgency)?;
        let op = side.next(set);
        self.in_flight.clone_from(&op);
        op
    }

    /// The operation has been carried out.
    pub(crate) fn done(&mut self, op: &Op) -> Vec<News> {
        self.in_flight = None;
        let changes = self.on(op.set(), |side, clock, _| {
            let mut changes = side.done(op, clock);
            changes.extend(side.landed());
            changes
        });
        news(op.set(), changes)
    }

    /// What became of the operation is unknown, and it is not the operation's fault. A sync
    /// follows.
    pub(crate) fn forget(&mut self, op: &Op) {
        debug_assert_eq!(self.in_flight.as_ref(), Some(op));
        self.in_flight = None;
    }

    /// The operation has failed for what it is. A sync follows.
    pub(crate) fn failed(&mut self, op: &Op) {
        self.in_flight = None;
        self.on(op.set(), |side, clock, _| match op {
            Op::Add(set, entry) => {
                // One entry that firewalld can't digest must not keep the others waiting.
                if let Some(net) = parse(set.family, entry)
                    && side.drop_add(&net)
                {
                    side.push_add(net, clock);
                }
            }
            Op::Remove(_, entry) => {
                side.tried.insert(entry.clone());
            }
            Op::SetAll(..) => {
                side.rewrite = false;
                side.no_bulk = true;
            }
        });
    }

    /// firewalld will never take this entry: it is given up, and what it covered stands for
    /// itself again.
    pub(crate) fn refused(&mut self, op: &Op) -> Vec<News> {
        self.in_flight = None;
        let changes = self.on(op.set(), |side, clock, _| {
            let mut changes = Vec::new();
            if let Op::Add(set, entry) = op
                && let Some(net) = parse(set.family, entry)
            {
                changes = side.leave(net, clock, None);
            }
            changes.extend(side.landed());
            changes
        });
        news(op.set(), changes)
    }

    /// Whether the operation is about an entry in somebody else's spelling.
    pub(crate) fn is_junk(&self, op: &Op) -> bool {
        matches!(op, Op::Remove(set, entry) if self.sides.get(set).is_some_and(|side| side.junk.contains(entry)))
    }

    /// Everything is known and nothing is left to be done.
    #[cfg(test)]
    pub(super) fn is_idle(&mut self) -> bool {
        self.in_flight.is_none() && self.sides.values().all(|side| side.synced && side.urgency().is_none())
    }

    #[cfg(test)]
    pub(super) fn announced(&self) -> BTreeSet<(Arc<Scope>, IpNet)> {
        let of = |(set, side): (&Set, &Side)| {
            side.announced.iter().map(|net| (Arc::clone(&set.scope), *net)).collect::<Vec<_>>()
        };
        self.sides.iter().flat_map(of).collect()
    }
}

fn news(set: &Set, changes: Vec<Change>) -> Vec<News> {
    changes.into_iter().map(|change| (Arc::clone(&set.scope), change)).collect()
}
