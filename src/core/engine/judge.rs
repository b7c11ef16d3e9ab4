//! What the verdicts of a jail come to: bans of sources and of wider networks, and leaks.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;

use super::{Effect, Engine, UnbanReason, enforce::ban_end};
use crate::core::{
    bans::{Ban, Origin},
    failure::{Failure, Failures},
    history::Counted,
    jail::{Jail, Verdict},
    scope::Scope,
    time::{USEC_PER_SEC, Usec},
    tops::Deed,
};

/// How long after the start of a ban connections of its source are still to be expected: firewalld
/// takes a moment, and an answer may have been on its way.
const LEAK_GRACE: Usec = 2 * USEC_PER_SEC;
/// The most failures that are kept with the ban of a network.
const MOST_EVIDENCE: usize = 100;

impl Engine {
    pub(super) fn judge(&mut self, index: usize, verdicts: &mut Vec<Verdict>, out: &mut Vec<Effect>) {
        let mut failing: Vec<(IpNet, Failure, Usec)> = Vec::new();
        for verdict in verdicts.drain(..) {
            let Jail { settings, name, .. } = &self.jails[index];
            let jail = Arc::clone(name);
            match verdict {
                Verdict::Failed(source, failure, at) => {
                    // Bans were counted as what they are, and so were the failures before them.
                    let is_failure = !settings.filter.counts_bans();
                    if is_failure {
                        self.failures = self.failures.saturating_add(1);
                        let now = self.clock.now();
                        self.history.add(Counted::Failure, failure.time, now);
                        self.tops.add(source, &jail, Deed::Failure, failure.time, now);
                    }
                    if settings.subnet.is_some() || settings.may_hop(source) {
                        failing.push((source, failure.clone(), at));
                    }
                    out.push(Effect::Failed { jail, source, failure: failure.clone(), ignored: false });
                    if is_failure {
                        self.look_for_a_leak(index, source, failure, out);
                    }
                }
                Verdict::Refused(source, refusal) => self.look_for_a_leak(index, source, refusal, out),
                Verdict::Nameless(count) => out.push(Effect::Nameless { jail, count }),
                Verdict::Ignored(source, failure) => {
                    out.push(Effect::Failed { jail, source, failure, ignored: true });
                }
                Verdict::TakenBack(source, failure) => {
                    self.failures = self.failures.saturating_sub(1);
                    self.history.take_back(Counted::Failure, failure.time);
                    self.tops.take_back(source, &jail, failure.time);
                    out.push(Effect::TakenBack { jail, source, failure });
                }
                // What a banned source still gets through, on a connection that was open
                // before, makes no second ban.
                Verdict::Guilty { source, .. } | Verdict::Spared { source, .. }
                    if self.bans.covering(source, &jail).is_some() => {}
                Verdict::Guilty { source, since, failures, despite } => {
                    let count = self.bans.next_count(source, &jail, since, settings.forget);
                    let until = ban_end(settings, source, since, count);
                    let (reason, origin, ordered) = (None, Origin::Jail, None);
                    let suspected = despite.is_none()
                        && failures.len() < settings.maxretry as usize
                        && failures.views().last().is_some_and(|last| settings.suspects(last.address));
                    self.decide_ban(
                        Ban {
                            jail,
                            source,
                            since,
                            until,
                            count,
                            failures,
                            reason,
                            origin,
                            ordered,
                            despite,
                            suspected,
                        },
                        out,
                    );
                }
                Verdict::Spared { source, login, failures } => {
                    let now = self.clock.now();
                    let time = failures.views().last().map_or(now, |last| last.time);
                    self.history.add(Counted::Spared, time, now);
                    out.push(Effect::Spared { jail, source, login, failures });
                }
                Verdict::LetIn { .. } => {}
                Verdict::Crowded(bound) => out.push(Effect::Crowded(jail, bound)),
            }
        }
        for (source, failure, at) in failing {
            self.widen(index, source, at, out);
            self.stop_hopping(index, source, failure, at, out);
        }
    }

    /// What a banned source has done long enough after its ban began has got through.
    fn look_for_a_leak(&self, index: usize, source: IpNet, failure: Failure, out: &mut Vec<Effect>) {
        let settings = &self.jails[index].settings;
        // A ban from other ports promises nothing here.
        let closes = |scope: &Scope| scope.ports().is_empty() || *scope == *settings.scope;
        let leak = self.bans.all_covering(source).find_map(|ban| {
            let scope = self.scope(&ban.jail).filter(|scope| closes(scope))?;
            Some((ban.jail.clone(), Arc::clone(scope), ban.source, ban.enforced_since()))
        });
        if let Some((jail, scope, ban, since)) = leak
            && since.saturating_add(LEAK_GRACE) < failure.time
        {
            out.push(Effect::Leak { jail, scope: Arc::clone(&scope), ban, failure });
            // Perhaps on a connection that had not said a word before the ban.
            if settings.cut {
                out.push(Effect::Cut { scope, source: ban });
            }
        }
    }

    /// Bans the network around a source, if enough of its other sources have failed as well.
    fn widen(&mut self, index: usize, source: IpNet, at: Usec, out: &mut Vec<Effect>) {
        let jail = &self.jails[index];
        let settings = &jail.settings;
        let name: Arc<str> = settings.name.as_str().into();
        let Some((network, enough)) = settings.subnet_of(source) else { return };
        if self.bans.covering(network, &name).is_some()
            || settings.ignored_within(network).is_some()
            || jail.login_in(network, at).is_some()
        {
            return;
        }
        let failing = jail.sources_in(network).filter_map(|(source, tally)| Some((source, tally.failures().last()?)));
        let failing = failing.filter(|(_, failure)| failure.time.saturating_add(settings.findtime) >= at);
        let banned = self.bans.inside(network, &name).filter_map(|ban| Some((ban.source, ban.failures.last()?)));
        let members: BTreeMap<IpNet, Failure> = failing.chain(banned).collect();
        if members.len() < enough {
            return;
        }
        let mut evidence: Vec<Failure> = members.into_values().collect();
        evidence.sort_by_key(|failure| failure.time);
        let failures = evidence.iter().skip(evidence.len().saturating_sub(MOST_EVIDENCE)).collect();
        self.ban_network(index, network, at, failures, None, out);
    }

    /// Bans the widest network around a source whose sources have failed too often together.
    fn stop_hopping(&mut self, index: usize, source: IpNet, last: Failure, at: Usec, out: &mut Vec<Effect>) {
        let jail = &self.jails[index];
        let (settings, name) = (&jail.settings, &jail.name);
        let due: Vec<IpNet> =
            jail.hopping(source, at).filter(|it| it.weight >= it.limit).map(|it| it.network).collect();
        let may_be = |network: &IpNet| {
            self.bans.covering(*network, name).is_none() && settings.ignored_within(*network).is_none()
        };
        let Some(network) = due.into_iter().rev().find(may_be) else { return };
        let counts = |time: Usec| time.saturating_add(settings.findtime) >= at;
        let failing = jail.sources_in(network).flat_map(|(_, tally)| tally.failures().iter());
        let banned = self.bans.inside(network, name).flat_map(|ban| ban.failures.iter());
        let mut evidence: Vec<Failure> = failing.chain(banned).filter(|failure| counts(failure.time)).collect();
        // The failures of a source that is inside another ban already are no longer kept.
        if !evidence.contains(&last) {
            evidence.push(last);
        }
        evidence.sort_by_key(|failure| failure.time);
        let failures = evidence.iter().skip(evidence.len().saturating_sub(MOST_EVIDENCE)).collect();
        let login = jail.login_in(network, at);
        self.ban_network(index, network, at, failures, login, out);
    }

    /// Bans a network instead of the sources in it, if their bans would end no later.
    fn ban_network(
        &mut self,
        index: usize,
        network: IpNet,
        at: Usec,
        failures: Failures,
        despite: Option<Usec>,
        out: &mut Vec<Effect>,
    ) {
        let settings = &self.jails[index].settings;
        let name = Arc::clone(&self.jails[index].name);
        let count = self.bans.next_count(network, &name, at, settings.forget);
        let until = ban_end(settings, network, at, count);
        let paused = self.pause_of(&name).is_some();
        let narrower: Vec<IpNet> = self
            .bans
            .inside(network, &name)
            .filter(|ban| until.is_none_or(|until| ban.until.is_some_and(|ends| ends <= until)))
            .map(|ban| ban.source)
            .collect();
        self.jails.at(index).spend(network);
        let ban = Ban {
            jail: name.clone(),
            source: network,
            since: at,
            until,
            count,
            failures,
            reason: None,
            origin: Origin::Jail,
            ordered: None,
            despite,
            suspected: false,
        };
        self.decide_ban(ban, out);
        for source in narrower.into_iter().filter(|_| !paused) {
            self.end_ban(source, &name, at, UnbanReason::Widened, out);
        }
    }
}
