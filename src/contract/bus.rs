//! The rows of `org.wardend1`: what goes over the bus, as its readers find it.

use serde::{Deserialize, Serialize};
use zbus::Type;

use crate::core::{Ban, net::text_of};

/// The bus name.
pub(crate) const NAME: &str = "org.wardend1";
/// The name by which the bus's policy knows this connection (`dbus/org.wardend1.conf`).
pub(crate) const CLIENT_NAME: &str = "org.wardend1.Client";
/// Where the manager is.
pub(crate) const PATH: &str = "/org/wardend1";
/// Infinity, as in systemd's µs properties.
pub(crate) const INFINITY: u64 = u64::MAX;

/// A ban on the bus: `(ssttuuss)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct BanRow {
    /// The jail.
    pub(crate) jail: String,
    /// The address or network, in canonical text.
    pub(crate) source: String,
    /// Since when, µs since the epoch.
    pub(crate) since_usec: u64,
    /// Until when, µs since the epoch; [`INFINITY`] if permanent.
    pub(crate) until_usec: u64,
    /// Which ban of this source it is; 1 for the first.
    pub(crate) count: u32,
    /// How many failures led to it.
    pub(crate) failures: u32,
    /// The rule of the last failure; empty for a manual ban.
    pub(crate) rule: String,
    /// The reason of a manual ban.
    pub(crate) reason: String,
}

impl From<&Ban> for BanRow {
    fn from(ban: &Ban) -> Self {
        Self {
            jail: ban.jail.to_string(),
            source: text_of(ban.source),
            since_usec: ban.since,
            until_usec: ban.until.unwrap_or(INFINITY),
            count: ban.count,
            failures: u32::try_from(ban.failures.kinds().0).unwrap_or(u32::MAX),
            rule: ban.failures.views().last().map_or_else(String::new, |failure| failure.rule.to_owned()),
            reason: ban.reason.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

/// A jail in a list: `(suuuo)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct JailRow {
    pub(crate) name: String,
    /// Bans in force.
    pub(crate) bans: u32,
    /// Sources with failures that count.
    pub(crate) failing: u32,
    /// Open sessions.
    pub(crate) sessions: u32,
    /// Its object.
    pub(crate) path: zbus::OwnedObjectPath,
}

/// The ipsets of one scope and family, and how what they hold differs from what they should:
/// `(suuuasas)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct SetRow {
    /// The first of them.
    #[serde(rename = "set")]
    pub(crate) name: String,
    /// How many of them hold anything.
    pub(crate) sets: u32,
    /// How many entries they should hold.
    pub(crate) wanted: u32,
    /// How many they hold.
    pub(crate) held: u32,
    /// Entries that should be there.
    pub(crate) missing: Vec<String>,
    /// Entries that should not.
    pub(crate) foreign: Vec<String>,
}

/// What firewalld holds against what it should: `(sssa(suuuasas))`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct FirewallStatus {
    /// `starting`, `up` or `down`.
    pub(crate) state: String,
    /// Why it is down, or what is accepted before the policy is asked; empty if all is well.
    pub(crate) message: String,
    /// `right`, `bypassed`, `other-rules`, `missing` or `unknown`.
    pub(crate) policy: String,
    pub(crate) sets: Vec<SetRow>,
}

/// Why wardend is degraded: `(sss)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type, zbus::Variant, zbus::OwnedVariant)]
pub(crate) struct ProblemRow {
    /// Which promise does not hold, in one word.
    pub(crate) kind: String,
    /// What is wrong, a sentence.
    pub(crate) what: String,
    /// What mends it, a sentence; empty if `what` says it.
    pub(crate) mend: String,
}

/// A failed attempt: `(tssss)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type, zbus::Variant, zbus::OwnedVariant)]
pub(crate) struct Attempt {
    /// When, µs since the epoch.
    pub(crate) time_usec: u64,
    /// The rule that read it.
    pub(crate) rule: String,
    /// The user name, as sshd printed it; empty if it did not.
    pub(crate) user: String,
    /// Where it came from.
    pub(crate) address: String,
    /// The journal record that shows it.
    pub(crate) cursor: String,
}
