//! The exact sliding window of one source.
//!
//! A source is guilty when `maxretry` of its failures lie within `findtime`: the newest may be
//! at most `findtime` later than the oldest. Only the latest `maxretry` failures can ever
//! matter, so only they are kept. Records may come a little out of order (journald merges
//! several senders and files), so a failure is put where its time belongs.

use serde::{Deserialize, Serialize};

use crate::{record::Usec, session::Failure};

/// The failures of one source that still count, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Tally(Vec<Failure>);

impl Tally {
    /// Adds a failure. Returns the failures that make the source guilty, if it is.
    pub(crate) fn add(&mut self, failure: Failure, maxretry: usize, findtime: Usec) -> Option<Vec<Failure>> {
        let place = self.0.partition_point(|known| known.time <= failure.time);
        self.0.insert(place, failure);
        if self.0.len() > maxretry {
            self.0.remove(0);
        }
        let (oldest, newest) = (self.0.first()?.time, self.0.last()?.time);
        (self.0.len() >= maxretry && newest - oldest <= findtime).then(|| std::mem::take(&mut self.0))
    }

    /// Removes the failure of that time.
    pub(crate) fn take_back(&mut self, time: Usec) {
        if let Some(place) = self.0.iter().rposition(|known| known.time == time) {
            self.0.remove(place);
        }
    }

    /// The time of the latest failure.
    pub(crate) fn newest(&self) -> Option<Usec> {
        self.0.last().map(|failure| failure.time)
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
        assert!(tally.add(failure(0), 2, 10).is_none());
        assert!(tally.add(failure(11), 2, 10).is_none(), "11 µs apart");
        assert!(tally.add(failure(21), 2, 10).is_some(), "10 µs apart");
        assert_eq!(tally.newest(), None, "a guilty source starts anew");
    }

    proptest! {
        /// Keeping the latest `maxretry` failures is enough: a window over all of them agrees.
        #[test]
        fn the_window_agrees_with_one_that_keeps_everything(
            steps in proptest::collection::vec(0u64..20, 1..80), maxretry in 1usize..6, findtime in 0u64..40,
        ) {
            let mut tally = Tally::default();
            let mut all: Vec<Usec> = Vec::new();
            let mut now = 0;
            for step in steps {
                now += step;
                all.push(now);
                let guilty = all.iter().filter(|time| **time + findtime >= now).count() >= maxretry;
                if guilty {
                    all.clear();
                }
                prop_assert_eq!(tally.add(failure(now), maxretry, findtime).is_some(), guilty);
            }
        }
    }
}
