//! Configuration: from files to settings, in three steps.
//!
//! [`fragments`] parses one file, [`inputs`] finds all files and lays them over each other,
//! each value keeping its file and line, and [`settings`] checks them. A mistake anywhere is
//! one sentence with its place, and whatever configuration was in force stays in force.

pub(crate) mod filters;
mod fragments;
mod inputs;
pub(crate) mod origin;
mod settings;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::settings::Settings;
pub(crate) use self::settings::parse_span;
use crate::filter::FilterError;

/// Where the vendor's files are; the Makefile sets it for another prefix.
pub const VENDOR_DIRECTORY: &str = match option_env!("WARDEND_VENDOR_DIRECTORY") {
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
        /// What the system said.
        error: String,
    },
    /// Nothing to do.
    #[error("No jail is enabled; set `enabled = true` in a [jail.NAME] of /etc/wardend/wardend.conf.d/*.conf.")]
    NoJail,
}
