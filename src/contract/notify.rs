//! What wardend-notify says of each handler, in `/run/wardend-notify/NAME.status`, and the first line
//! that a handler receives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::time::Usec;

/// Where wardend-notify puts batches and what it says of its handlers.
pub(crate) const DIRECTORY: &str = "/run/wardend-notify";

/// How a handler does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    /// The number of events that wait.
    pub(crate) waiting: u64,
    /// When they are handed over at the earliest.
    pub(crate) next_usec: Option<Usec>,
    /// The last batch that the handler has taken.
    pub(crate) last_success_usec: Option<Usec>,
    /// The last failure, and its sentence.
    pub(crate) last_error_usec: Option<Usec>,
    pub(crate) last_error: String,
    /// Since when what waits has failed.
    pub(crate) failing_since_usec: Option<Usec>,
    /// Events handed over, batches handed over, and failed attempts, since the handler was set up.
    pub(crate) events: u64,
    pub(crate) batches: u64,
    pub(crate) failures: u64,
    /// Events that were dropped, or whose number alone was handed over.
    pub(crate) omitted: u64,
}

/// The first line of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Always "batch".
    pub(crate) event: String,
    pub(crate) handler: String,
    pub(crate) host: String,
    /// The same for each attempt to hand over the same events.
    pub(crate) key: String,
    /// What has happened, in a few words.
    pub(crate) summary: String,
    /// The number of events; the last `omitted` of them have no line.
    pub(crate) events: u64,
    pub(crate) omitted: u64,
    /// It was made up by `wardenctl notify test`.
    #[serde(default)]
    pub(crate) test: bool,
    /// `[settings]` of the handler's file.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
}
