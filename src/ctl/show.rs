//! What there is: `status`, `jails`, `metrics`.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use serde::Serialize;
use zbus::proxy::CacheProperties;

use super::{
    available,
    bus::{Refused, ask, end, manager, on_the_bus},
    fleet, notify,
    output::{Cell, Json, Style, Table, closing, line, print_json, when},
    scrape, textfile,
};
use crate::{
    bus::JailProxy,
    contract::{
        bus::{JailMore, JailRow},
        latency::Latency,
    },
    core::time::span,
    ctl::metrics::{self, JailNumbers, Numbers},
    util::text::{count, printable},
};

/// Options of the verbs that only show something.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    json: Json,
}

pub(super) async fn status(options: &Show) -> anyhow::Result<()> {
    let manager = manager().await?;
    let version = ask(async || manager.version().await).await?;
    let state = ask(async || manager.state().await).await?;
    let firewall = ask(async || manager.firewall_state().await).await?;
    let message = ask(async || manager.firewall_message().await).await?;
    let problems = ask(async || manager.problems().await).await?;
    let notes = ask(async || manager.notes().await).await?;
    let own = ask(async || manager.n_own_addresses().await).await?;
    let cursor = ask(async || manager.journal_cursor().await).await?;
    let failures = ask(async || manager.n_failures().await).await?;
    let (leaks, spared) = (ask(async || manager.n_leaks().await).await?, ask(async || manager.n_spared().await).await?);
    let (records, lost) = (ask(async || manager.n_records().await).await?, ask(async || manager.n_lost().await).await?);
    let jails = ask(async || manager.list_jails().await).await?.answer;
    let bans: u32 = jails.iter().map(|jail| jail.bans).sum();
    // An older daemon does not know the method.
    let ignored = ask(async || manager.list_ignored().await).await.map(|ignored| ignored.answer).unwrap_or_default();
    let names: BTreeMap<String, Vec<String>> =
        ignored.into_iter().filter_map(|entry| Some((entry.name?, entry.addresses.unwrap_or_default()))).collect();
    if let Some(mode) = options.json.mode() {
        return print_json(
            &serde_json::json!({
                "names": names,
                "version": version, "state": state, "firewall": firewall, "firewall_message": message, "problems": problems,
                "notes": notes,
                "own_addresses": own,
                "journal_cursor": cursor, "bans": bans, "failures": failures, "leaks": leaks, "spared": spared,
                "records": records, "lost": lost, "jails": jails.iter().map(JailJson::from).collect::<Vec<_>>(),
            }),
            mode,
        );
    }
    let style = if state == "running" { Style::Good } else { Style::Bad };
    line(&format!("{} wardend {version}: {}", style.paint("●"), style.paint(&state)))?;
    let style = match firewall.as_str() {
        "up" => Style::Good,
        "starting" => Style::Warning,
        _ => Style::Bad,
    };
    let message = if message.is_empty() { String::new() } else { format!(". {message}") };
    line(&format!("  Firewall: {}{message}", style.paint(&firewall)))?;
    for problem in problems.iter().filter(|problem| problem.kind != "firewall") {
        let mend = if problem.mend.is_empty() { String::new() } else { format!(" {}", problem.mend) };
        line(&format!("   Problem: {}{mend}", Style::Bad.paint(&problem.what)))?;
    }
    for note in &notes {
        let mend = if note.mend.is_empty() { String::new() } else { format!(" {}", note.mend) };
        line(&format!("      Note: {}{mend}", Style::Warning.paint(&printable(&note.what))))?;
    }
    let warned = |number: u64| (if number > 0 { Style::Warning } else { Style::Plain }).paint(&number.to_string());
    line(&format!("   Journal: {} read, {} lost", count(records, "record", "records"), warned(lost)))?;
    line(&format!(" Addresses: {own} of this machine, never banned"))?;
    for (name, addresses) in &names {
        let addresses = if addresses.is_empty() {
            Style::Bad.paint("not resolved, so it protects nobody")
        } else {
            addresses.join(", ")
        };
        line(&format!("      Name: {} is {addresses}", printable(name)))?;
    }
    line(&format!("      Bans: {bans}"))?;
    line(&format!("  Failures: {failures}"))?;
    line(&format!("     Leaks: {}", warned(leaks)))?;
    line(&format!("    Spared: {}", warned(spared)))?;
    for jail in jails {
        let sessions = count(jail.sessions, "open session", "open sessions");
        line(&format!(
            "      Jail: {} ({} banned, {} failing, {sessions}){}",
            jail.name,
            jail.bans,
            jail.failing,
            if jail.more.paused { Style::Warning.paint(", paused") } else { String::new() }
        ))?;
    }
    Ok(())
}

/// A jail as JSON.
#[derive(Serialize)]
struct JailJson<'r> {
    name: &'r str,
    bans: u32,
    failing: u32,
    sessions: u32,
    path: &'r str,
    filter: &'r str,
    maxretry: u32,
    findtime_usec: u64,
    /// Null if permanent.
    bantime_usec: Option<u64>,
    failures: u64,
    bans_total: u64,
    ordered: u64,
    spared: u64,
    paused: bool,
    /// Null if it is not paused, or until it is resumed.
    paused_until_usec: Option<u64>,
    /// Null if it is not paused.
    pause_reason: Option<&'r str>,
}

impl<'r> From<&'r JailRow> for JailJson<'r> {
    fn from(row: &'r JailRow) -> Self {
        Self {
            name: &row.name,
            bans: row.bans,
            failing: row.failing,
            sessions: row.sessions,
            path: row.path.as_str(),
            filter: &row.more.filter,
            maxretry: row.more.max_retry,
            findtime_usec: row.more.findtime_usec,
            bantime_usec: end(row.more.bantime_usec),
            failures: row.more.failures,
            bans_total: row.more.bans_total,
            ordered: row.more.ordered,
            spared: row.more.spared,
            paused: row.more.paused,
            paused_until_usec: row.more.paused_until_usec.and_then(end),
            pause_reason: row.more.pause_reason.as_deref(),
        }
    }
}

/// Options of `jails`.
#[derive(Debug, clap::Args)]
pub(super) struct Jails {
    /// Show the filters for services that run here, and how to use them
    #[arg(long)]
    available: bool,
    /// Read the configuration from this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR", requires = "available")]
    config: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn jails(options: &Jails) -> anyhow::Result<()> {
    if options.available {
        return available::show(options.config.as_deref(), options.json).await;
    }
    let manager = manager().await?;
    let jails = ask(async || manager.list_jails().await).await?.answer;
    if let Some(mode) = options.json.mode() {
        return print_json(&jails.iter().map(JailJson::from).collect::<Vec<_>>(), mode);
    }
    let mut table = Table::new([
        "JAIL", "BANS", "FAILING", "SESSIONS", "FAILURES", "BANNED", "SPARED", "FILTER", "MAXRETRY", "FINDTIME",
        "BANTIME", "STATE",
    ]);
    for jail in &jails {
        let more = &jail.more;
        let filter = if more.filter.is_empty() { "-".to_owned() } else { more.filter.clone() };
        table.row([
            Cell::from(&jail.name),
            Cell::from(jail.bans.to_string()),
            Cell::from(jail.failing.to_string()),
            Cell::from(jail.sessions.to_string()),
            Cell::from(more.failures.to_string()),
            Cell::from(more.bans_total.to_string()),
            Cell::from(more.spared.to_string()),
            Cell::from(filter),
            Cell::from(more.max_retry.to_string()),
            Cell::from(span(more.findtime_usec)),
            Cell::from(end(more.bantime_usec).map_or_else(|| "infinity".to_owned(), span)),
            if more.paused { Cell::from(pause(more)).in_style(Style::Warning) } else { Cell::from("active") },
        ]);
    }
    table.print()?;
    closing(&format!("{} listed.", count(jails.len(), "jail", "jails")))
}

/// Until when a jail is paused, and why.
fn pause(more: &JailMore) -> String {
    let until = match more.paused_until_usec.and_then(end) {
        Some(until) => format!("paused until {}", when(until)),
        None => "paused without an end".to_owned(),
    };
    match more.pause_reason.as_deref() {
        None | Some("") => until,
        Some(reason) => format!("{until}: {reason}"),
    }
}

/// Options of `metrics`.
#[derive(Debug, clap::Args)]
pub(super) struct Metrics {
    /// Answer the client on standard input; wardend-metrics@.service runs it
    #[arg(long, hide = true)]
    serve: bool,
    /// Replace this file with the metrics in the text format of Prometheus, for node_exporter
    #[arg(long, value_name = "FILE", conflicts_with = "serve")]
    textfile: Option<PathBuf>,
}

pub(super) fn metrics(options: &Metrics) -> anyhow::Result<()> {
    let numbers = || on_the_bus(numbers());
    if let Some(file) = &options.textfile {
        let text = match numbers() {
            Ok(open) => textfile::prometheus(&open) + &textfile::up(true),
            Err(error) if matches!(error.downcast_ref(), Some(Refused::NotRunning)) => textfile::up(false),
            Err(error) => return Err(error),
        };
        return textfile::write(file, &text);
    }
    if options.serve { scrape::serve(numbers) } else { line(numbers()?.trim_end()) }
}

async fn numbers() -> anyhow::Result<String> {
    let manager = manager().await?;
    let mut jails = Vec::new();
    for row in ask(async || manager.list_jails().await).await?.answer {
        let jail = JailProxy::builder(manager.inner().connection())
            .path(row.path)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        jails.push(JailNumbers {
            name: row.name,
            bans: row.bans,
            failing: row.failing,
            sessions: row.sessions,
            failures: ask(async || jail.n_failures().await).await?,
            banned: ask(async || jail.n_bans_total().await).await?,
            ordered: ask(async || jail.n_bans_ordered().await).await?,
            spared: ask(async || jail.n_spared().await).await?,
        });
    }
    let (counts, sum_usec) = ask(async || manager.ban_latency().await).await?;
    let numbers = Numbers {
        records: ask(async || manager.n_records().await).await?,
        lost: ask(async || manager.n_lost().await).await?,
        lag_usec: ask(async || manager.journal_lag_usec().await).await?,
        latency: Latency::read(&counts, sum_usec)
            .context("The daemon is of another version than wardenctl; restart it with `systemctl restart wardend`")?,
        version: ask(async || manager.version().await).await?,
        leaks: ask(async || manager.n_leaks().await).await?,
        firewall: ask(async || manager.firewall_state().await).await?,
        jails,
        handlers: notify::statuses(),
        fleet: fleet::numbers(manager.inner().connection()).await,
    };
    Ok(metrics::render(&numbers))
}
