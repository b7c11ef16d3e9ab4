//! What wardend promises and does not keep at the moment.
//!
//! Each part of the daemon says of its own promise whether it holds: a [`Problem`] of a [`Kind`]
//! comes, changes and goes. While there is any, the state is `degraded`: the unit's STATUS, the
//! property `Problems` and `wardenctl status` give the sentence and the mend. The firewall has
//! words of its own (`FirewallState`) and is added where the list is read.

use std::collections::BTreeMap;

use crate::{contract::bus::ProblemRow, journal::events};

/// Which promise. The order is the one in which problems are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
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
    /// Whoever fails too often is banned: no jail is paused.
    Paused,
}

impl Kind {
    /// Its name on the bus and in the journal.
    fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Bus => "bus",
            Self::Journal => "journal",
            Self::Records => "records",
            Self::Addresses => "addresses",
            Self::State => "state",
            Self::Nameless => "nameless",
            Self::Logins => "logins",
            Self::Paused => "paused",
        }
    }
}

/// Why a promise does not hold, and what mends it: a sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) mend: String,
}

/// The problems there are.
#[derive(Debug, Default)]
pub(super) struct Health {
    problems: BTreeMap<Kind, Problem>,
}

impl Health {
    /// There is this problem of the kind, or none. A change is reported in the journal.
    pub(super) fn report(&mut self, kind: Kind, problem: Option<Problem>) {
        if self.problems.get(&kind) == problem.as_ref() {
            return;
        }
        match &problem {
            Some(Problem { what, mend }) => events::problem(kind.name(), what, mend),
            None => events::problem_gone(kind.name()),
        }
        self.note(kind, problem);
    }

    /// As [`Self::report`], for a problem that has journal records of its own.
    pub(super) fn note(&mut self, kind: Kind, problem: Option<Problem>) {
        match problem {
            Some(problem) => drop(self.problems.insert(kind, problem)),
            None => drop(self.problems.remove(&kind)),
        }
    }

    /// All of them, as the bus lists them.
    pub(super) fn rows(&self) -> Vec<ProblemRow> {
        let row = |(kind, Problem { what, mend }): (&Kind, &Problem)| ProblemRow {
            kind: kind.name().to_owned(),
            what: what.clone(),
            mend: mend.clone(),
        };
        self.problems.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_stays_until_it_is_gone_and_the_latest_sentence_counts() {
        let problem = |what: &str| Some(Problem { what: what.to_owned(), mend: "Do this.".to_owned() });
        let mut health = Health::default();
        health.report(Kind::State, problem("The disk is full."));
        health.report(Kind::State, problem("The disk is read-only."));
        let rows = health.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!((&*rows[0].kind, &*rows[0].what, &*rows[0].mend), ("state", "The disk is read-only.", "Do this."));
        health.report(Kind::State, None);
        assert!(health.rows().is_empty());
    }
}
