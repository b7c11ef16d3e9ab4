//! Bans: `list`, `ban`, `unban`.

use anyhow::bail;
use serde::Serialize;

use super::{
    bus::{end, manager, sentence, steer},
    complete,
    output::{Cell, Json, Style, Table, closing, line, print_json, relative, when},
};
use crate::{
    config::parse_span,
    contract::bus::{BanRow, INFINITY},
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
    /// An address or a network: 203.0.113.7, 203.0.113.0/24, 2001:db8::/64
    #[arg(required = true)]
    sources: Vec<String>,
    /// The jail to ban it in
    #[arg(long, value_name = "NAME", default_value = "sshd", add = complete::jails())]
    jail: String,
    /// Ban duration, such as 30min, 2weeks or infinity [default: the jail's own]
    #[arg(long = "for", value_name = "SPAN")]
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
    let usec = match options.duration.as_deref().map(parse_span) {
        None => 0,
        Some(Ok(None)) => INFINITY,
        Some(Ok(Some(usec))) => usec,
        Some(Err(what)) => bail!("--for is {what}"),
    };
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
    let daemon = steer().await?;
    if options.all {
        let ended: u32 = daemon.call("UnbanAll", &()).await?;
        return match options.json.mode() {
            Some(mode) => print_json(&serde_json::json!({ "unbanned": ended }), mode),
            None => line(&format!("Ended {}.", count(ended as usize, "ban", "bans"))),
        };
    }
    for source in &options.sources {
        let jail = options.jail.as_deref().unwrap_or_default();
        let ended: Vec<BanRow> = daemon.call("Unban", &(source, jail)).await?;
        for ban in ended {
            match options.json.mode() {
                Some(mode) => print_json(&BanJson::from(&ban), mode)?,
                None => line(&format!("Unbanned {} in jail {}.", ban.source, ban.jail))?,
            }
        }
    }
    Ok(())
}
