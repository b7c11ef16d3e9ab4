//! Which call comes next, so that no ban is ever without cover and each costs about the same.
//!
//! firewalld adds an entry at a cost that grows with the ipset, and empties an ipset before it writes a
//! new list into it; since firewalld 2.4 it even answers before the list is in the kernel. So:
//!
//! - Few bans live in the first ipset alone. Many are spread, and a ban is added to a small ipset.
//! - Among many, a call costs so much by itself that bans wait for each other for a moment, and
//!   then go in together. Whoever comes alone does not wait.
//! - A list is only written into an empty ipset. Bulk additions go there at once; and to make two
//!   ipsets into one, their entries are written into an empty third before they are cleared.
//! - An entry is only removed, and an ipset only cleared, when all that is wanted of it is in force
//!   elsewhere, and has had time to get into the kernel.
//!
//! Among all ways that lead there the one that costs firewalld least is taken.

#[cfg(test)]
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::call::Edit;
use super::costs::{adding, clearing, removing, times, writing};
use super::entry::text;
use super::ipset::{Ipset, Mode};
use super::layout::IPSETS;
use super::pool::{Age, Pool};

/// The number of ipsets that are kept, if possible, for bans that arrive one by one or a few at a time.
const SMALL: usize = 2;

impl Pool {
    /// How soon this pool should have its turn; the least first.
    pub(super) fn urgency(&self) -> (u8, Age) {
        if self.ipsets.iter().any(|ipset| ipset.mode != Mode::Broken && !ipset.junk.is_empty()) {
            return (0, (0, 0));
        }
        self.adds.first_key_value().map_or((2, (0, 0)), |(age, _)| (1, *age))
    }

    /// The next call, which is then in flight. If there is none now, when to ask again.
    pub(super) fn next(&mut self, now: u64) -> Result<(usize, Edit), Option<u64>> {
        if !self.synced {
            return Err(None);
        }
        self.no_bulk &= !self.adds.is_empty();
        let gathers = self.gathers(now);
        let enter = |pool: &mut Self| if gathers { None } else { pool.enter(now) };
        let step = self.clean(now).or_else(|| enter(self)).or_else(|| self.tidy(now));
        match step {
            Some(step) => {
                self.flight = Some(step.clone());
                Ok(step)
            }
            // What can't be done now waits for a list to get into the kernel, or for company.
            None => {
                let settles = self.ipsets.iter().map(|ipset| ipset.settles).filter(|at| *at > now);
                Err(settles.chain(gathers.then_some(self.gather)).min())
            }
        }
    }

    /// Whether what is missing waits for more to go in with it.
    fn gathers(&self, now: u64) -> bool {
        now < self.gather && (1..self.limits.bulk).contains(&self.adds.len()) && !self.is_small() && !self.no_bulk
    }

    /// Out with what somebody else has spelt: it may keep firewalld from adding anything.
    fn clean(&mut self, now: u64) -> Option<(usize, Edit)> {
        for index in 0..IPSETS {
            let ipset = &self.ipsets[index];
            if ipset.mode == Mode::Broken || ipset.settles > now {
                continue;
            }
            if let Some(entry) = ipset.junk.first() {
                if !ipset.tried.contains(entry) {
                    return Some((index, Edit::Remove(entry.clone())));
                }
                self.turn(index, Mode::Broken);
            }
        }
        None
    }

    /// Puts in force what is not.
    fn enter(&mut self, now: u64) -> Option<(usize, Edit)> {
        if self.adds.is_empty() {
            return None;
        }
        if let Some(step) = self.enter_many(now) {
            return Some(step);
        }
        if self.is_better_as_a_list(now) { None } else { self.enter_one(now) }
    }

    /// Whether a list that can be written when another one is in the kernel is done sooner than what
    /// is missing one by one, by far.
    fn is_better_as_a_list(&self, now: u64) -> bool {
        let pending = self.adds.len();
        let settled = self.ipsets.iter().map(|ipset| ipset.settles).filter(|at| *at > now).min();
        let (Some(at), Some(index)) = (settled, self.place_for_one(now)) else { return false };
        let by_one = times(pending, adding(self.ipsets[index].held.len(), self.load));
        pending >= self.limits.bulk && !self.no_bulk && by_one > (at - now).saturating_mul(2_000)
    }

    fn is_small(&self) -> bool {
        self.target.len() <= self.limits.few
    }

    /// Ipsets that a list can be written into, without the first.
    fn empty(&self, now: u64) -> Vec<usize> {
        (1..IPSETS).filter(|index| self.ipsets[*index].is_sound(now) && self.ipsets[*index].is_empty()).collect()
    }

    fn enter_many(&mut self, now: u64) -> Option<(usize, Edit)> {
        let (pending, load) = (self.adds.len(), self.load);
        let least = if self.is_small() { self.limits.bulk } else { 2 };
        if pending < least || self.no_bulk {
            return None;
        }
        if self.ipsets[0].is_sound(now) && self.ipsets[0].is_empty() {
            return Some((0, Edit::Write(self.oldest(self.limits.few))));
        }
        let place = self.place_for_one(now);
        let by_one = place.map_or(u64::MAX, |index| times(pending, adding(self.ipsets[index].held.len(), load)));
        let empty = self.empty(now);
        if empty.len() < 2
            && let Some(step) = self.clear(now)
        {
            return Some(step);
        }
        match empty[..] {
            // One stays empty, for moves, and some for those who come later.
            [first, _, ..] => {
                let chunk = pending.div_ceil((empty.len() - 1).saturating_sub(SMALL).max(1));
                let chunk = chunk.max(self.limits.chunk).min(pending);
                let many = writing(chunk, load) <= by_one;
                many.then(|| (first, Edit::Write(self.oldest(chunk))))
            }
            [spare] => {
                let mut entries = self.oldest(self.limits.chunk);
                let merged = self.worth_merging(entries.len(), by_one, now)?;
                for index in &merged {
                    self.turn(*index, Mode::Emptying);
                }
                let held = |net: &&IpNet| merged.iter().any(|index| self.ipsets[*index].held.contains(net));
                entries.extend(self.moves.iter().filter(held));
                Some((spare, Edit::Write(entries)))
            }
            [] => None,
        }
    }

    /// What has been missing for longest.
    fn oldest(&self, count: usize) -> Vec<IpNet> {
        self.adds.values().copied().take(count).collect()
    }

    /// Ipsets whose entries can be written elsewhere, the smallest first.
    fn mergeable(&self, now: u64) -> Vec<usize> {
        let mut all: Vec<usize> =
            (1..IPSETS).filter(|index| self.ipsets[*index].is_sound(now) && !self.ipsets[*index].is_empty()).collect();
        all.sort_by_key(|index| self.ipsets[*index].needed());
        all
    }

    /// The smallest ipsets, to be written into an empty one together with new entries, if that costs no
    /// more than `limit`. Ipsets of about one size go together: so an entry is only written again when
    /// its ipset has doubled.
    fn worth_merging(&self, new: usize, limit: u64, now: u64) -> Option<Vec<usize>> {
        let (mut entries, mut cleared, mut merged) = (new, 0, Vec::new());
        for index in self.mergeable(now) {
            let ipset = &self.ipsets[index];
            let all = entries + ipset.needed();
            let alike = ipset.needed() <= 2 * entries && all <= self.limits.chunk;
            cleared += clearing(ipset.held.len());
            if !(merged.is_empty() || alike) || writing(all, self.load) + cleared > limit {
                break;
            }
            entries = all;
            merged.push(index);
        }
        (!merged.is_empty()).then_some(merged)
    }

    fn enter_one(&mut self, now: u64) -> Option<(usize, Edit)> {
        // One that finds no place must not keep the others waiting.
        const TRIED: usize = 16;
        let oldest: Vec<IpNet> = self.adds.values().copied().take(TRIED).collect();
        for net in &oldest {
            if let Some(index) = self.place(net, now) {
                return Some((index, Edit::Add(*net)));
            }
        }
        self.make_room(oldest.first()?, now)
    }

    /// The ipset that takes an entry at the least cost.
    fn place(&self, net: &IpNet, now: u64) -> Option<usize> {
        let takes = |index: &usize| self.ipsets[*index].is_sound(now) && self.ipsets[*index].overlap(net).is_none();
        if self.is_small() && takes(&0) {
            return Some(0);
        }
        self.cheapest((0..IPSETS).filter(takes).collect())
    }

    /// The same for any entry.
    fn place_for_one(&self, now: u64) -> Option<usize> {
        if self.is_small() && self.ipsets[0].is_sound(now) {
            return Some(0);
        }
        self.cheapest((0..IPSETS).filter(|index| self.ipsets[*index].is_sound(now)).collect())
    }

    /// The smallest ipset that is not full. One of the empty ones is kept for moves.
    fn cheapest(&self, of: Vec<usize>) -> Option<usize> {
        let (empty, used): (Vec<usize>, Vec<usize>) =
            of.into_iter().partition(|index| *index > 0 && self.ipsets[*index].is_empty());
        let smallest = used.into_iter().min_by_key(|index| self.ipsets[*index].held.len());
        match (smallest, &empty[..]) {
            (Some(index), _) if self.ipsets[index].held.len() < self.full() => Some(index),
            (_, [first, _, ..]) => Some(*first),
            (Some(index), _) => Some(index),
            (None, rest) => rest.first().copied(),
        }
    }

    fn full(&self) -> usize {
        self.limits.full.max(self.target.len() / 32)
    }

    /// All ipsets hold something that overlaps. What is in the way in the ipset with the least of it
    /// goes; none of it is of the target, whose networks are disjoint.
    fn make_room(&mut self, net: &IpNet, now: u64) -> Option<(usize, Edit)> {
        if self.ipsets.iter().any(|ipset| ipset.settles > now) {
            return None;
        }
        let in_the_way = |ipset: &Ipset| ipset.held.within(net).count().max(1);
        let sound = (0..IPSETS).filter(|index| self.ipsets[*index].is_sound(now));
        if let Some(index) = sound.min_by_key(|index| in_the_way(&self.ipsets[*index])) {
            let obstacle = self.ipsets[index].overlap(net)?;
            return Some((index, Edit::Remove(text(&obstacle))));
        }
        let index = (0..IPSETS).min_by_key(|index| self.ipsets[*index].needed())?;
        Some((index, Edit::Write(Vec::new())))
    }

    /// Nothing is missing: moves, removals, and then order for its own sake.
    fn tidy(&mut self, now: u64) -> Option<(usize, Edit)> {
        // A turn of an ipset's mode may open a way.
        for _ in 0..3 {
            if let Some(step) = self.move_some(now).or_else(|| self.clear(now)).or_else(|| self.remove(now)) {
                return Some(step);
            }
            if !self.rearrange(now) {
                break;
            }
        }
        None
    }

    fn move_some(&mut self, now: u64) -> Option<(usize, Edit)> {
        let first = *self.moves.first()?;
        let place = self.place(&first, now);
        let empty = if self.is_small() && self.ipsets[0].is_sound(now) {
            self.ipsets[0].is_empty().then_some(0)
        } else {
            self.empty(now).first().copied()
        };
        let count = self.moves.len();
        if let Some(index) = empty.filter(|_| count >= self.limits.bulk && !self.no_bulk) {
            let by_one = place.map_or(u64::MAX, |place| times(count, adding(self.ipsets[place].held.len(), self.load)));
            if writing(count, self.load) <= by_one {
                return Some((index, Edit::Write(self.moves.iter().copied().collect())));
            }
        }
        place.map(|index| (index, Edit::Add(first)))
    }

    /// Whether nobody needs this entry of an ipset: all that it covers is in force elsewhere, and
    /// surely in the kernel, or is not wanted.
    fn is_needless(&self, net: &IpNet, now: u64) -> bool {
        let settled = |net: &IpNet| self.home.get(net).is_some_and(|index| self.ipsets[*index].settles <= now);
        match self.target.cover(net) {
            Some(cover) => settled(&cover),
            None => self.target.within(net).all(|inner| settled(&inner)),
        }
    }

    /// Empties an ipset that is to be emptied.
    fn clear(&mut self, now: u64) -> Option<(usize, Edit)> {
        for index in 0..IPSETS {
            let ipset = &self.ipsets[index];
            if ipset.mode == Mode::Open || ipset.settles > now || ipset.needed() > 0 {
                continue;
            }
            if ipset.mode == Mode::Emptying && ipset.is_empty() {
                self.ipsets[index].mode = Mode::Open;
                continue;
            }
            if !ipset.held.iter().all(|net| self.is_needless(&net, now)) {
                continue;
            }
            let held = ipset.held.len();
            if ipset.mode == Mode::Emptying && held == 1 && removing(held, self.load) < clearing(held) {
                return ipset.held.iter().next().map(|net| (index, Edit::Remove(text(&net))));
            }
            return Some((index, Edit::Write(Vec::new())));
        }
        None
    }

    /// Takes out what nobody needs.
    fn remove(&mut self, now: u64) -> Option<(usize, Edit)> {
        for index in 0..IPSETS {
            let ipset = &self.ipsets[index];
            if !ipset.is_sound(now) {
                continue;
            }
            let Some(net) = ipset.surplus.iter().find(|net| self.is_needless(net, now)).copied() else { continue };
            let held = ipset.held.len();
            let one_by_one = times(ipset.surplus.len(), removing(held, self.load));
            let rest = ipset.needed();
            let rewritten = clearing(held) + if rest == 0 { 0 } else { writing(rest, self.load) };
            let free = rest == 0 || (!self.empty(now).is_empty() && !self.no_bulk);
            if free && rewritten < one_by_one {
                self.turn(index, Mode::Emptying);
                if let Some(step) = self.move_some(now).or_else(|| self.clear(now)) {
                    return Some(step);
                }
                continue;
            }
            return Some((index, Edit::Remove(text(&net))));
        }
        None
    }

    /// Turns an ipset's mode, if that makes the next bans cheaper or the list easier to read.
    fn rearrange(&mut self, now: u64) -> bool {
        if !self.ipsets.iter().all(|ipset| ipset.is_sound(now) && ipset.surplus.is_empty()) {
            return false;
        }
        let used = self.mergeable(now);
        // Few again: all of them go home. Not at the very number, or it would go to and fro.
        if self.target.len() <= self.limits.few / 2
            && let Some(index) = used.first()
        {
            self.turn(*index, Mode::Emptying);
            return true;
        }
        let large: Vec<usize> =
            used.iter().copied().filter(|index| self.ipsets[*index].held.len() >= self.full()).collect();
        match (IPSETS - 1 - used.len(), &used[..], &large[..]) {
            (1.., _, [first, second, ..]) if large.len() + SMALL >= IPSETS - 1 => {
                self.turn(*first, Mode::Emptying);
                self.turn(*second, Mode::Emptying);
                true
            }
            // There is none to move anything into: the smallest is parted among the others.
            (0, [first, ..], _) => {
                self.turn(*first, Mode::Emptying);
                true
            }
            _ => false,
        }
    }

    /// Everything is known and nothing is left to be done.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let quiet = |ipset: &Ipset| ipset.mode == Mode::Open && ipset.surplus.is_empty() && ipset.junk.is_empty();
        self.synced && self.adds.is_empty() && self.moves.is_empty() && self.ipsets.iter().all(quiet)
    }

    /// What the ipsets hold that is in force, by ipset.
    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<BTreeSet<IpNet>> {
        self.ipsets.iter().map(|ipset| ipset.held.iter().collect()).collect()
    }
}
