//! The agent: connects wardend, the core and the brokers.
//!
//! One loop takes what happens on each side, and never waits for any: calls to wardend are carried out by a
//! task ([`crate::wardend::carry_out`]), and each broker has one. What is to be done for a source is not
//! queued: the core says which sources were touched, and the difference between what it decides and what
//! wardend holds is entered, so whatever was lost is found again.

mod answers;
mod clock;
mod enter;
mod publish;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use wardend::shared::text_of;

pub(crate) use self::answers::{BrokerState, Explanation, Report, Request};
use self::clock::Clock;
use crate::{
    core::{
        Seconds,
        fleet::{Fleet, Note},
        ledger::Claim,
        own::Own,
        policy::{Policy, Refusal},
    },
    events,
    link::{Event, LONGEST_PAUSE, Link, Order},
    pardons::Pardons,
    places,
    wardend::{Happening, Orders, Results, now, now_usec},
};

/// How long changes are gathered before news are sent.
const GATHER: Duration = Duration::from_millis(50);
/// How often a machine says that it lives; a fifth more or less.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// How soon a machine says to newcomers that it lives, for each that there is: a thousand answer within 100 s.
const ANSWER: Duration = Duration::from_millis(100);
/// The most refusals that are remembered.
const MOST_REFUSED: usize = 10_000;
/// How often everything is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often what wardend holds is compared with what is decided.
const COMPARE: Duration = Duration::from_secs(10);
/// How long an order to end a ban may take to be announced.
const EXPECTED_FOR: Duration = Duration::from_secs(60);
/// How long after a start what is held is not released for want of voices: the broker may have been empty, and
/// whoever has lost it comes back within this time, and says again what it holds.
const SETTLE: Duration = LONGEST_PAUSE;

/// What the agent is made of.
pub(crate) struct Parts {
    /// The name of this machine in subjects.
    pub(crate) machine: String,
    /// What is believed.
    pub(crate) policy: Policy,
    /// The brokers.
    pub(crate) links: Vec<Link>,
    /// What they say.
    pub(crate) events: mpsc::Receiver<(usize, Event)>,
    /// What happens in wardend.
    pub(crate) happenings: mpsc::Receiver<Happening>,
    /// Where orders for wardend go.
    pub(crate) orders: mpsc::Sender<Orders>,
    /// What has come of them.
    pub(crate) results: mpsc::Receiver<Results>,
    /// Administrators.
    pub(crate) requests: mpsc::Receiver<Request>,
    /// Where pardons are kept.
    pub(crate) state: Option<PathBuf>,
}

struct Broker {
    link: Link,
    state: BrokerState,
    addresses: BTreeSet<IpAddr>,
    /// The own document was read there, so it is known which epochs were used.
    complete: bool,
}

/// The agent.
pub(crate) struct Agent {
    clock: Clock,
    fleet: Fleet,
    own: Own,
    brokers: Vec<Broker>,
    orders: mpsc::Sender<Orders>,
    pardons: Pardons,
    /// What shared jails have banned, by source and jail.
    shared: BTreeMap<IpNet, BTreeMap<String, Claim>>,
    held: BTreeMap<IpNet, Seconds>,
    suspected: BTreeMap<IpNet, Seconds>,
    refused: HashMap<IpNet, (String, Seconds)>,
    /// The ends of bans that this program has ordered, and that are not announced yet.
    expected: HashMap<IpNet, Instant>,
    /// When news that touch a source came in.
    heard: HashMap<IpNet, Instant>,
    latency: (u64, u64),
    /// Why wardend can't be reached; empty if it was not asked yet.
    wardend: Option<String>,
    /// What could not be entered last, and when to try again.
    failed: Option<String>,
    pause_until: Instant,
    busy: bool,
    left: bool,
    /// From when on what others do not say is released; none while no broker has told what they say.
    settled_at: Option<Instant>,
    news_at: Option<Instant>,
    document_at: Option<Instant>,
    document_sent: Option<Instant>,
    document_long: bool,
    heartbeat_at: Instant,
    heartbeat_sent: Option<Instant>,
    compare_at: Instant,
    report: String,
}

impl Agent {
    /// Takes part in the fleet until the process is asked to stop.
    pub(crate) async fn run(mut parts: Parts, mut stop: oneshot::Receiver<()>) {
        let links = std::mem::take(&mut parts.links);
        let mut agent = Self::new(&parts.machine, parts.policy, links, parts.orders, Pardons::load(parts.state));
        agent.places();
        events::ready();
        let mut tick = Instant::now() + TICK;
        loop {
            let next = [Some(tick), agent.news_at, agent.document_at].into_iter().flatten().min().unwrap_or(tick);
            tokio::select! {
                _ = &mut stop => break,
                Some((number, event)) = parts.events.recv() => agent.event(number, event),
                Some(happening) = parts.happenings.recv() => agent.happening(happening),
                Some(results) = parts.results.recv() => agent.results(results),
                Some(request) = parts.requests.recv() => agent.request(request),
                () = sleep_until(next) => {
                    let instant = Instant::now();
                    if instant >= tick {
                        tick = instant + TICK;
                        agent.tick(instant);
                    }
                }
            }
            agent.publish();
            agent.enter();
        }
        agent.say_goodbye().await;
    }

    fn new(machine: &str, policy: Policy, links: Vec<Link>, orders: mpsc::Sender<Orders>, pardons: Pardons) -> Self {
        let start = Instant::now();
        let mut fleet = Fleet::new(machine, policy);
        for (source, until) in pardons.all() {
            fleet.pardon(*source, *until);
        }
        let brokers = links.into_iter().map(|link| Broker {
            state: BrokerState { name: link.name.clone(), up: false, since_usec: now_usec(), trouble: None },
            link,
            addresses: BTreeSet::new(),
            complete: false,
        });
        Self {
            clock: Clock::look(),
            fleet,
            own: Own::new(now_usec()),
            brokers: brokers.collect(),
            orders,
            pardons,
            shared: BTreeMap::new(),
            held: BTreeMap::new(),
            suspected: BTreeMap::new(),
            refused: HashMap::new(),
            expected: HashMap::new(),
            heard: HashMap::new(),
            latency: (0, 0),
            wardend: Some(String::new()),
            failed: None,
            pause_until: start,
            busy: false,
            left: false,
            settled_at: None,
            news_at: None,
            document_at: None,
            document_sent: None,
            document_long: false,
            heartbeat_at: start + heartbeat(),
            heartbeat_sent: None,
            compare_at: start + COMPARE,
            report: String::new(),
        }
    }

    /// If somebody has set the clock, all times are shifted along, as those of wardend's bans are: each ban lasts as
    /// long as it would have, here and on the other machines.
    fn look_at_the_clock(&mut self) {
        let Some(by) = self.clock.was_set() else { return };
        let shift = |time: &mut Seconds| *time = time.saturating_add_signed(by);
        self.own.shift(by);
        self.fleet.shift(by);
        self.shared.values_mut().flat_map(BTreeMap::values_mut).for_each(|claim| shift(&mut claim.until));
        self.held.values_mut().chain(self.suspected.values_mut()).for_each(shift);
        self.refused.values_mut().for_each(|(_, until)| shift(until));
        self.pardons.shift(by);
    }

    fn event(&mut self, number: usize, event: Event) {
        self.look_at_the_clock();
        let time = now();
        match event {
            Event::Up(addresses) => {
                let Some(broker) = self.brokers.get_mut(number) else { return };
                events::broker_back(&broker.state.name);
                broker.state =
                    BrokerState { name: broker.state.name.clone(), up: true, since_usec: now_usec(), trouble: None };
                broker.addresses = addresses;
                broker.complete = false;
                self.places();
                self.order(number, Order::FetchAll);
            }
            Event::Down(why) => {
                let Some(broker) = self.brokers.get_mut(number) else { return };
                if broker.state.up || broker.state.trouble.as_ref() != Some(&why) {
                    events::broker_lost(&broker.state.name, &why);
                }
                let since_usec = if broker.state.up { now_usec() } else { broker.state.since_usec };
                broker.state =
                    BrokerState { name: broker.state.name.clone(), up: false, since_usec, trouble: Some(why) };
            }
            Event::Trouble(why) => {
                let Some(broker) = self.brokers.get_mut(number) else { return };
                if broker.state.trouble.as_ref() != Some(&why) {
                    events::broker_trouble(&broker.state.name, &why);
                }
                broker.state.trouble = Some(why);
            }
            Event::News(machine, bytes) => self.receive(&machine, &bytes, true, time),
            Event::Document(machine, bytes) if *machine == *self.name() => self.own_document(&bytes),
            Event::Document(machine, bytes) => self.receive(&machine, &bytes, false, time),
            Event::Absent(machine) => {
                // Another broker may have it.
                if self.brokers.iter().filter(|broker| broker.state.up).count() == 1 {
                    self.fleet.left(&machine, time);
                }
            }
            Event::Complete => {
                let Some(broker) = self.brokers.get_mut(number) else { return };
                self.settled_at.get_or_insert_with(|| Instant::now() + SETTLE);
                if !std::mem::replace(&mut broker.complete, true) {
                    self.introduce(number);
                }
            }
        }
        self.take_notes();
    }

    fn name(&self) -> &str {
        self.fleet.me()
    }

    fn receive(&mut self, machine: &str, bytes: &[u8], live: bool, time: Seconds) {
        if self.left {
            return;
        }
        let instant = Instant::now();
        self.fleet.receive(machine, bytes, live, time);
        if self.fleet.take_newcomer() {
            self.answer(instant);
        }
        if live {
            for source in self.fleet.entered() {
                if self.heard.len() < MOST_REFUSED {
                    self.heard.entry(*source).or_insert(instant);
                }
            }
        }
    }

    /// Somebody has come who does not know the clock of this machine until it speaks. As all are to speak, each does
    /// it at a time of its own, and not again before all could have.
    fn answer(&mut self, instant: Instant) {
        let machines = u32::try_from(self.fleet.machines().count()).unwrap_or(u32::MAX);
        let all = ANSWER.saturating_mul(machines);
        let turn = instant + all * u32::try_from(now_usec() % 1000).unwrap_or(0) / 1000;
        let earliest = self.heartbeat_sent.map_or(turn, |sent| turn.max(sent + all));
        self.heartbeat_at = self.heartbeat_at.min(earliest);
    }

    fn happening(&mut self, happening: Happening) {
        self.look_at_the_clock();
        match happening {
            Happening::All(known) => {
                if self.wardend.take().is_some_and(|why| !why.is_empty()) {
                    events::wardend_back();
                }
                self.shared = known.shared;
                self.held = known.held;
                self.suspected = known.suspected;
                self.refused.clear();
                let all: BTreeMap<IpNet, Claim> =
                    self.shared.iter().filter_map(|(source, claims)| Some((*source, longest(claims)?))).collect();
                if !self.left {
                    self.own.replace(&all);
                }
                self.fleet.replace_own(&all.iter().map(|(source, claim)| (*source, claim.until)).collect());
                self.fleet.touch_all();
                self.compare();
                for number in 0..self.brokers.len() {
                    if self.brokers[number].complete {
                        self.introduce(number);
                    }
                }
            }
            Happening::Banned(source, claim) => {
                self.shared.entry(source).or_default().insert(claim.jail.to_string(), claim);
                self.say(source);
            }
            Happening::Unbanned(jail, source) => {
                if let Some(claims) = self.shared.get_mut(&source) {
                    claims.remove(&jail);
                    if claims.is_empty() {
                        self.shared.remove(&source);
                    }
                }
                self.say(source);
            }
            Happening::Held(source, until) => {
                self.held.insert(source, until);
            }
            Happening::Released(source, ordered) => {
                let until = self.held.remove(&source);
                if self.expected.remove(&source).is_none()
                    && ordered
                    && let Some(until) = until.filter(|until| *until > now())
                {
                    // Somebody has released whom the others have banned: they stay released here.
                    self.fleet.pardon(source, until);
                    self.pardons.add(source, until);
                    events::pardoned(&text_of(source), until, "somebody has ended its ban on this machine");
                }
            }
            Happening::Lost(why) => {
                if self.wardend.as_ref() != Some(&why) {
                    events::wardend_lost(&why);
                }
                self.wardend = Some(why);
            }
        }
    }

    fn tick(&mut self, instant: Instant) {
        self.look_at_the_clock();
        let time = now();
        self.fleet.tick(time);
        if instant >= self.heartbeat_at {
            (self.heartbeat_at, self.heartbeat_sent) = (instant + heartbeat(), Some(instant));
            if self.wardend.is_none() {
                let heartbeat = self.own.heartbeat(time);
                self.to_all(&Order::News(heartbeat));
            }
            self.places();
        }
        if instant >= self.compare_at {
            self.compare_at = instant + COMPARE;
            self.compare();
        }
        for machine in self.fleet.wanted(time) {
            self.to_all(&Order::Fetch(machine));
        }
        self.shared.retain(|_, claims| {
            claims.retain(|_, claim| claim.until > time);
            !claims.is_empty()
        });
        self.suspected.retain(|_, until| *until > time);
        let again: Vec<IpNet> =
            self.refused.iter().filter(|(_, (_, until))| *until <= time).map(|(source, _)| *source).collect();
        for source in &again {
            self.refused.remove(source);
        }
        self.fleet.touch(again);
        self.expected.retain(|_, since| instant < *since + EXPECTED_FOR);
        self.heard.retain(|_, since| instant < *since + EXPECTED_FOR);
        self.pardons.expire(time);
        self.take_notes();
        let report = self.status();
        if report != self.report {
            events::status(&report);
            self.report = report;
        }
        events::alive();
    }

    /// The addresses that are never banned by the fleet.
    fn places(&mut self) {
        let mut never = places::gateways_and_resolvers();
        never.extend(self.brokers.iter().flat_map(|broker| broker.addresses.iter().copied()));
        self.fleet.set_never(never);
    }

    fn take_notes(&mut self) {
        for note in self.fleet.take_notes() {
            match note {
                Note::Muted { machine, why, until } => events::muted(&machine, &why.to_string(), until),
                Note::Unmuted(machine) => events::unmuted(&machine),
                Note::Clock { machine, by } => events::clock(&machine, by),
                Note::Crowded => events::crowded(self.fleet.policy().voices),
                Note::Stranger(machine) => events::stranger(&machine, self.fleet.policy().machines),
                Note::Newer(machine) => events::newer(&machine),
                Note::Refused { machine, source, why } => {
                    let what = match why {
                        Refusal::Network => "which is wider than a source",
                        Refusal::Jail => "in a jail that does not count",
                        Refusal::Never => "which is an address of a broker, a gateway or a resolver",
                    };
                    events::refused(&machine, &text_of(source), what);
                }
            }
        }
    }
}

/// Of the bans of several jails, the one that ends last.
fn longest(claims: &BTreeMap<String, Claim>) -> Option<Claim> {
    claims.values().max_by_key(|claim| claim.until).cloned()
}

/// When to say again that this machine lives.
fn heartbeat() -> Duration {
    let share = u32::try_from(now_usec() % 400).unwrap_or(0);
    HEARTBEAT * (800 + share) / 1000
}
