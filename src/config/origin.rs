//! Where each value comes from: what `wardenctl cat-config` shows.
//!
//! It lays the same files over each other as [`super::inputs`] does, but as plain TOML with places
//! and without knowing the settings, so that a new setting needs no word here. What no file sets
//! has its value from the built-in wardend.conf, which names every setting with its default; a test
//! keeps that so.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(crate) use super::place::Location;
use super::{
    ConfigError,
    inputs::{Inputs, Source, built_in, sources},
};

/// The one setting whose lists add up.
const ADDS_UP: &str = "ignoreip";

/// What a jail's setting is.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    /// One value, and who says so; nobody if it is the default.
    One(Json, Option<Location>),
    /// Entries of several lists, each with who names it.
    List(Vec<(Json, Location)>),
}

/// A jail's settings, by name.
pub(crate) type JailValues = Vec<(String, Value)>;

/// One table of all files together: by setting, all values it is given, the one that counts last.
type Layers = BTreeMap<String, Vec<(Json, Location)>>;

/// All jails with all their settings.
///
/// # Errors
/// The first file that can't be read. Values that are of no use are none.
pub(crate) fn values(directories: &[PathBuf]) -> Result<BTreeMap<String, JailValues>, ConfigError> {
    let inputs = Inputs::read(directories)?;
    let mut tables: BTreeMap<Option<String>, Layers> = BTreeMap::new();
    for source in sources(directories)? {
        lay(&source, &mut tables);
    }
    let mut defaults = BTreeMap::new();
    lay(&built_in(), &mut defaults);
    let defaults = defaults.remove(&None).unwrap_or_default();
    let default = tables.remove(&None).unwrap_or_default();
    let jails = inputs.jails.keys().map(|name| {
        let own = tables.remove(&Some(name.clone())).unwrap_or_default();
        (name.clone(), jail(name, &own, &default, &defaults))
    });
    Ok(jails.collect())
}

/// Settings in `[default]` that each enabled jail has a value of its own for, each with the line that
/// counts least of all: the last of `[default]`.
pub(crate) fn overridden(directories: &[PathBuf]) -> Result<Vec<(String, Location)>, ConfigError> {
    let mut tables: BTreeMap<Option<String>, Layers> = BTreeMap::new();
    for source in sources(directories)? {
        lay(&source, &mut tables);
    }
    let default = tables.remove(&None).unwrap_or_default();
    let is_off = |jail: &Layers| {
        value("enabled", jail, &default).is_some_and(|value| matches!(value, Value::One(Json::Bool(false), _)))
    };
    let jails: Vec<&Layers> = tables.values().filter(|jail| !is_off(jail)).collect();
    let without = |setting: &str| jails.is_empty() || jails.iter().any(|jail| !jail.contains_key(setting));
    let found = default.iter().filter(|(setting, _)| *setting != ADDS_UP && *setting != "enabled" && !without(setting));
    Ok(found.filter_map(|(setting, values)| Some((setting.clone(), values.last()?.1.clone()))).collect())
}

fn jail(name: &str, own: &Layers, default: &Layers, defaults: &Layers) -> JailValues {
    // In the order of the file that people know.
    let mut known: Vec<(&String, usize)> = defaults.iter().map(|(name, values)| (name, line(values))).collect();
    known.sort_by_key(|(_, line)| *line);
    let enabled = [("enabled".to_owned(), Json::from(true)), ("filter".to_owned(), Json::from(name))];
    let usual = enabled.into_iter().chain(known.iter().map(|(name, _)| {
        let value = defaults.get(*name).and_then(|values| values.last());
        ((*name).clone(), value.map_or_else(|| Json::Array(Vec::new()), |(value, _)| value.clone()))
    }));
    let mut values: JailValues = usual
        .map(|(setting, usual)| {
            let value = value(&setting, own, default).unwrap_or(Value::One(usual, None));
            (setting, value)
        })
        .collect();
    for setting in own.keys().chain(default.keys()) {
        if !values.iter().any(|(known, _)| known == setting)
            && let Some(value) = value(setting, own, default)
        {
            values.push((setting.clone(), value));
        }
    }
    values
}

fn line(values: &[(Json, Location)]) -> usize {
    values.last().map_or(0, |(_, place)| place.line)
}

fn value(setting: &str, own: &Layers, default: &Layers) -> Option<Value> {
    if setting == ADDS_UP {
        let entries: Vec<_> = [default, own].iter().filter_map(|table| table.get(setting)).flatten().cloned().collect();
        return (!entries.is_empty()).then_some(Value::List(entries));
    }
    let (value, place) = own.get(setting).or_else(|| default.get(setting))?.last()?.clone();
    Some(Value::One(value, Some(place)))
}

/// Lays a file's tables over those before: `[default]` is none, `[jail.NAME]` is NAME.
fn lay(source: &Source, tables: &mut BTreeMap<Option<String>, Layers>) {
    // What is no TOML has been told before.
    let Ok(file) = DeTable::parse(&source.text) else { return };
    for (name, table) in file.get_ref() {
        let Some(table) = table.get_ref().as_table() else { continue };
        if name.get_ref() == "default" {
            add(source, table, tables.entry(None).or_default());
        } else {
            for (jail, table) in table {
                if let Some(table) = table.get_ref().as_table() {
                    add(source, table, tables.entry(Some(jail.get_ref().to_string())).or_default());
                }
            }
        }
    }
}

fn add(source: &Source, table: &DeTable<'_>, layers: &mut Layers) {
    for (setting, value) in table {
        let values = layers.entry(setting.get_ref().to_string()).or_default();
        let located = |value: &Spanned<DeValue<'_>>| (json(value.get_ref()), source.place(value.span().start));
        match value.get_ref().as_array() {
            Some(entries) if setting.get_ref() == ADDS_UP => {
                if entries.is_empty() {
                    values.clear();
                }
                values.extend(entries.iter().map(located));
            }
            _ => values.push(located(value)),
        }
    }
}

/// A value of TOML as JSON, which for what can stand in a configuration is written alike.
fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Boolean(is) => Json::from(*is),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or(Json::Null, Json::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Array(entries) => entries.iter().map(|entry| json(entry.get_ref())).collect(),
        DeValue::Datetime(time) => Json::from(time.to_string()),
        DeValue::Table(table) => {
            table.iter().map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref()))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::jail::ROWS;

    /// Every setting that a file may have stands in wardend.conf with its default, and so in what
    /// is shown.
    #[test]
    fn the_built_in_configuration_names_every_setting() {
        let values = values(&[PathBuf::from("/nonexistent")]).unwrap();
        let shown: Vec<&str> = values["sshd"].iter().map(|(name, _)| name.as_str()).collect();
        for (field, _) in ROWS {
            let field = field.replace('_', "-");
            // It has no default of its own: the mode's classes are counted without it.
            assert!(field == "classes" || shown.contains(&&*field), "{field} is missing in units/wardend.conf");
        }
    }

    #[test]
    fn each_value_is_shown_with_the_line_that_wins() {
        let root = tempfile::tempdir().unwrap();
        let directories = ["etc", "usr"].map(|name| root.path().join(name)).to_vec();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/wardend.conf", "[default]\nmaxretry = 1\nignoreip = [\"192.0.2.1\"]\n[jail.sshd]\n");
        write("etc/wardend.conf.d/a.conf", "default.maxretry = 0x2\n[jail.sshd]\nbantime = 'infinity'\n");
        write(
            "etc/wardend.conf.d/b.conf",
            "[jail.sshd]\nignoreip = [\n  \"192.0.2.2\",\n]\n[jail.web]\nfilter = \"sshd\"\n",
        );
        let values = values(&directories).unwrap();
        let place =
            |path: &str, line| Some(Location { file: root.path().join(path).display().to_string().into(), line });
        let of = |jail: &str, setting: &str| {
            values[jail].iter().find(|(name, _)| name == setting).map(|(_, value)| match value {
                Value::One(value, place) => (value.to_string(), place.clone()),
                Value::List(entries) => {
                    (format!("{} entries", entries.len()), Some(entries[entries.len() - 1].1.clone()))
                }
            })
        };
        assert_eq!(of("sshd", "maxretry"), Some(("2".into(), place("etc/wardend.conf.d/a.conf", 1))));
        assert_eq!(of("sshd", "bantime"), Some(("\"infinity\"".into(), place("etc/wardend.conf.d/a.conf", 3))));
        assert_eq!(of("web", "bantime"), Some(("\"10min\"".into(), None)), "the default");
        assert_eq!(of("web", "filter"), Some(("\"sshd\"".into(), place("etc/wardend.conf.d/b.conf", 6))));
        assert_eq!(of("sshd", "filter"), Some(("\"sshd\"".into(), None)));
        assert_eq!(of("sshd", "ignoreip"), Some(("2 entries".into(), place("etc/wardend.conf.d/b.conf", 3))));
        assert_eq!(of("web", "ignoreip"), Some(("1 entries".into(), place("usr/wardend.conf", 3))));
        write("etc/wardend.conf.d/c.conf", "[default]\nmaxretry = [1\n");
        let error = super::values(&directories).unwrap_err().to_string();
        assert!(error.contains("c.conf:2"), "{error}");
    }
}
