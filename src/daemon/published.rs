//! What can be read of the daemon at any time, and when a change of it was last announced.

use tokio::{sync::watch, time::Instant};

use super::pace::TICK;
use crate::{bus::Status, systemd::notify::Notifier};

pub(super) struct Published {
    status: watch::Sender<Status>,
    /// When changed properties were announced last.
    announced: Instant,
    /// The unit's status text, as the manager has it.
    line: String,
}

impl Published {
    pub(super) fn new(status: watch::Sender<Status>) -> Self {
        Self { status, announced: Instant::now(), line: String::new() }
    }

    /// This is the answer to anyone who asks.
    pub(super) fn show(&self, status: Status) {
        self.status.send_replace(status);
    }

    /// Whether a change may be announced now: a flood of orders shall not make a flood of signals.
    pub(super) fn may_announce(&mut self) -> bool {
        let may = self.announced.elapsed() >= TICK;
        if may {
            self.announced = Instant::now();
        }
        may
    }

    /// The unit's status text is this.
    pub(super) fn tell(&mut self, line: String, notifier: &Notifier) {
        if line != self.line {
            notifier.status(&line);
            self.line = line;
        }
    }
}
