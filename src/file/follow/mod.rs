//! One file followed: through rotations, and from where an earlier process stopped.
//!
//! All that is known of the world are the file's name and what is in its directory. Whenever there may be
//! something new, [`Follower::pump`] reads all there is, oldest first:
//!
//! - The file was renamed, and a new one has its name: the old one is read to its end, and kept for a
//!   while, since its program may not have opened the new one yet.
//! - The file was copied and emptied (copytruncate): what was not read yet stands in the copy.
//! - Between two processes both may have happened, several times: the place where reading stopped is
//!   looked for in all files that a rotation may have made, and all newer ones are read whole.

mod open;

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::open::{Open, newer};
use super::{
    lines::{Begun, Line},
    place::{Place, open, rotated},
};

/// How long a file is still followed that has lost its name, since it last grew.
const GRACE: Duration = Duration::from_secs(60);
/// The most files that are followed beside the one with the name.
const MOST_OLD: usize = 4;

/// What there is to tell.
#[derive(Debug)]
pub(super) enum News<'n> {
    /// A line, and the place behind it.
    Line(Line<'n>, &'n Place),
    /// Reading begins: at the end of the file, since nobody has read it before.
    FirstTime,
    /// A new file has the name.
    Rotated,
    /// The file was emptied, and is read from its beginning.
    Emptied,
    /// Where reading stopped is nowhere to be found: lines may be missing.
    LostPlace,
    /// These bytes at the end of a file have no line break, and nobody will write one any more.
    LeftOut(u64),
    /// A file can't be read.
    Unreadable(&'n Path, &'n io::Error),
}

/// The file, and those that had its name before.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    current: Option<Open>,
    old: Vec<Open>,
    /// Why the file can't be opened; told once.
    unreadable: Option<(io::ErrorKind, String)>,
}

impl Follower {
    /// Goes on at these places; without any, at the beginning of the file; and if nobody has read it
    /// before, at its end.
    pub(super) fn resume(path: &Path, places: Option<&[Place]>, out: &mut impl FnMut(News<'_>)) -> Self {
        let mut follower = Self { path: path.to_owned(), current: None, old: Vec::new(), unreadable: None };
        let Some(places) = places else {
            follower.current = open(path).and_then(Open::at_the_end).ok();
            out(News::FirstTime);
            return follower;
        };
        if places.is_empty() {
            return follower;
        }
        let mut files: Vec<File> = rotated(path).iter().filter_map(|path| open(path).ok()).collect();
        files.extend(open(path));
        // Where a place is: by the file's number and by what stands there, or else by that alone, in a copy.
        let is_at = |file: &File, place: &Place, by_number: bool| {
            place.holds_in(file, Begun::default()).unwrap_or(false)
                && (place.is_number_of(file).unwrap_or(false) || !by_number && !place.tail.is_empty())
        };
        let found: Vec<(usize, &Place)> = places
            .iter()
            .filter_map(|place| {
                let at = |by_number| files.iter().rposition(|file| is_at(file, place, by_number));
                Some((at(true).or_else(|| at(false))?, place))
            })
            .collect();
        let Some(newest) = found.iter().map(|(index, _)| *index).max() else {
            out(News::LostPlace);
            return follower;
        };
        let count = files.len();
        for (index, file) in files.into_iter().enumerate() {
            let place =
                found.iter().filter(|(at, _)| *at == index).map(|(_, place)| *place).max_by_key(|place| place.offset);
            // What is older than the newest that was read, and not among those that were, was read to its end.
            if place.is_none() && index < newest {
                continue;
            }
            let Ok(mut open) = Open::at_the_beginning(file) else { continue };
            if let Some(place) = place {
                open.place.offset = place.offset;
                open.place.tail.clone_from(&place.tail);
            }
            if index + 1 == count && path.exists() {
                follower.current = Some(open);
            } else {
                follower.old.push(open);
            }
        }
        follower
    }

    /// Reads all there is.
    pub(super) fn pump(&mut self, now: Instant, out: &mut impl FnMut(News<'_>)) {
        let Self { path, old, .. } = self;
        for open in &mut *old {
            open.read(path, now, out);
        }
        if let Some(open) = &mut self.current {
            open.read(&self.path, now, out);
        }
        self.look_at_the_name(now, out);
        self.let_go(now, out);
    }

    /// Where to go on.
    pub(super) fn places(&self) -> Vec<Place> {
        self.old.iter().chain(&self.current).map(|open| open.place.clone()).collect()
    }

    /// Whether a file is open.
    pub(super) fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// Opens the file that has the name now, if it is another one.
    fn look_at_the_name(&mut self, now: Instant, out: &mut impl FnMut(News<'_>)) {
        let is_current = |meta: &std::fs::Metadata| {
            let place = self.current.as_ref().map(|open| (open.place.device, open.place.inode));
            place == Some((meta.dev(), meta.ino()))
        };
        match std::fs::metadata(&self.path) {
            Ok(meta) if is_current(&meta) => self.unreadable = None,
            // Between the two steps of a rotation there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.current.is_some() => {}
            _ => match open(&self.path).and_then(Open::at_the_beginning) {
                Ok(open) => {
                    self.unreadable = None;
                    if let Some(mut before) = self.current.replace(open) {
                        out(News::Rotated);
                        // What came since it was read a moment ago.
                        before.read(&self.path, now, out);
                        let missed = newer(&self.path, |file| before.place.is_number_of(file));
                        self.old.push(before);
                        for file in missed {
                            self.read_whole(file, now, out);
                        }
                    }
                    if let Some(open) = &mut self.current {
                        open.read(&self.path, now, out);
                    }
                }
                Err(error) => {
                    let known = (error.kind(), error.to_string());
                    if self.unreadable.as_ref() != Some(&known) {
                        out(News::Unreadable(&self.path, &error));
                        self.unreadable = Some(known);
                    }
                }
            },
        }
    }

    /// Reads a file that has had the name and lost it before anybody looked.
    fn read_whole(&mut self, file: File, now: Instant, out: &mut impl FnMut(News<'_>)) {
        let is_open = |open: &Open| open.place.is_number_of(&file).unwrap_or(true);
        if self.old.iter().chain(&self.current).any(is_open) {
            return;
        }
        if let Ok(mut open) = Open::at_the_beginning(file) {
            open.read(&self.path, now, out);
            self.old.push(open);
        }
    }

    /// Closes what has lost its name and grows no more.
    fn let_go(&mut self, now: Instant, out: &mut impl FnMut(News<'_>)) {
        let surplus = self.old.len().saturating_sub(MOST_OLD);
        let mut index = 0;
        self.old.retain(|open| {
            index += 1;
            let stays = index > surplus && now.saturating_duration_since(open.grew) < GRACE;
            if !stays && open.splitter.begun().length > 0 {
                out(News::LeftOut(open.splitter.begun().length));
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests;
