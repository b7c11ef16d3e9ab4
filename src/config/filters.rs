//! The files of a filter, found and read.
//!
//! `filters/NAME.toml` is taken whole from the first directory that has it, else from those that
//! are built in. The drop-ins `filters/NAME.d/*.toml` of all directories are laid over it, sorted
//! by file name; a name in an earlier directory hides the same name in a later one, and a link to
//! `/dev/null` hides it altogether, as systemd does. So one line more for one message is one file
//! with one rule, and an update of the vendor's file is not lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::ConfigError;
use crate::{
    filter::{Filter, FilterText},
    record::Fields,
};

/// The filters that are installed; read from here where no directory has them.
const BUILT_IN: [(&str, &str); 1] = [("sshd", include_str!("../../filters/sshd.toml"))];

/// Loads the filter `name` with its drop-ins; none if there is no such file.
pub(crate) fn load(name: &str, directories: &[PathBuf], fields: &mut Fields) -> Result<Option<Filter>, ConfigError> {
    let Some(texts) = texts(name, directories)? else { return Ok(None) };
    Ok(Some(Filter::load(name, &texts, fields)?))
}

/// The texts of the filter `name`: its file, and then its drop-ins in their order.
pub(crate) fn texts(name: &str, directories: &[PathBuf]) -> Result<Option<Vec<FilterText>>, ConfigError> {
    let Some(main) = main_text(name, directories)? else { return Ok(None) };
    let mut texts = vec![main];
    for path in drop_ins(name, directories)? {
        texts.push(read(&path)?);
    }
    Ok(Some(texts))
}

/// The names of all filters that there are.
pub(crate) fn names(directories: &[PathBuf]) -> Result<BTreeSet<String>, ConfigError> {
    let mut names: BTreeSet<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
    for directory in directories {
        let files = toml_files(&directory.join("filters"))?;
        names.extend(files.iter().filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)));
    }
    Ok(names)
}

/// One file by its path.
pub(crate) fn read(path: &Path) -> Result<FilterText, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(FilterText::new(path, text))
}

fn main_text(name: &str, directories: &[PathBuf]) -> Result<Option<FilterText>, ConfigError> {
    for directory in directories {
        let path = directory.join("filters").join(format!("{name}.toml"));
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some(FilterText::new(path, text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
    Ok(built_in.map(|(_, text)| FilterText::new(format!("(built in) filters/{name}.toml"), *text)))
}

fn drop_ins(name: &str, directories: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in directories.iter().rev() {
        for path in toml_files(&directory.join("filters").join(format!("{name}.d")))? {
            if let Some(file) = path.file_name() {
                found.insert(file.to_owned(), path);
            }
        }
    }
    let hidden = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|target| target == Path::new("/dev/null"));
    Ok(found.into_values().filter(|path| !hidden(path)).collect())
}

/// The `.toml` files of a directory that need not exist.
fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(|error| unreadable(directory, &error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    Ok(paths)
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::Read { file: path.display().to_string(), error: error.to_string() }
}
