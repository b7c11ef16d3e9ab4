//! What journald.conf(5) says, as journald reads it: the main file, then the drop-ins of all directories
//! in the order of their names; the last value counts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Where files are, the directory that takes precedence first.
const DIRECTORIES: [&str; 4] = ["etc", "run", "usr/local/lib", "usr/lib"];

/// A value, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) value: String,
    /// `FILE:LINE`.
    pub(crate) place: String,
}

impl Said {
    /// Whether it is a level, as of `MaxLevelStore=`, that leaves out what is logged at level info.
    pub(crate) fn leaves_out_info(&self) -> bool {
        const LEVELS: [&str; 6] = ["emerg", "alert", "crit", "err", "warning", "notice"];
        LEVELS.contains(&self.value.as_str()) || self.value.parse().is_ok_and(|level: usize| level < LEVELS.len())
    }
}

/// What is set.
#[derive(Debug, Default)]
pub(crate) struct JournaldConf {
    values: BTreeMap<String, Said>,
}

impl JournaldConf {
    /// This machine's.
    pub(crate) fn read() -> Self {
        Self::below(Path::new("/"))
    }

    /// That of the machine whose files are below a directory.
    pub(crate) fn below(root: &Path) -> Self {
        let main = DIRECTORIES.iter().map(|directory| root.join(directory).join("systemd/journald.conf"));
        let mut conf = Self::default();
        for file in main.filter(|file| file.exists()).take(1).chain(drop_ins(root)) {
            conf.lay(&file);
        }
        conf
    }

    /// What a key is set to; nothing if that is the default.
    pub(crate) fn get(&self, key: &str) -> Option<&Said> {
        self.values.get(key)
    }

    fn lay(&mut self, file: &Path) {
        let Ok(text) = fs::read_to_string(file) else { return };
        let mut ours = false;
        for (index, line) in text.lines().enumerate().map(|(index, line)| (index, line.trim())) {
            if line.starts_with('[') {
                ours = line == "[Journal]";
            } else if ours
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                if value.is_empty() {
                    self.values.remove(&key);
                } else {
                    let place = format!("{}:{}", file.display(), index + 1);
                    self.values.insert(key, Said { value, place });
                }
            }
        }
    }
}

/// The drop-ins by their names; of two with one name, that of the directory that takes precedence.
fn drop_ins(root: &Path) -> impl Iterator<Item = PathBuf> {
    let mut files = BTreeMap::new();
    for directory in DIRECTORIES.iter().rev() {
        let entries = fs::read_dir(root.join(directory).join("systemd/journald.conf.d")).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "conf"));
        files.extend(paths.filter_map(|path| Some((path.file_name()?.to_owned(), path))));
    }
    files.into_values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/lib/systemd/journald.conf", "[Journal]\nStorage=volatile\nMaxFileSec=1day\n");
        write("etc/systemd/journald.conf", "[Journal]\n#Storage=auto\nMaxLevelStore = notice\nRateLimitBurst=7\n");
        write("usr/lib/systemd/journald.conf.d/10-a.conf", "[Journal]\nStorage=none\n");
        write("etc/systemd/journald.conf.d/10-a.conf", "[Other]\nStorage=none\n[Journal]\nRateLimitBurst=\n");
        write("run/systemd/journald.conf.d/20-b.conf", "[Journal]\nStorage=persistent\n");
        write("run/systemd/journald.conf.d/20-b.txt", "[Journal]\nStorage=none\n");
        let conf = JournaldConf::below(root.path());
        let value = |key: &str| conf.get(key).map(|said| said.value.as_str());
        assert_eq!((value("Storage"), value("MaxLevelStore")), (Some("persistent"), Some("notice")));
        assert_eq!((value("RateLimitBurst"), value("MaxFileSec")), (None, None), "an empty value is the default");
        assert!(conf.get("Storage").unwrap().place.ends_with("run/systemd/journald.conf.d/20-b.conf:2"));
    }
}
