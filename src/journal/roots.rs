//! Whether the journal that is followed is the one that is there.
//!
//! sd-journal follows the directories that existed when it was opened, and learns of new files by
//! inotify alone. So it goes deaf without a word when persistent storage is switched on, when a
//! directory is removed and made again or mounted over, and when there is no inotify instance,
//! inotify watch or file descriptor left. Here the places are looked at (a handful of stat(2)
//! calls every two seconds, when the reader is awake anyway): each file that journald writes to at
//! the moment must be open in this process. One that is not for a few seconds has been missed by
//! sd-journal.

use std::{
    collections::HashSet,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often to look.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// How often to look thoroughly, even if nothing seems to have changed.
const THOROUGH: Duration = Duration::from_secs(60);
/// How long sd-journal may take to open a file by itself; then it has missed it.
const GRACE: Duration = Duration::from_secs(4);
/// How often the journal may be opened again while that does not help.
const AGAIN: Duration = Duration::from_secs(10);

/// The file of a directory that journald writes the system's entries to.
const ONLINE: &str = "system.journal";
/// Where a journal file says whether it is being written to, and what it says then.
const STATE: u64 = 16;
const STATE_ONLINE: u8 = 1;
/// Where it counts its entries.
const ENTRIES: u64 = 152;

/// A file or directory, whatever its name.
type Inode = (u64, u64);
/// A directory, and when something in it was last made, renamed or removed.
type Stamp = (Inode, i64, i64);

/// What there is in the places where the journal is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    /// The directories, with the time of their last change.
    directories: Vec<Stamp>,
    /// The files that journald writes to.
    online: Vec<(Inode, PathBuf)>,
    /// A place that can't be looked at, and why.
    closed: Option<(PathBuf, String)>,
}

impl Places {
    /// What is there; nothing, if nothing is or it can't be seen.
    fn look_at(&mut self, path: &Path) -> Option<Metadata> {
        match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.closed.get_or_insert_with(|| (path.to_owned(), error.to_string()));
                }
                None
            }
        }
    }
}

/// What is to be done about the journal that is followed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// It is the one that is there, or sd-journal may still find out by itself.
    GoOn,
    /// Open it again: this file is not followed.
    Reopen(PathBuf),
}

/// A file that is not followed.
#[derive(Debug)]
struct Missed {
    since: Instant,
    /// How many entries it had then.
    entries: u64,
}

/// The directories of journal namespaces in a root.
#[derive(Debug, Default)]
struct Listing {
    /// The root when it was listed.
    stamp: Option<Stamp>,
    /// It was listed with the same stamp at two looks, so what was made in the very moment of the
    /// first is there.
    settled: bool,
    names: Vec<String>,
}

/// Looks at the places.
#[derive(Debug)]
pub(super) struct Watch {
    roots: Vec<PathBuf>,
    /// Of each of the roots.
    listings: Vec<Listing>,
    machine: String,
    places: Places,
    looked: Instant,
    searched: Option<Instant>,
    /// Since when there is no file that journald writes to. A rotation takes it away for a moment.
    empty: Option<Instant>,
    missed: Option<(Inode, Missed)>,
    reopened: Option<Instant>,
}

impl Watch {
    /// Over this machine's journal.
    pub(super) fn new() -> Self {
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Self::over(["/run/log/journal", "/var/log/journal"].map(PathBuf::from).to_vec(), machine.trim())
    }

    fn over(roots: Vec<PathBuf>, machine: &str) -> Self {
        Self {
            listings: roots.iter().map(|_| Listing::default()).collect(),
            roots,
            machine: machine.to_owned(),
            places: Places::default(),
            looked: Instant::now(),
            searched: None,
            empty: None,
            missed: None,
            reopened: None,
        }
    }

    /// Looks, if it is time to.
    pub(super) fn look(&mut self, now: Instant) -> Advice {
        if now.duration_since(self.looked) < LOOK {
            return Advice::GoOn;
        }
        self.looked = now;
        let places = self.survey();
        let changed = places != self.places;
        self.empty = places.online.is_empty().then(|| self.empty.unwrap_or(now));
        self.places = places;
        let searched_lately = self.searched.is_some_and(|at| now.duration_since(at) < THOROUGH);
        if !changed && searched_lately && self.missed.is_none() {
            return Advice::GoOn;
        }
        self.searched = Some(now);
        let Some(open) = Open::in_this_process(&self.roots) else { return Advice::GoOn };
        self.judge(&open, now)
    }

    /// The journal was opened again just now.
    pub(super) fn has_been_opened(&mut self, now: Instant) {
        self.places = self.survey();
        self.looked = now;
        self.searched = None;
        self.missed = None;
        self.reopened = Some(now);
    }

    /// Why a journal that was opened is not followed whole: the file that is to blame, and what
    /// the system says of it. Nothing, if nothing is wrong.
    pub(super) fn trouble(&self) -> Option<(PathBuf, String)> {
        let open = Open::in_this_process(&self.roots)?;
        let (_, path) = self.places.online.iter().find(|(inode, _)| !open.inodes.contains(inode))?;
        let why = match File::open(path) {
            Err(error) => error.to_string(),
            Ok(_) => "libsystemd does not open it, so it may be damaged".to_owned(),
        };
        Some((path.clone(), why))
    }

    /// A place that this process may not look into.
    pub(super) fn closed(&self) -> Option<&(PathBuf, String)> {
        self.places.closed.as_ref()
    }

    /// Whether more than one journald may be writing.
    pub(super) fn has_several(&self) -> bool {
        self.places.online.len() > 1
    }

    /// Whether there has been no file that journald writes to for some time.
    pub(super) fn is_empty(&self, now: Instant) -> bool {
        self.empty.is_some_and(|since| now.duration_since(since) >= GRACE)
    }

    fn judge(&mut self, open: &Open, now: Instant) -> Advice {
        let Some((inode, path)) = self.places.online.iter().find(|(inode, _)| !open.inodes.contains(inode)) else {
            self.missed = None;
            return Advice::GoOn;
        };
        let entries = entries(path).unwrap_or(0);
        let missed = match &self.missed {
            Some((known, missed)) if known == inode => missed,
            _ => &self.missed.insert((*inode, Missed { since: now, entries })).1,
        };
        let age = now.duration_since(missed.since);
        // Where a directory is mounted over, journald goes on writing to the file that nobody can
        // see any more, and that one is open here. It is left when journald has left it.
        let lives = missed.entries != entries;
        let due = if lives { age >= LOOK } else { age >= GRACE && !open.hides_a_live_file(&self.places) };
        let helped_not = self.reopened.is_some_and(|at| now.duration_since(at) < AGAIN);
        if due && !helped_not { Advice::Reopen(path.clone()) } else { Advice::GoOn }
    }

    fn survey(&mut self) -> Places {
        let mut places = Places::default();
        for (root, listing) in self.roots.iter().zip(&mut self.listings) {
            let Some(metadata) = places.look_at(root) else { continue };
            let changed = stamp(&metadata);
            places.directories.push(changed);
            listing.refresh(root, changed, &self.machine);
            // The directory of this machine, and those of its journal namespaces (MACHINE.NAMESPACE).
            for name in std::iter::once(&self.machine).chain(&listing.names) {
                let directory = root.join(name);
                let Some(metadata) = places.look_at(&directory) else { continue };
                places.directories.push(stamp(&metadata));
                let file = directory.join(ONLINE);
                if let Some(metadata) = places.look_at(&file) {
                    places.online.push((inode(&metadata), file));
                }
            }
        }
        places
    }
}

impl Listing {
    /// Lists the directories of journal namespaces, unless nothing has changed in the root.
    fn refresh(&mut self, root: &Path, stamp: Stamp, machine: &str) {
        let same = self.stamp == Some(stamp);
        if same && self.settled {
            return;
        }
        let Ok(entries) = fs::read_dir(root) else {
            *self = Self::default();
            return;
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_ours = |name: &String| name.strip_prefix(machine).is_some_and(|rest| rest.starts_with('.'));
        let mut names: Vec<String> = names.filter(is_ours).collect();
        names.sort();
        *self = Self { stamp: Some(stamp), settled: same, names };
    }
}

/// What this process has open.
#[derive(Debug, Default)]
struct Open {
    inodes: HashSet<Inode>,
    /// Files of the journal that were not rotated or deleted, each with a path that leads to it.
    online: Vec<(Inode, PathBuf)>,
}

impl Open {
    /// None, if /proc can't tell.
    fn in_this_process(roots: &[PathBuf]) -> Option<Self> {
        let mut open = Self::default();
        for entry in fs::read_dir("/proc/self/fd").ok()?.flatten() {
            let path = entry.path();
            let Ok(target) = fs::read_link(&path) else { continue };
            if !target.starts_with("/") {
                continue;
            }
            let Ok(metadata) = fs::metadata(&path) else { continue };
            open.inodes.insert(inode(&metadata));
            if target.ends_with(ONLINE) && roots.iter().any(|root| target.starts_with(root)) {
                open.online.push((inode(&metadata), path));
            }
        }
        Some(open)
    }

    /// Whether journald writes to a file that is open here and in no place any more.
    fn hides_a_live_file(&self, places: &Places) -> bool {
        let hidden = self.online.iter().filter(|(inode, _)| !places.online.iter().any(|(there, _)| there == inode));
        hidden.into_iter().any(|(_, path)| state(path).is_ok_and(|state| state == STATE_ONLINE))
    }
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

fn stamp(metadata: &Metadata) -> Stamp {
    (inode(metadata), metadata.mtime(), metadata.mtime_nsec())
}

fn state(path: &Path) -> io::Result<u8> {
    let mut state = [0];
    File::open(path)?.read_exact_at(&mut state, STATE)?;
    Ok(state[0])
}

fn entries(path: &Path) -> io::Result<u64> {
    let mut count = [0; 8];
    File::open(path)?.read_exact_at(&mut count, ENTRIES)?;
    Ok(u64::from_le_bytes(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "0123456789abcdef0123456789abcdef";

    /// A file as journald would leave it: only its header counts here.
    fn journal(path: &Path, state: u8, entries: u64) -> File {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut header = vec![0; 256];
        header[16] = state;
        header[152..160].copy_from_slice(&entries.to_le_bytes());
        // In place, as journald writes: the file stays the same one.
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap();
        file.write_all_at(&header, 0).unwrap();
        file
    }

    struct Scene {
        _directory: tempfile::TempDir,
        volatile: PathBuf,
        persistent: PathBuf,
        watch: Watch,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let roots = ["run", "var"].map(|name| directory.path().join(name));
            let [volatile, persistent] = roots.clone().map(|root| root.join(MACHINE).join(ONLINE));
            let mut watch = Watch::over(roots.to_vec(), MACHINE);
            let now = Instant::now();
            watch.has_been_opened(now);
            watch.reopened = None;
            Self { _directory: directory, volatile, persistent, watch, now }
        }

        fn after(&mut self, seconds: u64) -> Advice {
            self.now += Duration::from_secs(seconds);
            self.watch.look(self.now)
        }
    }

    #[test]
    fn a_file_that_is_open_is_followed() {
        let mut scene = Scene::new();
        let _open = journal(&scene.volatile, STATE_ONLINE, 1);
        for _ in 0..60 {
            assert_eq!(scene.after(3), Advice::GoOn);
        }
        assert!(scene.watch.trouble().is_none() && !scene.watch.is_empty(scene.now));
    }

    #[test]
    fn a_root_that_appears_is_followed_within_ten_seconds_though_nothing_is_written() {
        let mut scene = Scene::new();
        let _open = journal(&scene.volatile, STATE_ONLINE, 1);
        assert_eq!(scene.after(3), Advice::GoOn);
        drop(journal(&scene.persistent, STATE_ONLINE, 5));
        assert_eq!(scene.after(2), Advice::GoOn, "sd-journal may find it by itself");
        assert_eq!(scene.after(2), Advice::GoOn);
        assert_eq!(scene.after(2), Advice::Reopen(scene.persistent.clone()));
        assert_eq!(scene.watch.trouble().unwrap().0, scene.persistent);
    }

    #[test]
    fn a_file_that_is_written_to_is_followed_sooner() {
        let mut scene = Scene::new();
        drop(journal(&scene.persistent, STATE_ONLINE, 5));
        assert_eq!(scene.after(2), Advice::GoOn);
        drop(journal(&scene.persistent, STATE_ONLINE, 6));
        assert_eq!(scene.after(2), Advice::Reopen(scene.persistent.clone()));
    }

    #[test]
    fn a_directory_made_again_and_one_that_took_its_place_are_noticed() {
        let mut scene = Scene::new();
        let _open = journal(&scene.persistent, STATE_ONLINE, 5);
        assert_eq!(scene.after(2), Advice::GoOn);
        fs::remove_dir_all(scene.persistent.parent().unwrap()).unwrap();
        assert_eq!(scene.after(2), Advice::GoOn);
        assert!(!scene.watch.is_empty(scene.now), "it may be a rotation");
        assert_eq!(scene.after(4), Advice::GoOn);
        assert!(scene.watch.is_empty(scene.now), "there is nothing to open");
        drop(journal(&scene.persistent, STATE_ONLINE, 1));
        assert_eq!([2, 2].map(|seconds| scene.after(seconds)), [Advice::GoOn, Advice::GoOn]);
        assert_eq!(scene.after(2), Advice::Reopen(scene.persistent.clone()));
    }

    #[test]
    fn a_file_that_journald_still_writes_to_is_not_left_for_a_copy_that_hides_it() {
        let mut scene = Scene::new();
        let open = journal(&scene.persistent, STATE_ONLINE, 5);
        assert_eq!(scene.after(2), Advice::GoOn);
        // As if mounted over: another directory has the name, and the file keeps its own.
        let directory = scene.persistent.parent().unwrap();
        fs::rename(directory, directory.with_file_name("hidden")).unwrap();
        drop(journal(&scene.persistent, STATE_ONLINE, 5));
        for _ in 0..10 {
            assert_eq!(scene.after(2), Advice::GoOn);
        }
        open.write_all_at(&[0], STATE).unwrap();
        assert_eq!(scene.after(2), Advice::Reopen(scene.persistent.clone()), "journald has closed it");
    }

    #[test]
    fn opening_again_in_vain_is_not_done_all_the_time() {
        let mut scene = Scene::new();
        drop(journal(&scene.persistent, STATE_ONLINE, 5));
        let mut times = 0;
        for _ in 0..60 {
            if scene.after(2) != Advice::GoOn {
                times += 1;
                scene.watch.has_been_opened(scene.now);
            }
        }
        assert!((5..=12).contains(&times), "{times} times in two minutes");
    }

    #[test]
    fn the_files_of_namespaces_are_looked_at_too() {
        let mut scene = Scene::new();
        // The root is not listed again and again while nothing changes in it.
        let _open = journal(&scene.persistent, STATE_ONLINE, 5);
        let _also = journal(&scene.volatile, STATE_ONLINE, 1);
        for _ in 0..5 {
            assert_eq!(scene.after(3), Advice::GoOn);
        }
        let of_namespace = scene.volatile.parent().unwrap().with_extension("shells").join(ONLINE);
        drop(journal(&of_namespace, STATE_ONLINE, 1));
        assert_eq!([2, 2].map(|seconds| scene.after(seconds)), [Advice::GoOn, Advice::GoOn]);
        assert_eq!(scene.after(2), Advice::Reopen(of_namespace));
    }
}
