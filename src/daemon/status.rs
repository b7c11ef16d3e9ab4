//! What can be read of the daemon at any time: STATUS of the unit, the properties on the bus.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    health::{self, Problem},
    run::{Daemon, TICK},
};
use crate::{
    bus::{self, BusEvent, Status},
    contract::bus::{FirewallStatus, INFINITY, ProblemRow, SetRow},
    core::{Exception, ExceptionKind},
    firewalld::{self, Bypass, Inspection},
    systemd::notify,
    util::{
        text::count,
        time::{format, now},
    },
};

/// For so long after the last failure without an address there may be more of them.
const NAMELESS: Duration = Duration::from_secs(3600);
/// A bus that has not answered for so long does not work.
const SILENCE: Duration = Duration::from_secs(10);

fn no_bus() -> Problem {
    Problem {
        what: "The system bus does not answer wardend, so no ban comes into force.".to_owned(),
        mend: "See journalctl -u dbus -u dbus-broker; if the bus works for others, restart wardend.".to_owned(),
    }
}

/// Jails that ban nobody, because somebody has ordered that.
fn paused_jails(paused: &[&Exception]) -> Option<Problem> {
    let jail = |it: &Exception| it.jail.as_deref().unwrap_or_default().to_owned();
    let until = |it: &Exception| it.until.map_or_else(String::new, |until| format!(" until {}", format(until)));
    let (what, verb) = match paused {
        [] => return None,
        [one] => (format!("Jail {} is paused{}, so it bans nobody.", jail(one), until(one)), jail(one)),
        _ => {
            let names: Vec<String> = paused.iter().map(|it| format!("{}{}", jail(it), until(it))).collect();
            (format!("Jails are paused, so they ban nobody: {}.", names.join(", ")), String::new())
        }
    };
    let verb = if verb.is_empty() { "wardenctl resume".to_owned() } else { format!("wardenctl resume {verb}") };
    Some(Problem { what, mend: format!("To end that now, run `{verb}`.") })
}

impl Daemon {
    /// Publishes what there is to know, and announces what has changed: STATUS, and the properties on
    /// the bus.
    pub(super) fn publish(&mut self) {
        self.show();
        // Nobody can know a property before the name is taken. And a flood of orders shall not make
        // a flood of signals: what is not announced now is at the next tick.
        if !self.ready || self.announced.elapsed() < TICK {
            self.pace = TICK;
            return;
        }
        self.announced = Instant::now();
        let line = self.status_line();
        if line != self.status_told {
            notify::status(&line);
            self.status_told = line;
        }
        self.publisher.publish(BusEvent::Changes);
    }

    /// Publishes what there is to know to whoever asks.
    pub(super) fn show(&mut self) {
        self.health.note(health::Kind::State, self.saving.problem());
        if self.nameless.is_some_and(|last| last.elapsed() >= NAMELESS) {
            self.nameless = None;
            self.health.report(health::Kind::Nameless, None);
        }
        let silent = self.outgoing.silence() >= SILENCE;
        self.health.report(health::Kind::Bus, silent.then(no_bus));
        let paused: Vec<&Exception> = self.engine.exceptions(ExceptionKind::Paused).collect();
        self.health.note(health::Kind::Paused, paused_jails(&paused));
        let until = |it: &&Exception| Some((it.jail.as_deref()?.to_owned(), it.until.unwrap_or(INFINITY)));
        let paused = paused.iter().filter_map(until).collect();
        let (firewall_state, firewall_message) = self.firewall_state();
        let mut problems = self.health.rows();
        if !firewall_message.is_empty() {
            let what = firewall_message.clone();
            problems.insert(0, ProblemRow { kind: "firewall".to_owned(), what, mend: String::new() });
        }
        let status = Status {
            state: if problems.is_empty() { "running" } else { "degraded" },
            firewall_state,
            firewall_message,
            problems,
            own: u32::try_from(self.engine.own_count()).unwrap_or(u32::MAX),
            cursor: self.cursor.as_ref().map_or_else(String::new, ToString::to_string),
            bans: u32::try_from(self.engine.ban_count()).unwrap_or(u32::MAX),
            failures: self.engine.failure_count(),
            jails: bus::jail_rows(&self.engine, &self.counted),
            paused,
            lag_usec: self.lag(),
            counted: self.counted.clone(),
        };
        self.status.send_replace(status);
    }

    /// How far reading the journal is behind, in µs.
    fn lag(&self) -> u64 {
        match self.follower.horizon() {
            Some(horizon) => u64::try_from(horizon.elapsed().as_micros()).unwrap_or(u64::MAX),
            None => now().saturating_sub(self.read_up_to),
        }
    }

    /// The state of the firewall, and the sentence that belongs to it.
    fn firewall_state(&self) -> (&'static str, String) {
        match &self.firewall {
            firewalld::State::Starting => ("starting", String::new()),
            firewalld::State::Up => ("up", String::new()),
            firewalld::State::Down(why) => ("down", why.clone()),
        }
    }

    /// What firewalld holds, as the bus tells it.
    pub(super) fn firewall_status(&self, inspection: Inspection) -> FirewallStatus {
        let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (state, mut message) = self.firewall_state();
        if let Some(Bypass { what, mend }) = inspection.bypass.filter(|_| message.is_empty()) {
            message = format!("{what} {mend}");
        }
        let sets = inspection.pools.into_iter().map(|set| SetRow {
            name: set.name,
            sets: short(set.sets),
            wanted: short(set.wanted),
            held: short(set.held),
            missing: set.missing,
            foreign: set.foreign,
        });
        FirewallStatus { state: state.to_owned(), message, policy: inspection.policy.to_owned(), sets: sets.collect() }
    }

    pub(super) fn status_line(&self) -> String {
        let jails = count(self.engine.jails().count(), "jail", "jails");
        let bans = count(self.engine.ban_count(), "ban", "bans");
        let mut line = match &self.firewall {
            firewalld::State::Up => format!("Watching {jails}, {bans} in force."),
            firewalld::State::Starting => format!("Watching {jails}, {bans}; firewalld has not answered yet."),
            firewalld::State::Down(why) => format!("Watching {jails}, {bans} NOT in force. {why}"),
        };
        for ProblemRow { what, mend, .. } in self.health.rows() {
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
