//! The agent: connects wardend, the core and the brokers.
//!
//! One loop takes what happens on each side, and never waits for any: calls to wardend are carried out by a
//! task ([`crate::wardend::carry_out`]), and each broker has one. What is to be done for a source is not
//! queued: the core says which sources were touched, and the difference between what it decides and what
//! wardend holds is entered, so whatever was lost is found again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};
use wardend::core::net::text_of;

use crate::{
    core::{
        Seconds,
        fleet::{Decision, Fleet, Note},
        ledger::Claim,
        message::Message,
        own::Own,
        policy::{Policy, Refusal},
    },
    events,
    link::{Event, Link, Order},
    pardons::Pardons,
    places,
    wardend::{Happening, MOST_IN_A_CALL, Orders, Results, now, now_usec},
};

/// How long changes are gathered before news are sent.
const GATHER: Duration = Duration::from_millis(50);
/// When the document follows the first change, and how often at most.
const DOCUMENT_AFTER: Duration = Duration::from_secs(2);
const DOCUMENT_EVERY: Duration = Duration::from_secs(5);
/// The same for a document that is longer than this.
const LONG_DOCUMENT: usize = 16 * 1024;
const LONG_DOCUMENT_EVERY: Duration = Duration::from_secs(60);
/// How often a machine says that it lives; a fifth more or less.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// How often everything is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often what wardend holds is compared with what is decided.
const COMPARE: Duration = Duration::from_secs(10);
/// How long what wardend has refused is not tried again.
const REFUSED_FOR: Seconds = 300;
/// The most sources that are suspected: wardend keeps 4096, and administrators need some.
const MOST_WATCHED: usize = 3000;
/// How long an order to end a ban may take to be announced.
const EXPECTED_FOR: Duration = Duration::from_secs(60);
/// How long to wait after wardend could not be asked.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the end waits for what is still to be sent.
const GOODBYE: Duration = Duration::from_secs(3);
/// The most refusals that are remembered.
const MOST_REFUSED: usize = 10_000;

/// A question or an order of an administrator.
#[derive(Debug)]
pub(crate) enum Request {
    /// How everything is.
    Status(oneshot::Sender<Report>),
    /// What is known of a source.
    Explain(IpNet, oneshot::Sender<Explanation>),
    /// No voice against the source is to count, here and on machines that trust this one, until then.
    Pardon(IpNet, Seconds, oneshot::Sender<Result<(), String>>),
    /// Take back everything, and take no part any more.
    Leave(oneshot::Sender<()>),
}

/// How a broker is.
#[derive(Clone, Debug)]
pub(crate) struct BrokerState {
    /// Its address.
    pub(crate) name: String,
    /// There is a connection.
    pub(crate) up: bool,
    /// Since when, in µs.
    pub(crate) since_usec: u64,
    /// Why there is none, or what was last wrong.
    pub(crate) trouble: Option<String>,
}

/// How everything is.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The name of this machine.
    pub(crate) machine: String,
    /// It has left the fleet.
    pub(crate) left: bool,
    /// Why wardend can't be reached.
    pub(crate) wardend: Option<String>,
    /// The brokers.
    pub(crate) brokers: Vec<BrokerState>,
    /// The other machines.
    pub(crate) machines: Vec<crate::core::fleet::PeerView>,
    /// The own version, digest and number of bans that are sent, and how many have no place.
    pub(crate) own: (crate::core::message::Version, u64, usize, usize),
    /// The number of bans and of watched sources that the fleet has here.
    pub(crate) held: (usize, usize),
    /// The number of voices of all machines, and of sources that they are against.
    pub(crate) voices: (usize, usize),
    /// What did not count, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// How often a copy was not in step.
    pub(crate) gaps: u64,
    /// The time from the news of a ban to wardend's word that it is in force, in µs: the sum, and the number.
    pub(crate) latency: (u64, u64),
    /// The policy.
    pub(crate) policy: Policy,
}

/// What is known of a source.
#[derive(Clone, Debug)]
pub(crate) struct Explanation {
    /// What follows.
    pub(crate) decision: Decision,
    /// Until when the fleet has it banned here.
    pub(crate) held: Option<Seconds>,
    /// Until when it is suspected.
    pub(crate) watched: Option<Seconds>,
    /// Who says so.
    pub(crate) voices: Vec<crate::core::fleet::Voice>,
    /// This machine has banned it itself.
    pub(crate) own: Option<Claim>,
    /// Who pardons it, and until when.
    pub(crate) pardon: Option<(Arc<str>, Seconds)>,
    /// What wardend has said to a ban.
    pub(crate) refused: Option<String>,
    /// The quorum.
    pub(crate) quorum: usize,
}

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
    fleet: Fleet,
    own: Own,
    brokers: Vec<Broker>,
    orders: mpsc::Sender<Orders>,
    pardons: Pardons,
    /// What shared jails have banned, by source and jail.
    shared: BTreeMap<IpNet, BTreeMap<String, Claim>>,
    held: BTreeMap<IpNet, Seconds>,
    watched: BTreeMap<IpNet, Seconds>,
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
    news_at: Option<Instant>,
    document_at: Option<Instant>,
    document_sent: Option<Instant>,
    document_long: bool,
    heartbeat_at: Instant,
    compare_at: Instant,
    report: String,
}

impl Agent {
    /// Takes part in the fleet until the process is asked to stop.
    pub(crate) async fn run(mut parts: Parts, mut stop: oneshot::Receiver<()>) {
        let start = Instant::now();
        let mut fleet = Fleet::new(&parts.machine, parts.policy);
        let pardons = Pardons::load(parts.state);
        for (source, until) in pardons.all() {
            fleet.pardon(*source, *until);
        }
        let brokers = parts.links.into_iter().map(|link| Broker {
            state: BrokerState { name: link.name.clone(), up: false, since_usec: now_usec(), trouble: None },
            link,
            addresses: BTreeSet::new(),
            complete: false,
        });
        let mut agent = Self {
            fleet,
            own: Own::new(now_usec()),
            brokers: brokers.collect(),
            orders: parts.orders,
            pardons,
            shared: BTreeMap::new(),
            held: BTreeMap::new(),
            watched: BTreeMap::new(),
            refused: HashMap::new(),
            expected: HashMap::new(),
            heard: HashMap::new(),
            latency: (0, 0),
            wardend: Some(String::new()),
            failed: None,
            pause_until: start,
            busy: false,
            left: false,
            news_at: None,
            document_at: None,
            document_sent: None,
            document_long: false,
            heartbeat_at: start + heartbeat(),
            compare_at: start + COMPARE,
            report: String::new(),
        };
        agent.places();
        events::ready();
        let mut tick = start + TICK;
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

    fn event(&mut self, number: usize, event: Event) {
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
                    self.fleet.left(&machine);
                }
            }
            Event::Complete => {
                let Some(broker) = self.brokers.get_mut(number) else { return };
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
        if live {
            for source in self.fleet.touched() {
                if self.heard.len() < MOST_REFUSED {
                    self.heard.entry(*source).or_insert(instant);
                }
            }
        }
    }

    /// What the broker has of this machine: an epoch that is later than ours would make ours the older one.
    fn own_document(&mut self, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes)
            && message.version > self.own.version()
            && message.version.epoch >= self.own.version().epoch
        {
            self.own.overtake(message.version.epoch);
            self.document_at = Some(Instant::now());
        }
    }

    /// A broker knows the others now, and gets to know this machine.
    fn introduce(&mut self, number: usize) {
        if self.wardend.is_some() {
            // What is banned here is not known yet, and an empty document would take back what was said before.
            return;
        }
        let time = now();
        let news = self.own.news(time);
        for bytes in news {
            self.to_all(&Order::News(bytes));
        }
        let document = self.own.document(time);
        let heartbeat = self.own.heartbeat(time);
        self.order(number, Order::Document(document));
        self.order(number, Order::News(heartbeat));
    }

    fn order(&self, number: usize, order: Order) {
        if let Some(broker) = self.brokers.get(number).filter(|broker| broker.state.up)
            && broker.link.orders.try_send(order).is_err()
        {
            events::broker_trouble(
                &broker.state.name,
                "Orders come faster than the broker takes them; some were dropped, and will be sent again.",
            );
        }
    }

    fn to_all(&self, order: &Order) {
        for number in 0..self.brokers.len() {
            let copy = match order {
                Order::News(bytes) => Order::News(bytes.clone()),
                Order::Document(bytes) => Order::Document(bytes.clone()),
                Order::Fetch(machine) => Order::Fetch(Arc::clone(machine)),
                Order::FetchAll => Order::FetchAll,
            };
            self.order(number, copy);
        }
    }

    fn happening(&mut self, happening: Happening) {
        match happening {
            Happening::All(known) => {
                if self.wardend.take().is_some_and(|why| !why.is_empty()) {
                    events::wardend_back();
                }
                self.shared = known.shared;
                self.held = known.held;
                self.watched = known.watched;
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

    /// A shared jail has banned or released a source.
    fn say(&mut self, source: IpNet) {
        match self.shared.get(&source).and_then(longest) {
            Some(claim) => {
                self.fleet.own(source, Some(claim.until));
                if !self.left {
                    self.own.ban(source, claim.until, &claim.jail, claim.count);
                }
            }
            None => {
                self.fleet.own(source, None);
                self.own.unban(source);
            }
        }
    }

    /// Sends what is due.
    fn publish(&mut self) {
        let instant = Instant::now();
        if self.own.has_news() && self.news_at.is_none() && self.wardend.is_none() {
            self.news_at = Some(instant + GATHER);
        }
        if self.news_at.is_some_and(|at| instant >= at) {
            self.news_at = None;
            for bytes in self.own.news(now()) {
                self.to_all(&Order::News(bytes));
            }
            if self.document_at.is_none() {
                let every = if self.document_long { LONG_DOCUMENT_EVERY } else { DOCUMENT_EVERY };
                let earliest = self.document_sent.map_or(instant, |sent| sent + every);
                self.document_at = Some((instant + DOCUMENT_AFTER).max(earliest));
            }
        }
        if self.document_at.is_some_and(|at| instant >= at) && self.wardend.is_none() {
            self.document_at = None;
            self.document_sent = Some(instant);
            let document = self.own.document(now());
            self.document_long = document.len() > LONG_DOCUMENT;
            self.to_all(&Order::Document(document));
        } else if self.wardend.is_some() {
            self.document_at = self.document_at.filter(|at| instant < *at);
        }
    }

    fn tick(&mut self, instant: Instant) {
        let time = now();
        self.fleet.tick(time);
        if instant >= self.heartbeat_at {
            self.heartbeat_at = instant + heartbeat();
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
        self.watched.retain(|_, until| *until > time);
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

    /// Everything that is held is decided again.
    fn compare(&mut self) {
        let held: Vec<IpNet> = self.held.keys().chain(self.watched.keys()).copied().collect();
        self.fleet.touch(held);
    }

    /// The addresses that are never banned by the fleet.
    fn places(&mut self) {
        let mut never = places::gateways_and_resolvers();
        never.extend(self.brokers.iter().flat_map(|broker| broker.addresses.iter().copied()));
        self.fleet.set_never(never);
    }

    /// Hands over what is decided and not held yet, if wardend has carried out what was ordered before.
    fn enter(&mut self) {
        let (time, instant) = (now(), Instant::now());
        if self.busy || self.wardend.is_some() || instant < self.pause_until {
            return;
        }
        let mut orders = Orders::default();
        for source in self.fleet.take_touched(MOST_IN_A_CALL) {
            let decision = if self.left { Decision::Nothing } else { self.fleet.decide(&source, time) };
            let refused = self.refused.get(&source).is_some_and(|(_, until)| *until > time);
            if !matches!(decision, Decision::Ban(_)) && self.held.contains_key(&source) {
                orders.unban.push(source);
                self.expected.insert(source, instant);
            }
            if !matches!(decision, Decision::Watch(_)) && self.watched.contains_key(&source) {
                orders.unwatch.push(source);
            }
            match decision {
                Decision::Ban(until) if !refused && self.held.get(&source).is_none_or(|held| until > held + 1) => {
                    orders.ban.push((source, until, self.reason(&source)));
                }
                Decision::Watch(until)
                    if !refused
                        && self.watched.get(&source).is_none_or(|held| until > held + 60)
                        && self.watched.len() + orders.watch.len() < MOST_WATCHED =>
                {
                    orders.watch.push((source, until, self.reason(&source)));
                }
                _ => {
                    self.heard.remove(&source);
                }
            }
        }
        if !orders.is_empty() && self.orders.try_send(orders).is_ok() {
            self.busy = true;
        }
    }

    /// Who says so, for people.
    fn reason(&self, source: &IpNet) -> String {
        let voices = self.fleet.voices(source);
        let names: Vec<&str> =
            voices.iter().filter(|voice| voice.refusal.is_none()).map(|voice| &*voice.machine).collect();
        match names[..] {
            [] => "banned by the fleet".to_owned(),
            [one] => format!("banned by {one}"),
            [one, two] => format!("banned by {one} and {two}"),
            [one, two, ref more @ ..] => format!("banned by {one}, {two} and {} more machines", more.len()),
        }
    }

    fn results(&mut self, results: Results) {
        self.busy = false;
        let time = now();
        for (source, until) in results.banned {
            self.held.insert(source, until);
            if let Some(since) = self.heard.remove(&source) {
                let usec = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.latency = (self.latency.0.saturating_add(usec), self.latency.1 + 1);
            }
        }
        for source in results.unbanned {
            self.held.remove(&source);
        }
        self.watched.extend(results.watched);
        for source in results.unwatched {
            self.watched.remove(&source);
        }
        for (source, why) in results.refused {
            self.heard.remove(&source);
            if self.refused.len() < MOST_REFUSED {
                self.refused.insert(source, (why, time.saturating_add(REFUSED_FOR)));
            }
        }
        if let Some(why) = &results.failed {
            if self.failed.as_ref() != Some(why) {
                events::not_entered(why);
            }
            // What is held is not known any more; the next comparison finds out.
            self.pause_until = Instant::now() + PAUSE;
            self.fleet.touch_all();
            self.compare();
        }
        self.failed = results.failed;
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Status(reply) => drop(reply.send(self.describe())),
            Request::Explain(source, reply) => drop(reply.send(self.explain(source))),
            Request::Pardon(source, until, reply) => {
                let outcome = if self.left {
                    Err("This machine has left the fleet.".to_owned())
                } else if self.own.pardon(source, until) {
                    self.fleet.pardon(source, until);
                    self.pardons.add(source, until);
                    events::pardoned(&text_of(source), until, "an administrator has ordered it");
                    Ok(())
                } else {
                    Err("There are 100 pardons of this machine already, which is the most.".to_owned())
                };
                drop(reply.send(outcome));
            }
            Request::Leave(reply) => {
                self.left = true;
                self.own.replace(&BTreeMap::new());
                self.news_at = Some(Instant::now());
                self.document_at = Some(Instant::now() + GATHER);
                self.compare();
                events::left();
                let _ = reply.send(());
            }
        }
    }

    fn describe(&self) -> Report {
        Report {
            machine: self.name().to_owned(),
            left: self.left,
            wardend: self.wardend.clone(),
            brokers: self.brokers.iter().map(|broker| broker.state.clone()).collect(),
            machines: self.fleet.machines().collect(),
            own: (self.own.version(), self.own.ledger().sum(), self.own.ledger().bans().len(), self.own.left_out()),
            held: (self.held.len(), self.watched.len()),
            voices: (self.fleet.entries(), self.fleet.sources()),
            refused: self.fleet.refused().clone(),
            gaps: self.fleet.gaps(),
            latency: self.latency,
            policy: self.fleet.policy().clone(),
        }
    }

    fn explain(&self, source: IpNet) -> Explanation {
        let time = now();
        Explanation {
            decision: self.fleet.decide(&source, time),
            held: self.held.get(&source).copied(),
            watched: self.watched.get(&source).copied(),
            voices: self.fleet.voices(&source),
            own: self.shared.get(&source).and_then(longest),
            pardon: self.fleet.pardon_of(&source, time),
            refused: self.refused.get(&source).map(|(why, _)| why.clone()),
            quorum: self.fleet.policy().quorum,
        }
    }

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        if self.left {
            return "This machine has left the fleet.".to_owned();
        }
        match &self.wardend {
            Some(why) if why.is_empty() => return "Waiting for wardend.".to_owned(),
            Some(why) => return why.clone(),
            None => {}
        }
        let up = self.brokers.iter().filter(|broker| broker.state.up).count();
        let plural =
            |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
        format!(
            "{} of {} connected, {} known, {} of others in force, {} suspected.",
            up,
            plural(self.brokers.len(), "broker", "brokers"),
            plural(self.fleet.machines().count(), "other machine", "other machines"),
            plural(self.held.len(), "ban", "bans"),
            plural(self.watched.len(), "source", "sources"),
        )
    }

    fn take_notes(&mut self) {
        for note in self.fleet.take_notes() {
            match note {
                Note::Muted { machine, why, until } => events::muted(&machine, &why, until),
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

    /// What was not sent yet is sent before the end.
    async fn say_goodbye(mut self) {
        if self.wardend.is_none() || self.left {
            for bytes in self.own.news(now()) {
                self.to_all(&Order::News(bytes));
            }
            let document = self.own.document(now());
            self.to_all(&Order::Document(document));
        }
        // Each broker's task ends when its orders do, after it has carried out the last one.
        let last: Vec<_> = self.brokers.drain(..).map(|broker| broker.link.orders).collect();
        let done = async {
            while last.iter().any(|orders| orders.capacity() < orders.max_capacity() && !orders.is_closed()) {
                sleep(Duration::from_millis(10)).await;
            }
            // What was taken is on its way.
            sleep(GATHER * 4).await;
        };
        let _ = timeout(GOODBYE, done).await;
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
