//! The firewall edge: what the engine wants blocked goes in as orders, what firewalld has really
//! done comes out as reports.
//!
//! An order never waits for firewalld and is never lost: it only changes the wanted list
//! ([`plan`]), and the driver ([`driver`]) takes what firewalld holds towards that list, one call at
//! a time. firewalld forgets every ban at a reload or restart, may be away, or may block for
//! seconds; the driver deals with all of that, and the rest of the daemon hears of it only as
//! a [`State`] and, ban by ban, as the moment at which it came into force. A ban that comes
//! into force again after firewalld had lost it is reported again, with its new time.

mod bypass;
mod call;
pub(crate) mod client;
mod costs;
mod driver;
mod entry;
mod inbox;
mod inspect;
mod ipset;
pub(crate) mod layout;
mod limits;
mod messages;
mod nets;
mod next_call;
mod objects;
mod opened;
mod plan;
mod pool;
mod unit;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

pub(crate) use self::inspect::Inspection;
pub(crate) use self::messages::{Bypass, NotRemoved, NotRight};
use crate::{core::scope::Scope, systemd::outgoing::Outgoing};

/// What the daemon wants of the firewall. Networks are in their truncated form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Lock this source out.
    Block(Arc<Scope>, IpNet),
    /// Let this source in again.
    Release(Arc<Scope>, IpNet),
    /// This is the whole list. Always the first order: before it nothing in firewalld is touched,
    /// so that a daemon that has just started can't free those whom it is about to name.
    Replace {
        /// All that bans may close.
        scopes: Vec<Arc<Scope>>,
        /// All bans.
        list: Vec<(Arc<Scope>, IpNet)>,
    },
    /// Compare what firewalld holds with the list now, and not in a few minutes.
    Audit,
    /// This source has got through although it is banned: add it again, whatever firewalld
    /// lists.
    Suspect(Arc<Scope>, IpNet),
    /// The same for somebody who waits for the end of it: [`Report::Synced`].
    Sync,
    /// Only look at what firewalld holds: [`Report::Inspected`].
    Inspect,
    /// Take policy and ipsets away from firewalld for good, in the order that never leaves a
    /// policy without its ipsets, with one reload. Only a [`Order::Replace`] brings them back.
    Remove,
}

/// How the firewall is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is known yet, or firewalld is about to come.
    Starting,
    /// firewalld holds exactly what is wanted.
    Up,
    /// Bans are kept but not in force, or not all of them; one sentence for the admin.
    Down(String),
}

/// What has happened. Times are `CLOCK_REALTIME` in microseconds, taken at firewalld's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// From now on the source is locked out, by its own entry or by a wider one. Sent once for
    /// each time it comes into force, and once for each order that finds it in force already.
    Blocked {
        /// From what.
        scope: Arc<Scope>,
        /// The source, as it was ordered.
        source: IpNet,
        /// When firewalld said so.
        at: u64,
    },
    /// The source has no entry of its own any more.
    Released {
        /// To what.
        scope: Arc<Scope>,
        /// The source, as it was ordered.
        source: IpNet,
        /// When firewalld said so.
        at: u64,
    },
    /// The state has changed.
    State(State),
    /// The answer to [`Order::Sync`]: what was put right, sentence by sentence, or why it can't be.
    Synced(Result<Vec<String>, NotRight>),
    /// The answer to [`Order::Inspect`].
    Inspected(Inspection),
    /// The answer to [`Order::Remove`].
    Removed(Result<(), NotRemoved>),
    /// Something is accepted before wardend's policy is asked, or nothing is any more.
    Bypassed(Option<Bypass>),
    /// Something an admin should hear once.
    Told(String),
}

/// Starts the driver, which owns the dealings with firewalld. It ends when the sender is dropped and
/// what can be done at once is done; the entries stay in firewalld, the next start takes them up.
pub(crate) fn start(outgoing: Outgoing) -> (UnboundedSender<Order>, UnboundedReceiver<Report>) {
    let (order, orders) = mpsc::unbounded_channel();
    let (report, reports) = mpsc::unbounded_channel();
    tokio::spawn(driver::run(outgoing, orders, report));
    (order, reports)
}
