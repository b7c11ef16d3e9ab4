//! What the daemon and wardend-resolve@.service say to each other: a line with a host name, and a line of
//! JSON as the answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a name means.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Addresses(Vec<IpAddr>),
    /// Why it means nothing: the middle of a sentence.
    Error(String),
}
