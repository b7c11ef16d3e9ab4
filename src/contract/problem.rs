//! What wardend promises and does not keep at the moment, as everybody hears of it: the unit's status text,
//! the property `Problems`, the journal, and `wardenctl status`.

use super::bus::ProblemRow;

/// Which promise. The order is the one in which problems are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Bans are in force in firewalld.
    Firewall,
    /// Whoever is banned is locked out: nobody else accepts before wardend's policy.
    Bypass,
    /// The system bus answers.
    Bus,
    /// The journal is read.
    Journal,
    /// What the watched services write is read.
    Records,
    /// The machine's own addresses are known.
    Addresses,
    /// The state is saved.
    State,
    /// Each failure counts for somebody.
    Nameless,
    /// Whoever is logged in is not banned.
    Logins,
}

impl Kind {
    /// Its word on the bus and in the journal.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Firewall => "firewall",
            Self::Bypass => "bypass",
            Self::Bus => "bus",
            Self::Journal => "journal",
            Self::Records => "records",
            Self::Addresses => "addresses",
            Self::State => "state",
            Self::Nameless => "nameless",
            Self::Logins => "logins",
        }
    }
}

/// Why a promise does not hold, and what mends it: a sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) mend: String,
}

impl Problem {
    /// As the bus lists it.
    pub(crate) fn row(&self, kind: Kind) -> ProblemRow {
        ProblemRow { kind: kind.word().to_owned(), what: self.what.clone(), mend: self.mend.clone() }
    }
}
