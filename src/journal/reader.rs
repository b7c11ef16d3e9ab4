//! Walks a journal with sd-journal(3) and makes records of its entries.
//!
//! The filters' fields become matches, so that libsystemd's index skips nearly everything else;
//! those of many filters are dealt out to several handles ([`super::lanes`]).
//! Each look at an entry's data costs more than the way to the entry, so there is one: it takes
//! the fields that a filter asks for as they come, and ends at the message if no rule may read
//! that. The cursor is asked for only of lines that can count as a failure, or when somebody asks.
//!
//! A separate match follows journald's own notice that it had to drop messages of a unit: what
//! was never written can't be counted, but it can be told.

use std::{path::PathBuf, sync::Arc};

use systemd::journal::{Journal, OpenDirectoryOptions, OpenFilesOptions, OpenOptions};

use super::{
    JournalError,
    lanes::{Group, Lanes, c_string, deal, matches_of},
    sleeper::Sleeper,
};
use crate::core::{
    filter::{COMMON, Filter, RecordMatch, Wanted, Wants},
    record::{Cursor, FieldId, Fields, Record},
    time::Usec,
};

/// `SD_MESSAGE_JOURNAL_DROPPED` of sd-messages.h.
const DROPPED: &str = "a596d6fe7bfa4994828e72309e95d61e";
/// What its messages begin with, so that not every entry is asked for its `MESSAGE_ID`.
const SUPPRESSED: &[u8] = b"Suppressed ";
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
    pub(crate) unit: String,
    /// How many.
    pub(crate) count: u64,
}

/// A journal, open and matched.
pub struct Reader {
    journal: Lanes,
    filters: Vec<Arc<Filter>>,
    /// What the filters want of a record.
    wanted: Wanted,
    /// The lane of each kind of records of each of the filters.
    dealt: Vec<usize>,
    fields: Arc<Fields>,
    /// Of every entry all fields are fetched, whatever its message.
    thorough: bool,
    /// Some filter needs to see all lines of standard output.
    lines: bool,
    /// Records get no cursor: who needs to know it asks while the reader stands there.
    asked: bool,
}

impl Reader {
    /// Opens a journal and asks for the entries of `filters`, whose names are in `fields`.
    ///
    /// # Errors
    /// If it can't be opened, or nothing in it can be read.
    pub fn open(journal: &Where, filters: Vec<Arc<Filter>>, fields: Arc<Fields>) -> Result<Self, JournalError> {
        let first = journal.open()?;
        match journal.name() {
            None if !(first.has_persistent_files()? || first.has_runtime_files()?) => {
                return Err(JournalError::NoAccess);
            }
            Some(name) if first.usage()? == 0 => return Err(JournalError::Empty(name)),
            _ => {}
        }
        let kinds = kinds(&filters);
        let groups: Vec<Group> = (0..kinds.len()).map(|place| group(&kinds, place)).collect();
        // What looks like a kind's may come on top, in the same lane.
        let all = |(place, group)| matches_of(group) + lookalikes(&kinds, place).iter().map(matches_of).sum::<usize>();
        let dealt = deal(&groups.iter().enumerate().map(all).collect::<Vec<_>>());
        let mut dealt_out = Lanes::new(first);
        for _ in 0..dealt.last().copied().unwrap_or(0) {
            dealt_out.add(journal.open()?);
        }
        for (group, lane) in groups.iter().zip(&dealt) {
            dealt_out.match_group(*lane, group)?;
        }
        if groups.iter().all(Group::is_empty) {
            // Where nothing is asked for, every entry would come. No entry is of this transport.
            dealt_out.match_group(0, &vec![("_TRANSPORT".to_owned(), vec!["none".to_owned()])])?;
        }
        let lines = filters.iter().any(|filter| filter.has_forgeable_lines());
        let wanted = Wanted::by(filters.iter().map(|filter| &**filter));
        Ok(Self { journal: dealt_out, filters, wanted, dealt, fields, thorough: false, lines, asked: false })
    }

    /// Follows journald's notices of dropped messages as well.
    ///
    /// # Errors
    /// If sd-journal has no memory.
    pub fn with_losses(mut self) -> Result<Self, JournalError> {
        let own = |field: &str, value: &str| (field.to_owned(), vec![value.to_owned()]);
        self.journal.match_group(0, &vec![own("MESSAGE_ID", DROPPED), own("_TRANSPORT", "driver")])?;
        Ok(self)
    }

    /// Follows what the filters' units and programs write under another name as well: it may be what
    /// the filters should read.
    ///
    /// # Errors
    /// If sd-journal has no memory.
    pub fn with_lookalikes(mut self) -> Result<Self, JournalError> {
        let kinds = kinds(&self.filters);
        for (place, lane) in self.dealt.iter().enumerate() {
            for group in lookalikes(&kinds, place) {
                self.journal.match_group(*lane, &group)?;
            }
        }
        Ok(self)
    }

    /// Fetches the fields of all entries, also of those whose message no rule may read.
    #[must_use]
    pub(crate) fn thorough(mut self) -> Self {
        self.thorough = true;
        self
    }

    /// Leaves records without a cursor; [`Self::position`] tells it.
    #[must_use]
    pub(crate) fn without_cursors(mut self) -> Self {
        self.asked = true;
        self
    }

    /// Goes to a position. False if it named an entry that is no longer there: reading goes on
    /// at the next one that there is, so that nothing is read twice.
    ///
    /// # Errors
    /// If the cursor is malformed or the journal can't be read.
    pub fn seek(&mut self, position: &Position) -> Result<bool, JournalError> {
        match position {
            Position::Head => self.journal.seek(|journal| journal.seek_head())?,
            Position::Since(time) => self.journal.seek(|journal| journal.seek_realtime_usec(*time))?,
            Position::After(cursor) => return self.journal.seek_entry(cursor),
        }
        Ok(true)
    }

    /// Goes to the next entry and makes `record` of it, unless the journal ends. May be called again
    /// later, when more has been written.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn next(&mut self, record: &mut Record) -> Result<Step, JournalError> {
        if !self.journal.next()? {
            return Ok(Step::End);
        }
        let (time, moment) = self.journal.when()?;
        record.begin(time, Some(moment));
        let journal = self.journal.here();
        let (mut wants, mut suppressed) = (None, false);
        record.make_room(&self.fields);
        journal.restart_data();
        // A field that can't be read (a damaged file) must not stop the daemon at this entry for
        // ever: what can be read of it counts.
        while let Ok(Some(field)) = journal.enumerate_data() {
            let Some(id) = self.fields.find(field.name()) else { continue };
            let value = field.value().unwrap_or_default();
            record.set(id, value);
            if id == FieldId::MESSAGE && wants.is_none() {
                suppressed = value.starts_with(SUPPRESSED);
                wants = Some(self.wanted.of(value));
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
        let is_shown = match wants {
            Some(Wants::Evidence) => true,
            Some(Wants::Announcement) => !record.is_alone(),
            Some(Wants::Fields | Wants::Nothing) | None => false,
        };
        if is_shown && !self.asked {
            record.cursor = Some(self.position()?);
        }
        Ok(Step::Record)
    }

    /// What the entry says of dropped messages, if it is journald's own.
    fn loss(&mut self) -> Option<Loss> {
        let mut loss = Loss::default();
        let (mut dropped, mut driver) = (false, false);
        let journal = self.journal.here();
        journal.restart_data();
        while let Ok(Some(field)) = journal.enumerate_data() {
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
        self.journal.position()
    }

    /// The time of the last entry that the filters ask for. Moves away from where reading was.
    pub(crate) fn end(&mut self) -> Result<Option<Usec>, JournalError> {
        self.journal.end()
    }

    /// The time of the last entry of all, whoever wrote it. For when everything has been read: from now
    /// on, nothing is left out.
    pub(crate) fn last(&mut self) -> Result<Option<Usec>, JournalError> {
        self.journal.lane(0).match_flush()?;
        self.end()
    }

    /// Sleeps until something is written, at most so long. journald announces entries late, so
    /// a short sleep is a poll.
    pub(super) fn wait(&mut self, sleeper: &mut Sleeper, at_most: std::time::Duration) {
        self.journal.wait(sleeper, at_most);
    }
}

/// The kinds of records of all filters.
fn kinds(filters: &[Arc<Filter>]) -> Vec<&RecordMatch> {
    filters.iter().flat_map(|filter| filter.records.kinds()).collect()
}

/// What an entry of a kind must hold, as far as the index is asked; nothing, if that is what another
/// kind before it asks for.
fn group(kinds: &[&RecordMatch], place: usize) -> Group {
    let records = kinds[place];
    if kinds[..place].iter().any(|known| known.fields == records.fields) {
        return Group::new();
    }
    // The index knows whole values only.
    let is_whole = |(_, _, values): &&(String, FieldId, Vec<String>)| values.iter().all(|value| !value.contains('*'));
    // To have the index look for what nearly all entries hold costs as much as the rest of the way and skips
    // next to nothing; that is checked in the entry.
    let is_common = |name: &String| COMMON.contains(&name.as_str());
    let telling = records.fields.iter().filter(is_whole).any(|(name, ..)| !is_common(name));
    let asked = records.fields.iter().filter(is_whole).filter(|(name, ..)| !telling || !is_common(name));
    asked.map(|(name, _, values)| (name.clone(), values.clone())).collect()
}

/// What the units and programs of a kind write under any name, if they are to be looked at.
fn lookalikes(kinds: &[&RecordMatch], place: usize) -> Vec<Group> {
    let records = kinds[place];
    let is_known = |known: &&RecordMatch| (&known.units, &known.programs) == (&records.units, &records.programs);
    // Without a list of programs a unit may write thousands of records that nobody asks for.
    if records.programs.is_empty() || kinds[..place].iter().any(is_known) {
        return Vec::new();
    }
    let units = records.units.iter().filter(|unit| !unit.contains('*')).cloned();
    let group = |field: &str, values| vec![(field.to_owned(), values)];
    vec![group("_SYSTEMD_UNIT", units.collect()), group("_COMM", records.programs.clone())]
}

impl Where {
    pub(super) fn open(&self) -> Result<Journal, JournalError> {
        let opened = match self {
            Self::System => OpenOptions::default().system(true).local_only(true).all_namespaces(true).open(),
            Self::Directory(path) => {
                OpenDirectoryOptions::default().open_directory(c_string(&path.display().to_string())?)
            }
            Self::Files(paths) => {
                let files = paths.iter().map(|path| c_string(&path.display().to_string()));
                OpenFilesOptions::default().open_files(files.collect::<Result<Vec<_>, _>>()?)
            }
        };
        let what = || self.name().unwrap_or_else(|| "of this machine".to_owned());
        opened.map_err(|error| JournalError::Open { what: what(), error })
    }

    /// Whether this is the machine's own journal.
    pub(super) fn is_system(&self) -> bool {
        matches!(self, Self::System)
    }

    /// What was named; nothing, if that is this machine's.
    fn name(&self) -> Option<String> {
        match self {
            Self::System => None,
            Self::Directory(path) => Some(path.display().to_string()),
            Self::Files(paths) => {
                Some(paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
