//! Bans: `list`, `ban`, `unban`.

use std::io::{self, Write};

use anyhow::{anyhow, bail};
use serde::Serialize;

use super::{
    bus::{Refused, end, manager, sentence, steer},
    complete,
    output::{Cell, Json, Style, Table, closing, line, print_json, relative, when},
};
use crate::{
    config::parse_span,
    contract::bus::{BanRow, INFINITY},
    core::{
        net::parse_network,
        time::{Usec, span},
    },
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
    /// An address or a network: 203.0.113.7, 203.0.113.0/24, 2001:db8::/64
    #[arg(required = true)]
    sources: Vec<String>,
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
    /// An address or a network
    #[arg(required_unless_present = "all", add = complete::banned())]
    sources: Vec<String>,
    /// Only end bans in this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    /// End all bans
    #[arg(long, conflicts_with_all = ["sources", "jail"])]
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
    check(&options.sources)?;
    let daemon = steer().await?;
    for source in &options.sources {
        let order = (source, &options.jail, usec, &options.reason);
        let (source, until): (String, u64) = daemon.call("Ban", &order).await?;
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
    Ok(())
}

pub(super) async fn unban(options: &Unban) -> anyhow::Result<()> {
    check(&options.sources)?;
    let daemon = steer().await?;
    if options.all {
        let ended: u32 = daemon.call("UnbanAll", &()).await?;
        return match options.json.mode() {
            Some(mode) => print_json(&serde_json::json!({ "unbanned": ended }), mode),
            None => line(&format!("Ended {}.", count(ended as usize, "ban", "bans"))),
        };
    }
    let mut failure: Option<anyhow::Error> = None;
    for source in &options.sources {
        let jail = options.jail.as_deref().unwrap_or_default();
        let ended: Vec<BanRow> = match daemon.call("Unban", &(source, jail)).await {
            Ok(ended) => ended,
            // Without permission, the others would fail as well, each with a question for a password.
            Err(error) if error.is::<Refused>() => return Err(error),
            Err(error) => {
                // The last failure is reported by whoever called, and decides the exit status.
                if let Some(earlier) = failure.replace(error) {
                    let _ = writeln!(io::stderr(), "wardenctl: {earlier:#}");
                }
                continue;
            }
        };
        for ban in ended {
            match options.json.mode() {
                Some(mode) => print_json(&BanJson::from(&ban), mode)?,
                None => line(&format!("Unbanned {} in jail {}.", ban.source, ban.jail))?,
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Checks every source before anything is done, so that a typing error does not leave half of it done.
fn check(sources: &[String]) -> anyhow::Result<()> {
    for source in sources {
        if let Err(what) = parse_network(source) {
            if duration(source).is_ok() {
                bail!("{what} To set the duration of a ban, write `--for {source}`.");
            }
            bail!(what);
        }
    }
    Ok(())
}

/// The duration that was asked for, in µs, with the other words for a permanent ban.
fn duration(words: &str) -> anyhow::Result<u64> {
    match words {
        "-1" | "permanent" | "forever" => Ok(INFINITY),
        _ => match parse_span(words) {
            Ok(usec) => Ok(usec.unwrap_or(INFINITY)),
            Err(what) => Err(anyhow!("--for is {what}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(sources: &[&str]) -> String {
        let sources: Vec<String> = sources.iter().map(|&source| source.to_owned()).collect();
        check(&sources).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_duration_among_the_sources_is_found_before_anything_is_done() {
        assert!(complaint(&["203.0.113.21", "1h"]).ends_with("write `--for 1h`."));
        assert!(complaint(&["203.0.113.21", "permanent"]).ends_with("write `--for permanent`."));
        let other = complaint(&["203.0.113.21", "203.0.113.256"]);
        assert!(other.contains("203.0.113.256") && !other.contains("--for"), "{other}");
        assert_eq!(complaint(&["203.0.113.21", "2001:db8::/64", "::ffff:203.0.113.7"]), "");
    }

    #[test]
    fn every_word_for_a_permanent_ban_is_understood() {
        for words in ["infinity", "permanent", "forever", "-1"] {
            assert_eq!(duration(words).unwrap(), INFINITY, "{words}");
        }
        assert_eq!(duration("1h").unwrap(), 3_600_000_000);
        for words in ["-2", "0", "soon", ""] {
            assert!(duration(words).is_err(), "{words}");
        }
    }
}
