//! Why no journal file can be read.
//!
//! sd-journal opens a journal that it may not read without any error, and finds nothing. So this looks
//! at the directories and files themselves: there may be none, this process may not be in their group,
//! or the files may not be in the group that can read a journal.
//!
//! The unit has PrivateUsers=, and a user namespace shows groups that it does not know as one number:
//! systemd-journal is then among the process's groups under that number, and only there.

use std::{
    fs::{self, File, Metadata},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where journald keeps the journal.
const ROOTS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
/// The group that may read it.
const GROUP: &str = "systemd-journal";
/// What a user namespace shows for a group that it does not know (user_namespaces(7)).
const UNKNOWN: u32 = 65534;

/// The end of a sentence, with the mend.
pub(super) fn cause() -> String {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let directories: Vec<PathBuf> = ROOTS.iter().map(|root| Path::new(root).join(machine.trim())).collect();
    cause_in(&directories, &groups_of(&status), &groups)
}

fn cause_in(directories: &[PathBuf], own: &[u32], groups: &str) -> String {
    let mut empty = None;
    for directory in directories {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                let why = fs::metadata(directory).map_or_else(|_| error.to_string(), |it| closed(&it, own, groups));
                return told(directory, directory, &why, own, groups);
            }
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        files.sort();
        empty.get_or_insert(directory);
        for file in files {
            if let Err(error) = File::open(&file)
                && error.kind() == ErrorKind::PermissionDenied
            {
                let why = fs::metadata(&file).map_or_else(|_| error.to_string(), |it| closed(&it, own, groups));
                return told(&file, directory, &why, own, groups);
            }
        }
    }
    match empty {
        Some(directory) => format!(
            "{} holds no journal file of this machine; see that systemd-journald runs (systemctl status systemd-journald).",
            directory.display()
        ),
        None => {
            let names: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
            format!(
                "there is no journal ({} are missing); see that systemd-journald runs, and that journald.conf does not \
                 have Storage=none.",
                names.join(" and ")
            )
        }
    }
}

/// Why a process may not read a file or a directory.
fn closed(of: &Metadata, own: &[u32], groups: &str) -> String {
    let mode = of.permissions().mode() & 0o7777;
    if own.contains(&of.gid()) && mode & 0o040 == 0 {
        return format!("its mode {mode:04o} does not let its group read it");
    }
    match of.gid() {
        UNKNOWN => format!("it belongs to another group (mode {mode:04o})"),
        gid => format!("it belongs to the group {} (mode {mode:04o})", name_of(gid, groups)),
    }
}

/// Whose fault it is: the process's, if it is not in the group that reads a journal; else the files'.
fn told(what: &Path, directory: &Path, why: &str, own: &[u32], groups: &str) -> String {
    let what = what.display();
    if own.contains(&UNKNOWN) || gid_of(GROUP, groups).is_some_and(|gid| own.contains(&gid)) {
        let directory = directory.display();
        return format!(
            "this user is in the group {GROUP}, but {what} is closed to it: {why}. Run `chgrp -R {GROUP} {directory} && \
             chmod -R g+rX {directory} && chmod g+s {directory}`."
        );
    }
    format!(
        "this user is not in the group {GROUP} (add `SupplementaryGroups={GROUP}`, or run as root), and {what} is closed \
         to it: {why}."
    )
}

/// All groups of a process, from its status in /proc.
fn groups_of(status: &str) -> Vec<u32> {
    let lines = status.lines().filter_map(|line| line.strip_prefix("Gid:").or(line.strip_prefix("Groups:")));
    lines.flat_map(str::split_ascii_whitespace).filter_map(|number| number.parse().ok()).collect()
}

/// The lines of /etc/group: name, password, number, members.
fn entries(groups: &str) -> impl Iterator<Item = (&str, u32)> {
    groups.lines().filter_map(|line| {
        let mut parts = line.split(':');
        Some((parts.next()?, parts.nth(1)?.parse().ok()?))
    })
}

fn gid_of(name: &str, groups: &str) -> Option<u32> {
    entries(groups).find(|(known, _)| *known == name).map(|(_, gid)| gid)
}

fn name_of(gid: u32, groups: &str) -> String {
    entries(groups).find(|(_, known)| *known == gid).map_or_else(|| gid.to_string(), |(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nadm:x:4:alice\nsystemd-journal:x:101:\n";

    #[test]
    fn a_journal_that_is_not_there_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let directories = [root.path().join("persistent"), root.path().join("volatile")];
        assert!(cause_in(&directories, &[101], GROUPS).starts_with("there is no journal ("));
        fs::create_dir(&directories[1]).unwrap();
        fs::write(directories[1].join("note.txt"), "").unwrap();
        assert!(cause_in(&directories, &[101], GROUPS).contains("volatile holds no journal file of this machine;"));
    }

    #[test]
    fn who_is_not_in_the_group_is_distinguished_from_files_that_are_not() {
        let (file, directory) = (Path::new("/j/m/system.journal"), Path::new("/j/m"));
        let outside = told(file, directory, "why", &[998], GROUPS);
        assert!(outside.starts_with("this user is not in the group systemd-journal (add "), "{outside}");
        let inside = told(file, directory, "it belongs to the group root (mode 0640)", &[998, 101], GROUPS);
        assert!(
            inside.starts_with("this user is in the group systemd-journal, but /j/m/system.journal is "),
            "{inside}"
        );
        assert_eq!(told(file, directory, "it belongs to the group root (mode 0640)", &[998, UNKNOWN], GROUPS), inside);
        assert!(inside.contains("group root (mode 0640). Run `chgrp -R systemd-journal /j/m && "), "{inside}");
    }

    #[test]
    fn the_groups_of_a_process_and_their_names_are_read() {
        let status = "Name:\twardend\nUid:\t999\t999\t999\t999\nGid:\t998\t998\t998\t998\nGroups:\t101 998 \n";
        assert_eq!(groups_of(status), [998, 998, 998, 998, 101, 998]);
        assert_eq!((gid_of("systemd-journal", GROUPS), gid_of("users", GROUPS)), (Some(101), None));
        assert_eq!((name_of(4, GROUPS), name_of(5, GROUPS)), ("adm".to_owned(), "5".to_owned()));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let of = fs::metadata(file.path()).unwrap();
        let groups = format!("files:x:{}:\n", of.gid());
        assert_eq!(closed(&of, &[of.gid()], &groups), "its mode 0600 does not let its group read it");
        assert_eq!(closed(&of, &[], &groups), "it belongs to the group files (mode 0600)");
    }
}
