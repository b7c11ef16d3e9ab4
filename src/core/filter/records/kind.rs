//! One kind of records: what they hold, and whose they are.

use std::collections::BTreeMap;

use super::{COMMON, UID, error::RecordsError};
use crate::core::record::{FieldId, Fields, Record};

/// The longest program name in `_COMM`: the kernel cuts it off there.
const COMM_LENGTH: usize = 15;

/// Which journal records a filter reads: fields that all must hold, each with its values, and
/// the units and programs that may have written them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordMatch {
    /// The name of the kind; empty where there is only one.
    pub(crate) name: String,
    /// Field name, its place in a record, and the values of which it must hold one.
    pub(crate) fields: Vec<(String, FieldId, Vec<String>)>,
    /// Globs for `_SYSTEMD_UNIT`.
    pub(crate) units: Vec<String>,
    /// Names of programs, as in `_COMM` and at the end of `_EXE`. What they write is the service's
    /// in whatever unit they run, and what another program writes in one of its units is not.
    pub(crate) programs: Vec<String>,
    /// Fields that must hold the same value. One may be missing, but only where the unit or the
    /// program vouches for the record, or in a line.
    pub(crate) same: Vec<FieldId>,
    /// Lines of standard output are not read, though no field keeps them out: the filter doesn't say how
    /// its program writes them.
    pub(in crate::core::filter) no_lines: bool,
}

/// Whose a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim<'r> {
    /// Not of the kind that the filter reads.
    No,
    /// The service's.
    Ours,
    /// The service's, if its process is: nothing is known of that.
    Perhaps,
    /// Of the kind that the filter reads, but written by somebody else.
    Stranger(Stranger<'r>),
}

impl Claim<'_> {
    /// Greater for records that are more certainly the service's.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::No => 0,
            Self::Stranger(_) => 1,
            Self::Perhaps => 2,
            Self::Ours => 3,
        }
    }
}

/// Why a record that looks like the service's is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger<'r> {
    /// It is from this unit.
    Unit(&'r [u8]),
    /// This program wrote it.
    Program(&'r [u8]),
    /// Fields that must hold the same value do not.
    Differs,
    /// It is a line of standard output, of which the filter says nothing.
    Line,
}

impl RecordMatch {
    pub(in crate::core::filter) fn new(
        kind: &str,
        table: &BTreeMap<String, Vec<String>>,
        fields: &mut Fields,
    ) -> Result<Self, RecordsError> {
        let mut matches = Self {
            name: kind.to_owned(),
            fields: Vec::new(),
            units: Vec::new(),
            programs: Vec::new(),
            same: Vec::new(),
            no_lines: false,
        };
        for (name, values) in table {
            if values.is_empty() {
                return Err(RecordsError::NoValue(name.clone()));
            }
            match name.as_str() {
                "units" => matches.units.clone_from(values),
                "programs" => matches.programs.clone_from(values),
                "same" => {
                    if let Some(odd) = values.iter().find(|value| !is_field_name(value)) {
                        return Err(RecordsError::SameField(odd.clone()));
                    }
                    matches.same = values.iter().map(|value| fields.intern(value)).collect();
                }
                _ if is_field_name(name) => matches.fields.push((name.clone(), fields.intern(name), values.clone())),
                _ => return Err(RecordsError::NotAField(name.clone())),
            }
        }
        if !matches.fields.iter().any(|(name, ..)| name.starts_with('_')) {
            return Err(RecordsError::NothingTrusted);
        }
        matches.check_users()?;
        matches.check_programs()?;
        Ok(matches)
    }

    /// A user is a number or a name.
    fn check_users(&self) -> Result<(), RecordsError> {
        let values = self.fields.iter().filter(|(name, ..)| name == UID).flat_map(|(_, _, values)| values);
        let is_user = |value: &str| match value.as_bytes() {
            [first, rest @ ..] if first.is_ascii_alphabetic() || *first == b'_' => {
                rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
            }
            _ => value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u32>().is_ok(),
        };
        match values.into_iter().find(|value| !is_user(value)) {
            None => Ok(()),
            Some(odd) => Err(RecordsError::User(odd.clone())),
        }
    }

    /// Adds what a drop-in adds.
    pub(super) fn extend(&mut self, table: &BTreeMap<String, Vec<String>>) -> Result<(), RecordsError> {
        for (name, values) in table {
            let list = match name.as_str() {
                "units" if !self.units.is_empty() => &mut self.units,
                "programs" if !self.programs.is_empty() => &mut self.programs,
                "units" | "programs" | "same" => return Err(RecordsError::NoList(name.clone())),
                _ => match self.fields.iter_mut().find(|(known, ..)| known == name) {
                    Some((_, _, list)) => list,
                    None => {
                        let known: Vec<&str> = self.fields.iter().map(|(name, ..)| name.as_str()).collect();
                        return Err(RecordsError::NotAsked { name: name.clone(), known: known.join(", ") });
                    }
                },
            };
            for value in values {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        self.check_users()?;
        self.check_programs()
    }

    /// Anybody can give a program any name, so a name says something only of root's.
    fn check_programs(&self) -> Result<(), RecordsError> {
        if let Some(odd) = self.programs.iter().find(|name| name.contains('/') || name.is_empty()) {
            return Err(RecordsError::Program(odd.clone()));
        }
        let root = |(name, _, values): &(String, FieldId, Vec<String>)| name == "_UID" && *values == ["0"];
        if !self.programs.is_empty() && !self.fields.iter().any(root) {
            return Err(RecordsError::NotRoots);
        }
        Ok(())
    }

    /// Whether a unit, or one that nobody can name any more, may have written one of these.
    pub(crate) fn may_come_from(&self, unit: &str) -> bool {
        let mut present = self.fields.iter().filter(|(_, field, _)| *field == FieldId::UNIT);
        unit.is_empty()
            || present.all(|(_, _, values)| values.iter().any(|glob| glob_matches(glob.as_bytes(), unit.as_bytes())))
                && (self.units.is_empty() || self.is_unit(unit.as_bytes()))
    }

    /// Whether a unit is one of those that may have written these.
    pub(crate) fn is_unit(&self, unit: &[u8]) -> bool {
        self.units.iter().any(|glob| glob_matches(glob.as_bytes(), unit))
    }

    /// Whether all trusted fields hold that the kernel or journald write, whatever the sender says.
    pub(crate) fn is_roots(&self, record: &Record) -> bool {
        self.fields.iter().filter(|(name, ..)| name.starts_with('_')).all(|field| holds(record, field))
    }

    /// The first trusted field whose value is another, with that value.
    pub(crate) fn differing<'r>(&self, record: &'r Record) -> Option<(&str, &'r [u8])> {
        let trusted = self.fields.iter().filter(|(name, ..)| name.starts_with('_'));
        let (name, field, _) = trusted.into_iter().find(|field| !holds(record, field))?;
        Some((name, record.get(*field)?))
    }

    /// The name under which a record was written.
    pub(crate) fn identifier<'r>(&self, record: &'r Record) -> Option<&'r [u8]> {
        let (_, field, _) = self.fields.iter().find(|(name, ..)| name == "SYSLOG_IDENTIFIER")?;
        record.get(*field)
    }

    /// The field that tells best which records are not of this kind, with its values; nothing, if the values
    /// of all fields are globs.
    pub(crate) fn telling(&self) -> Option<(FieldId, &[String])> {
        let whole = |(_, field, values): &&(String, FieldId, Vec<String>)| {
            *field != FieldId::UNIT || values.iter().all(|value| !value.contains('*'))
        };
        let best = self.fields.iter().filter(whole).min_by_key(|(name, ..)| COMMON.contains(&name.as_str()));
        best.map(|(_, field, values)| (*field, values.as_slice()))
    }

    /// Whose a record is.
    pub(crate) fn claim<'r>(&self, record: &'r Record) -> Claim<'r> {
        if !self.fields.iter().all(|field| holds(record, field)) {
            return Claim::No;
        }
        if self.no_lines && record.is_line() {
            return Claim::Stranger(Stranger::Line);
        }
        let claim = match (self.is_program(record), record.get(FieldId::UNIT)) {
            (Some(Err(program)), _) => return Claim::Stranger(Stranger::Program(program)),
            (Some(Ok(())), _) => Claim::Ours,
            (None, Some(unit)) if self.is_unit(unit) => Claim::Ours,
            (None, Some(unit)) if !self.units.is_empty() => return Claim::Stranger(Stranger::Unit(unit)),
            (None, None) if !(self.units.is_empty() && self.programs.is_empty()) => Claim::Perhaps,
            // The fields alone tell.
            (None, _) if self.programs.is_empty() => Claim::Ours,
            (None, _) => Claim::Perhaps,
        };
        let mut there = self.same.iter().filter_map(|field| record.get(*field));
        let complete = there.clone().count() == self.same.len();
        let first = there.next();
        let vouched = record.get(FieldId::UNIT).is_some() || claim == Claim::Ours && !self.programs.is_empty();
        if there.all(|value| Some(value) == first) && (complete || vouched || record.is_line()) {
            claim
        } else {
            Claim::Stranger(Stranger::Differs)
        }
    }

    /// Whether a program of the service wrote a record; else which one did. Nothing, if that is not
    /// known or not asked for.
    fn is_program<'r>(&self, record: &'r Record) -> Option<Result<(), &'r [u8]>> {
        if self.programs.is_empty() {
            return None;
        }
        let name = match (record.get(FieldId::EXE), record.get(FieldId::COMM)) {
            (Some(path), _) => path.rsplit(|byte| *byte == b'/').next().unwrap_or(path),
            (None, Some(name)) => name,
            (None, None) => return None,
        };
        // A program that writes under its own name may be known by that one.
        let identifiers = self.fields.iter().filter(|(field, ..)| field == "SYSLOG_IDENTIFIER");
        let mut known = self.programs.iter().chain(identifiers.flat_map(|(_, _, values)| values));
        let is = |known: &String| {
            let known = known.as_bytes();
            known == name || (name.len() == COMM_LENGTH && known.starts_with(name))
        };
        Some(if known.any(is) { Ok(()) } else { Err(name) })
    }
}

/// Whether a record holds one of a field's values.
fn holds(record: &Record, (_, field, values): &(String, FieldId, Vec<String>)) -> bool {
    let is = |value: &[u8]| match *field {
        // The one field of which the filter need not know the whole value.
        FieldId::UNIT => values.iter().any(|glob| glob_matches(glob.as_bytes(), value)),
        _ => values.iter().any(|wanted| wanted.as_bytes() == value),
    };
    record.get(*field).is_some_and(is)
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
pub(in crate::core::filter) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let mut pieces = glob.split(|byte| *byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        // What comes first leaves most for those that follow.
        let found = if piece.is_empty() { Some(0) } else { rest.windows(piece.len()).position(|it| it == piece) };
        let Some(at) = found else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}
