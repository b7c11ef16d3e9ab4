//! Closes what a banned source still has open: a ban blocks new connections, and firewalld
//! leaves established ones open.
//!
//! [`cutting`] says when, which is never before the ban is in force; [`mod@unit`] asks the unit that may do
//! it, and [`program`] is what this unit runs.

mod cutting;
mod program;
mod unit;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

pub use self::program::main;
pub(crate) use self::{
    cutting::Cutting,
    unit::{Cut, CutTarget},
};
use crate::systemd::outgoing::Outgoing;

/// Starts the task that has the connections of banned sources closed.
fn start(outgoing: Outgoing) -> (UnboundedSender<CutTarget>, UnboundedReceiver<Cut>) {
    let (target, targets) = mpsc::unbounded_channel();
    let (report, reports) = mpsc::unbounded_channel();
    tokio::spawn(unit::run(outgoing, targets, report));
    (target, reports)
}
