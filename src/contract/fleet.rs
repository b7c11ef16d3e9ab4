//! The rows of `org.wardend1.Fleet`, which wardend-fleet serves and wardenctl reads.

use zbus::{DeserializeDict, SerializeDict, Type};

/// The bus name.
pub const NAME: &str = "org.wardend1.Fleet";
/// Where it is.
pub const PATH: &str = "/org/wardend1/fleet";

/// How everything is: `a{sv}`. Times are µs since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct FleetStatus {
    /// The name of this machine in the fleet.
    pub machine: String,
    /// `member`, or `left`.
    pub state: String,
    /// Why wardend can't be reached; empty if it can.
    pub problem: String,
    /// The version of what this machine has sent: when its agent was started, and the number of the change.
    pub epoch: u64,
    /// See `epoch`.
    pub number: u64,
    /// The digest of what it has sent.
    pub digest: String,
    /// The number of its bans that are sent, and of those that have no place.
    pub sent: u32,
    /// See `sent`.
    pub left_out: u32,
    /// The number of bans of others in force here.
    pub bans: u32,
    /// The number of sources that are suspected because of others.
    pub suspects: u32,
    /// The number of voices of others, and of the sources that they are against.
    pub voices: u32,
    /// See `voices`.
    pub sources: u32,
    /// How often the copy of a machine was not in step.
    pub gaps: u64,
    /// What did not count, by reason: `reason number …`.
    pub refused: Vec<String>,
    /// The time from the news of a ban to wardend's word that it is in force here: the sum in µs, and the number.
    pub latency_usec: u64,
    /// See `latency_usec`.
    pub latency_count: u64,
    /// The number of machines that have to ban a source until it is banned here.
    pub quorum: u32,
}

impl FleetStatus {
    /// What did not count, by reason.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (&str, u64)> {
        self.refused.iter().filter_map(|text| {
            let (why, number) = text.rsplit_once(' ')?;
            Some((why, number.parse().ok()?))
        })
    }
}

/// A broker: `a{sv}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct BrokerRow {
    /// Its address.
    pub broker: String,
    /// `connected` or `lost`.
    pub state: String,
    /// Since when.
    #[zbus(rename = "SinceUSec")]
    pub since_usec: u64,
    /// Why there is no connection, or what could not be done; empty if all is well.
    pub problem: String,
}

/// Another machine: `a{sv}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct MachineRow {
    /// Its name.
    pub machine: String,
    /// `in-step`, `behind` (its document is being read) or `muted`.
    pub state: String,
    /// When it last said anything.
    #[zbus(rename = "LastUSec")]
    pub last_usec: u64,
    /// The version and the digest of what is known of it.
    pub epoch: u64,
    /// See `epoch`.
    pub number: u64,
    /// See `epoch`.
    pub digest: String,
    /// The number of its bans.
    pub voices: u32,
    /// The number of its messages and bans that did not count.
    pub refused: u64,
    /// What was last wrong with it; empty if nothing was.
    pub problem: String,
    /// Until when it is not heard; 0 if it is.
    #[zbus(rename = "MutedUntilUSec")]
    pub muted_until_usec: u64,
    /// By how many seconds its clock is ahead, if by more than a minute.
    pub clock_seconds: i64,
}

/// What is known of an address: `a{sv}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct FleetExplanation {
    /// The address or network that voices would be against.
    pub source: String,
    /// What follows from the voices: `nothing`, `suspect` or `ban`.
    pub decision: String,
    /// Until when.
    #[zbus(rename = "UntilUSec")]
    pub until_usec: u64,
    /// Until when the fleet has it banned here; 0 if it has not.
    #[zbus(rename = "BannedUntilUSec")]
    pub banned_until_usec: u64,
    /// Until when it is suspected here; 0 if it is not.
    #[zbus(rename = "SuspectedUntilUSec")]
    pub suspected_until_usec: u64,
    /// The jail of this machine that has banned it; empty if none has.
    pub own_jail: String,
    /// Who pardons it; empty if nobody does.
    pub pardoned_by: String,
    /// Until when.
    #[zbus(rename = "PardonedUntilUSec")]
    pub pardoned_until_usec: u64,
    /// What wardend has said to a ban of it; empty if it was not refused.
    pub refusal: String,
    /// The number of machines that have to ban a source until it is banned here.
    pub quorum: u32,
}

/// A machine that bans an address: `a{sv}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct VoiceRow {
    /// The machine.
    pub machine: String,
    /// Its jail.
    pub jail: String,
    /// When this machine has heard of it.
    #[zbus(rename = "HeardUSec")]
    pub heard_usec: u64,
    /// Until when the machine has it banned.
    #[zbus(rename = "ClaimedUntilUSec")]
    pub claimed_until_usec: u64,
    /// Until when that counts here.
    #[zbus(rename = "UntilUSec")]
    pub until_usec: u64,
    /// Which ban of the source it is there.
    pub count: u32,
    /// Why it does not count: `network`, `jail` or `never`; empty if it does.
    pub refusal: String,
}
