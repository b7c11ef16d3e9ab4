//! Counts failures and concludes: who has done too much, and who has not.

use std::cmp::Reverse;

use ipnet::IpNet;

use super::{Bound, Jail, Verdict};
use crate::core::{failure::Failure, session::Outcome, time::Usec};

impl Jail {
    /// `now` is the engine's time: nothing is decided before it.
    pub(super) fn conclude(&mut self, outcomes: &mut Vec<Outcome>, now: Usec, out: &mut Vec<Verdict>) {
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Failure(failure, at) => self.count(&failure, at.max(now), out),
                Outcome::Login(address, time, name) => {
                    self.log_in(address, time);
                    if let Some(name) = name.filter(|_| self.settings.spare_logins.is_some()) {
                        self.users.add(address, name);
                    }
                }
                Outcome::Forgive(failures) => {
                    for failure in failures.iter() {
                        self.take_back(&failure);
                    }
                }
                Outcome::TakeBack(failure) => {
                    let source = self.take_back(&failure);
                    if !self.settings.ignores(failure.address) {
                        out.push(Verdict::TakenBack(source, failure));
                    }
                }
                Outcome::Nameless(count) => out.push(Verdict::Nameless(count)),
                Outcome::Crowded => out.push(Verdict::Crowded(Bound::Sessions)),
            }
        }
    }

    pub(super) fn count(&mut self, failure: &Failure, at: Usec, out: &mut Vec<Verdict>) {
        let source = self.settings.source(failure.address);
        if self.settings.ignores(failure.address) {
            out.push(Verdict::Ignored(source, failure.clone()));
            return;
        }
        out.push(Verdict::Failed(source, failure.clone(), at));
        if !self.sources.contains_key(&source) {
            if self.sources.len() >= self.settings.max_sources && self.forget_oldest() {
                out.push(Verdict::Crowded(Bound::Sources));
            }
            self.agenda.push(Reverse((failure.time.saturating_add(self.settings.kept()).saturating_add(1), source)));
        }
        if self.settings.may_hop(source) {
            self.subnets.add(source, failure, at, self.settings.rules());
        }
        let login = self.login_in(source, at);
        if let Some(failures) = self.end_of_licence(source, failure, login, at) {
            self.forget(source);
            out.push(Verdict::Guilty { source, since: at, failures, despite: login });
            return;
        }
        self.add(source, failure, at, out);
    }

    /// The program has turned somebody away for what they have done before. An address that has done
    /// nothing was turned away for what its neighbours did.
    pub(super) fn refuse(&mut self, refusal: Failure, at: Usec, out: &mut Vec<Verdict>) {
        let source = self.settings.source(refusal.address);
        if self.settings.ignores(refusal.address) {
            return;
        }
        let findtime = self.settings.findtime;
        let weighs = self.sources.get(&source).is_some_and(|tally| tally.weighs(&refusal, findtime));
        if weighs {
            self.add(source, &refusal, at, out);
        }
        out.push(Verdict::Refused(source, refusal));
    }

    fn add(&mut self, source: IpNet, failure: &Failure, at: Usec, out: &mut Vec<Verdict>) {
        let tally = self.sources.entry(source).or_default();
        let maxretry = self.settings.maxretry_of(failure.address.into());
        if let Some(failures) = tally.add(failure, maxretry, self.settings.findtime) {
            self.sources.remove(&source);
            out.push(match self.login_in(source, at) {
                Some(login) => Verdict::Spared { source, login, failures },
                None => Verdict::Guilty { source, since: at, failures, despite: None },
            });
        }
        self.look_at(source);
    }

    fn take_back(&mut self, failure: &Failure) -> IpNet {
        let source = self.settings.source(failure.address);
        self.subnets.take_back(source, failure, self.settings.rules());
        self.licences.take_back(source, failure);
        if let Some(tally) = self.sources.get_mut(&source) {
            tally.take_back(failure);
            if tally.failures().is_empty() {
                self.sources.remove(&source);
            }
            self.look_at(source);
        }
        source
    }

    /// Forgets the failures of every source inside a network, or around it.
    pub(crate) fn clear(&mut self, network: IpNet) {
        self.forget_inside(network);
        self.subnets.clear(network, self.settings.rules());
        self.licences.retain(|source| !network.contains(&source));
    }

    /// A network is banned for what its sources have done, and they start over. What they did still
    /// counts for the networks around it.
    pub(crate) fn spend(&mut self, network: IpNet) {
        self.forget_inside(network);
        self.subnets.spend(network, self.settings.rules());
    }

    fn forget_inside(&mut self, network: IpNet) {
        self.forget(self.settings.source(network.addr()));
        let inside: Vec<IpNet> = self.sources_in(network).map(|(source, _)| source).collect();
        for source in inside {
            self.forget(source);
        }
    }

    fn forget(&mut self, source: IpNet) {
        self.sources.remove(&source);
        self.look_at(source);
    }

    /// The tally of a source has changed.
    pub(super) fn look_at(&mut self, source: IpNet) {
        let (maxretry, findtime) = (self.settings.maxretry_of(source), self.settings.findtime);
        self.near.note(source, self.sources.get(&source), maxretry, findtime);
    }

    /// Makes room: the source that has been quiet longest goes.
    fn forget_oldest(&mut self) -> bool {
        while let Some(Reverse((due, source))) = self.agenda.pop() {
            let Some(really) = self.sources.get(&source).map(|tally| self.due(tally)) else { continue };
            if really > due {
                self.agenda.push(Reverse((really, source)));
            } else {
                self.sources.remove(&source);
                return true;
            }
        }
        false
    }
}
