//! A crowd: many machines in one process, each with its own certificate and connection, that say what machines
//! say. `examples/crowd.rs` runs it, for the lab and for measurements; nothing of it is in wardend-fleet.

#![allow(clippy::print_stderr, reason = "it is a tool, and nobody reads a journal of it")]

use std::{collections::BTreeMap, io::Write, net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use ipnet::IpNet;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    config::{Broker, subject_name},
    core::own::Own,
    engines,
    link::{Event, Identity, Link, Order},
    wardend::{now, now_usec},
};

/// The first source that a crowd bans: of the network for measurements.
const FIRST_SOURCE: u32 = u32::from_be_bytes([198, 18, 16, 0]);
/// The number of the first further one.
const FURTHER: u32 = 60_000;
/// How long a ban lasts, in seconds.
const BAN: u64 = 7200;
const DOCUMENT_AFTER: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_secs(300);
/// How often changes are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// The number of machines that are on the way to the broker at a time: machines do not all start in one moment.
const ON_THE_WAY: usize = 32;
/// How long the end waits for the broker to have what was said.
const GOODBYE: Duration = Duration::from_secs(60);

/// Many machines of a fleet, named crowd0.example and so on. At the end, prints the digest of each as JSON.
#[derive(Debug, Parser)]
struct Arguments {
    /// The broker, as in fleet.conf
    broker: String,
    /// Where ca.pem is, and NAME.pem and NAME-key.pem of each machine
    directory: PathBuf,
    /// The number of machines
    #[arg(long, default_value_t = 100)]
    machines: usize,
    /// The number of the first one
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// The bans of each
    #[arg(long, default_value_t = 10)]
    bans: u32,
    /// Each second machine bans what the one before it does, so that two do
    #[arg(long)]
    pairs: bool,
    /// When the bans begin, in seconds from when all are connected
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// Over how many seconds the machines begin with their bans, one after the other
    #[arg(long, default_value_t = 0)]
    over: u64,
    /// Further bans each second, of all machines together
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// How long to go on, in seconds from when all are connected
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

struct Machine {
    name: String,
    own: Own,
    /// None until it is this machine's turn to connect.
    link: Option<Link>,
    up: bool,
    banned: bool,
    document_at: Option<Instant>,
    heartbeat_at: Instant,
}

struct Crowd {
    arguments: Arguments,
    broker: Broker,
    machines: Vec<Machine>,
    /// The number of those that have been sent to the broker.
    started: usize,
    say: mpsc::Sender<(usize, Event)>,
    /// The number of further bans.
    further: u32,
    heard: u64,
    troubles: u64,
}

/// Runs a crowd.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let broker = match Broker::of(&arguments.broker) {
        Ok(broker) => broker,
        Err(error) => {
            eprintln!("crowd: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| runtime.block_on(Crowd::run(arguments, broker)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Crowd {
    async fn run(arguments: Arguments, broker: Broker) -> std::io::Result<()> {
        let (say, mut events) = mpsc::channel(1024);
        let begun = Instant::now();
        let machines = (0..arguments.machines).map(|number| Machine::new(arguments.first + number)).collect();
        let mut crowd = Self { arguments, broker, machines, started: 0, say, further: 0, heard: 0, troubles: 0 };
        let mut all_up = None;
        let mut tick = interval(GATHER);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((number, event)) = events.recv() => crowd.event(number, event),
                _ = tick.tick() => {
                    let instant = Instant::now();
                    crowd.connect_more();
                    crowd.publish(instant);
                    if all_up.is_none() && crowd.machines.iter().all(|machine| machine.up) {
                        eprintln!("All {} are connected after {:?}.", crowd.machines.len(), begun.elapsed());
                        all_up = Some(instant);
                    }
                    let Some(since) = all_up else { continue };
                    let after = since + Duration::from_secs(crowd.arguments.after);
                    crowd.ban(instant, after);
                    crowd.go_on(instant.saturating_duration_since(after));
                    if instant >= since + Duration::from_secs(crowd.arguments.seconds) {
                        break;
                    }
                }
            }
        }
        crowd.end(events).await
    }

    /// Some more set out for the broker.
    fn connect_more(&mut self) {
        let up = self.machines.iter().filter(|machine| machine.up).count();
        while self.started < self.machines.len() && self.started < up + ON_THE_WAY {
            let machine = &mut self.machines[self.started];
            let name = format!("crowd{}.example", self.arguments.first + self.started);
            let file = |end: &str| self.arguments.directory.join(format!("{name}{end}"));
            let identity = Identity {
                machine: machine.name.as_str().into(),
                authority: self.arguments.directory.join("ca.pem"),
                certificate: file(".pem"),
                key: file("-key.pem"),
            };
            machine.link = Some(engines::connect(self.started, self.broker.clone(), identity, self.say.clone()));
            self.started += 1;
        }
    }

    fn event(&mut self, number: usize, event: Event) {
        let Some(machine) = self.machines.get_mut(number) else { return };
        match event {
            Event::Up(_) => {
                machine.up = true;
                machine.introduce();
            }
            Event::Down(why) => {
                machine.up = false;
                self.troubles += 1;
                eprintln!("{}: {why}", machine.name);
            }
            Event::Trouble(why) => {
                self.troubles += 1;
                eprintln!("{}: {why}", machine.name);
            }
            Event::News(..) => self.heard += 1,
            Event::Document(..) | Event::Absent(_) | Event::Complete => {}
        }
    }

    /// The first bans of the machines whose turn it is.
    fn ban(&mut self, instant: Instant, after: Instant) {
        let count = u32::try_from(self.machines.len()).unwrap_or(u32::MAX).max(1);
        let step = Duration::from_secs(self.arguments.over) / count;
        let (bans, pairs, first) = (self.arguments.bans, self.arguments.pairs, self.arguments.first);
        for (number, machine) in self.machines.iter_mut().enumerate().filter(|(_, machine)| !machine.banned) {
            if instant < after + step * u32::try_from(number).unwrap_or(u32::MAX) {
                break;
            }
            if number == 0 {
                eprintln!("All bans begin at {}.", now_usec());
            }
            machine.banned = true;
            let place = (first + number) / if pairs { 2 } else { 1 };
            let begin = u32::try_from(place).unwrap_or(0) * bans;
            for at in begin..begin + bans {
                machine.own.ban(source(at), now() + BAN, "sshd", 1);
            }
        }
    }

    /// The further bans that are due.
    fn go_on(&mut self, since: Duration) {
        let due = u64::from(self.arguments.rate) * u64::try_from(since.as_millis()).unwrap_or(0) / 1000;
        while u64::from(self.further) < due {
            let number = self.further as usize * 7919 % self.machines.len();
            let at = FURTHER + self.further % FURTHER;
            self.machines[number].own.ban(source(at), now() + BAN, "sshd", 1);
            self.further += 1;
        }
    }

    fn publish(&mut self, instant: Instant) {
        for machine in self.machines.iter_mut().filter(|machine| machine.up) {
            if machine.own.has_news() {
                machine.say_news();
                machine.document_at.get_or_insert(instant + DOCUMENT_AFTER);
            }
            if machine.document_at.is_some_and(|at| instant >= at) {
                machine.introduce();
            }
            if instant >= machine.heartbeat_at {
                machine.heartbeat_at = instant + HEARTBEAT;
                machine.beat();
            }
        }
    }

    /// What was not said yet is said, and once the broker has all of it, what each has said is printed.
    async fn end(mut self, mut events: mpsc::Receiver<(usize, Event)>) -> std::io::Result<()> {
        for machine in &mut self.machines {
            if machine.own.has_news() || machine.document_at.is_some() {
                machine.say_news();
                machine.introduce();
            }
        }
        let digest = |machine: &Machine| (machine.name.clone(), format!("{:016x}", machine.own.ledger().sum()));
        let digests: BTreeMap<_, _> = self.machines.iter().map(digest).collect();
        // Each connection ends when its orders are carried out; the last one closes the channel.
        drop((self.machines, self.say));
        let rest = async {
            while let Some((number, event)) = events.recv().await {
                match event {
                    Event::News(..) => self.heard += 1,
                    Event::Down(why) | Event::Trouble(why) => {
                        self.troubles += 1;
                        eprintln!("Number {number} at the end: {why}");
                    }
                    _ => {}
                }
            }
        };
        if timeout(GOODBYE, rest).await.is_err() {
            eprintln!("The broker has not taken all within {} s.", GOODBYE.as_secs());
        }
        eprintln!(
            "Each has heard {} messages on average; the number of troubles is {}.",
            self.heard / digests.len().max(1) as u64,
            self.troubles
        );
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &digests)?;
        out.flush()
    }
}

impl Machine {
    fn new(number: usize) -> Self {
        // The heartbeats of a fleet are spread over the time between two of one machine.
        let share = u32::try_from(number * 7919 % 1000).unwrap_or(0);
        Self {
            name: subject_name(&format!("crowd{number}.example")),
            own: Own::new(now_usec()),
            link: None,
            up: false,
            banned: false,
            document_at: None,
            heartbeat_at: Instant::now() + HEARTBEAT * share / 1000,
        }
    }

    fn order(&self, order: Order) {
        if self.link.as_ref().is_some_and(|link| link.orders.try_send(order).is_err()) {
            eprintln!("{}: orders come faster than the broker takes them.", self.name);
        }
    }

    fn say_news(&mut self) {
        for news in self.own.news(now()) {
            self.order(Order::News(news));
        }
    }

    fn beat(&mut self) {
        let heartbeat = self.own.heartbeat(now());
        self.order(Order::News(heartbeat));
    }

    /// Its document, and a heartbeat for whoever has missed news, as the agent does.
    fn introduce(&mut self) {
        self.document_at = None;
        let document = self.own.document(now());
        self.order(Order::Document(document));
        self.beat();
    }
}

fn source(number: u32) -> IpNet {
    IpAddr::from((FIRST_SOURCE + number).to_be_bytes()).into()
}
