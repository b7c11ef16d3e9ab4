//! One journal entry, reduced to what a filter can ask for.
//!
//! The journal reader fetches only the fields that some filter names ([`Fields`]), and only of
//! entries whose message some rule may read, and hands them on as a [`Record`] together with the
//! time at which journald received the entry and the cursor that finds it again. Values are bytes: journald promises no encoding, and an attacker
//! chooses part of them. Everything behind this type is pure.

use std::ops::Range;

pub use super::cursor::Cursor;
use super::{cursor::Moment, time::Usec};

/// The name of the field that every filter reads.
pub(crate) const MESSAGE: &str = "MESSAGE";
/// The unit that journald found for the sender; absent when the sender was gone too soon.
pub(crate) const SYSTEMD_UNIT: &str = "_SYSTEMD_UNIT";
/// What a program sent to syslog, byte for byte: journald adds it where `MESSAGE` is not that,
/// because it stripped blanks or a zero byte.
pub(crate) const SYSLOG_RAW: &str = "SYSLOG_RAW";
/// How journald received it, and from whom, as the kernel and /proc said.
const TRANSPORT: &str = "_TRANSPORT";
const PID: &str = "_PID";
const COMM: &str = "_COMM";
const EXE: &str = "_EXE";

/// The journal fields that the loaded filters ask for. A field's place in this list is its
/// place in every [`Record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    names: Vec<String>,
    /// The places of names by their length, with their beginnings: each field of each entry is looked up.
    by_length: Vec<Vec<(u64, usize)>>,
}

/// The place of a field in [`Fields`] and in a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldId(usize);

impl FieldId {
    /// Where `MESSAGE` always stands.
    pub const MESSAGE: Self = Self(0);
    /// Where `_SYSTEMD_UNIT` always stands.
    pub(crate) const UNIT: Self = Self(1);
    /// Where `SYSLOG_RAW` always stands.
    pub const RAW: Self = Self(2);
    /// Where `_TRANSPORT` always stands.
    pub(crate) const TRANSPORT: Self = Self(3);
    /// Where `_PID` always stands.
    pub(crate) const PID: Self = Self(4);
    /// Where `_COMM` always stands.
    pub(crate) const COMM: Self = Self(5);
    /// Where `_EXE` always stands.
    pub(crate) const EXE: Self = Self(6);
}

/// How many bytes of a name are compared at once.
const BEGINNING: usize = 8;

/// The first bytes of a name.
fn beginning(name: &[u8]) -> u64 {
    if let Some(begins) = name.first_chunk::<BEGINNING>() {
        return u64::from_le_bytes(*begins);
    }
    name.iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte))
}

impl Default for Fields {
    fn default() -> Self {
        let mut fields = Self { names: Vec::new(), by_length: Vec::new() };
        for name in [MESSAGE, SYSTEMD_UNIT, SYSLOG_RAW, TRANSPORT, PID, COMM, EXE] {
            fields.intern(name);
        }
        fields
    }
}

impl Fields {
    /// The place of `name`, which is added if no filter asked for it before.
    pub(crate) fn intern(&mut self, name: &str) -> FieldId {
        if let Some(known) = self.find(name.as_bytes()) {
            return known;
        }
        let at = self.names.len();
        self.names.push(name.to_owned());
        if self.by_length.len() <= name.len() {
            self.by_length.resize(name.len() + 1, Vec::new());
        }
        self.by_length[name.len()].push((beginning(name.as_bytes()), at));
        FieldId(at)
    }

    /// The place of `name`, if some filter asked for it.
    pub fn find(&self, name: &[u8]) -> Option<FieldId> {
        let places = self.by_length.get(name.len()).filter(|places| !places.is_empty())?;
        let begins = beginning(name);
        let is_it = |at: usize| name.len() <= BEGINNING || self.names[at].as_bytes() == name;
        places.iter().find(|(known, at)| *known == begins && is_it(*at)).map(|(_, at)| FieldId(*at))
    }

    /// How many fields a record of this list has.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// One journal entry as the core sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When journald received it, in µs since the epoch.
    pub time: Usec,
    /// The same in the life of the machine, if that is known.
    pub(crate) moment: Option<Moment>,
    /// Where it stands in the journal; none if nobody will ask.
    pub(crate) cursor: Option<Cursor>,
    /// The values one behind the other, and where each lies: a record that is used again and
    /// again needs no more memory.
    bytes: Vec<u8>,
    places: Vec<Option<Range<usize>>>,
}

impl Record {
    /// A record without any field yet.
    pub fn new(fields: &Fields, time: Usec, cursor: Cursor) -> Self {
        let moment = cursor.moment();
        let mut record = Self { time, moment, cursor: Some(cursor), ..Self::default() };
        record.make_room(fields);
        record
    }

    /// A record with these values, by the names of their fields. As from the journal, what no filter asks for is
    /// left out, and of a field that comes twice, the first value stays.
    pub fn with<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        fields: &Fields,
        time: Usec,
        cursor: Cursor,
        values: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut record = Self::new(fields, time, cursor);
        for (name, value) in values {
            if let Some(field) = fields.find(name.as_ref()) {
                record.set(field, value.as_ref());
            }
        }
        record
    }

    /// Makes this another record: one that no filter asks for any field of.
    pub(crate) fn begin(&mut self, time: Usec, moment: Option<Moment>) {
        (self.time, self.moment, self.cursor) = (time, moment, None);
        self.clear();
    }

    /// Forgets the values of all fields.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Makes room for the values of fields.
    pub(crate) fn make_room(&mut self, fields: &Fields) {
        self.places.resize(fields.len(), None);
    }

    /// Sets a field. An entry can hold a field more than once; the first value stays, as
    /// sd_journal_get_data(3) has it.
    pub fn set(&mut self, field: FieldId, value: &[u8]) {
        if let Some(place @ None) = self.places.get_mut(field.0) {
            let begin = self.bytes.len();
            self.bytes.extend_from_slice(value);
            *place = Some(begin..self.bytes.len());
        }
    }

    /// The value of a field, if the entry has it.
    pub fn get(&self, field: FieldId) -> Option<&[u8]> {
        self.bytes.get(self.places.get(field.0)?.clone()?)
    }

    /// Whether journald stored the message otherwise than it was sent.
    pub(crate) fn is_altered(&self) -> bool {
        self.get(FieldId::RAW).is_some()
    }

    /// The message as it was sent, where that is more than [`Self::message`]: with the blanks and line breaks
    /// at its end, which journald strips.
    pub(crate) fn sent(&self) -> Option<&[u8]> {
        let (raw, message) = (self.get(FieldId::RAW)?, self.message());
        let stripped = raw.iter().rev().take_while(|byte| b" \t\n\r".contains(byte)).count();
        // Behind the header; a zero byte has ended the message too early.
        let begin = raw.len().checked_sub(stripped + message.len())?;
        (&raw[begin..raw.len() - stripped] == message && stripped > 0).then_some(&raw[begin..])
    }

    /// Whether it is a line that a program wrote to its standard output or error.
    pub(crate) fn is_line(&self) -> bool {
        self.get(FieldId::TRANSPORT) == Some(b"stdout")
    }

    /// Whether its time is its own: journald takes a message of syslog's at a time, and several lines of standard
    /// output, all of which get the same time.
    pub(crate) fn is_alone(&self) -> bool {
        self.get(FieldId::TRANSPORT) == Some(b"syslog")
    }

    /// The message's bytes; empty if the entry has none.
    pub(crate) fn message(&self) -> &[u8] {
        self.get(FieldId::MESSAGE).unwrap_or_default()
    }
}
