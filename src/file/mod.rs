//! `wardend-file --unit UNIT FILE`: what wardend-file@.service runs. It brings the lines of one text file
//! into the journal, each as a record of its own, in the name of its unit; so a filter can name that unit and
//! trust it as far as it trusts the file.
//!
//! [`lines`] makes lines of bytes, [`place`] recognizes where reading stopped, [`follow`] follows the file
//! through rotations, and [`journal`] is the way to journald. [`check`] says what no bytes may do. Where reading stopped is known from the
//! records themselves; the state directory has it for when the journal is not kept.

mod check;
mod follow;
mod journal;
mod lines;
mod place;
mod watch;

use std::{
    cell::Cell,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, bail};
use clap::Parser;
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    follow::{Follower, News},
    journal::Sender,
    lines::LONGEST,
    place::Place,
    watch::Watch,
};
use crate::util::{files, text::count};

#[doc(hidden)]
pub use check::check;

/// How often the file is looked at if nothing says that it has changed.
const LOOK: Duration = Duration::from_secs(10);
/// How often the place is saved.
const SAVE: Duration = Duration::from_secs(5);

/// Bring the lines of a text file into the journal; wardend-file@.service runs it.
#[derive(Debug, Parser)]
#[command(name = "wardend-file", version)]
struct Arguments {
    /// The unit that it runs in
    #[arg(long, value_name = "UNIT")]
    unit: String,
    /// The file
    file: PathBuf,
}

/// What is saved.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    places: Vec<Place>,
    /// When, in µs.
    #[serde(default)]
    time: u64,
}

/// Runs wardend-file with this process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says something of its own, which is no line of the file: it goes to standard error, so _TRANSPORT= is
/// another.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.file;
    if !path.is_absolute() {
        bail!("'{}' is not an absolute path.", path.display());
    }
    let store = env::var_os("STATE_DIRECTORY").map(|directory| Path::new(&directory).join("place.json"));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let sender = Sender::new(path).context("There is no socket to be had")?;
    let mut teller = Teller::default();
    let mut follower = {
        let places = where_to_begin(arguments, &sender, store.as_deref());
        Follower::resume(path, places.as_deref(), &mut |news| teller.tell(&news, path, &sender))
    };
    let watch = Watch::new().context("The kernel has no inotify left (fs.inotify.max_user_instances)")?;
    let mut saved: Option<(Vec<Place>, Instant)> = None;
    let mut is_ready = false;
    loop {
        watch.at(path);
        follower.pump(Instant::now(), &mut |news| teller.tell(&news, path, &sender));
        let places = follower.places();
        if saved.as_ref().is_none_or(|(known, at)| *known != places && at.elapsed() >= SAVE) {
            save(store.as_deref(), &places);
            saved = Some((places, Instant::now()));
        }
        let status = teller.status(&follower);
        let mut message = vec![NotifyState::Status(&status)];
        if !std::mem::replace(&mut is_ready, true) {
            message.push(NotifyState::Ready);
        }
        let _ = sd_notify::notify(&message);
        let pause = if saved.as_ref().is_some_and(|(known, _)| *known != follower.places()) { SAVE } else { LOOK };
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep(pause) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    follower.pump(Instant::now(), &mut |news| teller.tell(&news, path, &sender));
    save(store.as_deref(), &follower.places());
    Ok(())
}

/// The places at which an earlier process stopped: as the journal says, or else as they were saved. None, if
/// there was no earlier one.
fn where_to_begin(arguments: &Arguments, sender: &Sender, store: Option<&Path>) -> Option<Vec<Place>> {
    let saved: Option<Saved> = store.and_then(|store| serde_json::from_slice(&fs::read(store).ok()?).ok());
    let mark = format!("{}-{}", now(), std::process::id());
    let mut failed = failures();
    let found = sender.begin(&arguments.unit, &mark, &mut failed);
    if let Some(why) = found.unread {
        say(&format!("The journal does not say where reading stopped: {why}; what was saved is used instead."));
    }
    newest(found.places, saved)
}

/// For each file the place that is newest: what was saved may be some seconds old, and the journal may not go
/// back to an empty line. The furthest is not the newest in a file that was emptied meanwhile.
fn newest(found: Vec<(Place, u64)>, saved: Option<Saved>) -> Option<Vec<Place>> {
    let Some(saved) = saved else {
        return (!found.is_empty()).then(|| found.into_iter().map(|(place, _)| place).collect());
    };
    let mut places = saved.places;
    // The journal has older files as well, which were read to their ends long ago.
    for (place, time) in found {
        match places.iter_mut().find(|known| (known.device, known.inode) == (place.device, place.inode)) {
            Some(known) if saved.time < time || known.offset < place.offset => *known = place,
            Some(_) => break,
            None => places.push(place),
        }
    }
    Some(places)
}

/// In µs.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

fn save(store: Option<&Path>, places: &[Place]) {
    let Some(store) = store else { return };
    let saved = Saved { places: places.to_vec(), time: now() };
    let written = serde_json::to_vec(&saved).map_err(Into::into).and_then(|text| files::replace(store, &text, 0o600));
    if let Err(error) = written {
        say(&format!("{} can't be written: {error}.", store.display()));
    }
}

/// Says that journald takes nothing, once until it does again.
fn failures() -> impl FnMut(&io::Error) {
    let said = Cell::new(false);
    move |error| {
        if !said.replace(true) {
            say(&format!("journald takes nothing at the moment: {error}; reading goes on when it does."));
        }
    }
}

/// Hands on what is news, and counts it.
#[derive(Debug, Default)]
struct Teller {
    lines: usize,
    cut: usize,
    odd: usize,
}

impl Teller {
    fn tell(&mut self, news: &News<'_>, path: &Path, sender: &Sender) {
        let name = path.display();
        match news {
            News::Line(line, place) => {
                self.lines += 1;
                if line.is_cut {
                    self.cut += 1;
                    if self.cut == 1 {
                        say(&format!(
                            "{name}: the line that ends at byte {} is longer than {LONGEST} bytes. The rest of such lines is \
                             left out, and their records have WARDEND_FILE_CUT=1.",
                            place.offset
                        ));
                    }
                } else if line.text.contains(&0) || str::from_utf8(line.text).is_err() {
                    self.odd += 1;
                    if self.odd == 1 {
                        say(&format!(
                            "{name}: the line that ends at byte {} has NUL bytes or is not UTF-8. Such lines are kept as \
                             they are; journalctl --all shows them.",
                            place.offset
                        ));
                    }
                }
                // An empty line says nothing.
                if !line.text.is_empty() {
                    sender.line(line, place, &mut failures());
                }
            }
            News::FirstTime => say(&format!("{name} has not been read before: what is written from now on is read.")),
            News::Rotated => say(&format!("{name} is a new file.")),
            News::Emptied => say(&format!("{name} was emptied, and is read from its beginning.")),
            News::LostPlace => say(&format!(
                "{name}: where reading stopped is neither in this file nor in one beside it, so lines may be missing; it is \
                 read from its beginning."
            )),
            News::LeftOut(bytes) => {
                let bytes = count(*bytes, "byte at its end has", "bytes at its end have");
                say(&format!("{name}: {bytes} no line break, and are left out."));
            }
            News::Unreadable(path, error) => say(&unreadable(path, error)),
        }
    }

    fn status(&self, follower: &Follower) -> String {
        let mut status = format!("{} since the start", count(self.lines, "line", "lines"));
        if self.cut > 0 {
            status += &format!(", {} too long", self.cut);
        }
        if self.odd > 0 {
            status += &format!(", {} with NUL bytes or not UTF-8", self.odd);
        }
        if follower.is_open() { status + "." } else { format!("Waiting for the file; {status}.") }
    }
}

/// Why a file can't be read, and the mend. The unit only sees some directories.
fn unreadable(path: &Path, error: &io::Error) -> String {
    let (name, directory) = (path.display(), path.parent().unwrap_or(Path::new("/")).display());
    if error.kind() == io::ErrorKind::NotFound && !path.parent().is_some_and(Path::exists) {
        return format!(
            "{name}: the directory {directory} does not exist, or this unit does not see it: add \
             BindReadOnlyPaths={directory} to its section [Service] with `systemctl edit`."
        );
    }
    match error.kind() {
        io::ErrorKind::NotFound => format!("{name} does not exist yet; it is read when it does."),
        _ => format!("{name} can't be read: {error}; this is tried again."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_place_of_each_file_counts() {
        let place = |inode, offset| Place { device: 1, inode, offset, tail: Vec::new() };
        let saved = |places: &[Place]| Some(Saved { places: places.to_vec(), time: 100 });
        let newest = |found: Vec<Place>, saved| newest(found.into_iter().map(|place| (place, 50)).collect(), saved);
        assert_eq!(newest(Vec::new(), None), None, "nobody has read it before");
        assert_eq!(newest(Vec::new(), saved(&[])), Some(Vec::new()));
        assert_eq!(newest(vec![place(1, 5)], None), Some(vec![place(1, 5)]));
        assert_eq!(newest(vec![place(1, 5)], saved(&[place(1, 3)])), Some(vec![place(1, 5)]));
        assert_eq!(newest(vec![place(1, 5)], saved(&[place(1, 7)])), Some(vec![place(1, 7)]));
        let journal = vec![place(3, 9), place(2, 8), place(1, 100)];
        assert_eq!(newest(journal, saved(&[place(2, 8)])), Some(vec![place(2, 8), place(3, 9)]));
        // Emptied since it was saved.
        let emptied = super::newest(vec![(place(1, 5), 150)], saved(&[place(1, 7)]));
        assert_eq!(emptied, Some(vec![place(1, 5)]));
    }
}
