//! What a source may get away with because somebody has logged in from there.
//!
//! An account is no licence to guess at others without end, so what a spared source does adds up
//! for longer than `findtime`, and at a limit it is banned all the same. What fails for the names
//! that have logged in from there is most likely a typing mistake or an old script, and may happen
//! more often: guessing at one's own password is of no use, but several may share an address.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::core::{
    failure::{Failure, Failures, View},
    time::{USEC_PER_SEC, Usec},
};

/// How long what a spared source does adds up, where `findtime` is shorter.
pub(super) const SPAN: Usec = 3600 * USEC_PER_SEC;
/// The multiple of the limit that is allowed for names that have logged in from there.
pub(crate) const OWN_NAMES: usize = 5;
/// The most names that are remembered of an address, the first of them.
const MOST_NAMES: usize = 32;
/// The most sources that are counted.
const MOST: usize = 4096;

/// The failures of each source that was spared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Licences(BTreeMap<IpNet, Failures>);

impl Licences {
    /// Adds a failure of a spared source at the time `at`. Returns all that add up if it is one too
    /// many.
    pub(super) fn add(
        &mut self,
        source: IpNet,
        failure: &Failure,
        at: Usec,
        limit: Limit,
        is_own: impl Fn(&str) -> bool,
    ) -> Option<Failures> {
        let since = at.saturating_sub(limit.span);
        if self.0.len() >= MOST && !self.0.contains_key(&source) {
            self.0.retain(|_, failures| failures.views().last().is_some_and(|last| last.time >= since));
            if self.0.len() >= MOST {
                self.0.pop_first();
            }
        }
        let failures = self.0.entry(source).or_default();
        if failures.views().next().is_some_and(|first| first.time < since) {
            *failures = failures.views().filter(|view| view.time >= since).collect();
        }
        failures.push(failure);
        if standing(failures, at, limit.span, is_own).is_within(limit) {
            return None;
        }
        self.0.remove(&source)
    }

    /// How many failures add up at the time `at`.
    pub(super) fn standing(&self, source: IpNet, at: Usec, span: Usec, is_own: impl Fn(&str) -> bool) -> Spent {
        self.0.get(&source).map_or(Spent::default(), |failures| standing(failures, at, span, is_own))
    }

    /// A failure was none, or is forgiven.
    pub(super) fn take_back(&mut self, source: IpNet, failure: &Failure) {
        let Some(failures) = self.0.get_mut(&source) else { return };
        let gone = View::of(failure);
        if let Some(place) = failures.views().position(|view| view == gone) {
            let (before, after) = (failures.views().take(place), failures.views().skip(place + 1));
            *failures = before.chain(after).collect();
        }
        if failures.is_empty() {
            self.0.remove(&source);
        }
    }

    /// The source is no longer spared, or its count is reset.
    pub(super) fn forget(&mut self, source: IpNet) {
        self.0.remove(&source);
    }

    /// As [`Self::forget`], of all sources that are not to be kept.
    pub(super) fn retain(&mut self, kept: impl Fn(IpNet) -> bool) {
        self.0.retain(|source, _| kept(*source));
    }

    /// Moves every time along with a clock that was set.
    pub(super) fn shift(&mut self, by: i64) {
        self.0.values_mut().for_each(|failures| failures.shift(by));
    }
}

/// When sparing ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// The number of failures for names that have not logged in from there.
    pub(super) others: usize,
    /// The time window, in µs.
    pub(super) span: Usec,
}

/// What a spared source has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Failures for names that have not logged in from there.
    pub(crate) others: usize,
    /// All failures.
    pub(crate) all: usize,
}

impl Spent {
    fn is_within(self, limit: Limit) -> bool {
        self.others < limit.others && self.all < limit.others.saturating_mul(OWN_NAMES)
    }
}

fn standing(failures: &Failures, at: Usec, span: Usec, is_own: impl Fn(&str) -> bool) -> Spent {
    let since = at.saturating_sub(span);
    failures.views().filter(|view| view.time >= since).fold(Spent::default(), |spent, view| Spent {
        others: spent.others + usize::from(!view.user.is_some_and(&is_own)),
        all: spent.all + 1,
    })
}

/// The names that have logged in from each address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Names(BTreeMap<IpAddr, Vec<Box<str>>>);

impl Names {
    /// Somebody has logged in.
    pub(super) fn add(&mut self, address: IpAddr, name: Box<str>) {
        let names = self.0.entry(address).or_default();
        if names.len() < MOST_NAMES && !names.contains(&name) {
            names.push(name);
        }
    }

    /// Whether somebody of this name has logged in from the network.
    pub(super) fn have_come_from(&self, network: IpNet, name: &str) -> bool {
        let inside = self.0.range(network.network()..=network.broadcast());
        inside.flat_map(|(_, names)| names).any(|known| **known == *name)
    }

    /// Forgets the addresses that are not to be kept.
    pub(super) fn retain(&mut self, kept: impl Fn(&IpAddr) -> bool) {
        self.0.retain(|address, _| kept(address));
    }
}
