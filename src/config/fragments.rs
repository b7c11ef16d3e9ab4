//! One configuration file, as written: strict keys, every value with its place.
//!
//! The first of three steps (fragments → inputs → settings). A key that nobody knows is an
//! error with its line: a misspelt `maxretries` that is silently ignored would leave a server
//! open.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Fragment {
    #[serde(default)]
    pub(crate) default: JailTable,
    #[serde(default)]
    pub(crate) jail: BTreeMap<Spanned<String>, JailTable>,
}

/// `[default]`, or `[jail.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct JailTable {
    pub(crate) enabled: Option<Spanned<bool>>,
    pub(crate) filter: Option<Spanned<String>>,
    pub(crate) mode: Option<Spanned<String>>,
    pub(crate) classes: Option<Spanned<Vec<String>>>,
    pub(crate) maxretry: Option<Spanned<i64>>,
    pub(crate) findtime: Option<Spanned<Time>>,
    pub(crate) bantime: Option<Spanned<Time>>,
    pub(crate) bantime_factor: Option<Spanned<i64>>,
    pub(crate) bantime_max: Option<Spanned<Time>>,
    pub(crate) bantime_jitter: Option<Spanned<Time>>,
    pub(crate) forget: Option<Spanned<Time>>,
    pub(crate) ignoreip: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) nat64_prefixes: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) ipv4_prefix: Option<Spanned<i64>>,
    pub(crate) ipv6_prefix: Option<Spanned<i64>>,
    pub(crate) max_sources: Option<Spanned<i64>>,
    pub(crate) subnet_maxretry: Option<Spanned<i64>>,
    pub(crate) subnet_ipv4_prefix: Option<Spanned<i64>>,
    pub(crate) subnet_ipv6_prefix: Option<Spanned<i64>>,
    pub(crate) ipv6_hopping: Option<Spanned<BTreeMap<String, i64>>>,
    pub(crate) spare_logins: Option<Spanned<Switch>>,
    pub(crate) spare_maxretry: Option<Spanned<i64>>,
    pub(crate) cut: Option<Spanned<bool>>,
    pub(crate) low_latency: Option<Spanned<bool>>,
    pub(crate) ports: Option<Spanned<Ports>>,
    pub(crate) action: Option<Spanned<String>>,
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
