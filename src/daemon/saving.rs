//! When the state goes to disk: at most once a second, at once after an order, and at the stop.
//!
//! The state is copied on the loop's thread, so that it is true for one cursor, and written on
//! another, so that a slow disk holds no ban up. One write is under way at a time, and a state so
//! large that it takes long is written less often: what is newer is in the journal.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// Of the time, writing takes at most one part in so many, unless an order waits for it.
const SHARE: u32 = 20;
/// The longest time without a write, where something has changed.
const LONGEST: Duration = Duration::from_secs(60);

use super::health::Problem;
use crate::{
    events,
    snapshot::{Snapshot, Store},
};

pub(super) struct Saving {
    store: Option<Store>,
    under_way: Option<JoinHandle<Result<(), String>>>,
    begun: Instant,
    /// When the next write may begin.
    next: Instant,
    /// Something has changed since the last snapshot.
    dirty: bool,
    /// Why the last write failed; reported once.
    failed: Option<String>,
}

impl Saving {
    /// Without a store nothing is kept.
    pub(super) fn new(store: Option<Store>) -> Self {
        let now = Instant::now();
        Self { store, under_way: None, begun: now, next: now, dirty: false, failed: None }
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

    /// Something has changed.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Begins to write if something has changed, unless a write is under way or was just now.
    pub(super) fn begin(&mut self, snapshot: impl FnOnce() -> Snapshot) {
        if Instant::now() >= self.next {
            self.write(snapshot);
        }
    }

    fn write(&mut self, snapshot: impl FnOnce() -> Snapshot) {
        if let (Some(store), None, true) = (&self.store, &self.under_way, self.dirty) {
            self.begun = Instant::now();
            let (store, snapshot) = (store.clone(), snapshot());
            self.under_way = Some(tokio::task::spawn_blocking(move || store.save(&snapshot)));
            self.dirty = false;
        }
    }

    /// Writes now, and waits until it is done. The error is a sentence.
    pub(super) async fn now(&mut self, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        let _ = self.finish().await;
        self.dirty = true;
        self.write(snapshot);
        let outcome = self.finish().await;
        // The file before shall have it soon as well.
        self.dirty = true;
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
                self.dirty = true;
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
