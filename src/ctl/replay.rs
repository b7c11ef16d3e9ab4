//! `wardenctl replay`: the engine over past journals.
//!
//! It needs no daemon and no privilege but read access, changes nothing, and runs the very
//! code that the daemon runs. What comes out is one line for each source with at least one
//! failure, and a summary: who would have been banned, when, and by which records. With `--diff`
//! the same journal is read under a second configuration, and what comes out is what would change
//! ([`super::diff`]).

use std::{cell::Cell, collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::Context;
use ipnet::IpNet;
use serde::Serialize;

use super::{
    finding::{Finding, Period},
    output::{Json, Table, print_json, when},
    progress::Progress,
};
use crate::{
    config::Settings,
    core::{
        bans::Ban,
        engine::{Effect, Engine},
        record::{Cursor, Record},
    },
    journal::{Position, Reader, Step, Where},
    kernel::addresses,
};

/// Shows which sources would have been banned, from past journals.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read all journal files of this directory
    #[arg(short = 'D', long, value_name = "DIR", conflicts_with = "file")]
    directory: Option<PathBuf>,
    /// Read these journal files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Start at this time: 2026-11-23 05:48:03, @1795412883 (seconds), or -2h
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Stop at this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Read the configuration from this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Show what would change with the configuration in this directory
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    /// Only run this jail, or one for the filter of this name, whether it is enabled or not
    #[arg(long, value_name = "NAME")]
    jail: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// The most users of each source, the first that it tried: there are attackers who try a new one
/// each time.
const MOST_USERS: usize = 100;

/// The last line of the output.
#[derive(Debug, Serialize)]
struct Closing<'s> {
    summary: &'s Summary,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    records: u64,
    matched: u64,
    failures: u64,
    sources: u64,
    bans: u64,
    /// Failures that count for nobody, because no record of their session names an address.
    nameless: u64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directories = super::directories(arguments.config.as_deref())?;
    let lines = play(arguments, &directories)?;
    match &arguments.diff {
        None => lines.print(arguments.json),
        Some(other) => {
            let other = play(arguments, &super::directories(Some(other))?)?;
            super::diff::print(&lines.of, &other.of, arguments.json)
        }
    }
}

/// Replays the journal under the configuration of some directories.
fn play(arguments: &Arguments, directories: &[PathBuf]) -> anyhow::Result<Lines> {
    let settings = match &arguments.jail {
        None => Settings::load(directories)?,
        Some(jail) => Settings::load_jail(directories, jail)?,
    };
    let since = arguments.since.as_deref().map(super::time::parse).transpose().context("--since")?;
    let until = arguments.until.as_deref().map(super::time::parse).transpose().context("--until")?;
    let journal = match (&arguments.directory, arguments.file.as_slice()) {
        (Some(directory), _) => Where::Directory(directory.clone()),
        (None, []) => Where::System,
        (None, files) => Where::Files(files.to_vec()),
    };
    let filters = settings.jails.iter().map(|jail| Arc::clone(&jail.filter)).collect();
    let mut reader = Reader::open(&journal, filters, settings.fields.clone())?.without_cursors();
    let mut progress = Progress::new(match until {
        Some(until) => Some(until),
        None => reader.end()?,
    });
    reader.seek(&since.map_or(Position::Head, Position::Since))?;

    let mut lines = Lines::default();
    let mut engine = Engine::new(settings.jails);
    let mut effects = Vec::new();
    // This machine's own journal; whose another is, nobody knows.
    if let Where::System = journal
        && let Ok(own) = addresses::list()
    {
        engine.own(own, 0, &mut effects);
    }
    let mut record = Record::default();
    let unread = Cell::new(None);
    while reader.next(&mut record)? != Step::End {
        if until.is_some_and(|until| record.time > until) {
            break;
        }
        lines.summary.records += 1;
        progress.at(record.time);
        let place = || {
            reader.position().unwrap_or_else(|error| {
                unread.set(Some(error));
                Cursor::default()
            })
        };
        lines.summary.matched += u64::from(engine.record_at(&record, &place, &mut effects));
        lines.take(&mut effects);
        if let Some(error) = unread.take() {
            return Err(error.into());
        }
    }
    let end = match until {
        Some(until) => Some(until),
        None => reader.last()?,
    };
    engine.end_sessions(end.unwrap_or_default(), &mut effects);
    lines.take(&mut effects);
    if let Some(jail) = &arguments.jail {
        // There are others if it counts their bans.
        lines.of.retain(|(of, _), _| **of == **jail);
    }
    Ok(lines)
}

/// The output as it grows.
#[derive(Debug, Default)]
struct Lines {
    of: BTreeMap<(Arc<str>, IpNet), Finding>,
    summary: Summary,
}

impl Lines {
    fn take(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Failed { jail, source, failure, ignored: false } => {
                    let line =
                        self.of.entry((jail.clone(), source)).or_insert_with(|| Finding::new(jail.to_string(), source));
                    line.failures += 1;
                    if let Some(user) = failure.user.as_deref()
                        && !line.users.contains(user)
                    {
                        line.more_users = line.users.len() == MOST_USERS;
                        if !line.more_users {
                            line.users.insert(user.to_owned());
                        }
                    }
                    *line.rules.entry(failure.rule.clone()).or_default() += 1;
                    line.show(&failure);
                }
                Effect::TakenBack { jail, source, failure } => {
                    if let Some(line) = self.of.get_mut(&(jail, source)) {
                        line.failures = line.failures.saturating_sub(1);
                        line.evidence.retain(|cursor| *cursor != failure.cursor);
                        if let Some(count) = line.rules.get_mut(&*failure.rule) {
                            *count = count.saturating_sub(1);
                        }
                        line.rules.retain(|_, count| *count > 0);
                    }
                }
                Effect::Banned(ban) => self.banned(ban),
                Effect::Nameless { count, .. } => self.summary.nameless += count as u64,
                Effect::Failed { .. }
                | Effect::Extended(_)
                | Effect::Unbanned(..)
                | Effect::Spared { .. }
                | Effect::Withheld(_)
                | Effect::Excepted(_)
                | Effect::ExceptionEnded(..)
                | Effect::Leak { .. }
                | Effect::Crowded(..)
                | Effect::ClockSet(_)
                | Effect::Block { .. }
                | Effect::Release { .. }
                | Effect::Cut { .. } => {}
            }
        }
    }

    fn banned(&mut self, ban: Ban) {
        let Ban { jail, source, since, until, count, failures, .. } = ban;
        let period = Period { since_usec: since, until_usec: until, count };
        let line = self.of.entry((jail.clone(), source)).or_insert_with(|| {
            // A network that is banned for what its hosts did has no failures of its own.
            let mut line = Finding::new(jail.to_string(), source);
            failures.iter().for_each(|failure| line.show(&failure));
            line
        });
        line.bans += 1;
        line.banned_at_usec.get_or_insert(since);
        line.periods.push(period);
    }

    fn print(mut self, json: Json) -> anyhow::Result<()> {
        self.of.retain(|_, line| line.failures > 0 || line.bans > 0);
        self.summary.sources = self.of.len() as u64;
        self.summary.failures = self.of.values().map(|line| line.failures).sum();
        self.summary.bans = self.of.values().map(|line| line.bans).sum();
        let summary = &self.summary;
        if let Some(mode) = json.mode() {
            for line in self.of.values() {
                print_json(line, mode)?;
            }
            return print_json(&Closing { summary }, mode);
        }
        let mut table = Table::new(["SOURCE", "JAIL", "FAILURES", "BANS", "LAST", "BANNED AT", "USERS"]);
        for line in self.of.values() {
            let mut users = line.users.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            if line.more_users {
                users.push_str(" and many more");
            } else if line.users.len() > 3 {
                users.push_str(&format!(" and {} more", line.users.len() - 3));
            }
            table.row([
                line.source.clone(),
                line.jail.clone(),
                line.failures.to_string(),
                line.bans.to_string(),
                when(line.last_usec),
                line.banned_at_usec.map_or_else(|| "-".to_owned(), when),
                users,
            ]);
        }
        let number = |number: u64, one: &str, many: &str| {
            crate::util::text::count(usize::try_from(number).unwrap_or(usize::MAX), one, many)
        };
        table.print()?;
        if summary.nameless > 0 {
            super::output::closing(&format!(
                "{} can't be attributed, because no record of their sessions contains an address; set UseDNS no or LogLevel VERBOSE in sshd_config.",
                number(summary.nameless, "failure", "failures")
            ))?;
        }
        super::output::closing(&format!(
            "{} read, {} known to a rule; {} of {}, {}.",
            number(summary.records, "record", "records"),
            summary.matched,
            number(summary.failures, "failure", "failures"),
            number(summary.sources, "source", "sources"),
            number(summary.bans, "ban", "bans")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            failure::{Failure, Kind},
            record::Cursor,
            time::Usec,
        },
        ctl::finding::MOST_EVIDENCE,
    };

    #[test]
    fn a_source_that_tries_a_new_user_each_time_takes_no_more_memory() {
        let (jail, source): (Arc<str>, IpNet) = ("sshd".into(), "203.0.113.7/32".parse().unwrap());
        let mut lines = Lines::default();
        for number in 0..=MOST_USERS {
            assert!(!lines.of.values().any(|line| line.more_users));
            let failure = Failure {
                address: source.addr(),
                time: number as Usec,
                rule: "failed-password".into(),
                user: Some(format!("user{number}").into()),
                cursor: Cursor::default(),
                kind: Kind::Attempt,
            };
            let failed = Effect::Failed { jail: Arc::clone(&jail), source, failure, ignored: false };
            lines.take(&mut vec![failed.clone(), failed]);
        }
        let line = &lines.of[&(jail, source)];
        assert_eq!((line.users.len(), line.evidence.len()), (MOST_USERS, MOST_EVIDENCE));
        assert!(line.more_users);
    }
}
