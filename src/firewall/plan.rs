//! What is wanted, what firewalld is believed to hold, and the next operation from one to the
//! other. Pure: no bus, no clock.
//!
//! firewalld refuses entries that overlap, so of nested networks only the widest is entered, and
//! a change of the widest is a swap: out with what is in the way, in with what takes its place.
//! A swap is the only time at which somebody who stays banned is let through, so it is always
//! finished before anything else is begun. Everything else is done entry by entry, bans first;
//! a whole set is rewritten only where that costs no cover.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::side::Side;

/// Above this many pending operations in one set firewalld is quicker, by an order of magnitude
/// and more, when it gets the whole list, so much that a moment without cover is worth it.
const BULK: usize = 1000;

/// One of the two ipsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    V4,
    V6,
}

impl Set {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "wardend4",
            Self::V6 => "wardend6",
        }
    }
}

/// One call of firewalld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add(Set, String),
    Remove(Set, String),
    SetAll(Set, Vec<String>),
}

impl Op {
    pub(crate) fn set(&self) -> Set {
        match self {
            Self::Add(set, _) | Self::Remove(set, _) | Self::SetAll(set, _) => *set,
        }
    }
}

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
pub(super) fn parse(set: Set, entry: &str) -> Option<IpNet> {
    let net = entry.parse::<IpNet>().or_else(|_| entry.parse::<std::net::IpAddr>().map(IpNet::from)).ok()?;
    (Set::of(&net) == set && text(&net) == entry).then_some(net)
}

#[derive(Debug)]
pub(crate) struct Plan {
    v4: Side,
    v6: Side,
    /// Counts additions, so that bans are entered in the order in which they came.
    clock: u64,
    in_flight: Option<Op>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self::with_bulk(BULK)
    }

    pub(super) fn with_bulk(bulk: usize) -> Self {
        Self { v4: Side::new(bulk), v6: Side::new(bulk), clock: 0, in_flight: None }
    }

    fn side(&mut self, set: Set) -> &mut Side {
        match set {
            Set::V4 => &mut self.v4,
            Set::V6 => &mut self.v6,
        }
    }

    pub(crate) fn block(&mut self, net: IpNet) -> Vec<Change> {
        let net = net.trunc();
        let flight = self.in_flight.take();
        self.clock += 1;
        let clock = self.clock;
        let changes = self.side(Set::of(&net)).block(net, clock, flight.as_ref());
        self.in_flight = flight;
        changes
    }

    pub(crate) fn release(&mut self, net: IpNet) -> Vec<Change> {
        let net = net.trunc();
        let set = Set::of(&net);
        let flight = self.in_flight.take();
        let ours = flight.as_ref().filter(|op| op.set() == set);
        self.clock += 1;
        let clock = self.clock;
        let changes = self.side(set).release(net, clock, ours);
        self.in_flight = flight;
        changes
    }

    /// Makes `list` the wanted list. What is in both is left alone.
    pub(crate) fn replace(&mut self, list: Vec<IpNet>) -> Vec<Change> {
        let list: BTreeSet<IpNet> = list.into_iter().map(|net| net.trunc()).collect();
        let gone: Vec<IpNet> =
            [&self.v4, &self.v6].iter().flat_map(|side| side.wanted.iter()).filter(|net| !list.contains(net)).collect();
        // Inner ones first, or they would be said to stand for themselves for a moment.
        let gone = gone.into_iter().rev();
        let mut changes: Vec<Change> = gone.flat_map(|net| self.release(net)).collect();
        for net in list {
            if !self.side(Set::of(&net)).wanted.contains(&net) {
                changes.extend(self.block(net));
            }
        }
        changes
    }

    /// firewalld has lost everything, or may have: nothing is known until it is asked again.
    pub(crate) fn lost(&mut self) {
        for set in Set::ALL {
            self.side(set).synced = false;
        }
    }

    /// Takes in what firewalld says that it holds.
    pub(crate) fn sync(&mut self, set: Set, entries: &[String]) -> (Found, Vec<Change>) {
        self.clock += 1;
        let clock = self.clock;
        let found = self.side(set).sync(set, entries, clock);
        (found, self.side(set).settle())
    }

    /// The next operation, which is then in flight until [`Plan::done`], [`Plan::failed`] or
    /// [`Plan::refused`]. There is none as long as it is unknown what firewalld holds.
    pub(crate) fn next(&mut self) -> Option<Op> {
        if self.in_flight.is_some() || !self.v4.synced || !self.v6.synced {
            return None;
        }
        let set = Set::ALL.into_iter().filter_map(|set| Some((self.side(set).urgency()?, set))).min()?.1;
        let op = self.side(set).next(set);
        self.in_flight.clone_from(&op);
        op
    }

    /// The operation has been carried out.
    pub(crate) fn done(&mut self, op: &Op) -> Vec<Change> {
        self.in_flight = None;
        self.clock += 1;
        let clock = self.clock;
        let side = self.side(op.set());
        let mut changes = side.done(op, clock);
        changes.extend(side.landed());
        changes
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
        self.clock += 1;
        let clock = self.clock;
        let side = self.side(op.set());
        match op {
            Op::Add(set, entry) => {
                // One entry that firewalld can't digest must not keep the others waiting.
                if let Some(net) = parse(*set, entry)
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
        }
    }

    /// firewalld will never take this entry: it is given up, and what it covered stands for
    /// itself again.
    pub(crate) fn refused(&mut self, op: &Op) -> Vec<Change> {
        self.in_flight = None;
        self.clock += 1;
        let clock = self.clock;
        let side = self.side(op.set());
        let mut changes = Vec::new();
        if let Op::Add(set, entry) = op
            && let Some(net) = parse(*set, entry)
        {
            changes = side.leave(net, clock, None);
        }
        changes.extend(side.landed());
        changes
    }

    /// Whether the operation is about an entry in somebody else's spelling.
    pub(crate) fn is_junk(&mut self, op: &Op) -> bool {
        matches!(op, Op::Remove(set, entry) if self.side(*set).junk.contains(entry))
    }

    /// Everything is known and nothing is left to be done.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && [&self.v4, &self.v6].iter().all(|side| side.synced && side.urgency().is_none())
    }

    #[cfg(test)]
    pub(super) fn announced(&self) -> BTreeSet<IpNet> {
        self.v4.announced.union(&self.v6.announced).copied().collect()
    }
}
