//! What happens, as the journal, the counters and the bus hear of it: built once, and handed to all three.

use std::sync::Arc;

use ipnet::IpNet;

use crate::core::{
    Exception, ExceptionEnd,
    bans::Ban,
    engine::UnbanReason,
    failure::{Failure, Failures},
    jail::Bound,
    time::Usec,
};

/// Something that people and programs want to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A failure was counted.
    Failed {
        jail: Arc<str>,
        source: IpNet,
        failure: Failure,
    },
    Banned(Ban),
    /// A ban lasts longer than it would have.
    Extended(Ban),
    Unbanned(Ban, UnbanReason),
    /// A source would be banned, but somebody has logged in from there at `login`.
    Spared {
        jail: Arc<str>,
        source: IpNet,
        login: Usec,
        failures: Failures,
    },
    /// A source that is banned has reached the service all the same.
    Leaked {
        jail: Arc<str>,
        ban: IpNet,
        failure: Failure,
    },
    /// A ban would begin, but the jail is paused.
    Withheld(Ban),
    /// An administrator has ordered an exception.
    Excepted(Exception),
    ExceptionEnded(Exception, ExceptionEnd),
    /// A table of the jail was full.
    Crowded(Arc<str>, Bound),
    /// The clock was set by this number of µs.
    ClockSet(i64),
}
