//! A handler, as its file describes it: `/etc/wardend/notify.d/NAME.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use super::{batch::Pace, event::Kind};
use crate::{
    config::{ConfigError, parse_span, read_text},
    core::time::USEC_PER_SEC,
    util::suggest::toml_mistake,
};

/// Where handlers are set up.
pub(crate) const DIRECTORY: &str = "/etc/wardend/notify.d";
/// The most events of a batch.
const MOST: i64 = 100_000;
/// The most handlers: each follows the journal by itself.
const MOST_HANDLERS: usize = 32;
const LONGEST_NAME: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    events: Option<Spanned<Vec<Spanned<String>>>>,
    jails: Option<Vec<String>>,
    collect: Option<Spanned<String>>,
    at_most: Option<Spanned<String>>,
    batch: Option<Spanned<i64>>,
    min_count: Option<Spanned<i64>>,
    #[serde(default)]
    users: bool,
    #[serde(default)]
    settings: BTreeMap<String, Spanned<String>>,
}

/// A handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    pub(crate) name: String,
    pub(crate) events: BTreeSet<Kind>,
    /// Only bans of these jails; all, if there are none.
    pub(crate) jails: Vec<String>,
    pub(crate) pace: Pace,
    /// Only from this ban of a source on.
    pub(crate) min_count: u64,
    pub(crate) users: bool,
    /// What the handler's program finds in the first line.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Handler {
    /// Whether the handler asks for an event of this kind, jail and count.
    pub(crate) fn wants(&self, kind: Kind, jail: &str, count: u64) -> bool {
        self.events.contains(&kind)
            && (jail.is_empty() || self.jails.is_empty() || self.jails.iter().any(|wanted| wanted == jail))
            && (kind != Kind::Banned || count >= self.min_count)
    }

    fn parse(name: &str, file: &str, text: &str) -> Result<Self, ConfigError> {
        let at = |offset: usize, what: String| {
            let line = 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
            ConfigError::At { file: file.to_owned(), line, what }
        };
        let read: File = toml::from_str(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), toml_mistake(&error)))?;
        let time = |key: &str, value: Option<Spanned<String>>, default: u64| {
            let Some(value) = value else { return Ok(default * USEC_PER_SEC) };
            if value.get_ref() == "0" {
                return Ok(0);
            }
            match parse_span(value.get_ref()) {
                Ok(Some(usec)) => Ok(usec),
                Ok(None) => Err(at(
                    value.span().start,
                    format!("{key} can't be 'infinity'; write a time span such as \"10min\"."),
                )),
                Err(what) => Err(at(value.span().start, format!("{key} is {what}"))),
            }
        };
        let number = |key: &str, value: Option<Spanned<i64>>, default: i64, most: i64| match value {
            None => Ok(default),
            Some(value) if (1..=most).contains(value.get_ref()) => Ok(*value.get_ref()),
            Some(value) => {
                Err(at(value.span().start, format!("{key} is {}; write a number from 1 to {most}.", value.get_ref())))
            }
        };
        let mut events = BTreeSet::new();
        match read.events {
            None => events.extend([Kind::Banned, Kind::Imported, Kind::Degraded, Kind::Fleet, Kind::Digest]),
            Some(named) if named.get_ref().is_empty() => {
                return Err(at(
                    named.span().start,
                    format!("events is empty, so the handler would receive nothing; {}", kinds("")),
                ));
            }
            Some(named) => {
                for word in named.into_inner() {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == word.get_ref());
                    let unknown = || {
                        at(
                            word.span().start,
                            format!("'{}' is not a kind of event; {}", word.get_ref(), kinds(word.get_ref())),
                        )
                    };
                    events.insert(kind.ok_or_else(unknown)?);
                }
            }
        }
        let mut settings = BTreeMap::new();
        for (key, value) in read.settings {
            if value.get_ref().contains('\0') {
                return Err(at(value.span().start, format!("{key} contains a zero byte; remove it.")));
            }
            settings.insert(key, value.into_inner());
        }
        Ok(Self {
            name: name.to_owned(),
            events,
            jails: read.jails.unwrap_or_default(),
            pace: Pace {
                collect: time("collect", read.collect, 60)?,
                at_most: time("at-most", read.at_most, 600)?,
                batch: usize::try_from(number("batch", read.batch, 1000, MOST)?).unwrap_or(1),
            },
            min_count: u64::try_from(number("min-count", read.min_count, 1, i64::from(u32::MAX))?).unwrap_or(1),
            users: read.users,
            settings,
        })
    }
}

/// The unit of a handler.
pub(crate) fn unit(name: &str) -> String {
    format!("wardend-notify@{name}.service")
}

fn kinds(word: &str) -> String {
    crate::util::suggest::instead(word, Kind::ALL.map(Kind::name))
}

/// Whether a name can be a handler's: it becomes a part of a unit's name, which polkit checks.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(fits) && !name.starts_with('-')
}

/// What is set up in a directory: the handlers, and what is wrong with the files of others.
pub(crate) fn read(directory: &Path) -> Result<(Vec<Handler>, Vec<ConfigError>), ConfigError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(ConfigError::unreadable(directory, &error)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let (mut handlers, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let file = path.display().to_string();
        if name.starts_with('.') {
            continue;
        }
        let handler = if !is_name(&name) {
            let what = format!(
                "'{name}' is not a valid name of a handler; use up to {LONGEST_NAME} lowercase letters, digits and '-'."
            );
            Err(ConfigError::At { file, line: 1, what })
        } else if handlers.len() >= MOST_HANDLERS {
            let what = format!("there are more than {MOST_HANDLERS} handlers; remove some.");
            Err(ConfigError::At { file, line: 1, what })
        } else {
            read_text(&path).and_then(|text| Handler::parse(&name, &file, &text))
        };
        match handler {
            Ok(handler) => handlers.push(handler),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    Ok((handlers, mistakes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Handler, String> {
        Handler::parse("mail", "mail.toml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_a_handler_with_the_defaults() {
        let handler = parse("").unwrap();
        assert_eq!(
            handler.events,
            BTreeSet::from([Kind::Banned, Kind::Imported, Kind::Degraded, Kind::Fleet, Kind::Digest])
        );
        assert_eq!(handler.pace, Pace { collect: 60_000_000, at_most: 600_000_000, batch: 1000 });
        assert_eq!(unit(&handler.name), "wardend-notify@mail.service");
        assert!(handler.wants(Kind::Banned, "sshd", 1) && !handler.wants(Kind::Leak, "sshd", 1));
    }

    #[test]
    fn jails_and_counts_choose_bans_and_nothing_else() {
        let handler =
            parse("jails = [\"sshd\"]\nmin-count = 3\nevents = [\"banned\", \"spared\", \"degraded\"]").unwrap();
        assert!(handler.wants(Kind::Banned, "sshd", 3) && !handler.wants(Kind::Banned, "sshd", 2));
        assert!(!handler.wants(Kind::Banned, "web", 3));
        assert!(handler.wants(Kind::Spared, "sshd", 1) && handler.wants(Kind::Degraded, "", 1));
    }

    #[test]
    fn a_mistake_is_a_sentence_with_its_line() {
        for (text, sentence) in [
            ("\nevent = []", "mail.toml:2: unknown field `event`; did you mean 'events'?"),
            ("events = [\n\"baned\"]", "mail.toml:2: 'baned' is not a kind of event; did you mean 'banned'?"),
            (
                "collect = \"infinity\"",
                "mail.toml:1: collect can't be 'infinity'; write a time span such as \"10min\".",
            ),
            ("batch = 0", "mail.toml:1: batch is 0; write a number from 1 to 100000."),
        ] {
            assert_eq!(parse(text).unwrap_err(), sentence);
        }
        assert!(parse("events = []").unwrap_err().starts_with("mail.toml:1: events is empty"));
        assert!(parse("at-most = \"soon\"").unwrap_err().starts_with("mail.toml:1: at-most is 'soon', which is not"));
        assert_eq!(parse("collect = \"0\"").unwrap().pace.collect, 0);
    }

    #[test]
    fn a_name_can_not_be_more_than_a_part_of_a_units_name() {
        assert!(is_name("mail") && is_name("slack-2"));
        for name in ["", "-x", "a b", "a.b", "a@b", "a/b", "a\\x2d", "Ä", "A", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn one_bad_file_keeps_no_other_from_being_read() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in
            [("a.toml", ""), ("b.toml", "x = 1"), ("C.toml", ""), ("mail", "#!/bin/sh"), (".d.toml", "x")]
        {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let (handlers, mistakes) = read(directory.path()).unwrap();
        assert_eq!(handlers.iter().map(|handler| &*handler.name).collect::<Vec<_>>(), ["a"]);
        assert_eq!(mistakes.len(), 2);
        assert!(read(&directory.path().join("none")).unwrap().0.is_empty());
    }
}
