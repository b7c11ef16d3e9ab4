//! What is kept of a handler: how far it has been served, in `/var/lib/wardend-notify/NAME.json`.
//!
//! It is written after a batch was taken and not before, so that whatever is killed, nothing that the
//! journal holds is left out; what is delivered again for that has the same key.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::known::{Keys, Lists, Problems};
use crate::{
    contract::notify::Status,
    core::{cursor::Cursor, time::Usec},
    util::files,
};

/// How far a handler has been served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The last record that was read.
    pub(crate) cursor: Option<Cursor>,
    /// Everything received before this time has been read.
    pub(crate) read_until: Usec,
    /// When the last batch was begun.
    #[serde(default)]
    pub(crate) begun: Option<Usec>,
    #[serde(default)]
    pub(super) keys: String,
    #[serde(default)]
    pub(crate) problems: Problems,
    #[serde(default)]
    pub(crate) lists: Lists,
    #[serde(default)]
    pub(crate) status: Status,
}

impl State {
    pub(crate) fn keys(&self) -> Keys {
        Keys::unpack(&self.keys)
    }

    pub(crate) fn set_keys(&mut self, keys: &Keys) {
        self.keys = keys.pack();
    }
}

/// The file of a handler's state.
pub(crate) fn path(directory: &Path, handler: &str) -> PathBuf {
    directory.join(format!("{handler}.json"))
}

/// Why a state can't be kept, or not be used: a sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{0} can't be read: {1}.")]
    Unreadable(String, String),
    #[error("{0} is damaged ({1}); notifications begin with what happens now.")]
    Damaged(String, String),
    #[error("{0} can't be written ({1}); after a restart, events may be delivered again.")]
    Unwritable(String, String),
}

/// What was kept; nothing, if the handler is new.
pub(crate) fn load(path: &Path) -> Result<Option<State>, StateError> {
    let shown = || path.display().to_string();
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::Unreadable(shown(), error.to_string())),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| StateError::Damaged(shown(), error.to_string()))
}

/// Keeps a state.
pub(crate) fn save(path: &Path, state: &State) -> Result<(), StateError> {
    let text = serde_json::to_vec(state).unwrap_or_default();
    files::replace_durably(path, &text, 0o644)
        .map_err(|error| StateError::Unwritable(path.display().to_string(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_what_is_damaged_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path(), "mail");
        assert_eq!(load(&path), Ok(None));
        let mut keys = Keys::default();
        keys.add("a");
        let mut state = State { cursor: Some("s=1;i=2".into()), read_until: 7, ..State::default() };
        state.set_keys(&keys);
        save(&path, &state).unwrap();
        assert_eq!(load(&path), Ok(Some(state)));
        assert!(!load(&path).unwrap().unwrap().keys().add("a"));
        fs::write(&path, "{").unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("mail.json is damaged"));
    }
}
