//! `ban` and `unban`.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::bail;
use clap::ValueHint;
use serde::Serialize;
use zbus::Variant;

use super::{
    bus::{Refused, Steering, ask, end, steer},
    complete,
    list::{BanJson, options},
    output::{Json, line, print_json, when},
    sources,
    time::duration,
};
use crate::{
    contract::bus::{BanRow, Outcome},
    core::bans::MOST_BANS,
    util::text::count,
};

/// Options of `ban`.
#[derive(Debug, clap::Args)]
pub(super) struct Ban {
    /// An address, a network or a range: 203.0.113.7, 2001:db8::/64, 203.0.113.7-203.0.113.20; - reads standard input
    #[arg(required_unless_present = "file")]
    sources: Vec<String>,
    /// Read sources from this file too, with comments after # and ;
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// The jail to ban it in [default: as many as it takes to ban it from everything that is watched]
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    /// Ban duration, such as 30min, 2weeks or infinity [default: the jail's own]
    #[arg(long = "for", value_name = "SPAN", allow_negative_numbers = true)]
    duration: Option<String>,
    /// Reason, for the list of bans and the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Whose decision it is, a word for the list of bans and the journal [default: admin]
    #[arg(long, value_name = "WORD")]
    origin: Option<String>,
    /// Do not ban an address from which somebody is or was logged in
    #[arg(long)]
    spare: bool,
    /// Leave open connections open, as for several sources
    #[arg(long)]
    no_cut: bool,
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
    /// Only end bans of this origin: jail, admin, import, fleet or another word
    #[arg(long, value_name = "WORD")]
    origin: Option<String>,
    /// End all bans, or all of a jail and an origin
    #[arg(long, conflicts_with_all = ["sources", "file"])]
    all: bool,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn ban(options: &Ban) -> anyhow::Result<()> {
    if let Some(words) = &options.duration {
        duration(words)?;
    }
    let sources = sources::read(&options.sources, &options.file)?;
    check_number(sources.len())?;
    let daemon = steer().await?;
    let given = |name, value: &Option<String>| (name, value.as_deref().map(|text| Variant::from(text.to_owned())));
    let outcomes = if let [source] = &sources[..] {
        let terms = self::options([
            given("For", &options.duration),
            given("Reason", &options.reason),
            given("Origin", &options.origin),
            ("Spare", options.spare.then_some(true.into())),
            ("Cut", options.no_cut.then_some(false.into())),
        ])?;
        let jail = options.jail.as_deref().unwrap_or_default();
        let (_, _, mut ban): (String, u64, Outcome) = daemon.call("Ban", &(source, jail, terms)).await?;
        ban.outcomes.take().unwrap_or_else(|| vec![ban])
    } else {
        let terms = self::options([
            given("For", &options.duration),
            given("Reason", &options.reason),
            given("Origin", &options.origin),
            ("Spare", options.spare.then_some(true.into())),
            given("Jail", &options.jail),
        ])?;
        let entry = |source: &String| self::options([("Address", Some(source.as_str().into()))]);
        let mut outcomes: Vec<Outcome> = Vec::new();
        // Each may be answered for each jail.
        let answers = match &options.jail {
            Some(_) => 1,
            None => ask(async || daemon.manager().list_jails().await).await?.answer.len().max(1),
        };
        for part in calls(&sources, |source| (ENTRY + source.len()) * answers - ENTRY) {
            let entries = part.iter().map(entry).collect::<zbus::Result<Vec<_>>>()?;
            outcomes.extend(daemon.call::<_, Vec<Outcome>>("BanMany", &(entries, &terms)).await?);
        }
        outcomes
    };
    let state = daemon.firewall().await?;
    tell(&outcomes, sources.len(), &state, options.json)
}

/// What is wrong with the firewall; empty if bans come into force.
pub(super) struct Firewall {
    pub(super) trouble: String,
}

impl Steering {
    /// Asked after bans were ordered, so that whoever ordered them knows whether they have effect.
    pub(super) async fn firewall(&self) -> anyhow::Result<Firewall> {
        let manager = self.manager();
        let state = ask(async || manager.firewall_state().await).await?;
        let message = ask(async || manager.firewall_message().await).await?;
        let trouble = match state.as_str() {
            "up" => String::new(),
            _ if message.is_empty() => "firewalld has not answered yet.".to_owned(),
            _ => message,
        };
        Ok(Firewall { trouble })
    }
}

/// What a call takes, about, in bytes: the daemon takes none of more than 16 MiB, and what it answers is
/// longer than that.
const CALL: usize = 8 << 20;
/// What an entry takes beside its texts.
const ENTRY: usize = 200;

/// A list in parts, each short enough for a call. `texts` says how long the texts of an entry are.
pub(super) fn calls<T>(entries: &[T], texts: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut parts, mut rest, mut taken, mut room) = (Vec::new(), entries, 0, CALL);
    for entry in entries {
        let size = ENTRY + texts(entry);
        if size > room && taken > 0 {
            let (part, others) = rest.split_at(taken);
            parts.push(part);
            (rest, taken, room) = (others, 0, CALL);
        }
        (taken, room) = (taken + 1, room.saturating_sub(size));
    }
    parts.push(rest);
    parts
}

/// Of more answers than this, only the numbers are printed.
pub(super) const MANY: usize = 100;

/// Says of each order how it went; of a long list, in numbers.
fn tell(outcomes: &[Outcome], sources: usize, firewall: &Firewall, json: Json) -> anyhow::Result<()> {
    let many = json.mode().is_none() && outcomes.len() > MANY;
    if many {
        line(&format!("Read {}: {}.", count(sources, "source", "sources"), in_numbers(outcomes)))?;
    }
    for outcome in outcomes.iter().filter(|_| !many) {
        if let Some(mode) = json.mode() {
            print_json(&OutcomeJson::from(outcome), mode)?;
        } else if outcome.message.is_none() {
            let not = match (firewall.trouble.as_str(), outcomes.len()) {
                ("", _) => ".".to_owned(),
                (trouble, 1) => format!(", not in force: {trouble}"),
                _ => ", not in force.".to_owned(),
            };
            line(&format!("{}{not}", words_of(outcome)))?;
        }
    }
    report_refused(outcomes)?;
    match (firewall.trouble.as_str(), outcomes.len()) {
        ("", _) => Ok(()),
        (_, 1) if json.mode().is_none() => Err(Refused::WithoutEffect(String::new()).into()),
        (trouble, number) => {
            let these = count(number, "ban is", "bans are");
            Err(Refused::WithoutEffect(format!("{these} not in force: {trouble}")).into())
        }
    }
}

/// How many orders went how.
pub(super) fn in_numbers(outcomes: &[Outcome]) -> String {
    let number = |word| outcomes.iter().filter(|outcome| outcome.result == word).count();
    format!(
        "{} banned, {} extended, {} already banned, {} refused",
        number("banned"),
        number("extended"),
        number("unchanged"),
        number("refused")
    )
}

/// A list in which there are more than wardend keeps is refused before anything is done.
pub(super) fn check_number(entries: usize) -> anyhow::Result<()> {
    if entries > MOST_BANS {
        bail!(
            "The list has {entries} entries; wardend keeps at most {MOST_BANS} bans, so leave some out, or write networks in place of their addresses."
        );
    }
    Ok(())
}

/// Reports what was refused: the last one as the error that decides the exit status.
pub(super) fn report_refused(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let messages: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.message.as_deref()).collect();
    let Some((last, others)) = messages.split_last() else { return Ok(()) };
    for message in others.iter().take(MANY) {
        let _ = writeln!(io::stderr(), "wardenctl: {message}");
    }
    if let Some(more) = others.len().checked_sub(MANY).filter(|more| *more > 0) {
        let more = count(more, "more source was", "more sources were");
        let _ = writeln!(io::stderr(), "wardenctl: {more} refused; --json shows all of them.");
    }
    bail!("{last}")
}

fn words_of(outcome: &Outcome) -> String {
    let source = outcome.source.as_deref().unwrap_or(&outcome.address);
    let jail = outcome.jail.as_deref().unwrap_or_default();
    let until = outcome.until_usec.and_then(end);
    let until = until.map_or_else(|| "permanently".to_owned(), |until| format!("until {}", when(until)));
    match outcome.result.as_str() {
        "extended" => format!("Extended the ban of {source} in jail {jail}; it is banned {until}"),
        "unchanged" => format!("{source} is already banned in jail {jail} {until}"),
        _ => format!("Banned {source} in jail {jail} {until}"),
    }
}

/// What came of an order, as JSON.
#[derive(Serialize)]
pub(super) struct OutcomeJson<'o> {
    address: &'o str,
    result: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jail: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'o str>,
    /// Null if permanent, or if there is no ban.
    until_usec: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'o str>,
}

impl<'o> From<&'o Outcome> for OutcomeJson<'o> {
    fn from(outcome: &'o Outcome) -> Self {
        Self {
            address: &outcome.address,
            result: &outcome.result,
            jail: outcome.jail.as_deref(),
            source: outcome.source.as_deref(),
            until_usec: outcome.until_usec.and_then(end),
            count: outcome.count,
            error: outcome.error.as_deref(),
            message: outcome.message.as_deref(),
        }
    }
}

pub(super) async fn unban(options: &Unban) -> anyhow::Result<()> {
    let given = |name, value: &Option<String>| (name, value.as_deref().map(|text| Variant::from(text.to_owned())));
    if options.all {
        let which = self::options([given("Jail", &options.jail), given("Origin", &options.origin)])?;
        let ended: u32 = steer().await?.call("UnbanAll", &(which,)).await?;
        return match options.json.mode() {
            Some(mode) => print_json(&serde_json::json!({ "unbanned": ended }), mode),
            None => line(&format!("Ended {}.", count(ended as usize, "ban", "bans"))),
        };
    }
    let sources = sources::read(&options.sources, &options.file)?;
    let daemon = steer().await?;
    let jail = options.jail.as_deref().unwrap_or_default();
    let ended: Vec<BanRow> = if let ([source], None) = (&sources[..], &options.origin) {
        daemon.call("Unban", &(source, jail)).await?
    } else {
        let which = self::options([given("Origin", &options.origin)])?;
        let mut outcomes: Vec<Outcome> = Vec::new();
        for part in calls(&sources, String::len) {
            outcomes.extend(daemon.call::<_, Vec<Outcome>>("UnbanMany", &(part, jail, &which)).await?);
        }
        let ended = outcomes.iter().filter_map(|outcome| outcome.bans.as_ref()).flatten();
        unbanned(ended, options.json)?;
        return report_refused(&outcomes);
    };
    unbanned(ended.iter(), options.json)
}

fn unbanned<'b>(bans: impl Iterator<Item = &'b BanRow>, json: Json) -> anyhow::Result<()> {
    let bans: Vec<&BanRow> = bans.collect();
    if bans.len() > MANY && json.mode().is_none() {
        return line(&format!("Ended {}.", count(bans.len(), "ban", "bans")));
    }
    for ban in bans {
        match json.mode() {
            Some(mode) => print_json(&BanJson::from(ban), mode)?,
            None => line(&format!("Unbanned {} in jail {}.", ban.source, ban.jail))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_goes_in_parts_that_are_short_enough() {
        let list: Vec<usize> = (0..100_000).map(|number| number % 1500).collect();
        let parts = calls(&list, |size| *size);
        assert_eq!(parts.concat(), list);
        let size = |part: &&[usize]| part.iter().map(|size| ENTRY + size).sum::<usize>();
        assert!(parts.len() < 20 && parts.iter().all(|part| size(part) <= CALL), "{}", parts.len());
        assert_eq!(calls(&list[..1], |size| *size), [&list[..1]]);
        assert_eq!(calls(&vec![14; 20_000], |size| *size).len(), 1, "one call, one write of the state");
    }
}
