//! `watch`: failures, bans and their ends as they happen, from the signals on the bus.
//!
//! It goes on over a restart of the daemon, and ends with Ctrl-C.

use anyhow::Context;
use serde_json::{Value, json};
use zbus::Message;

use super::{
    bus::{ask, end, manager},
    complete,
    output::{Json, Style, line, print_json, relative},
};
use crate::{
    bus::{Banned, Extended, Failure, Leak, Spared, Unbanned},
    contract::{bus::Details, unban::because},
    core::time::{Usec, span},
    util::stream::next,
    util::text::{count, printable},
    util::time::{clock, now},
};

/// What is wrong with a signal that can't be read.
const NO_SIGNAL: &str = "Received something other than a signal";
const FORM: &str = "A signal has another form than wardenctl knows; install wardend and wardenctl of one version";

/// Options of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// Only show events of this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn watch(options: &Watch) -> anyhow::Result<()> {
    let manager = manager().await?;
    if let Some(jail) = &options.jail {
        ask(async || manager.get_jail(jail).await).await?;
    }
    let mut signals = manager.inner().receive_all_signals().await?;
    let mut owners = manager.inner().receive_owner_changed().await?;
    loop {
        tokio::select! {
            signal = next(&mut signals) => {
                let signal = signal.context("The connection to the bus is lost")?;
                if let Some(event) = Event::read(&signal)?
                    && options.jail.as_ref().is_none_or(|jail| *jail == event.jail)
                {
                    event.print(options.json)?;
                }
            }
            owner = next(&mut owners) => {
                let text = match owner.context("The connection to the bus is lost")? {
                    Some(_) => "wardend has started.",
                    None => "wardend has stopped; waiting for it.",
                };
                if options.json.mode().is_none() {
                    line(&Style::Faint.paint(&format!("{} {text}", clock(now()))))?;
                }
            }
        }
    }
}

/// What a jail counts, in a signal of it.
fn counted(details: &Details) -> &str {
    details.counted.as_deref().unwrap_or("failures")
}

/// What a signal says, for people and as JSON.
struct Event {
    jail: String,
    style: Style,
    name: &'static str,
    source: String,
    what: String,
    json: Value,
}

impl Event {
    /// None for signals of which `watch` has nothing to say.
    fn read(signal: &Message) -> anyhow::Result<Option<Self>> {
        let time_usec = now();
        let event = match signal.header().member().map(zbus::names::MemberName::as_str) {
            Some("Banned") => Self::banned(signal, time_usec)?,
            Some("Extended") => Self::extended(signal, time_usec)?,
            Some("Unbanned") => Self::unbanned(signal)?,
            Some("Failure") => Self::failure(signal)?,
            Some("Leak") => Self::leak(signal)?,
            Some("Spared") => Self::spared(signal)?,
            _ => return Ok(None),
        };
        Ok(Some(event.dated(time_usec)))
    }

    /// A ban has begun.
    fn banned(signal: &Message, time_usec: u64) -> anyhow::Result<Self> {
        let banned = Banned::from_message(signal.clone()).context(NO_SIGNAL)?;
        let banned = banned.args().context(FORM)?;
        let until = end(banned.until_usec);
        let length = until
            .map_or_else(|| "permanent".to_owned(), |until| format!("for {}", span(until.saturating_sub(time_usec))));
        Ok(Self {
            jail: banned.jail.to_owned(),
            style: Style::Bad,
            name: "banned",
            source: banned.source.to_owned(),
            what: format!("{length}, #{}", banned.count),
            json: json!({
                "until_usec": until, "count": banned.count, "origin": banned.details.origin,
                "reason": banned.details.reason,
            }),
        })
    }

    /// A ban lasts longer.
    fn extended(signal: &Message, time_usec: u64) -> anyhow::Result<Self> {
        let extended = Extended::from_message(signal.clone()).context(NO_SIGNAL)?;
        let extended = extended.args().context(FORM)?;
        let until = end(extended.until_usec);
        let left = until.map(|until| format!("for {} from now", span(until.saturating_sub(time_usec))));
        Ok(Self {
            jail: extended.jail.to_owned(),
            style: Style::Bad,
            name: "extended",
            source: extended.source.to_owned(),
            what: left.unwrap_or_else(|| "permanent".to_owned()),
            json: json!({
                "until_usec": until, "count": extended.count, "origin": extended.details.origin,
                "reason": extended.details.reason,
            }),
        })
    }

    /// A ban has ended.
    fn unbanned(signal: &Message) -> anyhow::Result<Self> {
        let ended = Unbanned::from_message(signal.clone()).context(NO_SIGNAL)?;
        let ended = ended.args().context(FORM)?;
        Ok(Self {
            jail: ended.jail.to_owned(),
            style: Style::Good,
            name: "unbanned",
            source: ended.source.to_owned(),
            what: because(ended.why).to_owned(),
            json: json!({ "why": ended.why }),
        })
    }

    /// A failure was counted.
    fn failure(signal: &Message) -> anyhow::Result<Self> {
        let failure = Failure::from_message(signal.clone()).context(NO_SIGNAL)?;
        let failure = failure.args().context(FORM)?;
        let counted = counted(&failure.details);
        let omitted = match failure.omitted {
            0 => String::new(),
            omitted => format!("; {omitted} more before it"),
        };
        Ok(Self {
            jail: failure.jail.to_owned(),
            style: Style::Warning,
            name: if counted == "bans" { "counted" } else { "failure" },
            source: failure.source.to_owned(),
            what: if counted == "bans" {
                format!("a ban in jail {}{omitted}", failure.rule)
            } else {
                format!("{}{omitted}", failure.rule)
            },
            json: json!({
                "address": failure.address, "rule": failure.rule, "record_usec": failure.time_usec,
                "omitted": failure.omitted, "counted": counted,
            }),
        })
    }

    /// A banned source has reached the service.
    fn leak(signal: &Message) -> anyhow::Result<Self> {
        let leak = Leak::from_message(signal.clone()).context(NO_SIGNAL)?;
        let leak = leak.args().context(FORM)?;
        Ok(Self {
            jail: leak.jail.to_owned(),
            style: Style::Bad,
            name: "leak",
            source: leak.source.to_owned(),
            what: format!("{} reached the service nevertheless: {}", leak.address, leak.rule),
            json: json!({ "address": leak.address, "rule": leak.rule }),
        })
    }

    /// A source was not banned.
    fn spared(signal: &Message) -> anyhow::Result<Self> {
        let spared = Spared::from_message(signal.clone()).context(NO_SIGNAL)?;
        let spared = spared.args().context(FORM)?;
        let counted = counted(&spared.details);
        let failures = match counted {
            "bans" => count(spared.failures, "ban", "bans"),
            _ => count(spared.failures, "failure", "failures"),
        };
        Ok(Self {
            jail: spared.jail.to_owned(),
            style: Style::Warning,
            name: "spared",
            source: spared.source.to_owned(),
            what: format!("{failures}, but a login {}", relative(spared.login_usec)),
            json: json!({ "login_usec": spared.login_usec, "failures": spared.failures, "counted": counted }),
        })
    }

    /// With what all events have in common.
    fn dated(mut self, time_usec: Usec) -> Self {
        if let Value::Object(fields) = &mut self.json {
            fields.insert("event".to_owned(), self.name.into());
            fields.insert("time_usec".to_owned(), time_usec.into());
            fields.insert("jail".to_owned(), self.jail.clone().into());
            fields.insert("source".to_owned(), self.source.clone().into());
        }
        self
    }

    fn print(&self, json: Json) -> anyhow::Result<()> {
        if let Some(mode) = json.mode() {
            return print_json(&self.json, mode);
        }
        let name = self.style.paint(&format!("{:<8}", self.name));
        let (source, jail, what) = (printable(&self.source), printable(&self.jail), printable(&self.what));
        line(&format!("{} {name} {source} in jail {jail}: {what}", clock(now())))
    }
}
