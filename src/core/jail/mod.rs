//! A jail: a filter with its thresholds, and the counters of each source.
//!
//! What a filter reads goes through the jail's sessions and comes out as failures. Each source
//! (an address, or the network that one customer holds) keeps the times of its latest failures
//! in an exact sliding window ([`window`]); the one that makes `maxretry` of them within
//! `findtime` is handed to the engine as a [`Verdict`]. Sources that may never be banned are
//! told apart before anything is counted, and a source from which somebody has logged in not long
//! ago is spared: locking an admin out is worse than an attacker's further try.

mod admitted;
mod ignore;
mod licence;
mod near;
mod own;
mod process;
mod settings;
mod subnet;
mod window;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::{
    admitted::Admitted,
    licence::{Licences, Names},
    near::Near,
    process::{HeldBack, ProcessKey, Processes, SavedProcesses, peer_of},
    subnet::{SLACK, SavedSubnets, Subnets},
    window::Tally,
};
pub use self::{
    ignore::{HostName, IgnoreList, Ignored},
    own::Own,
    settings::{JailSettings, Subnet},
    subnet::Width,
};
pub(crate) use self::{
    licence::{OWN_NAMES, Spent},
    subnet::Hopping,
};
use crate::core::{
    bans::{Ban, Origin},
    cursor::Cursor,
    failure::{Failure, Failures, Kind},
    filter::{Claim, Counts, Filter, SessionKey},
    net::inside,
    record::{FieldId, Record},
    session::{Outcome, SavedSessions, SessionMessage, Sessions},
    time::Usec,
};

/// The most addresses whose last login is remembered.
const MOST_LOGINS: usize = 4096;

/// What a jail concludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A failure was counted, and that was known since this time.
    Failed(IpNet, Failure, Usec),
    /// A failure was seen, of a source that is never banned.
    Ignored(IpNet, Failure),
    /// The source has reached `maxretry`; these are the failures that led to it, oldest first.
    Guilty {
        /// Who.
        source: IpNet,
        /// Since when that is known, in µs.
        since: Usec,
        /// What it has done.
        failures: Failures,
        /// It was spared for this login, in µs, until it had done too much.
        despite: Option<Usec>,
    },
    /// The same, but somebody has logged in from there not long ago.
    Spared {
        /// Who.
        source: IpNet,
        /// The last login, in µs.
        login: Usec,
        /// What it has done.
        failures: Failures,
    },
    /// A counted failure was taken back: it never was one.
    TakenBack(IpNet, Failure),
    /// The program has turned the source away, whether that weighs anything or not.
    Refused(IpNet, Failure),
    /// The number of failures for which no record has ever named an address.
    Nameless(usize),
    /// This process has let somebody in.
    LetIn {
        /// Its number.
        process: u32,
        /// From where.
        address: IpAddr,
        /// When, in µs.
        time: Usec,
    },
    /// A table was full, and what was oldest in it had to go.
    Crowded(Bound),
}

/// A table that is bounded, so that no attack can fill the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// The sources that are counted (`max-sources`).
    Sources,
    /// The open sessions.
    Sessions,
    /// The bans in force.
    Bans,
}

/// A jail at work.
#[derive(Debug)]
pub(crate) struct Jail {
    pub(crate) settings: JailSettings,
    /// The settings' name, for the frequent reports about the jail.
    pub(crate) name: Arc<str>,
    counted: Vec<bool>,
    sessions: Sessions,
    /// Which processes are the service's.
    processes: Processes,
    sources: BTreeMap<IpNet, Tally>,
    /// What the sources of wider IPv6 networks have done together.
    subnets: Subnets,
    /// When somebody last logged in from an address, or was last known to be logged in.
    logins: BTreeMap<IpAddr, Usec>,
    /// From where somebody is logged in.
    present: BTreeSet<IpAddr>,
    /// The connections on which somebody has logged in.
    admitted: Admitted,
    /// Sources that a next failure could have banned.
    near: Near,
    /// When to look at a source next, see [`Self::advance`].
    agenda: BinaryHeap<Reverse<(Usec, IpNet)>>,
    /// By what names somebody has logged in from an address.
    users: Names,
    /// What sources have done while they were spared.
    licences: Licences,
    outcomes: Vec<Outcome>,
}

impl Jail {
    pub(crate) fn new(settings: JailSettings) -> Self {
        Self {
            counted: counted(&settings),
            name: settings.name.as_str().into(),
            settings,
            sessions: Sessions::default(),
            processes: Processes::default(),
            sources: BTreeMap::new(),
            subnets: Subnets::default(),
            logins: BTreeMap::new(),
            present: BTreeSet::new(),
            admitted: Admitted::default(),
            near: Near::default(),
            agenda: BinaryHeap::new(),
            users: Names::default(),
            licences: Licences::default(),
            outcomes: Vec::new(),
        }
    }

    /// Takes one record that was written at `time`, with the engine's time at `now`. True if a
    /// rule of the filter knew it.
    pub(crate) fn observe(&mut self, record: &Record, time: Usec, now: Usec, out: &mut Vec<Verdict>) -> bool {
        // Of many jails only one has an interest in a record, so the others find that out first.
        let claim = self.settings.filter.records.claim(record);
        if claim == Claim::No {
            return false;
        }
        let filter = Arc::clone(&self.settings.filter);
        let process = ProcessKey::of(record);
        let ours = match claim {
            Claim::Ours => {
                let held = process.map(|key| self.processes.vouch(key, time)).unwrap_or_default();
                self.release(&filter, filter.process(record), held, now, out);
                true
            }
            Claim::Perhaps => process.is_some_and(|key| self.processes.is_ours(key, time)),
            Claim::Stranger(_) => {
                if let Some(key) = process {
                    self.processes.disown(key);
                }
                return false;
            }
            Claim::No => return false,
        };
        let sighting = filter.read(record);
        let mut address = sighting.as_ref().and_then(|sighting| sighting.address);
        if filter.is_forgeable(record) {
            let said = address.filter(|_| sighting.as_ref().is_some_and(|sighting| sighting.address_first));
            let accepted = record.get(FieldId::UNIT).and_then(peer_of);
            address = process.and_then(|key| self.processes.peer(key, time, accepted, said));
        }
        let Some(sighting) = sighting else { return false };
        let line = SessionMessage {
            rule: filter.rule(sighting.rule),
            counted: self.counted[sighting.rule.index()],
            address,
            user: sighting.user,
            times: sighting.times,
            time,
            cursor: record.cursor.as_ref(),
            forgeable: sighting.forgeable,
        };
        if ours {
            self.take(sighting.session, filter.process(record), sighting.port, &line, now, out);
        } else if let Some(key) = process {
            self.processes.hold(
                key,
                HeldBack {
                    rule: line.rule.name.clone(),
                    address,
                    user: line.user.map(|user| String::from_utf8_lossy(user).into()),
                    port: sighting.port,
                    times: sighting.times,
                    time,
                    cursor: record.cursor.clone(),
                    session: sighting.session,
                    forgeable: line.forgeable,
                },
            );
        }
        true
    }

    /// Takes a ban that another jail holds now, if this one counts bans of its origin. What a jail has decided
    /// counts for the address whose failure it was.
    pub(crate) fn observe_ban(&mut self, ban: &Ban, out: &mut Vec<Verdict>) {
        let last = ban.failures.iter().last();
        let class = match &ban.origin {
            Origin::Other(_) => "other",
            // A ban of a jail's that somebody has taken over.
            Origin::Jail if last.is_none() => "import",
            origin => origin.word(),
        };
        if !self.settings.classes.iter().any(|counted| counted == class) {
            return;
        }
        let address = last.as_ref().map_or(ban.source.addr(), |last| last.address);
        // Nobody knows who it was in a whole network.
        if last.is_none() && self.settings.source(address).prefix_len() > ban.source.prefix_len() {
            return;
        }
        let time = ban.enforced_since();
        let failure = Failure {
            address,
            time,
            rule: Arc::clone(&ban.jail),
            user: None,
            cursor: last.map_or_else(|| Cursor::from(String::new()), |last| last.cursor),
            kind: Kind::Ban,
        };
        self.count(&failure, time, out);
    }

    /// Takes what was held back until somebody vouched for its process.
    fn release(
        &mut self,
        filter: &Filter,
        process: Option<u32>,
        held: Vec<HeldBack>,
        now: Usec,
        out: &mut Vec<Verdict>,
    ) {
        for HeldBack { rule, address, user, port, times, time, cursor, session, forgeable } in held {
            // The filter may be another by now.
            let Some((index, rule)) = filter.rules().enumerate().find(|(_, known)| known.name == rule) else {
                continue;
            };
            let line = SessionMessage {
                rule,
                counted: self.counted[index],
                address,
                user: user.as_deref().map(str::as_bytes),
                times,
                time,
                cursor: cursor.as_ref(),
                forgeable,
            };
            self.take(session, process, port, &line, now, out);
        }
    }

    /// Takes a line that the service wrote, in this process if it has one for each session.
    fn take(
        &mut self,
        session: Option<SessionKey>,
        process: Option<u32>,
        port: Option<u16>,
        line: &SessionMessage<'_>,
        now: Usec,
        out: &mut Vec<Verdict>,
    ) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        // Without a session, the address shows which lines are views of one attempt.
        let session = session.or_else(|| line.rule.attempt.and(line.address).map(|it| format!("from {it}").into()));
        match (session, line.address) {
            (Some(key), Some(address))
                if line.rule.after_login
                    && !self.admitted.is_empty()
                    && !self.sessions.has(&key)
                    && self.admitted.leave(address, port) => {}
            (Some(key), _) => {
                if let (Counts::Success, Some(address), Some(port)) = (line.rule.counts, line.address, port) {
                    self.admitted.enter(address, port);
                }
                self.sessions.observe(key, line, &mut outcomes);
            }
            (None, Some(address)) if line.counted && line.rule.counts == Counts::Refusal => {
                self.refuse(line.failure(address), now.max(line.time), out);
            }
            (None, Some(address)) if line.counted && line.rule.counts == Counts::Failure => {
                let each = (0..line.times).map(|_| Outcome::Failure(line.failure(address), line.time));
                outcomes.extend(each);
            }
            (None, Some(address)) if line.rule.counts == Counts::Success => {
                outcomes.push(Outcome::Login(address, line.time, line.name()));
            }
            (None, _) => {}
        }
        for outcome in &outcomes {
            if let (Outcome::Login(address, time, _), Some(process)) = (outcome, process) {
                out.push(Verdict::LetIn { process, address: *address, time: *time });
            }
        }
        self.conclude(&mut outcomes, now, out);
        self.outcomes = outcomes;
    }

    /// Lets time pass: a session that fell silent ends, and sources whose failures are too old to
    /// count are forgotten. As long as [`Self::deadline`] is not later, there is more to do.
    pub(crate) fn advance(&mut self, now: Usec, out: &mut Vec<Verdict>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.sessions.advance(now, &mut outcomes);
        self.conclude(&mut outcomes, 0, out);
        self.outcomes = outcomes;
        self.near.advance(now);
        while let Some(Reverse((due, _))) = self.agenda.peek()
            && *due <= now
        {
            let Some(Reverse((_, source))) = self.agenda.pop() else { break };
            let Some(due) = self.sources.get(&source).map(|tally| self.due(tally)) else { continue };
            if due > now {
                self.agenda.push(Reverse((due, source)));
            } else {
                self.sources.remove(&source);
            }
        }
        self.subnets.expire(now, self.settings.rules());
    }

    /// When a source is forgotten.
    fn due(&self, tally: &Tally) -> Usec {
        tally.newest().map_or(0, |newest| newest.saturating_add(self.settings.kept()).saturating_add(1))
    }

    /// Until when a next failure may have a source banned, if that is to be expected at all.
    pub(crate) fn near_until(&self) -> Option<Usec> {
        if self.settings.low_latency { Some(Usec::MAX) } else { self.near.until() }
    }

    /// When [`Self::advance`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Usec> {
        let source = self.agenda.peek().map(|Reverse((due, _))| *due);
        [self.sessions.deadline(), source].into_iter().flatten().min()
    }

    /// Ends all sessions: the journal that is replayed has come to its end.
    pub(crate) fn end_sessions(&mut self, now: Usec, out: &mut Vec<Verdict>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.sessions.end_all(now, &mut outcomes);
        self.conclude(&mut outcomes, 0, out);
        self.outcomes = outcomes;
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

    /// How the wider networks of a source stand at the time `at`, the narrowest first.
    pub(crate) fn hopping(&self, source: IpNet, at: Usec) -> impl Iterator<Item = Hopping> {
        let login = move |network| self.login_in(network, at).is_some();
        let widths =
            self.settings.may_hop(source).then(|| self.subnets.standings(source, self.settings.rules(), login));
        widths.into_iter().flatten()
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
    fn look_at(&mut self, source: IpNet) {
        let (maxretry, findtime) = (self.settings.maxretry_of(source), self.settings.findtime);
        self.near.note(source, self.sources.get(&source), maxretry, findtime);
    }

    /// The sources inside a network, with their failures.
    pub(crate) fn sources_in(&self, network: IpNet) -> impl Iterator<Item = (IpNet, &Tally)> {
        let inside = self.sources.range(inside(network)).map(|(source, tally)| (*source, tally));
        inside.filter(move |(source, _)| network.contains(source))
    }

    /// The failures of a source that may still count.
    pub(crate) fn failures_of(&self, source: IpNet) -> Option<&Failures> {
        self.sources.get(&source).map(Tally::failures)
    }

    /// When somebody was last logged in from a network, if that spares it at the time `at`.
    pub(crate) fn login_in(&self, network: IpNet, at: Usec) -> Option<Usec> {
        let span = self.settings.spare_logins?;
        let inside = network.network()..=network.broadcast();
        if self.present.range(inside.clone()).next().is_some() {
            return Some(at);
        }
        let inside = self.logins.range(inside);
        inside.map(|(_, login)| *login).filter(|login| login.saturating_add(span) >= at).max()
    }

    /// How many sources have failures that still count.
    pub(crate) fn failing(&self) -> usize {
        self.sources.len()
    }

    /// How many sessions are open.
    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether somebody in the network has a session open.
    pub(crate) fn is_open_in(&self, network: IpNet) -> bool {
        self.sessions.is_open_in(network)
    }

    /// `now` is the engine's time: nothing is decided before it.
    fn conclude(&mut self, outcomes: &mut Vec<Outcome>, now: Usec, out: &mut Vec<Verdict>) {
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

    fn count(&mut self, failure: &Failure, at: Usec, out: &mut Vec<Verdict>) {
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
    fn refuse(&mut self, refusal: Failure, at: Usec, out: &mut Vec<Verdict>) {
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

    /// What a spared source has done, if that is too much.
    fn end_of_licence(&mut self, source: IpNet, failure: &Failure, login: Option<Usec>, at: Usec) -> Option<Failures> {
        let limit = self.settings.licence().filter(|_| login.is_some());
        let Some(limit) = limit else {
            self.licences.forget(source);
            return None;
        };
        let users = &self.users;
        self.licences.add(source, failure, at, limit, |name| users.have_come_from(source, name))
    }

    /// What a source has done while it was spared, as far as that adds up at the time `at`, and how
    /// much of it may be for other names; none without a limit.
    pub(crate) fn licence_of(&self, source: IpNet, at: Usec) -> Option<(Spent, usize)> {
        let limit = self.settings.licence()?;
        let is_own = |name: &str| self.users.have_come_from(source, name);
        Some((self.licences.standing(source, at, limit.span, is_own), limit.others))
    }

    fn log_in(&mut self, address: IpAddr, time: Usec) {
        let Some(span) = self.settings.spare_logins else { return };
        let login = self.logins.entry(address).or_default();
        *login = time.max(*login);
        if self.logins.len() > MOST_LOGINS {
            self.logins.retain(|_, login| login.saturating_add(span) >= time);
            while self.logins.len() > MOST_LOGINS
                && let Some(oldest) = self.logins.iter().map(|(address, login)| (*login, *address)).min()
            {
                self.logins.remove(&oldest.1);
            }
            let (logins, present) = (&self.logins, &self.present);
            self.users.retain(|address| logins.contains_key(address) || present.contains(address));
        }
    }

    /// From where somebody is logged in.
    pub(crate) fn present(&self) -> &BTreeSet<IpAddr> {
        &self.present
    }

    /// From these addresses, and from no others, somebody is logged in at the time `now`.
    pub(crate) fn logged_in(&mut self, addresses: &BTreeSet<IpAddr>, now: Usec) {
        for address in std::mem::replace(&mut self.present, addresses.clone()).difference(addresses) {
            self.log_in(*address, now);
        }
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
fn counted(settings: &JailSettings) -> Vec<bool> {
    let counts = |class: &String| settings.classes.contains(class);
    settings.filter.rules().map(|rule| rule.class.as_ref().is_some_and(counts)).collect()
}

/// The counters of a jail in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedJail {
    sessions: SavedSessions,
    #[serde(default)]
    processes: SavedProcesses,
    sources: Vec<(IpNet, Tally)>,
    #[serde(default)]
    subnets: SavedSubnets,
    #[serde(default)]
    users: Names,
    #[serde(default)]
    licences: Licences,
    logins: Vec<(IpAddr, Usec)>,
    #[serde(default)]
    present: BTreeSet<IpAddr>,
    #[serde(default)]
    admitted: Admitted,
}

impl Jail {
    pub(crate) fn save(&self) -> SavedJail {
        SavedJail {
            sessions: self.sessions.save(),
            processes: self.processes.save(),
            sources: self.sources.iter().map(|(source, tally)| (*source, tally.clone())).collect(),
            subnets: self.subnets.save(),
            users: self.users.clone(),
            licences: self.licences.clone(),
            logins: self.logins.iter().map(|(address, login)| (*address, *login)).collect(),
            present: self.present.clone(),
            admitted: self.admitted.clone(),
        }
    }

    pub(crate) fn load(&mut self, saved: SavedJail) {
        self.sessions = Sessions::load(saved.sessions);
        self.processes = Processes::load(saved.processes);
        self.sources = saved.sources.into_iter().filter(|(_, tally)| !tally.failures().is_empty()).collect();
        self.subnets = Subnets::load(&saved.subnets, self.settings.max_sources);
        self.users = saved.users;
        self.licences = saved.licences;
        self.logins = saved.logins.into_iter().take(MOST_LOGINS).collect();
        self.present = saved.present;
        self.admitted = saved.admitted;
        // The configuration may be another than the one that the state was saved under.
        let settings = self.settings.clone();
        self.adapt(settings);
    }
}
