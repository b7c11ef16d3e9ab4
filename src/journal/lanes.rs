//! One journal, read through as many handles of libsystemd as keep each of them quick.
//!
//! libsystemd looks for the next entry by the list of entries of each match, and remembers in each
//! file where it stands in 20 such lists (CHAIN_CACHE_MAX in journal-file.c). With one match more
//! every look begins at the head of the list: with 40 matches an entry takes four times as long as
//! with 20, and with 80 nine times. With fewer, each match still costs something at every step. So
//! the matches of many filters are dealt out to several handles, the lanes, whose entries come out
//! here in the order of time. A single filter has one lane, and then this adds nothing.

use std::{collections::BTreeSet, ffi::CString, os::fd::RawFd, time::Duration};

use systemd::journal::Journal;

use super::{JournalError, sleeper::Sleeper};
use crate::core::{
    cursor::{Cursor, Moment},
    time::Usec,
};

/// About how many matches a lane has, as long as there are lanes: each costs something at every step.
/// Those of journald's notices come on top.
const MATCHES: usize = 8;
/// The most lanes: each has all files of the journal open, and an inotify instance.
const LANES: usize = 16;

/// Fields with the values of which an entry must hold one each.
pub(super) type Group = Vec<(String, Vec<String>)>;

/// How many matches a group is.
pub(super) fn matches_of(group: &Group) -> usize {
    group.iter().map(|(_, values)| values.len()).sum()
}

/// The lane that each filter is dealt to, by the number of matches that each has; the first is 0.
pub(super) fn deal(filters: &[usize]) -> Vec<usize> {
    let all: usize = filters.iter().sum();
    let lanes = all.div_ceil(MATCHES).min(LANES);
    let mut before = 0;
    let place = |own: &usize| {
        // By its middle, so that all lanes have about as many.
        let middle = 2 * before + own;
        before += own;
        (*own > 0).then(|| (middle * lanes / (2 * all)).min(lanes - 1))
    };
    let dealt: Vec<Option<usize>> = filters.iter().map(place).collect();
    // To a lane without any match all entries would come.
    let used: BTreeSet<usize> = dealt.iter().flatten().copied().collect();
    let mut last = 0;
    let number = |lane: Option<usize>| {
        last = lane.map_or(last, |lane| used.range(..lane).count());
        last
    };
    dealt.into_iter().map(number).collect()
}

/// When an entry was written: the time of journald, and that of the machine.
pub(super) type When = (Usec, Moment);

struct Lane {
    journal: Journal,
    /// It stands at an entry that has not come out yet.
    ahead: Option<When>,
}

impl Lane {
    /// Goes to the next entry, unless it stands at one already. False at the end.
    fn look(&mut self) -> Result<bool, JournalError> {
        if self.ahead.is_none() && self.journal.next()? > 0 {
            self.ahead = Some(self.when()?);
        }
        Ok(self.ahead.is_some())
    }

    fn when(&self) -> Result<When, JournalError> {
        let (monotonic, boot) = self.journal.monotonic_timestamp()?;
        let moment = Moment { boot: u128::from_be_bytes(*boot.as_bytes()), monotonic };
        Ok((self.journal.timestamp_usec()?, moment))
    }

    fn position(&self) -> Result<Cursor, JournalError> {
        Ok(self.journal.cursor()?.into())
    }

    /// Goes to the entry that a cursor names; nothing, if neither that nor a later one is there. When
    /// journald moves entries from volatile to persistent storage, their file and their number change
    /// and all the rest stays: it is the same entry.
    fn find(&mut self, cursor: &Cursor) -> Result<Option<bool>, JournalError> {
        self.journal.seek_cursor(c_string(&cursor.to_string())?)?;
        let mut there = false;
        while self.journal.next()? > 0 {
            there = true;
            let here = self.position()?;
            if here.is_same_entry(cursor) {
                return Ok(Some(true));
            }
            if here.moment() != cursor.moment() {
                break;
            }
        }
        Ok(there.then_some(false))
    }
}

/// Whether an entry comes before another. In one boot the clock of the machine says it, which
/// nobody sets.
fn is_before((time, moment): When, (other_time, other): When) -> bool {
    if moment.boot == other.boot { moment.monotonic < other.monotonic } else { time < other_time }
}

/// A journal through all of its lanes. There is at least one.
pub(super) struct Lanes {
    first: Lane,
    more: Vec<Lane>,
    /// Whose entry came out last.
    current: usize,
    /// When that was written, where it is known already.
    when: Option<When>,
    /// What is written ends a sleep.
    attended: bool,
}

impl Lanes {
    pub(super) fn new(journal: Journal) -> Self {
        Self { first: Lane { journal, ahead: None }, more: Vec::new(), current: 0, when: None, attended: false }
    }

    pub(super) fn add(&mut self, journal: Journal) {
        self.more.push(Lane { journal, ahead: None });
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }

    fn get(&self, lane: usize) -> &Lane {
        lane.checked_sub(1).and_then(|more| self.more.get(more)).unwrap_or(&self.first)
    }

    /// A lane; the first, if there is none of this number.
    fn get_mut(&mut self, lane: usize) -> &mut Lane {
        match lane.checked_sub(1).and_then(|more| self.more.get_mut(more)) {
            Some(lane) => lane,
            None => &mut self.first,
        }
    }

    /// The journal of a lane; of the first, if there is none of this number.
    pub(super) fn lane(&mut self, lane: usize) -> &mut Journal {
        &mut self.get_mut(lane).journal
    }

    /// The journal at the entry that came out last.
    pub(super) fn here(&mut self) -> &mut Journal {
        self.lane(self.current)
    }

    /// When the entry was written that came out last.
    pub(super) fn when(&self) -> Result<When, JournalError> {
        self.when.map_or_else(|| self.get(self.current).when(), Ok)
    }

    /// Where the entry stands that came out last.
    pub(super) fn position(&self) -> Result<Cursor, JournalError> {
        self.get(self.current).position()
    }

    /// Adds a group of matches to a lane.
    pub(super) fn match_group(&mut self, lane: usize, group: &Group) -> Result<(), JournalError> {
        if matches_of(group) == 0 {
            return Ok(());
        }
        let journal = self.lane(lane);
        for (field, values) in group {
            for value in values {
                journal.match_add(field, value.as_str())?;
            }
        }
        journal.match_or()?;
        Ok(())
    }

    /// Goes to the next entry. False at the end, for now.
    pub(super) fn next(&mut self) -> Result<bool, JournalError> {
        if self.more.is_empty() {
            return Ok(self.first.ahead.take().is_some() || self.first.journal.next()? > 0);
        }
        let (found, ended) = self.look()?;
        // A lane that was at its end may have got an entry before another lane was looked at, which
        // got a later one.
        if found && ended {
            self.look()?;
        }
        let Some((current, when, is_shared)) = self.first_ahead() else { return Ok(false) };
        (self.current, self.when) = (current, Some(when));
        self.get_mut(current).ahead = None;
        // An entry that two lanes ask for comes out once.
        if is_shared {
            let position = self.position()?;
            for lane in self.all().filter(|lane| lane.ahead == Some(when)) {
                if lane.position()? == position {
                    lane.ahead = None;
                }
            }
        }
        Ok(true)
    }

    /// The lane that stands at the first of all entries that have not come out, with the time of that; and
    /// whether another one stands at an entry of the same time.
    fn first_ahead(&mut self) -> Option<(usize, When, bool)> {
        let mut first: Option<(usize, When, bool)> = None;
        self.all().enumerate().for_each(|(at, lane)| match (lane.ahead, &mut first) {
            (Some(ahead), Some((_, when, is_shared))) if ahead == *when => *is_shared = true,
            (Some(ahead), Some((_, when, _))) if !is_before(ahead, *when) => {}
            (Some(ahead), _) => first = Some((at, ahead, false)),
            (None, _) => {}
        });
        first
    }

    /// Has all lanes stand at an entry that has not come out, those that have one. Whether an entry was
    /// found, and whether a lane has none.
    fn look(&mut self) -> Result<(bool, bool), JournalError> {
        let (mut found, mut ended) = (false, false);
        self.all().filter(|lane| lane.ahead.is_none()).try_for_each(|lane| {
            let there = lane.look()?;
            found |= there;
            ended |= !there;
            Ok::<(), JournalError>(())
        })?;
        Ok((found, ended))
    }

    /// Goes to a place, each lane by itself; the next entry is the first behind it.
    pub(super) fn seek(&mut self, to: impl Fn(&mut Journal) -> systemd::Result<()>) -> Result<(), JournalError> {
        for lane in self.all() {
            lane.ahead = None;
            to(&mut lane.journal)?;
        }
        Ok(())
    }

    /// Goes to the entry that a cursor names, so that the next one is that behind it. False if it is
    /// not there; the next one is the first behind where it was.
    pub(super) fn seek_entry(&mut self, cursor: &Cursor) -> Result<bool, JournalError> {
        let mut found = false;
        for lane in self.all() {
            lane.ahead = None;
            match lane.find(cursor)? {
                Some(true) => found = true,
                Some(false) => {
                    // The way to it has passed entries of the same µs.
                    lane.journal.seek_cursor(c_string(&cursor.to_string())?)?;
                    lane.look()?;
                }
                None => {}
            }
        }
        Ok(found)
    }

    /// The time of the last entry. Moves away from where reading was.
    pub(super) fn end(&mut self) -> Result<Option<Usec>, JournalError> {
        let mut end = None;
        for lane in self.all() {
            lane.ahead = None;
            lane.journal.seek_tail()?;
            if lane.journal.previous()? > 0 {
                end = end.max(Some(lane.journal.timestamp_usec()?));
            }
        }
        Ok(end)
    }

    /// What becomes readable when something is written.
    fn fd(&self) -> std::io::Result<RawFd> {
        Ok(self.first.journal.fd()?)
    }

    /// Sleeps until something is written, at most so long.
    pub(super) fn wait(&mut self, sleeper: &mut Sleeper, at_most: Duration) {
        if !self.attended {
            // An error here, and below, means that no inotify instance is to be had (kernel limit): sleeping
            // alone keeps reading, a little later, and `roots` sees files that appear.
            for lane in self.all() {
                let _ = lane.journal.wait(Some(Duration::ZERO));
            }
            self.attended = self.fd().and_then(|fd| sleeper.attend(fd)).is_ok();
            if self.attended {
                // What was written until now wakes nobody.
                return;
            }
        }
        sleeper.sleep(at_most);
        for lane in self.all() {
            let _ = lane.journal.process();
        }
    }
}

pub(super) fn c_string(text: &str) -> Result<CString, JournalError> {
    CString::new(text).map_err(|_| JournalError::ZeroByte(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_filters_have_one_lane_and_many_no_more_than_are_quick() {
        assert_eq!(deal(&[]), [0; 0]);
        assert_eq!(deal(&[0, 0]), [0; 2]);
        assert_eq!(deal(&[6]), [0]);
        assert_eq!(deal(&[30]), [0]);
        assert_eq!(deal(&[2, 2, 2]), [0; 3]);
        assert_eq!(deal(&[6, 6]), [0, 1]);
        assert_eq!(deal(&[60, 2]), [0, 1]);
        assert_eq!(deal(&[0, 60, 0, 60, 0]), [0, 0, 0, 1, 1], "a lane without matches would bring everything");
        let of = |lane: usize, dealt: &[usize]| dealt.iter().filter(|it| **it == lane).count();
        let many = deal(&[6; 20]);
        assert!((0..15).all(|lane| (1..=2).contains(&of(lane, &many))), "{many:?}");
        let most = deal(&[6; 200]);
        assert_eq!(most.last(), Some(&(LANES - 1)));
        assert!((0..LANES).all(|lane| (12..=13).contains(&of(lane, &most))), "{most:?}");
    }

    #[test]
    fn the_clock_of_the_machine_orders_one_boot_and_the_time_of_day_several() {
        let at = |time, boot, monotonic| (time, Moment { boot, monotonic });
        assert!(is_before(at(9, 1, 5), at(3, 1, 6)), "the clock was set back");
        assert!(is_before(at(3, 1, 6), at(9, 2, 1)) && !is_before(at(9, 2, 1), at(3, 1, 6)));
    }
}
