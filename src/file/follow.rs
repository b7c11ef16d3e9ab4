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

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    lines::{Begun, Line, Splitter},
    place::{Place, open, rotated},
};

/// How long a file is still followed that has lost its name, since it last grew.
const GRACE: Duration = Duration::from_secs(60);
/// The most files that are followed beside the one with the name.
const MOST_OLD: usize = 4;
const CHUNK: usize = 64 * 1024;

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

/// A file that is open.
#[derive(Debug)]
struct Open {
    file: File,
    place: Place,
    splitter: Splitter,
    /// When it last grew.
    grew: Instant,
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

impl Open {
    fn at_the_beginning(file: File) -> io::Result<Self> {
        Ok(Self { place: Place::beginning(&file)?, file, splitter: Splitter::default(), grew: Instant::now() })
    }

    /// Behind the last line break: what follows is a line that has only begun.
    fn at_the_end(file: File) -> io::Result<Self> {
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
    fn read(&mut self, path: &Path, now: Instant, out: &mut impl FnMut(News<'_>)) {
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
fn newer(path: &Path, is_it: impl Fn(&File) -> io::Result<bool>) -> Vec<File> {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// A file, what is read of it, and what was told.
    struct Scene {
        root: tempfile::TempDir,
        follower: Option<Follower>,
        places: Option<Vec<Place>>,
        lines: Vec<String>,
        news: Vec<&'static str>,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                root: tempfile::tempdir().unwrap(),
                follower: None,
                places: Some(Vec::new()),
                lines: Vec::new(),
                news: Vec::new(),
                now: Instant::now(),
            }
        }

        fn path(&self) -> PathBuf {
            self.root.path().join("log")
        }

        fn append(&self, text: &str) {
            use std::io::Write;
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(self.path())
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        }

        /// Moves the rotated files on by one number.
        fn shift(&self) {
            for number in (1..20).rev() {
                let of = |number| self.root.path().join(format!("log.{number}"));
                if of(number).exists() {
                    fs::rename(of(number), of(number + 1)).unwrap();
                }
            }
        }

        fn rename(&self) {
            self.shift();
            fs::rename(self.path(), self.root.path().join("log.1")).unwrap();
            fs::write(self.path(), "").unwrap();
        }

        fn copy_and_empty(&self) {
            self.shift();
            fs::copy(self.path(), self.root.path().join("log.1")).unwrap();
            File::options().write(true).open(self.path()).unwrap().set_len(0).unwrap();
        }

        fn pump(&mut self) {
            let (path, lines, news) = (self.root.path().join("log"), &mut self.lines, &mut self.news);
            let mut out = |it: News<'_>| match it {
                News::Line(line, _) => lines.push(String::from_utf8_lossy(line.text).into_owned()),
                News::FirstTime => news.push("first"),
                News::Rotated => news.push("rotated"),
                News::Emptied => news.push("emptied"),
                News::LostPlace => news.push("lost"),
                News::LeftOut(_) => news.push("left out"),
                News::Unreadable(..) => news.push("unreadable"),
            };
            let places = &self.places;
            let follower = self.follower.get_or_insert_with(|| Follower::resume(&path, places.as_deref(), &mut out));
            follower.pump(self.now, &mut out);
            self.places = Some(follower.places());
        }

        /// The process dies, and another goes on where it has told that it was.
        fn restart(&mut self) {
            self.follower = None;
        }
    }

    #[test]
    fn nobody_has_read_it_before_so_reading_begins_behind_its_last_line() {
        let mut scene = Scene::new();
        scene.places = None;
        scene.append("old\nhalf");
        scene.pump();
        scene.append(" a line\nnew\n");
        scene.pump();
        assert_eq!((scene.lines, scene.news), (vec!["half a line".to_owned(), "new".to_owned()], vec!["first"]));
    }

    #[test]
    fn it_may_begin_in_the_middle_of_a_line_without_making_a_line_of_the_rest() {
        let mut scene = Scene::new();
        scene.places = None;
        scene.append(&"x".repeat(2 * CHUNK));
        scene.pump();
        scene.append("rest\nnew\n");
        scene.pump();
        assert_eq!(scene.lines, ["new"]);
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_told_once_and_read_from_its_beginning() {
        let mut scene = Scene::new();
        scene.places = None;
        scene.pump();
        scene.pump();
        scene.append("a\n");
        scene.pump();
        assert_eq!((scene.lines, scene.news), (vec!["a".to_owned()], vec!["first", "unreadable"]));
    }

    #[test]
    fn what_the_program_still_writes_into_the_renamed_file_is_read() {
        use std::io::Write;
        let mut scene = Scene::new();
        scene.append("a\n");
        scene.pump();
        let mut old = fs::OpenOptions::new().append(true).open(scene.path()).unwrap();
        scene.rename();
        scene.append("c\n");
        scene.pump();
        old.write_all(b"b\nhalf").unwrap();
        scene.pump();
        assert_eq!(scene.lines, ["a", "c", "b"]);
        scene.now += GRACE;
        scene.pump();
        assert_eq!(scene.news, ["rotated", "left out"]);
        assert_eq!(scene.places.unwrap().len(), 1);
    }

    #[test]
    fn a_place_that_is_nowhere_to_be_found_is_told() {
        let mut scene = Scene::new();
        scene.append("a\n");
        scene.pump();
        scene.restart();
        fs::remove_file(scene.path()).unwrap();
        scene.append("b\nc\n");
        scene.pump();
        assert_eq!((scene.lines, scene.news), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], vec!["lost"]));
    }

    #[test]
    fn a_line_that_is_begun_when_the_file_is_emptied_does_not_grow_together_with_the_next() {
        let mut scene = Scene::new();
        scene.append("a\nhalf");
        scene.pump();
        fs::write(scene.path(), "bcdefghij\n").unwrap();
        scene.pump();
        assert_eq!(
            (scene.lines, scene.news),
            (vec!["a".to_owned(), "bcdefghij".to_owned()], vec!["left out", "emptied"])
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Lines(usize),
        Half,
        Rename,
        CopyAndEmpty,
        Pump,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_usize..4).prop_map(Step::Lines),
            1 => Just(Step::Half),
            1 => Just(Step::Rename),
            1 => Just(Step::CopyAndEmpty),
            3 => Just(Step::Pump),
            2 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever happens to the file, and whenever the process dies: each line once.
        #[test]
        fn no_line_is_lost_or_read_twice(steps in prop::collection::vec(step(), 1..40)) {
            let mut scene = Scene::new();
            scene.append("");
            scene.pump();
            // Of a file of which nothing was read, nobody can recognize the copy.
            let (mut written, mut half, mut known) = (Vec::new(), false, false);
            for step in steps {
                // A program ends its line before its file is rotated.
                if half && matches!(step, Step::Lines(_) | Step::Rename | Step::CopyAndEmpty) {
                    scene.append(" whole\n");
                    half = false;
                }
                match step {
                    Step::Lines(count) => for _ in 0..count {
                        written.push(format!("line {}", written.len()));
                        scene.append(&format!("line {}\n", written.len() - 1));
                    },
                    Step::Half => if !half {
                        half = true;
                        scene.append(&format!("half {}", written.len()));
                        written.push(format!("half {} whole", written.len()));
                    },
                    Step::Rename => {
                        scene.rename();
                        known = false;
                    }
                    Step::CopyAndEmpty => if std::mem::take(&mut known) {
                        scene.copy_and_empty();
                    },
                    Step::Pump => {
                        scene.pump();
                        known = scene.places.iter().flatten().last().is_some_and(|place| place.offset > 0);
                    }
                    Step::Restart => scene.restart(),
                }
            }
            if half {
                scene.append(" whole\n");
            }
            scene.pump();
            scene.lines.sort_by_key(|line| line.split(' ').nth(1).and_then(|number| number.parse::<usize>().ok()));
            prop_assert_eq!(&scene.lines, &written, "{:?}", scene.news);
        }
    }
}
