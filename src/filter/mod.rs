//! Filters: which records to read, and what their messages mean.
//!
//! A filter file ([`file`]) becomes a [`Filter`]: for each rule an anchored pattern
//! ([`pattern`]), for all of them one set automaton that turns most messages away in a single
//! pass. A record goes in, a [`Sighting`] comes out: this rule, that address, this user, that
//! session. What follows from it is the business of [`crate::session`] and [`crate::jail`].
//!
//! A rule whose address a message could put in two places is refused when the file is loaded
//! ([`proof`]), so no filter that loads can be talked into naming somebody else.

mod address;
mod examples;
mod file;
mod pattern;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, path::Path};

use regex::bytes::{Captures, Regex, RegexSet, RegexSetBuilder};

pub use self::file::Counts;
pub(crate) use self::file::line_of;
use self::{
    file::{FilterFile, RuleTable},
    pattern::Pattern,
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
    set: RegexSet,
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
}

/// One rule of a filter.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique in the filter.
    pub name: String,
    /// What a jail may choose to count.
    pub class: String,
    /// What its messages say.
    pub counts: Counts,
    /// Its messages are the last of their session.
    pub ends_session: bool,
    /// Its messages belong to no session.
    pub standalone: bool,
    /// Index of the attempt that it shares with other rules, see [`RuleTable::attempt`].
    pub(crate) attempt: Option<usize>,
    regex: Regex,
    attacker_first: bool,
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
    /// Reads and checks the text of a filter file; `path` is for messages only. Field names are
    /// added to `fields`.
    ///
    /// # Errors
    /// The first mistake, as file:line and a sentence with the mend.
    pub fn compile(name: &str, path: &Path, text: &str, fields: &mut Fields) -> Result<Self, FilterError> {
        let file: FilterFile = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            error_at(path, text, at, format!("{}.", error.message().replace('\n', " ")))
        })?;
        let filter = Self::resolve(name, path, text, &file, fields)?;
        filter.run_examples(path, text, &file)?;
        Ok(filter)
    }

    fn resolve(
        name: &str,
        path: &Path,
        text: &str,
        file: &FilterFile,
        fields: &mut Fields,
    ) -> Result<Self, FilterError> {
        let fail = |at: usize, what: String| error_at(path, text, at, what);
        let records =
            RecordMatch::new(file.records.get_ref(), fields).map_err(|what| fail(file.records.span().start, what))?;
        let modes: Vec<(String, Vec<String>)> = file.modes.get_ref().clone().into_iter().collect();
        let mut attempts: Vec<String> = Vec::new();
        let mut rules: Vec<Rule> = Vec::with_capacity(file.rules.len());
        let mut expressions = Vec::with_capacity(file.rules.len());
        for table in &file.rules {
            let at = table.name.span().start;
            if rules.iter().any(|rule| rule.name == *table.name.get_ref()) {
                return Err(fail(
                    at,
                    format!("there is a rule '{}' already; give this one another name.", table.name.get_ref()),
                ));
            }
            if !modes.iter().any(|(_, classes)| classes.contains(table.class.get_ref())) {
                return Err(fail(
                    table.class.span().start,
                    format!(
                        "no mode counts the class '{}'; name it in [modes] or use one of its classes.",
                        table.class.get_ref()
                    ),
                ));
            }
            let (rule, expression) = Rule::new(table, &mut attempts).map_err(|what| {
                fail(table.pattern.span().start, format!("the pattern of rule '{}' {what}.", table.name.get_ref()))
            })?;
            rules.push(rule);
            expressions.push(expression);
        }
        if rules.is_empty() {
            return Err(fail(0, "the filter has no [[rule]], so it would never see anything.".to_owned()));
        }
        let set = RegexSetBuilder::new(&expressions)
            .unicode(false)
            .size_limit(pattern::SIZE_LIMIT * 16)
            .build()
            .map_err(|error| fail(0, format!("the patterns can't be compiled together: {error}.")))?;
        let session = file.message.session.iter().map(|name| fields.intern(name)).collect();
        let pid = file.message.session.iter().any(|name| name == "_PID").then(|| fields.intern("_PID"));
        Ok(Self {
            name: name.to_owned(),
            description: file.description.clone(),
            records,
            session,
            pid,
            truncated_at: file.message.truncated_at,
            modes,
            set,
            rules,
        })
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

    /// All rules, in the file's order.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The rule of an index that this filter gave out.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0]
    }

    /// Reads a record: nothing if it is not this filter's, or if no rule knows its message.
    pub fn read<'r>(&self, record: &'r Record) -> Option<Sighting<'r>> {
        if !self.records.matches(record) {
            return None;
        }
        let message = record.message();
        let (rule, captures) = self.find(message)?;
        let read = self.captured(rule, &captures, message.len());
        let session = if self.rule(rule).standalone { None } else { self.session_key(record, read.pid) };
        Some(Sighting { rule, address: read.address, user: read.user, session })
    }

    /// The first rule, in the file's order, that matches a message.
    fn find<'m>(&self, message: &'m [u8]) -> Option<(RuleId, Captures<'m>)> {
        let first = self.set.matches(message).into_iter().next()?;
        Some((RuleId(first), self.rules[first].regex.captures(message)?))
    }

    fn captured<'m>(&self, rule: RuleId, captures: &Captures<'m>, length: usize) -> Captured<'m> {
        let cut = self.truncated_at.is_some_and(|limit| length >= limit);
        let address = captures
            .name(pattern::ADDR)
            .filter(|_| !(cut && self.rule(rule).attacker_first))
            .and_then(|token| address::parse(token.as_bytes()));
        Captured {
            address,
            user: captures.name(pattern::USER).map(|token| token.as_bytes()),
            pid: captures.name(pattern::PID).map(|token| token.as_bytes()),
        }
    }

    /// The session of a record; `pid` stands in for `_PID` where a message speaks of another
    /// process than the one that wrote it.
    fn session_key(&self, record: &Record, pid: Option<&[u8]>) -> Option<SessionKey> {
        if self.session.is_empty() {
            return None;
        }
        let mut key = String::with_capacity(48);
        for field in &self.session {
            let value = match pid {
                Some(pid) if Some(*field) == self.pid => pid,
                _ => record.get(*field)?,
            };
            if !key.is_empty() {
                key.push('/');
            }
            key.push_str(&String::from_utf8_lossy(value));
        }
        Some(key.into())
    }
}

/// What the tokens of a rule took from a message.
struct Captured<'m> {
    address: Option<IpAddr>,
    user: Option<&'m [u8]>,
    pid: Option<&'m [u8]>,
}

impl Rule {
    fn new(table: &RuleTable, attempts: &mut Vec<String>) -> Result<(Self, String), String> {
        let pattern = Pattern::expand(table.pattern.get_ref())?;
        let regex = pattern.compile()?;
        if table.standalone && matches!(table.counts, Counts::Failure) && !pattern.has_address {
            return Err("has no <ADDR>, and a standalone failure has no session to take it from".to_owned());
        }
        let attempt = table.attempt.as_ref().map(|word| {
            attempts.iter().position(|known| known == word).unwrap_or_else(|| {
                attempts.push(word.clone());
                attempts.len() - 1
            })
        });
        let rule = Self {
            name: table.name.get_ref().clone(),
            class: table.class.get_ref().clone(),
            counts: table.counts,
            ends_session: table.ends_session,
            standalone: table.standalone,
            attempt,
            regex,
            attacker_first: pattern.attacker_first,
        };
        Ok((rule, pattern.expression))
    }
}

impl RecordMatch {
    fn new(table: &std::collections::BTreeMap<String, Vec<String>>, fields: &mut Fields) -> Result<Self, String> {
        let mut matches = Self { fields: Vec::new(), units: Vec::new() };
        for (name, values) in table {
            if values.is_empty() {
                return Err(format!("{name} has no value, so no record could match; name one or drop the line."));
            }
            if name == "units" {
                matches.units.clone_from(values);
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

    /// Whether a record is one of these.
    pub fn matches(&self, record: &Record) -> bool {
        self.fields.iter().all(|(_, field, values)| {
            record.get(*field).is_some_and(|value| values.iter().any(|wanted| wanted.as_bytes() == value))
        }) && match record.get(FieldId::UNIT) {
            Some(unit) if !self.units.is_empty() => self.units.iter().any(|glob| glob_matches(glob.as_bytes(), unit)),
            _ => true,
        }
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

fn error_at(path: &Path, text: &str, at: usize, what: String) -> FilterError {
    FilterError { file: path.display().to_string(), line: line_of(text, at), what }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}
