//! What changes under a jail at work: its settings, and the clock.

use std::{cmp::Reverse, collections::BTreeSet};

use ipnet::IpNet;

use super::{Jail, JailSettings, near::Near, subnet::SLACK, window::Tally};

impl Jail {
    /// Moves every time along with a clock that was set.
    pub(crate) fn shift(&mut self, by: i64) {
        self.sessions.shift(by);
        self.processes.shift(by);
        self.sources.values_mut().for_each(|tally| tally.shift(by));
        self.subnets.shift(by);
        self.licences.shift(by);
        self.logins.values_mut().for_each(|login| *login = login.saturating_add_signed(by));
        self.plan();
    }

    /// Goes on under other settings, with what was counted so far.
    pub(crate) fn adapt(&mut self, settings: JailSettings) {
        self.counted = counted(&settings);
        self.sessions.adapt(&settings.filter);
        self.settings = settings;
        // Sources may be wider or narrower than before, or never banned from now on.
        for (_, tally) in std::mem::take(&mut self.sources) {
            for failure in tally.failures().views() {
                if !self.settings.ignores(failure.address) {
                    let source = self.settings.source(failure.address);
                    self.sources.entry(source).or_default().join(failure);
                }
            }
        }
        let settings = &self.settings;
        self.subnets.adapt(settings.rules(), |address| {
            let source = settings.source(address);
            (!settings.ignores(address) && settings.may_hop(source)).then_some(source)
        });
        // What is counted as another source from now on starts over.
        self.licences
            .retain(|source| settings.source(source.addr()) == source && settings.ignored(source.addr()).is_none());
        self.plan();
    }

    /// Goes on under settings that differ in who is never banned and who is suspected, and in these
    /// networks alone: what was counted elsewhere stays as it is.
    pub(crate) fn relist(&mut self, settings: JailSettings, concerned: &[IpNet]) {
        self.settings = settings;
        let regions = self.settings.regions(concerned);
        let inside = |region: &IpNet| self.sources_in(*region).map(|(source, _)| source).collect::<Vec<_>>();
        let mut touched: BTreeSet<IpNet> = regions.iter().flat_map(inside).collect();
        let tallies: Vec<Tally> = touched.iter().filter_map(|source| self.sources.remove(source)).collect();
        for failure in tallies.iter().flat_map(|tally| tally.failures().views()) {
            if !self.settings.ignores(failure.address) {
                let source = self.settings.source(failure.address);
                self.sources.entry(source).or_default().join(failure);
                touched.insert(source);
            }
        }
        for source in touched {
            let due = self.sources.get(&source).map(|tally| Reverse((self.due(tally), source)));
            self.agenda.extend(due);
            self.look_at(source);
        }
        // Orders that come and go again leave theirs behind.
        if self.agenda.len() > 2 * self.sources.len() + SLACK {
            self.plan();
        }
        let settings = &self.settings;
        self.subnets.relist(&regions, settings.rules(), |address| {
            let source = settings.source(address);
            (!settings.ignores(address) && settings.may_hop(source)).then_some(source)
        });
        self.licences
            .retain(|source| settings.source(source.addr()) == source && settings.ignored(source.addr()).is_none());
    }

    /// Makes the agenda again, and sees who is near.
    fn plan(&mut self) {
        self.near = Near::default();
        for (source, tally) in &self.sources {
            let (maxretry, findtime) = (self.settings.maxretry_of(*source), self.settings.findtime);
            self.near.note(*source, Some(tally), maxretry, findtime);
        }
        self.agenda = self.sources.iter().map(|(source, tally)| Reverse((self.due(tally), *source))).collect();
    }
}

/// Which rules of the filter count.
pub(super) fn counted(settings: &JailSettings) -> Vec<bool> {
    let counts = |class: &String| settings.classes.contains(class);
    settings.filter.rules().map(|rule| rule.class.as_ref().is_some_and(counts)).collect()
}
