//! `firewall`: what wardend has in firewalld.

use std::{fs, io, path::Path};

use super::{
    bus::{ask, manager, steer},
    output::{Json, Style, Table, closing, line, print_json},
};
use crate::{
    contract::bus::{FirewallStatus, SetRow},
    util::text::count,
};

/// Verbs of `firewall`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Firewall {
    /// Compare what firewalld holds with what it should hold
    Status(Status),
    /// Compare, and correct the differences
    Sync,
    /// Remove wardend's policy and ipsets from firewalld, before it is uninstalled
    Remove,
}

/// Options of `firewall status`.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    json: Json,
}

pub(super) async fn firewall(verb: &Firewall) -> anyhow::Result<()> {
    match verb {
        Firewall::Status(options) => status(options).await,
        Firewall::Sync => sync().await,
        Firewall::Remove => remove().await,
    }
}

async fn status(options: &Status) -> anyhow::Result<()> {
    let manager = manager().await?;
    let (state, message, policy, sets) = ask(async || manager.firewall_status().await).await?;
    let sets = sets.answer;
    if let Some(mode) = options.json.mode() {
        return print_json(&FirewallStatus { state, message, policy, sets }, mode);
    }
    let style = match state.as_str() {
        "up" => Style::Good,
        "starting" => Style::Warning,
        _ => Style::Bad,
    };
    let message = if message.is_empty() { String::new() } else { format!(". {message}") };
    line(&format!("Firewall: {}{message}", style.paint(&state)))?;
    let (style, policy) = match policy.as_str() {
        "right" => (Style::Good, "wardend, as it should be"),
        "bypassed" => (Style::Bad, "wardend, but what is accepted before it is asked gets through"),
        "other-rules" => (Style::Bad, "wardend, with other rules than it should have"),
        "missing" => (Style::Bad, "wardend or one of its ipsets is missing"),
        _ => (Style::Warning, "unknown, firewalld can't be asked"),
    };
    line(&format!("  Policy: {}", style.paint(policy)))?;
    let mut table = Table::new(["BANS", "SETS", "WANTED", "HELD", "MISSING", "FOREIGN"]);
    for set in &sets {
        table.row([
            set.name.clone(),
            set.sets.to_string(),
            set.wanted.to_string(),
            set.held.to_string(),
            set.missing.len().to_string(),
            set.foreign.len().to_string(),
        ]);
    }
    table.print()?;
    for SetRow { name, missing, foreign, .. } in &sets {
        for (entries, what) in [(missing, "missing"), (foreign, "not wardend's")] {
            if !entries.is_empty() {
                line(&format!("{name}, {what}: {}", some(entries)))?;
            }
        }
    }
    closing(&format!("{} listed.", count(sets.len(), "list", "lists")))
}

/// The first of a list that may be long.
fn some(entries: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = entries.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(" ");
    if entries.len() > SHOWN { format!("{shown} and {} more", entries.len() - SHOWN) } else { shown }
}

async fn sync() -> anyhow::Result<()> {
    let done: Vec<String> = steer().await?.call("SyncFirewall", &()).await?;
    for what in &done {
        line(what)?;
    }
    line(if done.is_empty() {
        "firewalld holds what it should; there was nothing to correct."
    } else {
        "firewalld holds what it should."
    })
}

async fn remove() -> anyhow::Result<()> {
    steer().await?.call::<_, ()>("RemoveFirewall", &()).await?;
    line("wardend's policy and ipsets are gone from firewalld; a restart of wardend puts them back.")?;
    let left = clear_away(Path::new("/etc/firewalld"));
    if !left.is_empty() {
        line(&format!("firewalld keeps copies of them, which root may delete: {}", left.join(" ")))?;
    }
    Ok(())
}

/// firewalld keeps what it deletes beside it, under another name. The daemon may not clear that
/// away, but root may. Returns what is left.
fn clear_away(configuration: &Path) -> Vec<String> {
    let is_set = |name: &str| {
        let rest = ["wardend4", "wardend6"].iter().find_map(|set| name.strip_prefix(set));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let mut left = Vec::new();
    for directory in ["policies", "ipsets"] {
        for entry in fs::read_dir(configuration.join(directory)).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".xml.old")) else { continue };
            let ours = if directory == "policies" { name == "wardend" } else { is_set(name) };
            if ours && fs::remove_file(entry.path()).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                left.push(entry.path().display().to_string());
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_copies_that_firewalld_keeps_of_our_own_are_cleared_away() {
        let directory = tempfile::tempdir().unwrap();
        let ours = ["policies/wardend.xml.old", "ipsets/wardend4.xml.old", "ipsets/wardend6-ssh.xml.old"];
        let others =
            ["policies/wardend.xml", "policies/mine.xml.old", "ipsets/wardend44.xml.old", "ipsets/wardend4.old"];
        for name in ours.iter().chain(&others) {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert!(clear_away(directory.path()).is_empty());
        assert!(ours.iter().all(|name| !directory.path().join(name).exists()));
        assert!(others.iter().all(|name| directory.path().join(name).exists()));
        assert!(clear_away(Path::new("/nonexistent")).is_empty());
    }
}
