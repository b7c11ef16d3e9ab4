//! What there is on wardend's side.

use std::collections::BTreeMap;

use crate::core::filter::{Filter, FilterError};

/// Why a filter can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotLoaded {
    /// There is none of this name.
    #[error("There is no filter '{0}'.")]
    Missing(String),
    /// What is installed can't be used; the sentence says why.
    #[error("{0}")]
    Installed(String),
    /// The drop-in can't be used with it.
    #[error("{}", .0.what)]
    DropIn(FilterError),
}

/// The filters that are installed.
pub(crate) trait Installed {
    /// The modes of an installed filter; none if there is no such filter.
    fn modes(&self, filter: &str) -> Option<Vec<String>>;
    /// Why an installed filter can't be used on this machine; none if it can.
    fn obstacle(&self, filter: &str) -> Option<String>;
    /// The names of all installed filters.
    fn names(&self) -> Vec<String>;
    /// An installed filter, proven with a drop-in of this text, unless that is empty.
    fn load(&self, filter: &str, drop_in: &str) -> Result<Filter, NotLoaded>;
}

impl Installed for BTreeMap<String, Vec<String>> {
    fn modes(&self, filter: &str) -> Option<Vec<String>> {
        self.get(filter).cloned()
    }

    fn obstacle(&self, _filter: &str) -> Option<String> {
        None
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }

    fn load(&self, filter: &str, _drop_in: &str) -> Result<Filter, NotLoaded> {
        Err(NotLoaded::Missing(filter.to_owned()))
    }
}
