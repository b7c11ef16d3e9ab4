//! Reloads the configuration while everything continues.
//!
//! Files are read and filters proven on another thread, because that may take a moment, and the
//! journal is opened for the new filters by the thread that will follow it. A mistake changes nothing
//! and is reported; a good configuration takes the place of the one before between two records: the
//! journal is followed on from the very record that was read last, counters and bans stay with the
//! name of their jail, and jails come and go on the bus.

use std::{path::PathBuf, pin::Pin};

use tokio::task::JoinHandle;

use crate::{
    bus,
    config::{ConfigError, Settings},
    journal::{Follower, JournalError, Position},
};

/// Who asked, and waits for the outcome; a signal doesn't.
pub(super) type Reply = bus::Reply<()>;

/// Why a reload has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("The configuration was not read: {0}.")]
    Ended(String),
}

/// How far a reload has come.
pub(super) enum Step {
    /// The settings are read; next, the journal is opened for them ([`Reloading::open`]).
    Read(Result<Settings, ReloadError>),
    /// It is: they can be put in force.
    Opened(Settings, Result<Follower, ReloadError>),
}

type Opening = Pin<Box<dyn Future<Output = (Settings, Result<Follower, JournalError>)> + Send>>;

enum UnderWay {
    Reading(JoinHandle<Result<Settings, ConfigError>>),
    Opening(Opening),
}

/// A reload that is under way, and those that wait for its outcome.
pub(super) struct Reloading {
    directories: Vec<PathBuf>,
    under_way: Option<UnderWay>,
    waiting: Vec<Reply>,
    /// Asked again meanwhile: the files may have changed since.
    again: Option<Vec<Reply>>,
    /// Why the last reload failed, in the status text of the unit; none once one succeeds.
    pub(super) failure: Option<String>,
}

impl Reloading {
    pub(super) fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, under_way: None, waiting: Vec::new(), again: None, failure: None }
    }

    /// Reloads the configuration.
    pub(super) fn ask(&mut self, reply: Option<Reply>) {
        if self.under_way.is_some() {
            self.again.get_or_insert_default().extend(reply);
            return;
        }
        self.waiting.extend(reply);
        let directories = self.directories.clone();
        self.under_way = Some(UnderWay::Reading(tokio::task::spawn_blocking(move || Settings::load(&directories))));
    }

    /// Opens the journal at a position, for these settings. Nothing is to be read from the follower before
    /// until that is done, or the position would not hold.
    pub(super) fn open(&mut self, settings: Settings, position: Position) {
        self.under_way = Some(UnderWay::Opening(Box::pin(async move {
            let filters = settings.jails.iter().map(|jail| jail.filter.clone()).collect();
            let follower = Follower::start(filters, settings.fields.clone(), position).await;
            (settings, follower)
        })));
    }

    /// Whether the journal is being opened.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.under_way, Some(UnderWay::Opening(_)))
    }

    /// How far it has come; never, if nothing is under way.
    pub(super) async fn step(&mut self) -> Step {
        let step = match &mut self.under_way {
            None => return std::future::pending().await,
            Some(UnderWay::Reading(reading)) => Step::Read(match reading.await {
                Ok(read) => read.map_err(ReloadError::from),
                Err(error) => Err(ReloadError::Ended(error.to_string())),
            }),
            Some(UnderWay::Opening(opening)) => {
                let (settings, follower) = opening.await;
                Step::Opened(settings, follower.map_err(ReloadError::from))
            }
        };
        self.under_way = None;
        step
    }

    /// It has come to its end. Returns those that wait for that, and whether to begin again.
    pub(super) fn end(&mut self, failure: Option<&ReloadError>) -> (Vec<Reply>, bool) {
        self.failure = failure.map(|error| not_reloaded(&error.to_string()));
        let ended = std::mem::take(&mut self.waiting);
        let again = self.again.take();
        let begin_again = again.is_some();
        self.waiting = again.unwrap_or_default();
        (ended, begin_again)
    }
}

/// A failed reload in the status text of the unit, which `systemctl reload` refers to: its own line can't
/// hold the reason. One line, since a line break would end the text, and short enough for a
/// notification.
fn not_reloaded(why: &str) -> String {
    const LONGEST: usize = 1000;
    let words: Vec<&str> = why.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    format!("Configuration NOT reloaded, the previous one stays in force: {line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_failed_reload_is_one_bounded_line() {
        let line = not_reloaded("/etc/wardend/wardend.conf:3: invalid\n  | maxretires = 5");
        assert!(line.ends_with(": /etc/wardend/wardend.conf:3: invalid | maxretires = 5"), "{line}");
        let line = not_reloaded(&"ä ".repeat(5000));
        assert!(line.len() < 3000 && line.ends_with('…') && !line.contains('\n'), "{}", line.len());
    }
}
