//! Carries out what the engine wants: orders to the firewall, and reports of it in the journal and
//! on the bus. And what the firewall answers.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::time::Instant;

use super::{
    clock_watch::ClockWatch,
    health::{Kind, Problem},
    run::Daemon,
};
use crate::{
    bus::BusEvent,
    contract::{
        bus::{Details, INFINITY},
        unban,
    },
    core::{
        bans::Ban,
        engine::{Effect, UnbanReason},
        failure::Failure,
        net::text_of,
    },
    firewalld::{self, Bypass, Order, Report},
    journal::events,
    util::time::now,
};

/// What is reported after [`crate::bus::Command::RemoveFirewall`].
const REMOVED: &str = "wardend's ipsets and policy were taken out of firewalld by order; bans are kept, and a reload or restart of wardend puts them back.";

impl Daemon {
    /// Gives the firewall the whole list.
    pub(super) fn refill(&self) {
        let _ = self.orders.send(Order::Replace { scopes: self.engine.scopes(), list: self.engine.blocked() });
    }

    /// Does what the engine wants.
    pub(super) fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Banned(ban) => self.banned(&ban),
                Effect::Extended(ban) => self.extended(&ban),
                Effect::Unbanned(ban, why) => self.unbanned(&ban, why),
                // What the backlog brings goes to the firewall at its end, all at once: most of it
                // has come and gone.
                Effect::Block { scope, source, since } => {
                    self.waiting.insert((Arc::clone(&scope), source), since);
                    if self.caught_up {
                        let _ = self.orders.send(Order::Block(scope, source));
                    }
                }
                Effect::Cut { scope, source } => {
                    let up = self.caught_up && matches!(self.firewall, firewalld::State::Up);
                    let target = (scope, source);
                    let in_force = up && !self.waiting.contains_key(&target);
                    self.cutting.cut(target, in_force);
                }
                Effect::Release { scope, source } => {
                    let target = (Arc::clone(&scope), source);
                    self.cutting.forget(&target);
                    self.waiting.remove(&target);
                    if self.caught_up {
                        let _ = self.orders.send(Order::Release(scope, source));
                    }
                }
                Effect::Failed { jail, source, failure, ignored } => {
                    self.failed(&jail, source, &failure, ignored);
                }
                Effect::Spared { jail, source, login, failures } => {
                    self.counted.jails.entry(jail.clone()).or_default().spared += 1;
                    if self.spared.may_say(source) {
                        let (source, count) = (text_of(source), u32::try_from(failures.kinds().0).unwrap_or(u32::MAX));
                        events::spared(&jail, &source, login, &failures);
                        let (jail, generation) = (jail.to_string(), self.counted.generation);
                        let (login_usec, failures) = (login, count);
                        self.publisher.publish(BusEvent::Spared { jail, source, login_usec, failures, generation });
                    }
                }
                Effect::Leak { jail, scope, ban, failure } if self.caught_up => {
                    self.counted.leaks += 1;
                    if self.leaks.may_say(ban) {
                        let _ = self.orders.send(Order::Suspect(scope, ban));
                        let _ = self.orders.send(Order::Audit);
                        let (source, address) = (text_of(ban), failure.address.to_string());
                        events::leak(&jail, &source, &failure);
                        let (jail, rule) = (jail.to_string(), failure.rule.to_string());
                        let generation = self.counted.generation;
                        self.publisher.publish(BusEvent::Leak { jail, source, address, rule, generation });
                    }
                }
                Effect::Crowded(jail, bound) => {
                    if self.crowds.may_say((jail.clone(), bound)) {
                        events::crowded(&jail, bound);
                    }
                }
                Effect::ClockSet(by) => {
                    // The engine knows now; the next look shall not tell it again.
                    self.clock_watch = ClockWatch::look();
                    self.change();
                    events::clock_set(by);
                }
                Effect::Withheld(ban) => {
                    if self.withheld.may_say((ban.jail.clone(), ban.source)) {
                        events::withheld(&ban);
                    }
                }
                Effect::Excepted(exception) => {
                    self.change();
                    events::excepted(&exception);
                }
                Effect::ExceptionEnded(exception, why) => {
                    self.change();
                    events::exception_ended(&exception, why);
                }
                Effect::Nameless { jail, count } => self.nameless(&jail, count),
                Effect::TakenBack { .. } | Effect::Leak { .. } => {}
            }
        }
        self.effects = effects;
    }

    fn failed(&mut self, jail: &Arc<str>, source: IpNet, failure: &Failure, ignored: bool) {
        let what = if ignored { "is ignored" } else { "counts" };
        tracing::trace!("{} of {} {what} in jail {jail}.", failure.rule, text_of(source));
        if ignored {
            return;
        }
        self.counted.jails.entry(jail.clone()).or_default().failures += 1;
        // Before the name is taken nobody listens.
        if self.ready
            && let Some(omitted) = self.failures.may_say(std::time::Instant::now())
        {
            self.publisher.publish(BusEvent::Failure {
                jail: jail.to_string(),
                source: text_of(source),
                address: failure.address.to_string(),
                rule: failure.rule.to_string(),
                time_usec: failure.time,
                omitted,
                generation: self.counted.generation,
            });
        }
    }

    /// Failures that count for nobody.
    fn nameless(&mut self, jail: &str, count: usize) {
        tracing::trace!("{count} failures of a session without an address count for nobody in jail {jail}.");
        self.nameless = Some(Instant::now());
        self.health.report(
            Kind::Nameless,
            Some(Problem {
                what: format!(
                    "Failed logins in jail {jail} can't be attributed, because no record of their sessions contains an address; with UseDNS yes, they contain a host name."
                ),
                mend: "Set UseDNS no or LogLevel VERBOSE in sshd_config.".to_owned(),
            }),
        );
    }

    fn banned(&mut self, ban: &Ban) {
        self.change();
        if !self.caught_up && ban.until.is_some_and(|until| until <= now()) {
            self.bygone.insert((ban.jail.clone(), ban.source));
            return;
        }
        events::ban(ban);
        self.counted.jails.entry(ban.jail.clone()).or_default().bans += 1;
        let until = ban.until.unwrap_or(INFINITY);
        let (jail, source) = (ban.jail.to_string(), text_of(ban.source));
        let details = Details::of(ban, self.next_generation());
        self.publisher.publish(BusEvent::Banned { jail, source, until_usec: until, count: ban.count, details });
    }

    /// A ban lasts longer.
    fn extended(&mut self, ban: &Ban) {
        self.change();
        events::extended(ban);
        let (jail, source, until_usec) = (ban.jail.to_string(), text_of(ban.source), ban.until.unwrap_or(INFINITY));
        let details = Details::of(ban, self.next_generation());
        self.publisher.publish(BusEvent::Extended { jail, source, until_usec, count: ban.count, details });
    }

    /// Something that the bus lists has changed.
    fn next_generation(&mut self) -> u64 {
        self.counted.generation += 1;
        self.counted.generation
    }

    fn unbanned(&mut self, ban: &Ban, why: UnbanReason) {
        self.change();
        if self.bygone.remove(&(ban.jail.clone(), ban.source)) {
            return;
        }
        let (word, because) = unban::words(why);
        events::unban(ban, because);
        let (jail, source) = (ban.jail.to_string(), text_of(ban.source));
        let details = Details::of(ban, self.next_generation());
        self.publisher.publish(BusEvent::Unbanned { jail, source, why: word, details });
    }

    pub(super) fn hear(&mut self, report: Report) {
        match report {
            Report::Blocked { scope, source, at } => {
                let target = (scope, source);
                self.cutting.in_force(&target);
                if let Some(decided) = self.waiting.remove(&target) {
                    let latency = at.saturating_sub(decided);
                    self.counted.latency.add(latency);
                    events::in_force(&text_of(source), latency);
                }
            }
            Report::Bypassed(bypass) => {
                let problem = bypass.map(|Bypass { what, mend }| Problem { what, mend });
                self.health.report(Kind::Bypass, problem);
                self.publish();
            }
            Report::Told(what) => events::firewall_repaired(&what),
            Report::State(state) => {
                match &state {
                    firewalld::State::Down(why) if self.outage != *why => {
                        events::firewall_lost(why);
                        self.outage.clone_from(why);
                    }
                    firewalld::State::Up => {
                        events::firewall_back(self.engine.banned().len());
                        self.outage.clear();
                    }
                    // A firewalld that goes again on its way up is the same outage.
                    firewalld::State::Down(_) | firewalld::State::Starting => {}
                }
                self.firewall = state;
                self.publish();
            }
            Report::Removed(outcome) => {
                if let Some(reply) = self.removal.take() {
                    if outcome.is_ok() {
                        self.firewall = firewalld::State::Down(REMOVED.to_owned());
                        events::firewall_lost(REMOVED);
                        self.publish();
                    }
                    let _ = reply.send(outcome);
                }
            }
            Report::Inspected(inspection) => {
                if let Some(reply) = self.inspections.pop_front() {
                    let _ = reply.send(self.firewall_status(inspection));
                }
            }
            Report::Synced(outcome) => {
                if let Some(reply) = self.syncs.pop_front() {
                    let _ = reply.send(outcome);
                }
            }
            Report::Released { .. } => {}
        }
    }
}
