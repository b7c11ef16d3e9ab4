//! What wardend decides, and nothing of how it is carried out.
//!
//! Records, time and commands go in; effects come out. There is no I/O here, no clock and no async:
//! time is the time of the records, and what the machine knows is handed in. So the daemon, replay
//! and recovery after a crash run the same code and come to the same bans. A test reads every file
//! of this room and refuses what would break that.

pub(crate) mod bans;
pub(crate) mod clock;
pub(crate) mod cursor;
pub(crate) mod engine;
pub(crate) mod exceptions;
pub(crate) mod failure;
pub(crate) mod filter;
pub(crate) mod history;
pub(crate) mod jail;
pub(crate) mod listing;
pub(crate) mod net;
pub(crate) mod record;
pub(crate) mod scope;
pub(crate) mod session;
pub(crate) mod time;
pub(crate) mod tops;

#[cfg(test)]
mod purity;

pub(crate) use self::{
    bans::Ban,
    exceptions::{Exception, ExceptionEnd, ExceptionKind},
};
