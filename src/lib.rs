//! wardend reads what sshd and other services write to the journal, and locks out the hosts that try to break in.
//!
//! A record's way through the code, which is also the order in which to read it:
//!
//! 1. [`journal`] follows the journal in a thread of its own and hands on [`core::record::Record`]s.
//! 2. A [`core::filter::Filter`] reads what a record's message means: a rule, an address, a user.
//! 3. The session (`core::session`) turns the lines of one connection into failures, one an attempt.
//! 4. A [`core::jail`] counts the failures of each source in an exact window.
//! 5. The [`core::engine::Engine`] decides: it holds the list of bans (`core::bans`) and says what is
//!    to be done, as effects. All of [`core`] is pure: no I/O, no clock, no async.
//! 6. `daemon` carries the effects out: `firewalld` has the bans enforced over D-Bus, `cut` closes
//!    what is still open, `journal::events` writes journal records, `bus` serves `org.wardend1`,
//!    `state` keeps the engine's state. Others on the bus are asked over `systemd::outgoing`, which
//!    nobody can stop.
//!
//! `notify` is wardend-notify, which reports what `journal::events` has written to handlers. `file` is
//! wardend-file, which brings text files into the journal. `ctl` is wardenctl, whose `replay` feeds the same
//! engine from past journals. Each neighbour has a room of its own; `contract` is what other programs may rely
//! on, and `util` knows nothing of bans.

mod bus;
mod config;
mod contract;
mod core;
pub mod ctl;
pub mod cut;
pub mod daemon;
mod fail2ban;
pub mod file;
mod firewalld;
mod journal;
mod kernel;
pub mod notify;
mod state;
mod systemd;
#[doc(hidden)]
pub mod testing;
mod util;

/// What wardend-fleet has in common with wardend.
#[doc(hidden)]
pub mod shared {
    pub use crate::{
        config::{ConfigError, Location, Source, directories, layers, parse_span},
        contract::{fleet, journal::fleet as records},
        core::net::{AddressError, parse_network, text_of},
        notify::host,
        util::{
            suggest::{instead, toml_mistake},
            text::count,
            time::format,
        },
    };
}

#[cfg(test)]
#[path = "../tests/support/stand_in/mod.rs"]
mod stand_in;
