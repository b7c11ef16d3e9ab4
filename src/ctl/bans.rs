//! Bans: `list`, `ban`, `unban`.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::ValueHint;
use serde::Serialize;

use super::{
    bus::{Refused, end, manager, sentence, steer},
    complete,
    output::{Cell, Json, Style, Table, closing, line, print_json, relative, when},
    sources,
    time::duration,
};
use crate::{
    contract::bus::BanRow,
    core::time::{Usec, span},
    util::{text::count, time::now},
};

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only show the bans of this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Options of `ban`.
#[derive(Debug, clap::Args)]
pub(super) struct Ban {
    /// An address, a network or a range: 203.0.113.7, 2001:db8::/64, 203.0.113.7-203.0.113.20; - reads standard input
    #[arg(required_unless_present = "file")]
    sources: Vec<String>,
    /// Read sources from this file too, with comments after # and ;
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// The jail to ban it in
    #[arg(long, value_name = "NAME", default_value = "sshd", add = complete::jails())]
    jail: String,
    /// Ban duration, such as 30min, 2weeks or infinity [default: the jail's own]
    #[arg(long = "for", value_name = "SPAN", allow_negative_numbers = true)]
    duration: Option<String>,
    /// Reason, for the list of bans and the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    json: Json,
}

/// Options of `unban`.
#[derive(Debug, clap::Args)]
pub(super) struct Unban {
    /// An address, a network or a range; - reads standard input
    #[arg(required_unless_present_any = ["all", "file"], add = complete::banned())]
    sources: Vec<String>,
    /// Read sources from this file too, with comments after # and ;
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// Only end bans in this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    /// End all bans
    #[arg(long, conflicts_with_all = ["sources", "jail", "file"])]
    all: bool,
    #[command(flatten)]
    json: Json,
}

/// A ban as JSON: as on the bus, with null for what has no end.
#[derive(Debug, Serialize)]
struct BanJson<'r> {
    jail: &'r str,
    source: &'r str,
    since_usec: Usec,
    until_usec: Option<Usec>,
    count: u32,
    failures: u32,
    rule: &'r str,
    reason: &'r str,
}

impl<'r> From<&'r BanRow> for BanJson<'r> {
    fn from(row: &'r BanRow) -> Self {
        Self {
            jail: &row.jail,
            source: &row.source,
            since_usec: row.since_usec,
            until_usec: end(row.until_usec),
            count: row.count,
            failures: row.failures,
            rule: &row.rule,
            reason: &row.reason,
        }
    }
}

pub(super) async fn list(options: &List) -> anyhow::Result<()> {
    let manager = manager().await?;
    if let Some(jail) = &options.jail {
        manager.get_jail(jail).await.map_err(sentence)?;
    }
    let mut bans = manager.list_bans().await.map_err(sentence)?.answer;
    bans.retain(|ban| options.jail.as_ref().is_none_or(|jail| *jail == ban.jail));
    if let Some(mode) = options.json.mode() {
        let bans: Vec<BanJson<'_>> = bans.iter().map(BanJson::from).collect();
        return print_json(&bans, mode);
    }
    let mut table = Table::new(["SOURCE", "JAIL", "SINCE", "LEFT", "BAN", "FAILURES", "WHY"]);
    let now = now();
    for ban in &bans {
        let left = end(ban.until_usec).map_or_else(|| "permanent".to_owned(), |until| span(until.saturating_sub(now)));
        let why = if ban.rule.is_empty() { format!("manual {}", ban.reason) } else { ban.rule.clone() };
        table.row([
            Cell::from(&ban.source),
            Cell::from(&ban.jail),
            Cell::from(relative(ban.since_usec)),
            Cell::from(left),
            Cell::from(format!("#{}", ban.count)),
            Cell::from(ban.failures.to_string()),
            Cell::from(why.trim_end()).in_style(Style::Faint),
        ]);
    }
    table.print()?;
    closing(&format!("{} listed.", count(bans.len(), "ban", "bans")))
}

pub(super) async fn ban(options: &Ban) -> anyhow::Result<()> {
    let usec = options.duration.as_deref().map_or(Ok(0), duration)?;
    let sources = sources::read(&options.sources, &options.file)?;
    let daemon = steer().await?;
    let mut failures = Failures::default();
    for source in &sources {
        let order = (source, &options.jail, usec, &options.reason);
        let Some((source, until)) = failures.note(daemon.call::<_, (String, u64)>("Ban", &order).await)? else {
            continue;
        };
        let until = end(until);
        match options.json.mode() {
            Some(mode) => {
                print_json(&serde_json::json!({ "jail": options.jail, "source": source, "until_usec": until }), mode)?;
            }
            None => {
                let until = until.map_or_else(|| "permanently".to_owned(), |until| format!("until {}", when(until)));
                line(&format!("Banned {source} in jail {} {until}.", options.jail))?;
            }
        }
    }
    failures.last.map_or(Ok(()), Err)
}

pub(super) async fn unban(options: &Unban) -> anyhow::Result<()> {
    if options.all {
        let ended: u32 = steer().await?.call("UnbanAll", &()).await?;
        return match options.json.mode() {
            Some(mode) => print_json(&serde_json::json!({ "unbanned": ended }), mode),
            None => line(&format!("Ended {}.", count(ended as usize, "ban", "bans"))),
        };
    }
    let sources = sources::read(&options.sources, &options.file)?;
    let daemon = steer().await?;
    let jail = options.jail.as_deref().unwrap_or_default();
    let mut failures = Failures::default();
    for source in &sources {
        let ended = failures.note(daemon.call::<_, Vec<BanRow>>("Unban", &(source, jail)).await)?;
        for ban in ended.unwrap_or_default() {
            match options.json.mode() {
                Some(mode) => print_json(&BanJson::from(&ban), mode)?,
                None => line(&format!("Unbanned {} in jail {}.", ban.source, ban.jail))?,
            }
        }
    }
    failures.last.map_or(Ok(()), Err)
}

/// What went wrong with some of several sources. The others are processed all the same.
#[derive(Default)]
struct Failures {
    /// The caller reports it, and it decides the exit status.
    last: Option<anyhow::Error>,
}

impl Failures {
    /// Takes what came of one source; an error ends everything.
    fn note<T>(&mut self, outcome: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            // Without permission, the others would fail as well, each with a question for a password.
            Err(error) if error.is::<Refused>() => Err(error),
            Err(error) => {
                if let Some(earlier) = self.last.replace(error) {
                    let _ = writeln!(io::stderr(), "wardenctl: {earlier:#}");
                }
                Ok(None)
            }
        }
    }
}
