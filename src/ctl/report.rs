//! `report`: what wardend has done in a span of time, by its own records in the journal.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::{
    events::Source,
    output::{Json, Style, Table, print_json, when},
    pager,
    time::parse,
};
use crate::{
    contract::{
        event::{self, COMES_BACK},
        journal::{BAN, FIREWALL_BACK, JOURNAL_LOSS, LEAK, PROBLEM_GONE, SPARED, UNBAN},
    },
    core::time::{Usec, span},
    journal::{
        Where,
        own_records::{OwnRecord, OwnRecords, STARTED, user},
    },
    util::{
        text::{count, printable},
        time::now,
    },
};

/// The number of sources that are listed.
const LINES: usize = 10;

/// Options of `report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Start at this time: 2026-11-23 05:48:03, @1795412883 (seconds), or -2h
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true, default_value = "yesterday")]
    since: String,
    #[command(flatten)]
    source: Source,
    /// Show this number of the sources with the most bans
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = LINES)]
    lines: usize,
    #[command(flatten)]
    json: Json,
}

/// What there is to report.
#[derive(Debug, Default, Serialize)]
struct Report {
    since_usec: Usec,
    until_usec: Usec,
    bans: u64,
    permanent_bans: u64,
    unbans: u64,
    /// Of sources that were banned, and of those that were spared.
    failures: u64,
    spared: u64,
    leaks: u64,
    /// Messages that journald has dropped.
    lost: u64,
    /// How often wardend was started.
    starts: u64,
    sources: usize,
    /// Bans by whose decision they were: `jail`, `admin`, `import` and so on.
    origins: BTreeMap<String, u64>,
    /// Bans by jail.
    jails: BTreeMap<String, u64>,
    top: Vec<Top>,
    degraded: Vec<Degraded>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Top {
    source: String,
    bans: u64,
    failures: u64,
    last_usec: Usec,
}

/// A time in which wardend did not keep a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Degraded {
    problem: String,
    what: String,
    since_usec: Usec,
    /// None if it has not ended within the time of the report.
    until_usec: Option<Usec>,
}

/// Reads records in their order.
#[derive(Debug, Default)]
struct Reading {
    report: Report,
    /// wardend writes some records again after it was killed.
    seen: BTreeSet<(String, String, String, String)>,
    sources: BTreeMap<String, Top>,
    /// Problems that are there, and since when wardend has been running without reporting them again.
    open: BTreeMap<String, (Degraded, Option<Usec>)>,
}

impl Reading {
    fn take(&mut self, record: &OwnRecord) {
        self.end_what_has_not_come_back(record.time);
        let id = record.get("MESSAGE_ID");
        if id == STARTED {
            self.report.starts += 1;
            self.open.values_mut().for_each(|(_, restarted)| *restarted = restarted.or(Some(record.time)));
            return;
        }
        if let Some(problem) = event::problem(id, record.get("WARDEND_PROBLEM")) {
            self.health(problem, id, record);
            return;
        }
        let number = |field: &str| record.number(field).unwrap_or_default();
        let text = |field: &str| record.get(field).to_owned();
        // What a jail over bans has counted was counted as failures where it was banned.
        let failures = if record.get("WARDEND_COUNTED").is_empty() { number("WARDEND_FAILURES") } else { 0 };
        match id {
            BAN | UNBAN | SPARED | LEAK => {
                // What a ban began with, or which attempts were spared or came through, tells it from others.
                let tells = if [BAN, UNBAN].contains(&id) { "WARDEND_SINCE" } else { "WARDEND_EVIDENCE" };
                if !self.seen.insert((id.to_owned(), text("WARDEND_JAIL"), text("WARDEND_SOURCE"), text(tells))) {
                    return;
                }
            }
            JOURNAL_LOSS => self.report.lost += number("WARDEND_LOST"),
            _ => return,
        }
        match id {
            BAN => {
                self.report.bans += 1;
                *self.report.origins.entry(text("WARDEND_ORIGIN")).or_default() += 1;
                self.report.permanent_bans += u64::from(record.get("WARDEND_UNTIL") == "infinity");
                self.report.failures += failures;
                *self.report.jails.entry(text("WARDEND_JAIL")).or_default() += 1;
                let source = text("WARDEND_SOURCE");
                let top = self.sources.entry(source.clone()).or_default();
                top.source = source;
                top.bans += 1;
                top.failures += failures;
                top.last_usec = top.last_usec.max(record.time);
            }
            UNBAN => self.report.unbans += 1,
            SPARED => {
                self.report.spared += 1;
                self.report.failures += failures;
            }
            LEAK => self.report.leaks += 1,
            _ => {}
        }
    }

    fn health(&mut self, problem: &str, id: &str, record: &OwnRecord) {
        if [PROBLEM_GONE, FIREWALL_BACK].contains(&id) {
            if let Some((degraded, _)) = self.open.remove(problem) {
                self.report.degraded.push(Degraded { until_usec: Some(record.time), ..degraded });
            }
            return;
        }
        let (known, restarted) = self.open.entry(problem.to_owned()).or_insert_with(|| {
            let (problem, what) = (problem.to_owned(), record.get("MESSAGE").to_owned());
            (Degraded { problem, what, since_usec: record.time, until_usec: None }, None)
        });
        record.get("MESSAGE").clone_into(&mut known.what);
        *restarted = None;
    }

    /// Nothing is written when a restart solves a problem.
    fn end_what_has_not_come_back(&mut self, now: Usec) {
        let ended = |(_, restarted): &(Degraded, Option<Usec>)| {
            restarted.filter(|restarted| now.saturating_sub(*restarted) >= COMES_BACK)
        };
        let over: Vec<(String, Usec)> =
            self.open.iter().filter_map(|(kind, open)| Some((kind.clone(), ended(open)?))).collect();
        for (kind, end) in over {
            if let Some((degraded, _)) = self.open.remove(&kind) {
                self.report.degraded.push(Degraded { until_usec: Some(end), ..degraded });
            }
        }
    }

    fn end(mut self, since: Usec, until: Usec, top: usize) -> Report {
        self.end_what_has_not_come_back(until);
        let mut report = self.report;
        (report.since_usec, report.until_usec) = (since, until);
        report.sources = self.sources.len();
        report.degraded.extend(self.open.into_values().map(|(degraded, _)| degraded));
        report.degraded.sort_by_key(|degraded| degraded.since_usec);
        // Of a list that somebody has given, no source has failed.
        report.top = self.sources.into_values().filter(|top| top.failures > 0).collect();
        report.top.sort_by(|a, b| {
            (b.bans, b.failures, b.last_usec)
                .cmp(&(a.bans, a.failures, a.last_usec))
                .then_with(|| a.source.cmp(&b.source))
        });
        report.top.truncate(top);
        report
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let since = parse(&arguments.since).context("--since")?;
    let until = arguments.source.until()?.unwrap_or_else(now);
    let (report, oldest) = read(arguments.source.open()?, since, until, arguments.lines)?;
    match arguments.json.mode() {
        Some(mode) => print_json(&report, mode),
        None => Ok(pager::write(&text(&report, oldest))?),
    }
}

/// The report of yesterday, as text and as JSON, and the time that it covers.
pub(super) fn yesterday() -> anyhow::Result<(String, Value, Usec, Usec)> {
    let (since, until) = (parse("yesterday")?, parse("today")?);
    let (report, oldest) = read(OwnRecords::open(&Where::System, user())?, since, until, LINES)?;
    Ok((text(&report, oldest), serde_json::to_value(&report)?, since, until))
}

/// What there is to report, and when the journal begins.
fn read(mut records: OwnRecords, since: Usec, until: Usec, lines: usize) -> anyhow::Result<(Report, Option<Usec>)> {
    records.seek_time(since)?;
    let mut reading = Reading::default();
    while let Some(record) = records.next()? {
        if record.time > until {
            break;
        }
        reading.take(&record);
    }
    let oldest = records.oldest()?;
    Ok((reading.end(since, until, lines), oldest))
}

fn text(report: &Report, oldest: Option<Usec>) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line(&format!("From {} to {}", when(report.since_usec), when(report.until_usec)));
    if let Some(oldest) = oldest.filter(|oldest| *oldest > report.since_usec) {
        line(&Style::Warning.paint(&format!("The journal only begins at {}.", when(oldest))));
    }
    let warn = |number: u64| if number > 0 { Style::Warning } else { Style::Plain };
    let warned = |number: u64| warn(number).paint(&number.to_string());
    let sources = count(report.sources, "source", "sources");
    let origins: Vec<String> =
        report.origins.iter().map(|(origin, bans)| format!("{} {bans}", printable(origin))).collect();
    let origins = if origins.is_empty() { String::new() } else { format!(" ({})", origins.join(", ")) };
    line(&format!("     Bans: {} of {sources}{origins}, {} permanent", report.bans, report.permanent_bans));
    if report.jails.len() > 1 {
        let jails: Vec<String> =
            report.jails.iter().map(|(jail, bans)| format!("{} {bans}", printable(jail))).collect();
        line(&format!("           {}", jails.join(", ")));
    }
    line(&format!("   Unbans: {}", report.unbans));
    line(&format!(" Failures: {}, of sources that were banned or spared", report.failures));
    line(&format!("   Spared: {}", warned(report.spared)));
    line(&format!("    Leaks: {}", warned(report.leaks)));
    let lost = warn(report.lost).paint(&count(report.lost, "message", "messages"));
    line(&format!("     Lost: {lost}, dropped by journald"));
    line(&format!("   Starts: {}", report.starts));
    if !report.top.is_empty() {
        line("");
        let mut table = Table::new(["SOURCE", "BANS", "FAILURES", "LAST BAN"]);
        for top in &report.top {
            table.row([top.source.clone(), top.bans.to_string(), top.failures.to_string(), when(top.last_usec)]);
        }
        line(table.text().trim_end());
    }
    if !report.degraded.is_empty() {
        line("");
        let mut table = Table::new(["DEGRADED", "SINCE", "FOR", "WHY"]);
        for degraded in &report.degraded {
            let length = degraded
                .until_usec
                .map_or_else(|| "still".to_owned(), |until| span(until.saturating_sub(degraded.since_usec)));
            table.row([degraded.problem.clone(), when(degraded.since_usec), length, degraded.what.clone()]);
        }
        line(table.text().trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::journal::{FIREWALL_LOST, PROBLEM};

    fn record(time: Usec, fields: &[(&str, &str)]) -> OwnRecord {
        OwnRecord { time, fields: fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect() }
    }

    fn ban(time: Usec, source: &str, failures: &str, origin: &str, until: &str) -> OwnRecord {
        let since = time.to_string();
        record(
            time,
            &[
                ("MESSAGE_ID", BAN),
                ("WARDEND_JAIL", "sshd"),
                ("WARDEND_SOURCE", source),
                ("WARDEND_SINCE", &since),
                ("WARDEND_UNTIL", until),
                ("WARDEND_FAILURES", failures),
                ("WARDEND_ORIGIN", origin),
            ],
        )
    }

    #[test]
    fn bans_are_counted_once_each_and_the_worst_come_first() {
        let mut reading = Reading::default();
        for record in [
            ban(1, "203.0.113.7", "5", "jail", "9"),
            ban(1, "203.0.113.7", "5", "jail", "9"),
            ban(2, "203.0.113.8", "7", "jail", "9"),
            ban(3, "203.0.113.7", "5", "jail", "9"),
            ban(4, "198.51.100.0/24", "0", "admin", "infinity"),
            record(5, &[("MESSAGE_ID", SPARED), ("WARDEND_FAILURES", "5"), ("WARDEND_EVIDENCE", "a")]),
            record(6, &[("MESSAGE_ID", JOURNAL_LOSS), ("WARDEND_LOST", "40")]),
            record(7, &[("MESSAGE", "Watching 1 jail.")]),
            // What it has counted are the bans above.
            record(
                8,
                &[
                    ("MESSAGE_ID", BAN),
                    ("WARDEND_JAIL", "recidive"),
                    ("WARDEND_SOURCE", "203.0.113.7"),
                    ("WARDEND_SINCE", "8"),
                    ("WARDEND_UNTIL", "9"),
                    ("WARDEND_FAILURES", "2"),
                    ("WARDEND_COUNTED", "bans"),
                    ("WARDEND_ORIGIN", "jail"),
                ],
            ),
        ] {
            reading.take(&record);
        }
        let report = reading.end(0, 10, 2);
        assert_eq!((report.bans, report.origins["admin"], report.permanent_bans, report.sources), (5, 1, 1, 3));
        assert_eq!((report.failures, report.spared, report.lost), (22, 1, 40));
        let top: Vec<_> = report.top.iter().map(|top| (top.source.as_str(), top.bans, top.failures)).collect();
        assert_eq!(top, [("203.0.113.7", 3, 10), ("203.0.113.8", 1, 7)]);
    }

    #[test]
    fn a_degraded_time_ends_with_its_record_with_a_restart_or_not_at_all() {
        let mut reading = Reading::default();
        let problem =
            |time, kind: &str| record(time, &[("MESSAGE_ID", PROBLEM), ("WARDEND_PROBLEM", kind), ("MESSAGE", "Why.")]);
        reading.take(&problem(1, "journal"));
        reading.take(&record(2, &[("MESSAGE_ID", FIREWALL_LOST), ("MESSAGE", "Gone.")]));
        reading.take(&problem(3, "state"));
        reading.take(&record(4, &[("MESSAGE_ID", FIREWALL_BACK)]));
        reading.take(&record(5, &[("MESSAGE_ID", STARTED)]));
        reading.take(&problem(6, "journal"));
        let report = reading.end(0, 6 + COMES_BACK, 10);
        let found: Vec<_> =
            report.degraded.iter().map(|it| (it.problem.as_str(), it.since_usec, it.until_usec)).collect();
        assert_eq!(found, [("journal", 1, None), ("firewall", 2, Some(4)), ("state", 3, Some(5))]);
        assert_eq!(report.starts, 1);
    }
}
