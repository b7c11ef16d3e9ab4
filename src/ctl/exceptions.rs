//! Orders that hold for a time, beside the configuration: `ignore`, `suspect`, `pause`, and what ends them.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::PathBuf,
};

use clap::ValueHint;
use serde_json::{Map, Value, json};
use zbus::Variant;

use super::{
    bans::MANY,
    bus::{Steering, ask, end, manager, steer},
    complete,
    output::{Cell, Json, Style, Table, closing, line, print_json, when},
    sources,
    time::duration,
};
use crate::{
    contract::exceptions::{ExceptionRow, IgnoredRow},
    core::time::span,
    util::{text::count, time::now},
};

/// The most addresses of one call, which is also how many there can be.
const CHUNK: usize = 4096;

/// Options of `ignore` and `suspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Except {
    /// An address, a network or a range: 203.0.113.7, 2001:db8::/64, 203.0.113.7-203.0.113.20; - reads standard input
    #[arg(required_unless_present_any = ["file", "list"])]
    sources: Vec<String>,
    /// Read sources from this file too, with comments after # and ;
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// Show who is concerned already
    #[arg(long, conflicts_with_all = ["sources", "file", "duration", "reason", "jail"])]
    list: bool,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    json: Json,
}

impl Except {
    /// Whether it only shows something.
    pub(super) fn lists(&self) -> bool {
        self.list
    }

    async fn order(&self, method: &str, text: impl Fn(&ExceptionRow) -> String) -> anyhow::Result<()> {
        let Terms { duration, reason, jail } = &self.terms;
        let given = given(duration.as_deref(), reason, jail.as_deref())?;
        let sources = read(&self.sources, &self.file)?;
        each(&steer().await?, method, &sources, &given, self.json, text).await
    }
}

/// How long something holds, where, and why.
#[derive(Debug, clap::Args)]
pub(super) struct Terms {
    /// How long, such as 30min, 3d or infinity [default: until it is ended]
    #[arg(long = "for", id = "duration", value_name = "SPAN", allow_negative_numbers = true)]
    duration: Option<String>,
    /// Reason, for the list and the journal
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Only in this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
}

/// Options of `unignore` and `unsuspect`.
#[derive(Debug, clap::Args)]
pub(super) struct End {
    /// An address, a network or a range; - reads standard input
    #[arg(required_unless_present = "file")]
    sources: Vec<String>,
    /// Read sources from this file too, with comments after # and ;
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// Only end what was ordered for this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    #[command(flatten)]
    json: Json,
}

impl End {
    async fn order(&self, method: &str, text: impl Fn(&ExceptionRow) -> String) -> anyhow::Result<()> {
        let given = given(None, "", self.jail.as_deref())?;
        let sources = read(&self.sources, &self.file)?;
        each(&steer().await?, method, &sources, &given, self.json, text).await
    }
}

/// Options of `pause`.
#[derive(Debug, clap::Args)]
pub(super) struct Pause {
    /// The jail [default: all jails]
    #[arg(add = complete::jails())]
    jail: Option<String>,
    /// How long, such as 30min, 1h or infinity [default: until it is resumed]
    #[arg(long = "for", value_name = "SPAN", allow_negative_numbers = true)]
    duration: Option<String>,
    /// Reason, for the journal
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    json: Json,
}

/// Options of `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// The jail [default: all that are paused]
    #[arg(add = complete::jails())]
    jail: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// The options of a call.
type Given<'o> = HashMap<&'static str, Variant<'o>>;

/// The options that say how long and why.
fn given<'o>(span: Option<&str>, reason: &'o str, jail: Option<&'o str>) -> anyhow::Result<Given<'o>> {
    let mut given = Given::new();
    if let Some(span) = span {
        given.insert("ForUSec", duration(span)?.into());
    }
    if !reason.is_empty() {
        given.insert("Reason", reason.into());
    }
    if let Some(jail) = jail {
        given.insert("Jail", jail.into());
    }
    Ok(given)
}

/// Reads the sources; a name is none.
fn read(arguments: &[String], files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    if let Some(name) = arguments.iter().flat_map(|argument| argument.split(',')).find(|word| is_name(word)) {
        anyhow::bail!(
            "'{name}' is a host name; specify an address or a network, or list the name in ignoreip in wardend.conf, where wardend keeps resolving it."
        );
    }
    sources::read(arguments, files)
}

/// Whether a word is a host name, as far as can be seen.
fn is_name(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
    word.bytes().all(fits)
        && word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.bytes().any(|byte| byte.is_ascii_alphabetic())
        && duration(word).is_err()
}

pub(super) async fn ignore(options: &Except) -> anyhow::Result<()> {
    if options.list {
        return list_ignored(options.json).await;
    }
    options.order("Ignore", |row| format!("Ignoring {}{}{}.", source(row), place(row), until(row))).await
}

pub(super) async fn unignore(options: &End) -> anyhow::Result<()> {
    options.order("Unignore", |row| format!("No longer ignoring {}{}.", source(row), place(row))).await
}

pub(super) async fn suspect(options: &Except) -> anyhow::Result<()> {
    if options.list {
        return list_suspects(options.json).await;
    }
    let text = |row: &_| format!("The first failure of {}{} bans it{}.", source(row), place(row), until(row));
    options.order("Suspect", text).await
}

pub(super) async fn unsuspect(options: &End) -> anyhow::Result<()> {
    options.order("Unsuspect", |row| format!("No longer suspecting {}{}.", source(row), place(row))).await
}

pub(super) async fn pause(options: &Pause) -> anyhow::Result<()> {
    let given = given(options.duration.as_deref(), &options.reason, None)?;
    let jail = options.jail.as_deref().unwrap_or_default();
    let paused: Vec<ExceptionRow> = steer().await?.call("PauseJail", &(jail, given)).await?;
    for row in &paused {
        match options.json.mode() {
            Some(mode) => print_json(&object(row), mode)?,
            None => {
                let jail = row.jail.as_deref().unwrap_or_default();
                line(&format!("Paused jail {jail}{}; it counts failures and bans nobody.", until(row)))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn resume(options: &Resume) -> anyhow::Result<()> {
    let jail = options.jail.as_deref().unwrap_or_default();
    let resumed: Vec<ExceptionRow> = steer().await?.call("ResumeJail", &jail).await?;
    for row in &resumed {
        match options.json.mode() {
            Some(mode) => print_json(&object(row), mode)?,
            None => line(&format!("Resumed jail {}.", row.jail.as_deref().unwrap_or_default()))?,
        }
    }
    Ok(())
}

/// Orders something for many sources. What is refused is reported, and the others are done all the same.
async fn each(
    daemon: &Steering,
    method: &str,
    sources: &[String],
    given: &Given<'_>,
    json: Json,
    text: impl Fn(&ExceptionRow) -> String,
) -> anyhow::Result<()> {
    let mut refused: Option<String> = None;
    let (mut done, many) = (0, sources.len() > MANY && json.mode().is_none());
    for chunk in sources.chunks(CHUNK) {
        let rows: Vec<ExceptionRow> = daemon.call(method, &(chunk, given)).await?;
        for row in &rows {
            if let Some(mode) = json.mode() {
                print_json(&object(row), mode)?;
            }
            match &row.message {
                Some(message) => {
                    // The last one is reported by the caller.
                    if let Some(earlier) = refused.replace(message.clone()) {
                        let _ = writeln!(io::stderr(), "wardenctl: {earlier}");
                    }
                }
                None => {
                    done += 1;
                    if json.mode().is_none() && !many {
                        line(&text(row))?;
                    }
                }
            }
        }
    }
    if many {
        let read = count(sources.len(), "source", "sources");
        line(&format!("Read {read}: {done} done, {} refused.", sources.len() - done))?;
    }
    refused.map_or(Ok(()), |message| Err(anyhow::anyhow!(message)))
}

async fn list_ignored(json: Json) -> anyhow::Result<()> {
    let manager = manager().await?;
    let entries = ask(async || manager.list_ignored().await).await?.answer;
    if let Some(mode) = json.mode() {
        let objects: Vec<Value> = entries.iter().map(ignored_object).collect();
        return print_json(&objects, mode);
    }
    let mut table = Table::new(["SOURCE", "JAIL", "LEFT", "WHY"]);
    let now = now();
    for entry in &entries {
        let left = match entry.until_usec.and_then(end) {
            Some(until) => span(until.saturating_sub(now)),
            None => "permanent".to_owned(),
        };
        let jails = if entry.jails.is_empty() { "all".to_owned() } else { entry.jails.join(", ") };
        table.row([
            Cell::from(entry.source.as_deref().or(entry.name.as_deref()).unwrap_or_default()),
            Cell::from(jails),
            Cell::from(left),
            Cell::from(why(entry)).in_style(Style::Faint),
        ]);
    }
    table.print()?;
    closing(&format!("{} listed.", count(entries.len(), "entry", "entries")))
}

async fn list_suspects(json: Json) -> anyhow::Result<()> {
    let manager = manager().await?;
    let entries = ask(async || manager.list_suspects().await).await?.answer;
    if let Some(mode) = json.mode() {
        return print_json(&entries.iter().map(object).collect::<Vec<_>>(), mode);
    }
    let mut table = Table::new(["SOURCE", "JAIL", "LEFT", "BY", "REASON"]);
    let now = now();
    for entry in &entries {
        let left = entry
            .until_usec
            .and_then(end)
            .map_or_else(|| "permanent".to_owned(), |until| span(until.saturating_sub(now)));
        table.row([
            Cell::from(source(entry)),
            Cell::from(entry.jail.as_deref().unwrap_or("all")),
            Cell::from(left),
            Cell::from(entry.origin.as_deref().unwrap_or("manual")),
            Cell::from(entry.reason.as_deref().unwrap_or_default()).in_style(Style::Faint),
        ]);
    }
    table.print()?;
    closing(&format!("{} listed.", count(entries.len(), "entry", "entries")))
}

/// What an entry comes from, and what a name means.
fn why(entry: &IgnoredRow) -> String {
    let mut why = match (&entry.file, entry.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => format!("manual {}", entry.reason.as_deref().unwrap_or_default()).trim_end().to_owned(),
    };
    if let Some(addresses) = &entry.addresses {
        why.push_str(": ");
        why.push_str(&if addresses.is_empty() { "not resolved".to_owned() } else { addresses.join(", ") });
    }
    why
}

fn source(row: &ExceptionRow) -> &str {
    row.source.as_deref().unwrap_or_default()
}

fn place(row: &ExceptionRow) -> String {
    row.jail.as_ref().map_or_else(|| " in all jails".to_owned(), |jail| format!(" in jail {jail}"))
}

fn until(row: &ExceptionRow) -> String {
    row.until_usec.and_then(end).map_or_else(String::new, |until| format!(" until {}", when(until)))
}

/// As on the bus, with null for what has no end.
fn object(row: &ExceptionRow) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| object.extend(value.map(|value| (name.to_owned(), value)));
    put("address", row.address.as_deref().map(Value::from));
    put("result", row.result.as_deref().map(Value::from));
    put("source", row.source.as_deref().map(Value::from));
    put("jail", (row.error.is_none()).then(|| json!(row.jail)));
    put("since_usec", row.since_usec.map(Value::from));
    put("until_usec", row.until_usec.map(|until| json!(end(until))));
    put("reason", row.reason.as_deref().map(Value::from));
    put("origin", row.origin.as_deref().map(Value::from));
    put("uid", row.uid.map(Value::from));
    put("error", row.error.as_deref().map(Value::from));
    put("message", row.message.as_deref().map(Value::from));
    object.into()
}

fn ignored_object(entry: &IgnoredRow) -> Value {
    json!({
        "source": entry.source, "name": entry.name, "addresses": entry.addresses, "jails": entry.jails,
        "origin": entry.origin, "since_usec": entry.since_usec, "until_usec": entry.until_usec.and_then(end),
        "reason": entry.reason, "uid": entry.uid, "file": entry.file, "line": entry.line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_distinguished_from_an_address_and_from_a_typing_mistake() {
        for name in ["home.example.org", "localhost", "my-host", "host_1.example"] {
            let error = read(&[name.to_owned()], &[]).unwrap_err().to_string();
            assert!(error.contains("is a host name") && error.contains("ignoreip"), "{error}");
        }
        for other in
            ["203.0.113.7", "2001:db8::1", "203.0.113.0/24", "203.0.113.7-203.0.113.9", "2h", "-", "/etc", "1.2.3"]
        {
            assert!(!is_name(other), "{other}");
        }
        assert!(read(&["2h".to_owned()], &[]).unwrap_err().to_string().contains("--for 2h"));
    }
}
