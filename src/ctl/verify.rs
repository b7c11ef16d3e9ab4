//! `wardenctl verify`: is every filter sound, and the configuration?
//!
//! It loads what it is given just as the daemon would, examples and proof included, and says for
//! each what was proven and how long that took. It goes on after a mistake, so one run shows all.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::bail;
use serde::Serialize;

use super::{
    hints::{Hint, hints},
    output::{Cell, Json, Style, Table, line, print_json},
};
use crate::{
    config::{ConfigError, Settings, filters, unread},
    core::{
        filter::{Filter, FilterText},
        record::Fields,
    },
    util::suggest::instead,
};

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Filter files or drop-ins [default: all installed filters, and the configuration]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read the configuration from this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

/// What was found of one filter, or of the configuration.
#[derive(Debug, Default, Serialize)]
struct Verdict {
    /// The file, or the filter's name where it is of several files.
    what: String,
    ok: bool,
    /// Drop-ins that were laid over it.
    drop_ins: usize,
    rules: usize,
    /// Pairs of rules that were proven together.
    pairs: usize,
    usec: u128,
    /// What the filter says of its program, and the proof believes.
    claims: Vec<String>,
    /// The users whose records it reads, by name, and their numbers here.
    users: BTreeMap<String, Option<u32>>,
    error: Option<String>,
    /// The filter is sound, and its condition doesn't hold on this machine.
    #[serde(skip)]
    unmet: bool,
    /// An installed filter that no jail uses: what the proof relies on is listed where it is asked for.
    #[serde(skip)]
    idle: bool,
    /// What is probably not meant, though it is no error.
    warning: Option<String>,
    /// The word for that in the table.
    #[serde(skip)]
    mark: &'static str,
}

impl Verdict {
    fn hint(hint: Hint) -> Self {
        Self { what: hint.what, ok: true, warning: Some(hint.sentence), mark: "warning", ..Self::default() }
    }

    fn refused(path: &Path, what: &str) -> Self {
        let path = path.display().to_string();
        let error = Some(format!("{path}: {what}."));
        Self { what: path, error, ..Self::default() }
    }

    /// An installed filter need not fit this machine: whether a jail wants it, the configuration tells.
    fn unless_unused(self) -> Self {
        if self.unmet { Self { ok: true, warning: self.error, error: None, mark: "unused", ..self } } else { self }
    }

    fn unread(path: &Path, what: &str) -> Self {
        let path = path.display().to_string();
        let warning = Some(format!("{path}: nothing reads this file: {what}."));
        Self { what: path, ok: true, warning, mark: "unused", ..Self::default() }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directories = super::directories(arguments.config.as_deref())?;
    let mut verdicts = Vec::new();
    if arguments.files.is_empty() {
        for name in filters::names(&directories)? {
            let texts = filters::texts(&name, &directories).map(Option::unwrap_or_default);
            verdicts.push(verdict(&name, &name, texts).unless_unused());
        }
        for folder in filters::stray_folders(&directories)? {
            let what = format!("there is no filter '{}', so nothing in this folder is used", name_of(&folder));
            verdicts.push(Verdict::refused(&folder, &what));
        }
        verdicts.extend(unread(&directories).iter().map(|(path, what)| Verdict::unread(path, what)));
        let began = Instant::now();
        let loaded = Settings::load(&directories);
        let usec = began.elapsed().as_micros();
        let (settings, error) = match loaded {
            Ok(settings) => (Some(settings), None),
            Err(error) => (None, Some(error)),
        };
        if let Some(settings) = &settings {
            for verdict in &mut verdicts {
                verdict.idle = verdict.ok && !settings.jails.iter().any(|jail| jail.filter.name == verdict.what);
            }
        }
        // A filter's mistake has been told with the filter.
        if !matches!(error, Some(ConfigError::Filter(_))) || verdicts.iter().all(|verdict| verdict.ok) {
            verdicts.push(Verdict {
                what: "configuration".to_owned(),
                ok: error.is_none(),
                drop_ins: 0,
                rules: 0,
                pairs: 0,
                usec,
                claims: Vec::new(),
                users: BTreeMap::new(),
                unmet: false,
                idle: false,
                error: error.map(|error| error.to_string()),
                warning: None,
                mark: "",
            });
        }
        verdicts.extend(hints(&directories, settings.as_ref()).into_iter().map(Verdict::hint));
    }
    for file in &arguments.files {
        verdicts.push(verdict(&file.display().to_string(), &name_of(file), texts_of(file, &directories)));
    }
    print(&verdicts, arguments.json)?;
    match verdicts.iter().filter(|verdict| !verdict.ok).count() {
        0 => Ok(()),
        bad => bail!("{bad} of {} can't be used.", verdicts.len()),
    }
}

/// A filter by its name, or by the path of its file.
pub(super) fn texts_by_name_or_path(
    filter: &str,
    directories: &[PathBuf],
) -> anyhow::Result<(String, Vec<FilterText>)> {
    let path = Path::new(filter);
    if filter.contains('/') || path.extension() == Some(OsStr::new("toml")) {
        return Ok((name_of(path), texts_of(path, directories)?));
    }
    let Some(texts) = filters::texts(filter, directories)? else {
        let names = filters::names(directories)?;
        let instead = instead(filter, names.iter().map(String::as_str));
        bail!("There is no filter '{filter}'; {instead} Or name its file, with a '/'.");
    };
    Ok((filter.to_owned(), texts))
}

/// The filter that a file is of.
fn name_of(file: &Path) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    match folder_of_drop_ins(file) {
        Some(folder) => stem(folder),
        None => stem(file),
    }
    .unwrap_or_default()
}

/// `NAME.d`, if the file lies in one.
fn folder_of_drop_ins(file: &Path) -> Option<&Path> {
    file.parent().filter(|folder| folder.extension() == Some(OsStr::new("d")))
}

/// A file by itself; a drop-in together with the filter beside its folder, or the installed one.
fn texts_of(file: &Path, directories: &[PathBuf]) -> Result<Vec<FilterText>, ConfigError> {
    let text = filters::read(file)?;
    let Some(folder) = folder_of_drop_ins(file) else { return Ok(vec![text]) };
    let beside = folder.with_extension("toml");
    let mut texts = if beside.exists() {
        vec![filters::read(&beside)?]
    } else {
        let mut texts = filters::texts(&name_of(file), directories)?.unwrap_or_default();
        texts.truncate(1);
        texts
    };
    texts.push(text);
    Ok(texts)
}

fn verdict(what: &str, name: &str, texts: Result<Vec<FilterText>, ConfigError>) -> Verdict {
    let began = Instant::now();
    let drop_ins = texts.as_ref().map_or(0, |texts| texts.len().saturating_sub(1));
    let filter = texts.and_then(|texts| Ok(filters::knowing(Filter::load(name, &texts, &mut Fields::default())?)));
    let unmet = filter.as_ref().ok().and_then(|filter| filters::is_usable(filter).err());
    let usec = began.elapsed().as_micros();
    let rules = filter.as_ref().map_or(0, |filter| filter.rules().count());
    Verdict {
        what: what.to_owned(),
        ok: filter.is_ok() && unmet.is_none(),
        drop_ins,
        rules,
        pairs: rules * rules.saturating_sub(1) / 2,
        usec,
        claims: filter.as_ref().map(claims).unwrap_or_default(),
        users: filter.as_ref().map(|filter| filter.users().clone()).unwrap_or_default(),
        unmet: unmet.is_some(),
        idle: false,
        error: filter.err().or(unmet).map(|error| error.to_string()),
        warning: None,
        mark: "",
    }
}

/// What a filter says of its program: nothing but the program itself can prove that.
fn claims(filter: &Filter) -> Vec<String> {
    let each = filter.claims().map(|(token, what, rules)| match rules {
        [] => format!("The program {what} ({token})."),
        [rule] => format!("At {token} in the rule {rule}, the program {what}."),
        rules => format!("At {token} in the rules {}, the program {what}.", rules.join(", ")),
    });
    each.collect()
}

fn print(verdicts: &[Verdict], json: Json) -> anyhow::Result<()> {
    if let Some(mode) = json.mode() {
        return verdicts.iter().try_for_each(|verdict| print_json(verdict, mode));
    }
    let mut table = Table::new(["WHAT", "RESULT", "DROP-INS", "RULES", "PAIRS", "TIME"]);
    for verdict in verdicts {
        let number = |number: usize| if number == 0 { "-".to_owned() } else { number.to_string() };
        table.row([
            Cell::from(&verdict.what),
            if verdict.warning.is_some() {
                let style = if verdict.mark == "unused" { Style::Faint } else { Style::Warning };
                Cell::from(verdict.mark).in_style(style)
            } else if verdict.ok {
                Cell::from("ok").in_style(Style::Good)
            } else {
                Cell::from("refused").in_style(Style::Bad)
            },
            Cell::from(number(verdict.drop_ins)),
            Cell::from(number(verdict.rules)),
            Cell::from(number(verdict.pairs)),
            Cell::from(match verdict.warning {
                Some(_) => "-".to_owned(),
                None => format!("{}.{} ms", verdict.usec / 1000, verdict.usec % 1000 / 100),
            }),
        ]);
    }
    table.print()?;
    let (idle, used): (Vec<_>, Vec<_>) = verdicts.iter().partition(|verdict| verdict.idle);
    for verdict in used.iter().filter(|verdict| !verdict.claims.is_empty()) {
        line(&format!("\n{} is proven if this is true of its program:", verdict.what))?;
        verdict.claims.iter().try_for_each(|claim| line(&format!("  {claim}")))?;
    }
    for verdict in used.iter().filter(|verdict| !verdict.users.is_empty()) {
        let each = verdict.users.iter().map(|(name, number)| match number {
            Some(number) => format!("{name} ({number})"),
            None => format!("{name} (not on this machine)"),
        });
        line(&format!("\n{} reads records of the users {}.", verdict.what, each.collect::<Vec<_>>().join(", ")))?;
    }
    if idle.iter().any(|verdict| !verdict.claims.is_empty()) {
        line("\nNo jail uses the other filters; `wardenctl verify FILE` lists what the proof of one relies on.")?;
    }
    for sentence in verdicts.iter().filter_map(|verdict| verdict.error.as_ref().or(verdict.warning.as_ref())) {
        line(&format!("\n{sentence}"))?;
    }
    Ok(())
}
