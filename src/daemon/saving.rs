//! When the state goes to disk: at once after an order and at the stop, within a second after a ban
//! or its end, and within half a minute after anything else. After a crash the journal gives back
//! what came since the last write: writing more often would only shorten that way.
//!
//! The state is copied on the loop's thread, so that it is true for one cursor, and written on
//! another, so that a slow disk holds no ban up. One write is under way at a time, and a state so
//! large that it takes long is written less often: what is newer is in the journal.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// Writing takes at most one part in this number of the time, unless an order waits for it.
const SHARE: u32 = 20;
/// The longest time without a write, where something has changed.
const LONGEST: Duration = Duration::from_secs(60);
/// How long what only a record has changed may wait.
const LAZY: Duration = Duration::from_secs(30);

use super::health::Problem;
use crate::{
    journal::events,
    state::{Snapshot, Store},
};

pub(super) struct Saving {
    store: Option<Store>,
    under_way: Option<JoinHandle<Result<(), String>>>,
    begun: Instant,
    /// When the next write may begin.
    next: Instant,
    /// Something has changed since the last snapshot, and is to be written by then.
    due: Option<Instant>,
    /// Why the last write failed; reported once.
    failed: Option<String>,
}

impl Saving {
    /// Without a store nothing is kept.
    pub(super) fn new(store: Option<Store>) -> Self {
        let now = Instant::now();
        Self { store, under_way: None, begun: now, next: now, due: None, failed: None }
    }

    /// Why the state can't be saved, if so.
    pub(super) fn problem(&self) -> Option<Problem> {
        let what = match (&self.store, &self.failed) {
            (None, _) => "There is no directory to save the state in, so a restart forgets bans and counters.",
            (Some(_), Some(what)) => what,
            (Some(_), None) => return None,
        };
        let mend = if self.store.is_none() { "Set StateDirectory=wardend in the unit." } else { "" };
        Some(Problem { what: what.to_owned(), mend: mend.to_owned() })
    }

    /// Something has changed that the journal gives back.
    pub(super) fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + LAZY);
    }

    /// Something has changed that a restart should find.
    pub(super) fn touch_soon(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Begins to write if it is time, unless a write is under way or was just now.
    pub(super) fn begin(&mut self, snapshot: impl FnOnce() -> Snapshot) {
        let now = Instant::now();
        if now >= self.next && self.due.is_some_and(|due| now >= due) {
            self.write(snapshot);
        }
    }

    fn write(&mut self, snapshot: impl FnOnce() -> Snapshot) {
        if let (Some(store), None, Some(_)) = (&self.store, &self.under_way, self.due) {
            self.begun = Instant::now();
            let (store, snapshot) = (store.clone(), snapshot());
            self.under_way = Some(tokio::task::spawn_blocking(move || store.save(&snapshot)));
            self.due = None;
        }
    }

    /// Writes now, and waits until it is done. The error is a sentence.
    pub(super) async fn now(&mut self, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        let _ = self.finish().await;
        self.touch_soon();
        self.write(snapshot);
        let outcome = self.finish().await;
        // The file before shall have it soon as well.
        self.touch_soon();
        outcome
    }

    /// The end of the write that is under way; at once, if none is.
    async fn finish(&mut self) -> Result<(), String> {
        let Some(under_way) = self.under_way.as_mut() else { return Ok(()) };
        let outcome = under_way.await.unwrap_or_else(|error| Err(format!("The state was not saved: {error}.")));
        self.under_way = None;
        self.next = Instant::now() + (self.begun.elapsed() * (SHARE - 1)).min(LONGEST);
        match &outcome {
            Ok(()) if self.failed.take().is_some() => events::snapshot_back(),
            Ok(()) => {}
            Err(what) => {
                self.touch_soon();
                if self.failed.replace(what.clone()).is_none() {
                    events::snapshot(what);
                }
            }
        }
        outcome
    }

    /// As [`Self::finish`] for a loop that has other things to wait for: never, if no write is
    /// under way.
    pub(super) async fn finished(&mut self) {
        if self.under_way.is_none() {
            std::future::pending::<()>().await;
        }
        // What went wrong has been told.
        let _ = self.finish().await;
    }
}
