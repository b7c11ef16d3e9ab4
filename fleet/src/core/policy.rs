//! What this machine makes of the voices of others.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::Seconds;

/// The limit that a machine exceeds. The text follows "because".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    /// Of what can't be read.
    #[error("it sends messages that can't be read")]
    Junk,
    /// Of messages.
    #[error("it sends too many messages")]
    Messages,
    /// Of bans in news.
    #[error("it reports too many bans")]
    Bans,
    /// Of entries in its document.
    #[error("its document has more entries than machine-voices allows")]
    Document,
    /// Of documents that are not what they say.
    #[error("its documents do not match their digests")]
    Digests,
    /// Of changes between its documents.
    #[error("its document changes too fast")]
    Changes,
    /// Of bans at a time.
    #[error("it has more bans in force than machine-voices allows")]
    InForce,
}

/// What follows from fewer voices than the quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Single {
    /// The first failure here results in a ban.
    #[default]
    Suspect,
    /// A short ban.
    Ban,
    /// Nothing.
    Nothing,
}

impl Single {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Suspect, Self::Ban, Self::Nothing];

    /// Its word in fleet.conf.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Suspect => "suspect",
            Self::Ban => "ban",
            Self::Nothing => "nothing",
        }
    }
}

/// The policy, each value with a safe default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The jails whose bans are sent, and whose bans by others count.
    pub jails: BTreeSet<String>,
    /// The number of machines with a live voice that results in a ban.
    pub quorum: usize,
    /// What fewer voices result in.
    pub single: Single,
    /// The longest ban by fewer voices than the quorum.
    pub single_bantime: Seconds,
    /// The longest ban by the quorum, from when its voice was heard.
    pub bantime_max: Seconds,
    /// The shortest prefix of IPv6 that a voice may name. Of IPv4, it may only name addresses.
    pub ipv6_prefix: u8,
    /// The most entries of one machine.
    pub machine_voices: usize,
    /// The number of entries a second that a machine may send in the long run.
    pub machine_rate: u64,
    /// The most entries of all machines.
    pub voices: usize,
    /// The most machines.
    pub machines: usize,
    /// How long a machine that exceeds its limits is not heard.
    pub mute: Seconds,
    /// The machines whose pardons count here.
    pub pardon_from: BTreeSet<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            jails: BTreeSet::from(["sshd".to_owned()]),
            quorum: 2,
            single: Single::Suspect,
            single_bantime: 600,
            bantime_max: 86_400,
            ipv6_prefix: 64,
            machine_voices: 2000,
            machine_rate: 20,
            voices: 50_000,
            machines: 1000,
            mute: 3600,
            pardon_from: BTreeSet::new(),
        }
    }
}

/// Why a voice does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// It names a network that is wider than a source.
    Network,
    /// It comes from a jail that is not in the policy.
    Jail,
    /// It names an address that is never banned by the fleet: of a broker, a gateway or a resolver.
    Never,
}

impl Refusal {
    /// Its word, in metrics and on the bus.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Jail => "jail",
            Self::Never => "never",
        }
    }
}

impl Policy {
    /// The tokens that a machine has at most: all its entries may change twice at once.
    pub(super) fn burst(&self) -> u64 {
        (self.machine_voices as u64).saturating_mul(2).max(100)
    }

    /// Why a voice for this source and of this jail does not count.
    pub(crate) fn refusal(&self, source: &IpNet, jail: &str, never: &BTreeSet<IpAddr>) -> Option<Refusal> {
        let narrow = match source {
            IpNet::V4(net) => net.prefix_len() == 32,
            IpNet::V6(net) => net.prefix_len() >= self.ipv6_prefix,
        };
        if !narrow {
            Some(Refusal::Network)
        } else if !self.jails.contains(jail) {
            Some(Refusal::Jail)
        } else if never.iter().any(|address| source.contains(address)) {
            Some(Refusal::Never)
        } else {
            None
        }
    }
}
