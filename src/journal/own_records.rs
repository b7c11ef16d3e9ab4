//! wardend's own records, read back.
//!
//! A MESSAGE_ID proves nothing, because every user can write one. What proves that a record is wardend's
//! are the fields that journald adds itself: the unit of the process, or its user where the process was
//! gone before journald had looked its unit up.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use super::{
    JournalError, Where,
    lanes::Lanes,
    roots::{Advice, Watch},
};
use crate::{
    contract::journal::fleet::REPORTED,
    core::{cursor::Cursor, time::Usec},
};

const UNIT: &str = "wardend.service";
/// Shares bans with other machines; its records are read only where they are asked for.
const FLEET_UNIT: &str = "wardend-fleet.service";
const USER: &str = "wardend";
/// `SD_MESSAGE_UNIT_STARTED` of sd-messages.h: systemd says that wardend is up.
pub(crate) const STARTED: &str = "39f53479d3a045ac8e11786248231fbf";
/// `SD_MESSAGE_UNIT_FAILURE_RESULT` of sd-messages.h: systemd says that wardend has failed.
pub(crate) const FAILED: &str = "d9b373ed55a64feb8242e02dbe79a49c";
/// The longest value that is kept of a field; evidence is the longest.
const LONGEST: usize = 64 * 1024;

/// A record that wardend has written, or systemd about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnRecord {
    /// When journald received it.
    pub(crate) time: Usec,
    /// `MESSAGE`, `MESSAGE_ID`, `WARDEND_…`, and what proves whose it is.
    pub(crate) fields: BTreeMap<String, String>,
}

impl OwnRecord {
    /// A field; empty, if the record does not have it.
    pub(crate) fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    /// A field as a number.
    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.get(field).parse().ok()
    }

    /// Whether it is systemd's word on wardend, and not wardend's own.
    pub(crate) fn is_of_systemd(&self) -> bool {
        [STARTED, FAILED].contains(&self.get("MESSAGE_ID"))
    }

    /// Whether the fields that no user can write prove that wardend wrote it, or systemd about wardend.
    fn is_proven(&self, uid: Option<u32>, fleet: bool) -> bool {
        match self.get("_SYSTEMD_UNIT") {
            UNIT => true,
            // It may speak of the fleet, and not of bans.
            FLEET_UNIT => fleet && REPORTED.contains(&self.get("MESSAGE_ID")),
            // As a user of its own, wardend shares its number with nobody.
            "" if self.get("_PID") != "1" => uid.is_some_and(|uid| self.get("_UID") == uid.to_string()),
            _ => self.get("_PID") == "1" && self.get("_UID") == "0" && self.get("UNIT") == UNIT && self.is_of_systemd(),
        }
    }
}

/// A journal, open at wardend's own records.
pub(crate) struct OwnRecords {
    journal: Lanes,
    place: Where,
    uid: Option<u32>,
    fleet: bool,
}

impl OwnRecords {
    /// Opens a journal; `uid` is wardend's user, if it is known.
    pub(crate) fn open(place: &Where, uid: Option<u32>) -> Result<Self, JournalError> {
        let first = place.open()?;
        if place.is_system() && !(first.has_persistent_files()? || first.has_runtime_files()?) {
            return Err(JournalError::NoAccess);
        }
        let mut journal = Lanes::new(first);
        let one = |field: &str, value: &str| (field.to_owned(), vec![value.to_owned()]);
        journal.match_group(0, &vec![one("_SYSTEMD_UNIT", UNIT)])?;
        if let Some(uid) = uid {
            journal.match_group(0, &vec![one("_UID", &uid.to_string())])?;
        }
        let ids = vec![STARTED.to_owned(), FAILED.to_owned()];
        journal.match_group(0, &vec![("MESSAGE_ID".to_owned(), ids), one("UNIT", UNIT)])?;
        Ok(Self { journal, place: place.clone(), uid, fleet: false })
    }

    /// The same, and what wardend-fleet has written for handlers.
    pub(crate) fn open_with_fleet(place: &Where, uid: Option<u32>) -> Result<Self, JournalError> {
        let mut records = Self::open(place, uid)?;
        let ids = REPORTED.map(str::to_owned).to_vec();
        let group = vec![("_SYSTEMD_UNIT".to_owned(), vec![FLEET_UNIT.to_owned()]), ("MESSAGE_ID".to_owned(), ids)];
        records.journal.match_group(0, &group)?;
        records.fleet = true;
        Ok(records)
    }

    /// Goes behind the entry that a cursor names. False, if it is not there any more: reading goes on
    /// at the next one that there is.
    pub(crate) fn seek_behind(&mut self, cursor: &Cursor) -> Result<bool, JournalError> {
        self.journal.seek_entry(cursor)
    }

    /// Goes to the first entry received at this time or later.
    pub(crate) fn seek_time(&mut self, time: Usec) -> Result<(), JournalError> {
        self.journal.seek(|journal| journal.seek_realtime_usec(time))
    }

    /// The time of the oldest entry of all, whoever wrote it.
    pub(crate) fn oldest(&self) -> Result<Option<Usec>, JournalError> {
        let mut journal = self.place.open()?;
        journal.seek_head()?;
        Ok(if journal.next()? > 0 { Some(journal.timestamp_usec()?) } else { None })
    }

    /// The next record that is proven to be wardend's; none at the end, for now.
    pub(crate) fn next(&mut self) -> Result<Option<OwnRecord>, JournalError> {
        while self.journal.next()? {
            let journal = self.journal.here();
            let mut record = OwnRecord { time: journal.timestamp_usec()?, fields: BTreeMap::new() };
            journal.restart_data();
            while let Ok(Some(field)) = journal.enumerate_data() {
                let name = field.name();
                let wanted = name.starts_with(b"WARDEND_")
                    || [&b"MESSAGE"[..], b"MESSAGE_ID", b"_SYSTEMD_UNIT", b"_UID", b"_PID", b"UNIT"].contains(&name);
                if wanted {
                    let value = field.value().unwrap_or_default();
                    let value = String::from_utf8_lossy(&value[..value.len().min(LONGEST)]).into_owned();
                    record.fields.insert(String::from_utf8_lossy(name).into_owned(), value);
                }
            }
            if record.is_proven(self.uid, self.fleet) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Where the record stands that [`Self::next`] came to last.
    pub(crate) fn position(&self) -> Result<Cursor, JournalError> {
        self.journal.position()
    }

    /// Waits until something is written, at most so long.
    pub(crate) fn wait(&mut self, at_most: Duration) {
        // An error means that no inotify instance is to be had (kernel limit).
        if self.journal.here().wait(Some(at_most)).is_err() {
            std::thread::sleep(at_most);
        }
    }
}

/// The number of wardend's user on this machine.
pub(crate) fn user() -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = passwd.lines().find_map(|line| line.strip_prefix(USER)?.strip_prefix(':'))?.split(':');
    fields.nth(1)?.parse().ok()
}

/// Sees when the journal that this process has open is not the one that is there.
pub(crate) struct Moves(Watch);

impl Moves {
    /// Over this machine's journal.
    pub(crate) fn new() -> Self {
        Self(Watch::new())
    }

    /// Whether all that is open should be opened again. To be asked every few seconds.
    pub(crate) fn happened(&mut self) -> bool {
        let now = Instant::now();
        let moved = matches!(self.0.look(now), Advice::Reopen(_));
        if moved {
            self.0.has_been_opened(now);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, &str)]) -> OwnRecord {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OwnRecord { time: 1, fields }
    }

    #[test]
    fn what_anybody_can_write_proves_nothing() {
        let id = ("MESSAGE_ID", crate::contract::journal::BAN);
        for (fields, proven) in [
            (&[id, ("_SYSTEMD_UNIT", "wardend.service"), ("_UID", "990")][..], true),
            (&[id, ("_UID", "990")], true),
            (&[id], false),
            (&[id, ("_UID", "1000")], false),
            (&[id, ("_UID", "0")], false),
            (&[id, ("UNIT", "wardend.service"), ("_UID", "1000")], false),
            (&[id, ("_SYSTEMD_UNIT", "user@1000.service"), ("_SYSTEMD_USER_UNIT", "wardend.service")], false),
            (&[id, ("_SYSTEMD_UNIT", "wardend-notify.service"), ("_UID", "990")], false),
            (&[("MESSAGE_ID", STARTED), ("UNIT", UNIT), ("_PID", "1"), ("_UID", "0")], true),
            (
                &[
                    ("MESSAGE_ID", STARTED),
                    ("UNIT", UNIT),
                    ("_PID", "1"),
                    ("_UID", "0"),
                    ("_SYSTEMD_UNIT", "init.scope"),
                ],
                true,
            ),
            (&[("MESSAGE_ID", STARTED), ("UNIT", UNIT), ("_PID", "77"), ("_UID", "1000")], false),
            (&[("MESSAGE_ID", FAILED), ("UNIT", UNIT), ("_PID", "1"), ("_UID", "0")], true),
            (&[("MESSAGE_ID", FAILED), ("UNIT", UNIT), ("_PID", "77"), ("_UID", "1000")], false),
            (&[id, ("UNIT", UNIT), ("_PID", "1"), ("_UID", "0")], false),
        ] {
            assert_eq!(record(fields).is_proven(Some(990), false), proven, "{fields:?}");
        }
        assert!(!record(&[id, ("_UID", "990")]).is_proven(None, false));
    }

    #[test]
    fn the_fleet_speaks_of_itself_only_and_where_it_is_asked_for() {
        let unit = ("_SYSTEMD_UNIT", "wardend-fleet.service");
        let muted = record(&[unit, ("MESSAGE_ID", crate::contract::journal::fleet::MUTED)]);
        assert!(muted.is_proven(Some(990), true) && !muted.is_proven(Some(990), false));
        let ban = record(&[unit, ("MESSAGE_ID", crate::contract::journal::BAN)]);
        assert!(!ban.is_proven(Some(990), true), "a ban is wardend's to tell");
        let anybody = record(&[("_SYSTEMD_UNIT", "x.service"), ("MESSAGE_ID", REPORTED[0])]);
        assert!(!anybody.is_proven(Some(990), true));
    }
}
