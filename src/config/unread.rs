//! Files beside the configuration that nothing reads: a wrong ending, or a wrong directory.
//!
//! Such a file is no error, since an admin may keep one on purpose; `wardenctl verify` names it. Hidden
//! files and the copies that editors and package managers leave are passed over in silence.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::VENDOR_DIRECTORY;

const COPIES: [&str; 9] = ["~", ".bak", ".orig", ".old", ".swp", ".dpkg-old", ".dpkg-dist", ".rpmsave", ".rpmnew"];

/// The files that nothing reads, each with what would be read.
pub(crate) fn unread(directories: &[PathBuf]) -> Vec<(PathBuf, &'static str)> {
    let mut found = Vec::new();
    for directory in directories.iter().filter(|directory| *directory != Path::new(VENDOR_DIRECTORY)) {
        for (path, name) in entries(directory) {
            let what = match name.as_str() {
                "wardend.conf" | "wardend.conf.d" | "filters" => continue,
                _ if has_ending(&path, "conf") => "settings are read from wardend.conf and wardend.conf.d/*.conf",
                _ if has_ending(&path, "toml") => "filters are read from filters/NAME.toml and filters/NAME.d/*.toml",
                _ => "only wardend.conf, wardend.conf.d/*.conf and filters/ are read here",
            };
            found.push((path, what));
        }
        for (path, _) in entries(&directory.join("wardend.conf.d")) {
            if !has_ending(&path, "conf") {
                found.push((path, "only files whose names end in \".conf\" are read here"));
            }
        }
        for (path, _) in entries(&directory.join("filters")) {
            if path.is_dir() && has_ending(&path, "d") {
                let inside = entries(&path).into_iter().map(|(path, _)| path);
                let wrong = inside.filter(|path| !has_ending(path, "toml"));
                found.extend(wrong.map(|path| (path, "only files whose names end in \".toml\" are read here")));
            } else if !has_ending(&path, "toml") {
                found.push((path, "filters are read from NAME.toml and NAME.d/*.toml"));
            }
        }
    }
    found
}

/// What a directory holds, sorted; nothing, if it can't be read.
fn entries(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()));
    let copy = |name: &str| name.starts_with('.') || COPIES.iter().any(|ending| name.ends_with(ending));
    let mut named: Vec<_> = named.filter(|(_, name)| !copy(name)).collect();
    named.sort();
    named
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension == ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_nothing_reads_are_named_with_what_would_be_read() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "wardend.conf",
            "wardend.conf~",
            "wardend.conf.d/local.conf",
            "wardend.conf.d/local.toml",
            "wardend.conf.d/local.conf.dpkg-dist",
            "wardend.conf.d/.local.conf.swp",
            "filters/sshd.toml",
            "filters/sshd.conf",
            "filters/sshd.d/mine.toml",
            "filters/sshd.d/mine.conf",
            "jail.local",
            "local.conf",
            "sshd.toml",
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let directories = [root.path().to_owned(), root.path().join("none")];
        let found = unread(&directories);
        let names: Vec<&str> =
            found.iter().map(|(path, _)| path.strip_prefix(root.path()).unwrap().to_str().unwrap()).collect();
        let expected = [
            "jail.local",
            "local.conf",
            "sshd.toml",
            "wardend.conf.d/local.toml",
            "filters/sshd.conf",
            "filters/sshd.d/mine.conf",
        ];
        assert_eq!(names, expected);
        assert!(found[1].1.contains("wardend.conf.d/*.conf") && found[3].1.contains("\".conf\""));
    }
}
