//! What goes into a session, and what comes out.

use std::net::IpAddr;

use crate::core::{
    failure::{Failure, Failures, Kind},
    filter::{Counts, Rule},
    record::Cursor,
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
    /// None of a line that counts for nothing by itself.
    pub(crate) cursor: Option<&'a Cursor>,
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

    /// The failure that the line shows.
    pub(crate) fn failure(&self, address: IpAddr) -> Failure {
        Failure {
            address,
            time: self.time,
            rule: self.rule.name.clone(),
            user: self.name(),
            cursor: self.cursor.cloned().unwrap_or_default(),
            kind: if self.rule.counts == Counts::Refusal { Kind::Refusal } else { Kind::Attempt },
        }
    }
}
