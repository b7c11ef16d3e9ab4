//! A place in a file, kept so that it is found again after a rotation and a restart.
//!
//! An inode number says little: it is given to the next file as soon as the previous one is deleted, and
//! a file that is copied and emptied keeps it. So the last bytes that were read belong to the place, and
//! it is only that file's if they still stand there.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::lines::Begun;

/// The number of bytes by which a place is recognized.
const TAIL: usize = 256;

/// The end of a line that was read: there reading goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) offset: u64,
    /// What stands before it: the end of the line, its line break included.
    pub(super) tail: Vec<u8>,
}

impl Place {
    /// The beginning of a file.
    pub(super) fn beginning(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { device: meta.dev(), inode: meta.ino(), ..Self::default() })
    }

    /// Goes behind a line. Of one that was cut only the line break is known.
    pub(super) fn pass(&mut self, line: &[u8], is_cut: bool, length: u64) {
        self.offset += length;
        self.tail = tail(line, is_cut);
    }

    /// Whether the file is the one that the place is in, as far as its number says.
    pub(super) fn is_number_of(&self, file: &File) -> io::Result<bool> {
        let meta = file.metadata()?;
        Ok((self.device, self.inode) == (meta.dev(), meta.ino()))
    }

    /// Whether in this file, what was read still stands before the place, and `begun` behind it.
    pub(super) fn holds_in(&self, file: &File, begun: Begun<'_>) -> io::Result<bool> {
        if file.metadata()?.len() < self.offset + begun.length {
            return Ok(false);
        }
        let beginning = &begun.text[..begun.text.len().min(TAIL)];
        Ok(stands_at(file, self.offset.saturating_sub(self.tail.len() as u64), &self.tail)?
            && stands_at(file, self.offset + begun.nuls, beginning)?)
    }
}

/// What is remembered of a line to find its end again.
pub(super) fn tail(line: &[u8], is_cut: bool) -> Vec<u8> {
    let line = if is_cut { &[] } else { &line[line.len() - line.len().min(TAIL - 1)..] };
    [line, b"\n"].concat()
}

fn stands_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; bytes.len()];
    match file.read_exact_at(&mut found, at) {
        Ok(()) => Ok(found == bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a regular file; what is no file has no lines.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // Looked at first: a pipe would be opened only when somebody writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}

/// The files beside `path` that a rotation may have made of it, the oldest first: `NAME.1`, `NAME-20251126`.
/// What is compressed can't be read on.
pub(super) fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<((SystemTime, i64), PathBuf)> = entries
        .flatten()
        .filter(|entry| is_rotated(name, &entry.file_name()))
        .filter_map(|entry| {
            let written = entry.metadata().ok().filter(fs::Metadata::is_file)?.modified().ok()?;
            Some(((written, turn(&entry.file_name())), entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The order of files that were written at one time: a number grows with the age, a date shrinks.
fn turn(name: &OsStr) -> i64 {
    const MOST_DIGITS: usize = 4;
    let bytes = name.as_bytes();
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let number = str::from_utf8(&bytes[bytes.len() - digits..]).ok().and_then(|digits| digits.parse::<i64>().ok());
    match number {
        Some(number) if digits <= MOST_DIGITS => -number,
        number => number.unwrap_or_default(),
    }
}

fn is_rotated(name: &OsStr, other: &OsStr) -> bool {
    let Some(suffix) = other.as_bytes().strip_prefix(name.as_bytes()) else { return false };
    suffix.first().is_some_and(|first| b".-_".contains(first))
        && suffix.iter().any(u8::is_ascii_digit)
        && suffix.iter().all(|byte| byte.is_ascii_digit() || b".-_:T".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_what_stands_there_and_not_by_the_number_of_the_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        let begun = |length, text| Begun { length, nuls: 0, text };
        fs::write(&path, "one\ntwo\nthr").unwrap();
        let file = open(&path).unwrap();
        let mut place = Place::beginning(&file).unwrap();
        place.pass(b"one", false, 4);
        place.pass(b"two", false, 4);
        assert!(place.is_number_of(&file).unwrap() && place.holds_in(&file, begun(3, b"thr")).unwrap());
        assert!(!place.holds_in(&file, begun(3, b"xyz")).unwrap(), "another line begins there");
        assert!(!place.holds_in(&file, begun(4, b"thr")).unwrap(), "the file is shorter");
        fs::write(&path, "ONE\nTWO\nthree\n").unwrap();
        assert!(place.is_number_of(&file).unwrap() && !place.holds_in(&file, Begun::default()).unwrap());
        let mut long = Place::beginning(&file).unwrap();
        long.pass(&[b'a'; 9999], false, 10_000);
        assert_eq!(long.tail.len(), TAIL);
    }

    #[test]
    fn what_a_rotation_makes_has_the_name_and_a_number_or_a_date_behind_it() {
        for (other, is) in [
            ("a.log.1", true),
            ("a.log.12", true),
            ("a.log-20251126", true),
            ("a.log.2025-11-26T10:00", true),
            ("a.log", false),
            ("a.log.1.gz", false),
            ("a.log.bak", false),
            ("a.log.", false),
            ("a.log1", false),
            ("b.log.1", false),
        ] {
            assert_eq!(is_rotated(OsStr::new("a.log"), OsStr::new(other)), is, "{other}");
        }
        let error = open(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
