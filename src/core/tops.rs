//! The sources that have failed most, by the hour, for a week.
//!
//! A table of limited size, while anybody can come from any number of addresses: where it is full, the
//! source goes that has done least, and of several the one that has been quiet longest. So who fails
//! often stays, however many others fail once; and what is shown of a source is never too much, but can be
//! too little, if it was dropped in between.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    history::{HOUR, HOURS, rounded},
    time::Usec,
};

/// The most sources, of all jails.
pub(crate) const MOST: usize = 1024;

/// A source in a jail.
type Key = (IpNet, Arc<str>);

/// What a source has done in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    hour: u64,
    failures: u32,
    bans: u32,
}

/// What a source has done, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Deeds {
    slots: Vec<Slot>,
    last: Usec,
}

/// By what it is decided who goes: the number of deeds, and the time of the last.
type Rank = (u64, Usec);

impl Deeds {
    fn rank(&self) -> Rank {
        (self.weight(), self.last)
    }

    fn weight(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.failures) + u64::from(slot.bans)).sum()
    }

    fn add(&mut self, deed: Deed, time: Usec) {
        let slot = self.slot(time / HOUR);
        let count = if deed == Deed::Failure { &mut slot.failures } else { &mut slot.bans };
        *count = count.saturating_add(1);
        self.last = self.last.max(time);
    }

    /// The slot of an hour.
    fn slot(&mut self, hour: u64) -> &mut Slot {
        let place = self.slots.partition_point(|slot| slot.hour < hour);
        if self.slots.get(place).is_none_or(|slot| slot.hour != hour) {
            self.slots.insert(place, Slot { hour, ..Slot::default() });
        }
        &mut self.slots[place]
    }
}

/// What is counted of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Failure,
    Ban,
}

/// By what sources are put in order, most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TopOrder {
    #[default]
    Failures,
    Bans,
    Last,
}

impl TopOrder {
    /// The words for them.
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("failures", Self::Failures), ("bans", Self::Bans), ("last", Self::Last)];
}

/// What a source has done in the time that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) source: IpNet,
    pub(crate) failures: u64,
    pub(crate) bans: u64,
    /// When it last failed or was banned, in µs.
    pub(crate) last: Usec,
}

/// Which sources are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// Since the hour that holds this time, in µs.
    pub(crate) since: Usec,
    /// Only in this jail.
    pub(crate) jail: Option<String>,
    pub(crate) order: TopOrder,
    pub(crate) limit: usize,
}

/// The table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Saved>", into = "Vec<Saved>")]
pub(crate) struct Tops {
    of: BTreeMap<Key, Deeds>,
    /// Who would go first, each as it stood when it was put here. Most do more and more, which is noticed
    /// only when room is needed; who stands lower than before is put here again.
    order: BinaryHeap<Reverse<(Rank, Key)>>,
    /// The hour in which what is too old was last looked for.
    hour: u64,
}

impl Tops {
    /// A source has done something at `time`, and it is `now`.
    pub(crate) fn add(&mut self, source: IpNet, jail: &Arc<str>, deed: Deed, time: Usec, now: Usec) {
        let hour = now.max(time) / HOUR;
        if hour > self.hour {
            self.forget_before(hour.saturating_sub(HOURS - 1));
            self.hour = hour;
        }
        if (time / HOUR).saturating_add(HOURS) <= self.hour {
            return;
        }
        let key = (source, Arc::clone(jail));
        if let Some(deeds) = self.of.get_mut(&key) {
            deeds.add(deed, time);
            return;
        }
        while self.of.len() >= MOST && self.drop_least() {}
        let mut deeds = Deeds::default();
        deeds.add(deed, time);
        self.order.push(Reverse((deeds.rank(), key.clone())));
        self.of.insert(key, deeds);
    }

    /// A failure has turned out to be none.
    pub(crate) fn take_back(&mut self, source: IpNet, jail: &Arc<str>, time: Usec) {
        let key = (source, Arc::clone(jail));
        let Some(deeds) = self.of.get_mut(&key) else { return };
        if let Some(slot) = deeds.slots.iter_mut().find(|slot| slot.hour == time / HOUR) {
            slot.failures = slot.failures.saturating_sub(1);
        }
        deeds.slots.retain(|slot| slot.failures > 0 || slot.bans > 0);
        if deeds.slots.is_empty() {
            self.of.remove(&key);
        } else {
            self.order.push(Reverse((deeds.rank(), key)));
        }
        if self.order.len() > 2 * MOST {
            self.put_in_order();
        }
    }

    /// The sources that have done most.
    pub(crate) fn top(&self, question: &Question) -> Vec<Top> {
        let since = question.since / HOUR;
        let mut found: BTreeMap<IpNet, Top> = BTreeMap::new();
        let meant = |jail: &str| question.jail.as_deref().is_none_or(|only| only == jail);
        for ((source, _), deeds) in self.of.iter().filter(|((_, jail), _)| meant(jail)) {
            for slot in deeds.slots.iter().filter(|slot| slot.hour >= since) {
                let empty = Top { source: *source, failures: 0, bans: 0, last: 0 };
                let top = found.entry(*source).or_insert(empty);
                top.failures += u64::from(slot.failures);
                top.bans += u64::from(slot.bans);
                top.last = top.last.max(deeds.last);
            }
        }
        let mut found: Vec<Top> = found.into_values().collect();
        let rank = |top: &Top| match question.order {
            TopOrder::Failures => (top.failures, top.bans, top.last),
            TopOrder::Bans => (top.bans, top.failures, top.last),
            TopOrder::Last => (top.last, top.failures, top.bans),
        };
        found.sort_by_key(|top| Reverse(rank(top)));
        found.truncate(question.limit);
        found
    }

    /// Moves every time along with a clock that was set; the hours by whole hours.
    pub(crate) fn shift(&mut self, by: i64) {
        let hours = rounded(by, HOUR);
        for deeds in self.of.values_mut() {
            deeds.last = deeds.last.saturating_add_signed(by);
            deeds.slots.iter_mut().for_each(|slot| slot.hour = slot.hour.saturating_add_signed(hours));
        }
        self.hour = 0;
        self.put_in_order();
    }

    fn forget_before(&mut self, hour: u64) {
        self.of.retain(|_, deeds| {
            deeds.slots.retain(|slot| slot.hour >= hour);
            !deeds.slots.is_empty()
        });
        self.put_in_order();
    }

    /// Drops the source that has done least. False if there is none.
    fn drop_least(&mut self) -> bool {
        while let Some(Reverse((rank, key))) = self.order.pop() {
            let Some(now) = self.of.get(&key).map(Deeds::rank) else { continue };
            match now.cmp(&rank) {
                Ordering::Greater => self.order.push(Reverse((now, key))),
                Ordering::Equal => {
                    self.of.remove(&key);
                    return true;
                }
                // It was put here again when that became so.
                Ordering::Less => {}
            }
        }
        false
    }

    fn put_in_order(&mut self) {
        self.order = self.of.iter().map(|(key, deeds)| Reverse((deeds.rank(), key.clone()))).collect();
    }
}

/// A source in a snapshot, with the hours in which it has done something.
#[derive(Serialize, Deserialize)]
struct Saved(IpNet, Arc<str>, Usec, Vec<(u64, u32, u32)>);

impl From<Tops> for Vec<Saved> {
    fn from(tops: Tops) -> Self {
        let of = |((source, jail), deeds): (Key, Deeds)| {
            let slots = deeds.slots.iter().map(|slot| (slot.hour, slot.failures, slot.bans)).collect();
            Saved(source, jail, deeds.last, slots)
        };
        tops.of.into_iter().map(of).collect()
    }
}

impl From<Vec<Saved>> for Tops {
    fn from(saved: Vec<Saved>) -> Self {
        let mut tops = Self::default();
        for Saved(source, jail, last, slots) in saved.into_iter().take(MOST) {
            let most = usize::try_from(HOURS).unwrap_or(usize::MAX);
            let slots = slots.into_iter().take(most).map(|(hour, failures, bans)| Slot { hour, failures, bans });
            let mut slots: Vec<Slot> = slots.filter(|slot| slot.failures > 0 || slot.bans > 0).collect();
            slots.sort_by_key(|slot| slot.hour);
            slots.dedup_by_key(|slot| slot.hour);
            // What is there twice counts once.
            let key = (source.trunc(), jail);
            if slots.is_empty() {
                tops.of.remove(&key);
            } else {
                tops.of.insert(key, Deeds { slots, last });
            }
        }
        tops.put_in_order();
        tops
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn source(number: u32) -> IpNet {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Does(u8, bool, Deed, u64),
        TakenBack(usize),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let deed = prop::sample::select(vec![Deed::Failure, Deed::Failure, Deed::Ban]);
        let late = prop_oneof![9 => 0_u64..7200, 1 => 0_u64..800_000];
        prop_oneof![
            8 => (0_u8..6, any::<bool>(), deed, late).prop_map(|(who, jail, deed, late)| Step::Does(who, jail, deed, late)),
            1 => (0_usize..100).prop_map(Step::TakenBack),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Against a list of all that was done, as long as the table is not full.
        #[test]
        fn what_is_shown_of_a_source_is_what_it_has_done(
            steps in prop::collection::vec((0_u64..20_000, step()), 1..80),
            since in 9_000_000_u64..11_000_000,
            order in prop::sample::select(TopOrder::WORDS.map(|(_, order)| order).to_vec()),
            only in prop::option::of(any::<bool>()),
            limit in 0_usize..8,
        ) {
            let jails: [Arc<str>; 2] = ["one".into(), "two".into()];
            let mut tops = Tops::default();
            let mut all: Vec<(u8, bool, Deed, Usec)> = Vec::new();
            let mut now = 10_000_000_000_000;
            for (after, step) in steps {
                now += after * 1_000_000;
                match step {
                    Step::Does(who, jail, deed, late) => {
                        let time = now - late * 1_000_000;
                        tops.add(source(who.into()), &jails[usize::from(jail)], deed, time, now);
                        if time / HOUR + HOURS > now / HOUR {
                            all.push((who, jail, deed, time));
                        }
                        all.retain(|(.., time)| time / HOUR + HOURS > now / HOUR);
                    }
                    Step::TakenBack(place) => {
                        if let Some((who, jail, Deed::Failure, time)) = all.get(place).copied() {
                            all.remove(place);
                            tops.take_back(source(who.into()), &jails[usize::from(jail)], time);
                        }
                    }
                    Step::Restart => {
                        let saved = serde_json::to_string(&tops).unwrap();
                        let hour = tops.hour;
                        tops = serde_json::from_str(&saved).unwrap();
                        tops.hour = hour;
                    }
                }
                prop_assert!((tops.of.len()..=2 * MOST).contains(&tops.order.len()));
            }
            let since = since * 1_000_000;
            let jail = only.map(|jail| jails[usize::from(jail)].to_string());
            let found = tops.top(&Question { since, jail, order, limit });
            let mut wanted: Vec<(u8, u64, u64)> = (0..6)
                .map(|who| {
                    let count = |deed| {
                        let meant = |it: &&(u8, bool, Deed, Usec)| {
                            it.0 == who && only.is_none_or(|only| only == it.1) && it.2 == deed && it.3 / HOUR >= since / HOUR
                        };
                        all.iter().filter(meant).count() as u64
                    };
                    (who, count(Deed::Failure), count(Deed::Ban))
                })
                .filter(|(_, failures, bans)| failures + bans > 0)
                .collect();
            prop_assert_eq!(found.len(), wanted.len().min(limit));
            for top in &found {
                let is_it = |(who, failures, bans): &(u8, u64, u64)| {
                    source((*who).into()) == top.source && *failures == top.failures && *bans == top.bans
                };
                prop_assert!(wanted.iter().any(is_it), "{:?} of {:?}", top, wanted);
            }
            // Nobody who has done more is left out.
            match order {
                TopOrder::Failures => wanted.sort_by_key(|it| Reverse((it.1, it.2))),
                TopOrder::Bans => wanted.sort_by_key(|it| Reverse((it.2, it.1))),
                TopOrder::Last => return Ok(()),
            }
            let shown: Vec<(u64, u64)> = found.iter().map(|top| (top.failures, top.bans)).collect();
            let most: Vec<(u64, u64)> = wanted.iter().take(limit).map(|it| (it.1, it.2)).collect();
            prop_assert_eq!(shown, most);
            // Where room is needed, who has done least goes first.
            let mut ranks: Vec<(Rank, Key)> = tops.of.iter().map(|(key, deeds)| (deeds.rank(), key.clone())).collect();
            ranks.sort();
            for (_, key) in ranks {
                prop_assert!(tops.of.contains_key(&key) && tops.drop_least());
                prop_assert!(!tops.of.contains_key(&key));
            }
            prop_assert!(!tops.drop_least());
        }
    }

    #[test]
    fn who_fails_often_stays_however_many_others_fail_once() {
        let (mut tops, jail) = (Tops::default(), Arc::from("sshd"));
        let mut now = 1000 * HOUR;
        for number in 0..200_000_u32 {
            now += 1_000_000;
            tops.add(source(0x0a00_0000 + number), &jail, Deed::Failure, now, now);
            if number.is_multiple_of(100) {
                tops.add(source(1), &jail, Deed::Failure, now, now);
            }
        }
        assert_eq!(tops.of.len(), MOST);
        assert!(tops.order.len() <= 2 * MOST, "{}", tops.order.len());
        let top = &tops.top(&Question { limit: 1, ..Question::default() })[0];
        assert_eq!((top.source, top.failures, top.last), (source(1), 2000, now - 99_000_000));
    }

    #[test]
    fn a_week_later_a_source_is_forgotten_and_a_set_clock_moves_it() {
        let (mut tops, jail) = (Tops::default(), Arc::from("sshd"));
        tops.add(source(1), &jail, Deed::Failure, 1000 * HOUR, 1000 * HOUR);
        tops.shift((3 * HOUR).cast_signed());
        assert_eq!(tops.top(&Question { limit: 9, ..Question::default() })[0].last, 1003 * HOUR);
        tops.add(source(2), &jail, Deed::Ban, (1003 + HOURS - 1) * HOUR, (1003 + HOURS - 1) * HOUR);
        assert_eq!(tops.of.len(), 2);
        tops.add(source(2), &jail, Deed::Ban, (1003 + HOURS) * HOUR, (1003 + HOURS) * HOUR);
        assert_eq!(tops.of.len(), 1);
        tops.add(source(3), &jail, Deed::Ban, 1003 * HOUR, (1003 + HOURS) * HOUR);
        assert_eq!(tops.of.len(), 1, "too late for this table");
    }
}
