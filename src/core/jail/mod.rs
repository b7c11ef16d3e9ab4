//! A jail: a filter with its thresholds, and the counters of each source.
//!
//! What a filter reads goes through the jail's sessions and comes out as failures. Each source
//! (an address, or the network that one customer holds) keeps the times of its latest failures
//! in an exact sliding window ([`window`]); the one that makes `maxretry` of them within
//! `findtime` is handed to the engine as a [`Verdict`]. Sources that may never be banned are
//! told apart before anything is counted, and a source from which somebody has logged in not long
//! ago is spared: locking an admin out is worse than an attacker's further try.

mod admitted;
mod change;
mod count;
mod ignore;
mod licence;
mod logins;
mod near;
mod own;
mod process;
mod saved;
mod settings;
mod subnet;
mod verdict;
mod window;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use self::{
    admitted::Admitted,
    change::counted,
    licence::{Licences, Names},
    near::Near,
    process::{HeldBack, ProcessKey, Processes, peer_of},
    subnet::Subnets,
    window::Tally,
};
pub(crate) use self::{
    ignore::{HostName, IgnoreList, Ignored},
    own::Own,
    settings::{JailSettings, Subnet},
    subnet::Width,
    verdict::{Bound, Verdict},
};
pub(crate) use self::{licence::OWN_NAMES, saved::SavedJail, subnet::Hopping};
use crate::core::{
    bans::{Ban, Origin},
    cursor::Cursor,
    failure::{Failure, Failures, Kind},
    filter::{Claim, Counts, Filter, SessionKey},
    net::inside,
    record::{FieldId, Record},
    session::{Outcome, Place, SessionMessage, Sessions},
    time::Usec,
};

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

    /// Takes one record that was written at `time`, with the engine's time at `now`; `ask` says where it stands.
    /// True if a rule of the filter knew it.
    pub(crate) fn observe(
        &mut self,
        record: &Record,
        ask: &dyn Fn() -> Cursor,
        time: Usec,
        now: Usec,
        out: &mut Vec<Verdict>,
    ) -> bool {
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
            place: Place::of(record, ask),
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
                    cursor: line.cursor(),
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
            let ask = || cursor.clone().unwrap_or_default();
            let line = SessionMessage {
                rule,
                counted: self.counted[index],
                address,
                user: user.as_deref().map(str::as_bytes),
                times,
                time,
                place: Place::new(&ask),
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
            if let Outcome::Login(address, time, _) = outcome {
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

    /// How the wider networks of a source stand at the time `at`, the narrowest first.
    pub(crate) fn hopping(&self, source: IpNet, at: Usec) -> impl Iterator<Item = Hopping> {
        let login = move |network| self.login_in(network, at).is_some();
        let widths =
            self.settings.may_hop(source).then(|| self.subnets.standings(source, self.settings.rules(), login));
        widths.into_iter().flatten()
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
}
