//! A crowd: many machines in one process, each with its own certificate and connection, that say what machines
//! say. `examples/crowd.rs` runs it, for the lab and for measurements; nothing of it is in wardend-fleet.

#![allow(clippy::print_stderr, reason = "it is a tool, and nobody reads a journal of it")]

use std::{collections::BTreeMap, io::Write, net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use ipnet::IpNet;
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep},
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
    link: Link,
    up: bool,
    document_at: Option<Instant>,
}

struct Crowd {
    arguments: Arguments,
    machines: Vec<Machine>,
    /// The number of further bans.
    further: u32,
    heard: u64,
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
    let outcome = runtime.and_then(|runtime| runtime.block_on(Crowd::run(arguments, &broker)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Crowd {
    async fn run(arguments: Arguments, broker: &Broker) -> std::io::Result<()> {
        let (say, mut events) = mpsc::channel(1024);
        let machine = |number: usize| {
            let name = format!("crowd{}.example", arguments.first + number);
            let file = |end: &str| arguments.directory.join(format!("{name}{end}"));
            let identity = Identity {
                machine: subject_name(&name).into(),
                authority: arguments.directory.join("ca.pem"),
                certificate: file(".pem"),
                key: file("-key.pem"),
            };
            let link = engines::connect(number, broker.clone(), identity, say.clone());
            Machine { name: subject_name(&name), own: Own::new(now_usec()), link, up: false, document_at: None }
        };
        let machines = (0..arguments.machines).map(machine).collect();
        let mut crowd = Self { arguments, machines, further: 0, heard: 0 };
        let begun = Instant::now();
        let (mut all_up, mut banned, mut beat) = (None, false, Instant::now() + HEARTBEAT);
        let mut tick = interval(GATHER);
        loop {
            tokio::select! {
                Some((number, event)) = events.recv() => crowd.event(number, event),
                _ = tick.tick() => {
                    let instant = Instant::now();
                    if all_up.is_none() && crowd.machines.iter().all(|machine| machine.up) {
                        eprintln!("All {} are connected after {:?}.", crowd.machines.len(), begun.elapsed());
                        all_up = Some(instant);
                    }
                    let Some(since) = all_up else { continue };
                    let after = since + Duration::from_secs(crowd.arguments.after);
                    if !banned && instant >= after {
                        banned = true;
                        crowd.ban_all();
                        eprintln!("All bans begin at {}.", now_usec());
                    }
                    crowd.go_on(instant.saturating_duration_since(after));
                    crowd.publish(instant);
                    if instant >= beat {
                        beat = instant + HEARTBEAT;
                        crowd.beat();
                    }
                    if instant >= since + Duration::from_secs(crowd.arguments.seconds) {
                        break;
                    }
                }
            }
        }
        crowd.end().await
    }

    fn event(&mut self, number: usize, event: Event) {
        let Some(machine) = self.machines.get_mut(number) else { return };
        match event {
            Event::Up(_) => {
                machine.up = true;
                machine.introduce();
            }
            Event::Down(why) => {
                eprintln!("{}: {why}", machine.name);
                machine.up = false;
            }
            Event::Trouble(why) => eprintln!("{}: {why}", machine.name),
            Event::News(..) => self.heard += 1,
            Event::Document(..) | Event::Absent(_) | Event::Complete => {}
        }
    }

    fn ban_all(&mut self) {
        let (bans, pairs, first) = (self.arguments.bans, self.arguments.pairs, self.arguments.first);
        for (number, machine) in self.machines.iter_mut().enumerate() {
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
                for news in machine.own.news(now()) {
                    machine.order(Order::News(news));
                }
                machine.document_at.get_or_insert(instant + DOCUMENT_AFTER);
            }
            if machine.document_at.is_some_and(|at| instant >= at) {
                machine.document_at = None;
                let document = machine.own.document(now());
                machine.order(Order::Document(document));
            }
        }
    }

    fn beat(&mut self) {
        for machine in &mut self.machines {
            let heartbeat = machine.own.heartbeat(now());
            machine.order(Order::News(heartbeat));
        }
    }

    /// Everything is said once more, and what it was is printed.
    async fn end(mut self) -> std::io::Result<()> {
        for machine in &mut self.machines {
            machine.introduce();
        }
        let digest = |machine: &Machine| (machine.name.clone(), format!("{:016x}", machine.own.ledger().sum()));
        let digests: BTreeMap<_, _> = self.machines.iter().map(digest).collect();
        eprintln!("Each has heard {} messages on average.", self.heard / self.machines.len().max(1) as u64);
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &digests)?;
        out.flush()?;
        drop(self.machines);
        sleep(Duration::from_secs(3)).await;
        Ok(())
    }
}

impl Machine {
    fn order(&self, order: Order) {
        if self.link.orders.try_send(order).is_err() {
            eprintln!("{}: orders come faster than the broker takes them.", self.name);
        }
    }

    fn introduce(&mut self) {
        for news in self.own.news(now()) {
            self.order(Order::News(news));
        }
        let document = self.own.document(now());
        self.order(Order::Document(document));
        let heartbeat = self.own.heartbeat(now());
        self.order(Order::News(heartbeat));
    }
}

fn source(number: u32) -> IpNet {
    IpAddr::from((FIRST_SOURCE + number).to_be_bytes()).into()
}
