//! A filter file, as written: TOML with strict keys, each value with its place in the text.
//!
//! `/usr/lib/wardend/filters/NAME.toml`, shadowed whole by `/etc/wardend/filters/NAME.toml`.
//! This is the raw half of raw-then-resolved: it says what the file says. What it means, and
//! whether it can be used, is [`super::Filter::compile`].

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FilterFile {
    #[serde(default)]
    pub(crate) description: String,
    /// Field name → values; `units` is no field but the list of unit names.
    pub(crate) records: Spanned<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    pub(crate) message: MessageTable,
    /// Mode name → classes that a jail in this mode counts.
    pub(crate) modes: Spanned<BTreeMap<String, Vec<String>>>,
    #[serde(rename = "rule", default)]
    pub(crate) rules: Vec<RuleTable>,
}

/// `[message]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct MessageTable {
    /// The fields whose values together name one connection.
    #[serde(default)]
    pub(crate) session: Vec<String>,
    /// The length at which the program cuts its messages off.
    pub(crate) truncated_at: Option<usize>,
}

/// `[[rule]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RuleTable {
    pub(crate) name: Spanned<String>,
    pub(crate) class: Spanned<String>,
    pub(crate) counts: Counts,
    pub(crate) pattern: Spanned<String>,
    /// Rules with the same word here are two views of the same attempts: of their counts in a
    /// session only the largest counts.
    pub(crate) attempt: Option<String>,
    /// The message is the last one of its session.
    #[serde(default)]
    pub(crate) ends_session: bool,
    /// The message belongs to no session: the listener wrote it.
    #[serde(default)]
    pub(crate) standalone: bool,
    #[serde(rename = "match", default)]
    pub(crate) matches: Vec<Spanned<Example>>,
    #[serde(default)]
    pub(crate) ignore: Vec<Spanned<String>>,
}

/// What a message says about the session that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// One failed attempt, now.
    Failure,
    /// One failed attempt, if the session ends without a counted one and without a success.
    Evidence,
    /// The client got in: evidence is dropped, and the session's failures are forgiven.
    Success,
    /// The last failure of the session was none: the credential was right.
    Pardon,
    /// Nothing; known, and of no weight.
    Nothing,
}

/// One line that a rule must match.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example {
    pub(crate) message: String,
    pub(crate) address: Option<String>,
    pub(crate) user: Option<String>,
}

/// The line, from 1, on which the byte `at` of `text` stands.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}
