//! A set of networks of one family that can answer "who covers this" and "who is inside this"
//! without walking the whole list.
//!
//! Truncated networks either nest or are disjoint. Ordered by address and then by prefix length
//! a network comes right before everything inside it, so the inside is one range; and a cover can
//! only be one of the prefixes of the network, of which only the lengths that occur are tried.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nets {
    set: BTreeSet<IpNet>,
    /// How many networks there are of each prefix length: real lists know two or three lengths,
    /// so the walk over the prefixes of an IPv6 address is not 129 steps long.
    lengths: BTreeMap<u8, usize>,
}

impl Nets {
    pub(super) fn insert(&mut self, net: IpNet) -> bool {
        let new = self.set.insert(net);
        if new {
            *self.lengths.entry(net.prefix_len()).or_default() += 1;
        }
        new
    }

    pub(super) fn remove(&mut self, net: &IpNet) -> bool {
        let known = self.set.remove(net);
        if known && let Some(count) = self.lengths.get_mut(&net.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&net.prefix_len());
            }
        }
        known
    }

    pub(super) fn contains(&self, net: &IpNet) -> bool {
        self.set.contains(net)
    }

    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.set.iter().copied()
    }

    /// The widest network that contains `net`; it may be `net` itself.
    pub(super) fn cover(&self, net: &IpNet) -> Option<IpNet> {
        self.covers(net).next()
    }

    /// All networks that contain `net`, wider ones first.
    pub(super) fn covers(&self, net: &IpNet) -> impl Iterator<Item = IpNet> {
        self.lengths
            .range(..=net.prefix_len())
            .filter_map(|(&length, _)| IpNet::new(net.addr(), length).ok())
            .map(|prefix| prefix.trunc())
            .filter(|prefix| self.set.contains(prefix))
    }

    /// `net` and everything inside it, as far as it is in the set, wider ones first.
    pub(super) fn within(&self, net: &IpNet) -> impl Iterator<Item = IpNet> + use<'_> {
        range_within(&self.set, net)
    }

    /// The networks inside `net` that are in no other one of the set.
    pub(super) fn widest_within(&self, net: &IpNet) -> Vec<IpNet> {
        let mut widest: Vec<IpNet> = Vec::new();
        for inner in self.within(net) {
            if !widest.last().is_some_and(|outer| outer.contains(&inner)) {
                widest.push(inner);
            }
        }
        widest
    }
}

impl FromIterator<IpNet> for Nets {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let mut all = Self::default();
        for net in nets {
            all.insert(net);
        }
        all
    }
}

/// The part of an ordered set that lies in `net`.
pub(super) fn range_within<'a>(set: &'a BTreeSet<IpNet>, net: &IpNet) -> impl Iterator<Item = IpNet> + use<'a> {
    let last = IpNet::from(net.broadcast());
    set.range(*net..=last).copied()
}
