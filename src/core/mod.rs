//! What wardend decides, and nothing of how it is carried out.
//!
//! Records, time and commands go in; effects come out. There is no I/O here, no clock and no async:
//! time is the time of the records, and what the machine knows is handed in. So the daemon, replay
//! and recovery after a crash run the same code and come to the same bans. A test reads every file
//! of this room and refuses what would break that.

pub(crate) mod bans;
pub(crate) mod clock;
pub(crate) mod cursor;
pub mod engine;
pub(crate) mod exceptions;
pub(crate) mod failure;
pub mod filter;
pub(crate) mod history;
pub mod jail;
pub(crate) mod listing;
pub mod net;
pub mod record;
pub mod scope;
pub(crate) mod session;
pub mod time;
pub(crate) mod tops;

#[cfg(test)]
mod purity;

pub use self::{
    bans::Ban,
    exceptions::{Exception, ExceptionEnd, ExceptionKind},
    failure::{Failure, Failures},
};
