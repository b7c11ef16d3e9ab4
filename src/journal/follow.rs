//! The journal in a thread of its own, for the daemon.
//!
//! Entries go out in batches over a bounded channel: a daemon that falls behind slows the
//! reading down and not the machine, and nothing is lost, because the journal keeps it. While
//! it matters that an entry is read at once, which the engine knows, the thread looks every 10 ms;
//! otherwise it sleeps until journald says that something was written, or somebody wants it to look, at most
//! two seconds.
//!
//! A journal that is replaced, moved or damaged is opened again, and reading goes on behind the
//! entry that was read last. While that can't be done, the thread says so and tries again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mio::Waker;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    JournalError, Loss, Position, Reader, Step, Where,
    gleaner::{DELAY, Gleaner},
    roots::{self, Advice, Watch},
    sleeper::Sleeper,
};
use crate::{
    core::{
        filter::Filter,
        record::{Cursor, Fields, Record},
        time::Usec,
    },
    util::time::now,
};

/// How often to look while it matters.
const EAGER_TICK: Duration = Duration::from_millis(10);
/// How often to look otherwise, at the least: as often as the journal's directories are looked at.
const IDLE_TICK: Duration = roots::LOOK;
/// The most entries of one batch.
const BATCH: usize = 512;
/// The most batches on their way.
const BATCHES: usize = 8;

/// How long to wait before a journal that can't be read is opened again.
const RETRY: Duration = Duration::from_secs(3);

/// What has become of the journal itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It was replaced or moved, and is followed again; this says what was not followed any more.
    Reopened {
        /// What was found, as the middle of a sentence.
        because: String,
        /// The entry behind which reading should go on, if it is not there any more.
        gone: Option<Cursor>,
    },
    /// It can't be read, or not whole: why, and what mends it.
    Deaf(String, &'static str),
    /// It can be read again.
    Hears,
}

/// Some entries.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the journal's order.
    pub(crate) records: Vec<Record>,
    /// What journald dropped meanwhile.
    pub(crate) losses: Vec<Loss>,
    /// Where the last of the entries stands: all before it are in this batch or in one before.
    pub(crate) position: Option<Cursor>,
    /// There was nothing more to read at that moment.
    pub(crate) caught_up: bool,
    /// What happened to the journal before these were read.
    pub(crate) news: Vec<News>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.losses.is_empty()
    }
}

/// The daemon's end of the thread.
pub(crate) struct Follower {
    batches: mpsc::Receiver<Batch>,
    pulse: Arc<AtomicU64>,
    /// What was written up to this moment has been handed over, in µs since `started`.
    horizon: Arc<AtomicU64>,
    /// Until when it matters that an entry is read at once, in ms since `started`.
    eager: Arc<AtomicU64>,
    /// Somebody waits for word that all has been read, and that word.
    asked: Arc<AtomicBool>,
    has_read: Arc<Notify>,
    waker: Arc<Waker>,
    started: Instant,
    /// The position named an entry that was still there.
    pub(crate) resumed: bool,
}

impl Follower {
    /// Opens the journal at a position, and follows it. It is opened by the thread, and whoever waits
    /// for that can do other things meanwhile.
    ///
    /// # Errors
    /// If it can't be opened, or nothing in it can be read.
    pub(crate) async fn start(
        filters: Vec<Arc<Filter>>,
        fields: Arc<Fields>,
        position: Position,
    ) -> Result<Self, JournalError> {
        let (sender, batches) = mpsc::channel(BATCHES);
        let (opened, outcome) = oneshot::channel::<Result<bool, JournalError>>();
        let pulse = Arc::new(AtomicU64::new(0));
        let (horizon, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let eager = Arc::new(AtomicU64::new(0));
        let sleeper = Sleeper::new().map_err(JournalError::Thread)?;
        let waker = sleeper.waker();
        let (asked, has_read) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let progress = Progress {
            pulse: Arc::clone(&pulse),
            horizon: Arc::clone(&horizon),
            eager: Arc::clone(&eager),
            asked: Arc::clone(&asked),
            has_read: Arc::clone(&has_read),
            started,
        };
        let reading = move || {
            let mut thread = Thread {
                filters,
                fields,
                position,
                sender,
                progress,
                sleeper,
                reader: None,
                gleaner: None,
                gleaned: Instant::now(),
                watch: Watch::new(),
                deaf: false,
                tried: Instant::now(),
                examined: Instant::now(),
                told_gone: None,
                news: Vec::new(),
            };
            match thread.open() {
                Ok(resumed) => {
                    let _ = opened.send(Ok(resumed));
                    thread.run();
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        };
        thread::Builder::new().name("journal".to_owned()).spawn(reading).map_err(JournalError::Thread)?;
        let resumed = outcome.await.map_err(|_| JournalError::NoAccess)??;
        Ok(Self { batches, pulse, horizon, eager, asked, has_read, waker, started, resumed })
    }

    /// The next entries; none if the thread has ended.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// A moment: all that was written before it has come out of [`Self::next`]. None, if that
    /// can't be said.
    pub(crate) fn horizon(&self) -> Option<Instant> {
        let horizon = self.horizon.load(Ordering::Acquire);
        // What was sent before it was stored is in the channel or has been taken out.
        (horizon > 0 && self.batches.is_empty()).then(|| self.started + Duration::from_micros(horizon))
    }

    /// For so long it matters that an entry is read at once.
    pub(crate) fn be_eager(&self, span: Duration) {
        let now = self.started.elapsed();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let before = self.eager.swap(ms(now.saturating_add(span)), Ordering::Relaxed);
        // A thread that is eager already wakes by itself.
        if before <= ms(now) && !span.is_zero() {
            self.look();
        }
    }

    /// Has the thread look now, so that [`Self::horizon`] comes to this moment soon.
    pub(crate) fn look(&self) {
        // Otherwise it looks a little later.
        let _ = self.waker.wake();
    }

    /// Has the thread look now, and give word ([`Self::has_read`]) when [`Self::horizon`] has come to this moment.
    pub(crate) fn tell_when_read(&self) {
        self.asked.store(true, Ordering::Release);
        self.look();
    }

    /// The word that all has been read that was written before somebody asked ([`Self::tell_when_read`]). What
    /// came of it may still wait in [`Self::next`].
    pub(crate) fn has_read(&self) -> Arc<Notify> {
        Arc::clone(&self.has_read)
    }

    /// A number that grows as long as the thread makes progress.
    pub(crate) fn pulse(&self) -> u64 {
        self.pulse.load(Ordering::Relaxed)
    }
}

/// What the daemon sees of the thread.
struct Progress {
    pulse: Arc<AtomicU64>,
    horizon: Arc<AtomicU64>,
    eager: Arc<AtomicU64>,
    asked: Arc<AtomicBool>,
    has_read: Arc<Notify>,
    started: Instant,
}

impl Progress {
    /// How long to wait when all has been read.
    fn tick(&self) -> Duration {
        let eager = Duration::from_millis(self.eager.load(Ordering::Relaxed));
        if self.started.elapsed() < eager { EAGER_TICK } else { IDLE_TICK }
    }
}

/// The thread.
struct Thread {
    filters: Vec<Arc<Filter>>,
    fields: Arc<Fields>,
    /// Where reading goes on when the journal is opened again.
    position: Position,
    sender: mpsc::Sender<Batch>,
    progress: Progress,
    sleeper: Sleeper,
    /// None while the journal can't be read.
    reader: Option<Reader>,
    /// Finds what the reader passes over, while several journald write and all before has been read.
    gleaner: Option<Gleaner>,
    gleaned: Instant,
    watch: Watch,
    /// The daemon knows that something can't be read.
    deaf: bool,
    /// When the journal was opened last, or when that was tried.
    tried: Instant,
    /// When it was last looked into what can't be read.
    examined: Instant,
    /// The entry that the daemon knows to be gone.
    told_gone: Option<Cursor>,
    news: Vec<News>,
}

impl Thread {
    /// Opens the journal behind the entry that was read last. False, if that is not there any more.
    fn open(&mut self) -> Result<bool, JournalError> {
        self.tried = Instant::now();
        let mut reader = self.another()?;
        self.gleaner = None;
        let found = reader.seek(&self.position)?;
        // What was open until now is closed first, so that the watch sees what this one has open.
        self.reader = Some(reader);
        self.watch.has_been_opened(Instant::now());
        Ok(found)
    }

    fn another(&self) -> Result<Reader, JournalError> {
        Reader::open(&Where::System, self.filters.clone(), Arc::clone(&self.fields))?.with_lookalikes()?.with_losses()
    }

    /// Reads until the daemon's end of the channel is gone.
    fn run(&mut self) {
        let (mut first, mut asked) = (true, false);
        loop {
            // Whoever asks from here on may ask for more than this look.
            asked |= self.progress.asked.swap(false, Ordering::Acquire);
            let begun = self.progress.started.elapsed();
            self.look_after_the_journal();
            let mut batch = self.read();
            self.glean(&mut batch);
            batch.news = std::mem::take(&mut self.news);
            let (some, caught_up) = (!batch.is_empty(), batch.caught_up);
            // The first batch goes out even if it is empty: it says that the daemon is up to date.
            if (some || first || !batch.news.is_empty()) && self.sender.blocking_send(batch).is_err() {
                return;
            }
            first = false;
            self.progress.pulse.fetch_add(1, Ordering::Relaxed);
            if caught_up {
                self.progress.horizon.store(u64::try_from(begun.as_micros()).unwrap_or(0), Ordering::Release);
                if std::mem::take(&mut asked) {
                    self.progress.has_read.notify_one();
                }
                let tick = self.progress.tick();
                match &mut self.reader {
                    Some(reader) => reader.wait(&mut self.sleeper, tick),
                    None => thread::sleep(IDLE_TICK),
                }
                if self.sender.is_closed() {
                    return;
                }
            }
        }
    }

    /// Sees that what is followed is what is there.
    fn look_after_the_journal(&mut self) {
        let now = Instant::now();
        let retry = now.duration_since(self.tried) >= RETRY;
        match self.watch.look(now) {
            Advice::Reopen(path) => self.reopen(&format!("{} was not followed", path.display())),
            Advice::GoOn if self.reader.is_none() && retry => self.reopen("it could not be read"),
            Advice::GoOn => {}
        }
        let due = now.duration_since(self.examined) >= RETRY;
        if self.reader.is_some() && due && (self.deaf || self.watch.is_empty(now)) {
            self.see_whether_all_is_read(now);
        }
    }

    /// Opens the journal again. A reader that works is kept until there is a better one.
    fn reopen(&mut self, because: &str) {
        match self.open() {
            Ok(found) => {
                let gone = match &self.position {
                    Position::After(cursor) if !found && self.told_gone.as_ref() != Some(cursor) => {
                        Some(cursor.clone())
                    }
                    _ => None,
                };
                if self.see_whether_all_is_read(Instant::now()) || gone.is_some() {
                    self.told_gone.clone_from(&gone);
                    self.news.push(News::Reopened { because: because.to_owned(), gone });
                }
            }
            Err(error) => {
                // sd-journal passes over what it may not read without a word.
                if !matches!(error, JournalError::NoAccess) || self.see_whether_all_is_read(Instant::now()) {
                    self.say_deaf(error.to_string(), mend_of(&error));
                }
            }
        }
    }

    /// Tells the daemon if something can't be read, and when that is over. True if all can.
    fn see_whether_all_is_read(&mut self, now: Instant) -> bool {
        const UNREADABLE: &str = "Let the group systemd-journal read it (systemd-tmpfiles --create --prefix /var/log/journal --prefix /run/log/journal), and see LimitNOFILE= of wardend.service if too many files are open.";
        const NOWHERE: &str = "Restart journald (systemctl restart systemd-journald), and see Storage= in journald.conf if that does not help.";
        self.examined = now;
        if let (true, Some((path, why))) = (self.watch.is_empty(now), self.watch.closed()) {
            self.say_deaf(format!("The journal in {} can't be read: {why}.", path.display()), UNREADABLE);
        } else if self.watch.is_empty(now) {
            let what = "journald does not write to a readable file: there is no system.journal in /run/log/journal or /var/log/journal.";
            self.say_deaf(what.to_owned(), NOWHERE);
        } else if let Some((path, why)) = self.watch.trouble() {
            self.say_deaf(format!("The journal file {} can't be read: {why}.", path.display()), UNREADABLE);
        } else {
            if std::mem::take(&mut self.deaf) {
                self.news.push(News::Hears);
            }
            return true;
        }
        false
    }

    fn say_deaf(&mut self, what: String, mend: &'static str) {
        if !std::mem::replace(&mut self.deaf, true) {
            self.news.push(News::Deaf(what, mend));
        }
    }

    /// The next entries. A journal that fails is given up, to be opened again.
    fn read(&mut self) -> Batch {
        let mut batch = Batch::default();
        let outcome = match &mut self.reader {
            Some(reader) => fill(reader, &mut batch),
            None => Ok(()),
        };
        if let Err(error) = outcome {
            self.reader = None;
            self.tried = Instant::now();
            self.say_deaf(error.to_string(), mend_of(&error));
        }
        if let Some(position) = &batch.position {
            self.position = Position::After(position.clone());
        }
        // Time passes for the daemon, bans end, also while nothing can be read.
        batch.caught_up |= self.reader.is_none();
        batch
    }
}

impl Thread {
    /// Adds what the reader has passed over.
    fn glean(&mut self, batch: &mut Batch) {
        if let Some(gleaner) = &mut self.gleaner {
            batch.records.iter().for_each(|record| gleaner.note(record));
        }
        if !batch.caught_up || self.reader.is_none() || self.gleaned.elapsed() < DELAY {
            return;
        }
        self.gleaned = Instant::now();
        match self.gleaner.take() {
            Some(mut gleaner) => {
                let delay = Usec::try_from(DELAY.as_micros()).unwrap_or(0);
                // Without an answer, the reader will say what is wrong.
                if let Ok(found) = gleaner.glean(now().saturating_sub(delay), || self.another()) {
                    batch.records.extend(found);
                    self.gleaner = Some(gleaner);
                }
            }
            None if self.watch.has_several() && matches!(self.position, Position::After(_)) => {
                self.gleaner = Some(Gleaner::new(self.position.clone()));
            }
            None => {}
        }
    }
}

/// What to do about an error, for an admin.
fn mend_of(error: &JournalError) -> &'static str {
    match error {
        JournalError::NoAccess => "wardend tries again every few seconds.",
        _ => "wardend tries again every few seconds; check the files with journalctl --verify.",
    }
}

fn fill(reader: &mut Reader, batch: &mut Batch) -> Result<(), JournalError> {
    let mut last = None;
    while !batch.caught_up && batch.records.len() + batch.losses.len() < BATCH {
        let mut record = Record::default();
        match reader.next(&mut record) {
            Ok(Step::Record) => batch.records.push(record),
            Ok(Step::Lost(loss)) => batch.losses.push(loss),
            Ok(Step::End) => batch.caught_up = true,
            Err(error) => {
                // What was read before counts.
                last = Some(error);
                break;
            }
        }
    }
    if !batch.is_empty() {
        batch.position = Some(reader.position()?);
    }
    last.map_or(Ok(()), Err)
}
