//! `doctor`: every link of the chain from the journal to firewalld in one line, and the remedy where one
//! does not hold.
//!
//! Each check is a function that returns findings; what it can't look at, without root or without the
//! daemon, is a finding too. Nothing is changed, and `sshd -T` is the only program that is run.

mod daemon;
mod firewall;
mod fleet;
mod jails;
mod journal;
mod neighbors;
mod people;
mod sshd;

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use serde::Serialize;
use tokio::time::timeout;
use zbus::{Connection, connection::Builder};

use self::sshd::Sshd;
use super::output::{Json, Style, closing, line, print_json};
use crate::{
    bus::ManagerProxy,
    config::{ConfigError, Settings, unread},
    util::text::{count, printable},
};

/// How long a check may wait for others,
const PATIENCE: Duration = Duration::from_secs(30);
/// and for one of their answers.
const ONE: Duration = Duration::from_secs(15);

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read the configuration from this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

/// How a link of the chain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It holds, and there is something that the administrator may not know.
    Note,
    /// It does not hold.
    Problem,
    /// It could not be looked at.
    Unknown,
}

/// What a check has found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    /// A sentence, or several.
    what: String,
    /// What solves it; empty if nothing has to be solved.
    remedy: String,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: State::Ok, what: what.into(), remedy: String::new() }
    }

    fn note(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Note, what: what.into(), remedy: remedy.into() }
    }

    fn problem(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Problem, what: what.into(), remedy: remedy.into() }
    }

    fn unknown(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Unknown, what: what.into(), remedy: remedy.into() }
    }

    fn print(&self) -> anyhow::Result<()> {
        let (style, word) = match self.state {
            State::Ok => (Style::Good, "ok"),
            State::Note => (Style::Warning, "note"),
            State::Problem => (Style::Bad, "problem"),
            State::Unknown => (Style::Faint, "unknown"),
        };
        let gap = if self.remedy.is_empty() { "" } else { " " };
        line(&format!(
            "{}  {:<10}  {}{gap}{}",
            style.paint(&format!("{word:<7}")),
            self.check,
            printable(&self.what),
            printable(&self.remedy)
        ))
    }
}

/// What the checks look at.
struct Scene {
    root: bool,
    bus: zbus::Result<Connection>,
    /// The daemon, if it runs and answers,
    daemon: Option<ManagerProxy<'static>>,
    /// and why it does not, if it only runs.
    mute: Option<String>,
    directories: Vec<PathBuf>,
    settings: Result<Settings, ConfigError>,
    /// What sshd says of its own settings.
    sshd: Sshd,
}

pub(super) async fn doctor(arguments: &Arguments) -> anyhow::Result<()> {
    let directories = super::directories(arguments.config.as_deref())?;
    let bus = connection().await;
    let (daemon, mute) = match &bus {
        Ok(bus) => daemon::find(bus).await,
        Err(_) => (None, None),
    };
    let root = rustix::process::geteuid().is_root();
    let scene = Scene {
        root,
        daemon,
        mute,
        bus,
        settings: Settings::load(&directories),
        directories,
        sshd: if root { sshd::ask().await } else { Sshd::NotRoot },
    };
    let mut findings = vec![configuration(&scene)];
    findings.extend(unread(&scene.directories).into_iter().map(|(path, what)| {
        let what = format!("Nothing reads {}: {what}.", path.display());
        Finding::note("config", what, "Rename, move or delete it.")
    }));
    let mut take = |check: &'static str, found: Result<Vec<Finding>, _>| match found {
        Ok(found) => findings.extend(found),
        Err(tokio::time::error::Elapsed { .. }) => {
            let what = format!("There was no answer within {} s.", PATIENCE.as_secs());
            findings.push(Finding::unknown(check, what, "Try again."));
        }
    };
    take("wardend", timeout(PATIENCE, daemon::check(&scene)).await);
    take("journal", Ok(journal::check(&scene)));
    take("jail", timeout(PATIENCE, jails::check(&scene)).await);
    take("sshd", Ok(sshd::check(&scene)));
    take("firewalld", timeout(PATIENCE, firewall::check(&scene)).await);
    take("cut", timeout(PATIENCE, neighbors::cut(&scene)).await);
    take("addresses", timeout(PATIENCE, people::addresses(&scene)).await);
    take("ignoreip", timeout(PATIENCE, people::names(&scene)).await);
    take("you", timeout(PATIENCE, people::you(&scene)).await);
    take("others", timeout(PATIENCE, neighbors::check(&scene)).await);
    take("fleet", timeout(PATIENCE, fleet::check(&scene)).await);
    take("clock", timeout(PATIENCE, neighbors::clock(&scene)).await);
    print(&findings, arguments.json)
}

/// The system bus, on which nobody is waited for without end.
async fn connection() -> zbus::Result<Connection> {
    Builder::system().method_timeout(ONE).build().await
}

fn configuration(scene: &Scene) -> Finding {
    match &scene.settings {
        Ok(settings) => {
            let names: Vec<&str> = settings.jails.iter().map(|jail| jail.name.as_str()).collect();
            Finding::ok("config", format!("It can be used; jails: {}.", names.join(", ")))
        }
        Err(error) => Finding::problem("config", error.to_string(), "Then run `wardenctl verify`."),
    }
}

fn print(findings: &[Finding], json: Json) -> anyhow::Result<()> {
    let of = |state: State| findings.iter().filter(|finding| finding.state == state).count();
    let problems = of(State::Problem);
    match json.mode() {
        Some(mode) => findings.iter().try_for_each(|finding| print_json(finding, mode))?,
        None => {
            findings.iter().try_for_each(Finding::print)?;
            closing(&format!(
                "{}, {}; {} could not be looked at.",
                count(problems, "problem", "problems"),
                count(of(State::Note), "note", "notes"),
                of(State::Unknown)
            ))?;
        }
    }
    if problems > 0 {
        bail!(
            "{} found.",
            if problems == 1 { "A problem was".to_owned() } else { count(problems, "problem was", "problems were") }
        );
    }
    Ok(())
}

/// What to look at if systemd does not answer.
const NO_SYSTEMD: &str = "See that systemd runs here: `systemctl is-system-running`.";

/// What to do if the kernel does not answer: where it does, nothing is in the way.
const SANDBOX: &str = "Run this outside of a sandbox.";

/// Why something can't be seen without the bus.
fn no_bus(check: &'static str, why: &zbus::Error) -> Vec<Finding> {
    vec![Finding::unknown(check, format!("The system bus can't be reached: {why}."), "See that dbus.service runs.")]
}
