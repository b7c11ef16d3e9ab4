//! A bar for a replay that takes long: how far it is in the journal's time.
//!
//! It is drawn on standard error, and only where that is a terminal; a replay that is over within
//! a second shows none, and none is left behind.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{core::time::Usec, util::text::count};

/// A replay that takes no longer shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is drawn.
const PACE: Duration = Duration::from_millis(100);
/// The number of records between two looks at the clock.
const RECORDS: u64 = 1024;
const WIDTH: usize = 30;

/// The bar of one replay.
pub(super) struct Progress {
    /// None where nobody would see it.
    end: Option<Usec>,
    first: Option<Usec>,
    records: u64,
    next: Instant,
    drawn: bool,
}

impl Progress {
    /// For a replay of records up to `end`.
    pub(super) fn new(end: Option<Usec>) -> Self {
        let end = end.filter(|_| io::stderr().is_terminal());
        Self { end, first: None, records: 0, next: Instant::now() + PATIENCE, drawn: false }
    }

    /// A record of this time has been read.
    pub(super) fn at(&mut self, time: Usec) {
        let Some(end) = self.end else { return };
        let first = *self.first.get_or_insert(time);
        self.records += 1;
        if !self.records.is_multiple_of(RECORDS) || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PACE;
        self.drawn = true;
        let mut out = io::stderr().lock();
        let _ = write!(out, "\r{}", bar(first, time, end, self.records));
        let _ = out.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(first: Usec, time: Usec, end: Usec, records: u64) -> String {
    let (done, all) = (u128::from(time.saturating_sub(first)), u128::from(end.saturating_sub(first).max(1)));
    let percent = usize::try_from(done * 100 / all).unwrap_or(100).min(100);
    let full = WIDTH * percent / 100;
    format!("[{}{}] {percent:>3}%, {}", "#".repeat(full), " ".repeat(WIDTH - full), count(records, "record", "records"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_as_the_time_that_was_read() {
        assert!(bar(1000, 1000, 2000, 1).starts_with("[      "));
        assert!(bar(1000, 1500, 2000, 7).contains("###############               ]  50%, 7 records"));
        assert!(bar(1000, 2000, 2000, 1).contains("##############################] 100%"));
        assert!(bar(1000, 9000, 2000, 1).contains("] 100%"), "a record behind the end");
        assert!(bar(1000, 1000, 1000, 1).contains("]   0%"), "one record only");
        assert!(bar(1000, 500, 2000, 1).contains("]   0%"), "a record before the first");
    }
}
