//! Walks a journal with sd-journal(3) and makes records of its entries.
//!
//! The filters' fields become matches, so that libsystemd's index skips nearly everything else.
//! Each look at an entry's data costs more than the way to the entry, so there is one: it takes
//! the fields that a filter asks for as they come, and ends at the message if no rule may read
//! that. The cursor is asked for only of lines that can count as a failure.
//!
//! A separate match follows journald's own notice that it had to drop messages of a unit: what
//! was never written can't be counted, but it can be told.

use std::{ffi::CString, path::PathBuf, sync::Arc};

use systemd::journal::{Journal, OpenDirectoryOptions, OpenFilesOptions, OpenOptions};

use super::JournalError;
use crate::core::{
    cursor::Moment,
    filter::{Filter, Wants},
    record::{Cursor, FieldId, Fields, Record},
    time::Usec,
};

/// `SD_MESSAGE_JOURNAL_DROPPED` of sd-messages.h.
const DROPPED: &str = "a596d6fe7bfa4994828e72309e95d61e";
/// What its messages begin with, so that not every entry is asked for its `MESSAGE_ID`.
const SUPPRESSED: &[u8] = b"Suppressed ";
/// Fields in which nearly all entries of a machine are alike. To have the index look for them
/// costs as much as the rest of the way and skips next to nothing; they are checked in the entry.
const COMMON: [&str; 7] = ["_TRANSPORT", "_UID", "_GID", "_HOSTNAME", "_MACHINE_ID", "PRIORITY", "SYSLOG_FACILITY"];

/// Which journal to read.
#[derive(Clone, Debug, Default)]
pub enum Where {
    /// This machine's.
    #[default]
    System,
    /// All files of a directory, as `journalctl --directory`.
    Directory(PathBuf),
    /// These files, as `journalctl --file`.
    Files(Vec<PathBuf>),
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the first entry.
    Head,
    /// At the first entry received at this time or later.
    Since(Usec),
    /// Behind this entry.
    After(Cursor),
}

/// What [`Reader::next`] has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The end, for now.
    End,
    /// An entry that the filters may ask for.
    Record,
    /// journald's notice that it dropped messages.
    Lost(Loss),
}

/// Messages that journald dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Whose.
    pub unit: String,
    /// How many.
    pub count: u64,
}

/// A journal, open and matched.
pub struct Reader {
    journal: Journal,
    filters: Vec<Arc<Filter>>,
    fields: Arc<Fields>,
    /// Of every entry all fields are fetched, whatever its message.
    thorough: bool,
    /// Some filter needs to see all lines of standard output.
    lines: bool,
    /// [`Position::After`] found another entry than the one it named, and that one is new.
    pending: bool,
}

impl Reader {
    /// Opens a journal and asks for the entries of `filters`, whose names are in `fields`.
    ///
    /// # Errors
    /// If it can't be opened, or nothing in it can be read.
    pub fn open(journal: &Where, filters: Vec<Arc<Filter>>, fields: Arc<Fields>) -> Result<Self, JournalError> {
        let (opened, what) = match journal {
            Where::System => (OpenOptions::default().system(true).local_only(true).all_namespaces(true).open(), None),
            Where::Directory(path) => {
                let name = path.display().to_string();
                (OpenDirectoryOptions::default().open_directory(c_string(&name)?), Some(name))
            }
            Where::Files(paths) => {
                let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                let files = names.iter().map(|name| c_string(name)).collect::<Result<Vec<_>, _>>()?;
                (OpenFilesOptions::default().open_files(files), Some(names.join(", ")))
            }
        };
        let mut journal = opened.map_err(|error| JournalError::Open {
            what: what.clone().unwrap_or_else(|| "of this machine".to_owned()),
            error,
        })?;
        match what {
            None if !(journal.has_persistent_files()? || journal.has_runtime_files()?) => {
                return Err(JournalError::NoAccess);
            }
            Some(name) if journal.usage()? == 0 => return Err(JournalError::Empty(name)),
            _ => {}
        }
        for (place, filter) in filters.iter().enumerate() {
            if filters[..place].iter().any(|known| known.records == filter.records) {
                continue;
            }
            let fields = &filter.records.fields;
            let telling = fields.iter().any(|(name, ..)| !COMMON.contains(&name.as_str()));
            for (name, _, values) in fields.iter().filter(|(name, ..)| !telling || !COMMON.contains(&name.as_str())) {
                for value in values {
                    journal.match_add(name, value.as_str())?;
                }
            }
            journal.match_or()?;
        }
        let lines = filters.iter().any(|filter| filter.has_forgeable_lines());
        Ok(Self { journal, filters, fields, thorough: false, lines, pending: false })
    }

    /// Follows journald's notices of dropped messages as well.
    ///
    /// # Errors
    /// If sd-journal has no memory.
    pub fn with_losses(mut self) -> Result<Self, JournalError> {
        self.journal.match_add("MESSAGE_ID", DROPPED)?;
        self.journal.match_add("_TRANSPORT", "driver")?;
        Ok(self)
    }

    /// Follows what the filters' units and programs write under another name as well: it may be what
    /// the filters should read.
    ///
    /// # Errors
    /// If sd-journal has no memory.
    pub fn with_lookalikes(mut self) -> Result<Self, JournalError> {
        // Without a list of programs a unit may write thousands of records that nobody asks for.
        for filter in self.filters.iter().filter(|filter| !filter.records.programs.is_empty()) {
            let units = filter.records.units.iter().filter(|unit| !unit.contains('*'));
            for (field, values) in
                [("_SYSTEMD_UNIT", units.collect::<Vec<_>>()), ("_COMM", filter.records.programs.iter().collect())]
            {
                for value in &values {
                    self.journal.match_add(field, value.as_str())?;
                }
                if !values.is_empty() {
                    self.journal.match_or()?;
                }
            }
        }
        Ok(self)
    }

    /// Fetches the fields of all entries, also of those whose message no rule may read.
    #[must_use]
    pub fn thorough(mut self) -> Self {
        self.thorough = true;
        self
    }

    /// Goes to a position. False if it named an entry that is no longer there: reading goes on
    /// at the next one that there is, so that nothing is read twice.
    ///
    /// # Errors
    /// If the cursor is malformed or the journal can't be read.
    pub fn seek(&mut self, position: &Position) -> Result<bool, JournalError> {
        self.pending = false;
        match position {
            Position::Head => self.journal.seek_head()?,
            Position::Since(time) => self.journal.seek_realtime_usec(*time)?,
            Position::After(cursor) => {
                let found = self.find(cursor)?;
                if found == Some(false) {
                    // The way to it has passed entries of the same µs.
                    self.journal.seek_cursor(c_string(&cursor.to_string())?)?;
                    self.pending = self.journal.next()? > 0;
                }
                return Ok(found == Some(true));
            }
        }
        Ok(true)
    }

    /// Goes to the entry that a cursor names; nothing, if neither that nor a later one is there. When
    /// journald moves entries from volatile to persistent storage, their file and their number change
    /// and all the rest stays: it is the same entry.
    fn find(&mut self, cursor: &Cursor) -> Result<Option<bool>, JournalError> {
        self.journal.seek_cursor(c_string(&cursor.to_string())?)?;
        let mut there = false;
        while self.journal.next()? > 0 {
            there = true;
            let here = self.position()?;
            if here.is_same_entry(cursor) {
                return Ok(Some(true));
            }
            if here.moment() != cursor.moment() {
                break;
            }
        }
        Ok(there.then_some(false))
    }

    /// Goes to the next entry and makes `record` of it, unless the journal ends. May be called again
    /// later, when more has been written.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn next(&mut self, record: &mut Record) -> Result<Step, JournalError> {
        if !std::mem::take(&mut self.pending) && self.journal.next()? == 0 {
            return Ok(Step::End);
        }
        let (monotonic, boot) = self.journal.monotonic_timestamp()?;
        let moment = Moment { boot: u128::from_be_bytes(*boot.as_bytes()), monotonic };
        record.begin(self.journal.timestamp_usec()?, Some(moment));
        let (mut wants, mut suppressed) = (None, false);
        record.make_room(&self.fields);
        self.journal.restart_data();
        // A field that can't be read (a damaged file) must not stop the daemon at this entry for
        // ever: what can be read of it counts.
        while let Ok(Some(field)) = self.journal.enumerate_data() {
            let Some(id) = self.fields.find(field.name()) else { continue };
            let value = field.value().unwrap_or_default();
            record.set(id, value);
            if id == FieldId::MESSAGE && wants.is_none() {
                suppressed = value.starts_with(SUPPRESSED);
                wants = self.filters.iter().map(|filter| filter.wants(value)).max();
                // Whatever a line says, it may be a piece of a message that a client has cut in two.
                let is_line = record.get(FieldId::TRANSPORT).is_none_or(|transport| transport == b"stdout");
                if wants <= Some(Wants::Nothing) && !self.thorough && !(self.lines && is_line) {
                    record.clear();
                    break;
                }
            }
        }
        if wants == Some(Wants::Nothing) && !self.thorough && !record.is_line() {
            record.clear();
        }
        if suppressed && let Some(loss) = self.loss() {
            return Ok(Step::Lost(loss));
        }
        if wants == Some(Wants::Evidence) {
            record.cursor = Some(self.position()?);
        }
        Ok(Step::Record)
    }

    /// What the entry says of dropped messages, if it is journald's own.
    fn loss(&mut self) -> Option<Loss> {
        let mut loss = Loss::default();
        let (mut dropped, mut driver) = (false, false);
        self.journal.restart_data();
        while let Ok(Some(field)) = self.journal.enumerate_data() {
            let value = field.value().unwrap_or_default();
            match field.name() {
                b"MESSAGE_ID" => dropped = value == DROPPED.as_bytes(),
                b"_TRANSPORT" => driver = value == b"driver",
                b"N_DROPPED" => loss.count = String::from_utf8_lossy(value).parse().unwrap_or(0),
                b"OBJECT_SYSTEMD_UNIT" => loss.unit = String::from_utf8_lossy(value).into_owned(),
                _ => {}
            }
        }
        (dropped && driver).then_some(loss)
    }

    /// Where the entry stands that [`Self::next`] came to last.
    ///
    /// # Errors
    /// If it has come to none yet.
    pub fn position(&self) -> Result<Cursor, JournalError> {
        Ok(self.journal.cursor()?.into())
    }

    /// The time of the last entry that the filters ask for. Moves away from where reading was.
    pub(crate) fn end(&mut self) -> Result<Option<Usec>, JournalError> {
        self.journal.seek_tail()?;
        let found = self.journal.previous()? > 0;
        Ok(if found { Some(self.journal.timestamp_usec()?) } else { None })
    }

    /// The time of the last entry of all, whoever wrote it. For when everything has been read: from now
    /// on, nothing is left out.
    pub(crate) fn last(&mut self) -> Result<Option<Usec>, JournalError> {
        self.journal.match_flush()?;
        self.end()
    }

    /// Waits until something is written, at most so long. journald announces entries late, so
    /// a short wait is a poll.
    pub(crate) fn wait(&mut self, at_most: std::time::Duration) {
        // An error here means that no inotify instance is to be had (kernel limit): sleeping
        // instead keeps reading, a little later, and `roots` sees files that appear.
        if self.journal.wait(Some(at_most)).is_err() {
            std::thread::sleep(at_most);
        }
    }
}

fn c_string(text: &str) -> Result<CString, JournalError> {
    CString::new(text).map_err(|_| JournalError::ZeroByte(text.to_owned()))
}
