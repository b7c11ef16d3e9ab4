//! `explain`: how an address stands with each jail, and by which records.

use std::collections::HashMap;

use anyhow::Context;
use serde::Serialize;
use zbus::OwnedVariant;

use super::{
    bus::{ask, end, manager},
    complete, fleet,
    output::{Json, Style, line, print_json, relative, when},
};
use crate::{contract::bus::Attempt, core::time::Usec, journal::events::shown, util::text::count};

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
    origin: Option<String>,
    login_usec: Option<Usec>,
    attempts: Vec<Attempt>,
    counted: String,
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
        let counted = text("Counted")?;
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
            origin: get(&mut known, "Origin")?,
            login_usec: get(&mut known, "LoginUSec")?,
            attempts: get(&mut known, "Attempts")?.unwrap_or_default(),
            counted,
        })
    }

    fn print(&self, address: &str) -> anyhow::Result<()> {
        let counted = if self.source == address { String::new() } else { format!(" (counted as {})", self.source) };
        let style = match self.state.as_str() {
            "banned" => Style::Bad,
            "counting" | "spared" => Style::Warning,
            "clear" | "ignored" => Style::Good,
            _ => Style::Plain,
        };
        line(&format!("{address}{counted} in jail {}: {}", self.jail, style.paint(&self.state)))?;
        if let (Some(ban), Some(since)) = (&self.ban, self.since_usec) {
            let end = |until| format!("{}; {}", when(until), relative(until));
            line(&format!("       Ban: {ban}, #{} of this source", self.ban_count))?;
            line(&format!("     Since: {}; {}", when(since), relative(since)))?;
            line(&format!("     Until: {}", self.until_usec.map_or_else(|| "permanent".to_owned(), end)))?;
        } else if self.ban_count > 0 {
            line(&format!("    Before: banned {}", count(self.ban_count as usize, "time", "times")))?;
        }
        line(&format!("   Because: {}", self.because))?;
        let (title, by) = if self.counted == "bans" { ("      Bans:", "in jail ") } else { ("  Attempts:", "") };
        for (index, attempt) in self.attempts.iter().enumerate() {
            let title = if index == 0 { title } else { "           " };
            let user =
                if attempt.user.is_empty() { String::new() } else { format!(" for user '{}'", shown(&attempt.user)) };
            let from = if attempt.address == address { String::new() } else { format!(" from {}", attempt.address) };
            line(&format!("{title} {} {by}{}{user}{from}", when(attempt.time_usec), attempt.rule))?;
            line(&format!("            journalctl --cursor='{}' -n 1", attempt.cursor))?;
        }
        Ok(())
    }
}

pub(super) async fn explain(options: &Explain) -> anyhow::Result<()> {
    let manager = manager().await?;
    let known = ask(async || manager.explain(&options.address).await).await?.answer;
    for jail in known {
        let jail = ExplainJson::read(jail)?;
        match options.json.mode() {
            Some(mode) => print_json(&jail, mode)?,
            None => jail.print(&options.address)?,
        }
    }
    if options.json.mode().is_none() {
        fleet::told(manager.inner().connection(), &options.address).await.iter().try_for_each(|text| line(text))?;
    }
    Ok(())
}
