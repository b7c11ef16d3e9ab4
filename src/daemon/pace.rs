//! When the loop does what nothing announces: the tick, at which things are saved, published and looked
//! at, and the wake, at which time passes for the engine.

use std::time::Duration;

use tokio::time::Instant;

use crate::{core::time::Usec, util::time::now};

/// How soon after a change the snapshot is written and the properties are published.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How often the watchdog is looked at while nothing happens, and what records have changed is published: the
/// noise of the internet does that all day, and a daemon with no more to do shall sleep.
const IDLE_TICK: Duration = Duration::from_secs(20);
/// The longest sleep until a deadline: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The shortest time from one deadline to the next.
const GAP: Duration = Duration::from_millis(200);

pub(super) struct Pace {
    /// How long after the last tick the next one comes.
    interval: Duration,
    ticked: Instant,
    woken: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { interval: TICK, ticked: Instant::now(), woken: Instant::now() }
    }

    /// Something has changed that people wait for.
    pub(super) fn soon(&mut self) {
        self.interval = TICK;
    }

    /// When the next tick is, `longest` after the last one at the latest.
    pub(super) fn next_tick(&self, longest: Duration) -> Instant {
        self.ticked + self.interval.min(longest)
    }

    /// This is a tick.
    pub(super) fn tick(&mut self) {
        (self.interval, self.ticked) = (IDLE_TICK, Instant::now());
    }

    /// When the engine is to be woken next.
    pub(super) fn next_wake(&self, due: Option<Usec>) -> Instant {
        let sleep = due.map_or(LONGEST_SLEEP, |due| Duration::from_micros(due.saturating_sub(now())));
        // Where the journal thread is not that far yet, it is asked again in a moment.
        (Instant::now() + sleep.min(LONGEST_SLEEP)).max(self.woken + GAP)
    }

    /// It is woken.
    pub(super) fn wake(&mut self) {
        self.woken = Instant::now();
    }
}
