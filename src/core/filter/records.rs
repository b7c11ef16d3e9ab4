//! Which records are a filter's: who wrote them, by what nobody but root can write.
//!
//! The fields say what kind of record it is, and the unit or the program whose it is. journald finds
//! neither for a process that has gone already (systemd issue 2913), which is common of sshd's short
//! ones. Then the record may be the service's, and whether it is, other records of the same process
//! must tell: that is [`crate::core::jail`]'s to remember.

use std::collections::BTreeMap;

use super::file::RecordsTable;
use crate::core::record::{FieldId, Fields, Record};

/// The longest program name in `_COMM`: the kernel cuts it off there.
const COMM_LENGTH: usize = 15;

/// The most kinds of records of a filter.
const MOST_KINDS: usize = 16;

/// The field whose values may be names of users.
const UID: &str = "_UID";

/// All kinds of records that a filter reads; a single one without a name, if it names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records(Vec<RecordMatch>);

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
    /// Reads `[records]`. The error is a sentence.
    pub(super) fn new(table: &RecordsTable, fields: &mut Fields) -> Result<Self, String> {
        if table.kinds.is_empty() {
            return Ok(Self(vec![RecordMatch::new("", &table.common, fields)?]));
        }
        if table.kinds.len() > MOST_KINDS {
            return Err(format!(
                "there are {} kinds of records; name at most {MOST_KINDS}, or make two filters of this one.",
                table.kinds.len()
            ));
        }
        let kind = |(name, own): (&String, &super::file::KindTable)| {
            if !is_kind_name(name) {
                return Err(format!(
                    "[records.{name}]: '{name}' is not a valid name for a kind of records; use lowercase letters, digits \
                     and '-', as in [records.access]."
                ));
            }
            let mut all = table.common.clone();
            all.extend(own.fields.clone());
            RecordMatch::new(name, &all, fields).map_err(|what| format!("[records.{name}]: {what}"))
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
    pub fn kinds(&self) -> impl Iterator<Item = &RecordMatch> {
        self.0.iter()
    }

    /// The fields that kinds ask for, with their values.
    pub fn fields(&self) -> impl Iterator<Item = &(String, FieldId, Vec<String>)> {
        self.0.iter().flat_map(|kind| &kind.fields)
    }

    /// Fields that must hold the same value, of a kind or another.
    pub fn same(&self) -> impl Iterator<Item = &FieldId> {
        self.0.iter().flat_map(|kind| &kind.same)
    }

    pub(super) fn kinds_mut(&mut self) -> impl Iterator<Item = &mut RecordMatch> {
        self.0.iter_mut()
    }

    /// The kinds of these names; all of them, if none is named. The error is a sentence, and the place of
    /// the name.
    pub(super) fn named<'n>(&self, names: impl Iterator<Item = (&'n str, usize)>) -> Result<Kinds, (usize, String)> {
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
                return Err((at, format!("there are no records '{name}'; {mend}.")));
            };
            let this = Kinds::only(place);
            kinds = Some(kinds.map_or(this, |others| others.and(this)));
        }
        Ok(kinds.unwrap_or(Kinds::ALL))
    }

    /// Adds what a drop-in adds.
    pub(super) fn extend(&mut self, table: &RecordsTable) -> Result<(), String> {
        for (name, own) in &table.kinds {
            if own.framing.is_some()
                || own.chunk_size.is_some()
                || own.chunk_mark.is_some()
                || own.client_text.is_some()
                || own.truncated_at.is_some()
            {
                return Err(format!(
                    "[records.{name}]: a drop-in can't say how records are made; copy the filter to change that."
                ));
            }
            let Some(kind) = self.0.iter_mut().find(|kind| kind.name == *name) else {
                return Err(format!("there are no records '{name}' that a drop-in could add to."));
            };
            kind.extend(&own.fields)?;
        }
        for (name, values) in &table.common {
            let one = BTreeMap::from([(name.clone(), values.clone())]);
            let results: Vec<Result<(), String>> = self.0.iter_mut().map(|kind| kind.extend(&one)).collect();
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
    pub fn matches(&self, record: &Record) -> bool {
        matches!(self.claim(record), Claim::Ours | Claim::Perhaps)
    }

    /// Whose a record is: the best that a kind has to say of it.
    pub fn claim<'r>(&self, record: &'r Record) -> Claim<'r> {
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

/// Which journal records a filter reads: fields that all must hold, each with its values, and
/// the units and programs that may have written them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMatch {
    /// The name of the kind; empty where there is only one.
    pub name: String,
    /// Field name, its place in a record, and the values of which it must hold one.
    pub fields: Vec<(String, FieldId, Vec<String>)>,
    /// Globs for `_SYSTEMD_UNIT`.
    pub units: Vec<String>,
    /// Names of programs, as in `_COMM` and at the end of `_EXE`. What they write is the service's
    /// in whatever unit they run, and what another program writes in one of its units is not.
    pub programs: Vec<String>,
    /// Fields that must hold the same value. One may be missing, but only where the unit or the
    /// program vouches for the record, or in a line.
    pub same: Vec<FieldId>,
    /// Lines of standard output are not read, though no field keeps them out: the filter doesn't say how
    /// its program writes them.
    pub(super) no_lines: bool,
}

/// Whose a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'r> {
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
    fn rank(&self) -> u8 {
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
pub enum Stranger<'r> {
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
    pub(super) fn new(kind: &str, table: &BTreeMap<String, Vec<String>>, fields: &mut Fields) -> Result<Self, String> {
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
                return Err(format!("{name} has no value, so no record could match; name one or drop the line."));
            }
            match name.as_str() {
                "units" => matches.units.clone_from(values),
                "programs" => matches.programs.clone_from(values),
                "same" => {
                    if let Some(odd) = values.iter().find(|value| !is_field_name(value)) {
                        return Err(format!(
                            "same holds '{odd}', which is not a journal field; name two or more fields."
                        ));
                    }
                    matches.same = values.iter().map(|value| fields.intern(value)).collect();
                }
                _ if is_field_name(name) => matches.fields.push((name.clone(), fields.intern(name), values.clone())),
                _ => {
                    return Err(format!(
                        "'{name}' is not a journal field; they are upper case, as in systemd.journal-fields(7)."
                    ));
                }
            }
        }
        if !matches.fields.iter().any(|(name, ..)| name.starts_with('_')) {
            return Err(
                "no trusted field (one that begins with '_', such as _UID) is asked for, so any local user could forge records; add one."
                    .to_owned(),
            );
        }
        matches.check_users()?;
        matches.check_programs()?;
        Ok(matches)
    }

    /// A user is a number or a name.
    fn check_users(&self) -> Result<(), String> {
        let values = self.fields.iter().filter(|(name, ..)| name == UID).flat_map(|(_, _, values)| values);
        let is_user = |value: &str| match value.as_bytes() {
            [first, rest @ ..] if first.is_ascii_alphabetic() || *first == b'_' => {
                rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
            }
            _ => value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u32>().is_ok(),
        };
        match values.into_iter().find(|value| !is_user(value)) {
            None => Ok(()),
            Some(odd) => {
                Err(format!("_UID has '{odd}'; write the number of a user, or the name, such as \"postfix\"."))
            }
        }
    }

    /// Adds what a drop-in adds.
    pub(super) fn extend(&mut self, table: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
        for (name, values) in table {
            let list = match name.as_str() {
                "units" if !self.units.is_empty() => &mut self.units,
                "programs" if !self.programs.is_empty() => &mut self.programs,
                "units" | "programs" | "same" => {
                    return Err(format!(
                        "the filter has no list '{name}' that a drop-in could add to, and a new one would leave out records that it reads; copy the filter to change that."
                    ));
                }
                _ => match self.fields.iter_mut().find(|(known, ..)| known == name) {
                    Some((_, _, list)) => list,
                    None => {
                        let known: Vec<&str> = self.fields.iter().map(|(name, ..)| name.as_str()).collect();
                        return Err(format!(
                            "the filter does not ask for '{name}', so a drop-in can't add values to it; it asks for {}, and a drop-in can add to units and programs.",
                            known.join(", ")
                        ));
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
    fn check_programs(&self) -> Result<(), String> {
        if let Some(odd) = self.programs.iter().find(|name| name.contains('/') || name.is_empty()) {
            return Err(format!("programs holds '{odd}'; write the name alone, without the directory."));
        }
        let root = |(name, _, values): &(String, FieldId, Vec<String>)| name == "_UID" && *values == ["0"];
        if !self.programs.is_empty() && !self.fields.iter().any(root) {
            return Err(
                "programs are identified by their names, which only root's processes can't choose freely; add _UID = [\"0\"]."
                    .to_owned(),
            );
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

    /// Whether a record is one of these, as far as the record itself shows.
    pub fn matches(&self, record: &Record) -> bool {
        matches!(self.claim(record), Claim::Ours | Claim::Perhaps)
    }

    /// Whose a record is.
    pub fn claim<'r>(&self, record: &'r Record) -> Claim<'r> {
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

/// A name for a kind of records.
fn is_kind_name(name: &str) -> bool {
    !name.is_empty()
        && !["units", "programs", "same"].contains(&name)
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
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
pub(super) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        rows.iter().map(|(name, values)| ((*name).to_owned(), owned(values))).collect()
    }

    fn sshd(fields: &mut Fields) -> RecordMatch {
        let table = table(&[
            ("_TRANSPORT", &["syslog", "stdout"]),
            ("_UID", &["0"]),
            ("SYSLOG_IDENTIFIER", &["sshd", "sshd-session"]),
            ("units", &["ssh.service", "sshd@*.service"]),
            ("programs", &["sshd", "sshd-session"]),
            ("same", &["SYSLOG_PID", "_PID"]),
        ]);
        RecordMatch::new("", &table, fields).unwrap()
    }

    fn record(fields: &Fields, values: &[(&str, &str)]) -> Record {
        let usual = [("_TRANSPORT", "syslog"), ("_UID", "0"), ("SYSLOG_IDENTIFIER", "sshd"), ("_PID", "7")];
        Record::with(fields, 0, "".into(), values.iter().chain(&usual).copied())
    }

    #[test]
    fn the_unit_and_the_program_say_whose_a_record_is() {
        use {Claim as C, Stranger as S};
        let mut fields = Fields::default();
        let matches = sshd(&mut fields);
        let claim = |values: &[(&str, &str)]| {
            let mut values = values.to_vec();
            values.push(("SYSLOG_PID", "7"));
            format!("{:?}", matches.claim(&record(&fields, &values)))
        };
        let said = |claim: C<'_>| format!("{claim:?}");
        let (unit, comm, exe) = ("_SYSTEMD_UNIT", "_COMM", "_EXE");
        assert_eq!(claim(&[(unit, "ssh.service")]), said(C::Ours));
        assert_eq!(claim(&[(unit, "own.service"), (comm, "sshd")]), said(C::Ours), "in whatever unit");
        assert_eq!(claim(&[(exe, "/usr/lib/openssh/sshd-session")]), said(C::Ours), "without a unit");
        assert_eq!(claim(&[]), said(C::Perhaps));
        assert_eq!(claim(&[(unit, "cron.service")]), said(C::Stranger(S::Unit(b"cron.service"))));
        let tail = said(C::Stranger(S::Program(b"tail")));
        assert_eq!(claim(&[(unit, "session-3.scope"), (comm, "tail"), (exe, "/usr/bin/tail")]), tail);
        assert_eq!(claim(&[(comm, "tail")]), tail);
        assert_eq!(claim(&[(unit, "ssh.service"), (comm, "tail")]), tail, "without pam_systemd users run there");
        assert_eq!(claim(&[(comm, "sshd"), (exe, "/usr/bin/tail")]), tail, "the file says more than the name");
        assert_eq!(claim(&[("_UID", "1000"), (comm, "sshd")]), said(C::No));
    }

    #[test]
    fn a_process_number_that_differs_is_anothers_and_a_line_has_none() {
        let mut fields = Fields::default();
        let matches = sshd(&mut fields);
        let claim = |values: &[(&str, &str)]| format!("{:?}", matches.claim(&record(&fields, values)));
        let differs = "Stranger(Differs)";
        assert_eq!(claim(&[("SYSLOG_PID", "8"), ("_COMM", "sshd")]), differs);
        assert_eq!(claim(&[("SYSLOG_PID", "8"), ("_SYSTEMD_UNIT", "ssh.service")]), differs);
        assert_eq!(claim(&[]), differs);
        assert_eq!(claim(&[("_SYSTEMD_UNIT", "ssh.service")]), "Ours");
        assert_eq!(claim(&[("_TRANSPORT", "stdout"), ("_COMM", "sshd")]), "Ours");
        assert_eq!(claim(&[("_TRANSPORT", "stdout")]), "Perhaps");
    }

    #[test]
    fn a_drop_in_adds_units_programs_and_values_and_no_demand() {
        let mut fields = Fields::default();
        let mut matches = sshd(&mut fields);
        matches.extend(&table(&[("units", &["gate.service"]), ("SYSLOG_IDENTIFIER", &["gatekeeper-of-ssh"])])).unwrap();
        let of = |values: &[(&str, &str)]| format!("{:?}", matches.claim(&record(&fields, values)));
        let names = [("SYSLOG_IDENTIFIER", "gatekeeper-of-ssh"), ("SYSLOG_PID", "7")];
        assert_eq!(of(&[names[0], names[1], ("_SYSTEMD_UNIT", "gate.service")]), "Ours");
        assert_eq!(of(&[names[0], names[1], ("_COMM", "gatekeeper-of-s")]), "Ours", "the kernel cuts names off");
        for (rows, wrong) in [
            (table(&[("_GID", &["0"])]), "does not ask for '_GID'"),
            (table(&[("same", &["_PID"])]), "no list 'same'"),
            (table(&[("programs", &["/usr/sbin/sshd"])]), "without the directory"),
            (table(&[("_UID", &["1000"]), ("units", &["x.service"])]), "add _UID = [\"0\"]"),
        ] {
            let error = sshd(&mut fields).extend(&rows).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_filter_without_units_and_programs_goes_by_its_fields() {
        let mut fields = Fields::default();
        let matches = RecordMatch::new("", &table(&[("_UID", &["0"])]), &mut fields).unwrap();
        assert_eq!(matches.claim(&record(&fields, &[])), Claim::Ours);
        let units = RecordMatch::new("", &table(&[("_UID", &["0"]), ("units", &["x.service"])]), &mut fields).unwrap();
        assert_eq!(units.claim(&record(&fields, &[])), Claim::Perhaps);
    }
}
