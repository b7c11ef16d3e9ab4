//! The signals that the daemon sends on the bus, handed over to a task of its own.
//!
//! The bus may take nothing for as long as some client does not read ([`super::socket`]), and the
//! loop must not wait for that. So signals stand in a queue that has an end: a signal that finds it
//! full is not sent, and a client can ask instead. Jails on the bus come and go in the same task, which alone
//! knows the objects.

use std::collections::HashMap;

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
    contract::bus::{Details, PATH},
    core::{bans::MOST_BANS, jail::JailSettings},
};

/// The maximum number of waiting signals: as many as there can be bans, which may all end at once.
const SIGNALS: usize = MOST_BANS;
/// How long the loop waits for jails to come and go.
const PATIENCE: Duration = Duration::from_secs(1);

/// A signal of the manager, or a look at what has changed.
#[derive(Debug)]
pub(crate) enum BusEvent {
    Banned {
        jail: String,
        source: String,
        until_usec: u64,
        count: u32,
        details: Details,
    },
    Extended {
        jail: String,
        source: String,
        until_usec: u64,
        count: u32,
        details: Details,
    },
    Unbanned {
        jail: String,
        source: String,
        why: &'static str,
        details: Details,
    },
    Failure {
        jail: String,
        source: String,
        address: String,
        rule: String,
        time_usec: u64,
        omitted: u32,
        generation: u64,
    },
    Leak {
        jail: String,
        source: String,
        address: String,
        rule: String,
        generation: u64,
    },
    Spared {
        jail: String,
        source: String,
        login_usec: u64,
        failures: u32,
        generation: u64,
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
        Ok(Self { events, orders })
    }

    /// Queues a signal, unless the queue is full.
    pub(crate) fn publish(&self, what: BusEvent) {
        let _ = self.events.try_send(what);
    }

    /// Jails have come or gone, and their objects do the same; the others get their new settings.
    pub(crate) async fn change_jails(&self, jails: &[JailSettings]) {
        self.order(Order::Jails(jails.to_vec())).await;
    }

    /// What the objects say now needs no announcement: nobody could have asked before.
    pub(crate) async fn begin(&self) {
        self.order(Order::Begin).await;
    }

    async fn order(&self, order: Order) {
        let (done, finished) = oneshot::channel();
        let _ = self.orders.send((order, done));
        let _ = timeout(PATIENCE, finished).await;
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
        let manager: &InterfaceRef<Manager> = &self.manager.interface;
        match what {
            BusEvent::Banned { jail, source, until_usec, count, details } => {
                manager.banned(&jail, &source, until_usec, count, details).await
            }
            BusEvent::Extended { jail, source, until_usec, count, details } => {
                manager.extended(&jail, &source, until_usec, count, details).await
            }
            BusEvent::Unbanned { jail, source, why, details } => manager.unbanned(&jail, &source, why, details).await,
            BusEvent::Failure { jail, source, address, rule, time_usec, omitted, generation } => {
                let details = Details::since(generation);
                manager.failure(&jail, &source, &address, &rule, time_usec, omitted, details).await
            }
            BusEvent::Leak { jail, source, address, rule, generation } => {
                manager.leak(&jail, &source, &address, &rule, Details::since(generation)).await
            }
            BusEvent::Spared { jail, source, login_usec, failures, generation } => {
                manager.spared(&jail, &source, login_usec, failures, Details::since(generation)).await
            }
            BusEvent::Changes => self.announce().await,
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
