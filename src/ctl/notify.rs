//! `wardenctl notify`: the handlers of wardend-notify, and a test of one.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use serde_json::json;

use super::{
    output::{Cell, Json, Style, Table, closing, line, print_json, relative, when},
    report,
};
use crate::{
    contract::notify::{DIRECTORY, Head, Status},
    core::time::span,
    notify::{
        event::{Event, Kind, digest, made_up},
        hand::{HandError, Handover, lock},
        handler::{self, Handler},
        host,
    },
    util::{suggest::instead, text::count, time::now},
};

/// For how long, and with which pauses, a handler that fails gets the report again.
const TRY: Duration = Duration::from_secs(12 * 3600);
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

const NOT_RUNNING: &str = "wardend-notify is not running; start it with `systemctl start wardend-notify`.";

/// Verbs of `notify`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Notify {
    /// List the handlers, what waits for them, and how they do
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Hand a made-up ban, marked as a test, to a handler and wait until it has taken it
    Test {
        /// The handler
        #[arg(add = handlers())]
        name: String,
    },
    /// Hand the report of yesterday to the handlers that ask for it
    Digest {
        /// Try again for 12 hours if a handler fails; wardend-digest.service runs it
        #[arg(long, hide = true)]
        retry: bool,
    },
}

pub(super) fn notify(verb: &Notify) -> anyhow::Result<()> {
    match verb {
        Notify::List { json } => list(*json),
        Notify::Test { name } => test(name),
        Notify::Digest { retry } => yesterday(*retry),
    }
}

/// The names of handlers, for the shell.
fn handlers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let handlers = handler::read(Path::new(handler::DIRECTORY)).map(|(handlers, _)| handlers).unwrap_or_default();
        handlers.into_iter().map(|handler| CompletionCandidate::new(handler.name)).collect()
    })
}

/// What wardend-notify says of a handler; nothing, if it does not serve it.
pub(super) fn status(name: &str) -> Option<Status> {
    serde_json::from_slice(&fs::read(Path::new(DIRECTORY).join(format!("{name}.status"))).ok()?).ok()
}

/// What wardend-notify says of all handlers that it serves.
pub(super) fn statuses() -> Vec<Status> {
    let names = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".status").map(str::to_owned));
    let mut statuses: Vec<Status> = names.filter_map(|name| status(&name)).collect();
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    statuses
}

fn list(json: Json) -> anyhow::Result<()> {
    let (handlers, mistakes) = handler::read(Path::new(handler::DIRECTORY))?;
    let is_running = Path::new(DIRECTORY).is_dir();
    if let Some(mode) = json.mode() {
        for handler in &handlers {
            let mut object = json!({
                "name": handler.name, "events": handler.events.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
                "jails": handler.jails, "collect_usec": handler.pace.collect, "at_most_usec": handler.pace.at_most,
                "batch": handler.pace.batch, "users": handler.users, "served": false,
            });
            if let Some(status) = status(&handler.name) {
                object["served"] = true.into();
                object["status"] = serde_json::to_value(status)?;
            }
            print_json(&object, mode)?;
        }
        for mistake in &mistakes {
            print_json(&json!({ "error": mistake.to_string() }), mode)?;
        }
        return Ok(());
    }
    let mut table = Table::new(["HANDLER", "EVENTS", "PACE", "LAST SUCCESS", "WAITING", "LAST ERROR"]);
    for handler in &handlers {
        table.row(row(handler, status(&handler.name).as_ref(), is_running));
    }
    table.print()?;
    closing(&format!("{} listed.", count(handlers.len(), "handler", "handlers")))?;
    for mistake in &mistakes {
        line(&Style::Bad.paint(&mistake.to_string()))?;
    }
    if !is_running && !handlers.is_empty() {
        line(&Style::Warning.paint(NOT_RUNNING))?;
    }
    Ok(())
}

fn row(handler: &Handler, status: Option<&Status>, is_running: bool) -> [Cell; 6] {
    let events: Vec<&str> = handler.events.iter().map(|kind: &Kind| kind.name()).collect();
    let pace = format!("{}, at most every {}", span(handler.pace.collect), span(handler.pace.at_most));
    let (success, waiting, error): (_, _, Cell) = match status {
        Some(status) => {
            let error = match status.last_error_usec {
                None => Cell::from(""),
                Some(at) => {
                    let style = if status.failing_since_usec.is_some() { Style::Bad } else { Style::Faint };
                    Cell::from(format!("{}: {}", relative(at), status.last_error)).in_style(style)
                }
            };
            let success = status.last_success_usec.map_or_else(|| "never".to_owned(), relative);
            (success, status.waiting.to_string(), error)
        }
        None if is_running => (
            String::new(),
            String::new(),
            Cell::from("not served; run `systemctl restart wardend-notify`").in_style(Style::Warning),
        ),
        None => (String::new(), String::new(), Cell::from("")),
    };
    [handler.name.clone().into(), events.join(" ").into(), pace.into(), success.into(), waiting.into(), error]
}

fn test(name: &str) -> anyhow::Result<()> {
    let (handlers, mistakes) = handler::read(Path::new(handler::DIRECTORY))?;
    let Some(handler) = handlers.iter().find(|handler| handler.name == name) else {
        if let Some(mistake) = mistakes.iter().find(|mistake| mistake.to_string().contains(&format!("/{name}.toml:"))) {
            bail!("{mistake}");
        }
        let names = handlers.iter().map(|handler| handler.name.as_str());
        bail!("There is no handler '{name}' in {}; {}", handler::DIRECTORY, instead(name, names));
    };
    let directory = Path::new(DIRECTORY);
    if !directory.is_dir() {
        bail!(NOT_RUNNING);
    }
    if !lock(directory, name).exists() {
        bail!("wardend-notify does not serve '{name}' yet; run `systemctl restart wardend-notify`.");
    }
    match hand_over(handler, "1 made-up ban".to_owned(), true, made_up(now())) {
        Ok(()) => line(&format!("{name} has taken a made-up ban; see `journalctl -u {}`.", handler::unit(name))),
        Err(error) if is_denied(&error) => {
            bail!("Only root may test a handler; run `sudo wardenctl notify test {name}`.")
        }
        Err(error) => Err(error).context("The test has failed"),
    }
}

/// Hands one event to a handler, beside what wardend-notify hands over.
fn hand_over(handler: &Handler, summary: String, test: bool, event: Event) -> Result<(), HandError> {
    let head = Head {
        handler: handler.name.clone(),
        host: host(),
        summary,
        events: 1,
        test,
        settings: handler.settings.clone(),
        ..Head::default()
    };
    Handover::new(Path::new(DIRECTORY), head, &[event]).run()
}

fn is_denied(error: &HandError) -> bool {
    matches!(error, HandError::Write { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Hands the report of yesterday to each handler that asks for it.
fn yesterday(retry: bool) -> anyhow::Result<()> {
    let (mut handlers, _) = handler::read(Path::new(handler::DIRECTORY))?;
    handlers.retain(|handler| handler.events.contains(&Kind::Digest));
    if handlers.is_empty() {
        bail!("No handler in {} asks for \"digest\"; set one up, see wardend-notify(8).", handler::DIRECTORY);
    }
    let (text, report, since, until) = report::yesterday()?;
    let event = digest(&text, &report, since, until);
    let summary = format!("report of {}", when(since).split(' ').next().unwrap_or_default());
    let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        let mut failed = Vec::new();
        handlers.retain(|handler| match hand_over(handler, summary.clone(), false, event.clone()) {
            Ok(()) => {
                let _ = line(&format!("{} has taken the {summary}.", handler.name));
                false
            }
            Err(error) if is_denied(&error) => {
                failed.push(format!("{}: Only root may hand a report over: {error}", handler.name));
                true
            }
            Err(HandError::Write { .. }) if !Path::new(DIRECTORY).is_dir() => {
                failed.push(format!("{}: {NOT_RUNNING}", handler.name));
                true
            }
            Err(error) => {
                failed.push(format!("{}: {error}", handler.name));
                true
            }
        });
        if handlers.is_empty() {
            return Ok(());
        }
        if !retry || begun.elapsed() >= TRY {
            bail!("Not all handlers have taken the {summary}. {}", failed.join(" "));
        }
        for what in failed {
            line(&what)?;
        }
        thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_that_fails_says_since_when_and_why_and_one_that_is_not_served_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("mail.toml"), "").unwrap();
        let (handlers, _) = handler::read(directory.path()).unwrap();
        let status = Status {
            waiting: 3,
            last_error_usec: Some(now()),
            last_error: "It has failed.".to_owned(),
            failing_since_usec: Some(1),
            ..Status::default()
        };
        let mut table = Table::new(["A", "B", "C", "D", "E", "F"]);
        table.row(row(&handlers[0], Some(&status), true));
        table.row(row(&handlers[0], None, true));
        let text = format!("{table:?}");
        for part in [
            "banned imported degraded fleet digest",
            "1min, at most every 10min",
            "never",
            "3",
            "It has failed.",
            "systemctl restart",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
