//! A jail: a filter with its thresholds, and the counters of each source.
//!
//! What a filter reads goes through the jail's sessions and comes out as failures. Each source
//! (an address, or the network that one customer holds) keeps the times of its latest failures
//! in an exact sliding window ([`window`]); the one that makes `maxretry` of them within
//! `findtime` is handed to the engine as a [`Verdict`]. Sources that may never be banned are
//! told apart before anything is counted.

mod source;
mod window;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use self::source::source_of;
pub use self::source::{Prefixes, text_of};
pub(crate) use self::window::Tally;
use crate::{
    filter::{Counts, Filter},
    record::{Record, Usec},
    session::{Failure, Line, Outcome, SavedSessions, Sessions},
};

/// RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3.
const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

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
    /// A source that was not banned for so many µs starts anew.
    pub forget: Usec,
    /// Never banned.
    pub ignoreip: Vec<IpNet>,
    /// What counts as one source.
    pub prefixes: Prefixes,
    /// The most sources that are counted at a time.
    pub max_sources: usize,
}

impl JailSettings {
    /// Whether the address may never be banned.
    pub fn ignores(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.ignoreip.iter().any(|net| net.contains(&address))
    }

    /// Whether banning the network would lock out somebody who may never be banned.
    pub fn spares(&self, network: IpNet) -> bool {
        let overlaps = |other: &IpNet| network.contains(other) || other.contains(&network);
        self.ignoreip.iter().any(overlaps) || LOOPBACK.iter().any(overlaps)
    }

    /// What an address is counted and banned as. If somebody in its network may never be banned,
    /// the address stands for itself.
    pub fn source(&self, address: IpAddr) -> IpNet {
        let source = source_of(address, self.prefixes);
        if self.ignoreip.iter().any(|net| source.contains(net)) { address.into() } else { source }
    }
}

/// What a jail concludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A failure was counted.
    Failed(IpNet, Failure),
    /// A failure was seen, of a source that is never banned.
    Ignored(IpNet, Failure),
    /// The source has reached `maxretry`; these are the failures that led to it, oldest first.
    Guilty {
        /// Who.
        source: IpNet,
        /// Since when that is known, in µs.
        since: Usec,
        /// What it has done.
        failures: Vec<Failure>,
    },
    /// A counted failure was taken back: it never was one.
    TakenBack(IpNet, Failure),
}

/// A jail at work.
#[derive(Debug)]
pub(crate) struct Jail {
    pub(crate) settings: JailSettings,
    counted: Vec<bool>,
    sessions: Sessions,
    sources: HashMap<IpNet, Tally>,
    /// When to look at a source next, see [`Self::advance`].
    agenda: BinaryHeap<Reverse<(Usec, IpNet)>>,
    outcomes: Vec<Outcome>,
}

impl Jail {
    pub(crate) fn new(settings: JailSettings) -> Self {
        let counted = settings
            .filter
            .rules()
            .map(|rule| rule.class.as_ref().is_some_and(|class| settings.classes.contains(class)))
            .collect();
        Self {
            settings,
            counted,
            sessions: Sessions::default(),
            sources: HashMap::new(),
            agenda: BinaryHeap::new(),
            outcomes: Vec::new(),
        }
    }

    /// Takes one record. True if a rule of the filter knew it.
    pub(crate) fn observe(&mut self, record: &Record, out: &mut Vec<Verdict>) -> bool {
        let filter = Arc::clone(&self.settings.filter);
        let Some(sighting) = filter.read(record) else { return false };
        let line = Line {
            rule: filter.rule(sighting.rule),
            counted: self.counted[sighting.rule.index()],
            address: sighting.address,
            user: sighting.user,
            time: record.time,
            cursor: &record.cursor,
        };
        let mut outcomes = std::mem::take(&mut self.outcomes);
        match (sighting.session, line.address) {
            (Some(key), _) => self.sessions.observe(&key, &line, &mut outcomes),
            (None, Some(address)) if line.counted && line.rule.counts == Counts::Failure => {
                outcomes.push(Outcome::Failure(line.evidence().of(address), line.time));
            }
            (None, _) => {}
        }
        self.conclude(&mut outcomes, out);
        self.outcomes = outcomes;
        true
    }

    /// Lets time pass: sessions that fell silent end, and sources whose failures are too old to
    /// count are forgotten.
    pub(crate) fn advance(&mut self, now: Usec, out: &mut Vec<Verdict>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.sessions.advance(now, &mut outcomes);
        self.conclude(&mut outcomes, out);
        self.outcomes = outcomes;
        while let Some(Reverse((due, _))) = self.agenda.peek()
            && *due <= now
        {
            let Some(Reverse((_, source))) = self.agenda.pop() else { break };
            let Some(tally) = self.sources.get(&source) else { continue };
            match tally.newest() {
                Some(newest) if newest + self.settings.findtime >= now => {
                    self.agenda.push(Reverse((newest + self.settings.findtime + 1, source)));
                }
                _ => {
                    self.sources.remove(&source);
                }
            }
        }
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
        self.conclude(&mut outcomes, out);
        self.outcomes = outcomes;
    }

    /// Forgets the failures of every source inside a network.
    pub(crate) fn clear(&mut self, network: IpNet) {
        self.sources.retain(|source, _| !network.contains(source) && !source.contains(&network));
    }

    /// How many sources have failures that still count.
    pub(crate) fn failing(&self) -> usize {
        self.sources.len()
    }

    /// How many sessions are open.
    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    fn conclude(&mut self, outcomes: &mut Vec<Outcome>, out: &mut Vec<Verdict>) {
        for outcome in outcomes.drain(..) {
            match outcome {
                Outcome::Failure(failure, at) => self.count(failure, at, out),
                Outcome::Forgive(failures) => {
                    for failure in failures {
                        self.take_back(&failure);
                    }
                }
                Outcome::TakeBack(failure) => {
                    let source = self.take_back(&failure);
                    if !self.settings.ignores(failure.address) {
                        out.push(Verdict::TakenBack(source, failure));
                    }
                }
            }
        }
    }

    fn count(&mut self, failure: Failure, at: Usec, out: &mut Vec<Verdict>) {
        let source = self.settings.source(failure.address);
        if self.settings.ignores(failure.address) {
            out.push(Verdict::Ignored(source, failure));
            return;
        }
        out.push(Verdict::Failed(source, failure.clone()));
        if !self.sources.contains_key(&source) {
            if self.sources.len() >= self.settings.max_sources {
                self.forget_oldest();
            }
            self.agenda.push(Reverse((failure.time + self.settings.findtime + 1, source)));
        }
        let tally = self.sources.entry(source).or_default();
        if let Some(failures) = tally.add(failure, self.settings.maxretry as usize, self.settings.findtime) {
            self.sources.remove(&source);
            out.push(Verdict::Guilty { source, since: at, failures });
        }
    }

    fn take_back(&mut self, failure: &Failure) -> IpNet {
        let source = self.settings.source(failure.address);
        if let Some(tally) = self.sources.get_mut(&source) {
            tally.take_back(failure.time);
            if tally.newest().is_none() {
                self.sources.remove(&source);
            }
        }
        source
    }

    /// Makes room: the source that has been quiet longest goes.
    fn forget_oldest(&mut self) {
        while let Some(Reverse((due, source))) = self.agenda.pop() {
            let Some(newest) = self.sources.get(&source).and_then(Tally::newest) else { continue };
            let really_due = newest + self.settings.findtime + 1;
            if really_due > due {
                self.agenda.push(Reverse((really_due, source)));
            } else {
                self.sources.remove(&source);
                return;
            }
        }
    }
}

/// The counters of a jail in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedJail {
    sessions: SavedSessions,
    sources: Vec<(IpNet, Tally)>,
}

impl Jail {
    pub(crate) fn save(&self) -> SavedJail {
        SavedJail {
            sessions: self.sessions.save(),
            sources: self.sources.iter().map(|(source, tally)| (*source, tally.clone())).collect(),
        }
    }

    pub(crate) fn load(&mut self, saved: SavedJail) {
        self.sessions = Sessions::load(saved.sessions);
        for (source, tally) in saved.sources {
            if let Some(newest) = tally.newest() {
                self.agenda.push(Reverse((newest + self.settings.findtime + 1, source)));
                self.sources.insert(source, tally);
            }
        }
    }
}
