//! A connection to a broker, whatever kind of broker it is: what an [`Engine`] has to be able to do, and the
//! task that holds the connection, and makes it again when it is lost.

use std::{collections::BTreeSet, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{config::Broker, wardend::now_usec};

/// How long a broker may take for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to reach a broker.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The most orders that wait.
const MOST_ORDERS: usize = 256;

/// What is to be done at the broker. Orders that come while there is no connection are dropped: everything is
/// said again over a new one.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Send news of this machine.
    News(Vec<u8>),
    /// Keep this document of this machine in place of the one before.
    Document(Vec<u8>),
    /// Read the document of a machine.
    Fetch(Arc<str>),
    /// Read the documents of all machines.
    FetchAll,
}

/// What a broker says.
#[derive(Debug)]
pub(crate) enum Event {
    /// The connection is there, to one of these addresses.
    Up(BTreeSet<IpAddr>),
    /// It can't be made, or was lost; the sentence says why.
    Down(String),
    /// News of a machine, sent just now.
    News(Arc<str>, Vec<u8>),
    /// The document of a machine.
    Document(Arc<str>, Vec<u8>),
    /// A machine has no document.
    Absent(Arc<str>),
    /// All documents that were asked for are there.
    Complete,
    /// Something could not be done; the sentence says what.
    Trouble(String),
}

/// A broker, as orders reach it.
#[derive(Debug)]
pub(crate) struct Link {
    /// How people call it.
    pub(crate) name: String,
    /// Its orders.
    pub(crate) orders: mpsc::Sender<Order>,
}

/// How to prove who this machine is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The name of this machine in the fleet.
    pub(crate) machine: Arc<str>,
    /// Whom all trust.
    pub(crate) authority: PathBuf,
    /// The certificate of this machine.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// Why a broker can't be reached, or does not do what it should. The text is a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0} can't be resolved in time.")]
    SlowName(String),
    #[error("{host} can't be resolved: {error}.")]
    NoName { host: String, error: io::Error },
    #[error("{path} can't be read: {error}.")]
    NoFile { path: String, error: io::Error },
    #[error("The broker does not answer.")]
    Silent,
    #[error("The broker can't be reached: {0}.")]
    Unreachable(String),
    #[error(
        "The broker ends the connection at once; see that it accepts the certificate of this machine and that `wardenctl fleet acl` names it."
    )]
    NotLetIn,
    #[error("The connection was lost.")]
    Lost,
    #[error("The connection was lost: {0}.")]
    LostBecause(String),
    #[error("News came faster than they could be read.")]
    Overrun,
    #[error("Messages come faster than the broker takes them; some were dropped, and will be sent again.")]
    Crowded,
    #[error(
        "The broker does not let this machine {0}; see that its configuration is what `wardenctl fleet acl` prints."
    )]
    Denied(&'static str),
    #[error(
        "The broker does not answer to {0}; check that JetStream is enabled there and that this machine may use it."
    )]
    NoAnswer(String),
    #[error(
        "The broker does not carry out {subject}: {why}; check that JetStream is enabled there and that this machine may use it."
    )]
    NotDone { subject: String, why: String },
    #[error("The answer to {subject} can't be read: {error}.")]
    Unreadable { subject: String, error: serde_json::Error },
    #[error("The broker can't create the stream {stream}: {why}.")]
    NoStream { stream: &'static str, why: String },
    #[error(
        "The stream {stream} at the broker is not as a machine of a fleet creates it; look who has created it, and remove it (it must have the subject {subject}, one message per subject, direct access, no end of messages, and neither sources nor copies)."
    )]
    OtherStream { stream: &'static str, subject: String },
    #[error("The broker does not keep the document of this machine: {0}.")]
    NotKept(String),
    #[error("The documents can't be listed: {0}.")]
    NotListed(String),
    #[error("The document of {machine} can't be read: the broker answers {status}.")]
    NoDocument { machine: String, status: u16 },
    #[error("The broker says: {0}.")]
    Says(String),
}

/// A connection to a broker of one kind.
///
/// No more is needed of a broker than that it fans out, and keeps the last document of each machine: versions,
/// digests and ends are in what is sent.
pub(crate) trait Engine: Sized + Send {
    /// Connects, and hears the news of others from then on.
    fn connect(broker: &Broker, identity: &Identity) -> impl Future<Output = Result<Self, LinkError>> + Send;
    /// Sends news of this machine. An error ends the connection.
    fn publish(&mut self, news: Vec<u8>) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Keeps the document of this machine in place of the one before.
    fn put(&mut self, document: Vec<u8>) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Reads the document of a machine; it comes as an event.
    fn fetch(&mut self, machine: Arc<str>);
    /// Reads all documents; [`Event::Complete`] comes after the last one.
    fn fetch_all(&mut self) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// What the broker says next; may be asked for again if it was not waited for. An error ends the connection.
    fn next(&mut self) -> impl Future<Output = Result<Event, LinkError>> + Send;
    /// Sends what was not sent yet.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Connects to a broker, and again whenever the connection is lost, until the link is dropped.
pub(crate) fn hold<E: Engine + 'static>(
    number: usize,
    broker: Broker,
    identity: Identity,
    events: mpsc::Sender<(usize, Event)>,
) -> Link {
    let (orders, waiting) = mpsc::channel(MOST_ORDERS);
    let name = broker.to_string();
    let task = Task { number, broker, identity, events, orders: waiting };
    drop(tokio::spawn(task.run::<E>()));
    Link { name, orders }
}

struct Task {
    number: usize,
    broker: Broker,
    identity: Identity,
    events: mpsc::Sender<(usize, Event)>,
    orders: mpsc::Receiver<Order>,
}

/// Nobody needs the connection any more.
struct Dropped;

impl Task {
    async fn run<E: Engine>(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match timeout(PATIENCE * 3, self.open::<E>()).await {
                Ok(Ok((engine, addresses))) => {
                    pause = FIRST_PAUSE;
                    match self.session(engine, addresses).await {
                        Ok(Dropped) => return,
                        Err(why) => why,
                    }
                }
                Ok(Err(why)) => why,
                Err(_) => LinkError::Silent,
            };
            if self.say(Event::Down(why.to_string())).await.is_some() {
                return;
            }
            // What is ordered meanwhile has no meaning: everything is said again over a new connection.
            let wait = sleep(jitter(pause));
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    order = self.orders.recv() => if order.is_none() { return },
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn open<E: Engine>(&self) -> Result<(E, BTreeSet<IpAddr>), LinkError> {
        let host = self.broker.host.as_str();
        let addresses = timeout(PATIENCE, tokio::net::lookup_host((host, self.broker.port)))
            .await
            .map_err(|_| LinkError::SlowName(host.to_owned()))?
            .map_err(|error| LinkError::NoName { host: host.to_owned(), error })?
            .map(|address| address.ip().to_canonical())
            .collect();
        Ok((E::connect(&self.broker, &self.identity).await?, addresses))
    }

    async fn session<E: Engine>(&mut self, mut engine: E, addresses: BTreeSet<IpAddr>) -> Result<Dropped, LinkError> {
        if let Some(dropped) = self.say(Event::Up(addresses)).await {
            return Ok(dropped);
        }
        loop {
            let event = tokio::select! {
                event = engine.next() => event?,
                order = self.orders.recv() => {
                    let outcome = match order {
                        None => {
                            let _ = timeout(PATIENCE, engine.close()).await;
                            return Ok(Dropped);
                        }
                        Some(Order::News(bytes)) => {
                            engine.publish(bytes).await?;
                            Ok(())
                        }
                        Some(Order::Document(bytes)) => engine.put(bytes).await,
                        Some(Order::Fetch(machine)) => {
                            engine.fetch(machine);
                            Ok(())
                        }
                        // Whoever does not know the others is no use to them either; it tries again.
                        Some(Order::FetchAll) => {
                            engine.fetch_all().await?;
                            Ok(())
                        }
                    };
                    let Err(why) = outcome else { continue };
                    Event::Trouble(why.to_string())
                }
            };
            if let Some(dropped) = self.say(event).await {
                return Ok(dropped);
            }
        }
    }

    async fn say(&self, event: Event) -> Option<Dropped> {
        self.events.send((self.number, event)).await.is_err().then_some(Dropped)
    }
}

/// From half of a time to all of it: machines that lost a broker together do not come back together.
fn jitter(time: Duration) -> Duration {
    let share = u32::try_from(now_usec() % 1000).unwrap_or(0);
    time / 2 + time * share / 2000
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_within_bounds() {
        for _ in 0..100 {
            let pause = jitter(Duration::from_secs(10));
            assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&pause));
        }
    }
}
