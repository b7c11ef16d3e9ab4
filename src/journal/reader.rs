//! Walks a journal with sd-journal(3) and makes records of its entries.
//!
//! The filters' fields become matches, so that libsystemd's index skips everything else; of an
//! entry only the fields that a filter asks for are copied, in one pass over its data. A
//! separate match follows journald's own notice that it had to drop messages of a unit: what
//! was never written can't be counted, but it can be told.

use std::{ffi::CString, path::PathBuf};

use systemd::journal::{Journal, OpenDirectoryOptions, OpenFilesOptions, OpenOptions};

use super::JournalError;
use crate::{
    filter::Filter,
    record::{Cursor, Fields, Record, Usec},
};

/// `SD_MESSAGE_JOURNAL_DROPPED` of sd-messages.h.
const DROPPED: &str = "a596d6fe7bfa4994828e72309e95d61e";

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

/// One entry that the filters ask for.
#[derive(Debug)]
pub enum Entry {
    /// A record for the engine.
    Record(Record),
    /// journald dropped messages.
    Lost {
        /// When it said so, in µs.
        time: Usec,
        /// Where it said so.
        cursor: Cursor,
        /// Whose messages.
        unit: String,
        /// How many.
        count: u64,
    },
}

/// A journal, open and matched.
pub struct Reader {
    journal: Journal,
    fields: std::sync::Arc<Fields>,
    /// [`Position::After`] found another entry than the one it named, and that one is new.
    pending: bool,
}

impl Reader {
    /// Opens a journal and asks for the entries of `filters`, whose names are in `fields`.
    ///
    /// # Errors
    /// If it can't be opened, or nothing in it can be read.
    pub fn open<'f>(
        journal: &Where,
        filters: impl IntoIterator<Item = &'f Filter>,
        fields: std::sync::Arc<Fields>,
    ) -> Result<Self, JournalError> {
        let (opened, what) = match journal {
            Where::System => (OpenOptions::default().system(true).local_only(true).open(), None),
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
        let mut seen: Vec<&Filter> = Vec::new();
        for filter in filters {
            if seen.iter().any(|known| known.records == filter.records) {
                continue;
            }
            for (name, _, values) in &filter.records.fields {
                for value in values {
                    journal.match_add(name, value.as_str())?;
                }
            }
            journal.match_or()?;
            seen.push(filter);
        }
        journal.match_add("MESSAGE_ID", DROPPED)?;
        journal.match_add("_TRANSPORT", "driver")?;
        Ok(Self { journal, fields, pending: false })
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
                self.journal.seek_cursor(c_string(cursor.as_str())?)?;
                if self.journal.next()? == 0 {
                    return Ok(false);
                }
                let found = self.journal.test_cursor(c_string(cursor.as_str())?)?;
                self.pending = !found;
                return Ok(found);
            }
        }
        Ok(true)
    }

    /// The next entry, or none at the end of the journal. May be called again later, when more
    /// has been written.
    ///
    /// # Errors
    /// If the journal can't be read.
    #[expect(clippy::should_implement_trait, reason = "an end that is not final, and errors: no iterator")]
    pub fn next(&mut self) -> Result<Option<Entry>, JournalError> {
        if !std::mem::take(&mut self.pending) && self.journal.next()? == 0 {
            return Ok(None);
        }
        let time = self.journal.timestamp_usec()?;
        let mut record = Record::new(&self.fields, time, Cursor::from(self.journal.cursor()?));
        let (mut dropped, mut unit, mut count) = (false, String::new(), 0);
        self.journal.restart_data();
        // A field that can't be read (a damaged file) must not stop the daemon at this entry for
        // ever: what can be read of it counts.
        while let Ok(Some(field)) = self.journal.enumerate_data() {
            let value = field.value().unwrap_or_default();
            match field.name() {
                b"MESSAGE_ID" => dropped = value == DROPPED.as_bytes(),
                b"N_DROPPED" => count = String::from_utf8_lossy(value).parse().unwrap_or(0),
                b"OBJECT_SYSTEMD_UNIT" => unit = String::from_utf8_lossy(value).into_owned(),
                name => {
                    if let Some(id) = self.fields.find(name) {
                        record.set(id, value);
                    }
                }
            }
        }
        Ok(Some(if dropped { Entry::Lost { time, cursor: record.cursor, unit, count } } else { Entry::Record(record) }))
    }

    /// The time of the last entry that the filters ask for. Moves away from where reading was.
    pub(crate) fn end(&mut self) -> Result<Option<Usec>, JournalError> {
        self.journal.seek_tail()?;
        let found = self.journal.previous()? > 0;
        Ok(if found { Some(self.journal.timestamp_usec()?) } else { None })
    }

    /// Waits until something is written, at most so long. journald announces entries late, so
    /// a short wait is a poll.
    pub(crate) fn wait(&mut self, at_most: std::time::Duration) {
        // An error here means that no inotify watch is to be had (kernel limit): sleeping
        // instead keeps reading, a little later.
        if self.journal.wait(Some(at_most)).is_err() {
            std::thread::sleep(at_most);
        }
    }
}

fn c_string(text: &str) -> Result<CString, JournalError> {
    CString::new(text).map_err(|_| JournalError::ZeroByte(text.to_owned()))
}
