//! Filters: which records to read, and what their messages mean.
//!
//! A filter file ([`file`]) becomes a [`Filter`] ([`load`]): for each rule an anchored pattern
//! ([`pattern`]), and for all of them a table of their beginnings that turns most messages away
//! ([`dispatch`]). A record goes in, a [`Sighting`] comes out: this rule, that address, this user, that
//! session. What follows from it is the business of [`crate::core::session`] and [`crate::core::jail`].
//!
//! A rule whose address a message could put in two places is refused when the file is loaded
//! ([`proof`]), so no filter that loads can be talked into naming somebody else.

mod address;
mod checked;
mod dispatch;
mod examples;
mod explain;
mod file;
mod framing;
mod load;
mod pairs;
mod pattern;
mod programs;
mod proof;
mod records;
mod rule;
#[cfg(test)]
mod tests;
mod tokens;
mod two_ended;
mod wanted;

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

pub use self::file::FilterText;
use self::{
    dispatch::Dispatch,
    records::Kinds,
    rule::Way,
    tokens::{Claimed, ClientText, Tokens},
};
pub(crate) use self::{
    explain::{Nearest, Reading, Why, Withheld},
    file::{Condition, Counts},
    records::{COMMON, Claim, RecordMatch, Records, Stranger},
    rule::{Rule, RuleId},
    wanted::{Wanted, Wants},
};
use crate::core::{
    record::{FieldId, Fields, Record},
    scope::Port,
};

/// The most failures that one record can report.
const MOST_TIMES: u32 = 100;

/// A mistake in a filter file: where, what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct FilterError {
    /// The file's path, as given.
    pub(crate) file: String,
    /// The line, from 1.
    pub line: usize,
    /// The sentence.
    pub what: String,
}

/// The name of the filter that stands for the bans of other jails.
pub(crate) const BANS: &str = "bans";

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    /// Its name: the file's, without `.toml`.
    pub(crate) name: String,
    /// One line for people.
    pub(crate) description: String,
    /// The ports of the service.
    pub(crate) ports: Vec<Port>,
    /// How to make the program log to the journal, if it does not do so by default.
    pub(crate) setup: Option<String>,
    /// The text files that the program writes by itself.
    pub(crate) files: Vec<PathBuf>,
    /// The number of failures that lead to a ban, for the modes that need another than usual.
    maxretry: BTreeMap<String, u32>,
    /// Which records it reads.
    pub(crate) records: Records,
    /// The users by whose names it selects, with their numbers; none where there is no such user.
    users: BTreeMap<String, Option<u32>>,
    session: Vec<FieldId>,
    pid: Option<FieldId>,
    clients: ClientText,
    claims: Vec<(Claimed, Vec<std::sync::Arc<str>>)>,
    condition: Option<(Condition, FilterError)>,
    forgeable_lines: bool,
    signs: Vec<Box<[u8]>>,
    modes: Vec<(String, Vec<String>)>,
    dispatch: Dispatch,
    rules: Vec<Rule>,
}

/// What a filter reads in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting<'r> {
    /// The rule that matched.
    pub(crate) rule: RuleId,
    /// The address that the message names, if it names one that can be trusted.
    pub address: Option<IpAddr>,
    /// The user name as the program printed it.
    pub(crate) user: Option<&'r [u8]>,
    /// The client's port.
    pub(crate) port: Option<u16>,
    /// The number of failures that the message reports.
    pub(crate) times: u32,
    /// The session that the record belongs to, if the filter knows sessions and the record has
    /// the fields of the key.
    pub(crate) session: Option<SessionKey>,
    /// A client's text may have made it, line break and all: it is a line, and the program doesn't
    /// escape them.
    pub(crate) forgeable: bool,
    /// Whatever a client sent stands behind the address.
    pub(crate) address_first: bool,
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
    pub(crate) fn mode(&self, mode: &str) -> Option<&[String]> {
        self.modes.iter().find(|(name, _)| name == mode).map(|(_, classes)| classes.as_slice())
    }

    /// The modes' names, for messages.
    pub(crate) fn mode_names(&self) -> impl Iterator<Item = &str> {
        self.modes.iter().map(|(name, _)| name.as_str())
    }

    /// Whether some mode knows the class.
    pub(crate) fn has_class(&self, class: &str) -> bool {
        self.modes.iter().any(|(_, classes)| classes.iter().any(|known| known == class))
    }

    /// The filter of a jail that has none: it reads no record.
    pub(crate) fn none() -> Self {
        Self {
            name: String::new(),
            description: "No records are read.".to_owned(),
            ports: Vec::new(),
            setup: None,
            files: Vec::new(),
            maxretry: BTreeMap::new(),
            records: Records::none(),
            users: BTreeMap::new(),
            session: Vec::new(),
            pid: None,
            clients: ClientText::default(),
            claims: Vec::new(),
            condition: None,
            forgeable_lines: false,
            signs: Vec::new(),
            modes: Vec::new(),
            dispatch: Dispatch::new(&[]),
            rules: Vec::new(),
        }
    }

    /// The filter of a jail that counts bans: it reads no record. Its classes are the origins of bans.
    pub(crate) fn bans() -> Self {
        let classes = |origins: &[&str]| origins.iter().map(|origin| (*origin).to_owned()).collect();
        Self {
            name: BANS.to_owned(),
            description: "The bans of all other jails.".to_owned(),
            modes: vec![
                ("all".to_owned(), classes(&["jail", "admin", "import", "fleet", "other"])),
                ("normal".to_owned(), classes(&["jail"])),
            ],
            ..Self::none()
        }
    }

    /// The number of failures that lead to a ban in this mode, if the filter says so.
    pub(crate) fn maxretry(&self, mode: &str) -> Option<u32> {
        self.maxretry.get(mode).copied()
    }

    /// Looks up the users that the filter names: what they are on this machine, the core can't know. Until
    /// then, and where there is no such user, nobody's records are theirs.
    pub(crate) fn know_users(&mut self, number: impl Fn(&str) -> Option<u32>) {
        self.users = self.records.know_users(number);
    }

    /// The users that the filter names, with their numbers, where there is such a user.
    pub(crate) fn users(&self) -> &BTreeMap<String, Option<u32>> {
        &self.users
    }

    /// Whether it reads no records.
    pub(crate) fn is_none(&self) -> bool {
        self.records.is_none()
    }

    /// Whether it stands for the bans of other jails.
    pub(crate) fn counts_bans(&self) -> bool {
        self.is_none() && self.name == BANS
    }

    /// What the filter says of its program, and the proof believes: the end of a sentence that begins with the
    /// program; where that is of one place in a message, the token, and the rules that have it.
    pub(crate) fn claims(&self) -> impl Iterator<Item = (&str, &str, &[std::sync::Arc<str>])> {
        self.claims.iter().map(|(claim, rules)| (claim.token.as_str(), claim.what.as_str(), rules.as_slice()))
    }

    /// What must be so on this machine, or the filter can be fooled; and the error if it is not so.
    pub(crate) fn condition(&self) -> Option<(&Condition, &FilterError)> {
        self.condition.as_ref().map(|(condition, otherwise)| (condition, otherwise))
    }

    /// All rules, in the order in which they are tried.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The rule of an index that this filter gave out.
    pub(crate) fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0]
    }

    /// The units that write its records: names, and globs.
    pub(crate) fn units(&self) -> Vec<&str> {
        self.records.units().map(String::as_str).collect()
    }

    /// Whether a message shows that the service is used, without being the service's own.
    pub(crate) fn is_sign(&self, message: &[u8]) -> bool {
        self.signs.iter().any(|sign| message.starts_with(sign))
    }

    /// Whether it says how it shows that the service is used.
    pub(crate) fn has_signs(&self) -> bool {
        !self.signs.is_empty()
    }

    /// Whether some rule reads the message as an attempt.
    pub(crate) fn reads_attempt(&self, message: &[u8]) -> bool {
        self.find(message, Kinds::ALL).is_some_and(|(rule, _)| self.rule(rule).counts.has_class())
    }

    /// Whether lines of the program's standard output need to be seen, whatever they say.
    pub(crate) fn has_forgeable_lines(&self) -> bool {
        self.forgeable_lines
    }

    /// Whether a client's text may have made the record, line break and all.
    pub(crate) fn is_forgeable(&self, record: &Record) -> bool {
        self.forgeable_lines && record.is_line()
    }

    /// Reads a record, whoever wrote it: nothing if no rule knows its message. That it may be this
    /// filter's is for [`RecordMatch::claim`] to say.
    pub fn read<'r>(&self, record: &'r Record) -> Option<Sighting<'r>> {
        let Found { id, tokens, length, altered } = self.find_in(record)?;
        let rule = self.rule(id);
        let forgeable = self.is_forgeable(record);
        // What a forged line says of other processes, or of nobody's session, can't be checked.
        if forgeable && (rule.standalone || tokens.pid.is_some()) {
            return None;
        }
        let address = self.address(id, &tokens, length, altered);
        let session = if rule.standalone { None } else { self.session_key(record, &tokens) };
        Some(Sighting {
            rule: id,
            address,
            user: tokens.user,
            port: tokens.port(),
            times: tokens.times().saturating_mul(rule.weight).min(MOST_TIMES),
            session,
            forgeable,
            address_first: !rule.attacker_first,
        })
    }

    /// The rule that reads a record's message as it was sent, or without the line break with which some
    /// programs end all of theirs: of these, the one that is tried first, as if the break had not been there. Where
    /// no rule reads either, the one that reads what journald has stored.
    fn find_in<'r>(&self, record: &'r Record) -> Option<Found<'r>> {
        let kinds = self.records.of(record);
        let message = record.message();
        let Some(sent) = record.sent() else {
            let (length, altered) = (message.len(), record.is_altered());
            return self.find(message, kinds).map(|(id, tokens)| Found { id, tokens, length, altered });
        };
        let line = sent.strip_suffix(b"\n").and_then(|line| self.find(line, kinds));
        let before = line.as_ref().map_or(self.rules.len(), |(id, _)| id.0);
        let found = self.find_before(before, sent, kinds).or(line).map(|found| (found, false));
        let ((id, tokens), altered) = found.or_else(|| Some((self.find(message, kinds)?, true)))?;
        Some(Found { id, tokens, length: sent.len(), altered })
    }

    /// The rule that reads a message in a record of one of these kinds.
    fn find<'m>(&self, message: &'m [u8], kinds: Kinds) -> Option<(RuleId, Tokens<'m>)> {
        self.find_before(self.rules.len(), message, kinds)
    }

    /// The same, among the rules that are tried before this one.
    fn find_before<'m>(&self, end: usize, message: &'m [u8], kinds: Kinds) -> Option<(RuleId, Tokens<'m>)> {
        let candidates = self.dispatch.candidates(message).take_while(|rule| *rule < end);
        let mut candidates = candidates.filter(|rule| self.rules[*rule].kinds.meet(kinds));
        candidates.find_map(|rule| Some((RuleId(rule), self.rules[rule].read(message)?)))
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
    /// something, and its length is what counts. A record of which no rule reads the original counts
    /// as cut off as well.
    fn may_be_cut(&self, rule: RuleId, length: usize, altered: bool) -> bool {
        let rule = self.rule(rule);
        rule.attacker_first && (altered || rule.truncated_at.is_some_and(|limit| length >= limit))
    }

    /// The process that a record is from, where a process is a session.
    pub(crate) fn process(&self, record: &Record) -> Option<u32> {
        str::from_utf8(record.get(self.pid?)?).ok()?.parse().ok()
    }

    /// The session of a record. `<PID>` stands in for `_PID` where a message speaks of another
    /// process than the one that wrote it; `<SESSION>` tells the sessions of one process apart.
    fn session_key(&self, record: &Record, tokens: &Tokens<'_>) -> Option<SessionKey> {
        if self.session.is_empty() {
            return None;
        }
        let values = self.session.iter().map(|field| match tokens.pid {
            Some(pid) if Some(*field) == self.pid => Some(pid),
            _ => record.get(*field),
        });
        let values = values.chain(tokens.session.map(Some));
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

/// How a rule reads a record.
struct Found<'r> {
    id: RuleId,
    tokens: Tokens<'r>,
    /// The length of the message as it was sent.
    length: usize,
    /// What was read is not all that was sent.
    altered: bool,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}
