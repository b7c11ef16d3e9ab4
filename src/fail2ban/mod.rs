//! fail2ban's configuration, read for `wardenctl import fail2ban`: from its files to a drop-in and a report.
//!
//! Four steps, all without any I/O but through [`Files`], and without running or evaluating anything of
//! what is read: [`ini`] reads one file, [`setup`] lays all files over each other, [`mapping`] says what
//! the jails become ([`jail`]: one of them), [`drop_in`] and [`report`] write it down. [`span`], [`ports`], [`ignore`],
//! [`actions`] and [`growth`] each know one kind of value.

mod actions;
mod call;
mod drop_in;
mod growth;
mod ignore;
mod ini;
mod jail;
mod mapping;
mod ports;
mod report;
mod rules;
mod setup;
mod span;
mod stock;

use std::path::PathBuf;

pub(crate) use self::{
    drop_in::NAME,
    report::{Next, Report},
    setup::MOST_BYTES,
};
pub(crate) use self::{
    mapping::Installed,
    setup::{Error, Files},
};

/// What an import makes of a set-up.
#[derive(Debug)]
pub(crate) struct Import {
    conversion: mapping::Conversion,
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

    pub(crate) fn report(&self, next: &Next) -> Report {
        report::report(&self.conversion, next)
    }
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
    use proptest::prelude::*;

    use super::read_bytes;

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
