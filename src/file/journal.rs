//! Lines into the journal, and back: the records that this unit has written say where it stopped.
//!
//! Each line is one datagram in journald's native protocol
//! (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): a record with any bytes in it, which journald neither
//! cuts nor strips. The socket is systemd's, so what is in it outlives journald; and it has one reader, so
//! what was sent first is written first.

use std::{
    ffi::CString,
    io,
    os::unix::net::UnixDatagram,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use systemd::journal::{Journal, OpenOptions};

use super::{
    lines::{LONGEST, Line},
    place::{Place, tail},
};

const SOCKET: &str = "/run/systemd/journal/socket";
const PATH: &str = "WARDEND_FILE";
const INODE: &str = "WARDEND_FILE_INODE";
const OFFSET: &str = "WARDEND_FILE_OFFSET";
const CUT: &str = "WARDEND_FILE_CUT";
const START: &str = "WARDEND_FILE_START";
/// How long to wait until journald has written what an earlier process has sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before sending is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// The most records that are looked through for places.
const MOST: usize = 1000;

/// The way to journald.
pub(super) struct Sender {
    socket: UnixDatagram,
    path: Vec<u8>,
}

impl Sender {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        use std::os::unix::ffi::OsStrExt;
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.as_os_str().as_bytes().to_vec() })
    }

    /// Sends a line with the place behind it; waits as long as journald takes none.
    pub(super) fn line(&self, line: &Line<'_>, place: &Place, failed: &mut impl FnMut(&io::Error)) {
        self.send(&Record::of(line, place, &self.path), failed);
    }

    fn send(&self, record: &Record, failed: &mut impl FnMut(&io::Error)) {
        while let Err(error) = self.socket.send_to(&record.0, SOCKET) {
            if error.kind() != io::ErrorKind::Interrupted {
                failed(&error);
                thread::sleep(PAUSE);
            }
        }
    }

    /// Says that reading begins, and waits until that is in the journal: then all is that an earlier process
    /// has sent. Returns the places that it tells, for each file the last; none if the journal says nothing.
    pub(super) fn begin(&self, unit: &str, mark: &str, failed: &mut impl FnMut(&io::Error)) -> Found {
        let mut record = Record::new(b"6");
        record.field("MESSAGE", &[b"Following ", self.path.as_slice(), b"."].concat());
        record.field(START, mark.as_bytes());
        self.send(&record, failed);
        find(unit, &self.path, mark)
            .unwrap_or_else(|error| Found { places: Vec::new(), unread: Some(error.to_string()) })
    }
}

/// What the journal says of earlier processes.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The newest place first, and when journald received it.
    pub(super) places: Vec<(Place, u64)>,
    /// Why it could not be looked at.
    pub(super) unread: Option<String>,
}

fn find(unit: &str, path: &[u8], mark: &str) -> systemd::Result<Found> {
    let mut found = Found::default();
    let open = || -> systemd::Result<Journal> {
        let mut journal = OpenOptions::default().system(true).local_only(true).open()?;
        // A line, and the fields around it.
        journal.set_data_threshold(2 * LONGEST)?;
        journal.match_add("_SYSTEMD_UNIT", unit)?;
        Ok(journal)
    };
    let mut journal = open()?;
    journal.match_add(START, mark)?;
    let begun = Instant::now();
    loop {
        journal.seek_tail()?;
        if journal.previous()? > 0 {
            break;
        }
        if begun.elapsed() > PATIENCE {
            found.unread = Some(format!("it does not have what was sent {} s ago", PATIENCE.as_secs()));
            break;
        }
        journal.wait(Some(PAUSE))?;
    }
    let mut journal = open()?;
    journal.match_add(PATH, path)?;
    journal.seek_tail()?;
    for _ in 0..MOST {
        if journal.previous()? == 0 {
            break;
        }
        if let Some(place) = place(&mut journal)?
            && !found.places.iter().any(|(known, _)| (known.device, known.inode) == (place.device, place.inode))
        {
            found.places.push((place, journal.timestamp_usec()?));
        }
    }
    Ok(found)
}

/// The place that the record tells which the journal stands at.
fn place(journal: &mut Journal) -> systemd::Result<Option<Place>> {
    let mut get = |name: &str| -> systemd::Result<Option<Vec<u8>>> {
        let name = CString::new(name).unwrap_or_default();
        Ok(journal.get_data(name)?.and_then(|field| field.value().map(<[u8]>::to_vec)))
    };
    let number = |bytes: &[u8]| str::from_utf8(bytes).ok().and_then(|digits| digits.parse::<u64>().ok());
    let (Some(message), Some(file), Some(offset)) = (get("MESSAGE")?, get(INODE)?, get(OFFSET)?) else {
        return Ok(None);
    };
    let is_cut = get(CUT)?.is_some();
    let Some(colon) = file.iter().position(|byte| *byte == b':') else { return Ok(None) };
    let (Some(device), Some(inode), Some(offset)) =
        (number(&file[..colon]), number(&file[colon + 1..]), number(&offset))
    else {
        return Ok(None);
    };
    Ok(Some(Place { device, inode, offset, tail: tail(&message, is_cut) }))
}

/// A record as journald takes it.
pub(super) struct Record(pub(super) Vec<u8>);

impl Record {
    fn new(priority: &[u8]) -> Self {
        let mut record = Self(Vec::with_capacity(1024));
        record.field("PRIORITY", priority);
        record.field("SYSLOG_IDENTIFIER", b"wardend-file");
        record
    }

    /// That of a line of the file `path`, with the place behind it.
    pub(super) fn of(line: &Line<'_>, place: &Place, path: &[u8]) -> Self {
        let mut record = Self::new(b"6");
        record.field("MESSAGE", line.text);
        record.field(PATH, path);
        record.field(INODE, format!("{}:{}", place.device, place.inode).as_bytes());
        record.field(OFFSET, place.offset.to_string().as_bytes());
        if line.is_cut {
            record.field(CUT, b"1");
        }
        record
    }

    /// A value of any bytes.
    fn field(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_any_bytes_with_their_length_before_them() {
        let mut record = Record(Vec::new());
        record.field("MESSAGE", b"a\n\0\xff");
        assert_eq!(record.0, b"MESSAGE\n\x04\0\0\0\0\0\0\0a\n\0\xff\n");
    }
}
