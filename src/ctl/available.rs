//! `jails --available`: which filters fit services that run here, whether their log reaches the journal,
//! and what to write to have one watched.
//!
//! It needs no daemon: systemd says what runs, the journal what it has heard, and the filter what brings
//! the log there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use zbus::Connection;

use super::output::{Cell, Json, Style, Table, closing, line, print_json, relative};
use crate::{
    config::{ConfigError, Settings, filters},
    core::{filter::Filter, record::Fields, time::Usec},
    journal::{JournalError, Reader, Where},
    systemd::units::{self, Active},
    util::text::count,
};

/// The template of the units that bring text files into the journal.
const FILE_UNIT: &str = "wardend-file@.service";

/// What is reported of a filter; each field is a key of the JSON output.
#[derive(Debug, Serialize)]
struct Available {
    filter: String,
    description: String,
    /// The units that are active.
    units: Vec<String>,
    /// The jails that use it.
    jails: Vec<String>,
    ports: Vec<String>,
    #[serde(flatten)]
    log: Log,
    /// How to bring the log into the journal, if it isn't there by default.
    setup: Option<String>,
    /// The text files that the program writes by itself.
    files: Vec<PathBuf>,
    /// The units that bring those of them into the journal that are here.
    file_units: Vec<String>,
    /// What to write into a file in wardend.conf.d; nothing if a jail uses it.
    enable: Option<String>,
    /// Why it can't be used.
    error: Option<String>,
    /// Whether anything is known of it.
    #[serde(skip)]
    is_loaded: bool,
}

/// Whether the service's log is in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "journal", content = "last_usec")]
enum Log {
    /// The time of the last record that may be the service's.
    Seen(Usec),
    /// There is none.
    Silent,
    /// The journal can't be read.
    Unknown,
}

impl Available {
    /// Whether its service runs, or writes a file, or nobody knows.
    fn is_here(&self) -> bool {
        !self.units.is_empty() || !self.file_units.is_empty() || !self.is_loaded
    }
}

/// Shows the filters for services that run here.
pub(super) async fn show(config: Option<&Path>, json: Json) -> anyhow::Result<()> {
    let directories = super::directories(config)?;
    let bus = Connection::system().await.ok();
    let in_use = in_use(&directories)?;
    let mut all = Vec::new();
    for name in filters::names(&directories)? {
        all.push(look(name, &directories, bus.as_ref(), &in_use).await);
    }
    if let Some(mode) = json.mode() {
        return print_json(&all, mode);
    }
    let (here, not_here): (Vec<Available>, Vec<Available>) = all.into_iter().partition(Available::is_here);
    print(&here)?;
    if bus.is_none() {
        line("The system bus can't be reached, so nothing is known of what runs here.")?;
    }
    let names: Vec<&str> = not_here.iter().map(|it| it.filter.as_str()).collect();
    let rest = if names.is_empty() { String::new() } else { format!(" Not running here: {}.", names.join(", ")) };
    closing(&format!("{} of services that run here.{rest}", count(here.len(), "filter", "filters")))
}

/// Each filter that an enabled jail uses, with the jail.
fn in_use(directories: &[PathBuf]) -> Result<BTreeSet<(String, String)>, ConfigError> {
    match Settings::load(directories) {
        Ok(settings) => Ok(settings.jails.into_iter().map(|jail| (jail.filter.name.clone(), jail.name)).collect()),
        Err(ConfigError::NoJail(_)) => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

async fn look(
    name: String,
    directories: &[PathBuf],
    bus: Option<&Connection>,
    in_use: &BTreeSet<(String, String)>,
) -> Available {
    let mut fields = Fields::default();
    let mut it = Available {
        filter: name,
        description: String::new(),
        units: Vec::new(),
        jails: Vec::new(),
        ports: Vec::new(),
        log: Log::Unknown,
        setup: None,
        files: Vec::new(),
        file_units: Vec::new(),
        enable: None,
        error: None,
        is_loaded: false,
    };
    it.jails = in_use.iter().filter(|(filter, _)| *filter == it.filter).map(|(_, jail)| jail.clone()).collect();
    let texts = match filters::texts(&it.filter, directories) {
        Ok(texts) => texts.unwrap_or_default(),
        Err(error) => {
            it.error = Some(error.to_string());
            return it;
        }
    };
    let filter = match Filter::load(&it.filter, &texts, &mut fields) {
        Ok(filter) => Arc::new(filters::knowing(filter)),
        Err(error) => {
            it.error = Some(error.to_string());
            return it;
        }
    };
    if let Err(error) = filters::is_usable(&filter) {
        it.error = Some(error.to_string());
    }
    it.is_loaded = true;
    it.description.clone_from(&filter.description);
    it.ports = filter.ports.iter().map(ToString::to_string).collect();
    it.files.clone_from(&filter.files);
    let here = filter.files.iter().filter(|file| file.is_file());
    it.file_units = here.map(|file| units::of_path(FILE_UNIT, file)).collect();
    it.units = running(bus, &filter).await.unwrap_or_default().into_iter().map(|unit| unit.name).collect();
    it.log = match last(&filter, fields) {
        Ok(Some(last)) => Log::Seen(last),
        Ok(None) => Log::Silent,
        Err(_) => Log::Unknown,
    };
    it.setup.clone_from(&filter.setup);
    it.enable = it.jails.is_empty().then(|| format!("[jail.{}]", it.filter));
    it
}

/// The filter's units that are active; none if systemd can't be asked, or the filter names none.
pub(super) async fn running(bus: Option<&Connection>, filter: &Filter) -> Option<Vec<Active>> {
    let mut globs: Vec<String> = filter.units().into_iter().map(str::to_owned).collect();
    // A socket that starts a service for whoever connects.
    let sockets = globs.iter().filter_map(|unit| Some(unit.strip_suffix(".service")?.to_owned() + ".socket"));
    globs.extend(sockets.collect::<Vec<_>>());
    let globs: Vec<&str> = globs.iter().map(String::as_str).collect();
    if globs.is_empty() {
        return None;
    }
    units::active(bus?, &globs).await.ok()
}

fn last(filter: &Arc<Filter>, fields: Fields) -> Result<Option<Usec>, JournalError> {
    Reader::open(&Where::System, vec![Arc::clone(filter)], Arc::new(fields))?.end()
}

fn print(here: &[Available]) -> anyhow::Result<()> {
    let mut table = Table::new(["FILTER", "SERVICE", "JAIL", "JOURNAL", "PORTS"]);
    for it in here {
        let plain = |text: String| Cell::from(text);
        let journal = match it.log {
            Log::Seen(last) => Cell::from(relative(last)),
            Log::Silent => Cell::from("no record").in_style(Style::Bad),
            Log::Unknown => Cell::from("can't be read").in_style(Style::Warning),
        };
        let jail = match (&it.error, it.jails.as_slice()) {
            (Some(_), _) => Cell::from("unusable").in_style(Style::Bad),
            (None, []) => Cell::from("off"),
            (None, jails) => Cell::from(jails.join(", ")).in_style(Style::Good),
        };
        let ports = if it.ports.is_empty() { "all".to_owned() } else { it.ports.join(", ") };
        table.row([plain(it.filter.clone()), plain(it.units.join(", ")), jail, journal, plain(ports)]);
    }
    table.print()?;
    for text in here.iter().filter_map(advice) {
        line(&format!("\n{text}"))?;
    }
    Ok(())
}

/// What to do about a filter, in one paragraph; nothing if a jail uses it and hears its service.
fn advice(it: &Available) -> Option<String> {
    let (name, unit) = (&it.filter, it.units.first().map_or("the service", String::as_str));
    if let Some(error) = &it.error {
        return Some(format!("{name}: {error}"));
    }
    let mut sentences = Vec::new();
    match (&it.setup, it.log) {
        (Some(setup), Log::Silent) => sentences.push(format!(
            "Its log does not reach the journal. To change that, and then reload {unit}: {setup}."
        )),
        // It may be done already, or the records that were seen are only a part of the log.
        (Some(setup), _) if it.enable.is_some() => sentences.push(format!("It needs this set-up: {setup}.")),
        (None, Log::Silent) if !it.file_units.is_empty() => sentences.push(format!(
            "It reads a text file. To have that brought into the journal, see wardend-file@.service(8): systemctl enable \
             --now {}.",
            quoted(&it.file_units)
        )),
        (None, Log::Silent) => sentences.push(format!(
            "The journal has no record of it. If somebody has tried to log in since {unit} started, see whether it logs to \
             the journal."
        )),
        _ => {}
    }
    if it.log == Log::Silent && it.setup.is_some() && !it.file_units.is_empty() {
        sentences.push(format!(
            "Or, if it can only write files, bring them into the journal (wardend-file@.service(8)): systemctl enable --now {}.",
            quoted(&it.file_units)
        ));
    }
    if let Some(table) = &it.enable {
        sentences.push(format!(
            "`wardenctl replay --jail {name} --since -7d` shows whom it would have banned. To use it: \
             mkdir -p /etc/wardend/wardend.conf.d && echo '{table}' > /etc/wardend/wardend.conf.d/{name}.conf && systemctl reload wardend"
        ));
    }
    (!sentences.is_empty()).then(|| format!("{name}: {}", sentences.join(" ")))
}

/// Names of units, for a shell.
fn quoted(units: &[String]) -> String {
    units.iter().map(|unit| format!("'{unit}'")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available(log: Log, setup: Option<&str>, jails: &[&str]) -> Available {
        Available {
            filter: "nginx".to_owned(),
            description: "nginx".to_owned(),
            units: vec!["nginx.service".to_owned()],
            jails: jails.iter().map(ToString::to_string).collect(),
            ports: vec!["http".to_owned()],
            log,
            setup: setup.map(str::to_owned),
            files: vec!["/var/log/x".into()],
            file_units: vec!["wardend-file@var-log-x.service".to_owned()],
            enable: jails.is_empty().then(|| "[jail.nginx]".to_owned()),
            error: None,
            is_loaded: true,
        }
    }

    #[test]
    fn the_advice_says_what_is_missing_and_how_to_begin() {
        let silent = advice(&available(Log::Silent, Some("write x into /etc/y"), &[])).unwrap();
        assert!(silent.starts_with(
            "nginx: Its log does not reach the journal. To change that, and then reload nginx.service: write x into /etc/y."
        ));
        assert!(
            silent.contains("systemctl enable --now 'wardend-file@var-log-x.service'. `wardenctl replay"),
            "{silent}"
        );
        assert!(silent.contains("echo '[jail.nginx]' > /etc/wardend/wardend.conf.d/nginx.conf"), "{silent}");
        let heard = advice(&available(Log::Seen(1), None, &[])).unwrap();
        assert!(heard.starts_with("nginx: `wardenctl replay --jail nginx --since -7d`"), "{heard}");
        assert_eq!(advice(&available(Log::Seen(1), None, &["web"])), None);
        let partly = advice(&available(Log::Seen(1), Some("write x into /etc/y"), &[])).unwrap();
        assert!(partly.starts_with("nginx: It needs this set-up: write x into /etc/y. `wardenctl"), "{partly}");
        let file = advice(&available(Log::Silent, None, &["web"])).unwrap();
        assert!(
            file.contains("It reads a text file.") && file.ends_with("'wardend-file@var-log-x.service'."),
            "{file}"
        );
        let silent = Available { file_units: Vec::new(), ..available(Log::Silent, None, &["web"]) };
        assert!(advice(&silent).unwrap().starts_with("nginx: The journal has no record of it."));
    }
}
