//! What outlives a stop and a change of the settings: the state that goes into a snapshot and comes
//! back, jails that take over what was counted under their name, and what is known from outside
//! (what names mean, who is logged in).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Effect, Engine, UnbanReason, exceptions::except, leaders::Leaders};
use crate::core::{
    bans::{BanList, SavedBans},
    clock::Clock,
    cursor::Moment,
    exceptions::{Exception, ExceptionEnd, Exceptions},
    history::History,
    jail::{Jail, JailSettings, Own, SavedJail},
    time::Usec,
    tops::Tops,
};

/// The engine's state in a snapshot, by jail.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedEngine {
    failures: u64,
    clock: Clock,
    names: BTreeMap<String, Vec<IpAddr>>,
    #[serde(default)]
    own: BTreeSet<IpAddr>,
    jails: Vec<(Box<str>, SavedJail)>,
    bans: SavedBans,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<Exception>,
    #[serde(default)]
    history: History,
    #[serde(default)]
    tops: Tops,
    #[serde(default)]
    leaders: Leaders,
}

impl Engine {
    /// The whole state.
    pub(crate) fn save(&self) -> SavedEngine {
        SavedEngine {
            failures: self.failures,
            clock: self.clock.clone(),
            names: self.names.clone(),
            own: self.own.clone(),
            jails: self.jails.iter().map(|jail| (jail.settings.name.as_str().into(), jail.save())).collect(),
            bans: self.bans.save(),
            exceptions: self.exceptions.save(),
            history: self.history.clone(),
            tops: self.tops.clone(),
            leaders: self.leaders.clone(),
        }
    }

    /// Takes over a saved state. What belongs to a jail that is
    /// gone ends, and so does the ban of who is never banned any more. The firewall has to be given
    /// the whole list ([`Self::blocked`]) afterwards.
    pub(crate) fn load(&mut self, saved: SavedEngine, now: Usec, out: &mut Vec<Effect>) {
        self.failures = saved.failures;
        self.clock = saved.clock;
        self.names = saved.names;
        self.own = saved.own;
        self.exceptions = Exceptions::load(saved.exceptions);
        self.history = saved.history;
        self.tops = saved.tops;
        let own = Arc::new(Own::new(&self.own));
        for jail in self.jails.iter_mut() {
            jail.settings.resolve(&self.names);
            jail.settings.own = Arc::clone(&own);
            except(&mut jail.settings, &self.exceptions);
        }
        self.bans = BanList::load(saved.bans);
        self.leaders = saved.leaders;
        for (name, state) in saved.jails {
            if let Ok(index) = self.find(&name) {
                self.jails.at(index).load(state);
            }
        }
        self.jails.share_logins();
        self.end_what_is_gone(now, out);
    }

    /// Goes on under other settings. Counters and bans stay with the name of their jail; what
    /// belongs to a jail that is gone ends, and so does the ban of who is never banned any more. The
    /// firewall has to be given the whole list ([`Self::blocked`]) afterwards, because what a jail's
    /// bans close may be another.
    pub(crate) fn reload(&mut self, jails: Vec<JailSettings>, now: Usec, out: &mut Vec<Effect>) {
        let before = std::mem::take(&mut self.jails).into_vec();
        let present = before.first().map(|jail| jail.present().clone()).unwrap_or_default();
        let own = Arc::new(Own::new(&self.own));
        let mut before: BTreeMap<Arc<str>, Jail> =
            before.into_iter().map(|jail| (Arc::clone(&jail.name), jail)).collect();
        let jail = |mut settings: JailSettings| {
            settings.resolve(&self.names);
            settings.own = Arc::clone(&own);
            except(&mut settings, &self.exceptions);
            match before.remove(settings.name.as_str()) {
                Some(mut jail) => {
                    jail.adapt(settings);
                    jail
                }
                None => {
                    let mut jail = Jail::new(settings);
                    jail.logged_in(&present, now);
                    jail
                }
            }
        };
        self.jails = jails.into_iter().map(jail).collect::<Vec<_>>().into();
        self.jails.share_logins();
        self.end_what_is_gone(now, out);
    }

    /// These names in `ignoreip` mean these addresses now.
    pub(crate) fn resolve(&mut self, answers: BTreeMap<String, Vec<IpAddr>>, now: Usec, out: &mut Vec<Effect>) {
        let mut names = self.names.clone();
        names.extend(answers);
        let asked: BTreeSet<&str> = self.jails().flat_map(|jail| &*jail.names).map(|name| name.name.as_str()).collect();
        names.retain(|name, _| asked.contains(name.as_str()));
        if self.names != names {
            self.names = names;
            self.relist(&[], now, out, |engine, settings| settings.resolve(&engine.names));
        }
    }

    /// These are the addresses of the machine itself now.
    pub(crate) fn own(&mut self, addresses: BTreeSet<IpAddr>, now: Usec, out: &mut Vec<Effect>) {
        if self.own != addresses {
            let concerned: Vec<IpNet> = self.own.symmetric_difference(&addresses).copied().map(IpNet::from).collect();
            self.own = addresses;
            let own = Arc::new(Own::new(&self.own));
            self.relist(&concerned, now, out, |_, settings| settings.own = Arc::clone(&own));
        }
    }

    /// Has the jails decide by other lists of who is never banned or suspected, which `how` puts into
    /// their settings. Counters outside of what the lists and `concerned` name are not touched: there may
    /// be hundreds of thousands.
    pub(super) fn relist(
        &mut self,
        concerned: &[IpNet],
        now: Usec,
        out: &mut Vec<Effect>,
        how: impl Fn(&Self, &mut JailSettings),
    ) {
        let lists = |settings: &JailSettings| {
            [settings.excepted.clone(), settings.resolved.clone(), settings.suspected.clone()]
        };
        let mut changed = !concerned.is_empty();
        let mut jails = std::mem::take(&mut self.jails);
        for jail in jails.iter_mut() {
            let mut settings = jail.settings.clone();
            how(self, &mut settings);
            let (before, after) = (lists(&jail.settings), lists(&settings));
            if before == after && concerned.is_empty() {
                continue;
            }
            changed = true;
            let differing = before.iter().zip(&after).flat_map(|(before, after)| before.differing(after));
            let concerned: Vec<IpNet> = concerned.iter().copied().chain(differing).collect();
            jail.relist(settings, &concerned);
        }
        self.jails = jails;
        if changed {
            self.end_what_is_gone(now, out);
        }
    }

    /// From these addresses somebody is logged in right now: who was, and is not any more, has
    /// logged out at the time `now`.
    pub(crate) fn logged_in(&mut self, addresses: &BTreeSet<IpAddr>, now: Usec) {
        self.jails.iter_mut().for_each(|jail| jail.logged_in(addresses, now));
    }

    /// From where a process has let somebody in, not before `since`.
    pub(crate) fn let_in_by(&self, process: u32, since: Usec) -> Option<IpAddr> {
        self.leaders.address(process, since)
    }

    /// A process has let somebody in, as a record says that was never read.
    pub(crate) fn let_in(&mut self, moment: Option<Moment>, process: u32, address: IpAddr, time: Usec) {
        self.leaders.enter(moment, process, address, time);
    }

    /// By these processes somebody is logged in right now.
    pub(crate) fn keep_leaders(&mut self, processes: BTreeSet<u32>) {
        self.leaders.keep(processes);
    }

    pub(super) fn end_what_is_gone(&mut self, now: Usec, out: &mut Vec<Effect>) {
        let present = |name: &str| self.jails.iter().any(|jail| *jail.name == *name);
        for exception in self.exceptions.take_gone(present) {
            out.push(Effect::ExceptionEnded(exception, ExceptionEnd::JailGone));
        }
        let jails: BTreeMap<&str, &JailSettings> =
            self.jails().map(|settings| (settings.name.as_str(), settings)).collect();
        let over: Vec<(IpNet, Arc<str>, UnbanReason)> = self
            .bans
            .iter()
            .filter_map(|ban| {
                let why = match jails.get(&*ban.jail) {
                    None => UnbanReason::JailGone,
                    Some(settings) if settings.own.inside(ban.source).is_some() => UnbanReason::Own,
                    Some(settings) if settings.ignored_within(ban.source).is_some() => UnbanReason::Ignored,
                    Some(_) => return None,
                };
                Some((ban.source, ban.jail.clone(), why))
            })
            .collect();
        for (source, jail, why) in over {
            self.end_ban(source, &jail, now, why, out);
        }
    }
}
