//! The lines of one connection become failures.
//!
//! sshd writes up to five lines for one wrong password and eighteen for six, so lines can't be
//! counted. Here each session keeps what it has counted: a `failure` line counts at once; lines
//! that are two views of one attempt (a PAM error and the `Failed` line that follows it) count
//! once; `evidence` (an invalid user who left, a refused connection) counts only when the
//! session ends without any counted attempt and without a success; a success forgives, a pardon
//! takes the last failure back. The table is bounded, and a session that stays silent is ended.
//!
//! The first address that a line names is the session's. sshd prints the same one in all lines of
//! a connection, so a line that names another is either misread or of a new process with an old
//! number: it counts for nobody, but if it is a last line it ends the session all the same.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{
    filter::{Counts, Rule, SessionKey},
    record::{Cursor, USEC_PER_SEC, Usec},
};

/// A session that has written nothing for so long is over; sshd reuses process numbers.
pub(crate) const SILENCE: Usec = 600 * USEC_PER_SEC;
/// The most sessions kept at a time. sshd admits 100 at once by default, and each is forgotten
/// after [`SILENCE`]; beyond this the one that has been silent longest is ended early.
pub(crate) const CAPACITY: usize = 65_536;
/// The most failures of one session that can be forgiven: sshd allows six, and an admin who
/// allows thousands shall not have them all kept.
const MOST_KEPT: usize = 64;

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where the attempt came from.
    pub address: IpAddr,
    /// When journald received the message, in µs.
    pub time: Usec,
    /// The rule that read it.
    pub rule: Box<str>,
    /// The user name as sshd printed it, if it did.
    pub user: Option<Box<str>>,
    /// The record that shows it.
    pub cursor: Cursor,
}

/// What a line, or the end of a session, means for the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// One more failure, known since this time: evidence comes to light later than it was
    /// written, when its session ends.
    Failure(Failure, Usec),
    /// These failures of one session no longer count towards a ban: the user got
    /// in after a typing mistake.
    Forgive(Vec<Failure>),
    /// This failure never was one.
    TakeBack(Failure),
}

/// A line of a session, as its filter reads it.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) rule: &'a Rule,
    /// The jail counts the rule's class.
    pub(crate) counted: bool,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) time: Usec,
    pub(crate) cursor: &'a Cursor,
}

impl Line<'_> {
    /// Whether the line, as the first of its session, leaves anything to remember. Lines that the
    /// jail doesn't count would fill the table in a flood of them.
    fn is_worth_a_session(&self) -> bool {
        match self.rule.counts {
            Counts::Failure | Counts::Evidence => self.counted,
            Counts::Success | Counts::Pardon => true,
            Counts::Nothing => self.address.is_some(),
        }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence {
            time: self.time,
            rule: self.rule.name.as_str().into(),
            user: self.user.map(|user| String::from_utf8_lossy(user).into()),
            cursor: self.cursor.clone(),
        }
    }
}

/// A failure whose address may come with a later line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    time: Usec,
    rule: Box<str>,
    user: Option<Box<str>>,
    cursor: Cursor,
}

impl Evidence {
    pub(crate) fn of(self, address: IpAddr) -> Failure {
        let Self { time, rule, user, cursor } = self;
        Failure { address, time, rule, user, cursor }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// The first address that a line named. Later lines that name another are not believed.
    address: Option<IpAddr>,
    last: Usec,
    /// The counted failures that were not taken back.
    failures: Vec<Failure>,
    /// Failures that no line has named an address for yet.
    #[serde(default)]
    pending: Vec<Evidence>,
    /// The first line that counts only if nothing better comes.
    evidence: Option<Evidence>,
    succeeded: bool,
    /// For each shared attempt: how often each of its rules was seen, and how many were counted.
    attempts: Vec<(usize, Attempt)>,
}

/// Two views of the same attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Attempt {
    seen: Vec<(Box<str>, u32)>,
    counted: u32,
}

/// All open sessions of one jail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    open: HashMap<SessionKey, Session>,
    /// When to look at a session next. A session that spoke since is put back, so there is one
    /// entry a session and not one a line.
    agenda: BinaryHeap<Reverse<(Usec, SessionKey)>>,
}

impl Sessions {
    /// Takes one line of the session `key`.
    pub(crate) fn observe(&mut self, key: &str, line: &Line<'_>, out: &mut Vec<Outcome>) {
        if !self.open.contains_key(key) {
            if !line.is_worth_a_session() {
                return;
            }
            if self.open.len() >= CAPACITY
                && let Some((session, _)) = self.take_silent(Usec::MAX)
            {
                session.end(line.time, out);
            }
            self.agenda.push(Reverse((line.time.saturating_add(SILENCE), key.into())));
        }
        let session = self.open.entry(key.into()).or_default();
        session.last = session.last.max(line.time);
        session.take(line, out);
        if line.rule.ends_session
            && let Some(session) = self.open.remove(key)
        {
            session.end(line.time, out);
            self.tidy();
        }
    }

    /// Drops what the agenda holds of sessions that have ended: in a flood of short ones that
    /// would be ten minutes of them.
    fn tidy(&mut self) {
        if self.agenda.len() > 2 * self.open.len() + 1024 {
            let due =
                |(key, session): (&SessionKey, &Session)| Reverse((session.last.saturating_add(SILENCE), key.clone()));
            self.agenda = self.open.iter().map(due).collect();
        }
    }

    /// Ends the sessions that have been silent for too long at the time `now`.
    pub(crate) fn advance(&mut self, now: Usec, out: &mut Vec<Outcome>) {
        while let Some((session, due)) = self.take_silent(now) {
            session.end(due, out);
        }
    }

    /// Takes out the session that has been silent longest, if its silence is over by `now`; and
    /// when it was over.
    fn take_silent(&mut self, now: Usec) -> Option<(Session, Usec)> {
        while let Some(Reverse((due, _))) = self.agenda.peek()
            && *due <= now
        {
            let Reverse((due, key)) = self.agenda.pop()?;
            match self.open.get(&key) {
                // Put back even if it is over by now: sessions end in the order of their last
                // words, whenever somebody looks.
                Some(session) if session.last.saturating_add(SILENCE) > due => {
                    self.agenda.push(Reverse((session.last.saturating_add(SILENCE), key)));
                }
                Some(_) => return Some((self.open.remove(&key)?, due)),
                None => {}
            }
        }
        None
    }

    /// When [`Self::advance`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Usec> {
        self.agenda.peek().map(|Reverse((due, _))| *due)
    }

    /// Ends every session, in the order of their last words: a replay has come to its end.
    pub(crate) fn end_all(&mut self, out: &mut Vec<Outcome>) {
        self.agenda.clear();
        let mut sessions: Vec<_> = self.open.drain().collect();
        sessions.sort_by(|a, b| (a.1.last, &a.0).cmp(&(b.1.last, &b.0)));
        for (_, session) in sessions {
            let last = session.last;
            session.end(last, out);
        }
    }

    /// How many sessions are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Session {
    fn take(&mut self, line: &Line<'_>, out: &mut Vec<Outcome>) {
        if let Some(address) = line.address {
            if *self.address.get_or_insert(address) != address {
                return;
            }
            for failure in std::mem::take(&mut self.pending) {
                self.count(failure.of(address), line.time, out);
            }
        }
        match line.rule.counts {
            Counts::Failure if line.counted => {
                if self.is_another(line) {
                    match self.address {
                        Some(address) => self.count(line.evidence().of(address), line.time, out),
                        None if self.pending.len() < MOST_KEPT => self.pending.push(line.evidence()),
                        None => {}
                    }
                }
            }
            Counts::Evidence if line.counted => {
                self.evidence.get_or_insert_with(|| line.evidence());
            }
            Counts::Success => {
                self.succeeded = true;
                self.pending.clear();
                if !self.failures.is_empty() {
                    out.push(Outcome::Forgive(std::mem::take(&mut self.failures)));
                }
            }
            Counts::Pardon => {
                self.succeeded = true;
                if self.pending.pop().is_none() {
                    out.extend(self.failures.pop().map(Outcome::TakeBack));
                }
            }
            Counts::Failure | Counts::Evidence | Counts::Nothing => {}
        }
    }

    fn count(&mut self, failure: Failure, at: Usec, out: &mut Vec<Outcome>) {
        if self.failures.len() >= MOST_KEPT {
            self.failures.remove(0);
        }
        self.failures.push(failure.clone());
        out.push(Outcome::Failure(failure, at));
    }

    /// Whether the line shows an attempt that no other line has shown already.
    fn is_another(&mut self, line: &Line<'_>) -> bool {
        let Some(shared) = line.rule.attempt else { return true };
        let at = self.attempts.iter().position(|(known, _)| *known == shared).unwrap_or_else(|| {
            self.attempts.push((shared, Attempt::default()));
            self.attempts.len() - 1
        });
        let attempt = &mut self.attempts[at].1;
        let rule = line.rule.name.as_str();
        let at = attempt.seen.iter().position(|(known, _)| **known == *rule).unwrap_or_else(|| {
            attempt.seen.push((rule.into(), 0));
            attempt.seen.len() - 1
        });
        attempt.seen[at].1 += 1;
        let more = attempt.seen[at].1 > attempt.counted;
        attempt.counted = attempt.counted.max(attempt.seen[at].1);
        more
    }

    /// The session is over, which shows at the time `at`.
    fn end(self, at: Usec, out: &mut Vec<Outcome>) {
        if let (Some(evidence), Some(address)) = (self.evidence, self.address)
            && self.failures.is_empty()
            && self.pending.is_empty()
            && !self.succeeded
        {
            out.push(Outcome::Failure(evidence.of(address), at));
        }
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
        let mut sessions = Self::default();
        for (key, session) in saved.0 {
            sessions.agenda.push(Reverse((session.last.saturating_add(SILENCE), key.clone())));
            sessions.open.insert(key, session);
        }
        sessions
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
