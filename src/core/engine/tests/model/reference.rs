//! The reference: it keeps everything, and recomputes what follows from it.

use std::collections::BTreeMap;

use super::*;
use crate::core::engine::enforce::ban_end;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) address: IpAddr,
    pub(super) time: Usec,
    pub(super) user: &'static str,
    pub(super) session: usize,
}

/// A failure that counts towards wider networks, except for the narrowest widths, as many as the number says.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) failed: Failed,
    pub(super) spent: usize,
}

/// A ban as the reference has it, in true time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) source: IpNet,
    pub(super) since: Usec,
    pub(super) until: Option<Usec>,
    pub(super) evidence: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) number: usize,
    pub(super) last: Usec,
    pub(super) address: IpAddr,
    pub(super) failed: bool,
    pub(super) succeeded: bool,
    pub(super) clue: Option<Usec>,
}

/// What happened, in true time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Banned { source: IpNet, since: Usec, until: Option<Usec>, count: u32 },
    Freed { source: IpNet },
}

/// The reference.
pub(super) struct Reference {
    pub(super) settings: JailSettings,
    /// Everybody comes over IPv6.
    pub(super) six: bool,
    pub(super) hops: Vec<Hop>,
    /// What spared sources have done.
    pub(super) spared: Vec<(IpNet, Failed)>,
    pub(super) names: Vec<(IpAddr, &'static str)>,
    pub(super) now: Usec,
    /// How far the engine's clock is ahead of true time; only the jitter hangs on it.
    pub(super) ahead: i64,
    pub(super) failures: Vec<Failed>,
    pub(super) logins: Vec<(IpAddr, Usec)>,
    pub(super) sessions: BTreeMap<u32, Open>,
    pub(super) numbers: usize,
    pub(super) bans: Vec<Held>,
    pub(super) history: BTreeMap<IpNet, (u32, Usec)>,
    pub(super) events: Vec<Event>,
}

impl Reference {
    pub(super) fn new(settings: JailSettings, six: bool) -> Self {
        Self {
            settings,
            six,
            hops: Vec::new(),
            spared: Vec::new(),
            names: Vec::new(),
            now: 0,
            ahead: 0,
            failures: Vec::new(),
            logins: Vec::new(),
            sessions: BTreeMap::new(),
            numbers: 0,
            bans: Vec::new(),
            history: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// The length of a source.
    pub(super) fn length(&self) -> u8 {
        if self.six { self.settings.prefixes.ipv6 } else { self.settings.prefixes.ipv4 }
    }

    pub(super) fn source(&self, address: IpAddr) -> IpNet {
        let source = IpNet::new(address, self.length()).unwrap().trunc();
        let shared = self.settings.ignoreip.iter().any(|ignored| source.contains(&ignored.network));
        if shared { address.into() } else { source }
    }

    pub(super) fn ignores(&self, address: IpAddr) -> bool {
        self.settings.ignoreip.iter().any(|ignored| ignored.network.contains(&address))
    }

    pub(super) fn free(&mut self, source: IpNet, at: Usec) {
        self.bans.retain(|ban| ban.source != source);
        if let Some(history) = self.history.get_mut(&source) {
            history.1 = history.1.min(at);
        }
        self.events.push(Event::Freed { source });
    }

    /// Time comes to `to`: what is due on the way is done in the order of time.
    pub(super) fn pass(&mut self, to: Usec) {
        loop {
            let ends = self.bans.iter().filter_map(|ban| Some((ban.until?, 0, Some(ban.source), String::new())));
            let silences = self.sessions.iter().map(|(pid, open)| (open.last + SILENCE, 1, None, pid.to_string()));
            let Some((due, _, source, pid)) = ends.chain(silences).filter(|(due, ..)| *due <= to).min() else { break };
            match source {
                Some(source) => self.free(source, due),
                None => self.end(pid.parse().unwrap(), due),
            }
        }
        self.now = self.now.max(to);
    }

    pub(super) fn end(&mut self, pid: u32, at: Usec) {
        let Some(open) = self.sessions.remove(&pid) else { return };
        if let Some(time) = open.clue
            && !open.failed
            && !open.succeeded
        {
            self.fail(&Failed { address: open.address, time, user: "x", session: open.number }, at);
        }
    }

    pub(super) fn line(&mut self, time: Usec, pid: u32, address: IpAddr, what: What) {
        self.pass(self.now.max(time));
        self.numbers += 1;
        let fresh = Open { number: self.numbers, last: time, address, failed: false, succeeded: false, clue: None };
        let open = self.sessions.entry(pid).or_insert(fresh);
        let (number, ours) = (open.number, open.address == address);
        if ours {
            open.last = open.last.max(time);
        }
        match what {
            What::Failed if ours => {
                open.failed = true;
                self.fail(&Failed { address, time, user: user(pid), session: number }, self.now);
            }
            What::Invalid | What::ClosedInvalid if ours => drop(open.clue.get_or_insert(time)),
            What::Accepted if ours => {
                (open.succeeded, open.failed) = (true, false);
                self.failures.retain(|failed| failed.session != number);
                self.hops.retain(|hop| hop.failed.session != number);
                self.spared.retain(|(_, failed)| failed.session != number);
                if self.settings.spare_logins.is_some() {
                    self.logins.push((address, time));
                    self.names.push((address, user(pid)));
                }
            }
            _ => {}
        }
        if what == What::ClosedInvalid {
            self.end(pid, self.now);
        }
    }

    pub(super) fn logged_in(&self, network: IpNet, at: Usec) -> bool {
        let Some(span) = self.settings.spare_logins else { return false };
        self.logins.iter().any(|(address, time)| network.contains(address) && time + span >= at)
    }

    pub(super) fn covered(&self, source: IpNet) -> bool {
        self.bans.iter().any(|ban| ban.source.contains(&source))
    }

    pub(super) fn fail(&mut self, failed: &Failed, at: Usec) {
        if self.ignores(failed.address) {
            return;
        }
        let source = self.source(failed.address);
        self.failures.push(failed.clone());
        if self.counts_as_hop(source) {
            self.hops.push(Hop { failed: failed.clone(), spent: 0 });
        }
        if self.has_done_too_much(source, failed, at) {
            let sources: Vec<IpNet> = self.failures.iter().map(|it| self.source(it.address)).collect();
            let mut of = sources.into_iter();
            self.failures.retain(|_| of.next() != Some(source));
            if !self.covered(source) {
                self.ban(source, at);
            }
            self.widen(source, at);
            self.stop_hopping(source, at);
            return;
        }
        let mut ours: Vec<Usec> =
            self.failures.iter().filter(|it| self.source(it.address) == source).map(|it| it.time).collect();
        ours.sort_unstable();
        let most = self.settings.maxretry as usize;
        let guilty = ours
            .windows(most)
            .any(|window| window.contains(&failed.time) && window[most - 1] - window[0] <= self.settings.findtime);
        if guilty {
            let sources: Vec<IpNet> = self.failures.iter().map(|it| self.source(it.address)).collect();
            let mut of = sources.into_iter();
            self.failures.retain(|_| of.next() != Some(source));
            if !self.covered(source) && !self.logged_in(source, at) {
                self.ban(source, at);
            }
        }
        self.widen(source, at);
        self.stop_hopping(source, at);
    }

    /// Whether a spared source is spared no longer.
    pub(super) fn has_done_too_much(&mut self, source: IpNet, failed: &Failed, at: Usec) -> bool {
        let Some(limit) = self.settings.spare_maxretry.filter(|_| self.logged_in(source, at)) else {
            self.spared.retain(|(of, _)| *of != source);
            return false;
        };
        self.spared.push((source, failed.clone()));
        let ours = self.spared.iter().filter(|(of, it)| *of == source && it.time + 3600 * SECOND >= at);
        let is_own = |name: &str| self.names.iter().any(|(address, known)| source.contains(address) && *known == name);
        let own: Vec<bool> = ours.map(|(_, it)| is_own(it.user)).collect();
        let limit = limit.max(self.settings.maxretry) as usize;
        let ended = own.iter().filter(|own| !**own).count() >= limit || own.len() >= 5 * limit;
        if ended {
            self.spared.retain(|(of, _)| *of != source);
        }
        ended
    }

    pub(super) fn counts_as_hop(&self, source: IpNet) -> bool {
        self.six && !self.settings.hopping.is_empty() && source.prefix_len() == self.length()
    }

    pub(super) fn stop_hopping(&mut self, source: IpNet, at: Usec) {
        if !self.counts_as_hop(source) {
            return;
        }
        let widths = self.settings.hopping.clone();
        for (level, width) in widths.iter().enumerate().rev() {
            let network = IpNet::new(source.addr(), width.prefix).unwrap().trunc();
            let mut failed: BTreeMap<IpNet, u32> = BTreeMap::new();
            for hop in &self.hops {
                let of = self.source(hop.failed.address);
                if hop.spent <= level && network.contains(&of) && hop.failed.time + self.settings.findtime >= at {
                    *failed.entry(of).or_default() += 1;
                }
            }
            // In quarters of a failure.
            let maxretry = self.settings.maxretry;
            let weight: u32 = failed.values().map(|count| if *count == 1 { 1 } else { 4 * maxretry.min(*count) }).sum();
            let times = if self.logged_in(network, at) { 4 } else { 1 };
            let ignored = self.settings.ignoreip.iter().any(|ignored| network.contains(&ignored.network));
            if weight < 4 * times * width.times * maxretry || ignored || self.covered(network) {
                continue;
            }
            let inside: Vec<bool> = self.hops.iter().map(|hop| network.contains(&hop.failed.address)).collect();
            for (hop, _) in self.hops.iter_mut().zip(inside).filter(|(_, inside)| *inside) {
                hop.spent = hop.spent.max(level + 1);
            }
            self.ban_network(network, at);
            return;
        }
    }

    pub(super) fn widen(&mut self, source: IpNet, at: Usec) {
        let Some(subnet) = self.settings.subnet else { return };
        let length = if self.six { subnet.prefixes.ipv6 } else { subnet.prefixes.ipv4 };
        let network = IpNet::new(source.addr(), length).unwrap().trunc();
        let ignored = self.settings.ignoreip.iter().any(|ignored| network.contains(&ignored.network));
        if self.covered(network) || ignored || self.logged_in(network, at) {
            return;
        }
        let failing = self.failures.iter().filter(|it| it.time + self.settings.findtime >= at);
        let failing = failing.map(|it| self.source(it.address)).filter(|it| network.contains(it));
        let banned = self.bans.iter().filter(|ban| ban.evidence).map(|ban| ban.source);
        let mut members: Vec<IpNet> = failing.chain(banned.filter(|it| network.contains(it))).collect();
        members.sort_unstable();
        members.dedup();
        if members.len() < subnet.maxretry as usize {
            return;
        }
        let level = self.settings.hopping.iter().filter(|width| width.prefix >= network.prefix_len()).count();
        for hop in self.hops.iter_mut().filter(|hop| network.contains(&hop.failed.address)) {
            hop.spent = hop.spent.max(level);
        }
        self.ban_network(network, at);
    }

    /// Bans a network in place of what is banned in it.
    pub(super) fn ban_network(&mut self, network: IpNet, at: Usec) {
        self.failures.retain(|it| !network.contains(&it.address));
        let mut inside: Vec<Held> = self.bans.iter().filter(|ban| network.contains(&ban.source)).cloned().collect();
        inside.sort_unstable_by_key(|ban| ban.source);
        self.ban(network, at);
        let Some(Event::Banned { until, .. }) = self.events.last().cloned() else { unreachable!() };
        for ban in inside {
            if until.is_none_or(|until| ban.until.is_some_and(|ends| ends <= until)) {
                self.free(ban.source, at);
            }
        }
    }

    pub(super) fn ban(&mut self, source: IpNet, at: Usec) {
        let count = match self.history.get(&source) {
            Some((count, last)) if last + self.settings.forget > at => count + 1,
            _ => 1,
        };
        let until = self.settings.bantime.map(|bantime| {
            let mut length = bantime;
            for _ in 1..count {
                length = (length * u64::from(self.settings.bantime_factor)).min(u64::MAX / 200);
            }
            at + length.min(self.settings.bantime_max.unwrap().max(bantime))
        });
        // Where in its bounds the jitter falls is the engine's own affair.
        let until = until.map(|least| {
            let chosen = ban_end(&self.settings, source, at.saturating_add_signed(self.ahead), count).unwrap();
            let until = chosen.saturating_add_signed(-self.ahead);
            assert!((least..=least + self.settings.bantime_jitter).contains(&until), "{least} {until}");
            until
        });
        self.history.insert(source, (count, until.unwrap_or(at)));
        self.bans.push(Held { source, since: at, until, evidence: true });
        self.events.push(Event::Banned { source, since: at, until, count });
    }

    pub(super) fn reload(&mut self, settings: JailSettings) {
        self.settings = settings;
        let kept = |failed: &Failed| !self.settings.ignoreip.iter().any(|it| it.network.contains(&failed.address));
        self.failures.retain(kept);
        let spared: Vec<bool> = self.spared.iter().map(|(of, it)| self.source(it.address) == *of && kept(it)).collect();
        let mut spared = spared.into_iter();
        let hops: Vec<bool> = self
            .hops
            .iter()
            .map(|hop| kept(&hop.failed) && self.counts_as_hop(self.source(hop.failed.address)))
            .collect();
        let mut hops = hops.into_iter();
        self.spared.retain(|_| spared.next() == Some(true));
        self.hops.retain(|_| hops.next() == Some(true));
        let mut over: Vec<IpNet> = self.bans.iter().map(|ban| ban.source).collect();
        over.retain(|source| self.settings.ignoreip.iter().any(|ignored| source.contains(&ignored.network)));
        over.sort_unstable();
        for source in over {
            self.free(source, self.now);
        }
    }
}
