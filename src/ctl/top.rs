//! Who has failed most: `top`.

use std::collections::HashMap;

use clap::ValueEnum;
use zbus::OwnedVariant;

use super::{
    bus::{ask, manager},
    complete,
    output::{Cell, Json, Style, Table, closing, print_json, relative},
    time,
};
use crate::util::text::count;

/// Options of `top`.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// Only what happened since the hour of this time [default: the last seven days]
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only show the sources of this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    /// What to sort by
    #[arg(long, value_name = "KEY", default_value = "failures")]
    sort: Key,
    /// The number of sources
    #[arg(short = 'n', long = "lines", value_name = "NUMBER", default_value_t = 10)]
    lines: u32,
    #[command(flatten)]
    json: Json,
}

/// What sources are sorted by, most or latest first.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Key {
    Failures,
    Bans,
    Last,
}

pub(super) async fn top(options: &Top) -> anyhow::Result<()> {
    let mut what: HashMap<String, OwnedVariant> = HashMap::new();
    if let Some(since) = &options.since {
        what.insert("Since".to_owned(), time::parse(since)?.into());
    }
    if let Some(jail) = &options.jail {
        what.insert("Jail".to_owned(), zbus::Str::from(jail.clone()).into());
    }
    let order = match options.sort {
        Key::Failures => "failures",
        Key::Bans => "bans",
        Key::Last => "last",
    };
    what.insert("Order".to_owned(), zbus::Str::from(order).into());
    let manager = manager().await?;
    let rows = ask(async || manager.top_sources(what.clone(), options.lines).await).await?.answer;
    if let Some(mode) = options.json.mode() {
        let object = |row: &crate::contract::history::TopRow| {
            serde_json::json!({
                "source": row.source, "failures": row.failures, "bans": row.bans, "last_usec": row.last_usec,
                "banned": row.more.banned,
            })
        };
        return print_json(&rows.iter().map(object).collect::<Vec<_>>(), mode);
    }
    let mut table = Table::new(["SOURCE", "FAILURES", "BANS", "LAST", "STATE"]);
    for row in &rows {
        table.row([
            Cell::from(&row.source),
            Cell::from(row.failures.to_string()),
            Cell::from(row.bans.to_string()),
            Cell::from(relative(row.last_usec)),
            Cell::from(if row.more.banned { "banned" } else { "" }).in_style(Style::Bad),
        ]);
    }
    table.print()?;
    closing(&format!("{} listed.", count(rows.len(), "source", "sources")))
}
