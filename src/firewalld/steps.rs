//! Which call comes next, so that no ban is ever without cover and each costs about the same.
//!
//! firewalld adds an entry at a cost that grows with the set, and empties a set before it writes a
//! new list into it; since firewalld 2.4 it even answers before the list is in the kernel. So:
//!
//! - Few bans live in the first set alone. Many are spread, and a ban is added to a small set.
//! - Among many, a call costs so much by itself that bans wait for each other for a moment, and
//!   then go in together. Whoever comes alone does not wait.
//! - A list is only written into an empty set. Bulk additions go there at once; and to make two
//!   sets into one, their entries are written into an empty third before they are cleared.
//! - An entry is only removed, and a set only cleared, when all that is wanted of it is in force
//!   elsewhere, and has had time to get into the kernel.
//!
//! Among all ways that lead there the one that costs firewalld least is taken.

#[cfg(test)]
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::costs::{adding, clearing, removing, times, writing};
use super::plan::text;
use super::sets::SLOTS;
use super::side::{Action, Age, Side};
use super::slot::{Mode, Slot};

/// Where one way of doing it ends and another begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The number of bans up to which the first set has them all, where an admin looks for them.
    pub(super) few: usize,
    /// Among few, fewer additions than these are not worth a list; among many, these wait for no
    /// further ones.
    pub(super) bulk: usize,
    /// From this size on a set gets no further additions, if another can take them.
    pub(super) full: usize,
    /// The most entries that are written at once, unless there is less room: others wait meanwhile.
    pub(super) chunk: usize,
    /// How long additions wait for further ones, in ms, if not as long as [`super::costs`] has it.
    pub(super) spacing: Option<u64>,
}

/// The number of sets that are kept, if possible, for bans that arrive one by one or a few at a time.
const SMALL: usize = 2;

impl Default for Limits {
    fn default() -> Self {
        Self { few: 1000, bulk: 8, full: 512, chunk: 2500, spacing: None }
    }
}

impl Side {
    /// How soon this side should have its turn; the least first.
    pub(super) fn urgency(&self) -> (u8, Age) {
        if self.slots.iter().any(|slot| slot.mode != Mode::Broken && !slot.junk.is_empty()) {
            return (0, (0, 0));
        }
        self.adds.first_key_value().map_or((2, (0, 0)), |(age, _)| (1, *age))
    }

    /// The next call, which is then in flight. If there is none now, when to ask again.
    pub(super) fn next(&mut self, now: u64) -> Result<(usize, Action), Option<u64>> {
        if !self.synced {
            return Err(None);
        }
        self.no_bulk &= !self.adds.is_empty();
        let gathers = self.gathers(now);
        let enter = |side: &mut Self| if gathers { None } else { side.enter(now) };
        let step = self.clean(now).or_else(|| enter(self)).or_else(|| self.tidy(now));
        match step {
            Some(step) => {
                self.flight = Some(step.clone());
                Ok(step)
            }
            // What can't be done now waits for a list to get into the kernel, or for company.
            None => {
                let settles = self.slots.iter().map(|slot| slot.settles).filter(|at| *at > now);
                Err(settles.chain(gathers.then_some(self.gather)).min())
            }
        }
    }

    /// Whether what is missing waits for more to go in with it.
    fn gathers(&self, now: u64) -> bool {
        now < self.gather && (1..self.limits.bulk).contains(&self.adds.len()) && !self.is_small() && !self.no_bulk
    }

    /// Out with what somebody else has spelt: it may keep firewalld from adding anything.
    fn clean(&mut self, now: u64) -> Option<(usize, Action)> {
        for index in 0..SLOTS {
            let slot = &self.slots[index];
            if slot.mode == Mode::Broken || slot.settles > now {
                continue;
            }
            if let Some(entry) = slot.junk.first() {
                if !slot.tried.contains(entry) {
                    return Some((index, Action::Remove(entry.clone())));
                }
                self.turn(index, Mode::Broken);
            }
        }
        None
    }

    /// Puts in force what is not.
    fn enter(&mut self, now: u64) -> Option<(usize, Action)> {
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
        let settled = self.slots.iter().map(|slot| slot.settles).filter(|at| *at > now).min();
        let (Some(at), Some(index)) = (settled, self.place_for_one(now)) else { return false };
        let by_one = times(pending, adding(self.slots[index].held.len(), self.load));
        pending >= self.limits.bulk && !self.no_bulk && by_one > (at - now).saturating_mul(2_000)
    }

    fn is_small(&self) -> bool {
        self.target.len() <= self.limits.few
    }

    /// Sets that a list can be written into, without the first.
    fn empty(&self, now: u64) -> Vec<usize> {
        (1..SLOTS).filter(|index| self.slots[*index].is_sound(now) && self.slots[*index].is_empty()).collect()
    }

    fn enter_many(&mut self, now: u64) -> Option<(usize, Action)> {
        let (pending, load) = (self.adds.len(), self.load);
        let least = if self.is_small() { self.limits.bulk } else { 2 };
        if pending < least || self.no_bulk {
            return None;
        }
        if self.slots[0].is_sound(now) && self.slots[0].is_empty() {
            return Some((0, Action::Write(self.oldest(self.limits.few))));
        }
        let place = self.place_for_one(now);
        let by_one = place.map_or(u64::MAX, |index| times(pending, adding(self.slots[index].held.len(), load)));
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
                many.then(|| (first, Action::Write(self.oldest(chunk))))
            }
            [spare] => {
                let mut entries = self.oldest(self.limits.chunk);
                let merged = self.worth_merging(entries.len(), by_one, now)?;
                for index in &merged {
                    self.turn(*index, Mode::Emptying);
                }
                let held = |net: &&IpNet| merged.iter().any(|index| self.slots[*index].held.contains(net));
                entries.extend(self.moves.iter().filter(held));
                Some((spare, Action::Write(entries)))
            }
            [] => None,
        }
    }

    /// What has been missing for longest.
    fn oldest(&self, count: usize) -> Vec<IpNet> {
        self.adds.values().copied().take(count).collect()
    }

    /// Sets whose entries can be written elsewhere, the smallest first.
    fn mergeable(&self, now: u64) -> Vec<usize> {
        let mut all: Vec<usize> =
            (1..SLOTS).filter(|index| self.slots[*index].is_sound(now) && !self.slots[*index].is_empty()).collect();
        all.sort_by_key(|index| self.slots[*index].needed());
        all
    }

    /// The smallest sets, to be written into an empty one together with new entries, if that costs no
    /// more than `limit`. Sets of about one size go together: so an entry is only written again when
    /// its set has doubled.
    fn worth_merging(&self, new: usize, limit: u64, now: u64) -> Option<Vec<usize>> {
        let (mut entries, mut cleared, mut merged) = (new, 0, Vec::new());
        for index in self.mergeable(now) {
            let slot = &self.slots[index];
            let all = entries + slot.needed();
            let alike = slot.needed() <= 2 * entries && all <= self.limits.chunk;
            cleared += clearing(slot.held.len());
            if !(merged.is_empty() || alike) || writing(all, self.load) + cleared > limit {
                break;
            }
            entries = all;
            merged.push(index);
        }
        (!merged.is_empty()).then_some(merged)
    }

    fn enter_one(&mut self, now: u64) -> Option<(usize, Action)> {
        // One that finds no place must not keep the others waiting.
        const TRIED: usize = 16;
        let oldest: Vec<IpNet> = self.adds.values().copied().take(TRIED).collect();
        for net in &oldest {
            if let Some(index) = self.place(net, now) {
                return Some((index, Action::Add(*net)));
            }
        }
        self.make_room(oldest.first()?, now)
    }

    /// The set that takes an entry at the least cost.
    fn place(&self, net: &IpNet, now: u64) -> Option<usize> {
        let takes = |index: &usize| self.slots[*index].is_sound(now) && self.slots[*index].overlap(net).is_none();
        if self.is_small() && takes(&0) {
            return Some(0);
        }
        self.cheapest((0..SLOTS).filter(takes).collect())
    }

    /// The same for any entry.
    fn place_for_one(&self, now: u64) -> Option<usize> {
        if self.is_small() && self.slots[0].is_sound(now) {
            return Some(0);
        }
        self.cheapest((0..SLOTS).filter(|index| self.slots[*index].is_sound(now)).collect())
    }

    /// The smallest set that is not full. One of the empty ones is kept for moves.
    fn cheapest(&self, of: Vec<usize>) -> Option<usize> {
        let (empty, used): (Vec<usize>, Vec<usize>) =
            of.into_iter().partition(|index| *index > 0 && self.slots[*index].is_empty());
        let smallest = used.into_iter().min_by_key(|index| self.slots[*index].held.len());
        match (smallest, &empty[..]) {
            (Some(index), _) if self.slots[index].held.len() < self.full() => Some(index),
            (_, [first, _, ..]) => Some(*first),
            (Some(index), _) => Some(index),
            (None, rest) => rest.first().copied(),
        }
    }

    fn full(&self) -> usize {
        self.limits.full.max(self.target.len() / 32)
    }

    /// All sets hold something that overlaps. What is in the way in the set with the least of it
    /// goes; none of it is of the target, whose networks are disjoint.
    fn make_room(&mut self, net: &IpNet, now: u64) -> Option<(usize, Action)> {
        if self.slots.iter().any(|slot| slot.settles > now) {
            return None;
        }
        let in_the_way = |slot: &Slot| slot.held.within(net).count().max(1);
        let sound = (0..SLOTS).filter(|index| self.slots[*index].is_sound(now));
        if let Some(index) = sound.min_by_key(|index| in_the_way(&self.slots[*index])) {
            let obstacle = self.slots[index].overlap(net)?;
            return Some((index, Action::Remove(text(&obstacle))));
        }
        let index = (0..SLOTS).min_by_key(|index| self.slots[*index].needed())?;
        Some((index, Action::Write(Vec::new())))
    }

    /// Nothing is missing: moves, removals, and then order for its own sake.
    fn tidy(&mut self, now: u64) -> Option<(usize, Action)> {
        // A turn of a set's mode may open a way.
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

    fn move_some(&mut self, now: u64) -> Option<(usize, Action)> {
        let first = *self.moves.first()?;
        let place = self.place(&first, now);
        let empty = if self.is_small() && self.slots[0].is_sound(now) {
            self.slots[0].is_empty().then_some(0)
        } else {
            self.empty(now).first().copied()
        };
        let count = self.moves.len();
        if let Some(index) = empty.filter(|_| count >= self.limits.bulk && !self.no_bulk) {
            let by_one = place.map_or(u64::MAX, |place| times(count, adding(self.slots[place].held.len(), self.load)));
            if writing(count, self.load) <= by_one {
                return Some((index, Action::Write(self.moves.iter().copied().collect())));
            }
        }
        place.map(|index| (index, Action::Add(first)))
    }

    /// Whether nobody needs this entry of a set: all that it covers is in force elsewhere, and
    /// surely in the kernel, or is not wanted.
    fn is_needless(&self, net: &IpNet, now: u64) -> bool {
        let settled = |net: &IpNet| self.home.get(net).is_some_and(|index| self.slots[*index].settles <= now);
        match self.target.cover(net) {
            Some(cover) => settled(&cover),
            None => self.target.within(net).all(|inner| settled(&inner)),
        }
    }

    /// Empties a set that is to be emptied.
    fn clear(&mut self, now: u64) -> Option<(usize, Action)> {
        for index in 0..SLOTS {
            let slot = &self.slots[index];
            if slot.mode == Mode::Open || slot.settles > now || slot.needed() > 0 {
                continue;
            }
            if slot.mode == Mode::Emptying && slot.is_empty() {
                self.slots[index].mode = Mode::Open;
                continue;
            }
            if !slot.held.iter().all(|net| self.is_needless(&net, now)) {
                continue;
            }
            let held = slot.held.len();
            if slot.mode == Mode::Emptying && held == 1 && removing(held, self.load) < clearing(held) {
                return slot.held.iter().next().map(|net| (index, Action::Remove(text(&net))));
            }
            return Some((index, Action::Write(Vec::new())));
        }
        None
    }

    /// Takes out what nobody needs.
    fn remove(&mut self, now: u64) -> Option<(usize, Action)> {
        for index in 0..SLOTS {
            let slot = &self.slots[index];
            if !slot.is_sound(now) {
                continue;
            }
            let Some(net) = slot.surplus.iter().find(|net| self.is_needless(net, now)).copied() else { continue };
            let held = slot.held.len();
            let one_by_one = times(slot.surplus.len(), removing(held, self.load));
            let rest = slot.needed();
            let rewritten = clearing(held) + if rest == 0 { 0 } else { writing(rest, self.load) };
            let free = rest == 0 || (!self.empty(now).is_empty() && !self.no_bulk);
            if free && rewritten < one_by_one {
                self.turn(index, Mode::Emptying);
                if let Some(step) = self.move_some(now).or_else(|| self.clear(now)) {
                    return Some(step);
                }
                continue;
            }
            return Some((index, Action::Remove(text(&net))));
        }
        None
    }

    /// Turns a set's mode, if that makes the next bans cheaper or the list easier to read.
    fn rearrange(&mut self, now: u64) -> bool {
        if !self.slots.iter().all(|slot| slot.is_sound(now) && slot.surplus.is_empty()) {
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
            used.iter().copied().filter(|index| self.slots[*index].held.len() >= self.full()).collect();
        match (SLOTS - 1 - used.len(), &used[..], &large[..]) {
            (1.., _, [first, second, ..]) if large.len() + SMALL >= SLOTS - 1 => {
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
        let quiet = |slot: &Slot| slot.mode == Mode::Open && slot.surplus.is_empty() && slot.junk.is_empty();
        self.synced && self.adds.is_empty() && self.moves.is_empty() && self.slots.iter().all(quiet)
    }

    /// What the sets hold that is in force, by set.
    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<BTreeSet<IpNet>> {
        self.slots.iter().map(|slot| slot.held.iter().collect()).collect()
    }
}
