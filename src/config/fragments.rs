//! One configuration file, as written: strict keys, every value with its place.
//!
//! The first of three steps (fragments → inputs → settings). A key that nobody knows is an
//! error with its line: a misspelt `maxretries` that is silently ignored would leave a server
//! open.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::jail::JailTable;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Fragment {
    #[serde(default)]
    pub(crate) default: JailTable,
    #[serde(default)]
    pub(crate) jail: BTreeMap<Spanned<String>, JailTable>,
}
