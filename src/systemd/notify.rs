//! Notifies the service manager (sd_notify(3)), and feeds the watchdog.
//!
//! An error here means that the manager's socket is gone; there is nobody to tell.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::systemd::outgoing::Outgoing;

pub(crate) fn ready(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub(crate) fn status(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(status)]);
}

/// The configuration is being reloaded, until the next [`ready`]; the time is for `Type=notify-reload`.
pub(crate) fn reloading() {
    let mut states = vec![NotifyState::Reloading, NotifyState::Status("Reloading the configuration.")];
    states.extend(NotifyState::monotonic_usec_now().ok());
    let _ = sd_notify::notify(&states);
}

pub(crate) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("Saving the state.")]);
}

/// A long backlog is being read: the start takes longer, and it is not stuck.
pub(crate) fn still_starting(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(60_000_000), NotifyState::Status(status)]);
}

/// Tells the manager that the daemon is alive: only while the journal thread and the core both
/// make progress, and the bus answers over the connection that everything else is asked over.
pub(crate) struct Watchdog {
    interval: Option<Duration>,
    pulse: u64,
    answers: u64,
    beaten: tokio::time::Instant,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self {
            interval: sd_notify::watchdog_enabled().map(|limit| limit / 3),
            pulse: 0,
            answers: 0,
            beaten: tokio::time::Instant::now(),
        }
    }

    /// How often [`Self::alive`] has to be called at the least.
    pub(crate) fn pace(&self) -> Duration {
        self.interval.map_or(Duration::MAX, |interval| interval / 2)
    }

    /// The core is here; `pulse` is what the journal thread has counted so far.
    pub(crate) fn alive(&mut self, pulse: u64, outgoing: &Outgoing) {
        let answers = outgoing.answers();
        outgoing.ping();
        let Some(interval) = self.interval else { return };
        if self.beaten.elapsed() >= interval && pulse != self.pulse && answers != self.answers {
            (self.pulse, self.answers) = (pulse, answers);
            self.beaten = tokio::time::Instant::now();
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}
