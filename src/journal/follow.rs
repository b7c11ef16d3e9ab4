//! The journal in a thread of its own, for the daemon.
//!
//! Entries go out in batches over a bounded channel: a daemon that falls behind slows the
//! reading down and not the machine, and nothing is lost, because the journal keeps it. While
//! it matters that an entry is read at once, which the engine knows, the thread looks every 10 ms;
//! otherwise it sleeps until journald says that something was written, at most a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{JournalError, Loss, Position, Reader, Step, Where};
use crate::{
    filter::Filter,
    record::{Cursor, Fields, Record},
};

/// How often to look while it matters.
const EAGER_TICK: Duration = Duration::from_millis(10);
/// How often to look otherwise, at the least.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// The most entries of one batch.
const BATCH: usize = 512;
/// The most batches on their way.
const BATCHES: usize = 8;

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
}

/// The daemon's end of the thread.
pub(crate) struct Follower {
    batches: mpsc::Receiver<Result<Batch, JournalError>>,
    pulse: Arc<AtomicU64>,
    /// What was written up to this moment has been handed over, in ms since `started`.
    horizon: Arc<AtomicU64>,
    /// Until when it matters that an entry is read at once, in ms since `started`.
    eager: Arc<AtomicU64>,
    started: Instant,
    /// The position named an entry that was still there.
    pub(crate) resumed: bool,
}

impl Follower {
    /// Opens the journal at a position, and follows it.
    ///
    /// # Errors
    /// If it can't be opened, or nothing in it can be read.
    pub(crate) fn start(
        filters: Vec<Arc<Filter>>,
        fields: Arc<Fields>,
        position: Position,
    ) -> Result<Self, JournalError> {
        let (sender, batches) = mpsc::channel(BATCHES);
        let (opened, outcome) = std::sync::mpsc::sync_channel::<Result<bool, JournalError>>(1);
        let pulse = Arc::new(AtomicU64::new(0));
        let (horizon, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let eager = Arc::new(AtomicU64::new(0));
        let progress =
            Progress { pulse: Arc::clone(&pulse), horizon: Arc::clone(&horizon), eager: Arc::clone(&eager), started };
        let reading = move || {
            let open = || -> Result<(Reader, bool), JournalError> {
                let mut reader = Reader::open(&Where::System, filters, fields)?.with_losses()?;
                let resumed = reader.seek(&position)?;
                Ok((reader, resumed))
            };
            match open() {
                Ok((mut reader, resumed)) => {
                    let _ = opened.send(Ok(resumed));
                    run(&mut reader, &sender, &progress);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        };
        thread::Builder::new().name("journal".to_owned()).spawn(reading).map_err(JournalError::Thread)?;
        let resumed = outcome.recv().map_err(|_| JournalError::NoAccess)??;
        Ok(Self { batches, pulse, horizon, eager, started, resumed })
    }

    /// The next entries; none if the thread has ended.
    pub(crate) async fn next(&mut self) -> Option<Result<Batch, JournalError>> {
        self.batches.recv().await
    }

    /// A moment: all that was written before it has come out of [`Self::next`]. None, if that
    /// can't be said.
    pub(crate) fn horizon(&self) -> Option<Instant> {
        let horizon = self.horizon.load(Ordering::Acquire);
        // What was sent before it was stored is in the channel or has been taken out.
        (horizon > 0 && self.batches.is_empty()).then(|| self.started + Duration::from_millis(horizon))
    }

    /// For so long it matters that an entry is read at once.
    pub(crate) fn be_eager(&self, span: Duration) {
        let until = self.started.elapsed() + span;
        self.eager.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
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
    started: Instant,
}

impl Progress {
    /// How long to wait when all has been read.
    fn tick(&self, some: bool) -> Duration {
        let eager = Duration::from_millis(self.eager.load(Ordering::Relaxed));
        // What was just handed over may make the daemon say so.
        if some || self.started.elapsed() < eager { EAGER_TICK } else { IDLE_TICK }
    }
}

/// Reads until the daemon's end of the channel is gone.
fn run(reader: &mut Reader, sender: &mpsc::Sender<Result<Batch, JournalError>>, progress: &Progress) {
    let mut first = true;
    loop {
        let begun = progress.started.elapsed();
        let batch = read(reader);
        let failed = batch.is_err();
        let (some, caught_up) =
            batch.as_ref().map_or((true, false), |batch| (batch.position.is_some(), batch.caught_up));
        // The first batch goes out even if it is empty: it says that the daemon is up to date.
        if (some || first) && sender.blocking_send(batch).is_err() {
            return;
        }
        first = false;
        progress.pulse.fetch_add(1, Ordering::Relaxed);
        if failed {
            return;
        }
        if caught_up {
            progress.horizon.store(u64::try_from(begun.as_millis()).unwrap_or(0), Ordering::Release);
            reader.wait(progress.tick(some));
            if sender.is_closed() {
                return;
            }
        }
    }
}

fn read(reader: &mut Reader) -> Result<Batch, JournalError> {
    let mut batch = Batch::default();
    while !batch.caught_up && batch.records.len() + batch.losses.len() < BATCH {
        let mut record = Record::default();
        match reader.next(&mut record)? {
            Step::Record => batch.records.push(record),
            Step::Lost(loss) => batch.losses.push(loss),
            Step::End => batch.caught_up = true,
        }
    }
    if !(batch.records.is_empty() && batch.losses.is_empty()) {
        batch.position = Some(reader.position()?);
    }
    Ok(batch)
}
