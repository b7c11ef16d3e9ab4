//! What has happened, counted by the hour and by the day: a chart, without reading a journal.
//!
//! Each failure, ban and spared source counts in the hour and in the day of its record, so one that comes
//! late lands where it belongs. Hours and days are those of UTC, counted from the epoch. What is kept is a
//! few hundred numbers, whatever happens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::time::{DAY, USEC_PER_SEC, Usec};

/// An hour, in µs.
pub(crate) const HOUR: Usec = 3600 * USEC_PER_SEC;
/// The number of hours that are kept.
pub(crate) const HOURS: u64 = 7 * 24;
/// The number of days that are kept.
pub(crate) const DAYS: u64 = 90;

/// What has happened in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) failures: u64,
    /// Bans that a jail has decided.
    pub(crate) bans: u64,
    pub(crate) spared: u64,
    /// Bans that were ordered: a list of thousands is no attack.
    pub(crate) ordered: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Failure,
    Ban,
    Spared,
    Ordered,
}

impl Counts {
    fn of(&mut self, what: Counted) -> &mut u64 {
        match what {
            Counted::Failure => &mut self.failures,
            Counted::Ban => &mut self.bans,
            Counted::Spared => &mut self.spared,
            Counted::Ordered => &mut self.ordered,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            failures: self.failures.saturating_add(other.failures),
            bans: self.bans.saturating_add(other.bans),
            spared: self.spared.saturating_add(other.spared),
            ordered: self.ordered.saturating_add(other.ordered),
        }
    }
}

/// Counts of spans of one length, by the number of the span.
#[derive(Clone, Debug, Default)]
struct Series {
    of: BTreeMap<u64, Counts>,
    /// The span in which what is too old was last dropped.
    seen: u64,
}

impl Series {
    /// The counts of a span, unless it is too old at the span `now`.
    fn at(&mut self, number: u64, now: u64, kept: u64) -> Option<&mut Counts> {
        if now > self.seen {
            self.seen = now;
            while self.of.first_key_value().is_some_and(|(first, _)| first.saturating_add(kept) <= now) {
                self.of.pop_first();
            }
        }
        if number.saturating_add(kept) <= now {
            return None;
        }
        // Nearly everything happens in the last span that there is.
        if self.of.last_key_value().is_none_or(|(last, _)| *last != number)
            && self.of.len() as u64 >= kept
            && !self.of.contains_key(&number)
        {
            self.of.pop_first();
        }
        Some(self.of.entry(number).or_default())
    }

    fn shift(&mut self, by: i64) {
        self.seen = 0;
        for (number, counts) in std::mem::take(&mut self.of) {
            let sum = self.of.entry(number.saturating_add_signed(by)).or_default();
            *sum = sum.and(counts);
        }
    }
}

/// The counts of the last hours and days.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct History {
    hours: Series,
    days: Series,
}

/// One step of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// When it begins, in µs.
    pub(crate) since: Usec,
    pub(crate) counts: Counts,
}

/// The step can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The step of {0} µs is not a multiple of an hour (3600000000 µs); a multiple of a day (86400000000 µs) reaches back 90 days, and one of an hour 7 days."
)]
pub(crate) struct NoSuchStep(pub(crate) Usec);

impl History {
    /// Something has happened at `time`, and it is `now`.
    pub(crate) fn add(&mut self, what: Counted, time: Usec, now: Usec) {
        let now = now.max(time);
        for (series, span, kept) in [(&mut self.hours, HOUR, HOURS), (&mut self.days, DAY, DAYS)] {
            if let Some(counts) = series.at(time / span, now / span, kept) {
                let count = counts.of(what);
                *count = count.saturating_add(1);
            }
        }
    }

    /// What happened at `time` has turned out to be nothing.
    pub(crate) fn take_back(&mut self, what: Counted, time: Usec) {
        for (series, span) in [(&mut self.hours, HOUR), (&mut self.days, DAY)] {
            if let Some(counts) = series.of.get_mut(&(time / span)) {
                let count = counts.of(what);
                *count = count.saturating_sub(1);
            }
        }
    }

    /// The counts from `since` until `until`, in steps of `step` µs that begin at its multiples; 0 for
    /// hours, if they reach back so far, or else days.
    ///
    /// # Errors
    /// If the step is not one of whole hours.
    pub(crate) fn rows(&self, since: Usec, until: Usec, step: Usec, now: Usec) -> Result<Vec<Row>, NoSuchStep> {
        let first = |span: Usec, kept: u64| (now / span).saturating_sub(kept - 1).saturating_mul(span);
        let step = match step {
            0 if since >= first(HOUR, HOURS) => HOUR,
            0 => DAY,
            step => step,
        };
        let (series, span, kept) = if step.is_multiple_of(DAY) {
            (&self.days, DAY, DAYS)
        } else if step.is_multiple_of(HOUR) {
            (&self.hours, HOUR, HOURS)
        } else {
            return Err(NoSuchStep(step));
        };
        let until = until.min(now.saturating_add(1));
        let mut begin = since.max(first(span, kept)) / step * step;
        let mut rows = Vec::new();
        while begin < until {
            let end = begin.saturating_add(step);
            let counts = series
                .of
                .range((begin / span).max(first(span, kept) / span)..end.div_ceil(span).max(first(span, kept) / span))
                .map(|(_, counts)| *counts);
            rows.push(Row { since: begin, counts: counts.fold(Counts::default(), Counts::and) });
            begin = end;
        }
        Ok(rows)
    }

    /// Moves everything along with a clock that was set, by whole hours and days.
    pub(crate) fn shift(&mut self, by: i64) {
        self.hours.shift(rounded(by, HOUR));
        self.days.shift(rounded(by, DAY));
    }
}

/// The number of whole spans in a difference.
pub(super) fn rounded(by: i64, span: Usec) -> i64 {
    let span = span.cast_signed();
    by.saturating_add(by.signum() * (span / 2)) / span
}

/// The history in a snapshot: of each span its number, and what is counted. What was ordered is not in all
/// of them, nor in states that are older.
#[derive(Serialize, Deserialize)]
struct Saved {
    hours: Vec<[u64; 4]>,
    days: Vec<[u64; 4]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ordered_hours: Vec<[u64; 2]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ordered_days: Vec<[u64; 2]>,
}

impl From<History> for Saved {
    fn from(history: History) -> Self {
        let saved = |series: &Series| {
            let of = |(number, counts): (&u64, &Counts)| [*number, counts.failures, counts.bans, counts.spared];
            series.of.iter().map(of).collect()
        };
        let ordered = |series: &Series| {
            let of = |(number, counts): (&u64, &Counts)| (counts.ordered > 0).then_some([*number, counts.ordered]);
            series.of.iter().filter_map(of).collect()
        };
        let History { hours, days } = &history;
        Self { hours: saved(hours), days: saved(days), ordered_hours: ordered(hours), ordered_days: ordered(days) }
    }
}

impl From<Saved> for History {
    fn from(saved: Saved) -> Self {
        let series = |saved: Vec<[u64; 4]>, ordered: Vec<[u64; 2]>, kept: u64| {
            let of =
                |[number, failures, bans, spared]: [u64; 4]| (number, Counts { failures, bans, spared, ordered: 0 });
            let mut series: BTreeMap<u64, Counts> = saved.into_iter().map(of).collect();
            for [number, ordered] in ordered {
                series.entry(number).or_default().ordered = ordered;
            }
            while series.len() as u64 > kept {
                series.pop_first();
            }
            Series { of: series, seen: 0 }
        };
        Self {
            hours: series(saved.hours, saved.ordered_hours, HOURS),
            days: series(saved.days, saved.ordered_days, DAYS),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Happens(Counted, u64),
        TakenBack(usize),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let what = prop::sample::select(vec![Counted::Failure, Counted::Ban, Counted::Spared, Counted::Ordered]);
        prop_oneof![
            // In seconds: mostly in time, sometimes days late.
            8 => (what, prop_oneof![9 => 0_u64..7200, 1 => 0_u64..8_000_000]).prop_map(|(what, late)| Step::Happens(what, late)),
            1 => (0_usize..100).prop_map(Step::TakenBack),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Against a list of all that has happened.
        #[test]
        fn what_is_counted_is_what_has_happened(
            steps in prop::collection::vec((0_u64..100_000, step()), 1..80),
            since in 0_u64..10_000_000,
            length in 0_u64..10_000_000,
            step in prop::sample::select(vec![0, 1, 2, 24, 48, 168]),
        ) {
            let mut history = History::default();
            let mut all: Vec<(Counted, Usec)> = Vec::new();
            let mut now = 10_000_000 * USEC_PER_SEC;
            for (after, step) in steps {
                now += after * USEC_PER_SEC;
                match step {
                    Step::Happens(what, late) => {
                        let time = now - late * USEC_PER_SEC;
                        history.add(what, time, now);
                        all.push((what, time));
                    }
                    Step::TakenBack(place) if place < all.len() => {
                        let (what, time) = all.remove(place);
                        history.take_back(what, time);
                    }
                    Step::TakenBack(_) => {}
                    Step::Restart => {
                        let saved = serde_json::to_string(&history).unwrap();
                        history = serde_json::from_str(&saved).unwrap();
                    }
                }
            }
            let (since, until) = (since * USEC_PER_SEC, (since + length) * USEC_PER_SEC);
            let rows = history.rows(since, until, step * HOUR, now).unwrap();
            let recent = since >= (now / HOUR - (HOURS - 1)) * HOUR;
            let length = if step == 0 { if recent { HOUR } else { DAY } } else { step * HOUR };
            let (span, kept) = if length.is_multiple_of(DAY) { (DAY, DAYS) } else { (HOUR, HOURS) };
            let first = (now / span - (kept - 1)) * span;
            // No step is missing, and none is there twice.
            for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
                prop_assert_eq!(row.since + length, next.since);
            }
            if let (Some(row), Some(last)) = (rows.first(), rows.last()) {
                prop_assert!(row.since <= since.max(first) && row.since + length > since.max(first));
                prop_assert!(last.since < until && (last.since + length >= until || last.since + length > now));
            } else {
                prop_assert!(until <= since.max(first) / length * length || now < since);
            }
            for row in rows {
                let count = |what| {
                    let inside = |time: Usec| (row.since..row.since + length).contains(&time) && time >= first;
                    all.iter().filter(|(it, time)| *it == what && inside(*time)).count() as u64
                };
                let wanted = Counts {
                    failures: count(Counted::Failure),
                    bans: count(Counted::Ban),
                    spared: count(Counted::Spared),
                    ordered: count(Counted::Ordered),
                };
                prop_assert_eq!(row.counts, wanted, "{} of {:?}", row.since, all);
            }
        }
    }

    #[test]
    fn only_steps_of_whole_hours_can_be_had_and_the_answer_has_an_end() {
        let history = History::default();
        assert_eq!(history.rows(0, Usec::MAX, 1, 9 * DAY), Err(NoSuchStep(1)));
        assert_eq!(history.rows(0, Usec::MAX, HOUR, 1000 * DAY).unwrap().len() as u64, HOURS);
        assert_eq!(history.rows(0, Usec::MAX, 0, 1000 * DAY).unwrap().len() as u64, DAYS);
        assert_eq!(history.rows(5, 4, DAY, Usec::MAX).unwrap(), []);
    }

    #[test]
    fn numbers_that_no_engine_writes_do_no_harm() {
        let text = format!(
            "{{\"hours\":[[{0},{0},{0},{0}],[1,2,3,4]],\"days\":[[{0},1,1,1]],\"ordered_days\":[[{0},{0}],[3,4]]}}",
            u64::MAX
        );
        let mut history: History = serde_json::from_str(&text).unwrap();
        history.shift(i64::MAX);
        history.shift(i64::MIN);
        history.add(Counted::Ban, 7, Usec::MAX);
        history.add(Counted::Ban, Usec::MAX, 7);
        assert!(history.rows(0, Usec::MAX, 0, Usec::MAX).is_ok());
    }

    #[test]
    fn a_clock_that_was_hours_wrong_moves_what_it_has_counted() {
        let mut history = History::default();
        history.add(Counted::Failure, 30 * DAY, 30 * DAY);
        history.shift((5 * HOUR + HOUR / 3).cast_signed());
        let rows = history.rows(30 * DAY, Usec::MAX, HOUR, 30 * DAY + 6 * HOUR).unwrap();
        assert_eq!(rows.iter().map(|row| row.counts.failures).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 1, 0]);
        history.shift(-(2 * HOUR).cast_signed());
        let rows = history.rows(30 * DAY, Usec::MAX, HOUR, 30 * DAY + 6 * HOUR).unwrap();
        assert_eq!(rows.iter().map(|row| row.counts.failures).collect::<Vec<_>>(), [0, 0, 0, 1, 0, 0, 0]);
    }
}
