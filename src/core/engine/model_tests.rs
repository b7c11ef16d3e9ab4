//! The engine against a reference that keeps everything and recomputes it.
//!
//! A random history has failures, evidence that comes to light late, logins, records out of
//! order, clocks that are set, reboots, new settings, restarts and mere time in between. The
//! reference thinks in true time and in lists that are never trimmed, and shares no code with the
//! engine but the settings. Both must ban and free the same sources at the same µs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::core::{
    engine::enforce::ban_end,
    jail::{Subnet, Width},
    net::Prefixes,
    record::Cursor,
    session::SILENCE,
};

/// A random step; numbers are made sense of when it is taken.
#[derive(Clone, Debug)]
enum Step {
    /// A line of sshd: seconds after the one before, how late it is handed over, process, host.
    Line { after: u64, late: u64, pid: u32, host: u8, what: What },
    /// The clock is set.
    Set(i64),
    /// The machine is rebooted, and its clock is behind by this many seconds.
    Reboot(u64),
    /// Other settings.
    Reload(Choice),
    /// The daemon is killed and goes on from its snapshot.
    Restart,
    /// Time passes, without a record.
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Failed,
    Invalid,
    ClosedInvalid,
    Accepted,
}

/// The settings of a history.
#[derive(Clone, Debug)]
struct Choice {
    maxretry: u32,
    bantime: Option<u64>,
    jitter: u64,
    factor: u32,
    wide: bool,
    ignored: Option<u8>,
    subnet: Option<u32>,
    spare: Option<u64>,
    licence: Option<u32>,
    hopping: Vec<Width>,
}

const FINDTIME: Usec = 100 * SECOND;

impl Choice {
    fn apply(&self, jail: &mut JailSettings) {
        jail.maxretry = self.maxretry;
        jail.findtime = FINDTIME;
        jail.bantime = self.bantime.map(|seconds| seconds * SECOND);
        jail.bantime_factor = self.factor;
        jail.bantime_max = Some(500 * SECOND);
        jail.bantime_jitter = self.jitter * SECOND;
        jail.forget = 400 * SECOND;
        jail.prefixes = Prefixes { ipv4: if self.wide { 31 } else { 32 }, ipv6: if self.wide { 63 } else { 64 } };
        let ignored =
            self.ignored.into_iter().flat_map(|host| [false, true].map(|six| IpNet::from(address(host, six)).into()));
        jail.ignoreip = ignored.collect();
        jail.subnet = self.subnet.map(|maxretry| Subnet { maxretry, prefixes: Prefixes { ipv4: 29, ipv6: 61 } });
        jail.spare_logins = self.spare.map(|seconds| seconds * SECOND);
        jail.spare_maxretry = self.licence;
        jail.hopping.clone_from(&self.hopping);
    }
}

/// The line that tells of a new boot.
const FIRST_LINE: Step = Step::Line { after: 0, late: 0, pid: 99, host: 200, what: What::Accepted };

/// Two networks of eight hosts, or of eight IPv6 customers; the higher bits tell them apart.
fn address(host: u8, six: bool) -> IpAddr {
    if six { IpAddr::from([0x2001, 0xdb8, 0, u16::from(host), 0, 0, 0, 1]) } else { [203, 0, 113, host].into() }
}

/// Who tries to log in.
fn user(pid: u32) -> &'static str {
    if pid.is_multiple_of(3) { "root" } else { "alice" }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    address: IpAddr,
    time: Usec,
    user: &'static str,
    session: usize,
}

/// A failure that counts towards wider networks, except for the narrowest widths, as many as the number says.
#[derive(Clone, Debug)]
struct Hop {
    failed: Failed,
    spent: usize,
}

/// A ban as the reference has it, in true time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    source: IpNet,
    since: Usec,
    until: Option<Usec>,
    evidence: bool,
}

#[derive(Clone, Debug)]
struct Open {
    number: usize,
    last: Usec,
    address: IpAddr,
    failed: bool,
    succeeded: bool,
    clue: Option<Usec>,
}

/// What happened, in true time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Banned { source: IpNet, since: Usec, until: Option<Usec>, count: u32 },
    Freed { source: IpNet },
}

/// The reference.
struct Reference {
    settings: JailSettings,
    /// Everybody comes over IPv6.
    six: bool,
    hops: Vec<Hop>,
    /// What spared sources have done.
    spared: Vec<(IpNet, Failed)>,
    names: Vec<(IpAddr, &'static str)>,
    now: Usec,
    /// How far the engine's clock is ahead of true time; only the jitter hangs on it.
    ahead: i64,
    failures: Vec<Failed>,
    logins: Vec<(IpAddr, Usec)>,
    sessions: BTreeMap<u32, Open>,
    numbers: usize,
    bans: Vec<Held>,
    history: BTreeMap<IpNet, (u32, Usec)>,
    events: Vec<Event>,
}

impl Reference {
    fn new(settings: JailSettings, six: bool) -> Self {
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
    fn length(&self) -> u8 {
        if self.six { self.settings.prefixes.ipv6 } else { self.settings.prefixes.ipv4 }
    }

    fn source(&self, address: IpAddr) -> IpNet {
        let source = IpNet::new(address, self.length()).unwrap().trunc();
        let shared = self.settings.ignoreip.iter().any(|ignored| source.contains(&ignored.network));
        if shared { address.into() } else { source }
    }

    fn ignores(&self, address: IpAddr) -> bool {
        self.settings.ignoreip.iter().any(|ignored| ignored.network.contains(&address))
    }

    fn free(&mut self, source: IpNet, at: Usec) {
        self.bans.retain(|ban| ban.source != source);
        if let Some(history) = self.history.get_mut(&source) {
            history.1 = history.1.min(at);
        }
        self.events.push(Event::Freed { source });
    }

    /// Time comes to `to`: what is due on the way is done in the order of time.
    fn pass(&mut self, to: Usec) {
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

    fn end(&mut self, pid: u32, at: Usec) {
        let Some(open) = self.sessions.remove(&pid) else { return };
        if let Some(time) = open.clue
            && !open.failed
            && !open.succeeded
        {
            self.fail(&Failed { address: open.address, time, user: "x", session: open.number }, at);
        }
    }

    fn line(&mut self, time: Usec, pid: u32, address: IpAddr, what: What) {
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

    fn logged_in(&self, network: IpNet, at: Usec) -> bool {
        let Some(span) = self.settings.spare_logins else { return false };
        self.logins.iter().any(|(address, time)| network.contains(address) && time + span >= at)
    }

    fn covered(&self, source: IpNet) -> bool {
        self.bans.iter().any(|ban| ban.source.contains(&source))
    }

    fn fail(&mut self, failed: &Failed, at: Usec) {
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
    fn has_done_too_much(&mut self, source: IpNet, failed: &Failed, at: Usec) -> bool {
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

    fn counts_as_hop(&self, source: IpNet) -> bool {
        self.six && !self.settings.hopping.is_empty() && source.prefix_len() == self.length()
    }

    fn stop_hopping(&mut self, source: IpNet, at: Usec) {
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

    fn widen(&mut self, source: IpNet, at: Usec) {
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
    fn ban_network(&mut self, network: IpNet, at: Usec) {
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

    fn ban(&mut self, source: IpNet, at: Usec) {
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

    fn reload(&mut self, settings: JailSettings) {
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

/// The engine, the reference, and the clock between them.
struct Both {
    desk: Desk,
    reference: Reference,
    /// The wall clock is so far ahead of true time.
    offset: i64,
    /// True time when the machine was started.
    booted: Usec,
    boot: u32,
    /// True time of the latest line.
    time: Usec,
    /// Lines that were written and not handed over yet.
    held: Vec<(Usec, Record, u32, IpAddr, What)>,
    lines: u32,
}

impl Both {
    fn new(choice: &Choice, six: bool) -> Self {
        let desk = Desk::new(|jail| choice.apply(jail));
        let settings = desk.engine.jails().next().unwrap().clone();
        let start = 1_000_000 * SECOND;
        let mut reference = Reference::new(settings, six);
        reference.now = start;
        let mut both =
            Self { desk, reference, offset: 0, booted: start, boot: 1, time: start, held: Vec::new(), lines: 0 };
        both.take(&FIRST_LINE).unwrap();
        both
    }

    /// As the daemon does before it lets time pass.
    fn look_at_the_clock(&mut self) {
        let by = self.offset - self.known();
        if by != 0 {
            self.desk.engine.clock_set(by, &mut self.desk.effects);
        }
        self.reference.ahead = self.offset;
    }

    /// The clock as the engine knows it by now.
    fn known(&self) -> i64 {
        self.desk.engine.clock.now().wrapping_sub(self.reference.now).cast_signed()
    }

    fn wall(&self, time: Usec) -> Usec {
        time.saturating_add_signed(self.offset)
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Line { after, late, pid, host, what } => {
                self.time += after * SECOND + u64::from(self.lines % 7);
                self.lines += 1;
                let (host, mut pid) = (address(*host, self.reference.six), pid + 100 * self.boot);
                if *what == What::Invalid {
                    // As sshd's first line of a session: evidence that is hours old when its
                    // session ends is no matter here.
                    pid = 1_000_000 + self.lines % 4_000 * 12 + pid % 12;
                }
                let user = user(pid);
                let message = match what {
                    What::Failed => format!("Failed password for {user} from {host} port 1 ssh2"),
                    What::Invalid => format!("Invalid user x from {host} port 1"),
                    What::ClosedInvalid => format!("Connection closed by invalid user x {host} port 1 [preauth]"),
                    What::Accepted => format!("Accepted password for {user} from {host} port 1 ssh2"),
                };
                let (wall, monotonic) = (self.wall(self.time), self.time - self.booted);
                let cursor = format!("s=1;i={:x};b={:032x};m={monotonic:x};t={wall:x};x=0", self.lines, self.boot);
                let mut record = self.desk.record(wall, pid, &message);
                let cursor = Cursor::from(cursor);
                (record.moment, record.cursor) = (cursor.moment(), Some(cursor));
                let held = (self.time + late * SECOND, record, pid, host, *what);
                self.held.push(held);
                self.hand_over(self.time)?;
            }
            Step::Wait(seconds) => {
                self.hand_over(Usec::MAX)?;
                self.look_at_the_clock();
                let to = self.reference.now + seconds * SECOND;
                self.time = self.time.max(to);
                self.desk.engine.advance(self.wall(to), &mut self.desk.effects);
                self.reference.pass(to);
            }
            Step::Set(seconds) => {
                // The lines that are on their way were written in the old clock.
                self.offset += seconds * SECOND.cast_signed();
            }
            Step::Reboot(behind) => {
                self.hand_over(Usec::MAX)?;
                self.look_at_the_clock();
                self.boot += 1;
                self.booted = self.time;
                if *behind > 0 {
                    // The clock seems to run backwards, so no time has passed.
                    self.time = self.reference.now - u64::from(self.lines % 7);
                    self.booted = self.time;
                    self.offset -= (behind * SECOND).cast_signed();
                }
                // A line tells of it before anything else does.
                self.take(&FIRST_LINE)?;
            }
            Step::Reload(choice) => {
                let mut jails: Vec<JailSettings> = self.desk.engine.jails().cloned().collect();
                for jail in &mut jails {
                    choice.apply(jail);
                }
                self.reference.reload(jails[0].clone());
                let now = self.desk.engine.clock.now();
                self.desk.engine.reload(jails, now, &mut self.desk.effects);
            }
            Step::Restart => {
                let saved = serde_json::to_vec(&self.desk.engine.save()).unwrap();
                let now = self.desk.engine.clock.now();
                self.desk.engine = Engine::new(self.desk.engine.jails().cloned().collect());
                let saved = serde_json::from_slice(&saved).unwrap();
                self.desk.engine.load(saved, now, &mut self.desk.effects);
            }
        }
        self.compare()
    }

    /// Hands over the lines that are due at the time `to`.
    fn hand_over(&mut self, to: Usec) -> Result<(), TestCaseError> {
        while let Some(at) = (0..self.held.len()).min_by_key(|at| self.held[*at].0)
            && self.held[at].0 <= to
        {
            let (_, record, pid, host, what) = self.held.remove(at);
            let time = self.booted + record.moment.unwrap().monotonic;
            self.desk.engine.record(&record, &mut self.desk.effects);
            let now = self.reference.now.max(time);
            self.reference.ahead = self.desk.engine.clock.now().wrapping_sub(now).cast_signed();
            self.reference.line(time, pid, host, what);
            self.compare()?;
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let mut expected = std::mem::take(&mut self.reference.events).into_iter();
        let known = self.known();
        for effect in std::mem::take(&mut self.desk.effects) {
            match effect {
                Effect::Banned(ban) => {
                    let truly = |time: Usec| time.saturating_add_signed(-known);
                    let (source, since, until, count) = (ban.source, truly(ban.since), ban.until.map(truly), ban.count);
                    prop_assert_eq!(expected.next(), Some(Event::Banned { source, since, until, count }));
                }
                Effect::Unbanned(ban, _) => {
                    prop_assert_eq!(expected.next(), Some(Event::Freed { source: ban.source }));
                }
                _ => {}
            }
        }
        prop_assert_eq!(expected.next(), None, "the engine has not done it");
        let bans: Vec<IpNet> = self.desk.engine.bans().map(|ban| ban.source).collect();
        let mut held: Vec<IpNet> = self.reference.bans.iter().map(|ban| ban.source).collect();
        held.sort_unstable();
        prop_assert_eq!(bans, held);
        Ok(())
    }
}

fn choice() -> impl Strategy<Value = Choice> {
    let bantime = prop_oneof![4 => (50u64..300).prop_map(Some), 1 => Just(None)];
    let ignored = prop::option::weighted(0.2, 0u8..12);
    let jitter = prop_oneof![2 => Just(0), 1 => 1u64..60];
    let subnet = prop::option::weighted(0.4, 2u32..5);
    let spare = prop::option::weighted(0.3, 1u64..300);
    let licence = prop::option::weighted(0.7, 1u32..6);
    // Some of three widths, the narrowest first.
    let width = |prefix| prop::option::weighted(0.6, (1u32..4).prop_map(move |times| Width { prefix, times }));
    let hopping = (width(62), width(61), width(60)).prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect());
    (1u32..5, bantime, 1u32..4, any::<bool>(), ignored, jitter, subnet, (spare, licence, hopping)).prop_map(
        |(maxretry, bantime, factor, wide, ignored, jitter, subnet, (spare, licence, hopping))| Choice {
            maxretry,
            bantime,
            jitter,
            factor,
            wide,
            ignored,
            subnet,
            spare,
            licence,
            hopping,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        6 => Just(What::Failed), 1 => Just(What::Invalid), 1 => Just(What::ClosedInvalid), 1 => Just(What::Accepted),
    ];
    let late = prop_oneof![3 => Just(0u64), 1 => 0u64..60];
    let line = (0u64..40, late, 0u32..12, 0u8..12, what).prop_map(|(after, late, pid, host, what)| Step::Line {
        after,
        late,
        pid,
        host,
        what,
    });
    // Much smaller ones are no set clock.
    let set = prop_oneof![1i64..50, -50i64..0].prop_map(|times| times * 100);
    prop_oneof![
        24 => line,
        1 => set.prop_map(Step::Set),
        1 => prop_oneof![Just(0u64), 2u64..2_000].prop_map(Step::Reboot),
        1 => choice().prop_map(Step::Reload),
        3 => Just(Step::Restart),
        2 => (0u64..400).prop_map(Step::Wait),
    ]
}

/// `WARDEND_HISTORIES` asks for more of them.
fn cases() -> u32 {
    std::env::var("WARDEND_HISTORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(500)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_engine_bans_as_a_reference_that_keeps_everything(
        choice in choice(), six in any::<bool>(), steps in prop::collection::vec(step(), 1..50),
    ) {
        // Once as it comes, and once with a restart after every step.
        for restless in [false, true] {
            let mut both = Both::new(&choice, six);
            for step in &steps {
                both.take(step)?;
                if restless {
                    both.take(&Step::Restart)?;
                }
            }
            both.take(&Step::Wait(10_000))?;
        }
    }
}
