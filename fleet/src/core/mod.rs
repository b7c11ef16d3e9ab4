//! What a machine believes of the others, and what it tells them; nothing of how messages travel.
//!
//! Each machine owns one [`ledger::Ledger`]: its bans. It numbers the changes, sends them as [`message`]s,
//! and keeps the whole at the broker. A machine holds a copy of the ledger of each other one
//! ([`peer`]), and a digest proves that both are equal. As each ledger has a single writer, any order, loss
//! and repetition of messages leads to the same copies. [`fleet`] decides by the [`policy`] what follows from
//! all copies for one source. There is no I/O here, no clock and no async: bytes and times are handed in.

pub mod fleet;
pub(crate) mod ledger;
pub mod message;
pub(crate) mod own;
mod peer;
pub mod policy;
#[cfg(test)]
mod purity;
mod rate;
mod receive;
#[cfg(test)]
mod tests;

/// Seconds since the epoch.
pub type Seconds = u64;
