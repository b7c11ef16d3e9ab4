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
//! itself, is taken back, or belongs to another source after a reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::core::{failure::Failure, net::inside, time::Usec};

/// A wider network, and when it is banned as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// The length of its prefix.
    pub prefix: u8,
    /// So many times `maxretry` failures of its sources, within `findtime`, lead to a ban.
    pub times: u32,
}

/// What the only failure of a source weighs, and what each weighs where there are more.
const LONE: u64 = 1;
const FULL: u64 = 4;
/// From where somebody has logged in, so many times as much is allowed.
const WITH_LOGIN: u64 = 4;
/// So many times `maxretry` failures of a source are kept at the most.
const MOST_KEPT: usize = 10;

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
    /// What so many failures of a source weigh.
    fn weight(self, failures: usize) -> u64 {
        match failures as u64 {
            0 => 0,
            1 => LONE,
            more => FULL * more.min(u64::from(self.maxretry.max(1))),
        }
    }

    /// What leads to a ban at a width.
    fn limit(self, width: Width, login: bool) -> u64 {
        let limit = FULL * u64::from(width.times) * u64::from(self.maxretry);
        if login { WITH_LOGIN * limit } else { limit }
    }
}

/// A failure that counts towards the wider networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    time: Usec,
    address: IpAddr,
    /// It has led to bans of this many widths, the narrowest first, and counts for the others.
    spent: u8,
}

/// The wider networks of a jail.
#[derive(Clone, Debug, Default)]
pub(super) struct Subnets {
    /// By source, oldest first.
    sources: BTreeMap<IpNet, Vec<Entry>>,
    /// By the time of its oldest failure, each source.
    queue: BTreeSet<(Usec, IpNet)>,
    /// What the sources of a network weigh together.
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
        if self.sources.get(&source).is_some_and(|entries| entries.len() > most) {
            self.drop_first(source, rules);
        }
        while self.entries > rules.most
            && let Some((_, oldest)) = self.queue.first().copied()
        {
            self.drop_first(oldest, rules);
        }
    }

    /// Forgets what is out of the window by the time `at`.
    pub(super) fn expire(&mut self, at: Usec, rules: Rules<'_>) {
        while let Some((time, source)) = self.queue.first().copied()
            && time.saturating_add(rules.findtime) < at
        {
            self.drop_first(source, rules);
        }
    }

    fn drop_first(&mut self, source: IpNet, rules: Rules<'_>) {
        if let Some(first) = self.sources.get(&source).and_then(|entries| entries.first().copied()) {
            self.remove(source, first.time, rules);
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
        let entries = self.sources.entry(source).or_default();
        let counts = |entries: &[Entry], level: usize| {
            rules.weight(entries.iter().filter(|entry| usize::from(entry.spent) <= level).count())
        };
        let (oldest, length) = (entries.first().map(|entry| entry.time), entries.len());
        let before: Vec<u64> = (0..rules.widths.len()).map(|level| counts(entries, level)).collect();
        how(entries);
        self.entries = (self.entries + entries.len()).saturating_sub(length);
        let now_oldest = entries.first().map(|entry| entry.time);
        if oldest != now_oldest {
            oldest.map(|time| self.queue.remove(&(time, source)));
            now_oldest.map(|time| self.queue.insert((time, source)));
        }
        for (level, before) in before.into_iter().enumerate() {
            let after = counts(entries, level);
            if before != after {
                let network = wider(source, rules.widths[level]);
                let weight = self.weights.entry(network).or_default();
                *weight = (*weight + after).saturating_sub(before);
                if *weight == 0 {
                    self.weights.remove(&network);
                }
            }
        }
        if self.sources.get(&source).is_some_and(Vec::is_empty) {
            self.sources.remove(&source);
        }
    }

    /// How the wider networks of a source stand, the narrowest first; `login` says whether somebody
    /// has logged in from one.
    pub(super) fn standings(
        &self,
        source: IpNet,
        rules: Rules<'_>,
        login: impl Fn(IpNet) -> bool,
    ) -> impl Iterator<Item = Hopping> {
        rules.widths.iter().filter(move |width| width.prefix < source.prefix_len()).map(move |width| {
            let network = wider(source, *width);
            let (weight, limit) = (self.weights.get(&network).copied().unwrap_or(0), rules.limit(*width, false));
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
        let sources = self.sources.range(inside(network)).map(|(source, _)| *source);
        sources.filter(|source| network.contains(source)).collect()
    }

    /// Moves every time along with a clock that was set.
    pub(super) fn shift(&mut self, by: i64) {
        for entry in self.sources.values_mut().flatten() {
            entry.time = entry.time.saturating_add_signed(by);
        }
        let oldest = |(source, entries): (&IpNet, &Vec<Entry>)| Some((entries.first()?.time, *source));
        self.queue = self.sources.iter().filter_map(oldest).collect();
    }

    /// Goes on under other rules: each failure goes where `place` says, or nowhere.
    pub(super) fn adapt(&mut self, rules: Rules<'_>, place: impl Fn(IpAddr) -> Option<IpNet>) {
        let before = std::mem::take(self);
        if rules.widths.is_empty() {
            return;
        }
        for entry in before.sources.into_values().flatten() {
            if let Some(source) = place(entry.address) {
                self.put(source, entry, rules);
            }
        }
    }
}

/// The failures in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SavedSubnets(Vec<(Usec, IpAddr, u8)>);

impl Subnets {
    pub(super) fn save(&self) -> SavedSubnets {
        let entries = self.sources.values().flatten();
        SavedSubnets(entries.map(|entry| (entry.time, entry.address, entry.spent)).collect())
    }

    /// What was saved, to be put in its place by [`Self::adapt`].
    pub(super) fn load(saved: SavedSubnets, most: usize) -> Self {
        let mut subnets = Self::default();
        for (time, address, spent) in saved.0.into_iter().take(most) {
            subnets.sources.entry(address.into()).or_default().push(Entry { time, address, spent });
        }
        subnets
    }
}
