//! The lines of one connection become failures.
//!
//! sshd writes up to five lines for one wrong password and eighteen for six, so lines can't be
//! counted. Here each session keeps what it has counted: a `failure` line counts at once; lines
//! that are two views of one attempt (a PAM error and the `Failed` line that follows it) count
//! once; `evidence` (an invalid user who left, a refused connection) counts only when the
//! session ends without any counted attempt and without a success; a success forgives, a pardon
//! takes the last failure back. The table is bounded, and a session that stays silent is ended.
//!
//! A `pending` line says that an attempt is being judged: PAM has found a password wrong, and perhaps
//! another module still takes it. The session's next line tells. But sshd kills a session whose grace
//! time is over, in the middle of this, and writes nothing or only that the time was over; then the
//! attempt was judged and has failed. Where another process than the session's writes the pending line
//! (keyboard-interactive), the two belong together by their address.
//!
//! The first address that a line names is the session's. sshd prints the same one in all lines of
//! a connection, so a line that names another is either misread or of a new process with an old
//! number: it counts for nobody and keeps no session alive, but if it is a last line it ends the
//! session all the same.

mod message;
mod one;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use self::message::{Outcome, Place, SessionMessage};
use self::one::Session;
use crate::core::{
    failure::Failures,
    filter::{Counts, Filter, SessionKey},
    time::{USEC_PER_SEC, Usec},
};

/// A session that has written nothing for so long is over; sshd reuses process numbers.
pub(crate) const SILENCE: Usec = 600 * USEC_PER_SEC;
/// The most sessions kept at a time. sshd admits 100 at once by default, and each is forgotten
/// after [`SILENCE`]; beyond this the one that has been silent longest is ended early.
pub(crate) const CAPACITY: usize = 16_384;

/// PAM takes two seconds or so to refuse a password. What is pending for longer when a replay comes to
/// its end counts.
const ANSWERED: Usec = 10 * USEC_PER_SEC;

/// All open sessions of one jail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    open: HashMap<SessionKey, Session>,
    /// When to look at a session next. A session that spoke since is put back, so there is one
    /// entry a session and not one a line.
    agenda: BinaryHeap<Reverse<(Usec, SessionKey)>>,
    /// How many open sessions each address has.
    addresses: BTreeMap<IpAddr, usize>,
    /// The sessions that have written nothing but a pending line: perhaps they are parts of others.
    lone: BTreeSet<(IpAddr, SessionKey)>,
}

impl Sessions {
    /// Takes one line of the session `key`.
    pub(crate) fn observe(&mut self, key: SessionKey, line: &SessionMessage<'_>, out: &mut Vec<Outcome>) {
        let ends = line.rule.ends_session && !line.forgeable;
        if line.rule.begins_session
            && !line.forgeable
            && let Some(session) = self.remove(&key)
        {
            session.end(line.time, out);
        }
        if let Some(session) = self.open.get_mut(&key) {
            let (nameless, alone) = (session.address.is_none(), session.alone);
            let tells = session.take(line, out);
            if nameless && let Some(address) = session.address {
                *self.addresses.entry(address).or_default() += 1;
                if session.alone {
                    self.lone.insert((address, key.clone()));
                }
            }
            if line.rule.counts == Counts::Pending {
                self.agenda.push(Reverse((session.due(), key.clone())));
            }
            if let (true, false, Some(address)) = (alone, session.alone, session.address) {
                self.lone.remove(&(address, key.clone()));
            }
            if tells
                && let Some(address) = session.address.filter(|_| !session.pended)
                && self.settle(address, line)
                && let Some(session) = self.open.get_mut(&key)
            {
                session.clue = Failures::default();
            }
            if ends && let Some(session) = self.remove(&key) {
                session.end(line.time, out);
            }
            self.tidy();
            return;
        }
        if !line.is_worth_a_session() {
            return;
        }
        if self.open.len() >= CAPACITY
            && let Some((silent, _)) = self.next_due(Usec::MAX)
            && let Some(session) = self.remove(&silent)
        {
            session.end(line.time, out);
            out.push(Outcome::Crowded);
        }
        let mut session = Session::default();
        let tells = session.take(line, out);
        if tells
            && let Some(address) = session.address
            && self.settle(address, line)
        {
            session.clue = Failures::default();
        }
        if ends {
            return session.end(line.time, out);
        }
        session.alone = line.rule.counts == Counts::Pending;
        if let Some(address) = session.address {
            *self.addresses.entry(address).or_default() += 1;
            if session.alone {
                self.lone.insert((address, key.clone()));
            }
        }
        self.agenda.push(Reverse((session.due(), key.clone())));
        self.open.insert(key, session);
    }

    /// A line of a session tells what came of an attempt, or that nothing will. If no pending line
    /// of the session's own has announced the attempt, one of the same address has that stands alone.
    /// True if the session has been given up and the attempt counts where it stands, so that it must
    /// not count as evidence as well.
    fn settle(&mut self, address: IpAddr, line: &SessionMessage<'_>) -> bool {
        if self.lone.is_empty() {
            return false;
        }
        let mut alone = self.lone.range((address, SessionKey::default())..);
        let Some((_, other)) = alone.next().filter(|(whose, _)| *whose == address).cloned() else { return false };
        if !line.rule.gives_up {
            self.remove(&other);
        }
        line.rule.gives_up
    }

    fn remove(&mut self, key: &str) -> Option<Session> {
        let session = self.open.remove(key)?;
        if let Some(address) = session.address.filter(|_| session.alone) {
            self.lone.remove(&(address, key.into()));
        }
        if let Some(address) = session.address
            && let Some(count) = self.addresses.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&address);
            }
        }
        Some(session)
    }

    /// Whether somebody in the network has a session open.
    pub(crate) fn is_open_in(&self, network: IpNet) -> bool {
        self.addresses.range(network.network()..=network.broadcast()).next().is_some()
    }

    /// Drops what the agenda holds of sessions that have ended: in a flood of short ones that
    /// would be ten minutes of them.
    fn tidy(&mut self) {
        if self.agenda.len() > 2 * self.open.len() + 1024 {
            self.plan();
        }
    }

    /// Rebuilds the agenda.
    fn plan(&mut self) {
        self.agenda = self.open.iter().map(|(key, session)| Reverse((session.due(), key.clone()))).collect();
    }

    /// Ends the session that has been silent for too long at the time `now`, the first of them if
    /// there are several: what follows from its end comes before the next one's.
    pub(crate) fn advance(&mut self, now: Usec, out: &mut Vec<Outcome>) {
        let Some((key, due)) = self.next_due(now) else { return };
        if let Some(session) = self.open.get_mut(&key).filter(|session| !session.pending.is_empty()) {
            session.presume(due, out);
            session.alone = false;
            self.agenda.push(Reverse((session.due(), key.clone())));
            if let Some(address) = session.address {
                self.lone.remove(&(address, key));
            }
        } else if let Some(session) = self.remove(&key) {
            session.end(due, out);
        }
    }

    /// The session that has been silent longest, or has an attempt pending for too long, if either is
    /// over by `now`; and when it was over.
    fn next_due(&mut self, now: Usec) -> Option<(SessionKey, Usec)> {
        while let Some(Reverse((due, _))) = self.agenda.peek()
            && *due <= now
        {
            let Reverse((due, key)) = self.agenda.pop()?;
            match self.open.get(&key) {
                // Put back even if it is over by now: sessions end in the order of their last
                // words, whenever somebody looks.
                Some(session) if session.due() > due => self.agenda.push(Reverse((session.due(), key))),
                Some(_) => return Some((key, due)),
                None => {}
            }
        }
        None
    }

    /// When [`Self::advance`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Usec> {
        self.agenda.peek().map(|Reverse((due, _))| *due)
    }

    /// Ends every session, in the order of their last messages: a replay has come to its end, at the
    /// time `now`.
    pub(crate) fn end_all(&mut self, now: Usec, out: &mut Vec<Outcome>) {
        self.agenda.clear();
        self.addresses.clear();
        self.lone.clear();
        let mut sessions: Vec<_> = self.open.drain().collect();
        sessions.sort_by(|a, b| (a.1.last, &a.0).cmp(&(b.1.last, &b.0)));
        for (_, mut session) in sessions {
            let last = session.last;
            if last.saturating_add(ANSWERED) <= now {
                session.presume(last, out);
            }
            session.end(last, out);
        }
    }

    /// Moves every time along with a clock that was set.
    pub(crate) fn shift(&mut self, by: i64) {
        for session in self.open.values_mut() {
            session.last = session.last.saturating_add_signed(by);
            for list in [&mut session.failures, &mut session.waiting, &mut session.clue, &mut session.pending] {
                list.shift(by);
            }
        }
        self.plan();
    }

    /// The filter was reloaded: its attempts may have other numbers now.
    pub(crate) fn adapt(&mut self, filter: &Filter) {
        let attempt = |rule: &str| filter.rules().find(|known| *known.name == *rule)?.attempt;
        for session in self.open.values_mut() {
            session.seen.retain_mut(|seen| attempt(&seen.rule).map(|number| seen.attempt = number).is_some());
        }
    }

    /// Whether the session is open.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.open.contains_key(key)
    }

    /// How many sessions are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

/// The table in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SavedSessions(Vec<(SessionKey, Session)>);

impl Sessions {
    pub(crate) fn save(&self) -> SavedSessions {
        SavedSessions(self.open.iter().map(|(key, session)| (key.clone(), session.clone())).collect())
    }

    pub(crate) fn load(saved: SavedSessions) -> Self {
        let mut sessions = Self { open: saved.0.into_iter().take(CAPACITY).collect(), ..Self::default() };
        for (key, session) in &sessions.open {
            let Some(address) = session.address else { continue };
            *sessions.addresses.entry(address).or_default() += 1;
            if session.alone {
                sessions.lone.insert((address, key.clone()));
            }
        }
        sessions.plan();
        sessions
    }
}

#[cfg(test)]
mod tests;
