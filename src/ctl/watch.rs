//! `watch`: bans and their ends as they happen, from the signals on the bus.
//!
//! It goes on over a restart of the daemon, and ends with Ctrl-C.

use std::{future::poll_fn, pin::Pin};

use anyhow::Context;
use serde_json::json;
use zbus::{Message, export::futures_core::Stream};

use super::{
    bus::{end, manager, sentence},
    complete,
    output::{Json, Style, line, print_json, printable},
};
use crate::{
    bus::{Banned, Unbanned},
    time::{clock, now, span},
};

/// Options of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// Show what happens in this jail only
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn watch(options: &Watch) -> anyhow::Result<()> {
    let manager = manager().await?;
    if let Some(jail) = &options.jail {
        manager.get_jail(jail).await.map_err(sentence)?;
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

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// What a signal says, for people and as JSON.
struct Event {
    jail: String,
    style: Style,
    name: &'static str,
    source: String,
    what: String,
    json: serde_json::Value,
}

impl Event {
    /// None for signals of which `watch` has nothing to say.
    fn read(signal: &Message) -> anyhow::Result<Option<Self>> {
        let header = signal.header();
        let time_usec = now();
        let event = match header.member().map(zbus::names::MemberName::as_str) {
            Some("Banned") => {
                let signal = Banned::from_message(signal.clone()).context("Banned is no signal")?;
                let banned =
                    signal.args().context("The signal Banned has another form; is wardenctl of another version?")?;
                let until = end(banned.until_usec);
                let length = until.map_or_else(
                    || "for ever".to_owned(),
                    |until| format!("for {}", span(until.saturating_sub(time_usec))),
                );
                Self {
                    jail: banned.jail.to_owned(),
                    style: Style::Bad,
                    name: "banned",
                    source: banned.source.to_owned(),
                    what: format!("{length}, #{}", banned.count),
                    json: json!({
                        "event": "banned", "time_usec": time_usec, "jail": banned.jail, "source": banned.source,
                        "until_usec": until, "count": banned.count,
                    }),
                }
            }
            Some("Unbanned") => {
                let signal = Unbanned::from_message(signal.clone()).context("Unbanned is no signal")?;
                let ended =
                    signal.args().context("The signal Unbanned has another form; is wardenctl of another version?")?;
                Self {
                    jail: ended.jail.to_owned(),
                    style: Style::Good,
                    name: "unbanned",
                    source: ended.source.to_owned(),
                    what: match ended.why {
                        "expired" => "its time is over".to_owned(),
                        "command" => "by hand".to_owned(),
                        "jail-gone" => "its jail is gone".to_owned(),
                        "ignored" => "it is ignored now".to_owned(),
                        "widened" => "its whole network is banned".to_owned(),
                        "crowded" => "there were too many bans".to_owned(),
                        other => other.to_owned(),
                    },
                    json: json!({
                        "event": "unbanned", "time_usec": time_usec, "jail": ended.jail, "source": ended.source,
                        "why": ended.why,
                    }),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(event))
    }

    fn print(&self, json: Json) -> anyhow::Result<()> {
        if let Some(mode) = json.mode() {
            return print_json(&self.json, mode);
        }
        let name = self.style.paint(&format!("{:<8}", self.name));
        let what = Style::Faint.paint(&printable(&self.what));
        line(&format!("{} {name} {} in jail {}, {what}", clock(now()), printable(&self.source), self.jail))
    }
}
