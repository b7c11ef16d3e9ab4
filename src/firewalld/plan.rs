//! What is wanted, what firewalld is believed to hold, and the next operation from one to the
//! other. Pure: no bus, no clock.
//!
//! There is one list for each scope and address family ([`super::side`]), which lies in several
//! sets. The plan lets them take turns, the oldest ban first, and keeps track of the one operation
//! that is in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::costs;
use super::inspect::Standing;
use super::sets::{Family, Layout, Pool, Set};
use super::side::{Action, Side};
use super::steps::Limits;
use crate::core::scope::Scope;

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

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This call.
    Do(Op),
    /// Nothing before this time, in ms.
    Wait(u64),
    /// Nothing.
    Idle,
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

#[derive(Debug, Default)]
pub(crate) struct Plan {
    sides: BTreeMap<Pool, Side>,
    /// Counts additions, so that bans are entered in the order in which they came.
    clock: u64,
    in_flight: Option<Pool>,
    /// When entries were last put in, in ms.
    entered: Option<u64>,
    /// How long after the answer a list of ten thousand may still be on its way into the kernel, in ms.
    settle: u64,
    limits: Limits,
}

impl Plan {
    /// These sets are there, or will be: new ones are empty and unknown, others are forgotten.
    pub(crate) fn lay_out(&mut self, layout: &Layout) {
        let (pools, limits) = (layout.pools(), self.limits);
        self.sides.retain(|pool, _| pools.contains(pool));
        for pool in pools {
            let family = pool.family;
            self.sides.entry(pool).or_insert_with(|| Side::new(family, limits));
        }
    }

    #[cfg(test)]
    pub(super) fn with(limits: Limits, settle: u64) -> Self {
        Self { settle, limits, ..Self::default() }
    }

    pub(crate) fn set_settle(&mut self, settle: u64) {
        self.settle = settle;
    }

    /// Works on one list with the next tick of the clock.
    fn on(&mut self, pool: &Pool, work: impl FnOnce(&mut Side)) -> Vec<News> {
        self.clock += 1;
        let Some(side) = self.sides.get_mut(pool) else { return Vec::new() };
        side.clock = self.clock;
        work(side);
        side.take_changes().into_iter().map(|change| (Arc::clone(&pool.scope), change)).collect()
    }

    pub(crate) fn block(&mut self, scope: &Arc<Scope>, net: IpNet) -> Vec<News> {
        self.on(&Pool::of(scope, &net), |side| side.block(net.trunc()))
    }

    pub(crate) fn release(&mut self, scope: &Arc<Scope>, net: IpNet) -> Vec<News> {
        self.on(&Pool::of(scope, &net), |side| side.release(net.trunc()))
    }

    /// The source has been seen at large: its entry is added again, whatever firewalld lists.
    pub(crate) fn suspect(&mut self, scope: &Arc<Scope>, net: IpNet) {
        self.on(&Pool::of(scope, &net), |side| side.suspect(net.trunc()));
    }

    /// Makes `list` the wanted list. What is in both is left alone.
    pub(crate) fn replace(&mut self, list: Vec<(Arc<Scope>, IpNet)>) -> Vec<News> {
        let list: BTreeSet<(Arc<Scope>, IpNet)> = list.into_iter().map(|(scope, net)| (scope, net.trunc())).collect();
        let wanted = self
            .sides
            .iter()
            .flat_map(|(pool, side)| side.wanted.iter().map(|net| (Arc::clone(&pool.scope), net)).collect::<Vec<_>>());
        let gone: Vec<(Arc<Scope>, IpNet)> = wanted.filter(|it| !list.contains(it)).collect();
        // Inner ones first, or they would be said to stand for themselves for a moment.
        let gone = gone.into_iter().rev();
        let mut all: Vec<News> = gone.flat_map(|(scope, net)| self.release(&scope, net)).collect();
        for (scope, net) in list {
            let known = self.sides.get(&Pool::of(&scope, &net)).is_none_or(|side| side.wanted.contains(&net));
            if !known {
                all.extend(self.block(&scope, net));
            }
        }
        all
    }

    /// firewalld has lost everything, or may have: nothing is known until it is asked again.
    pub(crate) fn lost(&mut self) {
        self.sides.values_mut().for_each(Side::lost);
    }

    /// Whether anybody in this network is to be locked out.
    pub(crate) fn touches(&self, net: &IpNet) -> bool {
        let in_side = |side: &Side| side.target.cover(net).is_some() || side.target.within(net).next().is_some();
        self.sides.iter().any(|(pool, side)| pool.family == Family::of(net) && in_side(side))
    }

    /// How what firewalld says that it holds differs from what it should, list by list; nothing is
    /// taken in.
    pub(crate) fn compare(&self, seen: &[(Set, Vec<String>)]) -> Vec<Standing> {
        let standing = |(pool, side): (&Pool, &Side)| {
            let sets = seen.iter().filter(|(set, entries)| set.pool == *pool && !entries.is_empty());
            let (sets, held): (Vec<&Set>, Vec<&Vec<String>>) = sets.map(|(set, entries)| (set, entries)).unzip();
            let held: BTreeSet<&String> = held.into_iter().flatten().collect();
            let wanted: BTreeSet<String> = side.target.iter().map(|net| text(&net)).collect();
            Standing {
                name: Set { pool: pool.clone(), slot: 0 }.name(),
                sets: sets.len(),
                wanted: wanted.len(),
                held: held.len(),
                missing: wanted.iter().filter(|entry| !held.contains(entry)).cloned().collect(),
                foreign: held.into_iter().filter(|entry| !wanted.contains(*entry)).cloned().collect(),
            }
        };
        self.sides.iter().map(standing).collect()
    }

    /// Takes in what firewalld says that it holds, set by set, all of a list together.
    pub(crate) fn sync(&mut self, lists: &[(Set, Vec<String>)]) -> (Vec<(Set, Found)>, Vec<News>) {
        // What has come to light has waited long enough.
        self.entered = None;
        let (mut all, mut news) = (Vec::new(), Vec::new());
        for sets in lists.chunk_by(|a, b| a.0.pool == b.0.pool) {
            let entries: Vec<&[String]> = sets.iter().map(|(_, entries)| &entries[..]).collect();
            let pool = sets[0].0.pool.clone();
            news.extend(self.on(&pool, |side| {
                let found = side.sync(&entries);
                all.extend(sets.iter().map(|(set, _)| set.clone()).zip(found));
            }));
        }
        (all, news)
    }

    /// The next operation, which is then in flight until [`Plan::done`], [`Plan::failed`],
    /// [`Plan::forget`] or [`Plan::refused`]. There is none as long as it is unknown what
    /// firewalld holds.
    pub(crate) fn next(&mut self, now: u64) -> Next {
        if self.in_flight.is_some() || !self.sides.values().all(|side| side.synced) {
            return Next::Idle;
        }
        let load = self.sides.values().flat_map(|side| &side.slots).map(|slot| slot.held.len()).sum();
        let gather = self.entered.map_or(0, |at| at + self.limits.spacing.unwrap_or_else(|| costs::spacing(load)));
        for side in self.sides.values_mut() {
            (side.load, side.gather) = (load, gather);
        }
        let mut turns: Vec<(&Pool, &mut Side)> = self.sides.iter_mut().collect();
        turns.sort_by_key(|(_, side)| side.urgency());
        let mut wait = None;
        for (pool, side) in turns {
            match side.next(now) {
                Ok((slot, action)) => {
                    self.in_flight = Some(pool.clone());
                    let set = Set { pool: pool.clone(), slot };
                    return Next::Do(match action {
                        Action::Add(net) => Op::Add(set, text(&net)),
                        Action::Remove(entry) => Op::Remove(set, entry),
                        Action::Write(list) => Op::SetAll(set, list.iter().map(text).collect()),
                    });
                }
                Err(at) => wait = [wait, at].into_iter().flatten().min(),
            }
        }
        wait.map_or(Next::Idle, Next::Wait)
    }

    fn land(&mut self, work: impl FnOnce(&mut Side, u64)) -> Vec<News> {
        let settle = self.settle;
        match self.in_flight.take() {
            Some(pool) => self.on(&pool, |side| work(side, settle)),
            None => Vec::new(),
        }
    }

    /// The operation has been carried out, at this time in ms.
    pub(crate) fn done(&mut self, now: u64) -> Vec<News> {
        let flight = self.in_flight.as_ref().and_then(|pool| self.sides.get(pool)?.flight.as_ref());
        match flight {
            Some((_, Action::Add(_))) => self.entered = Some(now),
            Some((_, Action::Write(list))) if !list.is_empty() => self.entered = Some(now),
            _ => {}
        }
        self.land(|side, settle| side.done(now, settle))
    }

    /// What became of the operation is unknown, and it is not the operation's fault. A sync
    /// follows.
    pub(crate) fn forget(&mut self) {
        self.land(|side, _| side.forget());
    }

    /// The operation has failed for what it is. A sync follows.
    pub(crate) fn failed(&mut self) {
        self.land(|side, _| side.failed());
    }

    /// firewalld will never take this entry: it is given up, and what it covered stands for
    /// itself again.
    pub(crate) fn refused(&mut self) -> Vec<News> {
        self.land(|side, _| side.refused())
    }

    /// Whether the operation is about an entry in somebody else's spelling.
    pub(crate) fn is_junk(&self, op: &Op) -> bool {
        let slot = |set: &Set| self.sides.get(&set.pool).and_then(|side| side.slots.get(set.slot));
        matches!(op, Op::Remove(set, entry) if slot(set).is_some_and(|slot| slot.junk.contains(entry)))
    }

    #[cfg(test)]
    pub(super) fn sides(&self) -> &BTreeMap<Pool, Side> {
        &self.sides
    }
}
