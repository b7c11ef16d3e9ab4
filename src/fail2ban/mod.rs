//! fail2ban's configuration, read for `wardenctl import fail2ban`: from its files to a drop-in and a report.
//!
//! Four steps, all without any I/O but through [`Files`], and without running or evaluating anything of
//! what is read: [`ini`] reads one file, [`setup`] lays all files over each other, [`mapping`] says what
//! the jails become ([`jail`]: one of them; [`converted`]: the result), [`drop_in`] and [`report`] write it down. [`span`], [`ports`], [`ignore`],
//! [`actions`] and [`growth`] each know one kind of value.

mod actions;
mod bans;
mod call;
mod converted;
mod drop_in;
mod growth;
mod ignore;
mod ini;
mod installed;
mod jail;
mod mapping;
mod pattern;
mod ports;
mod report;
mod rules;
mod setup;
mod span;
mod stock;

use std::path::PathBuf;

pub(crate) use self::{
    bans::{Ban, Order, Orders, parse_listing},
    drop_in::NAME,
    installed::{Installed, NotLoaded},
    report::{Next, Report},
    setup::{Error, Files, MOST_BYTES},
};

/// Where fail2ban keeps its bans unless its configuration says otherwise.
const DATABASE: &str = "/var/lib/fail2ban/fail2ban.sqlite3";

/// What an import makes of a set-up.
#[derive(Debug)]
pub(crate) struct Import {
    conversion: converted::Conversion,
    /// The text of the drop-in; none if no jail was converted.
    pub(crate) drop_in: Option<String>,
}

impl Import {
    /// Reads and converts the set-up whose files these are; messages call it `directory`.
    ///
    /// # Errors
    /// The first thing that can't be read, with file and line.
    pub(crate) fn read(
        files: &dyn Files,
        directory: &str,
        installed: &dyn Installed,
        exact: bool,
    ) -> Result<Self, Error> {
        let setup = setup::Setup::read("jail", files)?;
        let conversion = mapping::convert(&setup, files, installed, exact)?;
        let drop_in = drop_in::text(&conversion, directory);
        Ok(Self { conversion, drop_in })
    }

    /// Whether something was left out.
    pub(crate) fn is_partial(&self) -> bool {
        !self.conversion.left.is_empty() || self.conversion.converted.is_empty()
    }

    /// What becomes of the bans that fail2ban has.
    pub(crate) fn orders(&self, bans: &[Ban], now_usec: u64) -> Orders {
        let jails = bans::Jails {
            converted: self.conversion.converted.iter().map(|jail| (&*jail.theirs, &*jail.name)).collect(),
            stay: self.conversion.stays_on().collect(),
        };
        bans::orders(bans, &jails, now_usec)
    }

    /// The jails of fail2ban's whose bans are to be taken over.
    pub(crate) fn jails_with_bans(&self) -> Vec<&str> {
        self.conversion.converted.iter().map(|jail| &*jail.theirs).collect()
    }

    /// The names here of the jails that were converted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.conversion.converted.iter().map(|jail| &*jail.name)
    }

    pub(crate) fn report(&self, next: &Next) -> Report {
        report::report(&self.conversion, next)
    }
}

/// The database of the set-up whose files these are; none if it keeps its bans in memory.
///
/// # Errors
/// The first thing that can't be read, with file and line.
pub(crate) fn database(files: &dyn Files) -> Result<Option<PathBuf>, Error> {
    let setup = setup::Setup::read("fail2ban", files);
    let setup = match setup {
        Err(Error::NoSetup(_)) => return Ok(Some(PathBuf::from(DATABASE))),
        read => read?,
    };
    let Some(found) = setup.get("Definition", "dbfile") else { return Ok(Some(PathBuf::from(DATABASE))) };
    let place = &found.value.place;
    let text = setup.resolve("Definition", &found.value.raw);
    let text = text.map_err(|what| Error::At(place.file.to_string(), place.line, format!("dbfile {what}.")))?;
    let text = text.trim();
    let none = text.is_empty() || text == ":memory:" || text.eq_ignore_ascii_case("none");
    Ok((!none).then(|| PathBuf::from(text)))
}

/// One file, and all its values read as each kind of value: nothing panics. For the fuzz target.
///
/// # Panics
/// If what is made of it is not TOML.
pub fn read_bytes(bytes: &[u8]) {
    let files: std::collections::BTreeMap<PathBuf, Vec<u8>> =
        [(PathBuf::from("jail.local"), bytes.to_vec()), (PathBuf::from("filter.d/sshd.local"), bytes.to_vec())].into();
    let installed: std::collections::BTreeMap<String, Vec<String>> =
        [("sshd".to_owned(), vec!["normal".to_owned(), "aggressive".to_owned()])].into();
    for exact in [false, true] {
        if let Ok(import) = Import::read(&files, "/etc/fail2ban", &installed, exact) {
            let text = import.drop_in.clone().unwrap_or_default();
            assert!(toml::from_str::<toml::Table>(&text).is_ok(), "a drop-in is TOML: {text}");
            drop(import.report(&Next::default()).text());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(span::Span::parse(text));
        drop(call::calls(text));
        drop(ports::Ports::parse(text, "tcp"));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use proptest::prelude::*;

    use super::{database, read_bytes};

    #[test]
    fn the_database_is_the_one_that_the_configuration_names() {
        for (files, expected) in [
            (vec![], Some("/var/lib/fail2ban/fail2ban.sqlite3")),
            (vec![("fail2ban.conf", "[Definition]\nloglevel = INFO")], Some("/var/lib/fail2ban/fail2ban.sqlite3")),
            (vec![("fail2ban.conf", "[DEFAULT]\ndbfile = /a\n"), ("fail2ban.local", "[Definition]\n")], Some("/a")),
            (
                vec![
                    ("fail2ban.conf", "[Definition]\ndbfile = /a\n"),
                    ("fail2ban.d/x.local", "[Definition]\ndbfile: /b ; c\n"),
                ],
                Some("/b"),
            ),
            (vec![("fail2ban.local", "[Definition]\ndbfile = :memory:\n")], None),
            (vec![("fail2ban.local", "[Definition]\ndbfile = None\n")], None),
            (vec![("fail2ban.local", "[Definition]\nhere = /c\ndbfile = %(here)s/d\n")], Some("/c/d")),
        ] {
            let files: BTreeMap<PathBuf, Vec<u8>> =
                files.into_iter().map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec())).collect();
            assert_eq!(database(&files).unwrap(), expected.map(PathBuf::from), "{files:?}");
        }
        let files: BTreeMap<PathBuf, Vec<u8>> =
            [("fail2ban.local".into(), b"[Definition]\ndbfile = %(none)s\n".to_vec())].into();
        let error = database(&files).unwrap_err().to_string();
        assert_eq!(error, "fail2ban.local:2: dbfile names %(none)s, which is not set anywhere.");
    }

    proptest! {
        /// The fuzz target's property, over what looks like a set-up.
        #[test]
        fn whatever_a_file_says_nothing_panics_and_a_drop_in_is_toml(
            lines in proptest::collection::vec(
                prop_oneof![
                    "\\[(sshd|DEFAULT|INCLUDES|recidive|a b|x\"y|\\[)\\]?",
                    "(enabled|bantime|findtime|maxretry|ignoreip|port|protocol|filter|action|mode|before|after|bantime\\.[a-z]{4,11}|failregex) ?[=:] ?\\PC{0,24}",
                    "enabled = true",
                    "filter = sshd",
                    "(bantime|ignoreip|port) = [-0-9a-z*+ .:/%()%]{0,16}",
                    "[ \t]{1,3}\\PC{0,16}",
                    "[#;]\\PC{0,8}",
                    "",
                ],
                0..24,
            )
        ) {
            read_bytes(format!("[sshd]\n{}", lines.join("\n")).as_bytes());
        }

        #[test]
        fn whatever_bytes_a_file_holds_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_bytes(&bytes);
        }
    }
}
