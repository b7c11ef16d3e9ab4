//! Commands that wait until the journal has been read up to them.
//!
//! Some commands depend on records: a ban that spares whoever is logged in, an unban, which resets the counters of
//! a source, and an explanation. All records that were written before such a command count. journald announces a
//! record up to half a second late, so the journal thread is asked to look, and the command is carried out when it
//! has. Bans and unbans keep their order. If the thread does not answer for some time, the command is carried
//! out with what is known.

use std::{
    collections::VecDeque,
    future::pending,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use crate::bus::Command;

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many wait, at the most; further ones stay with their callers' connections.
const MOST: usize = 16;

#[derive(Default)]
pub(super) struct Waiting {
    /// With the moment that the journal is to be read up to, the oldest first.
    commands: VecDeque<(Instant, Command)>,
}

impl Waiting {
    /// Takes a command that has to wait, and gives back any other.
    pub(super) fn take(&mut self, command: Command, now: Instant) -> Option<Command> {
        let is_behind = !self.commands.is_empty() && changes_bans(&command);
        if is_behind || is_judged_by_records(&command) {
            self.commands.push_back((now, command));
            return None;
        }
        Some(command)
    }

    pub(super) fn is_full(&self) -> bool {
        self.commands.len() >= MOST
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The next command, if the journal has been read up to it or it has waited for long enough.
    pub(super) fn next(&mut self, horizon: Option<Instant>, now: Instant) -> Option<Command> {
        let is_due = |arrived: Instant| horizon.is_some_and(|horizon| horizon >= arrived) || now >= arrived + PATIENCE;
        let (arrived, _) = self.commands.front()?;
        if is_due(*arrived) { self.commands.pop_front().map(|(_, command)| command) } else { None }
    }

    /// Until the first has waited for long enough; without an end, if none waits.
    pub(super) async fn end_of_patience(&self) {
        match self.commands.front() {
            Some((arrived, _)) => sleep_until((*arrived + PATIENCE).into()).await,
            None => pending().await,
        }
    }
}

fn is_judged_by_records(command: &Command) -> bool {
    match command {
        Command::Ban { orders, .. } => orders.iter().any(|order| order.spare),
        Command::Unban { .. } | Command::UnbanAll { .. } | Command::Explain(..) => true,
        _ => false,
    }
}

fn changes_bans(command: &Command) -> bool {
    matches!(command, Command::Ban { .. } | Command::Unban { .. } | Command::UnbanAll { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::engine::BanOrder;
    use tokio::sync::oneshot;

    fn ban(spare: bool) -> Command {
        let order = BanOrder { spare, ..BanOrder::new("203.0.113.7/32".parse().unwrap(), "sshd") };
        Command::Ban { orders: vec![order], list: None, reply: oneshot::channel().0 }
    }

    fn unban_all() -> Command {
        Command::UnbanAll { jail: None, origin: None, reply: oneshot::channel().0 }
    }

    #[test]
    fn only_what_is_judged_by_records_waits_for_them() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert!(matches!(waiting.take(ban(false), now), Some(Command::Ban { .. })));
        assert!(waiting.take(Command::ListJails(oneshot::channel().0), now).is_some());
        assert!(waiting.is_empty());
        let arrived = now + Duration::from_millis(1);
        assert!(waiting.take(ban(true), arrived).is_none());
        assert!(waiting.next(None, arrived).is_none(), "nobody knows how far the journal has been read");
        assert!(waiting.next(Some(now), arrived).is_none());
        assert!(matches!(waiting.next(Some(arrived), arrived), Some(Command::Ban { .. })));
        assert!(waiting.next(Some(arrived), arrived).is_none());
    }

    #[test]
    fn bans_and_unbans_keep_their_order_and_questions_pass() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let later = now + Duration::from_millis(5);
        assert!(waiting.take(unban_all(), now).is_none());
        assert!(waiting.take(ban(false), later).is_none(), "an unban that came before must not end it");
        assert!(waiting.take(Command::ListJails(oneshot::channel().0), later).is_some());
        assert!(matches!(waiting.next(Some(now), later), Some(Command::UnbanAll { .. })));
        assert!(waiting.next(Some(now), later).is_none());
        assert!(matches!(waiting.next(Some(later), later), Some(Command::Ban { .. })));
    }

    #[test]
    fn a_journal_that_is_not_read_holds_nothing_up_for_long() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert!(waiting.take(unban_all(), now).is_none());
        assert!(waiting.next(None, now + PATIENCE / 2).is_none());
        assert!(waiting.next(None, now + PATIENCE).is_some());
    }

    #[test]
    fn no_more_than_some_wait() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert!((0..MOST).all(|_| !waiting.is_full() && waiting.take(ban(true), now).is_none()));
        assert!(waiting.is_full());
    }
}
