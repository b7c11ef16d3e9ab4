//! What a value is written as, where it may be one of several things.

use serde::Deserialize;

/// On, off, or on for so long.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "this is neither true nor false nor a span of time; write it as \"10min\"")]
pub(crate) enum Switch {
    Is(bool),
    For(Time),
}

/// All ports, those of the service, or a list of services and ports.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ports {
    Word(String),
    List(Vec<String>),
    /// Reported in a better sentence than serde's.
    Other(serde::de::IgnoredAny),
}

/// A span of time: seconds, or words as in systemd.time(7).
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "this is not a valid time span; write whole seconds, or words such as \"10min\"")]
pub(crate) enum Time {
    Seconds(i64),
    Words(String),
}
