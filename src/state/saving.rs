//! When the state goes to disk: at once after an order and at the stop, within a second after a ban
//! or its end, and within a minute after anything else. After a crash the journal gives back
//! what came since the last write: writing more often would only shorten that way.
//!
//! The state is copied on the loop's thread, so that it is true for one cursor, and written on
//! another, so that a slow disk holds no ban up. One write is under way at a time, and a state so
//! large that it takes long is written less often: what is newer is in the journal. Whoever has given
//! an order is answered when a write that began after it has ended; orders that come during a write
//! share the next one.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::{SaveError, Snapshot, Store};
use crate::{contract::problem::Problem, journal::events};

/// Writing takes at most one part in this number of the time, unless an order waits for it.
const SHARE: u32 = 20;
/// The longest time without a write, where something has changed.
const LONGEST: Duration = Duration::from_secs(60);
/// How long what only a record has changed may wait.
const LAZY: Duration = Duration::from_secs(30);

/// What has become of a write.
type Outcome = Result<(), SaveError>;
/// What is done with it for somebody who waits.
type Answer = Box<dyn FnOnce(&Outcome) + Send>;

pub(crate) struct Saving {
    store: Option<Store>,
    under_way: Option<JoinHandle<Outcome>>,
    begun: Instant,
    /// When the next write may begin.
    next: Instant,
    /// Something has changed since the last snapshot, and is to be written by then.
    due: Option<Instant>,
    /// These wait for the next write, and these for the one that is under way.
    waiting: Vec<Answer>,
    served: Vec<Answer>,
    /// Why the last write failed; reported once.
    failed: Option<String>,
}

impl Saving {
    /// Without a store nothing is kept.
    pub(crate) fn new(store: Option<Store>) -> Self {
        let now = Instant::now();
        Self {
            store,
            under_way: None,
            begun: now,
            next: now,
            due: None,
            waiting: Vec::new(),
            served: Vec::new(),
            failed: None,
        }
    }

    /// Why the state can't be saved, if so.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let what = match (&self.store, &self.failed) {
            (None, _) => "There is no directory to save the state in, so a restart forgets bans and counters.",
            (Some(_), Some(what)) => what,
            (Some(_), None) => return None,
        };
        let mend = if self.store.is_none() { "Set StateDirectory=wardend in the unit." } else { "" };
        Some(Problem { what: what.to_owned(), mend: mend.to_owned() })
    }

    /// Something has changed that the journal gives back.
    pub(crate) fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + LAZY);
    }

    /// Something has changed that a restart should find.
    pub(crate) fn touch_soon(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Something has been ordered that the journal does not give back; `answer` is called once it is on disk,
    /// or can't be written. The write begins with the next [`Self::begin`].
    pub(crate) fn order(&mut self, answer: impl FnOnce(&Outcome) + Send + 'static) {
        if self.store.is_some() {
            self.waiting.push(Box::new(answer));
        } else {
            answer(&Ok(()));
        }
    }

    /// Whether there are orders that are not on disk yet.
    pub(crate) fn has_orders(&self) -> bool {
        !self.waiting.is_empty() || !self.served.is_empty()
    }

    /// Begins to write if somebody waits for it or it is time, unless a write is under way.
    pub(crate) fn begin(&mut self, snapshot: impl FnOnce() -> Snapshot) {
        let now = Instant::now();
        let due = now >= self.next && self.due.is_some_and(|due| now >= due);
        if let (Some(store), None) = (&self.store, &self.under_way)
            && (due || !self.waiting.is_empty())
        {
            self.begun = now;
            self.served = std::mem::take(&mut self.waiting);
            // The file before shall have an order soon as well.
            self.due = (!self.served.is_empty()).then_some(now);
            let (store, snapshot) = (store.clone(), snapshot());
            self.under_way = Some(tokio::task::spawn_blocking(move || store.save(&snapshot)));
        }
    }

    /// The end of the write that is under way; never, if none is.
    pub(crate) async fn finished(&mut self) {
        let Some(under_way) = self.under_way.as_mut() else { return std::future::pending().await };
        let outcome = under_way.await.unwrap_or_else(|error| Err(SaveError::Ended(error.to_string())));
        self.under_way = None;
        self.next = Instant::now() + (self.begun.elapsed() * (SHARE - 1)).min(LONGEST);
        match &outcome {
            Ok(()) if self.failed.take().is_some() => events::snapshot_back(),
            Ok(()) => {}
            Err(error) => {
                self.touch_soon();
                if self.failed.replace(error.to_string()).is_none() {
                    events::snapshot(&error.to_string());
                }
            }
        }
        self.served.drain(..).for_each(|answer| answer(&outcome));
    }

    /// Writes what there is, and waits until it is done: for the stop, when nothing else is left to do.
    pub(crate) async fn finish(&mut self, snapshot: impl FnOnce() -> Snapshot) {
        if self.under_way.is_some() {
            self.finished().await;
        }
        if self.store.is_some() {
            self.order(|_| {});
            self.begin(snapshot);
            self.finished().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::core::engine::Engine;

    #[tokio::test]
    async fn an_order_is_answered_by_a_write_that_began_after_it_and_those_that_wait_share_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut saving = Saving::new(Some(Store::new(directory.path())));
        let (sender, answers) = channel();
        let order = |saving: &mut Saving, number: u32| {
            let sender = sender.clone();
            saving.order(move |outcome| sender.send((number, outcome.is_ok())).unwrap());
        };
        let snapshot = || Snapshot::of(&Engine::new(Vec::new()), None, 1);
        order(&mut saving, 1);
        saving.begin(snapshot);
        assert!(directory.path().read_dir().unwrap().count() < 2 && answers.try_recv().is_err());
        order(&mut saving, 2);
        order(&mut saving, 3);
        saving.begin(|| unreachable!("one write at a time"));
        saving.finished().await;
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [(1, true)]);
        assert!(directory.path().join("state.json").exists());
        saving.begin(snapshot);
        saving.finished().await;
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [(2, true), (3, true)]);

        drop(directory);
        order(&mut saving, 4);
        saving.begin(snapshot);
        saving.finished().await;
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [(4, false)]);
        assert!(saving.problem().unwrap().what.contains("can't be written"));

        let mut nowhere = Saving::new(None);
        order(&mut nowhere, 5);
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [(5, true)]);
    }
}
