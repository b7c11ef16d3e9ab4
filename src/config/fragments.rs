//! One configuration file, as written: strict keys, every value with its place.
//!
//! The first of three steps (fragments → inputs → settings). A key that nobody knows is an
//! error with its line: a misspelt `maxretries` that is silently ignored would leave a server
//! open.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::table::JailTable;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Fragment {
    #[serde(default)]
    pub(crate) default: JailTable,
    #[serde(default)]
    pub(crate) jail: BTreeMap<Spanned<String>, JailTable>,
}

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
    /// Told in a better sentence than serde has.
    Other(serde::de::IgnoredAny),
}

/// A span of time: seconds, or words as in systemd.time(7).
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "this is not a valid time span; write whole seconds, or words such as \"10min\"")]
pub(crate) enum Time {
    Seconds(i64),
    Words(String),
}
