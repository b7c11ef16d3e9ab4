//! What the daemon and wardend-cut@.service say to each other: a line of JSON that names what to close, and a
//! line of JSON as the answer, again and again.

use serde::{Deserialize, Serialize};

/// What is to be closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// Whose connections: addresses and networks.
    pub(crate) sources: Vec<String>,
    /// To what here; to everything, if this is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<Ports>,
}

/// A range of ports here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    pub(crate) protocol: Protocol,
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// What can be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// The number that were open; none is now.
    Closed(usize),
    /// Why some are open: a sentence without its end.
    Error(String),
}

impl Request {
    /// Whether a connection to this port here is meant.
    pub(crate) fn names(&self, protocol: Protocol, port: u16) -> bool {
        let holds = |it: &Ports| it.protocol == protocol && (it.first..=it.last).contains(&port);
        self.ports.is_empty() || self.ports.iter().any(holds)
    }
}
