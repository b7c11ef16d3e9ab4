//! The engine's state on disk, with the place in the journal that it is true for.
//!
//! The journal is the log and this is the checkpoint: after any stop the daemon loads it, reads
//! the journal on from its cursor, and comes to the same bans. One versioned JSON document,
//! written beside its place and renamed, so that a reader finds the old one or the new one and
//! never half of one. Its last member is a checksum over the state: a flipped bit could ban
//! somebody else. The document before is kept too. Where the newest can't be used it is put
//! aside for whoever wants to know why, and the one before leads to the same bans, by a longer
//! way through the journal.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    core::{
        engine::{Engine, SavedEngine},
        record::Cursor,
        time::Usec,
    },
    util::fnv,
};

/// The version of the format; another one is not read.
const VERSION: u32 = 2;

/// The state at one place of the journal.
#[doc(hidden)]
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last record that the state has seen.
    pub(crate) cursor: Option<Cursor>,
    /// When it was written, in µs.
    pub(crate) written: Usec,
    pub(crate) engine: SavedEngine,
}

impl Snapshot {
    /// The state of an engine that has read up to `cursor`, at the time `written` in µs.
    pub(crate) fn of(engine: &Engine, cursor: Option<Cursor>, written: Usec) -> Self {
        Self { cursor, written, engine: engine.save() }
    }
}

/// What every version of the format has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The document as it is read. It is written by [`write`], member by member.
#[derive(Deserialize)]
struct Document<'d> {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(borrow)]
    state: &'d RawValue,
    checksum: &'d str,
}

/// Passes bytes on, and hashes them.
struct Hashing<W> {
    to: W,
    hash: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.write(bytes)?;
        self.hash = fnv::add(self.hash, &bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn write(snapshot: &Snapshot, mut to: impl Write) -> io::Result<()> {
    write!(to, "{{\"version\":{VERSION},\"state\":")?;
    let mut state = Hashing { to: &mut to, hash: fnv::START };
    serde_json::to_writer(&mut state, snapshot)?;
    let hash = state.hash;
    writeln!(to, ",\"checksum\":\"{hash:016x}\"}}")?;
    to.flush()
}

/// What is wrong with a document: the middle of a sentence.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("can't be read ({0})")]
    Unreadable(io::Error),
    #[error("is damaged ({0})")]
    Damaged(#[from] serde_json::Error),
    #[error("is damaged (its checksum is another)")]
    Checksum,
    #[error("has version {0}, and this wardend reads version {VERSION}")]
    Version(u32),
    #[error("names no place in a journal ('{0}')")]
    Cursor(String),
}

/// Reads a document.
fn read(text: &[u8]) -> Result<Snapshot, LoadError> {
    // The version first: a later format need not parse as this one.
    match serde_json::from_slice::<Version>(text)? {
        Version { version: VERSION } => {}
        Version { version } => return Err(LoadError::Version(version)),
    }
    let document: Document<'_> = serde_json::from_slice(text)?;
    let hash = fnv::add(fnv::START, document.state.get().as_bytes());
    if document.checksum != format!("{hash:016x}") {
        return Err(LoadError::Checksum);
    }
    let snapshot: Snapshot = serde_json::from_str(document.state.get())?;
    match &snapshot.cursor {
        Some(cursor) if cursor.moment().is_none() => Err(LoadError::Cursor(cursor.to_string())),
        _ => Ok(snapshot),
    }
}

/// As [`read`]; none, if there is no such file.
fn read_file(path: &Path) -> Result<Option<Snapshot>, LoadError> {
    match fs::read(path) {
        Ok(text) => read(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LoadError::Unreadable(error)),
    }
}

/// What was found at the start.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) snapshot: Option<Snapshot>,
    /// What could not be used, in a sentence.
    pub(crate) trouble: Option<String>,
}

/// Why the state is not saved.
#[doc(hidden)]
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error(
        "{path} can't be written ({1}); bans stay in force, but after a restart what happened since the last write is read from the journal again.",
        path = .0.display()
    )]
    Refused(PathBuf, io::Error),
    #[error("The state was not saved: {0}.")]
    Ended(String),
}

/// The file, and the one before.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
    before: PathBuf,
}

impl Store {
    /// The files of a directory.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join("state.json"), before: directory.join("state.json.before") }
    }

    /// Loads the snapshot; none if there is none yet.
    pub(crate) fn load(&self) -> Loaded {
        let why = match read_file(&self.path) {
            Ok(snapshot) => return Loaded { snapshot, trouble: None },
            Err(why) => why,
        };
        let kept = self.put_aside();
        let (snapshot, then) = match read_file(&self.before) {
            Ok(Some(snapshot)) => {
                let then = "wardend goes on from the state that was saved before it, and loses nothing but orders given in between";
                (Some(snapshot), then.to_owned())
            }
            Ok(None) => (None, "wardend starts from the journal".to_owned()),
            Err(why) => (None, format!("wardend starts from the journal, because {} {why} too", self.before.display())),
        };
        Loaded { snapshot, trouble: Some(format!("{} {why}; {kept}, and {then}.", self.path.display())) }
    }

    /// Writes the snapshot in place of the one before.
    ///
    /// # Errors
    /// Replaces the document.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn save(&self, snapshot: &Snapshot) -> Result<(), SaveError> {
        self.replace(snapshot).map_err(|error| SaveError::Refused(self.path.clone(), error))
    }

    fn replace(&self, snapshot: &Snapshot) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".state").tempfile_in(directory)?;
        write(snapshot, io::BufWriter::new(file.as_file_mut()))?;
        file.as_file().sync_data()?;
        // At every moment the newest whole document has its name.
        match fs::remove_file(&self.before).and_then(|()| fs::hard_link(&self.path, &self.before)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) if self.path.exists() => fs::hard_link(&self.path, &self.before)?,
            _ => {}
        }
        file.persist(&self.path)?;
        File::open(directory)?.sync_data()
    }

    fn put_aside(&self) -> String {
        let aside = self.path.with_extension("json.bad");
        match fs::rename(&self.path, &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it could not be kept aside ({error})"),
        }
    }
}

/// Whether bytes are a snapshot that an engine can go on from: a door for the fuzzer, which does not
/// guess checksums. Whatever they are, nothing may panic.
#[doc(hidden)]
pub(crate) fn check(state: &[u8], jails: Vec<crate::core::jail::JailSettings>) -> bool {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(state) else { return false };
    let mut engine = Engine::new(jails);
    let mut effects = Vec::new();
    engine.load(snapshot.engine, snapshot.written, &mut effects);
    engine.clock_set(-5_000_000, &mut effects);
    engine.advance(snapshot.written, &mut effects);
    engine.advance(Usec::MAX, &mut effects);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Settings,
        core::{
            engine::{BanOrder, Duration},
            net::parse_network,
        },
        testing,
    };

    const CURSOR: &str = "s=28444e2dcb874e5c9b78c69e2373aee2;i=f2;b=2f912356a2424dec8328a1f012cbcb78;m=6eca7496;t=660eb2795ddcd;x=4d22aba33f9e4886";

    /// The state behind a ban, a counter, an open session, a login and a ban by hand.
    fn engine() -> Engine {
        let settings = Settings::load(&[]).unwrap();
        let mut engine = Engine::new(settings.jails);
        let mut effects = Vec::new();
        let lines =
            (0..6u64).map(|second| (second, 1, "Failed password for root from 203.0.113.7 port 1 ssh2".to_owned()));
        let more = [
            (7, 2, "Failed password for root from 2001:db8::7 port 1 ssh2".to_owned()),
            (8, 3, "Invalid user x from 203.0.113.8 port 1".to_owned()),
            (9, 4, "Accepted password for root from 203.0.113.9 port 1 ssh2".to_owned()),
        ];
        for (second, pid, message) in lines.chain(more) {
            let time = 1_795_412_957_978_061 + second * 1_000_000;
            let cursor = CURSOR.replace(";m=6eca7496", &format!(";m={:x}", 0x6eca_7496 + second * 1_000_000));
            let record = testing::sshd(&settings.fields, time, cursor, pid, &message);
            assert!(engine.record(&record, &mut effects));
        }
        let network = parse_network("192.0.2.0/24").unwrap();
        let order =
            BanOrder { duration: Duration::Forever, reason: "a reason".into(), ..BanOrder::new(network, "sshd") };
        engine.ban(&order, 5, &mut effects).unwrap();
        assert_eq!(engine.ban_count(), 2);
        engine
    }

    fn snapshot() -> Snapshot {
        Snapshot::of(&engine(), Some(Cursor::from(CURSOR)), 3)
    }

    fn document() -> Vec<u8> {
        let mut text = Vec::new();
        write(&snapshot(), &mut text).unwrap();
        text
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        assert!(store.load().snapshot.is_none());
        for _ in 0..3 {
            store.save(&snapshot()).unwrap();
        }
        let loaded = store.load();
        assert_eq!(loaded.trouble, None);
        assert_eq!(loaded.snapshot.unwrap().cursor, Some(Cursor::from(CURSOR)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "the one before, and nothing else");
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_taken_for_a_state() {
        let whole = document();
        assert!(read(&whole).is_ok());
        for length in 0..whole.len() - 1 {
            assert!(read(&whole[..length]).is_err(), "cut at {length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Behind the last brace there is a line feed, and other white space means the same.
            let harmless = bit / 8 == whole.len() - 1 && flipped[bit / 8].is_ascii_whitespace();
            assert!(read(&flipped).is_err() || harmless, "bit {bit}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_kept_aside_and_the_one_before_takes_its_place() {
        let with_cursor = |cursor: &str| {
            let mut text = Vec::new();
            let snapshot = Snapshot { cursor: Some(Cursor::from(cursor)), written: 3, engine: SavedEngine::default() };
            write(&snapshot, &mut text).unwrap();
            text
        };
        let mut torn = document();
        torn.truncate(100);
        let snapshot = snapshot();
        for (bytes, why) in [
            (torn, "is damaged (EOF"),
            (br#"{"version":7,"more":true}"#.to_vec(), "has version 7, and this wardend reads version 2"),
            (b"not json".to_vec(), "is damaged (expected"),
            (Vec::new(), "is damaged (EOF"),
            (br#"{"version":2,"state":{},"checksum":"0"}"#.to_vec(), "its checksum is another"),
            (with_cursor("s=1;i=2"), "names no place in a journal ('s=1;i=2')"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::new(directory.path());
            fs::write(&store.path, &bytes).unwrap();
            let trouble = store.load().trouble.unwrap();
            assert!(
                trouble.contains(why) && trouble.ends_with("state.json.bad, and wardend starts from the journal."),
                "{trouble}"
            );
            assert!(store.load().trouble.is_none(), "it is reported once");

            store.save(&snapshot).unwrap();
            store.save(&snapshot).unwrap();
            fs::write(&store.path, &bytes).unwrap();
            let loaded = store.load();
            assert!(
                loaded.snapshot.is_some()
                    && loaded.trouble.unwrap().contains("goes on from the state that was saved before it")
            );
        }
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        fs::create_dir(&store.path).unwrap();
        assert!(store.load().trouble.unwrap().contains("can't be read"));
        store.save(&snapshot).unwrap();
        assert!(store.load().snapshot.is_some());
    }

    /// Numbers and lists that no engine writes.
    #[test]
    fn nonsense_that_parses_stops_nothing() {
        let sane = serde_json::to_value(snapshot()).unwrap();
        let jails = Settings::load(&[]).unwrap().jails;
        let mut places = Vec::new();
        pointers(&sane, String::new(), &mut places);
        assert!(places.len() > 40, "{places:?}");
        let mut taken = 0;
        for place in &places {
            for nonsense in [
                serde_json::json!(0),
                serde_json::json!(u64::MAX),
                serde_json::json!(-1),
                serde_json::json!(null),
                serde_json::json!(""),
                serde_json::json!([]),
                serde_json::json!("0.0.0.0/0"),
                serde_json::json!("::/0"),
                serde_json::json!(u32::MAX),
            ] {
                let mut changed = sane.clone();
                *changed.pointer_mut(place).unwrap() = nonsense;
                taken += usize::from(check(&serde_json::to_vec(&changed).unwrap(), jails.clone()));
            }
        }
        assert!(taken > 40, "{taken} states were taken");
    }

    fn pointers(value: &serde_json::Value, at: String, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                members.iter().for_each(|(key, value)| pointers(value, format!("{at}/{key}"), out));
            }
            serde_json::Value::Array(list) => {
                (0..).zip(list).for_each(|(index, value): (usize, _)| pointers(value, format!("{at}/{index}"), out));
            }
            _ => {}
        }
        out.push(at);
    }

    #[test]
    fn a_disk_that_refuses_is_reported_and_the_last_state_stays() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let length = bytes.len().min(self.0);
                self.0 -= length;
                if length == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(length) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("gone"));
        let (snapshot, length) = (snapshot(), document().len());
        assert!(store.save(&snapshot).unwrap_err().to_string().contains("can't be written"));
        for room in 0..length {
            assert!(write(&snapshot, Full(room)).is_err());
        }
    }
}
