//! What goes into a session, and what comes out.

use std::{fmt, net::IpAddr};

use crate::core::{
    failure::{Failure, Failures, Kind},
    filter::{Counts, Rule},
    record::{Cursor, Record},
    time::Usec,
};

/// What a line, or the end of a session, means for the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// One more failure, known since this time: evidence comes to light later than it was
    /// written, when its session ends.
    Failure(Failure, Usec),
    /// These failures of one session no longer count towards a ban: the user got
    /// in after a typing mistake.
    Forgive(Failures),
    /// This failure never was one.
    TakeBack(Failure),
    /// Somebody got in, from this address, by this name.
    Login(IpAddr, Usec, Option<Box<str>>),
    /// The number of failures of one session for which no line has ever named an address.
    Nameless(usize),
    /// There were too many open sessions, and the most silent one was ended.
    Crowded,
}

/// Where a line stands in the journal, for who needs to know: libsystemd takes long to say it, and most lines
/// count for nothing.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// As far as that is known anyway.
    near: Option<&'a Record>,
    ask: &'a dyn Fn() -> Cursor,
}

impl<'a> Place<'a> {
    /// That of a line that stands where `ask` says.
    pub(crate) fn new(ask: &'a dyn Fn() -> Cursor) -> Self {
        Self { near: None, ask }
    }

    /// That of a record.
    pub(crate) fn of(record: &'a Record, ask: &'a dyn Fn() -> Cursor) -> Self {
        Self { near: Some(record), ask }
    }

    /// By what the record says itself, if that is enough.
    fn near(&self) -> Cursor {
        let near = self.near.filter(|record| record.is_alone());
        let near = near.and_then(|record| Some(Cursor::at(record.time, record.moment?)));
        near.unwrap_or_else(self.ask)
    }
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.ask)())
    }
}

/// A line of a session, as its filter reads it.
#[derive(Clone, Debug)]
pub(crate) struct SessionMessage<'a> {
    pub(crate) rule: &'a Rule,
    /// The jail counts the rule's class.
    pub(crate) counted: bool,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user: Option<&'a [u8]>,
    /// The number of failures that the line reports, if it reports any.
    pub(crate) times: u32,
    pub(crate) time: Usec,
    pub(crate) place: Place<'a>,
    /// A client's text may have made the line, line break and all. Then it neither ends its session
    /// nor takes a failure back, and it is no login.
    pub(crate) forgeable: bool,
}

impl SessionMessage<'_> {
    /// Whether the line, as the first of its session, leaves anything to remember. Lines that the
    /// jail doesn't count would fill the table in a flood of them.
    pub(super) fn is_worth_a_session(&self) -> bool {
        match self.rule.counts {
            Counts::Failure | Counts::Evidence | Counts::Pending => self.counted,
            Counts::Refusal => false,
            Counts::Success | Counts::Pardon => true,
            Counts::Nothing => self.address.is_some(),
        }
    }

    /// The user that the line names.
    pub(crate) fn name(&self) -> Option<Box<str>> {
        self.user.map(|user| String::from_utf8_lossy(user).into())
    }

    /// The record that shows what the line counts for, if it counts for something. What is announced hardly
    /// ever counts by that line.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        match self.rule.counts {
            Counts::Failure | Counts::Evidence | Counts::Refusal => Some((self.place.ask)()),
            Counts::Pending => Some(self.place.near()),
            Counts::Success | Counts::Pardon | Counts::Nothing => None,
        }
    }

    /// The failure that the line shows.
    pub(crate) fn failure(&self, address: IpAddr) -> Failure {
        Failure {
            address,
            time: self.time,
            rule: self.rule.name.clone(),
            user: self.name(),
            cursor: self.cursor().unwrap_or_default(),
            kind: if self.rule.counts == Counts::Refusal { Kind::Refusal } else { Kind::Attempt },
        }
    }
}
