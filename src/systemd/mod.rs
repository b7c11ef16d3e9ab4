//! systemd's services on the bus, and the connection over which they and firewalld are asked.

pub(crate) mod logind;
pub(crate) mod notify;
pub(crate) mod outgoing;
mod resolve_unit;
pub(crate) mod resolved;
pub(crate) mod units;
