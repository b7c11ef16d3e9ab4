//! `events`: what wardend has written to the journal, as words and as JSON.
//!
//! Only what wardend itself has written: a MESSAGE_ID can be written by anyone, the fields by which
//! [`crate::journal::own_records`] believes a record can't.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::{
    output::{Json, Style, line, print_json, when},
    time::parse,
};
use crate::{
    contract::event,
    core::{cursor::Cursor, time::Usec},
    journal::{
        Where,
        own_records::{Moves, OwnRecord, OwnRecords, user},
    },
    util::{files, text::printable},
};

/// How long to wait for something new at a time.
const PACE: Duration = Duration::from_secs(1);

/// Which journal to read wardend's records from.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// Read all journal files of this directory
    #[arg(short = 'D', long, value_name = "DIR", conflicts_with = "file")]
    directory: Option<PathBuf>,
    /// Read these journal files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Stop at this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
}

impl Source {
    fn place(&self) -> Where {
        match (&self.directory, self.file.as_slice()) {
            (Some(directory), _) => Where::Directory(directory.clone()),
            (None, []) => Where::System,
            (None, files) => Where::Files(files.to_vec()),
        }
    }

    /// Opens the journal. A user of this machine says nothing about a journal of another.
    pub(super) fn open(&self) -> anyhow::Result<OwnRecords> {
        let place = self.place();
        let user = if matches!(place, Where::System) { user() } else { None };
        Ok(OwnRecords::open(&place, user)?)
    }

    pub(super) fn until(&self) -> anyhow::Result<Option<Usec>> {
        self.until.as_deref().map(parse).transpose().context("--until")
    }
}

/// Options of `events`.
#[derive(Debug, clap::Args)]
pub(super) struct Events {
    /// Only show events of these kinds, such as banned or degraded [default: all]
    #[arg(value_name = "EVENT", value_parser = PossibleValuesParser::new(event::words()), hide_possible_values = true)]
    kinds: Vec<String>,
    /// Start at this time: 2026-11-23 05:48:03, @1795412883 (seconds), or -2h [default: the oldest record]
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Wait for further events
    #[arg(short, long, conflicts_with_all = ["until", "directory", "file"])]
    follow: bool,
    /// Start after the event that this file names, if there is such a file, and write the last one to it
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

impl Events {
    /// Whether it goes on until it is interrupted.
    pub(super) fn follows(&self) -> bool {
        self.follow
    }
}

pub(super) fn run(options: &Events) -> anyhow::Result<()> {
    let until = options.source.until()?;
    let since = options.since.as_deref().map(parse).transpose().context("--since")?;
    let mut records = options.source.open()?;
    let known = options.cursor_file.as_deref().map(read_cursor).transpose()?.flatten();
    match (&known, since) {
        (Some(cursor), _) => {
            if !records.seek_behind(cursor)? {
                let _ = writeln!(
                    io::stderr(),
                    "wardenctl: the journal no longer contains the event that the cursor file names; continuing with the next one."
                );
            }
        }
        (None, since) => records.seek_time(since.unwrap_or_default())?,
    }
    let mut last = known;
    let mut moves = Moves::new();
    loop {
        let mut shown = false;
        while let Some(record) = records.next()? {
            if until.is_some_and(|until| record.time > until) {
                return Ok(());
            }
            let position = records.position()?;
            if show(&record, &position, options)? {
                last = Some(position);
                shown = true;
                // Whoever gets no further than this event gets it again, and none is left out.
                if !options.follow
                    && let (Some(file), Some(last)) = (&options.cursor_file, &last)
                {
                    write_cursor(file, last)?;
                }
            }
        }
        if !options.follow {
            return Ok(());
        }
        if shown && let (Some(file), Some(last)) = (&options.cursor_file, &last) {
            write_cursor(file, last)?;
        }
        if moves.happened() {
            records = options.source.open()?;
            match &last {
                Some(last) => drop(records.seek_behind(last)?),
                None => records.seek_time(since.unwrap_or_default())?,
            }
            continue;
        }
        records.wait(PACE);
    }
}

/// Prints a record. False if it is not an event that was asked for: what systemd says, and what has no
/// MESSAGE_ID, is none.
fn show(record: &OwnRecord, position: &Cursor, options: &Events) -> anyhow::Result<bool> {
    let id = record.get("MESSAGE_ID");
    if id.is_empty() || record.is_of_systemd() {
        return Ok(false);
    }
    let word = event::word(id);
    if !options.kinds.is_empty() && !options.kinds.iter().any(|kind| kind == word) {
        return Ok(false);
    }
    let problem = event::problem(id, record.get("WARDEND_PROBLEM"));
    if let Some(mode) = options.json.mode() {
        let mut object = event::fields(record.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let what = [
            ("event", Value::from(word)),
            ("time_usec", Value::from(record.time)),
            ("message_id", Value::from(id)),
            ("message", Value::from(record.get("MESSAGE"))),
            ("cursor", Value::from(position.to_string())),
        ];
        object.extend(what.map(|(name, value)| (name.to_owned(), value)));
        if let Some(problem) = problem {
            object.insert("problem".to_owned(), Value::from(problem));
        }
        print_json(&object, mode)?;
        return Ok(true);
    }
    let style = match word {
        "banned" | "leak" | "refused" | "lost" => Style::Bad,
        "unbanned" | "healthy" => Style::Good,
        "spared" | "degraded" | "crowded" | "unresolved" | "not-cut" => Style::Warning,
        _ => Style::Plain,
    };
    let word = style.paint(&format!("{word:<10}"));
    line(&format!("{}  {word}  {}", when(record.time), printable(record.get("MESSAGE"))))?;
    Ok(true)
}

/// The cursor in a file; none if there is no such file, or it is empty.
fn read_cursor(file: &Path) -> anyhow::Result<Option<Cursor>> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Cursor::from(text.trim().to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} can't be read", file.display())),
    }
}

/// Replaces the file at once, so that it never holds half a cursor.
fn write_cursor(file: &Path, cursor: &Cursor) -> anyhow::Result<()> {
    let text = format!("{cursor}\n");
    files::replace(file, text.as_bytes(), 0o600).with_context(|| format!("{} can't be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_file_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cursor");
        assert!(read_cursor(&file).unwrap().is_none());
        let text = "s=5e2d3c6e0c4b4d5f8f3a1d6a7d1f9a3c;i=2a;b=0123456789abcdef0123456789abcdef;m=1;t=2;x=3";
        let cursor = Cursor::from(text.to_owned());
        write_cursor(&file, &cursor).unwrap();
        write_cursor(&file, &cursor).unwrap();
        assert_eq!(read_cursor(&file).unwrap().unwrap().to_string(), text);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        let error = write_cursor(&directory.path().join("none/cursor"), &cursor).unwrap_err().to_string();
        assert!(error.contains("can't be written"), "{error}");
    }
}
