//! wardend watches sshd's journal and locks out the hosts that try to break in.
//!
//! A record's way through the code, which is also the order in which to read it:
//!
//! 1. [`journal`] follows the journal in a thread of its own and hands on [`record::Record`]s.
//! 2. A [`filter::Filter`] reads what a record's message means: a rule, an address, a user.
//! 3. The session (`session`) turns the lines of one connection into failures, one an attempt.
//! 4. A [`jail`] counts the failures of each source in an exact window.
//! 5. The [`engine::Engine`] decides: it holds the list of bans (`bans`) and says what is to be
//!    done, as effects. Up to here everything is pure: no I/O, no clock, no async.
//! 6. `daemon` carries the effects out: `firewall` tells firewalld over D-Bus, `events` writes
//!    journal records, `bus` serves `org.wardend1`, `snapshot` keeps the engine's state. Others on
//!    the bus are asked over `outgoing`, which nobody can stop.
//!
//! `ctl` is wardenctl, whose `replay` feeds the same engine from past journals.

mod addresses;
mod bans;
mod bus;
mod clock;
pub mod config;
pub mod ctl;
mod cursor;
pub mod daemon;
pub mod engine;
mod events;
mod failure;
pub mod filter;
mod firewall;
mod fnv;
pub mod jail;
pub mod journal;
mod metrics;
mod outgoing;
pub mod record;
mod session;
mod snapshot;
mod stream;
mod suggest;
mod time;

pub use bans::Ban;
pub use failure::{Failure, Failures};
#[doc(hidden)]
pub use snapshot::{Snapshot, Store, check as check_snapshot};
