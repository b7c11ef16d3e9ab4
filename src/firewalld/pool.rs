//! The bans of one scope and family: what is wanted, what firewalld is believed to hold of it in
//! several ipsets, and the difference.
//!
//! Every change keeps the difference up to date at the cost of a few look-ups, so that one ban
//! among a hundred thousand costs what one ban among ten does. Each network of the target (the
//! widest of the wanted ones) is in one of three states: at home in an ipset, on the move from one
//! that is to be emptied, or missing. [`super::next_call`] decides what is done next.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::call::Edit;
use super::costs::settling;
use super::entry::{parse, text};
use super::ipset::{Ipset, Mode};
use super::layout::{Family, IPSETS};
use super::limits::Limits;
use super::nets::Nets;

/// Since when an addition has been waiting: the plan's clock, and the order within one tick.
pub(super) type Age = (u64, u64);

/// What an order or a finished call has changed for a source.
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

/// The bans of one family in one scope.
#[derive(Debug)]
pub(super) struct Pool {
    family: Family,
    pub(super) limits: Limits,
    pub(super) wanted: Nets,
    /// The widest of `wanted`.
    pub(super) target: Nets,
    pub(super) ipsets: Vec<Ipset>,
    /// In which ipset a network of the target is in force, to stay there.
    pub(super) home: BTreeMap<IpNet, usize>,
    /// In force in an ipset that is being emptied.
    pub(super) moves: BTreeSet<IpNet>,
    /// Not in force. By age, and the age of each.
    pub(super) adds: BTreeMap<Age, IpNet>,
    age_of: BTreeMap<IpNet, Age>,
    counter: u64,
    /// Writing a whole ipset has failed; entry by entry shows which one is at fault.
    pub(super) no_bulk: bool,
    /// What is held is known.
    pub(super) synced: bool,
    /// Sources of which "blocked" has been said and is still true.
    pub(super) announced: BTreeSet<IpNet>,
    /// Sources that were released and of which it is not yet known that they are out.
    leaving: BTreeSet<IpNet>,
    /// Those of `leaving` that came during a call which may just be entering them.
    unsure: Vec<IpNet>,
    pub(super) flight: Option<(usize, Edit)>,
    pub(super) clock: u64,
    /// How many entries firewalld has in all pools.
    pub(super) load: usize,
    /// Until when additions wait for more of them, in ms.
    pub(super) gather: u64,
    changes: Vec<Change>,
}

impl Pool {
    pub(super) fn new(family: Family, limits: Limits) -> Self {
        Self {
            family,
            limits,
            wanted: Nets::default(),
            target: Nets::default(),
            ipsets: (0..IPSETS).map(|_| Ipset::default()).collect(),
            home: BTreeMap::new(),
            moves: BTreeSet::new(),
            adds: BTreeMap::new(),
            age_of: BTreeMap::new(),
            counter: 0,
            no_bulk: false,
            synced: false,
            announced: BTreeSet::new(),
            leaving: BTreeSet::new(),
            unsure: Vec::new(),
            flight: None,
            clock: 0,
            load: 0,
            gather: 0,
            changes: Vec::new(),
        }
    }

    /// What has changed since the last time.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn block(&mut self, net: IpNet) {
        self.leaving.remove(&net);
        if self.wanted.insert(net) && self.target.cover(&net).is_none() {
            for inner in self.target.within(&net).collect::<Vec<_>>() {
                self.target.remove(&inner);
                self.compare(inner);
            }
            self.target.insert(net);
            self.compare(net);
        }
        // Every order is answered, also one that finds its source blocked already.
        let said = self.changes.contains(&Change::Blocked(net));
        if !said && let Some(cover) = self.target.cover(&net).filter(|cover| self.is_in_force(cover)) {
            self.announced.remove(&net);
            self.announce(&cover);
        }
    }

    pub(super) fn release(&mut self, net: IpNet) {
        self.announced.remove(&net);
        self.leave(net);
        if !self.synced || self.flight.is_some() || self.ipsets.iter().any(|ipset| ipset.held.contains(&net)) {
            self.leaving.insert(net);
            self.unsure.push(net);
        } else {
            self.changes.push(Change::Released(net));
        }
    }

    /// The network is wanted no more, and what is inside it stands for itself.
    pub(super) fn leave(&mut self, net: IpNet) {
        if self.wanted.remove(&net) && self.target.remove(&net) {
            self.compare(net);
            for inner in self.wanted.widest_within(&net) {
                self.target.insert(inner);
                self.compare(inner);
            }
        }
    }

    /// The source has been seen at large: whatever firewalld lists, no entry that covers it is in
    /// force, not even one that is about to go and may be wanted again.
    pub(super) fn suspect(&mut self, net: IpNet) {
        let Some(entry) = self.target.cover(&net) else { return };
        let mut doubted = BTreeSet::from([entry]);
        for ipset in &mut self.ipsets {
            let covers: Vec<IpNet> = ipset.held.covers(&net).collect();
            ipset.doubted.extend(covers.iter().copied());
            doubted.extend(covers);
        }
        for entry in doubted {
            self.compare(entry);
            self.lose(&entry);
        }
    }

    fn is_in_force(&self, entry: &IpNet) -> bool {
        self.synced && (self.home.contains_key(entry) || self.moves.contains(entry))
    }

    /// Whether an entry of this ipset can be built upon.
    fn stands(&self, index: usize, net: &IpNet) -> bool {
        let ipset = &self.ipsets[index];
        let going = match &self.flight {
            Some((set, Edit::Remove(gone))) => *set == index && *gone == text(net),
            Some((set, Edit::Write(_))) => *set == index,
            _ => false,
        };
        ipset.mode != Mode::Broken && !going && ipset.held.contains(net) && !ipset.doubted.contains(net)
    }

    /// Brings the difference up to date for one network.
    pub(super) fn compare(&mut self, net: IpNet) {
        let wanted = self.target.contains(&net);
        let in_mode = |pool: &Self, index: usize, mode| pool.ipsets[index].mode == mode && pool.stands(index, &net);
        let before = self.home.get(&net).copied().filter(|index| in_mode(self, *index, Mode::Open));
        let home = before.or_else(|| (0..IPSETS).find(|index| in_mode(self, *index, Mode::Open))).filter(|_| wanted);
        let moves = wanted && home.is_none() && (0..IPSETS).any(|index| in_mode(self, index, Mode::Emptying));
        match home {
            Some(index) => self.home.insert(net, index),
            None => self.home.remove(&net),
        };
        if moves {
            self.moves.insert(net);
        } else {
            self.moves.remove(&net);
        }
        for (index, ipset) in self.ipsets.iter_mut().enumerate() {
            let needed = home == Some(index) || (moves && ipset.mode == Mode::Emptying);
            if ipset.held.contains(&net) && !needed {
                ipset.surplus.insert(net);
            } else {
                ipset.surplus.remove(&net);
            }
        }
        if wanted && home.is_none() && !moves {
            if !self.age_of.contains_key(&net) {
                self.push_add(net);
                self.lose(&net);
            }
        } else {
            self.drop_add(&net);
            if wanted && self.synced {
                self.announce(&net);
            }
        }
    }

    /// The network is covered, and with it all inside it.
    fn announce(&mut self, net: &IpNet) {
        let covered = self.wanted.within(net);
        self.changes.extend(covered.filter(|source| self.announced.insert(*source)).map(Change::Blocked));
    }

    /// The network is not covered by itself; nor is what is inside it, if nothing else covers it.
    fn lose(&mut self, net: &IpNet) {
        let covered = |source: &IpNet| {
            let by = |ipset: &Ipset| ipset.held.cover(source).is_some_and(|cover| !ipset.doubted.contains(&cover));
            self.ipsets.iter().any(|ipset| ipset.mode != Mode::Broken && by(ipset))
        };
        let open: Vec<IpNet> = self.wanted.within(net).filter(|source| !covered(source)).collect();
        for source in open {
            self.announced.remove(&source);
        }
    }

    fn push_add(&mut self, net: IpNet) {
        self.counter += 1;
        let age = (self.clock, self.counter);
        self.adds.insert(age, net);
        self.age_of.insert(net, age);
    }

    fn drop_add(&mut self, net: &IpNet) -> bool {
        self.age_of.remove(net).is_some_and(|age| self.adds.remove(&age).is_some())
    }

    /// Changes what is to become of an ipset.
    pub(super) fn turn(&mut self, index: usize, mode: Mode) {
        self.ipsets[index].mode = mode;
        for net in self.ipsets[index].held.iter().collect::<Vec<_>>() {
            self.compare(net);
        }
    }

    /// The call has been carried out, at the time `now`; a list is in the kernel some time later, one of
    /// ten thousand `settle`.
    pub(super) fn done(&mut self, now: u64, settle: u64) {
        let Some((index, action)) = self.flight.take() else { return };
        let ipset = &mut self.ipsets[index];
        match action {
            Edit::Add(net) => {
                ipset.held.insert(net);
                self.compare(net);
            }
            Edit::Remove(entry) => {
                if ipset.junk.remove(&entry) {
                    ipset.tried.insert(entry);
                } else if let Some(net) = parse(self.family, &entry) {
                    ipset.tried.remove(&entry);
                    ipset.held.remove(&net);
                    ipset.doubted.remove(&net);
                    self.compare(net);
                    self.left(net);
                }
            }
            Edit::Write(entries) => {
                let settles = now + settling(settle, entries.len());
                let new = Ipset { held: entries.iter().copied().collect(), settles, ..Ipset::default() };
                let before = std::mem::replace(ipset, new);
                for net in before.held.iter().chain(entries) {
                    self.compare(net);
                    self.left(net);
                }
            }
        }
        for net in std::mem::take(&mut self.unsure) {
            self.left(net);
        }
    }

    /// If the network was to go, and is in no ipset any more, it has gone.
    fn left(&mut self, net: IpNet) {
        if !self.ipsets.iter().any(|ipset| ipset.held.contains(&net)) && self.leaving.remove(&net) {
            self.changes.push(Change::Released(net));
        }
    }

    /// What became of the call is unknown, and it is not the call's fault.
    pub(super) fn forget(&mut self) {
        self.flight = None;
    }

    /// The call has failed for what it is.
    pub(super) fn failed(&mut self) {
        let Some((index, action)) = self.flight.take() else { return };
        match action {
            Edit::Add(net) => {
                // One entry that firewalld can't digest must not keep the others waiting.
                if self.drop_add(&net) {
                    self.push_add(net);
                }
            }
            Edit::Remove(entry) => {
                // firewalld may list what the kernel has not.
                if !self.ipsets[index].tried.insert(entry) {
                    self.turn(index, Mode::Broken);
                }
            }
            Edit::Write(entries) => {
                self.no_bulk |= !entries.is_empty();
                self.turn(index, Mode::Broken);
            }
        }
    }

    /// firewalld will never take this entry: it is given up, and what it covered stands for
    /// itself again.
    pub(super) fn refused(&mut self) {
        if let Some((_, Edit::Add(net))) = self.flight.take() {
            self.leave(net);
        }
    }

    /// firewalld has lost everything, or may have.
    pub(super) fn lost(&mut self) {
        self.synced = false;
        self.ipsets.iter_mut().for_each(|ipset| *ipset = Ipset::default());
    }

    /// Takes in what firewalld holds in each ipset.
    pub(super) fn sync(&mut self, lists: &[&[String]]) -> Vec<Found> {
        let mut all = Vec::new();
        for (index, entries) in lists.iter().enumerate() {
            let ipset = &mut self.ipsets[index];
            let before = std::mem::take(&mut ipset.held);
            let mut found = Found::default();
            ipset.junk.clear();
            for entry in *entries {
                if let Some(net) = parse(self.family, entry) {
                    ipset.held.insert(net);
                    let ours = self.target.contains(&net) || self.wanted.contains(&net) || self.leaving.contains(&net);
                    let known = self.synced && before.contains(&net);
                    if !(ours || known) {
                        found.foreign.push(entry.clone());
                    }
                } else {
                    ipset.junk.insert(entry.clone());
                    found.foreign.push(entry.clone());
                }
            }
            if self.synced {
                let gone = before.iter().filter(|net| self.home.get(net) == Some(&index) && !ipset.held.contains(net));
                found.missing.extend(gone.map(|net| text(&net)));
            }
            ipset.surplus.clear();
            ipset.tried.retain(|entry| entries.contains(entry));
            ipset.doubted.retain(|net| ipset.held.contains(net));
            all.push(found);
        }
        self.synced = true;
        self.home.clear();
        self.moves.clear();
        let held: Vec<IpNet> = self.ipsets.iter().flat_map(|ipset| ipset.held.iter()).collect();
        for net in held.into_iter().chain(self.target.iter().collect::<Vec<_>>()) {
            self.compare(net);
        }
        for net in self.adds.values().copied().collect::<Vec<_>>() {
            self.lose(&net);
        }
        for net in self.leaving.iter().copied().collect::<Vec<_>>() {
            self.left(net);
        }
        self.unsure.clear();
        all
    }
}
