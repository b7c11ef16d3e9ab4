//! The configuration files, found and laid over each other.
//!
//! The second of three steps (fragments → inputs → settings). `wardend.conf` is taken whole
//! from the first directory that has it; the drop-ins of `wardend.conf.d/` from all of them,
//! sorted by file name, a name in an earlier directory hiding the same name in a later one (and
//! `/dev/null` in its place hiding it altogether), as systemd does. A later value wins; the
//! lists of `ignoreip` are added up, because a lost line there can lock an admin out, and an
//! empty list resets them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{ConfigError, fail2ban, fragments::Fragment, jail::JailInput, place::Location, read_text};
use crate::util::suggest::toml_mistake;

/// What is read where no directory has a `wardend.conf`: the very file that is installed.
const BUILT_IN: &str = include_str!("../../units/wardend.conf");
/// How messages name it.
const BUILT_IN_NAME: &str = "(built in) wardend.conf";

/// A sentence about a file that does not fit, on this line; it knows what people write for fail2ban.
fn mistake(error: &toml::de::Error, line: &str) -> String {
    let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    match unknown.and_then(|(key, _)| Some((key, fail2ban::instead_of(key)?))) {
        Some((key, instead)) => format!("unknown field `{key}`, a setting of fail2ban; {instead}."),
        None => {
            let plain = toml_mistake(error);
            // A slip of the fingers is more likely than a habit.
            let slip = plain.contains("did you mean");
            if slip { plain } else { fail2ban::mistake(error.message(), line).unwrap_or(plain) }
        }
    }
}

/// All files together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) default: JailInput,
    pub(crate) jails: BTreeMap<String, JailInput>,
    /// The files, in the order in which they were read.
    pub(crate) files: Vec<Arc<str>>,
}

/// One file of a configuration: its path, and its text.
#[derive(Debug)]
pub struct Source {
    name: Arc<str>,
    /// What it says.
    pub text: String,
    /// The byte at which each line but the first begins: a file may have very many values, and each
    /// is to keep its line.
    lines: Vec<usize>,
}

impl Inputs {
    /// Reads the configuration of `directories`, the one that wins first.
    pub(crate) fn read(directories: &[PathBuf]) -> Result<Self, ConfigError> {
        Self::of(&sources(directories)?)
    }

    /// As [`Self::read`], as if this text were in the drop-in `path`.
    pub(crate) fn read_with(directories: &[PathBuf], path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::of(&sources_with(directories, Some((path, text)))?)
    }

    fn of(sources: &[Source]) -> Result<Self, ConfigError> {
        let mut inputs = Self::default();
        for source in sources {
            inputs.add(source)?;
        }
        Ok(inputs)
    }

    /// Lays one file over what was read before.
    pub(crate) fn add(&mut self, source: &Source) -> Result<(), ConfigError> {
        let fragment: Fragment = toml::from_str(&source.text).map_err(|error| {
            let place = source.place(error.span().map_or(0, |span| span.start));
            let line = source.text.lines().nth(place.line - 1).unwrap_or_default();
            place.error(mistake(&error, line))
        })?;
        self.files.push(Arc::clone(&source.name));
        self.default.add(fragment.default, |at| source.place(at), 0);
        for (name, table) in fragment.jail {
            let at = name.span().start;
            self.jails.entry(name.into_inner()).or_default().add(table, |at| source.place(at), at);
        }
        Ok(())
    }
}

impl Source {
    /// A file of this path and text.
    pub fn new(name: &str, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { name: name.into(), lines: ends.map(|(at, _)| at + 1).collect(), text }
    }

    /// The place of a byte.
    pub fn place(&self, at: usize) -> Location {
        Location { file: Arc::clone(&self.name), line: 1 + self.lines.partition_point(|begin| *begin <= at) }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self::new(&path.display().to_string(), read_text(path)?))
    }
}

/// The configuration that is built in.
pub(crate) fn built_in() -> Source {
    Source::new(BUILT_IN_NAME, BUILT_IN.to_owned())
}

/// The files in the order in which they are laid over each other.
pub(crate) fn sources(directories: &[PathBuf]) -> Result<Vec<Source>, ConfigError> {
    sources_with(directories, None)
}

/// As [`sources`], with a drop-in of this path and text, whatever is there.
fn sources_with(directories: &[PathBuf], given: Option<(&Path, &str)>) -> Result<Vec<Source>, ConfigError> {
    layers("wardend.conf", built_in, directories, given)
}

/// The file `name` and its drop-ins in `name.d`, in the order in which they are laid over each other; where no
/// directory has the file, what is built in. `given` is a drop-in of this path and text, whatever is there.
///
/// # Errors
/// The first file or directory that can't be read.
pub fn layers(
    name: &str,
    built_in: impl FnOnce() -> Source,
    directories: &[PathBuf],
    given: Option<(&Path, &str)>,
) -> Result<Vec<Source>, ConfigError> {
    let mut main = None;
    for path in directories.iter().map(|directory| directory.join(name)) {
        // A file that is there and can't be read is no reason to take another one.
        match fs::symlink_metadata(&path) {
            Ok(_) => main = Some(Source::read(&path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ConfigError::unreadable(&path, &error)),
        }
        break;
    }
    let mut found = vec![main.unwrap_or_else(built_in)];
    let mut drop_ins: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for directory in directories.iter().rev() {
        let directory = directory.join(format!("{name}.d"));
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ConfigError::unreadable(&directory, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| ConfigError::unreadable(&directory, &error))?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                drop_ins.insert(entry.file_name(), path);
            }
        }
    }
    if let Some((path, name)) = given.and_then(|(path, _)| Some((path, path.file_name()?))) {
        drop_ins.insert(name.to_owned(), path.to_owned());
    }
    for path in drop_ins.into_values() {
        if let Some((_, text)) = given.filter(|(given, _)| *given == path) {
            found.push(Source::new(&path.display().to_string(), text.to_owned()));
            continue;
        }
        if fs::canonicalize(&path).is_ok_and(|target| target == Path::new("/dev/null")) {
            continue;
        }
        found.push(Source::read(&path)?);
    }
    Ok(found)
}
