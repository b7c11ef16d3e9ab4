//! All files of a set-up laid over each other, as fail2ban does it, each value with its place.
//!
//! `jail.conf`, `jail.d/*.conf`, `jail.local`, `jail.d/*.local`: the later one wins, key by key. Each may
//! include others before and after itself. What a distribution ships is marked, because only what an
//! administrator wrote is worth writing again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{
    ini::{self, Double},
    stock,
};

/// The most files, and bytes of one, that a set-up may have: whoever has more has something else.
const MOST_FILES: usize = 2000;
pub(crate) const MOST_BYTES: u64 = 4 << 20;
/// As deep as fail2ban itself resolves.
const DEEPEST: usize = 10;
/// What one value may grow to while names in it are resolved.
const LONGEST: usize = 1 << 20;

/// Where the files are: a directory, or a table in a test.
pub(crate) trait Files {
    /// The bytes of a file; none if there is no such file. Paths are relative to the set-up, or absolute.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// The names in a directory that may be missing.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;
}

impl Files for BTreeMap<PathBuf, Vec<u8>> {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.get(path).cloned())
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inside = self.keys().filter_map(|path| path.strip_prefix(directory).ok());
        Ok(inside.filter_map(|path| path.to_str()).filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }
}

/// A file of the set-up and a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
    /// Shipped by fail2ban or a distribution.
    pub(crate) shipped: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// Why a set-up can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A line that can't be understood.
    #[error("{0}:{1}: {2}")]
    At(String, usize, String),
    /// A file that can't be read.
    #[error("{0}: can't be read: {1}.")]
    Read(String, String),
    /// Nothing to convert.
    #[error("{0}")]
    NoSetup(String),
}

/// Why the names in a value can't be resolved: the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    #[error("refers to itself, or to more than {most} other values in a row", most = DEEPEST)]
    Circle,
    #[error("names %({0})s, which is not set anywhere")]
    Unset(String),
    #[error("has a single '%', which is written as '%%'")]
    Percent,
    #[error("grows without end")]
    Endless,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) raw: String,
    pub(crate) place: Place,
    /// The line of each of its lines.
    pub(crate) lines: Vec<usize>,
}

type Table = BTreeMap<String, Value>;

/// A section with its own values.
#[derive(Clone, Debug, Default)]
struct Section {
    values: Table,
    /// The value before the one that holds.
    known: Table,
    /// Where it is first.
    place: Option<Place>,
}

/// Something about the files themselves that is worth a line in the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) place: Place,
    pub(crate) what: String,
}

/// A set-up, read.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    defaults: Table,
    sections: BTreeMap<String, Section>,
    /// In the order in which fail2ban sees them.
    order: Vec<String>,
    pub(crate) remarks: Vec<Remark>,
    files: usize,
}

/// A value in force.
#[derive(Clone, Debug)]
pub(crate) struct Found<'s> {
    pub(crate) value: &'s Value,
    /// From `[DEFAULT]`.
    pub(crate) shared: bool,
}

impl Setup {
    /// Reads `NAME.conf`, `NAME.d/*.conf`, `NAME.local` and `NAME.d/*.local`.
    pub(crate) fn read(name: &str, files: &dyn Files) -> Result<Self, Error> {
        let mut setup = Self::default();
        setup.lay_stock();
        let folder = PathBuf::from(format!("{name}.d"));
        let mut names = files.names(&folder).map_err(|error| unreadable(&folder, &error))?;
        names.sort();
        let inside = |ending: &str| -> Vec<PathBuf> {
            let read = names.iter().filter(|file| file.ends_with(ending) && !file.starts_with('.'));
            read.map(|file| folder.join(file)).collect()
        };
        let mut paths = vec![PathBuf::from(format!("{name}.conf"))];
        paths.extend(inside(".conf"));
        paths.push(PathBuf::from(format!("{name}.local")));
        paths.extend(inside(".local"));
        setup.remark_unread(&folder, &names);
        let list = paths.clone();
        for path in paths {
            setup.include(&path, files, &mut Vec::new(), &list)?;
        }
        if setup.files == 0 {
            return Err(Error::NoSetup(format!("there is no {name}.conf, {name}.local or {name}.d")));
        }
        Ok(setup)
    }

    /// Reads a file of `filter.d` or `action.d`, with what it includes; none if it is not there.
    pub(crate) fn read_one(path: &Path, files: &dyn Files) -> Result<Option<Self>, Error> {
        let mut setup = Self::default();
        let local = path.with_extension("local");
        let list = [path.with_extension("conf"), local];
        for path in &list {
            setup.include(path, files, &mut Vec::new(), &list)?;
        }
        Ok((setup.files > 0).then_some(setup))
    }

    /// What a set-up rests on that is not all there: the meaning of fail2ban's own defaults.
    fn lay_stock(&mut self) {
        for (section, key, value) in stock::VALUES {
            let place = Place { file: "fail2ban's defaults".into(), line: 0, shipped: true };
            let value = Value { raw: (*value).to_owned(), place, lines: Vec::new() };
            if section.is_empty() {
                self.defaults.insert((*key).to_owned(), value);
            } else {
                self.sections.entry((*section).to_owned()).or_default().values.insert((*key).to_owned(), value);
            }
        }
    }

    fn remark_unread(&mut self, folder: &Path, names: &[String]) {
        const COPIES: [&str; 9] =
            ["~", ".bak", ".orig", ".old", ".swp", ".dpkg-old", ".dpkg-dist", ".rpmsave", ".rpmnew"];
        for name in names {
            let read = has_ending(name, "conf") || has_ending(name, "local");
            if !read && !name.starts_with('.') && !COPIES.iter().any(|ending| name.ends_with(ending)) {
                let file: Arc<str> = folder.join(name).display().to_string().into();
                let what =
                    "fail2ban does not read this file, because its name ends in neither .conf nor .local".to_owned();
                self.remarks.push(Remark { place: Place { file, line: 0, shipped: false }, what });
            }
        }
    }

    /// Lays a file, what it includes, and their `.local` over what is there.
    fn include(
        &mut self,
        path: &Path,
        files: &dyn Files,
        seen: &mut Vec<PathBuf>,
        list: &[PathBuf],
    ) -> Result<(), Error> {
        if seen.iter().any(|known| known == path) || seen.len() > DEEPEST {
            return Ok(());
        }
        let Some(bytes) = files.read(path).map_err(|error| unreadable(path, &error))? else { return Ok(()) };
        self.files += 1;
        if self.files > MOST_FILES {
            return Err(Error::NoSetup(format!("there are more than {MOST_FILES} files")));
        }
        let name = path.display().to_string();
        let at = |mistake: ini::Mistake| Error::At(name.clone(), mistake.line, mistake.what);
        let (text, marked) = ini::text(&bytes).map_err(at)?;
        let ini = ini::parse(&text).map_err(at)?;
        let place = |line| Place { file: name.as_str().into(), line, shipped: is_shipped(path) };
        if marked {
            let what = "the file begins with a byte order mark, which fail2ban refuses; save it as UTF-8 without it"
                .to_owned();
            self.remarks.push(Remark { place: place(1), what });
        }
        self.remarks.extend(ini.doubles.iter().map(|double| twice(double, place(double.second))));
        seen.push(path.to_owned());
        let included = |key: &str| {
            let entry = ini.entries.iter().rev().find(|entry| entry.section == "INCLUDES" && entry.key == key);
            entry.map(|entry| entry.value.lines().map(str::to_owned).zip(entry.lines.clone()).collect::<Vec<_>>())
        };
        for (file, line) in included("before").unwrap_or_default() {
            self.follow(path, file.trim(), place(line), files, seen)?;
        }
        self.lay(&ini, &place);
        for (file, line) in included("after").unwrap_or_default() {
            self.follow(path, file.trim(), place(line), files, seen)?;
        }
        seen.pop();
        let local = path.with_extension("local");
        if local != path && !list.contains(&local) {
            self.include(&local, files, seen, std::slice::from_ref(&local))?;
        }
        Ok(())
    }

    /// Reads a file that another one includes.
    fn follow(
        &mut self,
        from: &Path,
        name: &str,
        place: Place,
        files: &dyn Files,
        seen: &mut Vec<PathBuf>,
    ) -> Result<(), Error> {
        if name.is_empty() {
            return Ok(());
        }
        let path = Path::new(name);
        if path.is_absolute() {
            if files.read(path).ok().flatten().is_some() {
                self.remarks.push(Remark { place, what: format!("{name} is read as well") });
            }
            return self.include(path, files, seen, &[]);
        }
        let path = from.parent().unwrap_or(Path::new("")).join(path);
        let leaves = !path.is_absolute() && {
            let mut depth = 0_i32;
            path.components().any(|part| {
                depth += match part {
                    Component::ParentDir => -1,
                    Component::Normal(_) => 1,
                    _ => 0,
                };
                depth < 0
            })
        };
        if leaves {
            let what = format!("'{name}' is outside of the set-up and was not read; include it by its absolute path");
            self.remarks.push(Remark { place, what });
            return Ok(());
        }
        let clean: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        self.include(&clean, files, seen, &[])
    }

    fn lay(&mut self, ini: &ini::Ini, place: &dyn Fn(usize) -> Place) {
        // What the file itself overrides is not "known" from before it.
        let mut own = BTreeSet::new();
        for (name, line) in &ini.sections {
            if name != "DEFAULT" && name != "INCLUDES" && !name.contains('?') {
                let section = self.sections.entry(name.clone()).or_default();
                if section.place.is_none() {
                    section.place = Some(place(*line));
                    self.order.push(name.clone());
                }
            }
        }
        for entry in &ini.entries {
            let value = Value { raw: entry.value.clone(), place: place(entry.line), lines: entry.lines.clone() };
            if entry.section == "DEFAULT" {
                self.defaults.insert(entry.key.clone(), value);
            } else if entry.section != "INCLUDES" && !entry.section.contains('?') {
                let section = self.sections.entry(entry.section.clone()).or_default();
                let first = own.insert((&entry.section, &entry.key));
                if let Some(before) = section.values.insert(entry.key.clone(), value)
                    && first
                {
                    section.known.insert(entry.key.clone(), before);
                }
            }
        }
    }

    /// The sections that may be jails, in fail2ban's order.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }

    /// Where a section is.
    pub(crate) fn place(&self, section: &str) -> Option<&Place> {
        self.sections.get(section)?.place.as_ref()
    }

    /// A section's own keys.
    pub(crate) fn own(&self, section: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.sections
            .get(section)
            .into_iter()
            .flat_map(|section| &section.values)
            .map(|(key, value)| (key.as_str(), value))
    }

    /// The keys of `[DEFAULT]`.
    pub(crate) fn shared(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.defaults.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// All values that are written anywhere.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Value> {
        self.defaults.values().chain(self.sections.values().flat_map(|section| section.values.values()))
    }

    /// The value of a key for a section, as written.
    pub(crate) fn get(&self, section: &str, key: &str) -> Option<Found<'_>> {
        let own = self.sections.get(section).and_then(|section| section.values.get(key));
        let found = own.map(|value| Found { value, shared: false });
        found.or_else(|| self.defaults.get(key).map(|value| Found { value, shared: true }))
    }

    /// A value with the names in it resolved.
    pub(crate) fn resolve(&self, section: &str, raw: &str) -> Result<String, Unresolved> {
        self.resolve_within(section, raw, 0)
    }

    fn resolve_within(&self, section: &str, raw: &str, depth: usize) -> Result<String, Unresolved> {
        if depth > DEEPEST {
            return Err(Unresolved::Circle);
        }
        let mut text = String::new();
        let mut rest = raw;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                text.push('%');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(")s")) {
                let value = self.named(section, name).ok_or_else(|| Unresolved::Unset(name.to_owned()))?;
                text.push_str(&self.resolve_within(section, &value, depth + 1)?);
                rest = after;
            } else {
                return Err(Unresolved::Percent);
            }
            if text.len() > LONGEST {
                return Err(Unresolved::Endless);
            }
        }
        text.push_str(rest);
        Ok(text)
    }

    /// What `%(name)s` stands for.
    fn named(&self, section: &str, name: &str) -> Option<String> {
        let raw = |value: Option<&Value>| value.map(|value| value.raw.clone());
        let Some((from, key)) = name.split_once('/') else {
            let key = name.to_lowercase();
            return match key.as_str() {
                "__name__" => Some(section.to_owned()),
                _ => raw(self.get(section, &key).map(|found| found.value))
                    .or_else(|| stock::name(&key).map(str::to_owned)),
            };
        };
        let key = key.to_lowercase();
        let shared = || self.defaults.get(&key);
        let value = match from.to_lowercase().as_str() {
            "default" => shared(),
            "known" => self.sections.get(section).and_then(|section| section.known.get(&key)).or_else(shared),
            _ => self.sections.get(from).and_then(|section| section.values.get(&key).or_else(shared)),
        };
        raw(value)
    }
}

fn twice(double: &Double, place: Place) -> Remark {
    let what = match &double.key {
        Some(key) => format!(
            "{key} is set in line {} too; the later one was taken, but fail2ban refuses its whole configuration for it; remove one",
            double.first
        ),
        None => format!(
            "[{}] begins in line {} too; both were taken, but fail2ban refuses its whole configuration for it; join them",
            double.section, double.first
        ),
    };
    Remark { place, what }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Read(path.display().to_string(), error.to_string())
}

/// In these letters: fail2ban reads no file that ends in .CONF.
fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == ending)
}

/// Whether a file is fail2ban's own or a distribution's.
fn is_shipped(path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    matches!(
        path,
        "jail.conf"
            | "fail2ban.conf"
            | "jail.d/defaults-debian.conf"
            | "jail.d/00-firewalld.conf"
            | "jail.d/00-systemd.conf"
    ) || (path.starts_with("paths-") && has_ending(path, "conf"))
        || (path.starts_with("action.d/") && has_ending(path, "conf"))
        || path.strip_prefix("filter.d/").and_then(|name| name.strip_suffix(".conf")).is_some_and(stock::has_filter)
}
