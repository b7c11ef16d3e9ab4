//! One session: what it has counted, and what is still open in it.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::{Outcome, SILENCE, SessionMessage};
use crate::core::{
    failure::{Failure, Failures},
    filter::Counts,
    time::{USEC_PER_SEC, Usec},
};

/// The most failures of one session that can be forgiven: sshd allows six, and an admin who
/// allows thousands shall not have them all kept.
const MOST_KEPT: usize = 64;

/// What an attempt comes to that is pending for so long will never be told: sshd's grace time is over,
/// two minutes by default. A line that comes later all the same is taken for what it says.
const JUDGED: Usec = 150 * USEC_PER_SEC;

/// Whose a failure is that no line has named an address for yet.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Session {
    /// The first address that a line named. Later lines that name another are not believed.
    pub(super) address: Option<IpAddr>,
    pub(super) last: Usec,
    /// The counted failures that were not taken back.
    pub(super) failures: Failures,
    /// Failures that no line has named an address for yet.
    pub(super) waiting: Failures,
    /// The first line that counts only if nothing better comes, if there was one.
    pub(super) clue: Failures,
    /// The attempt that is being judged.
    #[serde(default, skip_serializing_if = "Failures::is_empty")]
    pub(super) pending: Failures,
    /// Some attempt was pending in it: it has lines of its own for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) pended: bool,
    /// It has said nothing but that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) alone: bool,
    /// An attempt was pending for too long and has counted; a line about it may still come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) presumed: bool,
    pub(super) succeeded: bool,
    /// How often each rule of a shared attempt was seen. The most of them is how often the
    /// attempt was counted.
    pub(super) seen: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) attempt: usize,
    pub(super) rule: Box<str>,
    times: u32,
}

impl Session {
    /// True if the line tells what came of an attempt, or that nothing will.
    pub(super) fn take(&mut self, line: &SessionMessage<'_>, out: &mut Vec<Outcome>) -> bool {
        if line.address.is_some_and(|address| *self.address.get_or_insert(address) != address) {
            return false;
        }
        self.last = self.last.max(line.time);
        if let Some(address) = line.address {
            for failure in std::mem::take(&mut self.waiting).iter() {
                self.count(Failure { address, ..failure }, line.time, out);
            }
        }
        let pending = std::mem::take(&mut self.pending);
        self.alone &= line.rule.counts == Counts::Pending;
        let mut tells = line.rule.gives_up;
        if line.rule.gives_up && !self.succeeded {
            pending.iter().for_each(|failure| self.fail(failure, line.time, out));
        }
        match line.rule.counts {
            Counts::Failure if line.counted => {
                for _ in 0..line.times {
                    let another = self.is_another(line);
                    // What was presumed has counted already.
                    if another && !std::mem::take(&mut self.presumed) {
                        self.fail(line.failure(NOBODY), line.time, out);
                    }
                    tells |= another;
                }
            }
            Counts::Pending if line.counted => {
                self.pending.push(&line.failure(NOBODY));
                (self.pended, self.presumed) = (true, false);
            }
            Counts::Evidence if line.counted => {
                // It counts only if nothing else has.
                if self.clue.is_empty() && self.failures.is_empty() {
                    self.clue.push(&line.failure(NOBODY));
                }
            }
            Counts::Success | Counts::Pardon if line.forgeable => self.succeeded = true,
            Counts::Success => {
                tells = true;
                self.succeeded = true;
                self.waiting = Failures::default();
                if let Some(address) = self.address {
                    out.push(Outcome::Login(address, line.time, line.name()));
                }
                if !self.failures.is_empty() {
                    out.push(Outcome::Forgive(std::mem::take(&mut self.failures)));
                }
            }
            Counts::Pardon => {
                self.succeeded = true;
                if self.waiting.pop().is_none() {
                    out.extend(self.failures.pop().map(Outcome::TakeBack));
                }
            }
            Counts::Failure | Counts::Evidence | Counts::Pending | Counts::Refusal | Counts::Nothing => {}
        }
        tells
    }

    /// When there is something to do if no line comes.
    pub(super) fn due(&self) -> Usec {
        let silence = self.last.saturating_add(SILENCE);
        match self.pending.views().next() {
            Some(view) => view.time.saturating_add(JUDGED).min(silence),
            None => silence,
        }
    }

    /// The attempt that is pending has failed, as far as anybody will ever know.
    pub(super) fn presume(&mut self, at: Usec, out: &mut Vec<Outcome>) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(address) = self.address.filter(|_| !self.succeeded) {
            for failure in pending.iter() {
                self.presumed = true;
                self.count(Failure { address, ..failure }, at, out);
            }
        }
    }

    /// One more failure, which counts as soon as it is known whose it is.
    fn fail(&mut self, failure: Failure, at: Usec, out: &mut Vec<Outcome>) {
        match self.address {
            Some(address) => self.count(Failure { address, ..failure }, at, out),
            None if self.waiting.len() < MOST_KEPT => self.waiting.push(&failure),
            None => {}
        }
    }

    fn count(&mut self, failure: Failure, at: Usec, out: &mut Vec<Outcome>) {
        if self.failures.len() >= MOST_KEPT {
            self.failures.drop_first();
        }
        self.failures.push(&failure);
        out.push(Outcome::Failure(failure, at));
    }

    /// Whether the line shows an attempt that no other line has shown already.
    fn is_another(&mut self, line: &SessionMessage<'_>) -> bool {
        let Some(shared) = line.rule.attempt else { return true };
        let rule = &*line.rule.name;
        let counted = self.seen.iter().filter(|seen| seen.attempt == shared).map(|seen| seen.times).max().unwrap_or(0);
        let at = self.seen.iter().position(|seen| seen.attempt == shared && *seen.rule == *rule).unwrap_or_else(|| {
            self.seen.push(Seen { attempt: shared, rule: rule.into(), times: 0 });
            self.seen.len() - 1
        });
        let seen = &mut self.seen[at];
        seen.times = seen.times.saturating_add(1);
        seen.times > counted
    }

    /// The session is over, which shows at the time `at`.
    pub(super) fn end(self, at: Usec, out: &mut Vec<Outcome>) {
        if self.address.is_none() && !self.waiting.is_empty() {
            out.push(Outcome::Nameless(self.waiting.len()));
        }
        if let (Some(clue), Some(address)) = (self.clue.last(), self.address)
            && self.failures.is_empty()
            && self.waiting.is_empty()
            && !self.succeeded
        {
            out.push(Outcome::Failure(Failure { address, ..clue }, at));
        }
    }
}
