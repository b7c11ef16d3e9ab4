//! `cat-config`: the configuration of all files together, and the line that each value is from.
//!
//! What it prints is itself a configuration: with the comments it says why each value holds, and
//! without any other file it would lead to the same settings.

use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;

use super::{
    complete,
    output::{Json, Style, line, print_json},
};
use crate::{
    config::{
        Settings,
        origin::{self, Location, Value},
    },
    util::suggest::instead,
};

/// Options of `cat-config`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only show this jail
    #[arg(long, value_name = "NAME", add = complete::jails())]
    jail: Option<String>,
    /// Read the configuration from this directory instead of /etc/wardend and /run/wardend
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

/// A value as JSON; of a list that adds up, one entry.
#[derive(Debug, Serialize)]
struct ValueJson<'v> {
    jail: &'v str,
    setting: &'v str,
    value: &'v serde_json::Value,
    /// None for a default.
    file: Option<&'v str>,
    line: Option<usize>,
}

impl<'v> ValueJson<'v> {
    fn new(jail: &'v str, setting: &'v str, value: &'v serde_json::Value, place: Option<&'v Location>) -> Self {
        let (file, line) = (place.map(|place| &*place.file), place.map(|place| place.line));
        Self { jail, setting, value, file, line }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directories = super::directories(arguments.config.as_deref())?;
    let mut jails = origin::values(&directories)?;
    if let Some(wanted) = &arguments.jail {
        if !jails.contains_key(wanted) {
            bail!("There is no jail '{wanted}'; {}", instead(wanted, jails.keys().map(String::as_str)));
        }
        jails.retain(|name, _| name == wanted);
    }
    if let Some(mode) = arguments.json.mode() {
        let mut all = Vec::new();
        for (jail, values) in &jails {
            for (setting, value) in values {
                match value {
                    Value::One(value, place) => all.push(ValueJson::new(jail, setting, value, place.as_ref())),
                    Value::List(entries) => all
                        .extend(entries.iter().map(|(value, place)| ValueJson::new(jail, setting, value, Some(place)))),
                }
            }
        }
        print_json(&all, mode)?;
    } else {
        for (index, (jail, values)) in jails.iter().enumerate() {
            let blank = if index == 0 { "" } else { "\n" };
            line(&format!("{blank}[jail.{}]", key(jail)))?;
            values.iter().try_for_each(|(setting, value)| print(setting, value))?;
        }
    }
    // A value that can't be used is shown with its place above, and told here.
    Settings::load(&directories)?;
    Ok(())
}

fn print(setting: &str, value: &Value) -> anyhow::Result<()> {
    let commented = |text: &str, place: Option<&Location>| {
        let comment = place.map_or_else(|| "# default".to_owned(), |place| format!("# {place}"));
        line(&format!("{text:<31} {}", Style::Faint.paint(&comment)))
    };
    match value {
        Value::One(value, place) => commented(&format!("{setting} = {}", toml(value)), place.as_ref()),
        Value::List(entries) => {
            line(&format!("{setting} = ["))?;
            entries.iter().try_for_each(|(entry, place)| commented(&format!("    {},", toml(entry)), Some(place)))?;
            line("]")
        }
    }
}

/// A value as TOML: JSON's spelling of it, with blanks between the entries of a list or a table.
fn toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(entries) => format!("[{}]", entries.iter().map(toml).collect::<Vec<_>>().join(", ")),
        serde_json::Value::Object(table) if table.is_empty() => "{}".to_owned(),
        serde_json::Value::Object(table) => {
            let entries = table.iter().map(|(name, value)| format!("{} = {}", key(name), toml(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// A jail's name as a key: bare where TOML allows it.
fn key(name: &str) -> String {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_it_would_be_written() {
        for text in ["5", "\"10min\"", "[\"ssh\", \"2222/tcp\"]", "{}", "{ 48 = 8, 56 = 3 }"] {
            let value = toml::from_str::<serde_json::Value>(&format!("key = {text}")).unwrap()["key"].take();
            assert_eq!(toml(&value), text);
        }
    }
}
