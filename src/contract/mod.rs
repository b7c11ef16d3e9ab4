//! What other programs may rely on: the rows and errors of `org.wardend1`, and the kinds of
//! record in the journal. wardenctl is the first of them.

pub(crate) mod bus;
pub(crate) mod cut;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod exceptions;
pub mod fleet;
pub(crate) mod happening;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod latency;
pub(crate) mod notify;
pub(crate) mod problem;
pub(crate) mod resolve;
pub(crate) mod unban;
