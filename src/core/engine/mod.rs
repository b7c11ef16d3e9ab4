//! The state machine: records, time and commands in, effects out.
//!
//! It does no I/O and reads no clock. Time is the time of the records ([`crate::core::clock`]), and a
//! deadline is a value that the daemon is asked to wake it for. So the live daemon, the recovery
//! after a crash, `wardenctl replay` and the tests run this very code, and the same journal gives
//! the same bans: whatever time brings is done at its very µs and in the order of time, however
//! late somebody looks.

mod commands;
mod enforce;
mod exceptions;
mod explain;
mod jails;
mod judge;
mod leaders;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

pub(crate) use self::{
    commands::{BanOrder, Change, CommandError, Decision, Duration},
    exceptions::{IgnoredEntry, IgnoredWhat, Terms},
    explain::{AddressState, Explanation},
    state::SavedEngine,
};
use self::{jails::Jails, leaders::Leaders};
use crate::core::{
    bans::{Ban, BanList},
    clock::Clock,
    cursor::Cursor,
    exceptions::{Exception, ExceptionEnd, Exceptions},
    failure::{Failure, Failures},
    history::{History, NoSuchStep, Row},
    jail::{Bound, Jail, JailSettings, Verdict},
    record::Record,
    scope::Scope,
    time::Usec,
    tops::{Question, Top, Tops},
};

/// What the engine wants done, or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A failure was counted (or seen only, for a source that is never banned).
    Failed {
        /// The jail that counted it.
        jail: Arc<str>,
        /// Whose failure it is.
        source: IpNet,
        /// The failure.
        failure: Failure,
        /// The source is in `ignoreip`.
        ignored: bool,
    },
    /// The latest failure of the source was none: its credential was right.
    TakenBack {
        /// The jail that had counted it.
        jail: Arc<str>,
        /// Whose failure it was.
        source: IpNet,
        /// The failure that was none.
        failure: Failure,
    },
    /// A ban begins.
    Banned(Ban),
    /// A ban that is in force lasts longer than it would have.
    Extended(Ban),
    /// A ban has ended.
    Unbanned(Ban, UnbanReason),
    /// A source would be banned, but somebody has logged in from there not long ago.
    Spared {
        /// The jail that would have.
        jail: Arc<str>,
        /// Who.
        source: IpNet,
        /// The last login, in µs.
        login: Usec,
        /// What the source has done.
        failures: Failures,
    },
    /// A source would be banned, but the jail is paused.
    Withheld(Ban),
    /// An order of an admin holds from now on.
    Excepted(Exception),
    /// An order of an admin holds no longer.
    ExceptionEnded(Exception, ExceptionEnd),
    /// Failures that count for nobody: no record names the address of their session.
    Nameless {
        /// The jail that would count them.
        jail: Arc<str>,
        /// How many.
        count: usize,
    },
    /// A source that is banned has reached the service nevertheless.
    Leak {
        /// The jail of the ban.
        jail: Arc<str>,
        /// What it closes.
        scope: Arc<Scope>,
        /// The ban that should hold it off.
        ban: IpNet,
        /// What it has done.
        failure: Failure,
    },
    /// A table of the jail was full, and what was oldest in it had to go.
    Crowded(Arc<str>, Bound),
    /// The clock was set, by this number of µs; all times were moved along.
    ClockSet(i64),
    /// The firewall is to lock the source out.
    Block {
        /// From what.
        scope: Arc<Scope>,
        /// Who.
        source: IpNet,
        /// The time of the record, or of the order, that led to it.
        since: Usec,
    },
    /// The firewall is to let the source in again.
    Release {
        /// To what.
        scope: Arc<Scope>,
        /// Who.
        source: IpNet,
    },
    /// What the source still has open is to be closed, once the firewall locks it out: firewalld
    /// lets live what is established.
    Cut {
        /// To what.
        scope: Arc<Scope>,
        /// Whose.
        source: IpNet,
    },
}

/// Why a ban has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnbanReason {
    /// Its time was over.
    Expired,
    /// An admin ended it.
    Command,
    /// Its jail is gone from the configuration.
    JailGone,
    /// The configuration or an admin says now that it is never banned.
    Ignored,
    /// It is, or holds, an address of the machine by now.
    Own,
    /// A ban of the whole network has taken its place.
    Widened,
    /// There were too many bans, and it was the one that would have ended first.
    Crowded,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Engine {
    jails: Jails,
    bans: BanList,
    /// What an admin has ordered beside the settings.
    exceptions: Exceptions,
    clock: Clock,
    /// What the names in `ignoreip` mean.
    names: BTreeMap<String, Vec<IpAddr>>,
    /// The addresses of the machine itself.
    own: BTreeSet<IpAddr>,
    failures: u64,
    /// What has happened, counted by the hour and by the day.
    history: History,
    /// Who has failed most.
    tops: Tops,
    leaders: Leaders,
    verdicts: Vec<Verdict>,
    /// The jails that may read a record.
    asked: Vec<usize>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub(crate) fn new(jails: Vec<JailSettings>) -> Self {
        Self {
            jails: jails.into_iter().map(Jail::new).collect::<Vec<_>>().into(),
            bans: BanList::default(),
            exceptions: Exceptions::default(),
            clock: Clock::default(),
            names: BTreeMap::new(),
            own: BTreeSet::new(),
            failures: 0,
            history: History::default(),
            tops: Tops::default(),
            leaders: Leaders::default(),
            verdicts: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Takes one record, after all that ends before its time. True if a rule knew it.
    pub(crate) fn record(&mut self, record: &Record, out: &mut Vec<Effect>) -> bool {
        self.record_at(record, &|| record.cursor.clone().unwrap_or_default(), out)
    }

    /// Takes one record that stands where `ask` says, which is asked only if somebody needs to know.
    pub(crate) fn record_at(&mut self, record: &Record, ask: &dyn Fn() -> Cursor, out: &mut Vec<Effect>) -> bool {
        let seen = self.clock.see(record);
        if seen.set != 0 {
            self.shift(seen.set, out);
        }
        let now = self.clock.now();
        self.advance(now, out);
        let mut known = false;
        let mut asked = std::mem::take(&mut self.asked);
        self.jails.interested(record, &mut asked);
        for index in asked.drain(..) {
            let mut verdicts = std::mem::take(&mut self.verdicts);
            known |= self.jails.at(index).observe(record, ask, seen.time, now, &mut verdicts);
            for verdict in &verdicts {
                if let Verdict::LetIn { process, address, time } = *verdict {
                    if let Some(process) = process {
                        self.leaders.enter(record.moment, process, address, time);
                    }
                    self.jails.that_read_nothing().for_each(|jail| jail.log_in(address, time));
                }
            }
            if !verdicts.is_empty() {
                self.judge(index, &mut verdicts, out);
            }
            self.verdicts = verdicts;
        }
        self.asked = asked;
        known
    }

    /// Lets time pass until `now`: bans end, silent sessions end, old counters go, each at its
    /// time.
    pub(crate) fn advance(&mut self, now: Usec, out: &mut Vec<Effect>) {
        while let Some(due) = self.jails.due().into_iter().chain(self.next_end()).min().filter(|due| *due <= now) {
            while let Some((source, jail, until)) = self.bans.next_ended(due) {
                self.end_ban(source, &jail, until, UnbanReason::Expired, out);
            }
            self.expire_exceptions(due, out);
            for index in 0..self.jails.len() {
                if self.jails.is_due(index, due) {
                    let mut verdicts = std::mem::take(&mut self.verdicts);
                    self.jails.at(index).advance(due, &mut verdicts);
                    self.judge(index, &mut verdicts, out);
                    self.verdicts = verdicts;
                }
            }
        }
        self.clock.reach(now);
    }

    /// The number of µs by which the machine's clock was set, as long as no record has shown it.
    pub(crate) fn clock_set(&mut self, by: i64, out: &mut Vec<Effect>) {
        self.clock.set(by);
        self.shift(by, out);
    }

    fn shift(&mut self, by: i64, out: &mut Vec<Effect>) {
        self.jails.iter_mut().for_each(|jail| jail.shift(by));
        self.bans.shift(by);
        self.exceptions.shift(by);
        self.history.shift(by);
        self.tops.shift(by);
        out.push(Effect::ClockSet(by));
    }

    /// Until when a source may be banned by its next failure, in µs: as long as that is not over, it
    /// matters that a record is read at once.
    pub(crate) fn near_until(&self) -> Option<Usec> {
        let reads = |jail: &&Jail| !jail.settings.filter.is_none();
        self.jails.iter().filter(reads).filter_map(Jail::near_until).max()
    }

    /// When the next ban or exception ends, in µs. What else has a deadline may wait: it is done at its own
    /// time, whenever somebody looks.
    pub(crate) fn next_end(&self) -> Option<Usec> {
        [self.bans.deadline(), self.exceptions.deadline()].into_iter().flatten().min()
    }

    /// When [`Self::advance`] has something to do next, in µs.
    pub(crate) fn deadline(&self) -> Option<Usec> {
        self.jails.iter().filter_map(Jail::deadline).chain(self.next_end()).min()
    }

    /// Ends all sessions: the journal that is replayed ends here, at the time `end`, and what has no
    /// counted attempt yet counts by its evidence.
    pub(crate) fn end_sessions(&mut self, end: Usec, out: &mut Vec<Effect>) {
        let end = end.max(self.clock.now());
        for index in 0..self.jails.len() {
            let mut verdicts = std::mem::take(&mut self.verdicts);
            self.jails.at(index).end_sessions(end, &mut verdicts);
            self.judge(index, &mut verdicts, out);
            self.verdicts = verdicts;
        }
    }

    /// All bans, in the order of their sources.
    pub(crate) fn bans(&self) -> impl Iterator<Item = &Ban> {
        self.bans.iter()
    }

    /// How many addresses of the machine itself are known.
    pub(crate) fn own_count(&self) -> usize {
        self.own.len()
    }

    /// How many bans are in force.
    pub(crate) fn ban_count(&self) -> usize {
        self.bans.len()
    }

    /// How many bans of a jail are in force.
    pub(crate) fn ban_count_of(&self, jail: &str) -> usize {
        self.bans.count_of(jail)
    }

    /// What the firewall should hold, each once.
    pub(crate) fn blocked(&self) -> Vec<(Arc<Scope>, IpNet)> {
        let mut blocked: Vec<(Arc<Scope>, IpNet)> = Vec::with_capacity(self.bans.len());
        let mut seen: Vec<Arc<Scope>> = Vec::new();
        let mut last = None;
        for ban in self.bans.iter() {
            // The bans of one source stand together.
            if last.replace(ban.source) != Some(ban.source) {
                seen.clear();
            }
            if let Some(scope) = self.scope(&ban.jail).filter(|scope| !seen.contains(scope)) {
                seen.push(Arc::clone(scope));
                blocked.push((Arc::clone(scope), ban.source));
            }
        }
        blocked
    }

    /// All sources that are banned, each once.
    pub(crate) fn banned(&self) -> Vec<IpNet> {
        self.bans.sources()
    }

    /// What the bans of all jails close, each once.
    pub(crate) fn scopes(&self) -> Vec<Arc<Scope>> {
        let mut scopes: Vec<Arc<Scope>> = self.jails().map(|jail| Arc::clone(&jail.scope)).collect();
        scopes.sort();
        scopes.dedup();
        scopes
    }

    /// What the bans of a jail close; none, if the jail is gone.
    pub(crate) fn scope(&self, jail: &str) -> Option<&Arc<Scope>> {
        self.jails().find(|known| known.name == jail).map(|known| &known.scope)
    }

    /// Failures counted since the engine first saw a record.
    pub(crate) fn failure_count(&self) -> u64 {
        self.failures
    }

    /// What has happened from `since` until `until`, in steps of `step` µs.
    ///
    /// # Errors
    /// If there is no such step.
    pub(crate) fn history(&self, since: Usec, until: Usec, step: Usec, now: Usec) -> Result<Vec<Row>, NoSuchStep> {
        self.history.rows(since, until, step, now.max(self.clock.now()))
    }

    /// Who has failed most, each with whether it is banned now.
    ///
    /// # Errors
    /// If there is no such jail.
    pub(crate) fn top(&self, question: &Question) -> Result<Vec<(Top, bool)>, CommandError> {
        question.jail.as_deref().map(|jail| self.find(jail)).transpose()?;
        let banned = |source| self.bans.all_covering(source).next().is_some();
        let tops = self.tops.top(question).into_iter();
        Ok(tops
            .map(|top| {
                let is_banned = banned(top.source);
                (top, is_banned)
            })
            .collect())
    }

    /// The settings of all jails.
    pub(crate) fn jails(&self) -> impl Iterator<Item = &JailSettings> {
        self.jails.iter().map(|jail| &jail.settings)
    }

    /// How many sources of a jail have failures that count, and how many sessions are open.
    pub(crate) fn counters(&self, jail: &str) -> Option<(usize, usize)> {
        let jail = self.jails.iter().find(|known| known.settings.name == jail)?;
        Some((jail.failing(), jail.open_sessions()))
    }
}

#[cfg(test)]
mod tests;
