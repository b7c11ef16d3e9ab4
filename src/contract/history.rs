//! What has happened, on the bus: counts by the hour or the day, and the sources that have failed most.

use zbus::{DeserializeDict, SerializeDict, Type};

use serde::{Deserialize, Serialize};

use crate::core::{history, net::text_of, tops::Top};

/// A step of the history: `(tttta{sv})`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct HistoryRow {
    /// When it begins, µs since the epoch.
    pub(crate) since_usec: u64,
    pub(crate) failures: u64,
    /// Bans that a jail has decided.
    pub(crate) bans: u64,
    /// How often a source was spared.
    pub(crate) spared: u64,
    pub(crate) more: HistoryMore,
}

/// What a row of the history ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct HistoryMore {
    /// Bans that were ordered.
    pub(crate) ordered: u64,
}

impl From<history::Row> for HistoryRow {
    fn from(row: history::Row) -> Self {
        let history::Counts { failures, bans, spared, ordered } = row.counts;
        Self { since_usec: row.since, failures, bans, spared, more: HistoryMore { ordered } }
    }
}

/// A source that has failed: `(sttta{sv})`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct TopRow {
    /// The address or network, in canonical text.
    pub(crate) source: String,
    pub(crate) failures: u64,
    pub(crate) bans: u64,
    /// When it last failed or was banned, µs since the epoch.
    pub(crate) last_usec: u64,
    pub(crate) more: TopMore,
}

/// What a row of a source ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct TopMore {
    /// It is banned now, in some jail.
    pub(crate) banned: bool,
}

impl From<(Top, bool)> for TopRow {
    fn from((top, banned): (Top, bool)) -> Self {
        Self {
            source: text_of(top.source),
            failures: top.failures,
            bans: top.bans,
            last_usec: top.last,
            more: TopMore { banned },
        }
    }
}
