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

use super::{ConfigError, read_text};
use crate::core::{
    filter::{Filter, FilterText},
    record::Fields,
};

/// The filters that are installed; read from here where no directory has them.
const BUILT_IN: [(&str, &str); 1] = [("sshd", include_str!("../../filters/sshd.toml"))];

/// Where the users of services are. A user that only a directory service knows is none of a service's.
const USERS: &str = "/etc/passwd";

/// The number of a user, see passwd(5).
fn number_of(users: &str, name: &str) -> Option<u32> {
    let mut fields = users.lines().map(|line| line.split(':'));
    fields.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?)
}

/// Loads the filter `name` with its drop-ins; none if there is no such file.
pub(crate) fn load(name: &str, directories: &[PathBuf], fields: &mut Fields) -> Result<Option<Filter>, ConfigError> {
    let Some(texts) = texts(name, directories)? else { return Ok(None) };
    Ok(Some(usable(Filter::load(name, &texts, fields)?)?))
}

/// A filter that knows this machine's users.
pub(crate) fn knowing(mut filter: Filter) -> Filter {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    filter.know_users(|name| number_of(&users, name));
    filter
}

/// The same, of a filter whose condition holds on this machine.
pub(crate) fn usable(filter: Filter) -> Result<Filter, ConfigError> {
    is_usable(&filter).map(|()| knowing(filter))
}

/// Whether the condition of a filter holds on this machine.
pub(crate) fn is_usable(filter: &Filter) -> Result<(), ConfigError> {
    let Some((condition, otherwise)) = filter.condition() else { return Ok(()) };
    let text = fs::read_to_string(&condition.file).unwrap_or_default();
    if text.lines().any(|line| line.trim() == condition.line.trim()) {
        return Ok(());
    }
    Err(otherwise.clone().into())
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

/// Folders of drop-ins for filters that there are not: a misspelt name.
pub(crate) fn stray_folders(directories: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    let names = names(directories)?;
    let mut stray = Vec::new();
    for directory in directories {
        stray.extend(with_extension(&directory.join("filters"), "d")?);
    }
    let known =
        |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| names.contains(stem));
    stray.retain(|path| !known(path));
    Ok(stray)
}

/// One file by its path.
pub(crate) fn read(path: &Path) -> Result<FilterText, ConfigError> {
    Ok(FilterText::new(path, read_text(path)?))
}

fn main_text(name: &str, directories: &[PathBuf]) -> Result<Option<FilterText>, ConfigError> {
    for directory in directories {
        let path = directory.join("filters").join(format!("{name}.toml"));
        match fs::symlink_metadata(&path) {
            Ok(_) => return Ok(Some(read(&path)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError::unreadable(&path, &error)),
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

fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    with_extension(directory, "toml")
}

/// What a directory, which need not exist, holds of this extension.
fn with_extension(directory: &Path, wanted: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ConfigError::unreadable(directory, &error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(|error| ConfigError::unreadable(directory, &error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == wanted));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "[records]\n_UID = ['0']\n[modes]\nnormal = ['auth']\n[[rule]]\nname = 'main'\nclass = 'auth'\ncounts = 'failure'\npattern = 'main <ADDR>'\n";

    fn rule(name: &str) -> String {
        format!("[[rule]]\nname = '{name}'\nclass = 'auth'\ncounts = 'failure'\npattern = '{name}: <ADDR>'\n")
    }

    fn rules(directories: &[PathBuf]) -> Vec<String> {
        let filter = load("x", directories, &mut Fields::default()).unwrap().unwrap();
        filter.rules().map(|rule| rule.name.to_string()).collect()
    }

    #[test]
    fn drop_ins_of_all_directories_are_laid_over_the_filter_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        let directories = ["etc", "run", "usr"].map(|name| root.path().join(name)).to_vec();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(load("x", &directories, &mut Fields::default()).unwrap().is_none());
        write("usr/filters/x.toml", MAIN);
        write("usr/filters/x.d/20-b.toml", &rule("vendor"));
        write("run/filters/x.d/10-a.toml", &rule("a"));
        write("etc/filters/x.d/30-c.toml", &rule("c"));
        write("etc/filters/x.d/ignored.toml~", "not TOML");
        assert_eq!(rules(&directories), ["main", "a", "vendor", "c"]);
        write("etc/filters/x.d/20-b.toml", &rule("admin"));
        assert_eq!(rules(&directories), ["main", "a", "admin", "c"], "the same name in /etc hides the vendor's");
        std::os::unix::fs::symlink("/dev/null", root.path().join("etc/filters/x.d/10-a.toml")).unwrap();
        assert_eq!(rules(&directories), ["main", "admin", "c"], "a link to /dev/null hides it altogether");
        write("etc/filters/x.d/40-d.toml", "mask = ['main', 'vendor']\n");
        let error = load("x", &directories, &mut Fields::default()).unwrap_err().to_string();
        assert!(error.ends_with("40-d.toml:1: there is no rule 'vendor'; there are: admin, c."), "{error}");
        write("etc/filters/x.toml", &MAIN.replace("main", "copy"));
        write("etc/filters/x.d/40-d.toml", "mask = ['c']\n");
        assert_eq!(rules(&directories), ["copy", "admin"], "the file itself is shadowed whole");
        assert_eq!(names(&directories).unwrap().into_iter().collect::<Vec<_>>(), ["sshd", "x"]);
        assert!(stray_folders(&directories).unwrap().is_empty());
        write("run/filters/shd.d/own.toml", &rule("own"));
        assert_eq!(stray_folders(&directories).unwrap(), [root.path().join("run/filters/shd.d")]);
    }

    #[test]
    fn the_built_in_filter_takes_drop_ins_as_any_other() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("filters/sshd.d");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("own.toml"), "mask = ['prohibited']\n").unwrap();
        let filter = load("sshd", &[root.path().to_owned()], &mut Fields::default()).unwrap().unwrap();
        assert!(filter.rules().all(|rule| *rule.name != *"prohibited"));
    }
}
