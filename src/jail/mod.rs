//! A jail: a filter with its thresholds, and the counters of each source.
//!
//! What a filter reads goes through the jail's sessions and comes out as failures. Each source
//! (an address, or the network that one customer holds) keeps the times of its latest failures
//! in an exact sliding window ([`window`]); the one that makes `maxretry` of them within
//! `findtime` is handed to the engine as a [`Verdict`]. Sources that may never be banned are
//! told apart before anything is counted, and a source from which somebody has logged in not long
//! ago is spared: locking an admin out is worse than an attacker's further try.

mod ignore;
mod near;
mod scope;
mod source;
mod window;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use self::source::inside;
pub use self::{
    ignore::{HostName, Ignored},
    scope::{Port, Protocol, Scope},
    source::{Prefixes, text_of},
};
use self::{
    near::Near,
    source::source_of,
    window::{LATE, Tally},
};
use crate::{
    failure::{Failure, Failures},
    filter::{Counts, Filter},
    record::{Record, Usec},
    session::{Line, Outcome, SavedSessions, Sessions},
};

/// The most addresses whose last login is remembered.
const MOST_LOGINS: usize = 4096;

/// The settings of a jail, checked.
#[derive(Clone, Debug)]
pub struct JailSettings {
    /// Its name, as in `[jail.NAME]`.
    pub name: String,
    /// The filter that it reads with.
    pub filter: Arc<Filter>,
    /// The classes of rules that it counts.
    pub classes: Vec<String>,
    /// So many failures …
    pub maxretry: u32,
    /// … within so many µs …
    pub findtime: Usec,
    /// … lead to a ban of so many µs, or for ever.
    pub bantime: Option<Usec>,
    /// Each further ban of a source lasts so many times longer …
    pub bantime_factor: u32,
    /// … up to so many µs.
    pub bantime_max: Option<Usec>,
    /// Up to so many µs more, so that nobody knows when to come back.
    pub bantime_jitter: Usec,
    /// A source that was not banned for so many µs starts anew.
    pub forget: Usec,
    /// Never banned.
    pub ignoreip: Vec<Ignored>,
    /// Names whose addresses are never banned; whoever runs the engine asks for them.
    pub names: Vec<HostName>,
    /// What the names mean at the moment.
    pub resolved: Vec<Ignored>,
    /// A source from which somebody has logged in within so many µs is not banned.
    pub spare_logins: Option<Usec>,
    /// What a banned source has open is closed.
    pub cut: bool,
    /// Each record matters at once, not only while a next failure may have somebody banned.
    pub low_latency: bool,
    /// What counts as one source.
    pub prefixes: Prefixes,
    /// When a whole network is banned, if ever.
    pub subnet: Option<Subnet>,
    /// The most sources that are counted at a time.
    pub max_sources: usize,
    /// What its bans close, and how.
    pub scope: Arc<Scope>,
}

/// When a network is banned as a whole: a distributed attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// So many of its sources are banned, or have failed within `findtime`.
    pub maxretry: u32,
    /// How wide it is.
    pub prefixes: Prefixes,
}

impl JailSettings {
    /// Whether the address may never be banned.
    pub fn ignores(&self, address: IpAddr) -> bool {
        self.ignored(address).is_some()
    }

    /// What says that the address may never be banned.
    pub fn ignored(&self, address: IpAddr) -> Option<&Ignored> {
        self.never_banned().find(|ignored| ignored.network.contains(&address))
    }

    /// What says that somebody in the network may never be banned.
    pub fn spares(&self, network: IpNet) -> Option<&Ignored> {
        let overlaps = |other: &IpNet| network.contains(other) || other.contains(&network);
        self.never_banned().find(|ignored| overlaps(&ignored.network))
    }

    fn never_banned(&self) -> impl Iterator<Item = &Ignored> {
        ignore::LOOPBACK.iter().chain(&self.ignoreip).chain(&self.resolved)
    }

    /// Takes in what the names mean now.
    pub(crate) fn resolve(&mut self, addresses: &BTreeMap<String, Vec<IpAddr>>) {
        let of = |name: &HostName| {
            let because = name.because.clone();
            let addresses = addresses.get(&name.name).into_iter().flatten();
            addresses.map(move |address| Ignored { network: (*address).into(), because: because.clone() })
        };
        self.resolved = self.names.iter().flat_map(of).collect();
    }

    /// What an address is counted and banned as. If somebody in its network may never be banned,
    /// the address stands for itself.
    pub fn source(&self, address: IpAddr) -> IpNet {
        let source = source_of(address, self.prefixes);
        let mut listed = self.ignoreip.iter().chain(&self.resolved);
        if listed.any(|ignored| source.contains(&ignored.network)) { address.into() } else { source }
    }

    /// The network that a source would be banned with in a distributed attack.
    pub(crate) fn subnet_of(&self, source: IpNet) -> Option<(IpNet, usize)> {
        let subnet = self.subnet?;
        let network = source_of(source.addr(), subnet.prefixes);
        (network.prefix_len() < source.prefix_len()).then_some((network, subnet.maxretry as usize))
    }

    /// How long a failure is remembered.
    fn kept(&self) -> Usec {
        self.findtime.saturating_add(LATE)
    }
}

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
    /// The settings' name, for what is told of the jail again and again.
    pub(crate) name: Arc<str>,
    counted: Vec<bool>,
    sessions: Sessions,
    sources: BTreeMap<IpNet, Tally>,
    /// When somebody last logged in from an address, or was last known to be logged in.
    logins: BTreeMap<IpAddr, Usec>,
    /// From where somebody is logged in.
    present: BTreeSet<IpAddr>,
    /// Sources that a next failure could have banned.
    near: Near,
    /// When to look at a source next, see [`Self::advance`].
    agenda: BinaryHeap<Reverse<(Usec, IpNet)>>,
    outcomes: Vec<Outcome>,
}

impl Jail {
    pub(crate) fn new(settings: JailSettings) -> Self {
        Self {
            counted: counted(&settings),
            name: settings.name.as_str().into(),
            settings,
            sessions: Sessions::default(),
            sources: BTreeMap::new(),
            logins: BTreeMap::new(),
            present: BTreeSet::new(),
            near: Near::default(),
            agenda: BinaryHeap::new(),
            outcomes: Vec::new(),
        }
    }

    /// Takes one record that was written at `time`, with the engine's time at `now`. True if a
    /// rule of the filter knew it.
    pub(crate) fn observe(&mut self, record: &Record, time: Usec, now: Usec, out: &mut Vec<Verdict>) -> bool {
        let filter = Arc::clone(&self.settings.filter);
        let Some(sighting) = filter.read(record) else { return false };
        let line = Line {
            rule: filter.rule(sighting.rule),
            counted: self.counted[sighting.rule.index()],
            address: sighting.address,
            user: sighting.user,
            time,
            cursor: record.cursor.as_ref(),
        };
        let mut outcomes = std::mem::take(&mut self.outcomes);
        match (sighting.session, line.address) {
            (Some(key), _) => self.sessions.observe(key, &line, &mut outcomes),
            (None, Some(address)) if line.counted && line.rule.counts == Counts::Failure => {
                outcomes.push(Outcome::Failure(line.failure(address), line.time));
            }
            (None, Some(address)) if line.rule.counts == Counts::Success => {
                outcomes.push(Outcome::Login(address, line.time));
            }
            (None, _) => {}
        }
        self.conclude(&mut outcomes, now, out);
        self.outcomes = outcomes;
        true
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
    pub(crate) fn end_sessions(&mut self, out: &mut Vec<Verdict>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.sessions.end_all(&mut outcomes);
        self.conclude(&mut outcomes, 0, out);
        self.outcomes = outcomes;
    }

    /// Forgets the failures of every source inside a network, or around it.
    pub(crate) fn clear(&mut self, network: IpNet) {
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
        let (maxretry, findtime) = (self.settings.maxretry as usize, self.settings.findtime);
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
                Outcome::Login(address, time) => self.log_in(address, time),
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
        let tally = self.sources.entry(source).or_default();
        if let Some(failures) = tally.add(failure, self.settings.maxretry as usize, self.settings.findtime) {
            self.sources.remove(&source);
            out.push(match self.login_in(source, at) {
                Some(login) => Verdict::Spared { source, login, failures },
                None => Verdict::Guilty { source, since: at, failures },
            });
        }
        self.look_at(source);
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
        self.sources.values_mut().for_each(|tally| tally.shift(by));
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
        self.plan();
    }

    /// Makes the agenda again, and sees who is near.
    fn plan(&mut self) {
        self.near = Near::default();
        let (maxretry, findtime) = (self.settings.maxretry as usize, self.settings.findtime);
        for (source, tally) in &self.sources {
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
    sources: Vec<(IpNet, Tally)>,
    logins: Vec<(IpAddr, Usec)>,
    #[serde(default)]
    present: BTreeSet<IpAddr>,
}

impl Jail {
    pub(crate) fn save(&self) -> SavedJail {
        SavedJail {
            sessions: self.sessions.save(),
            sources: self.sources.iter().map(|(source, tally)| (*source, tally.clone())).collect(),
            logins: self.logins.iter().map(|(address, login)| (*address, *login)).collect(),
            present: self.present.clone(),
        }
    }

    pub(crate) fn load(&mut self, saved: SavedJail) {
        self.sessions = Sessions::load(saved.sessions);
        self.sources = saved.sources.into_iter().filter(|(_, tally)| !tally.failures().is_empty()).collect();
        self.logins = saved.logins.into_iter().take(MOST_LOGINS).collect();
        self.present = saved.present;
        // The configuration may be another than the one that the state was saved under.
        let settings = self.settings.clone();
        self.adapt(settings);
    }
}
