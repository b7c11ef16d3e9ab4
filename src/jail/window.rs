//! The exact sliding window of one source.
//!
//! A source is guilty when `maxretry` of its failures lie within `findtime`: the newest may be
//! at most `findtime` later than the oldest. Failures come to light out of order: journald merges
//! several senders and files, and evidence counts when its session ends, be it by silence. So a
//! failure is put where its time belongs, and the others are kept for [`LATE`] longer than they
//! can count with a new one: one that comes so late counts as if it had come in time.

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, Failures, View},
    record::{USEC_PER_SEC, Usec},
    session::SILENCE,
};

/// How late a failure may come to light and count exactly all the same, in µs.
pub(crate) const LATE: Usec = SILENCE + 60 * USEC_PER_SEC;
/// So many times `maxretry` failures are kept at the most, where `findtime` is short.
const MOST_KEPT: usize = 10;

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
        // The latest window that holds the newcomer.
        let first = (place + 1).saturating_sub(maxretry);
        let windows = views.windows(maxretry.max(1)).skip(first).take(place + 1 - first).rev();
        let mut guilty = windows.filter(|window| match (window.first(), window.last()) {
            (Some(oldest), Some(newest)) => newest.time.saturating_sub(oldest.time) <= findtime,
            _ => false,
        });
        let guilty: Option<Failures> = guilty.next().map(|window| window.iter().copied().collect());
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

    /// Removes a failure.
    pub(crate) fn take_back(&mut self, failure: &Failure) {
        let gone = View::of(failure);
        if let Some(place) = self.0.views().position(|view| view == gone) {
            let (before, after) = (self.0.views().take(place), self.0.views().skip(place + 1));
            self.0 = before.chain(after).collect();
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Cursor;

    fn failure(time: Usec) -> Failure {
        Failure { address: [203, 0, 113, 7].into(), time, rule: "r".into(), user: None, cursor: Cursor::from("c") }
    }

    #[test]
    fn a_failure_as_old_as_findtime_still_counts_and_an_older_one_does_not() {
        let mut tally = Tally::default();
        assert!(tally.add(&failure(0), 2, 10).is_none());
        assert!(tally.add(&failure(11), 2, 10).is_none(), "11 µs apart");
        assert!(tally.add(&failure(21), 2, 10).is_some(), "10 µs apart");
        assert_eq!(tally.newest(), None, "a guilty source starts anew");
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
    }
}
