//! How far the journal has been read.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::pace::TICK;
use crate::{
    core::{
        record::{Cursor, Fields},
        time::Usec,
    },
    journal::{Follower, Position, events},
    util::{text::count, time::now},
};

pub(super) struct Reading {
    pub(super) follower: Follower,
    /// The fields that the filters ask for.
    pub(super) fields: Arc<Fields>,
    /// The last record that was read.
    pub(super) cursor: Option<Cursor>,
    /// Where reading began, for as long as nothing was read.
    origin: Position,
    /// The time of the last record.
    up_to: Usec,
    /// The journal's backlog has been read.
    pub(super) caught_up: bool,
    /// How many records it had so far, and when that was last said.
    pub(super) backlog: usize,
    progress_told: Instant,
}

impl Reading {
    /// From `origin`, which is behind the record `cursor` if there is one.
    pub(super) fn begin(follower: Follower, fields: Arc<Fields>, cursor: Option<Cursor>, origin: Position) -> Self {
        let progress_told = Instant::now();
        let reading = Self { follower, fields, cursor, origin, up_to: 0, caught_up: false, backlog: 0, progress_told };
        reading.say_if_gone();
        reading
    }

    /// Where to read on.
    pub(super) fn position(&self) -> Position {
        self.cursor.clone().map_or_else(|| self.origin.clone(), Position::After)
    }

    /// Reads on with another follower, which was opened at [`Self::position`]. The batches that the one
    /// before has ready are read again.
    pub(super) fn go_on_with(&mut self, follower: Follower, fields: Arc<Fields>) {
        (self.follower, self.fields) = (follower, fields);
        self.say_if_gone();
    }

    fn say_if_gone(&self) {
        if let (false, Some(cursor)) = (self.follower.resumed, &self.cursor) {
            events::journal_gone(cursor);
        }
    }

    /// A record of this time was read.
    pub(super) fn read(&mut self, time: Usec) {
        self.up_to = time;
        self.backlog += usize::from(!self.caught_up);
    }

    /// How far reading the journal is behind, in µs.
    pub(super) fn lag(&self) -> u64 {
        match self.follower.horizon() {
            Some(horizon) => u64::try_from(horizon.elapsed().as_micros()).unwrap_or(u64::MAX),
            None => now().saturating_sub(self.up_to),
        }
    }

    /// A sentence about the backlog, once in a while.
    pub(super) fn progress(&mut self) -> Option<String> {
        let due = self.progress_told.elapsed() >= TICK;
        due.then(|| {
            self.progress_told = Instant::now();
            format!("Reading the backlog: {} so far.", count(self.backlog, "record", "records"))
        })
    }

    /// Lets the follower look often for as long as a record may have somebody banned, in µs, or a ban
    /// that is on its way to the firewall may show what it does not hold off.
    pub(super) fn be_eager(&self, near_until: Option<Usec>, pending: bool) {
        let near = near_until.map_or(0, |until| until.saturating_sub(now()));
        let pending = if pending { TICK } else { Duration::ZERO };
        self.follower.be_eager(Duration::from_micros(near).max(pending));
    }
}
