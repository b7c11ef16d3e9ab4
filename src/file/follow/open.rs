//! A file that is open: read to its end, and on in its copy if it was emptied.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, time::Instant};

use super::News;
use crate::file::{
    lines::Splitter,
    place::{Place, open, rotated},
};

pub(super) const CHUNK: usize = 64 * 1024;

/// A file that is open.
#[derive(Debug)]
pub(super) struct Open {
    file: File,
    pub(super) place: Place,
    pub(super) splitter: Splitter,
    /// When it last grew.
    pub(super) grew: Instant,
}

impl Open {
    pub(super) fn at_the_beginning(file: File) -> io::Result<Self> {
        Ok(Self { place: Place::beginning(&file)?, file, splitter: Splitter::default(), grew: Instant::now() })
    }

    /// Behind the last line break: what follows is a line that has only begun.
    pub(super) fn at_the_end(file: File) -> io::Result<Self> {
        let mut open = Self::at_the_beginning(file)?;
        let end = open.file.metadata()?.len();
        let mut chunk = vec![0; CHUNK];
        let begin = end.saturating_sub(CHUNK as u64);
        let length = read_at(&open.file, &mut chunk, begin)?;
        match chunk[..length].iter().rposition(|byte| *byte == b'\n') {
            Some(last) => {
                open.place.offset = begin + last as u64 + 1;
                open.place.tail = b"\n".to_vec();
            }
            None if begin > 0 => {
                open.place.offset = begin;
                open.splitter = Splitter::in_the_middle();
            }
            None => {}
        }
        Ok(open)
    }

    /// Reads to the end of the file.
    pub(super) fn read(&mut self, path: &Path, now: Instant, out: &mut impl FnMut(News<'_>)) {
        if let Err(error) = self.try_to_read(path, now, out) {
            out(News::Unreadable(path, &error));
        }
    }

    fn try_to_read(&mut self, path: &Path, now: Instant, out: &mut impl FnMut(News<'_>)) -> io::Result<()> {
        if !self.place.holds_in(&self.file, self.splitter.begun())? {
            self.read_the_copy(path, now, out)?;
            out(News::Emptied);
            self.place = Place::beginning(&self.file)?;
            self.splitter = Splitter::default();
        }
        self.read_on(now, out)
    }

    fn read_on(&mut self, now: Instant, out: &mut impl FnMut(News<'_>)) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = read_at(&self.file, &mut chunk, self.place.offset + self.splitter.begun().length)?;
            if length == 0 {
                return Ok(());
            }
            self.grew = now;
            let place = &mut self.place;
            self.splitter.feed(&chunk[..length], |line, length| match line {
                Some(line) => {
                    place.pass(line.text, line.is_cut, length);
                    out(News::Line(line, place));
                }
                None => place.pass(b"", true, length),
            });
        }
    }

    /// The file was emptied: what was not read of it stands in a copy, if there is one.
    fn read_the_copy(&mut self, path: &Path, now: Instant, out: &mut impl FnMut(News<'_>)) -> io::Result<()> {
        let known = self.place.offset + self.splitter.begun().length;
        if known == 0 {
            return Ok(());
        }
        let is_copy =
            |file: &File| Ok(!self.place.is_number_of(file)? && self.place.holds_in(file, self.splitter.begun())?);
        let mut files = files_from(path, is_copy).into_iter();
        let Some(copy) = files.next() else {
            if self.splitter.begun().length > 0 {
                out(News::LeftOut(self.splitter.begun().length));
            }
            return Ok(());
        };
        let (place, splitter) = (self.place.clone(), std::mem::take(&mut self.splitter));
        let mut copies = vec![Self { file: copy, place, splitter, grew: now }];
        // It may have been copied and emptied more than once.
        for file in files {
            if self.place.is_number_of(&file)? {
                break;
            }
            copies.push(Self::at_the_beginning(file)?);
        }
        for mut copy in copies {
            copy.read_on(now, out)?;
            if copy.splitter.begun().length > 0 {
                out(News::LeftOut(copy.splitter.begun().length));
            }
        }
        Ok(())
    }
}

/// The rotated files from the newest on that is the one looked for, the oldest first; none if it is not there.
fn files_from(path: &Path, is_it: impl Fn(&File) -> io::Result<bool>) -> Vec<File> {
    let mut files: Vec<File> = rotated(path).iter().filter_map(|path| open(path).ok()).collect();
    match files.iter().rposition(|file| is_it(file).unwrap_or(false)) {
        Some(index) => files.split_off(index),
        None => Vec::new(),
    }
}

/// The rotated files that are newer than the one looked for.
pub(super) fn newer(path: &Path, is_it: impl Fn(&File) -> io::Result<bool>) -> Vec<File> {
    files_from(path, is_it).into_iter().skip(1).collect()
}

fn read_at(file: &File, chunk: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(chunk, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
