//! The rows of `org.wardend1`: what goes over the bus, as its readers find it.

use serde::{Deserialize, Serialize};
use zbus::{DeserializeDict, SerializeDict, Type};

use crate::core::{Ban, bans::Origin, net::text_of};

/// The bus name.
pub(crate) const NAME: &str = "org.wardend1";
/// The name by which the bus's policy knows this connection (`dbus/org.wardend1.conf`).
pub(crate) const CLIENT_NAME: &str = "org.wardend1.Client";
/// Where the manager is.
pub(crate) const PATH: &str = "/org/wardend1";
/// Infinity, as in systemd's µs properties.
pub(crate) const INFINITY: u64 = u64::MAX;

/// A ban on the bus: `(ssttuussa{sv})`.
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
    /// How many failures led to it, or bans.
    pub(crate) failures: u32,
    /// The rule of the last failure, or the jail of the last ban; empty for one that was ordered.
    pub(crate) rule: String,
    /// The reason of one that was ordered.
    pub(crate) reason: String,
    /// What else there is to say.
    pub(crate) more: BanMore,
}

/// What a row of a ban ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct BanMore {
    /// Whose decision it was.
    pub(crate) origin: String,
    /// Somebody ordered it.
    pub(crate) by_hand: bool,
    /// firewalld has confirmed it.
    pub(crate) in_force: bool,
    /// It has no end.
    pub(crate) permanent: bool,
    /// Somebody had logged in from there, and it was banned all the same.
    #[zbus(rename = "LoginUSec")]
    pub(crate) login_usec: Option<u64>,
    /// What led to it: `failures` or `bans`.
    pub(crate) counted: String,
}

/// What `counted` says.
pub(crate) fn counted(are_bans: bool) -> &'static str {
    if are_bans { "bans" } else { "failures" }
}

impl BanRow {
    /// The row of a ban, with what the daemon knows of it.
    pub(crate) fn new(ban: &Ban, in_force: bool) -> Self {
        Self {
            jail: ban.jail.to_string(),
            source: text_of(ban.source),
            since_usec: ban.since,
            until_usec: ban.until.unwrap_or(INFINITY),
            count: ban.count,
            failures: u32::try_from(ban.failures.kinds().0).unwrap_or(u32::MAX),
            rule: ban.failures.views().last().map_or_else(String::new, |failure| failure.rule.to_owned()),
            reason: ban.reason.as_deref().unwrap_or_default().to_owned(),
            more: BanMore {
                origin: ban.origin.word().to_owned(),
                by_hand: ban.origin != Origin::Jail,
                in_force,
                permanent: ban.until.is_none(),
                login_usec: ban.despite,
                counted: counted(ban.failures.are_bans()).to_owned(),
            },
        }
    }
}

/// What came of one of many orders: `a{sv}`. An order that was refused has an error, and no ban.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct Outcome {
    /// The address, as it was given.
    pub(crate) address: String,
    /// `banned`, `extended`, `unchanged`, `unbanned` or `refused`.
    pub(crate) result: String,
    pub(crate) jail: Option<String>,
    pub(crate) source: Option<String>,
    #[zbus(rename = "SinceUSec")]
    pub(crate) since_usec: Option<u64>,
    #[zbus(rename = "UntilUSec")]
    pub(crate) until_usec: Option<u64>,
    pub(crate) permanent: Option<bool>,
    pub(crate) count: Option<u32>,
    pub(crate) origin: Option<String>,
    pub(crate) by_hand: Option<bool>,
    pub(crate) in_force: Option<bool>,
    /// The bans that have ended.
    pub(crate) bans: Option<Vec<BanRow>>,
    /// What came of it in each jail, if none was named.
    pub(crate) outcomes: Option<Vec<Outcome>>,
    /// The name of the error.
    pub(crate) error: Option<String>,
    /// Its sentence.
    pub(crate) message: Option<String>,
}

impl Outcome {
    /// A ban is in force.
    pub(crate) fn ban(address: String, result: &str, row: BanRow) -> Self {
        Self {
            address,
            result: result.to_owned(),
            jail: Some(row.jail),
            source: Some(row.source),
            since_usec: Some(row.since_usec),
            until_usec: Some(row.until_usec),
            permanent: Some(row.more.permanent),
            count: Some(row.count),
            origin: Some(row.more.origin),
            by_hand: Some(row.more.by_hand),
            in_force: Some(row.more.in_force),
            ..Self::default()
        }
    }

    /// Bans have ended.
    pub(crate) fn unban(address: String, bans: Vec<BanRow>) -> Self {
        Self { address, result: "unbanned".to_owned(), bans: Some(bans), ..Self::default() }
    }

    /// Nothing was done.
    pub(crate) fn refusal(address: String, error: &super::error::Error) -> Self {
        let (name, message) = error.in_words();
        let (error, message) = (Some(name), Some(message));
        Self { address, result: "refused".to_owned(), error, message, ..Self::default() }
    }
}

/// What each signal ends with: `a{sv}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct Details {
    /// The number of the last change; one more with each signal that is a change.
    pub(crate) generation: u64,
    /// Of a ban: since when.
    #[zbus(rename = "SinceUSec")]
    pub(crate) since_usec: Option<u64>,
    /// Of a ban: whether it has no end.
    pub(crate) permanent: Option<bool>,
    /// Of a ban: whose decision it was.
    pub(crate) origin: Option<String>,
    /// Of a ban: whether somebody ordered it.
    pub(crate) by_hand: Option<bool>,
    /// Of a ban: the given reason.
    pub(crate) reason: Option<String>,
    /// Of a failure and of a source that was spared: what the jail counts, `failures` or `bans`.
    pub(crate) counted: Option<String>,
}

impl Details {
    /// Of a ban that has begun, changed or ended.
    pub(crate) fn of(ban: &Ban, generation: u64) -> Self {
        Self {
            generation,
            since_usec: Some(ban.since),
            permanent: Some(ban.until.is_none()),
            origin: Some(ban.origin.word().to_owned()),
            by_hand: Some(ban.origin != Origin::Jail),
            reason: ban.reason.as_deref().map(str::to_owned),
            counted: None,
        }
    }

    /// Of what counts against a source.
    pub(crate) fn counting(are_bans: bool, generation: u64) -> Self {
        Self { counted: Some(counted(are_bans).to_owned()), ..Self::since(generation) }
    }

    /// Of what changes nothing.
    pub(crate) fn since(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }
}

/// A jail in a list: `(suuuoa{sv})`.
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
    /// What else there is to say.
    pub(crate) more: JailMore,
}

/// What a row of a jail ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub(crate) struct JailMore {
    /// The name of its filter; empty if it has none.
    pub(crate) filter: String,
    pub(crate) max_retry: u32,
    #[zbus(rename = "FindTimeUSec")]
    pub(crate) findtime_usec: u64,
    /// [`INFINITY`] if permanent.
    #[zbus(rename = "BanTimeUSec")]
    pub(crate) bantime_usec: u64,
    /// Failures since the daemon started.
    pub(crate) failures: u64,
    /// Bans since the daemon started.
    pub(crate) bans_total: u64,
    /// Those of them that were ordered.
    pub(crate) ordered: u64,
    /// Spared sources since the daemon started.
    pub(crate) spared: u64,
    /// It bans nobody.
    pub(crate) paused: bool,
    /// Until when it is paused, [`INFINITY`] until it is resumed; not there if it is not paused.
    #[zbus(rename = "PausedUntilUSec")]
    pub(crate) paused_until_usec: Option<u64>,
    /// What was given as the reason; not there if it is not paused.
    pub(crate) pause_reason: Option<String>,
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

/// Why wardend is degraded, or what it does not do by order: `(sss)`.
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
