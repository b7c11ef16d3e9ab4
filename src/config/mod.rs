//! Configuration: from files to settings, in three steps.
//!
//! [`fragments`] parses one file, [`inputs`] finds all files and lays them over each other,
//! each value keeping its file and line, and [`settings`] checks them. Which settings a jail has is said
//! once, in [`jail`]. A mistake anywhere is one sentence with its place, and whatever configuration was
//! in force stays in force.

mod fail2ban;
pub(crate) mod filters;
mod fragments;
mod inputs;
mod jail;
mod layered;
pub(crate) mod origin;
mod place;
mod settings;
mod span;
mod table;
#[cfg(test)]
mod tests;
mod unread;
mod value;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use self::{
    inputs::{Source, layers},
    place::Location,
    span::parse_span,
};
pub(crate) use self::{settings::Settings, span::parse_ban_time, unread::unread};
use crate::core::filter::FilterError;

/// Where the vendor's files are; the Makefile sets it for another prefix.
pub(crate) const VENDOR_DIRECTORY: &str = match option_env!("WARDEND_VENDOR_DIRECTORY") {
    Some(directory) => directory,
    None => "/usr/lib/wardend",
};

/// Where configuration is looked for, the directory that wins first.
pub fn directories() -> Vec<PathBuf> {
    ["/etc/wardend", "/run/wardend", VENDOR_DIRECTORY].map(PathBuf::from).to_vec()
}

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that can't be used.
    #[error("{file}:{line}: {what}")]
    At {
        /// The file's path.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The sentence.
        what: String,
    },
    /// A mistake in a filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A file that can't be read.
    #[error("{file}: can't be read: {error}.")]
    Read {
        /// The file's path.
        file: String,
        /// What the system said, and the mend.
        error: String,
    },
    /// A jail that no file names, without a filter of this name.
    #[error("There is no jail '{name}', and no filter for one; {instead}")]
    NoSuchJail {
        /// What was asked for.
        name: String,
        /// The end of the sentence.
        instead: String,
    },
    /// Nothing to do.
    #[error("No jail is enabled: {0}")]
    NoJail(String),
}

impl ConfigError {
    /// A file or directory that the system does not let us read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let error = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("{error}; let everybody read it (chmod a+r), and enter the directories above it (chmod a+x)")
            }
            io::ErrorKind::NotFound => format!("{error}; it may be a link to nothing: mend or remove it"),
            io::ErrorKind::IsADirectory => format!("{error}; there is to be a file"),
            _ => error.to_string(),
        };
        Self::Read { file: path.display().to_string(), error }
    }
}

/// The text of a file. An error names the line of the first byte that is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        ConfigError::At {
            file: path.display().to_string(),
            line: 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count(),
            what: format!("the byte 0x{:02x} is not valid UTF-8; save the file as UTF-8.", bytes[at]),
        }
    })
}
