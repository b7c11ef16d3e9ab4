//! From what the files say to what holds: the jails that are enabled, each with its settings ([`super::jail`]).
//!
//! The last of three steps (fragments → inputs → settings). Whatever comes out can be used as
//! it is; nothing behind this module checks a setting again.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ConfigError, filters,
    inputs::Inputs,
    jail::{Ignoring, Layered, jail, translators},
    place::Located,
};
use crate::{
    core::{filter::BANS, jail::JailSettings, record::Fields},
    util::suggest,
};

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The enabled jails, in the order of their names.
    pub(crate) jails: Vec<JailSettings>,
    /// The journal fields that their filters ask for.
    pub(crate) fields: Arc<Fields>,
}

impl Settings {
    /// Reads and checks the configuration of `directories`, the one that wins first.
    ///
    /// # Errors
    /// The first mistake, with file and line.
    pub(crate) fn load(directories: &[PathBuf]) -> Result<Self, ConfigError> {
        Self::resolve(&Inputs::read(directories)?, directories)
    }

    /// The same for one jail, as if it were enabled, and for those only whose bans it counts. It may be one that no file names: then it is
    /// that of the filter of this name.
    ///
    /// # Errors
    /// As [`Self::load`]; also if there is neither such a jail nor such a filter.
    pub(crate) fn load_jail(directories: &[PathBuf], name: &str) -> Result<Self, ConfigError> {
        let mut inputs = Inputs::read(directories)?;
        let filters = filters::names(directories)?;
        if !inputs.jails.contains_key(name) && !filters.contains(name) {
            let names = inputs.jails.keys().chain(filters.iter().filter(|name| !inputs.jails.contains_key(*name)));
            return Err(ConfigError::NoSuchJail {
                name: name.to_owned(),
                instead: suggest::instead(name, names.map(String::as_str)),
            });
        }
        let mut input = inputs.jails.remove(name).unwrap_or_default();
        let place = input.place.clone();
        input.enabled = Some(Located { value: true, place });
        // What counts the bans of the others needs these as well.
        if input.filter.as_ref().is_none_or(|filter| filter.value != BANS) {
            inputs.jails = BTreeMap::new();
        }
        inputs.jails.insert(name.to_owned(), input);
        Self::resolve(&inputs, directories)
    }

    /// As [`Self::load`], as if this text were in the drop-in `path`.
    ///
    /// # Errors
    /// The first mistake, with file and line.
    pub(crate) fn load_with(directories: &[PathBuf], path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::resolve(&Inputs::read_with(directories, path, text)?, directories)
    }

    fn resolve(inputs: &Inputs, directories: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut fields = Fields::default();
        let mut filters = HashMap::new();
        let (mut jails, mut disabled) = (Vec::new(), Vec::new());
        // Read once, however many jails share it; again for a jail with translators of its own.
        let translators = translators(inputs.default.nat64_prefixes.as_ref())?;
        let ignored = Ignoring::read(&inputs.default.ignoreip, &translators)?;
        for (name, input) in &inputs.jails {
            let input = Layered { jail: input, default: &inputs.default };
            if let Some(enabled) = input.get(|table| table.enabled.as_ref()).filter(|enabled| !enabled.value) {
                disabled.push(format!("[jail.{name}] by {}", enabled.place));
                continue;
            }
            jails.push(jail(name, &input, (&translators, &ignored), directories, &mut filters, &mut fields)?);
        }
        if jails.is_empty() {
            return Err(no_jail(&inputs.files, &disabled));
        }
        Ok(Self { jails, fields: Arc::new(fields) })
    }
}

/// Why there is nothing to do, and where to change that.
fn no_jail(files: &[Arc<str>], disabled: &[String]) -> ConfigError {
    const MOST: usize = 8;
    let few = |all: &[String]| match all.len().checked_sub(MOST) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..MOST].join(", ")),
    };
    let files: Vec<String> = files.iter().map(ToString::to_string).collect();
    ConfigError::NoJail(if disabled.is_empty() {
        format!("there is no [jail.NAME] in {}; write one, such as [jail.sshd].", few(&files))
    } else {
        format!("`enabled = false` holds for {}; set `enabled = true` there or in a later file.", few(disabled))
    })
}
