//! What reading has passed over, where several journald write.
//!
//! sd-journal merges files by time and never goes back. A journald takes the time of an entry when it
//! receives the message, and may be held up before it writes, as by a rotation. If meanwhile an entry
//! of another journald, of a journal namespace, is read whose time is later, the first one is passed
//! over for good. So what was read lately is read again a few seconds later, when all of it is in its
//! place, and what had not been there is handed on. One journald alone writes in the order of its
//! times, so this is only for machines with several.

use std::{collections::BTreeSet, time::Duration};

use super::{JournalError, Position, Reader, Step};
use crate::core::{cursor::Moment, record::Record, time::Usec};

/// How long a journald may be held up.
pub(super) const DELAY: Duration = Duration::from_secs(5);

/// Reads behind the reader. The journal is opened for it each time: what it held open would look as if
/// the reader followed it.
pub(super) struct Gleaner {
    /// All up to here has been handed on.
    place: Position,
    /// Entries behind it that have been, too. Two entries of the same µs by both clocks are one.
    handed: BTreeSet<(Usec, Option<Moment>)>,
}

impl Gleaner {
    /// All up to `place` has been handed on.
    pub(super) fn new(place: Position) -> Self {
        Self { place, handed: BTreeSet::new() }
    }

    /// An entry has been handed on.
    pub(super) fn note(&mut self, record: &Record) {
        self.handed.insert((record.time, record.moment));
    }

    /// What was passed over, of entries not later than `until`.
    pub(super) fn glean(
        &mut self,
        until: Usec,
        open: impl FnOnce() -> Result<Reader, JournalError>,
    ) -> Result<Vec<Record>, JournalError> {
        let mut found = Vec::new();
        // Only who has read something can have passed over something earlier.
        if self.handed.first().is_none_or(|(time, _)| *time > until) {
            return Ok(found);
        }
        let mut reader = open()?;
        reader.seek(&self.place)?;
        let mut record = Record::default();
        loop {
            let step = reader.next(&mut record)?;
            if step == Step::End || record.time > until {
                break;
            }
            self.place = Position::After(reader.position()?);
            if step == Step::Record && !self.handed.contains(&(record.time, record.moment)) {
                found.push(std::mem::take(&mut record));
            }
        }
        self.handed.retain(|(time, _)| *time > until);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fmt::Write as _,
        io::Write as _,
        path::Path,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::{config::Settings, journal::Where};

    const BEGIN: Usec = 1_795_400_000_000_000;

    /// Writes entries of these times into a journal file, as one journald does.
    fn write(file: &Path, times: &[Usec]) {
        let remote = ["/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote"];
        let remote = remote.into_iter().find(|path| Path::new(path).exists());
        let remote = remote.expect("systemd-journal-remote is installed (apt-get install systemd-journal-remote)");
        let mut child = Command::new(remote)
            .args(["--split-mode=none", "--compress=no", "--output"])
            .args([file, Path::new("-")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let text = times.iter().fold(String::new(), |mut text, time| {
            let _ = write!(
                text,
                "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID=2f912356a2424dec8328a1f012cbcb78\n_UID=0\n\
                 SYSLOG_IDENTIFIER=sshd\nMESSAGE=Failed password for root from 203.0.113.7 port {time} ssh2\n\n",
                BEGIN + time,
                1_000_000 + time
            );
            text
        });
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_one_journald_stores_late_is_found_and_nothing_is_twice() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one.journal"), directory.path().join("two.journal"));
        let settings = Settings::load(&[]).unwrap();
        let filters: Vec<_> = settings.jails.iter().map(|jail| jail.filter.clone()).collect();
        let open = || {
            let journal = Where::Directory(directory.path().to_owned());
            Reader::open(&journal, filters.clone(), settings.fields.clone()).unwrap()
        };
        write(&one, &[1]);
        write(&two, &[2]);
        let mut reader = open();
        let mut read = |gleaner: Option<&mut Gleaner>| {
            let (mut times, mut record, mut gleaner) = (Vec::new(), Record::default(), gleaner);
            while reader.next(&mut record).unwrap() == Step::Record {
                times.push(record.time - BEGIN);
                if let Some(gleaner) = &mut gleaner {
                    gleaner.note(&record);
                }
            }
            (times, reader.position().unwrap())
        };
        let (times, place) = read(None);
        assert_eq!(times, [1, 2]);
        let mut gleaner = Gleaner::new(Position::After(place));
        let glean = |gleaner: &mut Gleaner, until: Usec| -> Vec<Usec> {
            let found = gleaner.glean(BEGIN + until, || Ok(open())).unwrap();
            assert!(found.iter().all(|record| !record.message().is_empty()));
            found.iter().map(|record| record.time - BEGIN).collect()
        };
        assert_eq!(glean(&mut gleaner, 100), [0; 0], "nothing was read since");

        write(&one, &[10, 30]);
        assert_eq!(read(Some(&mut gleaner)).0, [10, 30]);
        write(&two, &[20, 25, 40]);
        assert_eq!(read(Some(&mut gleaner)).0, [40], "if sd-journal goes back one day, this is no more needed");
        assert_eq!(glean(&mut gleaner, 35), [20, 25]);
        assert_eq!(glean(&mut gleaner, 35), [0; 0]);
        assert_eq!(glean(&mut gleaner, 50), [0; 0]);
        write(&one, &[60, 61]);
        assert_eq!(read(Some(&mut gleaner)).0, [60, 61]);
        write(&two, &[55, 62]);
        assert_eq!(read(Some(&mut gleaner)).0, [62]);
        assert_eq!(glean(&mut gleaner, 70), [55]);
    }
}
