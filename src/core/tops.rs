//! The sources that have failed most, by the hour, for a week.
//!
//! A table of limited size, while anybody can come from any number of addresses: where it is full, the
//! source goes that has done least, and of several the one that has been quiet longest. So who fails
//! often stays, however many others fail once; and what is shown of a source is never too much, but can be
//! too little, if it was dropped in between.

use std::{
    collections::{BTreeMap, BTreeSet},
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

impl Deeds {
    fn weight(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.failures) + u64::from(slot.bans)).sum()
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
    /// Those that would go first are first.
    order: BTreeSet<(u64, Usec, Key)>,
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
        let mut deeds = self.take(&key).unwrap_or_default();
        while self.of.len() >= MOST
            && let Some((_, _, least)) = self.order.pop_first()
        {
            self.of.remove(&least);
        }
        let slot = deeds.slot(time / HOUR);
        let count = if deed == Deed::Failure { &mut slot.failures } else { &mut slot.bans };
        *count = count.saturating_add(1);
        deeds.last = deeds.last.max(time);
        self.put(key, deeds);
    }

    /// A failure has turned out to be none.
    pub(crate) fn take_back(&mut self, source: IpNet, jail: &Arc<str>, time: Usec) {
        let key = (source, Arc::clone(jail));
        let Some(mut deeds) = self.take(&key) else { return };
        if let Some(slot) = deeds.slots.iter_mut().find(|slot| slot.hour == time / HOUR) {
            slot.failures = slot.failures.saturating_sub(1);
        }
        deeds.slots.retain(|slot| slot.failures > 0 || slot.bans > 0);
        self.put(key, deeds);
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
        found.sort_by_key(|top| std::cmp::Reverse(rank(top)));
        found.truncate(question.limit);
        found
    }

    /// Moves every time along with a clock that was set; the hours by whole hours.
    pub(crate) fn shift(&mut self, by: i64) {
        let hours = rounded(by, HOUR);
        for (key, mut deeds) in std::mem::take(self).of {
            deeds.last = deeds.last.saturating_add_signed(by);
            deeds.slots.iter_mut().for_each(|slot| slot.hour = slot.hour.saturating_add_signed(hours));
            self.put(key, deeds);
        }
    }

    fn forget_before(&mut self, hour: u64) {
        for (key, mut deeds) in std::mem::take(&mut self.of) {
            self.order.remove(&(deeds.weight(), deeds.last, key.clone()));
            deeds.slots.retain(|slot| slot.hour >= hour);
            self.put(key, deeds);
        }
    }

    fn take(&mut self, key: &Key) -> Option<Deeds> {
        let deeds = self.of.remove(key)?;
        self.order.remove(&(deeds.weight(), deeds.last, key.clone()));
        Some(deeds)
    }

    fn put(&mut self, key: Key, deeds: Deeds) {
        if !deeds.slots.is_empty() {
            self.order.insert((deeds.weight(), deeds.last, key.clone()));
            self.of.insert(key, deeds);
        }
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
            tops.take(&(source.trunc(), Arc::clone(&jail)));
            tops.put((source.trunc(), jail), Deeds { slots, last });
        }
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
                prop_assert_eq!(tops.of.len(), tops.order.len());
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
                TopOrder::Failures => wanted.sort_by_key(|it| std::cmp::Reverse((it.1, it.2))),
                TopOrder::Bans => wanted.sort_by_key(|it| std::cmp::Reverse((it.2, it.1))),
                TopOrder::Last => return Ok(()),
            }
            let shown: Vec<(u64, u64)> = found.iter().map(|top| (top.failures, top.bans)).collect();
            let most: Vec<(u64, u64)> = wanted.iter().take(limit).map(|it| (it.1, it.2)).collect();
            prop_assert_eq!(shown, most);
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
        assert_eq!((tops.of.len(), tops.order.len()), (MOST, MOST));
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
        assert_eq!((tops.of.len(), tops.order.len()), (1, 1));
        tops.add(source(3), &jail, Deed::Ban, 1003 * HOUR, (1003 + HOURS) * HOUR);
        assert_eq!(tops.of.len(), 1, "too late for this table");
    }
}
