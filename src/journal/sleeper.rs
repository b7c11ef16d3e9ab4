//! Sleeping until journald writes something, or until somebody says that it matters now.
//!
//! sd_journal_wait(3) would sleep as well, but nobody can wake a thread out of it: it had to look once more
//! after each batch, in case the daemon had become eager by what was in it.

use std::{io, os::fd::RawFd, sync::Arc, time::Duration};

use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};

const JOURNAL: Token = Token(0);
const WAKER: Token = Token(1);

/// Where a thread sleeps.
pub(super) struct Sleeper {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl Sleeper {
    pub(super) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self { poll, events: Events::with_capacity(2), waker })
    }

    /// What ends the sleep, or the next one.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Has what is written to a journal end the sleep, until its handle is closed.
    pub(super) fn attend(&self, journal: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&journal), JOURNAL, Interest::READABLE)
    }

    /// Sleeps, at most so long.
    pub(super) fn sleep(&mut self, at_most: Duration) {
        let slept = self.poll.poll(&mut self.events, Some(at_most));
        // Where that is not possible, a thread must not spin.
        if slept.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            std::thread::sleep(at_most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_woken_before_or_while_they_sleep_sleeps_no_longer() {
        let mut sleeper = Sleeper::new().unwrap();
        let waker = sleeper.waker();
        waker.wake().unwrap();
        let long = Duration::from_secs(3600);
        sleeper.sleep(long);
        let other = std::thread::spawn(move || waker.wake().unwrap());
        sleeper.sleep(long);
        other.join().unwrap();
    }
}
