//! The engine's state on disk, with the place in the journal that it is true for.
//!
//! The journal is the log and this is the checkpoint: after any stop the daemon loads it, reads
//! the journal on from its cursor, and comes to the same bans. One versioned JSON file, written
//! beside its place and renamed, so that a reader finds the old one or the new one and never
//! half of one. A file that can't be used is kept aside for whoever wants to know why.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    engine::SavedEngine,
    record::{Cursor, Usec},
};

/// The version of the format; another one is not read.
const VERSION: u32 = 1;

/// The state at one place of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    version: u32,
    /// The last record that the state has seen.
    pub(crate) cursor: Option<Cursor>,
    /// When it was written, in µs.
    pub(crate) written: Usec,
    pub(crate) engine: SavedEngine,
}

impl Snapshot {
    pub(crate) fn new(cursor: Option<Cursor>, written: Usec, engine: SavedEngine) -> Self {
        Self { version: VERSION, cursor, written, engine }
    }
}

/// What every version of the format has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join("state.json") }
    }

    /// Loads the snapshot; none if there is none yet. The error is a sentence: the file could
    /// not be used, and has been put aside.
    pub(crate) fn load(&self) -> Result<Option<Snapshot>, String> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.put_aside(&format!("can't be read ({error})"))),
        };
        // The version first: a later format need not parse as this one.
        match serde_json::from_slice::<Version>(&text) {
            Ok(Version { version: VERSION }) => {}
            Ok(Version { version }) => {
                return Err(self.put_aside(&format!("has version {version}, and this wardend reads version {VERSION}")));
            }
            Err(error) => return Err(self.put_aside(&format!("is damaged ({error})"))),
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| self.put_aside(&format!("is damaged ({error})")))
    }

    /// Writes the snapshot in place of the one before.
    pub(crate) fn save(&self, snapshot: &Snapshot) -> Result<(), String> {
        self.write(snapshot).map_err(|error| {
            format!(
                "{} can't be written ({error}); bans stay in force, but after a restart what happened since the last write is read from the journal again.",
                self.path.display()
            )
        })
    }

    fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".state").tempfile_in(directory)?;
        let mut out = io::BufWriter::new(file.as_file_mut());
        serde_json::to_writer(&mut out, snapshot)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        File::open(directory)?.sync_data()
    }

    fn put_aside(&self, why: &str) -> String {
        let aside = self.path.with_extension("json.bad");
        let kept = match fs::rename(&self.path, &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it could not be kept aside ({error})"),
        };
        format!("{} {why}; {kept}, and wardend starts from the journal.", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot::new(Some(Cursor::from("s=1;i=2")), 3, SavedEngine::default())
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        assert!(store.load().unwrap().is_none());
        store.save(&snapshot()).unwrap();
        store.save(&snapshot()).unwrap();
        assert_eq!(store.load().unwrap().unwrap().cursor, Some(Cursor::from("s=1;i=2")));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_cut_at_any_byte_is_told_and_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        store.save(&snapshot()).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for length in 0..whole.len() {
            fs::write(&store.path, &whole[..length]).unwrap();
            let told = store.load().unwrap_err();
            assert!(told.contains("is damaged") && told.contains("state.json.bad"), "{told}");
            assert!(store.load().unwrap().is_none());
        }
    }

    #[test]
    fn a_file_of_another_version_is_told_and_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        fs::write(&store.path, r#"{"version":7,"more":true}"#).unwrap();
        assert!(store.load().unwrap_err().contains("has version 7"));
    }
}
