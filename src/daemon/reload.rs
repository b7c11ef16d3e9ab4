//! Reloads the configuration while everything continues.
//!
//! Files are read and filters proven on another thread, because that may take a moment. A
//! mistake in them changes nothing and is reported; a good configuration takes the place of the one
//! before between two records: the journal is followed on from the very record that was read
//! last, counters and bans stay with the name of their jail, and jails come and go on the bus.

use std::{path::PathBuf, sync::Arc};

use tokio::{sync::oneshot, task::JoinHandle};

use super::run::Daemon;
use crate::{
    config::Settings,
    journal::{Follower, Position, events},
    systemd::{notify, resolved::Names},
    util::time::now,
};

/// Who asked, and waits for the outcome; a signal doesn't.
type Reply = oneshot::Sender<Result<(), String>>;

/// A reading that is under way, and those that wait for its outcome.
pub(super) struct Reloading {
    directories: Vec<PathBuf>,
    under_way: Option<JoinHandle<Result<Settings, String>>>,
    waiting: Vec<Reply>,
    /// Asked again meanwhile: the files may have changed since.
    again: Option<Vec<Reply>>,
    /// Why the last reload failed; none once one succeeds.
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
        self.under_way =
            Some(tokio::task::spawn_blocking(move || Settings::load(&directories).map_err(|error| error.to_string())));
    }

    /// What was read; never, if nothing is under way.
    pub(super) async fn read(&mut self) -> Result<Settings, String> {
        let Some(under_way) = self.under_way.as_mut() else { return std::future::pending().await };
        let outcome = under_way.await.unwrap_or_else(|error| Err(format!("The configuration was not read: {error}.")));
        self.under_way = None;
        outcome
    }
}

impl Daemon {
    /// Begins to reload the configuration.
    pub(super) fn ask_to_reload(&mut self, reply: Option<Reply>) {
        if self.ready {
            notify::reloading();
        }
        self.reloading.ask(reply);
    }

    /// Puts what was read in force, or tells why not.
    pub(super) async fn reload(&mut self, read: Result<Settings, String>) {
        let outcome = match read {
            Ok(settings) => self.put_in_force(settings).await,
            Err(why) => Err(why),
        };
        if let Err(why) = &outcome {
            events::bad_config(why);
        }
        self.reloading.failure = outcome.as_ref().err().map(|why| not_reloaded(why));
        if self.ready {
            notify::ready(&self.status_line());
        }
        for reply in self.reloading.waiting.drain(..) {
            let _ = reply.send(outcome.clone());
        }
        if let Some(replies) = self.reloading.again.take() {
            self.ask_to_reload(None);
            self.reloading.waiting.extend(replies);
        }
    }

    async fn put_in_force(&mut self, settings: Settings) -> Result<(), String> {
        let filters = settings.jails.iter().map(|jail| jail.filter.clone()).collect();
        let position = self.cursor.clone().map_or_else(|| self.origin.clone(), Position::After);
        // What can fail comes first. The batches that the old thread has ready are read again.
        let fields = Arc::clone(&settings.fields);
        let follower = Follower::start(filters, settings.fields, position).map_err(|error| error.to_string())?;
        if let (false, Some(cursor)) = (follower.resumed, &self.cursor) {
            events::journal_gone(cursor);
        }
        self.follower = follower;
        self.fields = fields;
        self.names = Names::ask(self.outgoing.connection(), &settings.jails);
        self.engine.reload(settings.jails.clone(), now(), &mut self.effects);
        self.carry_out();
        // What the bans of a jail close may be something else now.
        self.refill();
        self.saving.touch_soon();
        self.publisher.change_jails(&settings.jails).await;
        let names: Vec<&str> = self.engine.jails().map(|jail| jail.name.as_str()).collect();
        events::reloaded(&names);
        self.publish();
        Ok(())
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
