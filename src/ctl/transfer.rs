//! `export` and `import`: the bans in force as JSON, one object on each line, to keep them and to take
//! them to another machine.

use std::{fs, io::Read, path::PathBuf};

use anyhow::{Context, bail};
use clap::ValueHint;
use serde::{Deserialize, Serialize};

use super::{
    bans::{OutcomeJson, calls, check_number, in_numbers, report_refused},
    bus::{ask, end, manager, steer},
    complete,
    list::{self, options},
    output::{Json, line, print_json},
};
use crate::{
    contract::bus::{BanRow, Outcome},
    core::{net::parse_network, time::Usec},
    util::{text::count, time::now},
};

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// Only the bans of this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    /// Only the bans of this origin: jail, admin, import, fleet or another word
    #[arg(long, value_name = "WORD")]
    origin: Option<String>,
}

/// Options of `import`.
#[derive(Debug, clap::Args)]
pub(super) struct FromFile {
    /// A file that `wardenctl export` has written, or - for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Ban all of them in this jail, instead of the jail that each names
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// A ban in a file. What it does not have is as for a new ban.
#[derive(Debug, Serialize, Deserialize)]
#[serde(expecting = "an object")]
struct Line {
    jail: String,
    source: String,
    #[serde(default)]
    since_usec: Option<Usec>,
    /// Null if permanent.
    until_usec: Option<Usec>,
    #[serde(default)]
    count: Option<u32>,
    #[serde(default)]
    origin: Option<String>,
    #[serde(default)]
    reason: String,
}

impl From<BanRow> for Line {
    fn from(row: BanRow) -> Self {
        Self {
            jail: row.jail,
            source: row.source,
            since_usec: Some(row.since_usec),
            until_usec: end(row.until_usec),
            count: Some(row.count),
            origin: Some(row.more.origin),
            reason: row.reason,
        }
    }
}

pub(super) async fn export(options: &Export) -> anyhow::Result<()> {
    let manager = manager().await?;
    if let Some(jail) = &options.jail {
        ask(async || manager.get_jail(jail).await).await?;
    }
    let what = || {
        self::options([
            ("Jail", options.jail.as_deref().map(Into::into)),
            ("Origin", options.origin.as_deref().map(Into::into)),
        ])
    };
    let (bans, _) = list::bans(&manager, what, None).await?;
    for row in bans {
        line(&serde_json::to_string(&Line::from(row))?)?;
    }
    Ok(())
}

pub(super) async fn import(options: &FromFile) -> anyhow::Result<()> {
    let (name, text) = match options.file.as_deref().filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
            (file.display().to_string(), text)
        }
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("Standard input can't be read")?;
            ("standard input".to_owned(), text)
        }
    };
    let all = read(&name, &text)?;
    let now = now();
    let given = all.len();
    let lines: Vec<Line> = all.into_iter().filter(|ban| ban.until_usec.is_none_or(|until| until > now)).collect();
    let over = given - lines.len();
    check_number(lines.len())?;
    let entries = lines.iter().map(|ban| {
        self::options([
            ("Address", Some(ban.source.as_str().into())),
            ("Jail", Some(options.jail.as_deref().unwrap_or(&ban.jail).into())),
            ("For", ban.until_usec.is_none().then_some("infinity".into())),
            ("UntilUSec", ban.until_usec.map(Into::into)),
            ("SinceUSec", ban.since_usec.map(|since| since.min(now).into())),
            ("Count", ban.count.map(Into::into)),
            ("Origin", ban.origin.as_deref().map(Into::into)),
            ("Reason", Some(ban.reason.as_str().into())),
        ])
    });
    let entries = entries.collect::<zbus::Result<Vec<_>>>()?;
    let terms = self::options([("Origin", Some("import".into()))])?;
    let daemon = steer().await?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut rest = &entries[..];
    // A machine on which nobody is banned exports nothing.
    let texts = |ban: &Line| ban.jail.len() + ban.source.len() + ban.reason.len();
    let parts = if lines.is_empty() { Vec::new() } else { calls(&lines, texts) };
    for part in parts {
        let (entries, others) = rest.split_at(part.len());
        outcomes.extend(daemon.call::<_, Vec<Outcome>>("BanMany", &(entries, &terms)).await?);
        rest = others;
    }
    if let Some(mode) = options.json.mode() {
        for outcome in &outcomes {
            print_json(&OutcomeJson::from(outcome), mode)?;
        }
    } else {
        line(&format!("Read {}: {}, {over} over.", count(given, "ban", "bans"), in_numbers(&outcomes)))?;
    }
    report_refused(&outcomes)
}

/// Reads all lines, and does nothing if one of them is wrong.
fn read(name: &str, text: &str) -> anyhow::Result<Vec<Line>> {
    let mut bans = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let ban: Line = match serde_json::from_str(line) {
            Ok(ban) => ban,
            Err(_) if !line.trim_start().starts_with('{') => bail!(
                "{name}:{}: This is not a ban as `wardenctl export` writes it; for a list of addresses, use `wardenctl ban --file`.",
                number + 1
            ),
            Err(error) => {
                let what = error.to_string();
                let what = what.split(" at line").next().unwrap_or_default();
                bail!("{name}:{}: This is not a ban as `wardenctl export` writes it ({what}).", number + 1)
            }
        };
        if let Err(what) = parse_network(&ban.source) {
            bail!("{name}:{}: {what}", number + 1);
        }
        bans.push(ban);
    }
    Ok(bans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::bus::{BanMore, INFINITY};

    #[test]
    fn what_is_exported_is_read_again_and_a_line_needs_only_jail_source_and_end() {
        let row = BanRow {
            jail: "sshd".to_owned(),
            source: "203.0.113.0/24".to_owned(),
            since_usec: 7,
            until_usec: INFINITY,
            count: 3,
            failures: 0,
            rule: String::new(),
            reason: "a \"reason\"\nof two lines".to_owned(),
            more: BanMore { origin: "import".to_owned(), ..BanMore::default() },
        };
        let line = serde_json::to_string(&Line::from(row)).unwrap();
        assert!(!line.contains('\n'));
        let text = format!("{line}\n\n{{\"jail\":\"sshd\",\"source\":\"2001:db8::/64\",\"until_usec\":9,\"new\":1}}\n");
        let bans = read("file", &text).unwrap();
        assert_eq!(serde_json::to_string(&bans[0]).unwrap(), line);
        assert_eq!((bans[1].until_usec, bans[1].count, bans[1].reason.as_str()), (Some(9), None, ""));
        assert_eq!(read("file", "").unwrap().len(), 0, "of a machine on which nobody was banned");
        for (text, complaint) in [
            (
                "\n{\"jail\":\"sshd\"}",
                "file:2: This is not a ban as `wardenctl export` writes it (missing field `source`).",
            ),
            ("203.0.113.7", "file:1: This is not a ban as `wardenctl export` writes it; for a list"),
            (r#"{"jail":"sshd","source":"localhost","until_usec":null}"#, "file:1: 'localhost' is neither"),
        ] {
            let error = read("file", text).unwrap_err().to_string();
            assert!(error.starts_with(complaint), "{error}");
        }
    }
}
