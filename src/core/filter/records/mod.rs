//! Which records are a filter's: who wrote them, by what nobody but root can write.
//!
//! The fields say what kind of record it is, and the unit or the program whose it is. journald finds
//! neither for a process that has gone already (systemd issue 2913), which is common of sshd's short
//! ones. Then the record may be the service's, and whether it is, other records of the same process
//! must tell: that is [`crate::core::jail`]'s to remember.

mod error;
mod kind;

use std::collections::BTreeMap;

use self::error::RecordsError;
#[cfg(test)]
pub(super) use self::kind::glob_matches;
pub(crate) use self::kind::{Claim, RecordMatch, Stranger};
use super::file::{KindTable, RecordsTable};
use crate::core::record::{FieldId, Fields, Record};

/// The most kinds of records of a filter.
const MOST_KINDS: usize = 16;

/// Fields in which nearly all entries of a machine are alike.
pub(crate) const COMMON: [&str; 7] =
    ["_TRANSPORT", "_UID", "_GID", "_HOSTNAME", "_MACHINE_ID", "PRIORITY", "SYSLOG_FACILITY"];

/// The field whose values may be names of users.
const UID: &str = "_UID";

/// All kinds of records that a filter reads; a single one without a name, if it names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records(Vec<RecordMatch>);

/// Some of the kinds of records of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(u16);

impl Kinds {
    pub(super) const ALL: Self = Self(u16::MAX);

    /// The kind at this place.
    pub(super) fn only(place: usize) -> Self {
        Self(1 << place)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is one that is in both.
    pub(super) fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Records {
    /// Reads `[records]`.
    pub(super) fn new(table: &RecordsTable, fields: &mut Fields) -> Result<Self, RecordsError> {
        if table.kinds.is_empty() {
            return Ok(Self(vec![RecordMatch::new("", &table.common, fields)?]));
        }
        if table.kinds.len() > MOST_KINDS {
            return Err(RecordsError::TooMany(table.kinds.len()));
        }
        let kind = |(name, own): (&String, &KindTable)| {
            if !is_kind_name(name) {
                return Err(RecordsError::KindName(name.clone()));
            }
            let mut all = table.common.clone();
            all.extend(own.fields.clone());
            RecordMatch::new(name, &all, fields).map_err(|what| RecordsError::OfKind(name.clone(), Box::new(what)))
        };
        table.kinds.iter().map(kind).collect::<Result<_, _>>().map(Self)
    }

    /// No records at all.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Each kind.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &RecordMatch> {
        self.0.iter()
    }

    /// The fields that kinds ask for, with their values.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &(String, FieldId, Vec<String>)> {
        self.0.iter().flat_map(|kind| &kind.fields)
    }

    /// Fields that must hold the same value, of a kind or another.
    pub(crate) fn same(&self) -> impl Iterator<Item = &FieldId> {
        self.0.iter().flat_map(|kind| &kind.same)
    }

    pub(super) fn kinds_mut(&mut self) -> impl Iterator<Item = &mut RecordMatch> {
        self.0.iter_mut()
    }

    /// The kinds of these names; all of them, if none is named. The error has the place of
    /// the name.
    pub(super) fn named<'n>(
        &self,
        names: impl Iterator<Item = (&'n str, usize)>,
    ) -> Result<Kinds, (usize, RecordsError)> {
        let mut kinds: Option<Kinds> = None;
        for (name, at) in names {
            let Some(place) = self.0.iter().position(|kind| kind.name == *name) else {
                let known: Vec<&str> =
                    self.0.iter().map(|kind| kind.name.as_str()).filter(|it| !it.is_empty()).collect();
                let mend = if known.is_empty() {
                    "[records] has no kinds; write a table [records.NAME] for each".to_owned()
                } else {
                    format!("there are: {}", known.join(", "))
                };
                return Err((at, RecordsError::Unknown { name: name.to_owned(), mend }));
            };
            let this = Kinds::only(place);
            kinds = Some(kinds.map_or(this, |others| others.and(this)));
        }
        Ok(kinds.unwrap_or(Kinds::ALL))
    }

    /// Adds what a drop-in adds.
    pub(super) fn extend(&mut self, table: &RecordsTable) -> Result<(), RecordsError> {
        for (name, own) in &table.kinds {
            if own.framing.is_some()
                || own.chunk_size.is_some()
                || own.chunk_mark.is_some()
                || own.client_text.is_some()
                || own.truncated_at.is_some()
            {
                return Err(RecordsError::Framing(name.clone()));
            }
            let Some(kind) = self.0.iter_mut().find(|kind| kind.name == *name) else {
                return Err(RecordsError::NoKind(name.clone()));
            };
            kind.extend(&own.fields)?;
        }
        for (name, values) in &table.common {
            let one = BTreeMap::from([(name.clone(), values.clone())]);
            let results: Vec<Result<(), RecordsError>> = self.0.iter_mut().map(|kind| kind.extend(&one)).collect();
            // What one kind doesn't ask for, another may.
            if results.iter().all(Result::is_err) {
                results.into_iter().collect::<Result<(), _>>()?;
            }
        }
        Ok(())
    }

    /// Puts the numbers of users in the place of their names. Returns the names, with the number if the
    /// user is there. What nobody has is nobody's record.
    pub(super) fn know_users(&mut self, number: impl Fn(&str) -> Option<u32>) -> BTreeMap<String, Option<u32>> {
        let mut known = BTreeMap::new();
        for kind in &mut self.0 {
            for value in kind.fields.iter_mut().filter(|(name, ..)| name == UID).flat_map(|(_, _, values)| values) {
                if value.bytes().all(|byte| byte.is_ascii_digit()) {
                    continue;
                }
                let found = number(value);
                known.insert(value.clone(), found);
                if let Some(number) = found {
                    *value = number.to_string();
                }
            }
        }
        known
    }

    /// Globs for the units that may write these.
    pub(crate) fn units(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|kind| {
            let present = kind.fields.iter().filter(|(_, field, _)| *field == FieldId::UNIT);
            kind.units.iter().chain(present.flat_map(|(_, _, values)| values))
        })
    }

    /// Whether a unit, or one that nobody can name any more, may have written one of these.
    pub(crate) fn may_come_from(&self, unit: &str) -> bool {
        self.0.iter().any(|kind| kind.may_come_from(unit))
    }

    /// Whether a unit is one of those that may have written these.
    pub(crate) fn is_unit(&self, unit: &[u8]) -> bool {
        self.0.iter().any(|kind| kind.is_unit(unit))
    }

    /// Whether all trusted fields of a kind hold that the kernel or journald write.
    pub(crate) fn is_roots(&self, record: &Record) -> bool {
        self.0.iter().any(|kind| kind.is_roots(record))
    }

    /// The first trusted field whose value is another than that of every kind, with that value.
    pub(crate) fn differing<'r>(&'r self, record: &'r Record) -> Option<(&'r str, &'r [u8])> {
        self.0.first()?.differing(record)
    }

    /// The name under which a record was written.
    pub(crate) fn identifier<'r>(&self, record: &'r Record) -> Option<&'r [u8]> {
        self.0.iter().find_map(|kind| kind.identifier(record))
    }

    /// Whether a record is one of these, as far as the record itself shows.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        matches!(self.claim(record), Claim::Ours | Claim::Perhaps)
    }

    /// Whose a record is: the best that a kind has to say of it.
    pub(crate) fn claim<'r>(&self, record: &'r Record) -> Claim<'r> {
        self.0.iter().map(|kind| kind.claim(record)).max_by_key(Claim::rank).unwrap_or(Claim::No)
    }

    /// The kinds that a record is of. All of them, if nobody's record is read: what it would mean is asked.
    pub(super) fn of(&self, record: &Record) -> Kinds {
        let [_, _, ..] = self.0.as_slice() else { return Kinds::ALL };
        let ranks: Vec<u8> = self.0.iter().map(|kind| kind.claim(record).rank()).collect();
        // Where a kind is certain, a rule of one that is not has no say.
        let best = ranks.iter().copied().max().unwrap_or_default();
        if best < Claim::Perhaps.rank() {
            return Kinds::ALL;
        }
        let places = ranks.iter().enumerate().filter(|(_, rank)| **rank == best);
        places.map(|(place, _)| Kinds::only(place)).reduce(Kinds::and).unwrap_or(Kinds::ALL)
    }
}

/// A name for a kind of records.
fn is_kind_name(name: &str) -> bool {
    !name.is_empty()
        && !["units", "programs", "same"].contains(&name)
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests;
