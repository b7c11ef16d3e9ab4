//! Where a value comes from.

use std::sync::Arc;

use super::ConfigError;

/// A value with the file and line it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Location,
}

/// A file and a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The path.
    pub(crate) file: Arc<str>,
    /// The line, from 1.
    pub(crate) line: usize,
}

impl<T> Located<T> {
    /// An error at this place.
    pub(crate) fn error(&self, what: impl Into<String>) -> ConfigError {
        self.place.error(what)
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Location {
    /// An error at this place.
    pub fn error(&self, what: impl Into<String>) -> ConfigError {
        ConfigError::At { file: self.file.to_string(), line: self.line, what: what.into() }
    }
}
