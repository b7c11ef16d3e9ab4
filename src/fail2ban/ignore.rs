//! fail2ban's `ignoreip` as wardend's.

use std::{net::Ipv4Addr, path::Path};

use super::setup::{Files, Place, Value};
use crate::core::net::{check_host_name, parse_network, text_of};

/// One entry with the line it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// What became of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) entries: Vec<Entry>,
    /// Host names, which somebody has to resolve.
    pub(crate) names: Vec<String>,
    /// What was left out, or read from elsewhere: a place and a sentence.
    pub(crate) warnings: Vec<(Place, String)>,
}

/// Reads a value that was resolved to `text`.
pub(crate) fn parse(value: &Value, text: &str, files: &dyn Files) -> List {
    let mut list = List::default();
    // The lines are known if the text is the one that is written.
    let written = text == value.raw;
    for (index, line) in text.split('\n').enumerate() {
        let place = match value.lines.get(index).filter(|_| written) {
            Some(number) => Place { line: *number, ..value.place.clone() },
            None => value.place.clone(),
        };
        for word in line.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
            match word.strip_prefix("file:") {
                Some(path) => list.read(path.trim_start_matches("//"), &place, files),
                None => list.take(word, &place),
            }
        }
    }
    list
}

impl List {
    fn read(&mut self, path: &str, place: &Place, files: &dyn Files) {
        let text = match files.read(Path::new(path)) {
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(None) => {
                self.warnings.push((
                    place.clone(),
                    format!("the file {path} is not there, so its addresses are missing; add them"),
                ));
                return;
            }
            Err(error) => {
                self.warnings.push((
                    place.clone(),
                    format!("the file {path} can't be read ({error}), so its addresses are missing; add them"),
                ));
                return;
            }
        };
        self.warnings.push((
            place.clone(),
            format!("the addresses in {path} were copied as they are now; wardend does not follow the file, so later changes belong in ignoreip"),
        ));
        for (number, line) in text.lines().enumerate() {
            let place = Place { file: path.into(), line: number + 1, shipped: false };
            let line = line.split(['#', ';']).next().unwrap_or_default();
            for word in line.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
                self.take(word, &place);
            }
        }
    }

    fn take(&mut self, word: &str, place: &Place) {
        let word = with_prefix(word);
        let entry = |text: String| Entry { text, place: place.clone() };
        let text = match parse_network(&word) {
            Ok(network) if network.addr().is_loopback() => return,
            Ok(network) => text_of(network),
            Err(what) if word.contains('/') || !word.contains(|c: char| c.is_ascii_alphabetic()) => {
                return self.leave(&word, &what.to_string(), place);
            }
            Err(_)
                if ["localhost", "localhost.localdomain", "ip6-localhost"].contains(&word.to_lowercase().as_str()) =>
            {
                return;
            }
            Err(_) => match check_host_name(&word) {
                Ok(()) => {
                    self.names.push(word.clone());
                    word
                }
                Err(what) => return self.leave(&word, &what.to_string(), place),
            },
        };
        if !self.entries.iter().any(|known| known.text == text) {
            self.entries.push(entry(text));
        }
    }

    fn leave(&mut self, word: &str, what: &str, place: &Place) {
        let what = if word == "#" {
            "' #' does not begin a comment there, so the words behind it are entries".to_owned()
        } else {
            what.trim_end_matches('.').to_owned()
        };
        self.warnings.push((
            place.clone(),
            format!("'{}' was left out: {what}; write the address that is meant", super::ini::shortened(word)),
        ));
    }
}

/// `a.b.c.d/255.255.0.0` with the number of its bits.
fn with_prefix(word: &str) -> String {
    let mask = word.split_once('/').and_then(|(address, mask)| Some((address, mask.parse::<Ipv4Addr>().ok()?)));
    match mask.map(|(address, mask)| (address, u32::from(mask))) {
        Some((address, mask)) if mask.leading_ones() + mask.trailing_zeros() == 32 || mask == u32::MAX => {
            format!("{address}/{}", mask.leading_ones())
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;

    fn list(text: &str) -> List {
        let place = Place { file: "jail.local".into(), line: 2, shipped: false };
        let lines = text.split('\n').enumerate().map(|(index, _)| 2 + index).collect();
        let files: BTreeMap<PathBuf, Vec<u8>> =
            [("/etc/ours".into(), b"# ours\n198.51.100.1\n198.51.100.2 198.51.100.3 ; more\n".to_vec())].into();
        parse(&Value { raw: text.to_owned(), place, lines }, text, &files)
    }

    #[test]
    fn what_is_ignored_there_is_ignored_here_and_the_rest_is_reported() {
        let entries = |text: &str| list(text).entries.into_iter().map(|entry| entry.text).collect::<Vec<_>>().join(" ");
        for (text, expected, warnings) in [
            ("127.0.0.1/8 ::1", "", 0),
            ("127.0.0.1/8 ::1 localhost 127.0.0.0/255.0.0.0", "", 0),
            ("198.51.100.7, 203.0.113.0/24,", "198.51.100.7 203.0.113.0/24", 0),
            ("198.51.100.7/24", "198.51.100.0/24", 0),
            ("192.168.0.0/255.255.0.0", "192.168.0.0/16", 0),
            ("192.168.0.1/255.255.255.255", "192.168.0.1", 0),
            ("192.168.0.0/255.0.255.0", "", 1),
            ("\n198.51.100.7\n 198.51.100.8", "198.51.100.7 198.51.100.8", 0),
            ("2001:DB8::1 2001:db8:1::/48", "2001:db8::1 2001:db8:1::/48", 0),
            ("::ffff:198.51.100.7", "198.51.100.7", 0),
            ("office.example.org", "office.example.org", 0),
            ("YOUR IP", "", 2),
            ("whitelist-IP", "", 1),
            ("0.0.0.0/0", "", 1),
            ("198.51.100.7 # office", "198.51.100.7", 2),
            ("198.51.100.1-20", "", 1),
            ("10.0.0", "", 1),
            ("198.51.100.7 198.51.100.7/32", "198.51.100.7", 0),
            ("file:/etc/ours", "198.51.100.1 198.51.100.2 198.51.100.3", 1),
            ("file:///etc/none 198.51.100.9", "198.51.100.9", 1),
            ("", "", 0),
        ] {
            assert_eq!(entries(text), expected, "{text}");
            assert_eq!(list(text).warnings.len(), warnings, "{text}: {:?}", list(text).warnings);
        }
        assert_eq!(list("office.example.org").names, ["office.example.org"]);
        assert_eq!(list("\n198.51.100.7\n198.51.100.8").entries[1].place.line, 4);
        assert_eq!(list("file:/etc/ours").entries[1].place.to_string(), "/etc/ours:3");
    }
}
