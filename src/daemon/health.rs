//! What wardend promises and does not keep at the moment.
//!
//! Each part of the daemon says of its own promise whether it holds: a [`Problem`] of a [`Kind`]
//! comes, changes and goes. While there is any, the state is `degraded`: the unit's STATUS, the
//! property `Problems` and `wardenctl status` give the sentence and the mend. The firewall has
//! words of its own (`FirewallState`) and is added where the list is read.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    contract::{
        bus::ProblemRow,
        problem::{Kind, Problem},
    },
    journal::events,
    util::text,
};

/// For so long after the last failure without an address there may be more of them.
const NAMELESS: Duration = Duration::from_secs(3600);

/// The problems there are.
#[derive(Debug, Default)]
pub(super) struct Health {
    problems: BTreeMap<Kind, Problem>,
    /// When failures last came without any address.
    nameless: Option<Instant>,
}

impl Health {
    /// There is this problem of the kind, or none. A change is reported in the journal.
    pub(super) fn report(&mut self, kind: Kind, problem: Option<Problem>) {
        if self.problems.get(&kind) == problem.as_ref() {
            return;
        }
        match &problem {
            Some(Problem { what, mend }) => events::problem(kind.word(), what, mend),
            None => events::problem_gone(kind.word()),
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

    /// Failures that count for nobody.
    pub(super) fn nameless(&mut self, jail: &str, count: usize) {
        let failures = text::count(count, "failure", "failures");
        tracing::trace!("Of a session without an address, {failures} can't be attributed in jail {jail}.");
        self.nameless = Some(Instant::now());
        let what = format!(
            "Failed logins in jail {jail} can't be attributed, because no record of their sessions contains an address; with UseDNS yes, they contain a host name."
        );
        let mend = "Set UseDNS no or LogLevel VERBOSE in sshd_config.".to_owned();
        self.report(Kind::Nameless, Some(Problem { what, mend }));
    }

    /// Ends what time alone ends.
    pub(super) fn age(&mut self) {
        if self.nameless.is_some_and(|last| last.elapsed() >= NAMELESS) {
            self.nameless = None;
            self.report(Kind::Nameless, None);
        }
    }

    /// All of them, as the bus lists them.
    pub(super) fn rows(&self) -> Vec<ProblemRow> {
        self.problems.iter().map(|(kind, problem)| problem.row(*kind)).collect()
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
