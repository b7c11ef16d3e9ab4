//! `import fail2ban`: what a set-up of fail2ban becomes here, and the drop-in for it.
//!
//! Without `--write` nothing is changed. The drop-in is checked as `verify` does before it is in place,
//! and put there whole.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        bus::on_the_bus,
        output::{line, print_json},
    },
    Partial,
    arguments::Arguments,
    live::{Live, Taken},
    located,
};
use crate::{
    config::{Settings, filters},
    core::{
        filter::{Filter, FilterText},
        record::Fields,
    },
    fail2ban::{Files, Import, Installed, MOST_BYTES, NAME, Next, NotLoaded, Report},
    util::{files::replace, text::count},
};

/// The report as JSON.
#[derive(Debug, Serialize)]
struct ImportJson<'r> {
    drop_in: Option<&'r str>,
    path: String,
    written: bool,
    /// Only with --bans.
    #[serde(skip_serializing_if = "Option::is_none")]
    bans: Option<&'r Taken>,
    #[serde(flatten)]
    report: &'r Report,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directories = super::super::directories(arguments.config.as_deref())?;
    let directory = arguments.directory.display().to_string();
    if !arguments.directory.is_dir() {
        bail!("{directory} is not a directory; name the one that holds fail2ban's jail.conf.");
    }
    let disk = Disk(arguments.directory.clone());
    let import = Import::read(&disk, &directory, &OfHere(&directories), arguments.exact)
        .map_err(|error| located(error, &arguments.directory))?;
    let path = target(arguments.config.as_deref());
    // Before anything is printed, and also if nothing is to be written: what is shown can be used.
    let checked = import.drop_in.as_deref().map(|text| Settings::load_with(&directories, &path, text).map(|_| ()));
    checked.transpose().context("The drop-in can't be used together with what is there")?;
    // Before anything is written, so that one mistake is not followed by half of the work.
    let live =
        (arguments.bans && import.drop_in.is_some()).then(|| Live::read(&disk, arguments, &import)).transpose()?;
    let outcome = match &import.drop_in {
        Some(text) if arguments.write => write(&path, text, arguments.force)?,
        _ => Outcome::Shown,
    };
    let written = !matches!(outcome, Outcome::Shown);
    let taken = live.as_ref().map(|live| on_the_bus(live.take_over(&import)));
    let report =
        import.report(&Next { directory, exact: arguments.exact, written, bans: matches!(taken, Some(Ok(_))) });
    let (taken, failed) = match taken.transpose() {
        Ok(taken) => (taken, None),
        Err(error) => (None, Some(error)),
    };
    if let Some(mode) = arguments.json.mode() {
        let path = path.display().to_string();
        let drop_in = import.drop_in.as_deref();
        print_json(&ImportJson { drop_in, path, written, bans: taken.as_ref(), report: &report }, mode)?;
    } else {
        let path = path.display();
        match (&import.drop_in, outcome) {
            (Some(text), Outcome::Shown) => line(&format!("{path} would be:\n\n{text}"))?,
            (Some(_), Outcome::Written) => line(&format!("{path} was written.\n"))?,
            (Some(_), Outcome::Same) => line(&format!("{path} is already as it should be.\n"))?,
            (None, _) => line("No jail was converted, so there is nothing to write.\n")?,
        }
        if let Some(taken) = &taken {
            line(&taken.text())?;
        }
        line(report.text().trim_end())?;
    }
    if let Some(error) = failed {
        return Err(error.context(if written {
            "The drop-in is in place, but no ban was taken over"
        } else {
            "No ban was taken over"
        }));
    }
    if let Some(taken) = &taken {
        taken.check()?;
    }
    if import.is_partial() {
        let what = match report.not_converted.len() {
            0 => "No jail is enabled there.".to_owned(),
            number => format!("{} not converted.", count(number, "jail was", "jails were")),
        };
        bail!(Partial(what));
    }
    Ok(())
}

/// What was done with the drop-in.
enum Outcome {
    Shown,
    Written,
    Same,
}

/// Where the drop-in belongs.
fn target(config: Option<&Path>) -> PathBuf {
    config.unwrap_or(Path::new("/etc/wardend")).join("wardend.conf.d").join(NAME)
}

/// Puts the drop-in in place, whole.
fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<Outcome> {
    let shown = path.display();
    match fs::read(path) {
        Ok(there) if there == text.as_bytes() => return Ok(Outcome::Same),
        Ok(_) if !force => bail!(
            "{shown} is there and differs; compare it with what `wardenctl import fail2ban` shows, and add --force to replace it."
        ),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => bail!("{shown} can't be read: {error}."),
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let put = fs::create_dir_all(folder).and_then(|()| replace(path, text.as_bytes(), 0o644));
    put.with_context(|| {
        format!("{shown} can't be written; run this as root, or name another directory with --config")
    })?;
    Ok(Outcome::Written)
}

/// The files of a directory.
pub(super) struct Disk(PathBuf);

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let path = self.0.join(path);
        let about = match fs::metadata(&path) {
            Ok(about) => about,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // A pipe would hold the import up without end.
        if !about.is_file() {
            return if about.is_dir() { Ok(None) } else { Err(io::Error::other("it is not a regular file")) };
        }
        let mut bytes = Vec::new();
        fs::File::open(&path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(io::Error::other(format!("it has more than {} MiB", MOST_BYTES >> 20)));
        }
        Ok(Some(bytes))
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        match fs::read_dir(self.0.join(directory)) {
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

/// The filters that are installed here.
struct OfHere<'d>(&'d [PathBuf]);

impl Installed for OfHere<'_> {
    /// By its files alone: the jails that use it are proven with the drop-in.
    fn modes(&self, filter: &str) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Modes {
            #[serde(default)]
            modes: BTreeMap<String, toml::Value>,
        }
        let texts = filters::texts(filter, self.0).ok()??;
        let of = |text: &FilterText| toml::from_str::<Modes>(&text.text).map(|file| file.modes.into_keys());
        Some(texts.iter().filter_map(|text| of(text).ok()).flatten().collect())
    }

    fn obstacle(&self, filter: &str) -> Option<String> {
        // sshd's is built in, needs nothing, and is proven with the drop-in.
        if filter == "sshd" {
            return None;
        }
        filters::load(filter, self.0, &mut Fields::default()).err().map(|error| error.to_string())
    }

    fn names(&self) -> Vec<String> {
        filters::names(self.0).unwrap_or_default().into_iter().collect()
    }

    fn load(&self, filter: &str, drop_in: &str) -> Result<Filter, NotLoaded> {
        let texts = filters::texts(filter, self.0).map_err(|error| NotLoaded::Installed(error.to_string()))?;
        let mut texts = texts.ok_or_else(|| NotLoaded::Missing(filter.to_owned()))?;
        if !drop_in.is_empty() {
            texts.push(FilterText::new("the proposal", drop_in));
        }
        Filter::load(filter, &texts, &mut Fields::default()).map_err(|error| match error.file.as_str() {
            "the proposal" => NotLoaded::DropIn(error),
            _ => NotLoaded::Installed(error.to_string()),
        })
    }
}
