//! A rule, ready to read messages.

use regex::bytes::Regex;

use super::{file::Counts, records::Kinds, tokens::Tokens, two_ended::TwoEnded};

/// One rule of a filter.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub(crate) struct Rule {
    /// Its name, unique in the filter.
    pub(crate) name: std::sync::Arc<str>,
    /// What a jail may choose to count; only failures and evidence have one.
    pub(crate) class: Option<String>,
    /// What its messages say.
    pub(crate) counts: Counts,
    /// Its messages are the first of their session.
    pub(crate) begins_session: bool,
    /// Its messages are the last of their session.
    pub(crate) ends_session: bool,
    /// Its messages belong to no session.
    pub(crate) standalone: bool,
    /// Its messages may end a connection on which somebody has logged in.
    pub(crate) after_login: bool,
    /// Its messages say that the program gave the session up, whatever it was doing.
    pub(crate) gives_up: bool,
    /// Index of the attempt that it shares with other rules, see [`super::file::RuleTable::attempt`].
    pub(crate) attempt: Option<usize>,
    /// The number of failures that each of its messages counts as.
    pub(super) weight: u32,
    pub(super) pattern: String,
    pub(super) way: Way,
    pub(super) attacker_first: bool,
    pub(super) truncated_at: Option<usize>,
    /// The records that it reads.
    pub(super) kinds: Kinds,
}

/// How a pattern reads a message.
#[derive(Debug)]
pub(super) enum Way {
    /// From both ends.
    TwoEnded(TwoEnded),
    /// As a whole.
    Whole(Regex),
}

/// The index of a rule in its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuleId(pub(super) usize);

impl RuleId {
    /// Where the rule stands in [`super::Filter::rules`].
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl Rule {
    /// What the rule takes from a message, if it matches.
    pub(super) fn read<'m>(&self, message: &'m [u8]) -> Option<Tokens<'m>> {
        match &self.way {
            Way::TwoEnded(halves) => halves.read(message),
            Way::Whole(regex) => Some(Tokens::of(regex, &regex.captures(message)?)),
        }
    }
}
