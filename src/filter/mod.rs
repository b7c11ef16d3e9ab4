//! Filters: which records to read, and what their messages mean.
//!
//! A filter file ([`file`]) becomes a [`Filter`] ([`load`]): for each rule an anchored pattern
//! ([`pattern`]), and for all of them a table of their beginnings that turns most messages away
//! ([`dispatch`]). A record goes in, a [`Sighting`] comes out: this rule, that address, this user, that
//! session. What follows from it is the business of [`crate::session`] and [`crate::jail`].
//!
//! A rule whose address a message could put in two places is refused when the file is loaded
//! ([`proof`]), so no filter that loads can be talked into naming somebody else.

mod address;
mod dispatch;
mod examples;
mod explain;
mod file;
mod halves;
mod load;
mod pattern;
mod proof;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr};

use regex::bytes::{Captures, Regex};

pub use self::file::{Counts, FilterText};
use self::{dispatch::Dispatch, halves::Halves};
pub(crate) use self::{
    explain::{Nearest, Reading, Why, Withheld},
    file::line_of,
};
use crate::record::{FieldId, Fields, Record};

/// A mistake in a filter file: where, what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct FilterError {
    /// The file's path, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The sentence.
    pub what: String,
}

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    /// Its name: the file's, without `.toml`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Which records it reads.
    pub records: RecordMatch,
    session: Vec<FieldId>,
    pid: Option<FieldId>,
    truncated_at: Option<usize>,
    modes: Vec<(String, Vec<String>)>,
    dispatch: Dispatch,
    rules: Vec<Rule>,
}

/// Which journal records a filter reads: fields that all must hold, each with its values, and
/// the units that may have written them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMatch {
    /// Field name, its place in a record, and the values of which it must hold one.
    pub fields: Vec<(String, FieldId, Vec<String>)>,
    /// Globs for `_SYSTEMD_UNIT`. journald often finds no unit for a process that has gone
    /// already (systemd issue 2913), so a record without the field passes; one with another
    /// unit does not.
    pub units: Vec<String>,
    /// Fields that must hold the same value. One may be missing, but only where the unit vouches
    /// for the record.
    pub same: Vec<FieldId>,
}

/// One rule of a filter.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique in the filter.
    pub name: std::sync::Arc<str>,
    /// What a jail may choose to count; only failures and evidence have one.
    pub class: Option<String>,
    /// What its messages say.
    pub counts: Counts,
    /// Its messages are the last of their session.
    pub ends_session: bool,
    /// Its messages belong to no session.
    pub standalone: bool,
    /// Index of the attempt that it shares with other rules, see [`file::RuleTable::attempt`].
    pub(crate) attempt: Option<usize>,
    pattern: String,
    regex: Regex,
    /// The same, read from both ends.
    halves: Option<Halves>,
    attacker_first: bool,
    truncated_at: Option<usize>,
}

/// The index of a rule in its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(usize);

impl RuleId {
    /// Where the rule stands in [`Filter::rules`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// What the engine will want to know of a record, as far as the beginning of its message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wants {
    /// When it was written: no rule reads it.
    Nothing,
    /// The fields that the filters ask for.
    Fields,
    /// These, and its cursor: it may show a failure.
    Evidence,
}

/// What a filter reads in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting<'r> {
    /// The rule that matched.
    pub rule: RuleId,
    /// The address that the message names, if it names one that can be trusted.
    pub address: Option<IpAddr>,
    /// The user name as the program printed it.
    pub user: Option<&'r [u8]>,
    /// The session that the record belongs to, if the filter knows sessions and the record has
    /// the fields of the key.
    pub session: Option<SessionKey>,
}

/// The name of a session: the values of the filter's key fields.
pub(crate) type SessionKey = Box<str>;

impl Filter {
    /// Reads, checks and proves a filter: the text of its file, and then those of its drop-ins in
    /// their order. Field names are added to `fields`.
    ///
    /// # Errors
    /// The first mistake, as file:line and a sentence with the mend.
    pub fn load(name: &str, texts: &[FilterText], fields: &mut Fields) -> Result<Self, FilterError> {
        load::load(name, texts, fields)
    }

    /// The classes that a mode counts.
    pub fn mode(&self, mode: &str) -> Option<&[String]> {
        self.modes.iter().find(|(name, _)| name == mode).map(|(_, classes)| classes.as_slice())
    }

    /// The modes' names, for messages.
    pub fn mode_names(&self) -> impl Iterator<Item = &str> {
        self.modes.iter().map(|(name, _)| name.as_str())
    }

    /// Whether some mode knows the class.
    pub fn has_class(&self, class: &str) -> bool {
        self.modes.iter().any(|(_, classes)| classes.iter().any(|known| known == class))
    }

    /// All rules, in the order in which they are tried.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The rule of an index that this filter gave out.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0]
    }

    /// What is wanted of a record with this message.
    pub(crate) fn wants(&self, message: &[u8]) -> Wants {
        let of = |rule: usize| match self.rules[rule].counts {
            Counts::Failure | Counts::Evidence => Wants::Evidence,
            Counts::Success | Counts::Pardon | Counts::Nothing => Wants::Fields,
        };
        self.dispatch.candidates(message).map(of).max().unwrap_or(Wants::Nothing)
    }

    /// Reads a record: nothing if it is not this filter's, or if no rule knows its message.
    pub fn read<'r>(&self, record: &'r Record) -> Option<Sighting<'r>> {
        let message = record.message();
        // Most records are this filter's by the journal's matches, and most messages no rule's.
        let (rule, tokens) = self.find(message)?;
        if !self.records.matches(record) {
            return None;
        }
        let address = self.address(rule, &tokens, message.len(), record.is_altered());
        let session = if self.rule(rule).standalone { None } else { self.session_key(record, tokens.pid) };
        Some(Sighting { rule, address, user: tokens.user, session })
    }

    /// The rule that reads a message.
    fn find<'m>(&self, message: &'m [u8]) -> Option<(RuleId, Tokens<'m>)> {
        self.dispatch.candidates(message).find_map(|rule| Some((RuleId(rule), self.rules[rule].read(message)?)))
    }

    /// The address that a rule took from a message, if it can be trusted. `altered`: journald has not
    /// stored the message as it was sent.
    fn address(&self, rule: RuleId, tokens: &Tokens<'_>, length: usize, altered: bool) -> Option<IpAddr> {
        tokens.address.filter(|_| !self.may_be_cut(rule, length, altered)).and_then(address::parse)
    }

    /// Whether a message may have lost its end behind attacker text, so that what looks like the
    /// end may be forged.
    ///
    /// A message as long as the program's limit was cut off. And journald strips blanks from the
    /// end: a user name that puts the cut behind a forged end *and a run of blanks* gives a
    /// message below the limit. journald keeps the original in `SYSLOG_RAW` where it changed
    /// something, so such a record counts as cut off as well.
    fn may_be_cut(&self, rule: RuleId, length: usize, altered: bool) -> bool {
        let rule = self.rule(rule);
        let mut limits = [rule.truncated_at, self.truncated_at].into_iter().flatten();
        rule.attacker_first && (altered || limits.any(|limit| length >= limit))
    }

    /// The process that a record is from, where a process is a session.
    pub(crate) fn process(&self, record: &Record) -> Option<u32> {
        str::from_utf8(record.get(self.pid?)?).ok()?.parse().ok()
    }

    /// The session of a record; `pid` stands in for `_PID` where a message speaks of another
    /// process than the one that wrote it.
    fn session_key(&self, record: &Record, pid: Option<&[u8]>) -> Option<SessionKey> {
        if self.session.is_empty() {
            return None;
        }
        let values = self.session.iter().map(|field| match pid {
            Some(pid) if Some(*field) == self.pid => Some(pid),
            _ => record.get(*field),
        });
        let length = values.clone().map(|value| Some(value?.len() + 1)).sum::<Option<usize>>()?;
        let mut key = Vec::with_capacity(length - 1);
        for value in values.flatten() {
            if !key.is_empty() {
                key.push(b'/');
            }
            key.extend_from_slice(value);
        }
        let key = String::from_utf8(key).unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned());
        Some(key.into())
    }
}

/// What the tokens of a rule took from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tokens<'m> {
    address: Option<&'m [u8]>,
    user: Option<&'m [u8]>,
    pid: Option<&'m [u8]>,
}

impl<'m> Tokens<'m> {
    fn of(captures: &Captures<'m>) -> Self {
        let of = |name| captures.name(name).map(|token| token.as_bytes());
        Self { address: of(pattern::ADDR), user: of(pattern::USER), pid: of(pattern::PID) }
    }
}

impl Rule {
    /// What the rule takes from a message, if it matches.
    fn read<'m>(&self, message: &'m [u8]) -> Option<Tokens<'m>> {
        match &self.halves {
            Some(halves) => halves.read(message),
            None => Some(Tokens::of(&self.regex.captures(message)?)),
        }
    }
}

impl RecordMatch {
    fn new(table: &std::collections::BTreeMap<String, Vec<String>>, fields: &mut Fields) -> Result<Self, String> {
        let mut matches = Self { fields: Vec::new(), units: Vec::new(), same: Vec::new() };
        for (name, values) in table {
            if values.is_empty() {
                return Err(format!("{name} has no value, so no record could match; name one or drop the line."));
            }
            if name == "units" {
                matches.units.clone_from(values);
            } else if name == "same" {
                if let Some(odd) = values.iter().find(|value| !is_field_name(value)) {
                    return Err(format!("same holds '{odd}', which is no journal field; name two or more fields."));
                }
                matches.same = values.iter().map(|value| fields.intern(value)).collect();
            } else if is_field_name(name) {
                matches.fields.push((name.clone(), fields.intern(name), values.clone()));
            } else {
                return Err(format!(
                    "'{name}' is no journal field; they are upper case, as in systemd.journal-fields(7)."
                ));
            }
        }
        if !matches.fields.iter().any(|(name, ..)| name.starts_with('_')) {
            return Err(
                "no trusted field (one that begins with '_', such as _UID) is asked for, so any local user could forge records; add one."
                    .to_owned(),
            );
        }
        Ok(matches)
    }

    /// Whether a unit, or one that nobody can name any more, may have written one of these.
    pub(crate) fn may_come_from(&self, unit: &str) -> bool {
        unit.is_empty() || self.units.is_empty() || self.is_unit(unit.as_bytes())
    }

    fn is_unit(&self, unit: &[u8]) -> bool {
        self.units.iter().any(|glob| glob_matches(glob.as_bytes(), unit))
    }

    /// Whether a record is one of these.
    pub fn matches(&self, record: &Record) -> bool {
        self.fields.iter().all(|(_, field, values)| {
            record.get(*field).is_some_and(|value| values.iter().any(|wanted| wanted.as_bytes() == value))
        }) && match record.get(FieldId::UNIT) {
            Some(unit) if !self.units.is_empty() => self.is_unit(unit),
            _ => true,
        } && self.agree(record)
    }

    fn agree(&self, record: &Record) -> bool {
        let mut there = self.same.iter().filter_map(|field| record.get(*field));
        let complete = there.clone().count() == self.same.len();
        let first = there.next();
        there.all(|value| Some(value) == first) && (complete || record.get(FieldId::UNIT).is_some())
    }
}

/// A field name that journald accepts (systemd: `journal_field_valid`).
fn is_field_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 64
        && !bytes[0].is_ascii_digit()
        && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// A glob with `*` only, as unit names need it.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    match glob.iter().position(|byte| *byte == b'*') {
        None => glob == text,
        Some(star) => {
            let (head, tail) = (&glob[..star], &glob[star + 1..]);
            text.starts_with(head) && (head.len()..=text.len()).any(|from| glob_matches(tail, &text[from..]))
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}
