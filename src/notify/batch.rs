//! What waits for a handler, and when it is handed over. Pure: times go in as numbers.
//!
//! The first event begins a batch; what comes within `collect` joins it, and no batch is handed over sooner
//! than `at-most` after the one before. Beyond `batch` events only their number is kept. A batch that
//! fails is tried again after 1, 2, 4 … seconds, and what has come meanwhile joins it; after a day it is
//! given up.

use std::collections::BTreeMap;

use super::event::{Event, Kind};
use crate::core::time::{USEC_PER_SEC, Usec};

/// The longest pause before a batch is tried again.
const LONGEST_PAUSE: Usec = 300 * USEC_PER_SEC;
/// How long a batch is tried.
const GIVE_UP: Usec = 24 * 3600 * USEC_PER_SEC;

/// How a handler wants to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) collect: Usec,
    pub(crate) at_most: Usec,
    pub(crate) batch: usize,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing waits.
    Idle,
    /// The batch is to be handed over at this time.
    At(Usec),
    /// The batch is to be handed over.
    Now,
}

/// What waits for a handler.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pace: Pace,
    pub(crate) events: Vec<Event>,
    pub(crate) counts: BTreeMap<Kind, u64>,
    pub(crate) omitted: u64,
    first: Option<Usec>,
    /// When the last batch was begun.
    begun: Option<Usec>,
    /// How often this batch has failed, since when, and when it is tried again.
    attempts: u32,
    failing_since: Option<Usec>,
    again: Option<Usec>,
}

impl Waiting {
    /// Nothing waits; the last batch was handed over at `begun`, and what waits has failed since
    /// `failing_since`.
    pub(crate) fn new(pace: Pace, begun: Option<Usec>, failing_since: Option<Usec>) -> Self {
        Self {
            pace,
            events: Vec::new(),
            counts: BTreeMap::new(),
            omitted: 0,
            first: None,
            begun,
            attempts: 0,
            failing_since,
            again: None,
        }
    }

    /// An event has come.
    pub(crate) fn push(&mut self, event: Event, now: Usec) {
        self.first.get_or_insert(now);
        *self.counts.entry(event.kind).or_default() += 1;
        if self.events.len() < self.pace.batch {
            self.events.push(event);
        } else {
            self.omitted += 1;
        }
    }

    /// How many events wait, those of which only the number is kept included.
    pub(crate) fn number(&self) -> u64 {
        self.counts.values().sum()
    }

    /// What is to be done at `now`.
    pub(crate) fn next(&self, now: Usec) -> Next {
        let Some(first) = self.first else { return Next::Idle };
        let paced = self.begun.map_or(0, |begun| begun.saturating_add(self.pace.at_most));
        let due = self.again.unwrap_or_else(|| first.saturating_add(self.pace.collect).max(paced));
        if now >= due { Next::Now } else { Next::At(due) }
    }

    /// The batch is being handed over.
    pub(crate) fn begin(&mut self, now: Usec) {
        self.begun = Some(now);
    }

    /// The handler has taken the batch.
    pub(crate) fn succeeded(&mut self) {
        self.events.clear();
        self.counts.clear();
        (self.omitted, self.first, self.attempts, self.failing_since, self.again) = (0, None, 0, None, None);
    }

    /// The handler has failed. False, if the batch has failed for so long that it is given up.
    pub(crate) fn failed(&mut self, now: Usec) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        if now.saturating_sub(since) >= GIVE_UP {
            return false;
        }
        let pause = USEC_PER_SEC.checked_shl(self.attempts).unwrap_or(LONGEST_PAUSE).clamp(USEC_PER_SEC, LONGEST_PAUSE);
        self.attempts = (self.attempts + 1).min(32);
        self.again = Some(now + pause);
        true
    }

    /// Since when what waits has failed.
    pub(crate) fn failing_since(&self) -> Option<Usec> {
        self.failing_since
    }

    /// What waits in one sentence's part: "3 bans, 1 leak".
    pub(crate) fn summary(&self) -> String {
        summary(&self.counts)
    }
}

/// The numbers of each kind as words.
pub(crate) fn summary(counts: &BTreeMap<Kind, u64>) -> String {
    counts.iter().map(|(kind, number)| kind.count(*number)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::event::not_held;

    const SECOND: Usec = USEC_PER_SEC;
    const PACE: Pace = Pace { collect: 60 * SECOND, at_most: 600 * SECOND, batch: 3 };

    fn event(number: Usec) -> Event {
        not_held("x", number)
    }

    #[test]
    fn what_comes_within_collect_joins_and_no_batch_comes_sooner_than_at_most() {
        let mut waiting = Waiting::new(PACE, None, None);
        assert_eq!(waiting.next(0), Next::Idle);
        waiting.push(event(1), 1000 * SECOND);
        waiting.push(event(2), 1059 * SECOND);
        assert_eq!(waiting.next(1059 * SECOND), Next::At(1060 * SECOND));
        assert_eq!(waiting.next(1060 * SECOND), Next::Now);
        waiting.begin(1060 * SECOND);
        waiting.succeeded();
        assert_eq!(waiting.next(1061 * SECOND), Next::Idle);
        waiting.push(event(3), 1061 * SECOND);
        assert_eq!(waiting.next(1061 * SECOND), Next::At(1660 * SECOND));
        let restarted = Waiting {
            events: waiting.events.clone(),
            first: Some(1061 * SECOND),
            ..Waiting::new(PACE, Some(1060 * SECOND), None)
        };
        assert_eq!(restarted.next(1061 * SECOND), Next::At(1660 * SECOND), "a restart is no way around it");
    }

    #[test]
    fn beyond_batch_only_numbers_are_kept() {
        let mut waiting = Waiting::new(PACE, None, None);
        for number in 0..10 {
            waiting.push(event(number), 5);
        }
        assert_eq!((waiting.events.len(), waiting.omitted, waiting.number()), (3, 7, 10));
        assert_eq!(waiting.summary(), "10 losses of records");
    }

    #[test]
    fn a_failure_is_tried_again_ever_later_and_given_up_after_a_day() {
        let mut waiting = Waiting::new(Pace { collect: 0, at_most: 0, batch: 3 }, None, None);
        waiting.push(event(1), 0);
        let (mut now, mut pauses) = (0, Vec::new());
        loop {
            assert_eq!(waiting.next(now), Next::Now);
            waiting.begin(now);
            if !waiting.failed(now) {
                break;
            }
            let Next::At(again) = waiting.next(now) else { panic!("there is a pause") };
            pauses.push((again - now) / SECOND);
            now = again;
            waiting.push(event(now), now);
        }
        assert_eq!(pauses[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!((GIVE_UP..GIVE_UP + LONGEST_PAUSE).contains(&now));
        assert_eq!(waiting.events.len(), 3);
    }

    proptest! {
        #[test]
        fn nothing_waits_without_an_end_and_none_is_forgotten(
            steps in proptest::collection::vec((0u64..700, 0u8..4), 1..200), collect in 0u64..100, at_most in 0u64..700
        ) {
            let pace = Pace { collect: collect * SECOND, at_most: at_most * SECOND, batch: 5 };
            let mut waiting = Waiting::new(pace, None, None);
            let (mut now, mut pushed, mut handed, mut last) = (0, 0, 0, None::<Usec>);
            for (pause, what) in steps {
                now += pause * SECOND;
                if what > 0 {
                    waiting.push(event(now), now);
                    pushed += 1;
                }
                if let Next::At(due) = waiting.next(now) {
                    prop_assert!(due > now && due <= now + LONGEST_PAUSE.max(pace.collect).max(pace.at_most));
                }
                if waiting.next(now) == Next::Now {
                    prop_assert!(waiting.again.is_some() || last.is_none_or(|last| now >= last + pace.at_most));
                    waiting.begin(now);
                    last = Some(now);
                    if what == 2 {
                        prop_assert!(waiting.failed(now));
                    } else {
                        handed += waiting.number();
                        waiting.succeeded();
                    }
                }
            }
            prop_assert_eq!(handed + waiting.number(), pushed);
            prop_assert_eq!(waiting.next(now) == Next::Idle, waiting.number() == 0);
        }
    }
}
