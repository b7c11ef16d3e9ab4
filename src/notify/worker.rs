//! One handler, in a thread of its own: reads wardend's records behind the handler's cursor, gathers them
//! into batches and hands these over.
//!
//! Each handler has its own thread, journal and connection, so that one that hangs holds up no other.
//! The process may be killed at any moment: what has to outlive it is in the state, which is true for
//! one cursor.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    batch::{Next, Waiting},
    event::{Event, Meaning, meaning, not_held},
    hand::{Handover, lock},
    handler::Handler,
    known::{Keys, Lists, Problems},
    state::{self, State},
};
use crate::{
    contract::notify::{Head, Status},
    core::time::{USEC_PER_SEC, Usec},
    journal::{
        JournalError, Where, events,
        own_records::{OwnRecord, OwnRecords},
    },
    util::{
        files,
        time::{format, now},
    },
};

/// How long to sleep while nothing waits: journald wakes the thread when something was written.
const IDLE: Duration = Duration::from_secs(30);
/// The pause after a wake-up, so that a busy journal does not keep the thread busy.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause before a journal that can't be read is opened again.
const RETRY: Duration = Duration::from_secs(3);
/// How often the state is written while nothing happens: how far reading has come.
const KEEP: Usec = 3600 * USEC_PER_SEC;

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) journal: Where,
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) host: String,
    pub(crate) uid: Option<u32>,
}

pub(crate) struct Worker {
    handler: Handler,
    places: Places,
    /// Counts how often the journal has moved.
    moves: Arc<AtomicU64>,
    seen_moves: u64,
    /// What is kept on disk.
    kept: State,
    kept_at: Usec,
    /// As of the last record that was read.
    reading: Reading,
    waiting: Waiting,
    status: Status,
    shown: Status,
    /// What was logged last of something that goes on failing.
    said: Option<String>,
}

/// How far reading has come.
struct Reading {
    cursor: Option<crate::core::cursor::Cursor>,
    keys: Keys,
    problems: Problems,
    lists: Lists,
}

impl Worker {
    pub(crate) fn new(handler: Handler, places: Places, moves: Arc<AtomicU64>) -> Self {
        let path = state::path(&places.state, &handler.name);
        let now = now();
        let kept = state::load(&path).unwrap_or_else(|what| {
            events::notify_trouble(&handler.name, &what.to_string());
            None
        });
        // A new handler begins now: it is not flooded with the past.
        let fresh = kept.is_none();
        let mut kept = kept.unwrap_or_else(|| State { read_until: now, ..State::default() });
        kept.status.name.clone_from(&handler.name);
        // A clock that was set back must not hold anything up.
        kept.begun = kept.begun.filter(|begun| *begun <= now);
        let failing = kept.status.failing_since_usec.filter(|since| *since <= now);
        let reading = Reading {
            cursor: kept.cursor.clone(),
            keys: kept.keys(),
            problems: kept.problems.clone(),
            lists: kept.lists.clone(),
        };
        let waiting = Waiting::new(handler.pace, kept.begun, failing);
        let status = kept.status.clone();
        let seen_moves = moves.load(Ordering::Relaxed);
        let mut worker = Self {
            handler,
            places,
            moves,
            seen_moves,
            kept,
            kept_at: now,
            reading,
            waiting,
            status,
            shown: Status::default(),
            said: None,
        };
        if fresh {
            worker.keep();
        }
        worker
    }

    /// Serves the handler until the process ends.
    pub(crate) fn run(mut self) {
        // Who may open it can lock it, and hold the handler up.
        let mut private = OpenOptions::new();
        private.create(true).append(true).mode(0o600);
        if let Err(error) = private.open(lock(&self.places.run, &self.handler.name)) {
            self.say(&format!("{} can't be written: {error}.", self.places.run.display()));
        }
        loop {
            if let Err(error) = self.follow() {
                self.say(&error.to_string());
                thread::sleep(RETRY);
            }
        }
    }

    /// Follows the journal; returns when it has to be opened again.
    fn follow(&mut self) -> Result<(), JournalError> {
        self.seen_moves = self.moves.load(Ordering::Relaxed);
        let mut journal = OwnRecords::open_with_fleet(&self.places.journal, self.places.uid)?;
        self.seek(&mut journal)?;
        while self.moves.load(Ordering::Relaxed) == self.seen_moves {
            self.turn(&mut journal)?;
        }
        Ok(())
    }

    /// Goes to where reading ended. What the journal no longer holds is said.
    fn seek(&mut self, journal: &mut OwnRecords) -> Result<(), JournalError> {
        let until = self.kept.read_until;
        let found = match &self.reading.cursor {
            Some(cursor) => journal.seek_behind(cursor)?,
            None => false,
        };
        if found {
            return Ok(());
        }
        let oldest = journal.oldest()?;
        if let Some(gap) = oldest.filter(|oldest| *oldest > until && until > 0) {
            let what = format!(
                "The journal no longer holds what was written between {} and {}, so bans and problems of this time may be missing here.",
                format(until),
                format(gap)
            );
            events::notify_lost(&self.handler.name, &what);
            self.push(not_held(&what, until));
        }
        // The entry may have been the last before `read_until`; all behind that time is new.
        if self.reading.cursor.is_none() {
            journal.seek_time(until)?;
        }
        Ok(())
    }

    /// Reads what there is, and does what is due.
    fn turn(&mut self, journal: &mut OwnRecords) -> Result<(), JournalError> {
        let begun = now();
        while let Some(record) = journal.next()? {
            self.reading.cursor = Some(journal.position()?);
            self.take(&record);
        }
        for event in self.reading.problems.gone(begun) {
            self.push(event);
        }
        let wait = match self.waiting.next(begun) {
            Next::Now => {
                self.hand_over();
                return Ok(());
            }
            Next::At(due) => Duration::from_micros(due.saturating_sub(begun)),
            Next::Idle => {
                // All up to now has been read. journald may still hold back what is a little older.
                self.kept.read_until = begun.saturating_sub(10 * USEC_PER_SEC).max(self.kept.read_until);
                if begun.saturating_sub(self.kept_at) >= KEEP {
                    self.note_reading();
                    self.keep();
                }
                IDLE
            }
        };
        self.show();
        let doubt = self.reading.problems.next().map(|at| Duration::from_micros(at.saturating_sub(begun)));
        let wait = wait.min(IDLE).min(doubt.unwrap_or(IDLE));
        if wait > PAUSE {
            journal.wait(wait);
        }
        thread::sleep(PAUSE.min(wait));
        Ok(())
    }

    fn take(&mut self, record: &OwnRecord) {
        if self.reading.lists.covers(record) {
            return;
        }
        let meaning = meaning(record, self.handler.users);
        if meaning != Meaning::None
            && let Some(event) = self.reading.problems.filter(meaning, record.time)
        {
            self.push(event);
        }
    }

    /// An event that the handler may want.
    fn push(&mut self, event: Event) {
        let always = event.key.starts_with("not-held/");
        if (always || self.handler.wants(event.kind, &event.jail, event.count)) && self.reading.keys.add(&event.key) {
            self.waiting.push(event, now());
        }
    }

    fn hand_over(&mut self) {
        let begun = now();
        self.waiting.begin(begun);
        self.kept.begun = Some(begun);
        let head = Head {
            handler: self.handler.name.clone(),
            host: self.places.host.clone(),
            summary: self.waiting.summary(),
            events: self.waiting.number(),
            omitted: self.waiting.omitted,
            settings: self.handler.settings.clone(),
            ..Head::default()
        };
        match Handover::new(&self.places.run, head, &self.waiting.events).run() {
            Ok(()) => {
                events::handed_over(&self.handler.name, self.waiting.number(), &self.waiting.summary());
                self.status.events += self.waiting.number();
                self.status.batches += 1;
                self.status.omitted += self.waiting.omitted;
                self.status.last_success_usec = Some(now());
                self.done();
            }
            Err(error) => {
                let what = error.to_string();
                self.status.failures += 1;
                self.status.last_error_usec = Some(now());
                self.status.last_error.clone_from(&what);
                if self.waiting.failed(now()) {
                    self.say(&what);
                    self.status.failing_since_usec = self.waiting.failing_since();
                    self.kept.status = self.status.clone();
                    self.keep();
                } else {
                    events::given_up(&self.handler.name, self.waiting.number(), &what);
                    self.status.omitted += self.waiting.number();
                    self.done();
                }
            }
        }
        self.show();
    }

    /// What was read is done with.
    fn done(&mut self) {
        self.waiting.succeeded();
        self.status.failing_since_usec = None;
        self.kept.status = self.status.clone();
        self.kept.read_until =
            self.kept.begun.unwrap_or_default().saturating_sub(10 * USEC_PER_SEC).max(self.kept.read_until);
        self.note_reading();
        if self.said.take().is_some() {
            events::notify_works(&self.handler.name);
        }
        self.keep();
    }

    fn note_reading(&mut self) {
        self.kept.cursor.clone_from(&self.reading.cursor);
        self.kept.problems = self.reading.problems.clone();
        self.kept.lists = self.reading.lists.clone();
        self.kept.set_keys(&self.reading.keys);
    }

    fn keep(&mut self) {
        self.kept_at = now();
        if let Err(what) = state::save(&state::path(&self.places.state, &self.handler.name), &self.kept) {
            self.say(&what.to_string());
        }
    }

    /// Puts the handler's status where wardenctl finds it.
    fn show(&mut self) {
        self.status.waiting = self.waiting.number();
        self.status.next_usec = match self.waiting.next(now()) {
            Next::At(due) => Some(due),
            Next::Now => Some(now()),
            Next::Idle => None,
        };
        if self.status != self.shown {
            let text = serde_json::to_vec(&self.status).unwrap_or_default();
            // Who reads it sees that it is old or missing.
            let _ = files::replace(&self.places.run.join(format!("{}.status", self.handler.name)), &text, 0o644);
            self.shown = self.status.clone();
        }
    }

    /// Logs what is wrong, once.
    fn say(&mut self, what: &str) {
        if self.said.as_deref() != Some(what) {
            events::notify_trouble(&self.handler.name, what);
            self.said = Some(what.to_owned());
        }
    }
}
