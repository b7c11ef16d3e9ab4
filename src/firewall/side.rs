//! One ipset: the wanted list of one family, what firewalld is believed to hold of it, and the
//! difference.
//!
//! Every change keeps the difference up to date at the cost of a few look-ups, so that one ban
//! among a hundred thousand costs what one ban among ten does. [`super::plan`] has the rules that
//! the operations follow.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::nets::{Nets, range_within};
use super::plan::{Change, Found, Op, parse, text};
use super::sets::{Family, Set};

/// Above this many entries for an empty set, as after a reload, they go in with one call: there is
/// no cover to lose, and each of them is let through until its turn has come.
const FEW: usize = 8;

/// Since when an addition has been waiting: the plan's clock, and the order within one tick.
type Age = (u64, u64);

/// One family. `target` is always the widest of `wanted`; `adds` and `removes` are always the
/// difference between `target` and `held`.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) wanted: Nets,
    target: Nets,
    held: Nets,
    adds: BTreeSet<IpNet>,
    /// `adds` by age, and the age of each.
    ages: BTreeMap<Age, IpNet>,
    age_of: BTreeMap<IpNet, Age>,
    counter: u64,
    removes: BTreeSet<IpNet>,
    /// Entries in a spelling of somebody else's; they can only be removed word for word.
    pub(super) junk: BTreeSet<String>,
    /// Junk that has been removed before and may be back: firewalld can hold entries that it
    /// can't find again.
    pub(super) tried: BTreeSet<String>,
    /// The next operation is to write the whole set.
    pub(super) rewrite: bool,
    /// Writing the whole set has failed; entry by entry shows which one is at fault.
    pub(super) no_bulk: bool,
    /// The network in which a swap is under way.
    swap: Option<IpNet>,
    /// What is held is known.
    pub(super) synced: bool,
    /// Sources of which "blocked" has been said and is still true.
    pub(super) announced: BTreeSet<IpNet>,
    /// Sources that were released and of which it is not yet known that they are out.
    leaving: BTreeSet<IpNet>,
    /// Those of `leaving` that came during a call which may just be entering them.
    unsure: Vec<IpNet>,
    bulk: usize,
}

impl Side {
    pub(super) fn new(bulk: usize) -> Self {
        Self { bulk, ..Self::default() }
    }

    pub(super) fn block(&mut self, net: IpNet, clock: u64, flight: Option<&Op>) -> Vec<Change> {
        self.leaving.remove(&net);
        self.enter(net, clock);
        // Every order is answered, also one that finds its source blocked already.
        self.announced.remove(&net);
        let cover = self.target.cover(&net);
        if cover.is_some_and(|cover| self.stays(&cover, flight)) { self.announce(&net) } else { Vec::new() }
    }

    pub(super) fn release(&mut self, net: IpNet, clock: u64, flight: Option<&Op>) -> Vec<Change> {
        self.announced.remove(&net);
        let mut changes = self.leave(net, clock, flight);
        if !self.synced || flight.is_some() || self.held.contains(&net) {
            self.leaving.insert(net);
            self.unsure.push(net);
        } else {
            changes.push(Change::Released(net));
        }
        changes
    }

    /// Whether an entry of the target is held and will be: one that is on its way out is no cover.
    fn stays(&self, entry: &IpNet, flight: Option<&Op>) -> bool {
        let going = matches!(flight, Some(Op::Remove(_, gone)) if *gone == text(entry));
        self.synced && self.held.contains(entry) && !going
    }

    fn enter(&mut self, net: IpNet, clock: u64) {
        if self.wanted.insert(net) && self.target.cover(&net).is_none() {
            for inner in self.target.within(&net).collect::<Vec<_>>() {
                self.target.remove(&inner);
                self.compare(inner, clock);
            }
            self.target.insert(net);
            self.compare(net, clock);
        }
    }

    /// What takes the place of the network may be held still, if the swap had not begun.
    pub(super) fn leave(&mut self, net: IpNet, clock: u64, flight: Option<&Op>) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.wanted.remove(&net) && self.target.remove(&net) {
            self.compare(net, clock);
            for inner in self.wanted.widest_within(&net) {
                self.target.insert(inner);
                self.compare(inner, clock);
                if self.stays(&inner, flight) {
                    changes.extend(self.announce(&inner));
                }
            }
        }
        changes
    }

    /// The network is covered, and with it all inside it.
    fn announce(&mut self, net: &IpNet) -> Vec<Change> {
        let covered = self.wanted.within(net);
        covered.filter(|source| self.announced.insert(*source)).map(Change::Blocked).collect()
    }

    /// Brings `adds` and `removes` up to date for one network.
    fn compare(&mut self, net: IpNet, clock: u64) {
        let (wanted, held) = (self.target.contains(&net), self.held.contains(&net));
        if wanted && !held {
            self.push_add(net, clock);
        } else {
            self.drop_add(&net);
        }
        if held && !wanted {
            self.removes.insert(net);
        } else {
            self.removes.remove(&net);
        }
    }

    pub(super) fn push_add(&mut self, net: IpNet, clock: u64) {
        if self.adds.insert(net) {
            self.counter += 1;
            let age = (clock, self.counter);
            self.ages.insert(age, net);
            self.age_of.insert(net, age);
        }
    }

    pub(super) fn drop_add(&mut self, net: &IpNet) -> bool {
        if let Some(age) = self.age_of.remove(net) {
            self.ages.remove(&age);
        }
        self.adds.remove(net)
    }

    /// How soon this side should have its turn; the least first. `None`: it has nothing to do.
    pub(super) fn urgency(&self) -> Option<(u8, Age)> {
        if self.rewrite || !self.junk.is_empty() {
            return Some((0, (0, 0)));
        }
        let oldest = self.ages.first_key_value().map(|(&age, _)| age);
        if self.swapping().is_some() {
            return Some((0, (0, 1)));
        }
        match oldest {
            Some(age) => Some((1, age)),
            None => (!self.removes.is_empty()).then_some((2, (0, 0))),
        }
    }

    /// The next network to enter in the swap that is under way.
    fn swapping(&self) -> Option<IpNet> {
        self.swap.and_then(|swap| range_within(&self.adds, &swap).next())
    }

    pub(super) fn next(&mut self, set: &Set) -> Option<Op> {
        if self.rewrite {
            return Some(Op::SetAll(set.clone(), self.target.iter().map(|net| text(&net)).collect()));
        }
        if let Some(entry) = self.junk.first() {
            return Some(Op::Remove(set.clone(), entry.clone()));
        }
        let add = self.swapping().or_else(|| {
            self.swap = None;
            self.ages.first_key_value().map(|(_, &net)| net)
        });
        if let Some(net) = add {
            return Some(self.towards(set, net));
        }
        let net = self.removes.first()?;
        Some(Op::Remove(set.clone(), text(net)))
    }

    /// The next step towards having `net` entered: first out with whatever overlaps it.
    fn towards(&mut self, set: &Set, net: IpNet) -> Op {
        let cover = self.held.cover(&net);
        let Some(obstacle) = cover.or_else(|| self.held.within(&net).next()) else {
            return Op::Add(set.clone(), text(&net));
        };
        let swap = cover.unwrap_or(net);
        if !self.swap.is_some_and(|outer| outer.contains(&swap)) {
            self.swap = Some(swap);
        }
        Op::Remove(set.clone(), text(&obstacle))
    }

    pub(super) fn done(&mut self, op: &Op, clock: u64) -> Vec<Change> {
        match op {
            Op::Add(set, entry) => {
                let Some(net) = parse(set.family, entry) else {
                    return Vec::new();
                };
                self.held.insert(net);
                self.compare(net, clock);
                self.announce(&net)
            }
            Op::Remove(set, entry) => {
                if self.junk.remove(entry) {
                    self.tried.insert(entry.clone());
                    return Vec::new();
                }
                let Some(net) = parse(set.family, entry) else {
                    return Vec::new();
                };
                self.held.remove(&net);
                self.compare(net, clock);
                self.left(net).into_iter().collect()
            }
            Op::SetAll(set, entries) => {
                self.junk.clear();
                self.tried.clear();
                self.rewrite = false;
                self.hold(entries.iter().filter_map(|e| parse(set.family, e)), clock);
                self.settle()
            }
        }
    }

    /// After a call: what was released during it is out, unless the call has entered it.
    pub(super) fn landed(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.unsure).into_iter().filter_map(|net| self.left(net)).collect()
    }

    fn left(&mut self, net: IpNet) -> Option<Change> {
        (!self.held.contains(&net) && self.leaving.remove(&net)).then_some(Change::Released(net))
    }

    pub(super) fn sync(&mut self, family: Family, entries: &[String], clock: u64) -> Found {
        let before = std::mem::take(&mut self.held);
        let mut found = Found::default();
        let mut now = Vec::with_capacity(entries.len());
        self.junk.clear();
        for entry in entries {
            if let Some(net) = parse(family, entry) {
                now.push(net);
            } else {
                self.junk.insert(entry.clone());
                found.foreign.push(entry.clone());
            }
        }
        self.hold(now, clock);
        for net in self.held.iter().filter(|n| !self.target.contains(n)) {
            let ours = self.leaving.contains(&net) || self.wanted.contains(&net);
            let known = self.synced && before.contains(&net);
            if !ours && !known {
                found.foreign.push(text(&net));
            }
        }
        if self.synced {
            let gone = before.iter().filter(|net| self.target.contains(net) && !self.held.contains(net));
            found.missing.extend(gone.map(|net| text(&net)));
        }
        self.synced = true;
        self.swap = None;
        self.no_bulk &= !self.adds.is_empty() || !self.removes.is_empty();
        self.rewrite = self.should_rewrite();
        self.tried.retain(|entry| self.junk.contains(entry));
        found
    }

    /// Writing the whole set empties it first, so it is for a set that covers little of what is
    /// wanted; and for one that holds what can't be taken out in any other way.
    fn should_rewrite(&self) -> bool {
        if self.junk.iter().any(|entry| self.tried.contains(entry)) {
            return true;
        }
        let pending = self.adds.len() + self.removes.len() + self.junk.len();
        let kept = self.held.len() - self.removes.len();
        let empty = self.held.len() == 0 && self.junk.is_empty() && pending > FEW;
        let mostly = pending > self.bulk && kept * 2 <= self.target.len();
        (empty || mostly) && !self.no_bulk
    }

    fn hold(&mut self, nets: impl IntoIterator<Item = IpNet>, clock: u64) {
        self.held = nets.into_iter().collect();
        self.removes.clear();
        let held: Vec<IpNet> = self.held.iter().collect();
        for net in held.into_iter().chain(self.target.iter().collect::<Vec<_>>()) {
            self.compare(net, clock);
        }
    }

    /// Says of every source whether it has come into force or gone out of it.
    pub(super) fn settle(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for source in self.wanted.iter() {
            if self.held.cover(&source).is_none() {
                self.announced.remove(&source);
                continue;
            }
            // Somebody else's wider entry covers too, but it is about to go.
            let stays = self.target.cover(&source).is_some_and(|net| self.held.contains(&net));
            if stays && self.announced.insert(source) {
                changes.push(Change::Blocked(source));
            }
        }
        self.unsure.clear();
        let leaving = std::mem::take(&mut self.leaving);
        let (in_force, out) = leaving.into_iter().partition(|n| self.held.contains(n));
        self.leaving = in_force;
        changes.extend(BTreeSet::into_iter(out).map(Change::Released));
        changes
    }
}
