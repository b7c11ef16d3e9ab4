//! Who hops: an attacker that has a wide IPv6 network and guesses a few times from each source in it.
//!
//! Whoever asks a tunnel broker has a /48, which is 65,536 sources of /64, so counting sources one by
//! one never ends. Here the failures of all sources of a wider network are added up, at a few widths
//! ([`Width`]), in the same exact window as those of one source. A provider's customers share such a
//! network too, and people mistype passwords: so the only failure of a source weighs a quarter, and
//! no source weighs more than `maxretry`, or one that is banned and still connected would take its
//! network along.
//!
//! A failure costs O(log n). Each keeps its time and address, because it leaves the window by
//! itself, is taken back, or belongs to another source after a reload. Most sources of an attack
//! are alone in their networks, so their failures are packed, and what a network weighs is kept only
//! where there are two.

use std::{
    borrow::Borrow,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    core::{failure::Failure, net::inside, time::Usec},
    util::packed::{put_difference, put_number, take_array, take_difference, take_number},
};

/// A wider network, and when it is banned as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Width {
    /// The length of its prefix.
    pub(crate) prefix: u8,
    /// The multiple of `maxretry` that the failures of its sources within `findtime` must reach for a ban.
    pub(crate) times: u32,
}

/// What the only failure of a source weighs, and what each weighs where there are more.
const LONE: u64 = 1;
const FULL: u64 = 4;
/// The factor by which more is allowed from a network where somebody has logged in.
const WITH_LOGIN: u64 = 4;
/// The maximum number of failures kept for a source, as a multiple of `maxretry`.
const MOST_KEPT: usize = 10;

/// The number of the queue's entries that may be out of date, besides one for each source.
pub(super) const SLACK: usize = 64;

/// What a jail's settings say of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'s> {
    /// The narrowest first.
    pub(super) widths: &'s [Width],
    pub(super) maxretry: u32,
    pub(super) findtime: Usec,
    pub(super) most: usize,
}

impl Rules<'_> {
    /// The weight of a number of failures of one source.
    fn weight(self, failures: usize) -> u64 {
        match failures as u64 {
            0 => 0,
            1 => LONE,
            more => FULL * more.min(u64::from(self.maxretry.max(1))),
        }
    }

    /// What the failures of a source weigh at a width, the narrowest being the first.
    fn weigh(self, entries: impl Iterator<Item = impl Borrow<Entry>>, level: usize) -> u64 {
        self.weight(entries.filter(|entry| usize::from(entry.borrow().spent) <= level).count())
    }

    /// What leads to a ban at a width.
    fn limit(self, width: Width, login: bool) -> u64 {
        let limit = FULL * u64::from(width.times) * u64::from(self.maxretry);
        if login { WITH_LOGIN * limit } else { limit }
    }
}

/// A failure that counts towards the wider networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    time: Usec,
    address: IpAddr,
    /// It has led to bans of this many widths, the narrowest first, and counts for the others.
    spent: u8,
}

/// Failures, packed: each by what differs from the one before it. A copy shares the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entries(Arc<[u8]>);

/// How the address of an entry is written, in the lowest bits of what is `spent`.
mod kind {
    pub(super) const BITS: u32 = 2;
    pub(super) const SAME: u64 = 0;
    pub(super) const IPV4: u64 = 1;
    pub(super) const IPV6: u64 = 2;
}

impl Entries {
    fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        let (mut rest, mut before) = (&*self.0, None);
        std::iter::from_fn(move || {
            before = unpack(&mut rest, before);
            before
        })
    }

    /// The time of the first.
    fn oldest(&self) -> Option<Usec> {
        self.iter().next().map(|entry| entry.time)
    }
}

fn unpack(bytes: &mut &[u8], before: Option<Entry>) -> Option<Entry> {
    let time = take_difference(bytes, before.map_or(0, |before| before.time))?;
    let head = take_number(bytes)?;
    let address = match head & ((1 << kind::BITS) - 1) {
        kind::SAME => before?.address,
        kind::IPV4 => take_array::<4>(bytes)?.into(),
        _ => take_array::<16>(bytes)?.into(),
    };
    Some(Entry { time, address, spent: u8::try_from(head >> kind::BITS).ok()? })
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let (mut bytes, mut before) = (Vec::new(), None::<Entry>);
        for entry in entries {
            put_difference(&mut bytes, entry.time, before.map_or(0, |before| before.time));
            let head = u64::from(entry.spent) << kind::BITS;
            match entry.address {
                address if before.is_some_and(|before| before.address == address) => {
                    put_number(&mut bytes, head | kind::SAME);
                }
                IpAddr::V4(address) => {
                    put_number(&mut bytes, head | kind::IPV4);
                    bytes.extend(address.octets());
                }
                IpAddr::V6(address) => {
                    put_number(&mut bytes, head | kind::IPV6);
                    bytes.extend(address.octets());
                }
            }
            before = Some(entry);
        }
        Self(bytes.into())
    }
}

/// The wider networks of a jail.
#[derive(Clone, Debug, Default)]
pub(super) struct Subnets {
    /// By source, oldest first.
    sources: BTreeMap<IpNet, Entries>,
    /// By the time of its oldest failure, each source. What is no longer so is put right when it
    /// comes up.
    queue: BinaryHeap<Reverse<(Usec, IpNet)>>,
    /// What the sources of a network weigh together, if there are two or more.
    weights: BTreeMap<IpNet, u64>,
    entries: usize,
}

/// How a wider network stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hopping {
    /// The network.
    pub(crate) network: IpNet,
    /// What its sources weigh, and what leads to a ban, in failures, rounded down.
    pub(crate) weight: u64,
    pub(crate) limit: u64,
}

fn wider(source: IpNet, width: Width) -> IpNet {
    IpNet::new(source.addr(), width.prefix).map_or(source, |network| network.trunc())
}

impl Subnets {
    /// Adds a failure of a source, at the time `at`.
    pub(super) fn add(&mut self, source: IpNet, failure: &Failure, at: Usec, rules: Rules<'_>) {
        self.expire(at, rules);
        if failure.time.saturating_add(rules.findtime) >= at {
            self.put(source, Entry { time: failure.time, address: failure.address, spent: 0 }, rules);
        }
    }

    fn put(&mut self, source: IpNet, entry: Entry, rules: Rules<'_>) {
        let most = (rules.maxretry as usize).saturating_mul(MOST_KEPT);
        self.change(source, rules, |entries| {
            entries.insert(entries.partition_point(|known| known.time <= entry.time), entry);
        });
        if self.sources.get(&source).is_some_and(|entries| entries.iter().count() > most) {
            self.drop_first(source, rules);
        }
        while self.entries > rules.most
            && let Some((_, oldest)) = self.oldest()
        {
            self.drop_first(oldest, rules);
        }
    }

    /// The oldest failure of all, and its source.
    fn oldest(&mut self) -> Option<(Usec, IpNet)> {
        while let Some(Reverse((time, source))) = self.queue.peek().copied() {
            let really = self.sources.get(&source).and_then(Entries::oldest);
            if really == Some(time) {
                return Some((time, source));
            }
            self.queue.pop();
            if let Some(really) = really {
                self.queue.push(Reverse((really, source)));
            }
        }
        None
    }

    /// Forgets what is out of the window by the time `at`.
    pub(super) fn expire(&mut self, at: Usec, rules: Rules<'_>) {
        while let Some(Reverse((time, _))) = self.queue.peek()
            && time.saturating_add(rules.findtime) < at
            && let Some((time, source)) = self.oldest()
            && time.saturating_add(rules.findtime) < at
        {
            self.drop_first(source, rules);
        }
    }

    fn drop_first(&mut self, source: IpNet, rules: Rules<'_>) {
        if let Some(time) = self.sources.get(&source).and_then(Entries::oldest) {
            self.remove(source, time, rules);
        }
    }

    /// A failure was none, or is forgiven.
    pub(super) fn take_back(&mut self, source: IpNet, failure: &Failure, rules: Rules<'_>) {
        self.remove(source, failure.time, rules);
    }

    fn remove(&mut self, source: IpNet, time: Usec, rules: Rules<'_>) {
        let Some(entries) = self.sources.get(&source) else { return };
        let Some(place) = entries.iter().position(|entry| entry.time == time) else { return };
        self.change(source, rules, |entries| {
            entries.remove(place);
        });
    }

    /// Changes the failures of a source, and with them what its networks weigh.
    fn change(&mut self, source: IpNet, rules: Rules<'_>, how: impl FnOnce(&mut Vec<Entry>)) {
        let before: Vec<Entry> = self.sources.get(&source).map(|packed| packed.iter().collect()).unwrap_or_default();
        let mut after = before.clone();
        how(&mut after);
        for (level, width) in rules.widths.iter().enumerate().filter(|(_, width)| width.prefix < source.prefix_len()) {
            let network = wider(source, *width);
            let others = || self.in_network(network).filter(|(other, _)| *other != source);
            let Some((_, other)) = others().next() else { continue };
            let (was, is) = (rules.weigh(before.iter(), level), rules.weigh(after.iter(), level));
            let together = match self.weights.get(&network) {
                Some(weight) => (weight + is).saturating_sub(was),
                None => rules.weigh(other.iter(), level) + is,
            };
            if after.is_empty() && others().nth(1).is_none() {
                self.weights.remove(&network);
            } else {
                self.weights.insert(network, together);
            }
        }
        self.entries = (self.entries + after.len()).saturating_sub(before.len());
        let (oldest, first) = (before.first(), after.first());
        if first.is_some_and(|first| oldest.is_none_or(|oldest| oldest.time > first.time)) {
            self.queue.extend(first.map(|first| Reverse((first.time, source))));
        }
        if after.is_empty() {
            self.sources.remove(&source);
        } else if before != after {
            self.sources.insert(source, after.into_iter().collect());
        }
        // Sources that come and go again leave theirs behind.
        if self.queue.len() > 2 * self.sources.len() + SLACK {
            self.plan();
        }
    }

    /// Makes the queue again.
    fn plan(&mut self) {
        let oldest = |(source, entries): (&IpNet, &Entries)| Some(Reverse((entries.oldest()?, *source)));
        self.queue = self.sources.iter().filter_map(oldest).collect();
    }

    fn in_network(&self, network: IpNet) -> impl Iterator<Item = (IpNet, &Entries)> {
        let sources = self.sources.range(inside(network)).map(|(source, entries)| (*source, entries));
        sources.filter(move |(source, _)| network.contains(source))
    }

    /// What the sources of a network weigh together.
    fn weight(&self, network: IpNet, level: usize, rules: Rules<'_>) -> u64 {
        let alone = || self.in_network(network).map(|(_, entries)| rules.weigh(entries.iter(), level)).next();
        self.weights.get(&network).copied().or_else(alone).unwrap_or(0)
    }

    /// How the wider networks of a source stand, the narrowest first; `login` says whether somebody
    /// has logged in from one.
    pub(super) fn standings(
        &self,
        source: IpNet,
        rules: Rules<'_>,
        login: impl Fn(IpNet) -> bool,
    ) -> impl Iterator<Item = Hopping> {
        let widths = rules.widths.iter().enumerate().filter(move |(_, width)| width.prefix < source.prefix_len());
        widths.map(move |(level, width)| {
            let network = wider(source, *width);
            let (weight, limit) = (self.weight(network, level, rules), rules.limit(*width, false));
            let limit = if weight >= limit && login(network) { rules.limit(*width, true) } else { limit };
            Hopping { network, weight: weight / FULL, limit: limit / FULL }
        })
    }

    /// A network is banned: what its sources have done counts only for wider ones from now on.
    pub(super) fn spend(&mut self, network: IpNet, rules: Rules<'_>) {
        let level = rules.widths.iter().take_while(|width| width.prefix >= network.prefix_len()).count();
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        for source in self.sources_in(network) {
            self.change(source, rules, |entries| {
                for entry in entries {
                    entry.spent = entry.spent.max(level);
                }
            });
        }
    }

    /// Forgets the failures of every source in a network.
    pub(super) fn clear(&mut self, network: IpNet, rules: Rules<'_>) {
        for source in self.sources_in(network) {
            while self.sources.contains_key(&source) {
                self.drop_first(source, rules);
            }
        }
    }

    fn sources_in(&self, network: IpNet) -> Vec<IpNet> {
        self.in_network(network).map(|(source, _)| source).collect()
    }

    /// Moves every time along with a clock that was set.
    pub(super) fn shift(&mut self, by: i64) {
        for entries in self.sources.values_mut() {
            let moved = |entry: Entry| Entry { time: entry.time.saturating_add_signed(by), ..entry };
            *entries = entries.iter().map(moved).collect();
        }
        self.plan();
    }

    /// In these regions, each failure goes where `place` says now, or nowhere.
    pub(super) fn relist(
        &mut self,
        regions: &BTreeSet<IpNet>,
        rules: Rules<'_>,
        place: impl Fn(IpAddr) -> Option<IpNet>,
    ) {
        let touched: BTreeSet<IpNet> = regions.iter().flat_map(|region| self.sources_in(*region)).collect();
        let mut entries: Vec<Entry> = Vec::new();
        for source in touched {
            entries.extend(self.sources.get(&source).into_iter().flat_map(Entries::iter));
            self.change(source, rules, Vec::clear);
        }
        for entry in entries {
            if let Some(source) = place(entry.address) {
                self.put(source, entry, rules);
            }
        }
    }

    /// Goes on under other rules: each failure goes where `place` says, or nowhere.
    pub(super) fn adapt(&mut self, rules: Rules<'_>, place: impl Fn(IpAddr) -> Option<IpNet>) {
        let before = std::mem::take(self);
        if rules.widths.is_empty() {
            return;
        }
        for entry in before.sources.values().flat_map(Entries::iter) {
            if let Some(source) = place(entry.address) {
                self.put(source, entry, rules);
            }
        }
    }
}

/// The failures in a snapshot: of each its time, its address and what it is spent for.
#[derive(Debug, Default)]
pub(super) struct SavedSubnets(Vec<Entries>);

impl Serialize for SavedSubnets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.0.iter().flat_map(Entries::iter);
        serializer.collect_seq(entries.map(|entry| (entry.time, entry.address, entry.spent)))
    }
}

impl<'de> Deserialize<'de> for SavedSubnets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<(Usec, IpAddr, u8)>::deserialize(deserializer)?;
        let entry = |(time, address, spent)| Entry { time, address, spent };
        Ok(Self(vec![entries.into_iter().map(entry).collect()]))
    }
}

impl Subnets {
    pub(super) fn save(&self) -> SavedSubnets {
        SavedSubnets(self.sources.values().cloned().collect())
    }

    /// What was saved, to be put in its place by [`Self::adapt`].
    pub(super) fn load(saved: &SavedSubnets, most: usize) -> Self {
        let mut subnets = Self::default();
        let entries = saved.0.iter().flat_map(Entries::iter).take(most);
        subnets.sources.insert(IpNet::default(), entries.collect());
        subnets
    }
}

#[cfg(test)]
mod tests;
