//! What can be read of the daemon at any time: STATUS of the unit, the properties on the bus.

use std::time::Duration;

use super::run::Daemon;
use crate::{
    bus::{self, Status},
    contract::{
        bus::ProblemRow,
        problem::{Kind, Problem},
    },
    core::{Exception, ExceptionKind},
    firewalld::State,
    util::{
        text::{count, printable},
        time::format,
    },
};

/// A bus that has not answered for so long does not work.
const SILENCE: Duration = Duration::from_secs(10);

fn no_bus() -> Problem {
    Problem {
        what: "The system bus does not answer wardend, so no ban comes into force.".to_owned(),
        mend: "See journalctl -u dbus -u dbus-broker; if the bus works for others, restart wardend.".to_owned(),
    }
}

/// Jails that ban nobody. Somebody has ordered that, so it is no problem; but nobody shall forget it.
fn paused_jails(paused: &[&Exception]) -> Option<ProblemRow> {
    let jail = |it: &Exception| it.jail.as_deref().unwrap_or_default().to_owned();
    let until = |it: &Exception| {
        let until = it.until.map_or_else(String::new, |until| format!(" until {}", format(until)));
        if it.reason.is_empty() { until } else { format!("{until} ({})", printable(&it.reason)) }
    };
    let (what, verb) = match paused {
        [] => return None,
        [one] => (format!("Jail {} is paused{}, so it bans nobody.", jail(one), until(one)), jail(one)),
        _ => {
            let names: Vec<String> = paused.iter().map(|it| format!("{}{}", jail(it), until(it))).collect();
            (format!("Jails are paused, so they ban nobody: {}.", names.join(", ")), String::new())
        }
    };
    let verb = if verb.is_empty() { "wardenctl resume".to_owned() } else { format!("wardenctl resume {verb}") };
    let mend = format!("To end that now, run `{verb}`.");
    Some(ProblemRow { kind: "paused".to_owned(), what, mend })
}

impl Daemon {
    /// Publishes what there is to know, and announces what has changed: STATUS, and the properties on
    /// the bus.
    pub(super) fn publish(&mut self) {
        self.show();
        // Nobody can know a property before the name is taken. What is not announced now is at the next
        // tick.
        if !self.readiness.is_ready() || !self.published.may_announce() {
            self.pace.soon();
            return;
        }
        self.published.tell(self.status_line(), &self.notifier);
        self.happenings.publisher.publish_changes();
    }

    /// Publishes what there is to know to whoever asks.
    pub(super) fn show(&mut self) {
        self.health.note(Kind::State, self.saving.problem());
        self.health.age();
        let silent = self.outgoing.silence() >= SILENCE;
        self.health.report(Kind::Bus, silent.then(no_bus));
        let paused: Vec<&Exception> = self.engine.exceptions(ExceptionKind::Paused).collect();
        let notes = paused_jails(&paused).into_iter().collect();
        let (firewall_state, firewall_message) = self.firewall.words();
        let mut problems = self.health.rows();
        if !firewall_message.is_empty() {
            let problem = Problem { what: firewall_message.clone(), mend: String::new() };
            problems.insert(0, problem.row(Kind::Firewall));
        }
        self.published.show(Status {
            state: if problems.is_empty() { "running" } else { "degraded" },
            firewall_state,
            firewall_message,
            problems,
            notes,
            own: u32::try_from(self.engine.own_count()).unwrap_or(u32::MAX),
            cursor: self.reading.cursor.as_ref().map_or_else(String::new, ToString::to_string),
            bans: u32::try_from(self.engine.ban_count()).unwrap_or(u32::MAX),
            failures: self.engine.failure_count(),
            jails: bus::jail_rows(&self.engine, &self.happenings.counted),
            lag_usec: self.reading.lag(),
            counted: self.happenings.counted.clone(),
        });
    }

    pub(super) fn status_line(&self) -> String {
        let jails = count(self.engine.jails().count(), "jail", "jails");
        let bans = count(self.engine.ban_count(), "ban", "bans");
        let mut line = match self.firewall.state() {
            State::Up => format!("Watching {jails}, {bans} in force."),
            State::Starting => format!("Watching {jails}, {bans}; firewalld has not answered yet."),
            State::Down(why) => format!("Watching {jails}, {bans} NOT in force. {why}"),
        };
        let paused: Vec<&Exception> = self.engine.exceptions(ExceptionKind::Paused).collect();
        for ProblemRow { what, mend, .. } in self.health.rows().into_iter().chain(paused_jails(&paused)) {
            for sentence in [what, mend].iter().filter(|sentence| !sentence.is_empty()) {
                line.push(' ');
                line.push_str(sentence);
            }
        }
        if let Some(why) = &self.reloading.failure {
            line = format!("{why} {line}");
        }
        line
    }
}
