//! Rules that an administrator has added to a filter of fail2ban's: where they are.
//!
//! They are never converted unasked: a regular expression that reads an attacker's text safely is rare,
//! and wardend proves each of its own.

use std::path::Path;

use super::{
    ini::shortened,
    setup::{Files, Place, Setup, Value},
};

/// A rule of an administrator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnRule {
    /// wardend's filter that reads the same service.
    pub(crate) filter: String,
    /// The key: failregex or another one.
    pub(crate) key: String,
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// What an administrator has changed about the filter of a jail; none if nothing.
pub(crate) fn of_jail(
    setup: &Setup,
    section: &str,
    theirs: &str,
    ours: &str,
    files: &dyn Files,
) -> Option<Vec<OwnRule>> {
    let mut found = Vec::new();
    for key in ["failregex", "ignoreregex", "prefregex"] {
        if let Some(value) = setup.get(section, key).map(|found| found.value).filter(|value| !value.place.shipped) {
            found.extend(lines(key, value, ours));
        }
    }
    let path = Path::new("filter.d").join(format!("{theirs}.conf"));
    if let Ok(Some(file)) = Setup::read_one(&path, files) {
        for (key, value) in file.own("Definition").filter(|(_, value)| !value.place.shipped) {
            found.extend(lines(key, value, ours));
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Each line of a value that says something of its own.
fn lines(key: &str, value: &Value, ours: &str) -> Vec<OwnRule> {
    let numbered = value.raw.split('\n').zip(value.lines.iter().copied().chain(std::iter::repeat(value.place.line)));
    let mut rules = Vec::new();
    for (text, line) in numbered {
        let text = text.replace("%(known/failregex)s", "").replace("%(known/ignoreregex)s", "").trim().to_owned();
        if !text.is_empty() {
            let place = Place { line, ..value.place.clone() };
            rules.push(OwnRule { filter: ours.to_owned(), key: key.to_owned(), text, place });
        }
    }
    rules
}

impl OwnRule {
    /// For a list.
    pub(crate) fn shown(&self) -> String {
        format!("{} = {}", self.key, shortened(&self.text))
    }
}
