//! The signals that the daemon sends on the bus, handed over to a task of its own.
//!
//! The bus may take nothing for as long as some client does not read ([`super::socket`]), and the
//! loop must not wait for that. So signals stand in a queue that has an end: a signal that finds it
//! full is not sent, and a client can ask instead. Jails on the bus come and go in the same task, which alone
//! knows the objects.

use std::{collections::HashMap, time::Instant};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Duration, timeout},
};
use zbus::{Connection, object_server::InterfaceRef};

use super::{
    Core, Manager, ManagerSignals,
    announce::Announcer,
    jail::{self, Jail},
};
use crate::{
    contract::{
        bus::{Details, INFINITY, PATH},
        happening::Happening,
        unban,
    },
    core::{
        bans::{Ban, MOST_BANS},
        failure::Kind,
        jail::JailSettings,
        net::text_of,
    },
    util::rate::RateLimit,
};

/// The maximum number of waiting signals: as many as there can be bans, which may all end at once.
const SIGNALS: usize = MOST_BANS;
/// How long a reload waits for jails to come and go.
const PATIENCE: Duration = Duration::from_secs(1);

/// A signal of the manager, or a look at what has changed.
#[derive(Debug)]
enum BusEvent {
    /// `generation` is the number of the last change, this one included; before a failure, `omitted` others
    /// were left out.
    Happened {
        happening: Box<Happening>,
        generation: u64,
        omitted: u32,
    },
    Changes,
}

/// What must not be left out.
enum Order {
    Jails(Vec<JailSettings>),
    Begin,
}

/// The publisher, as the loop reaches it.
pub(crate) struct PublisherHandle {
    events: mpsc::Sender<BusEvent>,
    orders: mpsc::UnboundedSender<(Order, oneshot::Sender<()>)>,
    failures: RateLimit,
    /// The name is ours, so somebody may listen.
    named: bool,
}

impl PublisherHandle {
    /// Puts them there. The name is taken later, when everything behind it works.
    pub(crate) async fn serve(connection: &Connection, core: Core, jails: &[JailSettings]) -> zbus::Result<Self> {
        let server = connection.object_server();
        server.at(PATH, zbus::fdo::ObjectManager).await?;
        server.at(PATH, Manager::new(core.clone())).await?;
        let manager = Announcer::new(connection, server.interface(PATH).await?).await?;
        let mut publisher = Publisher { connection: connection.clone(), core, manager, jails: HashMap::new() };
        publisher.change_jails(jails).await?;
        let (events, waiting) = mpsc::channel(SIGNALS);
        let (orders, ordered) = mpsc::unbounded_channel();
        tokio::spawn(publisher.run(waiting, ordered));
        Ok(Self { events, orders, failures: RateLimit::new(), named: false })
    }

    /// Queues the signal, unless the queue is full or there were too many like it in this second.
    pub(crate) fn publish(&mut self, happening: Happening, generation: u64) {
        let omitted = match happening {
            Happening::Failed { .. } if !self.named => return,
            Happening::Failed { .. } => match self.failures.may_say(Instant::now()) {
                Some(omitted) => omitted,
                None => return,
            },
            _ => 0,
        };
        let _ = self.events.try_send(BusEvent::Happened { happening: Box::new(happening), generation, omitted });
    }

    /// Has changed properties announced.
    pub(crate) fn publish_changes(&self) {
        let _ = self.events.try_send(BusEvent::Changes);
    }

    /// Jails have come or gone, and their objects do the same; the others get their new settings. Whoever
    /// wants to know when that is done waits for what is returned.
    pub(crate) fn change_jails(&self, jails: &[JailSettings]) -> impl Future<Output = ()> + Send + 'static {
        self.order(Order::Jails(jails.to_vec()))
    }

    /// What the objects say now needs no announcement: nobody could have asked before.
    pub(crate) fn begin(&self) -> impl Future<Output = ()> + Send + 'static {
        self.order(Order::Begin)
    }

    /// The name is ours from now on.
    pub(crate) fn named(&mut self) {
        self.named = true;
    }

    fn order(&self, order: Order) -> impl Future<Output = ()> + Send + 'static {
        let (done, finished) = oneshot::channel();
        let _ = self.orders.send((order, done));
        async move { drop(timeout(PATIENCE, finished).await) }
    }
}

struct Publisher {
    connection: Connection,
    core: Core,
    manager: Announcer<Manager>,
    jails: HashMap<String, (watch::Sender<JailSettings>, Announcer<Jail>)>,
}

impl Publisher {
    /// What can fail here is a connection that is lost, which ends the daemon.
    async fn run(
        mut self,
        mut events: mpsc::Receiver<BusEvent>,
        mut ordered: mpsc::UnboundedReceiver<(Order, oneshot::Sender<()>)>,
    ) {
        loop {
            tokio::select! {
                // A jail is gone once everything about it has been sent.
                biased;
                Some(what) = events.recv() => drop(self.publish(what).await),
                Some((order, done)) = ordered.recv() => {
                    let _ = match order {
                        Order::Jails(jails) => self.change_jails(&jails).await,
                        Order::Begin => self.begin().await,
                    };
                    let _ = done.send(());
                }
                else => return,
            }
        }
    }

    async fn publish(&mut self, what: BusEvent) -> zbus::Result<()> {
        match what {
            BusEvent::Happened { happening, generation, omitted } => self.signal(*happening, generation, omitted).await,
            BusEvent::Changes => self.announce().await,
        }
    }

    async fn signal(&self, happening: Happening, generation: u64, omitted: u32) -> zbus::Result<()> {
        let manager: &InterfaceRef<Manager> = &self.manager.interface;
        let until = |ban: &Ban| ban.until.unwrap_or(INFINITY);
        let details = Details::since(generation);
        match happening {
            Happening::Banned(ban) => {
                let details = Details::of(&ban, generation);
                manager.banned(&ban.jail, &text_of(ban.source), until(&ban), ban.count, details).await
            }
            Happening::Extended(ban) => {
                let details = Details::of(&ban, generation);
                manager.extended(&ban.jail, &text_of(ban.source), until(&ban), ban.count, details).await
            }
            Happening::Unbanned(ban, why) => {
                let details = Details::of(&ban, generation);
                manager.unbanned(&ban.jail, &text_of(ban.source), unban::words(why).0, details).await
            }
            Happening::Failed { jail, source, failure } => {
                let (source, address) = (text_of(source), failure.address.to_string());
                let details = Details::counting(failure.kind == Kind::Ban, generation);
                manager.failure(&jail, &source, &address, &failure.rule, failure.time, omitted, details).await
            }
            Happening::Leaked { jail, ban, failure } => {
                manager.leak(&jail, &text_of(ban), &failure.address.to_string(), &failure.rule, details).await
            }
            Happening::Spared { jail, source, login, failures } => {
                let count = u32::try_from(failures.kinds().0).unwrap_or(u32::MAX);
                let details = Details::counting(failures.are_bans(), generation);
                manager.spared(&jail, &text_of(source), login, count, details).await
            }
            // Others hear of these from properties and from the journal.
            Happening::Withheld(_)
            | Happening::Excepted(_)
            | Happening::ExceptionEnded(..)
            | Happening::Crowded(..)
            | Happening::ClockSet(_) => Ok(()),
        }
    }

    /// Jails have come or gone, and their objects do the same; the others get their new settings.
    async fn change_jails(&mut self, jails: &[JailSettings]) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let gone: Vec<String> =
            self.jails.keys().filter(|name| !jails.iter().any(|jail| jail.name == **name)).cloned().collect();
        for name in gone {
            self.jails.remove(&name);
            server.remove::<Jail, _>(jail::path_of(&name)).await?;
        }
        for settings in jails {
            if let Some((known, _)) = self.jails.get(&settings.name) {
                known.send_replace(settings.clone());
                continue;
            }
            let (name, path) = (settings.name.clone(), jail::path_of(&settings.name));
            let (sender, settings) = watch::channel(settings.clone());
            server.at(&path, Jail { name: name.clone(), settings, core: self.core.clone() }).await?;
            let announcer = Announcer::new(&self.connection, server.interface(&path).await?).await?;
            self.jails.insert(name, (sender, announcer));
        }
        Ok(())
    }

    /// What the objects say now needs no announcement: nobody could have asked before.
    async fn begin(&mut self) -> zbus::Result<()> {
        self.manager.begin(&self.connection).await?;
        for (_, jail) in self.jails.values_mut() {
            jail.begin(&self.connection).await?;
        }
        Ok(())
    }

    /// Announces the properties that have changed.
    async fn announce(&mut self) -> zbus::Result<()> {
        self.manager.announce(&self.connection).await?;
        for (_, jail) in self.jails.values_mut() {
            jail.announce(&self.connection).await?;
        }
        Ok(())
    }
}
