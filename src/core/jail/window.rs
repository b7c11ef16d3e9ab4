//! The exact sliding window of one source.
//!
//! A source is guilty when `maxretry` of its failures lie within `findtime`: the newest may be
//! at most `findtime` later than the oldest. Failures come to light out of order: journald merges
//! several senders and files, and evidence counts when its session ends, be it by silence. So a
//! failure is put where its time belongs, and the others are kept for [`LATE`] longer than they
//! can count with a new one: one that comes so late counts as if it had come in time.
//!
//! Refusals stand in the same list. [`REFUSALS`] of them weigh as much as a failure, and those of an
//! address never more than its failures in the same window: who was turned away for what a
//! neighbour has done has none.

use std::{collections::HashMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::core::{
    failure::{Failure, Failures, View},
    session::SILENCE,
    time::{USEC_PER_SEC, Usec},
};

/// How late a failure may come to light and count exactly all the same, in µs.
pub(crate) const LATE: Usec = SILENCE + 60 * USEC_PER_SEC;
/// The maximum number of failures kept, as a multiple of `maxretry`, where `findtime` is short.
const MOST_KEPT: usize = 10;
/// The number of refusals that weigh as much as one failure. An honest user who is turned away for three typing
/// mistakes may try some more times before `maxretry` is reached; and sshd logs no more than seven
/// refusals in a row.
const REFUSALS: usize = 3;

/// The failures of one source that still count, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Tally(Failures);

impl Tally {
    /// Adds a failure. Returns the failures that make the source guilty, if it is.
    pub(crate) fn add(&mut self, failure: &Failure, maxretry: usize, findtime: Usec) -> Option<Failures> {
        if self.is_far_from(failure, maxretry, findtime) {
            self.0.push(failure);
            return None;
        }
        let mut views: Vec<View<'_>> = self.0.views().collect();
        let place = views.partition_point(|known| known.time <= failure.time);
        views.insert(place, View::of(failure));
        let refusals = views.iter().filter(|view| view.is_refusal()).count();
        let window = match refusals {
            0 => of_failures(&views, place, maxretry, findtime),
            _ => of_both(&views, place, maxretry, findtime),
        };
        let guilty: Option<Failures> = window.map(|window| window.iter().copied().collect());
        let mut surplus = refusals.saturating_sub(maxretry.saturating_mul(REFUSALS));
        views.retain(|view| {
            let goes = view.is_refusal() && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
        let newest = views.last().map_or(0, |view| view.time);
        let since = newest.saturating_sub(findtime.saturating_add(LATE));
        let surplus = views.len().saturating_sub(maxretry.saturating_mul(MOST_KEPT));
        self.0 = match guilty {
            Some(_) => Failures::default(),
            None => views.into_iter().skip(surplus).filter(|view| view.time >= since).collect(),
        };
        guilty
    }

    /// Whether a failure is the newest, too few were before it for a window, and none of them is
    /// too old: most are so, and then nothing is to be put in order.
    fn is_far_from(&self, failure: &Failure, maxretry: usize, findtime: Usec) -> bool {
        let (mut count, mut oldest, mut newest) = (1, failure.time, 0);
        for view in self.0.views() {
            count += 1;
            oldest = oldest.min(view.time);
            newest = newest.max(view.time);
        }
        count < maxretry && newest <= failure.time && failure.time - oldest <= findtime.saturating_add(LATE)
    }

    /// Whether a refusal at this time weighs anything: its address has failures that are not too old.
    pub(crate) fn weighs(&self, refusal: &Failure, findtime: Usec) -> bool {
        self.0.views().any(|view| {
            !view.is_refusal() && view.address == refusal.address && view.time.abs_diff(refusal.time) <= findtime
        })
    }

    /// Removes a failure, and the refusals of its address if it was the last one.
    pub(crate) fn take_back(&mut self, failure: &Failure) {
        let gone = View::of(failure);
        if let Some(place) = self.0.views().position(|view| view == gone) {
            let (before, after) = (self.0.views().take(place), self.0.views().skip(place + 1));
            let rest: Vec<View<'_>> = before.chain(after).collect();
            let fails = rest.iter().any(|view| !view.is_refusal() && view.address == gone.address);
            self.0 = rest.into_iter().filter(|view| fails || view.address != gone.address).collect();
        }
    }

    /// The time of the latest failure.
    pub(crate) fn newest(&self) -> Option<Usec> {
        self.0.views().last().map(|view| view.time)
    }

    /// The failures.
    pub(crate) fn failures(&self) -> &Failures {
        &self.0
    }

    /// Moves every time along with a clock that was set.
    pub(crate) fn shift(&mut self, by: i64) {
        self.0.shift(by);
    }

    /// Puts a failure in its place, and judges nothing.
    pub(crate) fn join(&mut self, failure: View<'_>) {
        if self.newest().is_none_or(|newest| newest <= failure.time) {
            self.0.push_view(failure);
        } else {
            let mut views: Vec<View<'_>> = self.0.views().collect();
            views.insert(views.partition_point(|known| known.time <= failure.time), failure);
            self.0 = views.into_iter().collect();
        }
    }
}

/// The latest window of `maxretry` failures that holds the newcomer at `place`.
fn of_failures<'v, 'p>(views: &'v [View<'p>], place: usize, maxretry: usize, findtime: Usec) -> Option<&'v [View<'p>]> {
    let first = (place + 1).saturating_sub(maxretry);
    let mut windows = views.windows(maxretry.max(1)).skip(first).take(place + 1 - first).rev();
    windows.find(|window| match (window.first(), window.last()) {
        (Some(oldest), Some(newest)) => newest.time.saturating_sub(oldest.time) <= findtime,
        _ => false,
    })
}

/// The latest window that holds the newcomer at `place` and weighs as much as `maxretry` failures:
/// the later it begins, the later it must end.
fn of_both<'v, 'p>(views: &'v [View<'p>], place: usize, maxretry: usize, findtime: Usec) -> Option<&'v [View<'p>]> {
    let enough = maxretry.max(1).saturating_mul(REFUSALS);
    let mut scale = Scale::default();
    views[place..].iter().for_each(|view| scale.put(view));
    let mut end = views.len();
    for begin in (0..=place).rev() {
        if begin < place {
            scale.put(&views[begin]);
        }
        while end > place + 1 && scale.weight_without(&views[end - 1]) >= enough {
            end -= 1;
            scale.take(&views[end]);
        }
        if scale.weight >= enough && views[end - 1].time.saturating_sub(views[begin].time) <= findtime {
            return Some(&views[begin..end]);
        }
    }
    None
}

/// What some failures and refusals weigh together, in refusals.
#[derive(Debug, Default)]
struct Scale {
    weight: usize,
    /// By address: what its failures weigh, and how many refusals it has.
    of: HashMap<IpAddr, (usize, usize)>,
}

impl Scale {
    fn weigh((failures, refusals): (usize, usize)) -> usize {
        failures + refusals.min(failures)
    }

    fn put(&mut self, view: &View<'_>) {
        let of = self.of.entry(view.address).or_default();
        let before = Self::weigh(*of);
        if view.is_refusal() {
            of.1 += 1;
        } else {
            of.0 += REFUSALS;
        }
        self.weight += Self::weigh(*of) - before;
    }

    fn take(&mut self, view: &View<'_>) {
        self.weight = self.weight_without(view);
        if let Some(of) = self.of.get_mut(&view.address) {
            *of = Self::less(*of, view);
        }
    }

    fn weight_without(&self, view: &View<'_>) -> usize {
        let of = self.of.get(&view.address).copied().unwrap_or_default();
        self.weight + Self::weigh(Self::less(of, view)) - Self::weigh(of)
    }

    fn less((failures, refusals): (usize, usize), view: &View<'_>) -> (usize, usize) {
        if view.is_refusal() {
            (failures, refusals.saturating_sub(1))
        } else {
            (failures.saturating_sub(REFUSALS), refusals)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::failure::Kind;

    fn failure(time: Usec) -> Failure {
        Failure::sample(time)
    }

    fn refusal(time: Usec) -> Failure {
        Failure { kind: Kind::Refusal, ..failure(time) }
    }

    #[test]
    fn refusals_weigh_a_third_and_never_more_than_the_failures_before_them() {
        let tally_of = |failures: u64| {
            let mut tally = Tally::default();
            for time in 0..failures {
                assert!(tally.add(&failure(time), 5, 100).is_none());
            }
            tally
        };
        let refusals_until_guilty = |mut tally: Tally| (1..50).find(|&n| tally.add(&refusal(10 + n), 5, 100).is_some());
        assert_eq!(refusals_until_guilty(tally_of(3)), Some(6));
        assert_eq!(refusals_until_guilty(tally_of(4)), Some(3));
        assert_eq!(refusals_until_guilty(tally_of(2)), None, "two failures and a third of nothing else");
        let mut tally = tally_of(3);
        assert!(tally.weighs(&refusal(102), 100) && !tally.weighs(&refusal(103), 100));
        assert!(!tally.weighs(&Failure { address: [203, 0, 113, 8].into(), ..refusal(5) }, 100), "a neighbour");
        for time in 0..3 {
            assert!(tally.add(&refusal(10), 5, 100).is_none());
            tally.take_back(&failure(time));
        }
        assert!(tally.failures().is_empty(), "refusals go with the failures that they follow");
    }

    #[test]
    fn a_failure_as_old_as_findtime_still_counts_and_an_older_one_does_not() {
        let mut tally = Tally::default();
        assert!(tally.add(&failure(0), 2, 10).is_none());
        assert!(tally.add(&failure(11), 2, 10).is_none(), "11 µs apart");
        assert!(tally.add(&failure(21), 2, 10).is_some(), "10 µs apart");
        assert_eq!(tally.newest(), None, "a guilty source starts over");
    }

    #[test]
    fn a_latecomer_counts_with_those_of_its_time() {
        let mut tally = Tally::default();
        for time in [0, 5, 106, 107] {
            assert!(tally.add(&failure(time), 3, 100).is_none());
        }
        let guilty = tally.add(&failure(50), 3, 100).unwrap();
        assert_eq!(guilty.views().map(|view| view.time).collect::<Vec<_>>(), [50, 106, 107], "the latest such window");
        for time in [0, 5, 110, 111] {
            assert!(tally.add(&failure(time), 3, 100).is_none());
        }
        let guilty = tally.add(&failure(10), 3, 100).unwrap();
        assert_eq!(guilty.views().map(|view| view.time).collect::<Vec<_>>(), [0, 5, 10]);
        for time in [0, 1, 111, 212 + LATE] {
            assert!(tally.add(&failure(time), 3, 100).is_none());
        }
        assert!(tally.add(&failure(50), 3, 100).is_none(), "0 and 1 were too long ago");
    }

    proptest! {
        /// What is kept is enough: a window over all failures agrees, as long as none comes later
        /// than it may.
        #[test]
        fn the_window_agrees_with_one_that_keeps_everything(
            steps in proptest::collection::vec((0u64..20, 0u64..40), 1..80), maxretry in 1usize..6, findtime in 0u64..40,
        ) {
            let mut tally = Tally::default();
            let mut all: Vec<Usec> = Vec::new();
            let mut now = 0;
            for (step, back) in steps {
                now += step;
                let time = now - back.min(now);
                all.push(time);
                all.sort_unstable();
                let mut windows = all.windows(maxretry);
                let guilty = windows.any(|window| window.contains(&time) && window[maxretry - 1] - window[0] <= findtime);
                if guilty {
                    all.clear();
                }
                prop_assert_eq!(tally.add(&failure(time), maxretry, findtime).is_some(), guilty);
                prop_assert!(tally.failures().len() <= MOST_KEPT * maxretry);
            }
        }

        /// The same with refusals and two addresses, by weighing each window by itself.
        #[test]
        fn a_window_with_refusals_weighs_what_its_parts_do(
            steps in proptest::collection::vec((0u64..12, 0u64..20, any::<bool>(), 0u8..2), 1..60),
            maxretry in 1usize..5, findtime in 5u64..60,
        ) {
            let mut tally = Tally::default();
            let mut all: Vec<Failure> = Vec::new();
            let mut now = 0;
            for (step, back, refused, host) in steps {
                now += step;
                let entry = Failure {
                    time: now - back.min(now),
                    kind: if refused { Kind::Refusal } else { Kind::Attempt },
                    address: [203, 0, 113, host].into(),
                    ..failure(0)
                };
                if refused && !tally.weighs(&entry, findtime) {
                    continue;
                }
                all.push(entry.clone());
                let weight = |of: &[&Failure]| -> usize {
                    (0..2).map(|host| {
                        let own = of.iter().filter(|it| it.address == IpAddr::from([203, 0, 113, host]));
                        let (refusals, failures): (Vec<&&Failure>, Vec<&&Failure>) = own.partition(|it| it.kind == Kind::Refusal);
                        3 * failures.len() + refusals.len().min(3 * failures.len())
                    }).sum()
                };
                // The windows that hold the newcomer and are as long as they may be.
                let ends = all.iter().map(|it| it.time).filter(|end| *end >= entry.time && end - entry.time <= findtime);
                let guilty = ends.into_iter().any(|end| {
                    let inside: Vec<&Failure> =
                        all.iter().filter(|it| it.time <= end && end - it.time <= findtime).collect();
                    weight(&inside) >= 3 * maxretry
                });
                let found = tally.add(&entry, maxretry, findtime);
                // Refusals beyond three for each of maxretry are forgotten, and so may be some that came late.
                if all.iter().filter(|it| it.kind == Kind::Refusal).count() <= 3 * maxretry {
                    prop_assert_eq!(found.is_some(), guilty);
                }
                if let Some(window) = found {
                    let window: Vec<Failure> = window.iter().collect();
                    prop_assert!(weight(&window.iter().collect::<Vec<_>>()) >= 3 * maxretry);
                    prop_assert!(window.last().unwrap().time - window[0].time <= findtime && window.contains(&entry));
                    all.clear();
                }
                if tally.failures().is_empty() {
                    all.clear();
                }
            }
        }
    }
}
