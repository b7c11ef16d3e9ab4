//! What is wanted, what firewalld is believed to hold, and the next call on the way from one to the
//! other. Pure: no bus, no clock.
//!
//! There is one pool for each scope and address family ([`super::pool`]), with several ipsets. The
//! plan lets the pools take turns, the oldest ban first, and keeps track of the one call that is in
//! flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::call::{Call, Edit};
use super::costs;
use super::entry::text;
use super::inspect::PoolReport;
use super::layout::{Family, IpsetId, Layout, PoolId};
use super::limits::Limits;
use super::pool::{Change, Found, Pool};
use crate::core::scope::Scope;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This call.
    Do(Call),
    /// Nothing before this time, in ms.
    Wait(u64),
    /// Nothing.
    Idle,
}

/// Where something has changed, and what.
pub(crate) type News = (Arc<Scope>, Change);

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pools: BTreeMap<PoolId, Pool>,
    /// Counts additions, so that bans are entered in the order in which they came.
    clock: u64,
    in_flight: Option<PoolId>,
    /// When entries were last put in, in ms.
    entered: Option<u64>,
    /// How long after the answer a list of ten thousand may still be on its way into the kernel, in ms.
    settle: u64,
    limits: Limits,
}

impl Plan {
    /// These ipsets are there, or will be: new ones are empty and unknown, others are forgotten.
    pub(crate) fn lay_out(&mut self, layout: &Layout) {
        let (ids, limits) = (layout.pools(), self.limits);
        self.pools.retain(|id, _| ids.contains(id));
        for id in ids {
            let family = id.family;
            self.pools.entry(id).or_insert_with(|| Pool::new(family, limits));
        }
    }

    #[cfg(test)]
    pub(super) fn with(limits: Limits, settle: u64) -> Self {
        Self { settle, limits, ..Self::default() }
    }

    pub(crate) fn set_settle(&mut self, settle: u64) {
        self.settle = settle;
    }

    /// Works on one pool with the next tick of the clock.
    fn on(&mut self, id: &PoolId, work: impl FnOnce(&mut Pool)) -> Vec<News> {
        self.clock += 1;
        let Some(pool) = self.pools.get_mut(id) else { return Vec::new() };
        pool.clock = self.clock;
        work(pool);
        pool.take_changes().into_iter().map(|change| (Arc::clone(&id.scope), change)).collect()
    }

    pub(crate) fn block(&mut self, scope: &Arc<Scope>, net: IpNet) -> Vec<News> {
        self.on(&PoolId::of(scope, &net), |pool| pool.block(net.trunc()))
    }

    pub(crate) fn release(&mut self, scope: &Arc<Scope>, net: IpNet) -> Vec<News> {
        self.on(&PoolId::of(scope, &net), |pool| pool.release(net.trunc()))
    }

    /// The source has been seen at large: its entry is added again, whatever firewalld lists.
    pub(crate) fn suspect(&mut self, scope: &Arc<Scope>, net: IpNet) {
        self.on(&PoolId::of(scope, &net), |pool| pool.suspect(net.trunc()));
    }

    /// Makes `list` the wanted list. What is in both is left alone.
    pub(crate) fn replace(&mut self, list: Vec<(Arc<Scope>, IpNet)>) -> Vec<News> {
        let list: BTreeSet<(Arc<Scope>, IpNet)> = list.into_iter().map(|(scope, net)| (scope, net.trunc())).collect();
        let wanted = self
            .pools
            .iter()
            .flat_map(|(id, pool)| pool.wanted.iter().map(|net| (Arc::clone(&id.scope), net)).collect::<Vec<_>>());
        let gone: Vec<(Arc<Scope>, IpNet)> = wanted.filter(|it| !list.contains(it)).collect();
        // Inner ones first, or they would be said to stand for themselves for a moment.
        let gone = gone.into_iter().rev();
        let mut all: Vec<News> = gone.flat_map(|(scope, net)| self.release(&scope, net)).collect();
        for (scope, net) in list {
            let known = self.pools.get(&PoolId::of(&scope, &net)).is_none_or(|pool| pool.wanted.contains(&net));
            if !known {
                all.extend(self.block(&scope, net));
            }
        }
        all
    }

    /// firewalld has lost everything, or may have: nothing is known until it is asked again.
    pub(crate) fn lost(&mut self) {
        self.pools.values_mut().for_each(Pool::lost);
    }

    /// Whether anybody in this network is to be locked out.
    pub(crate) fn touches(&self, net: &IpNet) -> bool {
        let in_pool = |pool: &Pool| pool.target.cover(net).is_some() || pool.target.within(net).next().is_some();
        self.pools.iter().any(|(id, pool)| id.family == Family::of(net) && in_pool(pool))
    }

    /// How what firewalld says that it holds differs from what it should, pool by pool; nothing is
    /// taken in.
    pub(crate) fn compare(&self, seen: &[(IpsetId, Vec<String>)]) -> Vec<PoolReport> {
        let report = |(id, pool): (&PoolId, &Pool)| {
            let sets = seen.iter().filter(|(set, entries)| set.pool == *id && !entries.is_empty());
            let (sets, held): (Vec<&IpsetId>, Vec<&Vec<String>>) = sets.map(|(set, entries)| (set, entries)).unzip();
            let held: BTreeSet<&String> = held.into_iter().flatten().collect();
            let wanted: BTreeSet<String> = pool.target.iter().map(|net| text(&net)).collect();
            PoolReport {
                name: IpsetId { pool: id.clone(), index: 0 }.name(),
                sets: sets.len(),
                wanted: wanted.len(),
                held: held.len(),
                missing: wanted.iter().filter(|entry| !held.contains(entry)).cloned().collect(),
                foreign: held.into_iter().filter(|entry| !wanted.contains(*entry)).cloned().collect(),
            }
        };
        self.pools.iter().map(report).collect()
    }

    /// Whether firewalld holds in this ipset what it is believed to hold there.
    pub(crate) fn holds(&self, set: &IpsetId, entries: &[String]) -> bool {
        let ipset = self.pools.get(&set.pool).and_then(|pool| pool.ipsets.get(set.index));
        ipset.is_some_and(|ipset| ipset.is(set.pool.family, entries))
    }

    /// Takes in what firewalld says that it holds, ipset by ipset, all of a pool together.
    pub(crate) fn sync(&mut self, lists: &[(IpsetId, Vec<String>)]) -> (Vec<(IpsetId, Found)>, Vec<News>) {
        // What has come to light has waited long enough.
        self.entered = None;
        let (mut all, mut news) = (Vec::new(), Vec::new());
        for sets in lists.chunk_by(|a, b| a.0.pool == b.0.pool) {
            let entries: Vec<&[String]> = sets.iter().map(|(_, entries)| &entries[..]).collect();
            let id = sets[0].0.pool.clone();
            news.extend(self.on(&id, |pool| {
                let found = pool.sync(&entries);
                all.extend(sets.iter().map(|(set, _)| set.clone()).zip(found));
            }));
        }
        (all, news)
    }

    /// The next call, which is then in flight until [`Plan::done`], [`Plan::failed`],
    /// [`Plan::forget`] or [`Plan::refused`]. There is none as long as it is unknown what
    /// firewalld holds.
    pub(crate) fn next(&mut self, now: u64) -> Next {
        if self.in_flight.is_some() || !self.pools.values().all(|pool| pool.synced) {
            return Next::Idle;
        }
        let load = self.pools.values().flat_map(|pool| &pool.ipsets).map(|ipset| ipset.held.len()).sum();
        let gather = self.entered.map_or(0, |at| at + self.limits.spacing.unwrap_or_else(|| costs::spacing(load)));
        for pool in self.pools.values_mut() {
            (pool.load, pool.gather) = (load, gather);
        }
        let mut turns: Vec<(&PoolId, &mut Pool)> = self.pools.iter_mut().collect();
        turns.sort_by_key(|(_, pool)| pool.urgency());
        let mut wait = None;
        for (id, pool) in turns {
            match pool.next(now) {
                Ok((index, edit)) => {
                    self.in_flight = Some(id.clone());
                    return Next::Do(Call { ipset: IpsetId { pool: id.clone(), index }, edit });
                }
                Err(at) => wait = [wait, at].into_iter().flatten().min(),
            }
        }
        wait.map_or(Next::Idle, Next::Wait)
    }

    fn land(&mut self, work: impl FnOnce(&mut Pool, u64)) -> Vec<News> {
        let settle = self.settle;
        match self.in_flight.take() {
            Some(id) => self.on(&id, |pool| work(pool, settle)),
            None => Vec::new(),
        }
    }

    /// The call has been carried out, at this time in ms.
    pub(crate) fn done(&mut self, now: u64) -> Vec<News> {
        let flight = self.in_flight.as_ref().and_then(|id| self.pools.get(id)?.flight.as_ref());
        match flight {
            Some((_, Edit::Add(_))) => self.entered = Some(now),
            Some((_, Edit::Write(list))) if !list.is_empty() => self.entered = Some(now),
            _ => {}
        }
        self.land(|pool, settle| pool.done(now, settle))
    }

    /// What became of the call is unknown, and it is not the call's fault. A sync
    /// follows.
    pub(crate) fn forget(&mut self) {
        self.land(|pool, _| pool.forget());
    }

    /// The call has failed for what it is. A sync follows.
    pub(crate) fn failed(&mut self) {
        self.land(|pool, _| pool.failed());
    }

    /// firewalld will never take this entry: it is given up, and what it covered stands for
    /// itself again.
    pub(crate) fn refused(&mut self) -> Vec<News> {
        self.land(|pool, _| pool.refused())
    }

    /// Whether the call is about an entry in somebody else's spelling.
    pub(crate) fn is_junk(&self, call: &Call) -> bool {
        let ipset = self.pools.get(&call.ipset.pool).and_then(|pool| pool.ipsets.get(call.ipset.index));
        matches!((&call.edit, ipset), (Edit::Remove(entry), Some(ipset)) if ipset.junk.contains(entry))
    }

    #[cfg(test)]
    pub(super) fn pools(&self) -> &BTreeMap<PoolId, Pool> {
        &self.pools
    }
}
