//! The verbs that talk to the daemon: `status`, `list`, `jails`, `explain`, `ban`, `unban`, `reload`.

use std::collections::HashMap;

use anyhow::{Context, bail};
use serde::Serialize;
use zbus::{Connection, OwnedVariant, fdo::DBusProxy, names::BusName};

use super::complete;
use super::output::{Json, Table, line, print_json, when};
use crate::{
    bus::{self, Attempt, BanRow, Error, INFINITY, ManagerProxy},
    config::parse_span,
    events::shown,
    metrics::{self, JailNumbers, Latency, Numbers},
    record::Usec,
    time::{count, now, span},
};

/// Options of the verbs that only show something.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    json: Json,
}

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Show the bans of this jail only
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
    /// For how long: 30min, 2weeks, infinity; without it, as long as the jail would
    #[arg(long = "for", value_name = "SPAN")]
    duration: Option<String>,
    /// Why, for the journal
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
    /// In this jail only
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

pub(super) async fn manager() -> anyhow::Result<ManagerProxy<'static>> {
    let connection = Connection::system()
        .await
        .map_err(|error| anyhow::anyhow!("The system bus can't be reached ({error}); see that dbus.service runs."))?;
    // A question does not start the daemon that an admin has stopped.
    let name = BusName::try_from(bus::NAME)?;
    if !DBusProxy::new(&connection).await?.name_has_owner(name).await? {
        bail!("wardend is not running; start it with `systemctl start wardend`.");
    }
    Ok(ManagerProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?)
}

pub(super) async fn status(options: &Show) -> anyhow::Result<()> {
    let manager = manager().await?;
    let version = manager.version().await.map_err(sentence)?;
    let state = manager.state().await.map_err(sentence)?;
    let firewall = manager.firewall_state().await.map_err(sentence)?;
    let message = manager.firewall_message().await.map_err(sentence)?;
    let cursor = manager.journal_cursor().await.map_err(sentence)?;
    let failures = manager.n_failures().await.map_err(sentence)?;
    let jails = manager.list_jails().await.map_err(sentence)?;
    let bans: u32 = jails.iter().map(|jail| jail.bans).sum();
    if let Some(mode) = options.json.mode {
        return print_json(
            &serde_json::json!({
                "version": version, "state": state, "firewall": firewall, "firewall_message": message,
                "journal_cursor": cursor, "bans": bans, "failures": failures, "jails": jails,
            }),
            mode,
        );
    }
    line(&format!("wardend {version}: {state}"))?;
    line(&format!(
        "  Firewall: {firewall}{}",
        if message.is_empty() { String::new() } else { format!(". {message}") }
    ))?;
    line(&format!("      Bans: {bans}"))?;
    line(&format!("  Failures: {failures}"))?;
    for jail in jails {
        line(&format!(
            "      Jail: {} ({} banned, {} failing, {} open sessions)",
            jail.name, jail.bans, jail.failing, jail.sessions
        ))?;
    }
    Ok(())
}

pub(super) async fn list(options: &List) -> anyhow::Result<()> {
    let manager = manager().await?;
    if let Some(jail) = &options.jail {
        manager.get_jail(jail).await.map_err(sentence)?;
    }
    let mut bans = manager.list_bans().await.map_err(sentence)?;
    bans.retain(|ban| options.jail.as_ref().is_none_or(|jail| *jail == ban.jail));
    if let Some(mode) = options.json.mode {
        let bans: Vec<BanJson<'_>> = bans.iter().map(BanJson::from).collect();
        return print_json(&bans, mode);
    }
    let mut table = Table::new(["SOURCE", "JAIL", "SINCE", "LEFT", "BAN", "FAILURES", "WHY"]);
    let now = now();
    for ban in &bans {
        let left = end(ban.until_usec).map_or_else(|| "for ever".to_owned(), |until| span(until.saturating_sub(now)));
        let why = if ban.rule.is_empty() { format!("by hand {}", ban.reason) } else { ban.rule.clone() };
        table.row([
            ban.source.clone(),
            ban.jail.clone(),
            when(ban.since_usec),
            left,
            format!("#{}", ban.count),
            ban.failures.to_string(),
            why.trim_end().to_owned(),
        ]);
    }
    table.print()?;
    line(&format!("\n{} listed.", count(bans.len(), "ban", "bans")))
}

pub(super) async fn jails(options: &Show) -> anyhow::Result<()> {
    let jails = manager().await?.list_jails().await.map_err(sentence)?;
    if let Some(mode) = options.json.mode {
        return print_json(&jails, mode);
    }
    let mut table = Table::new(["JAIL", "BANS", "FAILING", "SESSIONS"]);
    for jail in &jails {
        table.row([jail.name.clone(), jail.bans.to_string(), jail.failing.to_string(), jail.sessions.to_string()]);
    }
    table.print()?;
    line(&format!("\n{} listed.", count(jails.len(), "jail", "jails")))
}

pub(super) async fn ban(options: &Ban) -> anyhow::Result<()> {
    let usec = match options.duration.as_deref().map(parse_span) {
        None => 0,
        Some(Ok(None)) => INFINITY,
        Some(Ok(Some(usec))) => usec,
        Some(Err(what)) => bail!("--for is {what}"),
    };
    let manager = manager().await?;
    for source in &options.sources {
        let (source, until) = manager.ban(source, &options.jail, usec, &options.reason).await.map_err(sentence)?;
        let until = end(until);
        match options.json.mode {
            Some(mode) => {
                print_json(&serde_json::json!({ "jail": options.jail, "source": source, "until_usec": until }), mode)?;
            }
            None => {
                let until = until.map_or_else(|| "for ever".to_owned(), |until| format!("until {}", when(until)));
                line(&format!("Banned {source} in jail {} {until}.", options.jail))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn unban(options: &Unban) -> anyhow::Result<()> {
    let manager = manager().await?;
    if options.all {
        let ended = manager.unban_all().await.map_err(sentence)?;
        return match options.json.mode {
            Some(mode) => print_json(&serde_json::json!({ "unbanned": ended }), mode),
            None => line(&format!("Ended {}.", count(ended as usize, "ban", "bans"))),
        };
    }
    for source in &options.sources {
        let jail = options.jail.as_deref().unwrap_or_default();
        for ban in manager.unban(source, jail).await.map_err(sentence)? {
            match options.json.mode {
                Some(mode) => print_json(&BanJson::from(&ban), mode)?,
                None => line(&format!("Unbanned {} in jail {}.", ban.source, ban.jail))?,
            }
        }
    }
    Ok(())
}

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// An address
    #[arg(add = complete::banned())]
    address: String,
    #[command(flatten)]
    json: Json,
}

/// An address in one jail, as JSON.
#[derive(Debug, Serialize)]
struct ExplainJson {
    jail: String,
    source: String,
    state: String,
    because: String,
    ban_count: u32,
    ban: Option<String>,
    since_usec: Option<Usec>,
    until_usec: Option<Usec>,
    reason: Option<String>,
    login_usec: Option<Usec>,
    attempts: Vec<Attempt>,
}

impl ExplainJson {
    fn read(mut known: HashMap<String, OwnedVariant>) -> anyhow::Result<Self> {
        fn get<T: TryFrom<OwnedVariant, Error: std::error::Error + Send + Sync + 'static>>(
            known: &mut HashMap<String, OwnedVariant>,
            key: &str,
        ) -> anyhow::Result<Option<T>> {
            known
                .remove(key)
                .map(T::try_from)
                .transpose()
                .with_context(|| format!("The answer's {key} has another type"))
        }
        let mut text = |key: &str| anyhow::Ok(get::<String>(&mut known, key)?.unwrap_or_default());
        let (jail, source, state, because) = (text("Jail")?, text("Source")?, text("State")?, text("Because")?);
        Ok(Self {
            jail,
            source,
            state,
            because,
            ban_count: get(&mut known, "BanCount")?.unwrap_or_default(),
            ban: get(&mut known, "Ban")?,
            since_usec: get(&mut known, "SinceUSec")?,
            until_usec: get(&mut known, "UntilUSec")?.and_then(end),
            reason: get(&mut known, "Reason")?,
            login_usec: get(&mut known, "LoginUSec")?,
            attempts: get(&mut known, "Attempts")?.unwrap_or_default(),
        })
    }

    fn print(&self, address: &str) -> anyhow::Result<()> {
        let counted = if self.source == address { String::new() } else { format!(" (counted as {})", self.source) };
        line(&format!("{address}{counted} in jail {}: {}", self.jail, self.state))?;
        if let (Some(ban), Some(since)) = (&self.ban, self.since_usec) {
            let until = self.until_usec.map_or_else(|| "for ever".to_owned(), |until| format!("until {}", when(until)));
            line(&format!("       Ban: {ban} since {} {until}, #{} of this source", when(since), self.ban_count))?;
        } else if self.ban_count > 0 {
            line(&format!("    Before: banned {}", count(self.ban_count as usize, "time", "times")))?;
        }
        line(&format!("   Because: {}", self.because))?;
        for (index, attempt) in self.attempts.iter().enumerate() {
            let title = if index == 0 { "  Attempts:" } else { "           " };
            let user =
                if attempt.user.is_empty() { String::new() } else { format!(" for user '{}'", shown(&attempt.user)) };
            let from = if attempt.address == address { String::new() } else { format!(" from {}", attempt.address) };
            line(&format!("{title} {} {}{user}{from}", when(attempt.time_usec), attempt.rule))?;
            line(&format!("            journalctl --cursor='{}' -n 1", attempt.cursor))?;
        }
        Ok(())
    }
}

pub(super) async fn explain(options: &Explain) -> anyhow::Result<()> {
    let known = manager().await?.explain(&options.address).await.map_err(sentence)?;
    for jail in known {
        let jail = ExplainJson::read(jail)?;
        match options.json.mode {
            Some(mode) => print_json(&jail, mode)?,
            None => jail.print(&options.address)?,
        }
    }
    Ok(())
}

pub(super) async fn reload() -> anyhow::Result<()> {
    manager().await?.reload().await.map_err(sentence)
}

pub(super) async fn metrics() -> anyhow::Result<()> {
    let manager = manager().await?;
    let jails = manager.list_jails().await.map_err(sentence)?;
    let (counts, sum_usec) = manager.ban_latency().await.map_err(sentence)?;
    let numbers = Numbers {
        records: manager.n_records().await.map_err(sentence)?,
        lost: manager.n_lost().await.map_err(sentence)?,
        latency: Latency::read(&counts, sum_usec)
            .context("The daemon is of another version than wardenctl; restart it with `systemctl restart wardend`")?,
        version: manager.version().await.map_err(sentence)?,
        failures: manager.n_failures().await.map_err(sentence)?,
        firewall: manager.firewall_state().await.map_err(sentence)?,
        jails: jails
            .into_iter()
            .map(|jail| JailNumbers {
                name: jail.name,
                bans: jail.bans,
                failing: jail.failing,
                sessions: jail.sessions,
            })
            .collect(),
    };
    line(metrics::render(&numbers).trim_end())
}

/// Verbs of `firewall`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Firewall {
    /// Takes wardend's policy and ipsets out of firewalld, before the package is removed
    Remove,
}

pub(super) async fn firewall(verb: &Firewall) -> anyhow::Result<()> {
    let manager = manager().await?;
    match verb {
        Firewall::Remove => manager.remove_firewall().await.map_err(sentence)?,
    }
    line("wardend's policy and ipsets are gone from firewalld; a restart of wardend puts them back.")
}

fn end(until_usec: u64) -> Option<Usec> {
    (until_usec != INFINITY).then_some(until_usec)
}

/// The sentence in an error of the bus, and nothing of its technique.
fn sentence(error: impl Into<Error>) -> anyhow::Error {
    match error.into() {
        Error::ZBus(zbus::Error::MethodError(_, Some(text), _))
        | Error::NoSuchJail(text)
        | Error::NotBanned(text)
        | Error::NeverBanned(text)
        | Error::InvalidAddress(text)
        | Error::InvalidArgument(text)
        | Error::InvalidConfiguration(text)
        | Error::NotAuthorized(text)
        | Error::Failed(text) => anyhow::anyhow!(text),
        Error::ZBus(error) => anyhow::Error::new(error).context("The bus call failed"),
    }
}

/// Runs what talks to the bus.
pub(super) fn on_the_bus<T>(verb: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("The runtime can't be started")?
        .block_on(verb)
}
