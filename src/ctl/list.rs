//! `list`: the bans in force, or some of them.

use std::collections::HashMap;

use clap::ValueEnum;
use serde::Serialize;
use zbus::{OwnedVariant, Variant};

use super::{
    bus::{ask, end, manager},
    complete,
    output::{Cell, Json, Style, Table, closing, print_json, relative, when},
    time,
};
use crate::{
    bus::ManagerProxy,
    contract::bus::BanRow,
    core::time::{Usec, span},
    util::{text::count, time::now},
};

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only show bans of this address, of or around this network, or that begin with this text
    #[arg(value_name = "ADDRESS|NETWORK", add = complete::banned())]
    source: Option<String>,
    /// Only show the bans of this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    /// Only show the bans that a jail, admin, import or fleet decided, or another word
    #[arg(long, value_name = "WORD")]
    origin: Option<String>,
    /// Only show the bans since this time, such as yesterday or -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Sort by source, since (latest first), until (soonest first) or failures (most first)
    #[arg(long, value_name = "KEY", default_value = "source")]
    sort: Sort,
    /// Reverse the order
    #[arg(short, long)]
    reverse: bool,
    /// Only show the first bans
    #[arg(short = 'n', long = "lines", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    lines: Option<u32>,
    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    Source,
    Since,
    Until,
    Failures,
}

impl Sort {
    /// The order on the bus, and whether it is to be descending.
    fn order(self) -> (&'static str, bool) {
        match self {
            Self::Source => ("source", false),
            Self::Since => ("since", true),
            Self::Until => ("until", false),
            Self::Failures => ("failures", true),
        }
    }
}

/// A ban as JSON: as on the bus, with null for what has no end.
#[derive(Debug, Serialize)]
pub(super) struct BanJson<'r> {
    jail: &'r str,
    source: &'r str,
    since_usec: Usec,
    until_usec: Option<Usec>,
    count: u32,
    failures: u32,
    rule: &'r str,
    reason: &'r str,
    origin: &'r str,
    by_hand: bool,
    in_force: bool,
    counted: &'r str,
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
            origin: &row.more.origin,
            by_hand: row.more.by_hand,
            in_force: row.more.in_force,
            counted: &row.more.counted,
        }
    }
}

/// How often a long list is begun.
const ATTEMPTS: usize = 10;

/// Options for a call, of those that are given.
pub(super) fn options<const N: usize>(
    given: [(&str, Option<Variant<'_>>); N],
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    given.map(|(name, value)| Ok((name, OwnedVariant::try_from(value)?))).collect()
}

/// The bans of a window, and how many there are. A window that is too long for an answer is asked for in
/// parts.
pub(super) async fn bans(
    manager: &ManagerProxy<'_>,
    what: impl Fn() -> zbus::Result<HashMap<String, OwnedVariant>>,
    most: Option<u32>,
) -> anyhow::Result<(Vec<BanRow>, u32)> {
    for _ in 0..ATTEMPTS {
        let (mut bans, mut first) = (Vec::new(), None);
        loop {
            let listed = u32::try_from(bans.len())?;
            let left = most.map_or(0, |most| most - listed);
            let (part, total, generation) = ask(async || manager.list_bans(what()?, listed, left).await).await?;
            // A change meanwhile may have moved a ban from one part into another, or into none.
            if *first.get_or_insert(generation) != generation {
                break;
            }
            let ends = part.answer.is_empty();
            bans.extend(part.answer);
            if ends || bans.len() >= most.unwrap_or(total).min(total) as usize {
                return Ok((bans, total));
            }
        }
    }
    anyhow::bail!(
        "The bans change faster than they can be listed; list a part of them, such as those of one jail, or try again."
    )
}

pub(super) async fn list(options: &List) -> anyhow::Result<()> {
    let since = options.since.as_deref().map(time::parse).transpose()?;
    let manager = manager().await?;
    if let Some(jail) = &options.jail {
        ask(async || manager.get_jail(jail).await).await?;
    }
    let (order, descending) = options.sort.order();
    let what = || {
        self::options([
            ("Match", options.source.as_deref().map(Variant::from)),
            ("Jail", options.jail.as_deref().map(Variant::from)),
            ("Origin", options.origin.as_deref().map(Variant::from)),
            ("Since", since.map(Variant::from)),
            ("Order", Some(order.into())),
            ("Descending", Some((descending != options.reverse).into())),
        ])
    };
    let (bans, total) = bans(&manager, what, options.lines).await?;
    if let Some(mode) = options.json.mode() {
        let bans: Vec<BanJson<'_>> = bans.iter().map(BanJson::from).collect();
        return print_json(&bans, mode);
    }
    let mut table = Table::new(["SOURCE", "JAIL", "SINCE", "LEFT", "UNTIL", "BAN", "FAILURES", "WHY"]);
    let now = now();
    for ban in &bans {
        let until = end(ban.until_usec);
        table.row([
            Cell::from(&ban.source),
            Cell::from(&ban.jail),
            Cell::from(relative(ban.since_usec)),
            Cell::from(until.map_or_else(|| "permanent".to_owned(), |until| span(until.saturating_sub(now)))),
            Cell::from(until.map_or_else(|| "-".to_owned(), when)),
            Cell::from(format!("#{}", ban.count)),
            Cell::from(ban.failures.to_string()),
            Cell::from(why(ban)).in_style(Style::Faint),
        ]);
    }
    table.print()?;
    let listed = count(bans.len(), "ban", "bans");
    if (bans.len() as u64) < u64::from(total) {
        return closing(&format!("{listed} of {total} listed."));
    }
    closing(&format!("{listed} listed."))
}

/// The rule that led to the ban, or the jail whose ban did, or whose decision it was.
fn why(ban: &BanRow) -> String {
    let by = match ban.more.origin.as_str() {
        "jail" => "",
        "admin" => "manual",
        other => other,
    };
    let counted = if ban.more.counted == "bans" { "banned in jail" } else { "" };
    let words = [by, counted, &ban.rule, &ban.reason];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
