//! NATS: news over plain subjects, documents in a stream of JetStream that keeps the last of each machine.
//!
//! Only two features of the broker are needed, fan-out and "the last message of a subject", so this talks to
//! JetStream's API itself: three subjects, and no consumer whose end somebody else could choose. What was
//! missed while the connection was lost shows in the digests.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Message};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::Broker,
    core::{fleet::is_name, message::LONGEST_DOCUMENT},
    link::{Event, Link, Order},
    wardend::now_usec,
};

/// The stream of documents.
pub(crate) const STREAM: &str = "WARDEND";
/// The subjects of news and of documents; the name of a machine follows.
pub(crate) const NEWS: &str = "wardend.1.new.";
/// See [`NEWS`].
pub(crate) const DOCUMENTS: &str = "wardend.1.doc.";

/// The number of documents that are asked for at a time.
const AT_A_TIME: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// JetStream: there is a stream of this name already, of another configuration.
const OTHER_CONFIGURATION: u64 = 10_058;

/// How to prove who this machine is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The name of this machine in subjects.
    pub(crate) machine: Arc<str>,
    /// Whom all trust.
    pub(crate) authority: PathBuf,
    /// The certificate of this machine.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// Connects to a broker, and again whenever the connection is lost, until the link is dropped.
pub(crate) fn connect(number: usize, broker: Broker, identity: Identity, events: mpsc::Sender<(usize, Event)>) -> Link {
    let (orders, waiting) = mpsc::channel(256);
    let name = broker.to_string();
    tokio::spawn(async move { run(number, &broker, &identity, &events, waiting).await });
    Link { name, orders }
}

async fn run(
    number: usize,
    broker: &Broker,
    identity: &Identity,
    events: &mpsc::Sender<(usize, Event)>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let why = match session(number, broker, identity, events, &mut orders).await {
            Ok(End::Dropped) => return,
            Ok(End::Lost(why)) => {
                pause = FIRST_PAUSE;
                why
            }
            Err(why) => why,
        };
        if events.send((number, Event::Down(why))).await.is_err() {
            return;
        }
        // What is ordered meanwhile has no meaning: everything is said again over a new connection.
        let wait = sleep(jitter(pause));
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                order = orders.recv() => if order.is_none() { return },
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// From half of a time to all of it: machines that lost a broker together do not come back together.
fn jitter(time: Duration) -> Duration {
    let share = u32::try_from(now_usec() % 1000).unwrap_or(0);
    time / 2 + time * share / 2000
}

enum End {
    /// Nobody needs the connection any more.
    Dropped,
    /// It was lost.
    Lost(String),
}

async fn session(
    number: usize,
    broker: &Broker,
    identity: &Identity,
    events: &mpsc::Sender<(usize, Event)>,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<End, String> {
    let addresses: BTreeSet<IpAddr> = timeout(PATIENCE, tokio::net::lookup_host((broker.host.as_str(), broker.port)))
        .await
        .map_err(|_| format!("{} can't be resolved in time.", broker.host))?
        .map_err(|error| format!("{} can't be resolved: {error}.", broker.host))?
        .map(|address| address.ip().to_canonical())
        .collect();
    let (happens, mut happened) = mpsc::channel(64);
    let client = ConnectOptions::new()
        .require_tls(true)
        .add_root_certificates(identity.authority.clone())
        .add_client_certificate(identity.certificate.clone(), identity.key.clone())
        .custom_inbox_prefix(format!("_INBOX.{}", identity.machine))
        .name("wardend-fleet")
        .connection_timeout(PATIENCE)
        .ping_interval(Duration::from_secs(20))
        // This program connects again by itself, because much is to be done then.
        .max_reconnects(1)
        .ignore_discovered_servers()
        .event_callback(move |event| {
            let happens = happens.clone();
            async move {
                let _ = happens.try_send(event);
            }
        });
    let client = timeout(PATIENCE * 2, client.connect(broker.to_string()))
        .await
        .map_err(|_| "The broker does not answer.".to_owned())?
        .map_err(|error| format!("The broker can't be reached: {}.", chain(&error)))?;
    let mut news = client.subscribe(format!("{NEWS}*")).await.map_err(|error| format!("{error}."))?;
    // The subscription is at the broker before documents are read, so nothing lies between both.
    timeout(PATIENCE, client.flush())
        .await
        .map_err(|_| "The broker does not answer.".to_owned())?
        .map_err(|error| format!("{error}."))?;
    stream(&client).await?;
    let say = async |event| events.send((number, event)).await.is_err();
    if say(Event::Up(addresses)).await {
        return Ok(End::Dropped);
    }
    let mut fetches: JoinSet<Event> = JoinSet::new();
    let mut wanted: Vec<Arc<str>> = Vec::new();
    loop {
        while fetches.len() < AT_A_TIME
            && let Some(machine) = wanted.pop()
        {
            fetches.spawn(fetch(client.clone(), machine));
        }
        tokio::select! {
            message = news.next() => {
                let Some(message) = message else { return Ok(End::Lost("The connection was lost.".to_owned())) };
                if let Some(machine) = machine_of(&message.subject, NEWS)
                    && say(Event::News(machine.into(), message.payload.to_vec())).await
                {
                    return Ok(End::Dropped);
                }
            }
            event = happened.recv() => match event {
                Some(async_nats::Event::Disconnected | async_nats::Event::Closed) | None => {
                    return Ok(End::Lost("The connection was lost.".to_owned()));
                }
                Some(async_nats::Event::ServerError(error)) => {
                    if say(Event::Trouble(format!("The broker says: {error}."))).await { return Ok(End::Dropped) }
                }
                Some(async_nats::Event::SlowConsumer(_)) => {
                    return Ok(End::Lost("News came faster than they could be read.".to_owned()));
                }
                Some(_) => {}
            },
            Some(answer) = fetches.join_next() => {
                if let Ok(event) = answer && say(event).await { return Ok(End::Dropped) }
                if fetches.is_empty() && wanted.is_empty() && say(Event::Complete).await { return Ok(End::Dropped) }
            }
            order = orders.recv() => match order {
                None => {
                    let _ = timeout(PATIENCE, client.flush()).await;
                    return Ok(End::Dropped);
                }
                Some(Order::News(bytes)) => {
                    let sent = client.publish(format!("{NEWS}{}", identity.machine), bytes.into()).await;
                    if let Err(error) = sent { return Ok(End::Lost(format!("{error}."))) }
                }
                Some(Order::Document(bytes)) => {
                    if let Err(why) = put(&client, &identity.machine, bytes).await
                        && say(Event::Trouble(why)).await
                    {
                        return Ok(End::Dropped);
                    }
                }
                Some(Order::Fetch(machine)) => if !wanted.contains(&machine) { wanted.push(machine) },
                Some(Order::FetchAll) => match machines(&client).await {
                    Ok(all) if all.is_empty() => if say(Event::Complete).await { return Ok(End::Dropped) },
                    Ok(all) => wanted = all,
                    Err(why) => if say(Event::Trouble(why)).await { return Ok(End::Dropped) },
                },
            },
        }
    }
}

/// The name of the machine in a subject.
fn machine_of<'s>(subject: &'s str, begin: &str) -> Option<&'s str> {
    subject.strip_prefix(begin).filter(|name| is_name(name))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
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

/// What JetStream answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    error: Option<Failure>,
    config: Option<Config>,
    state: State,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    subjects: Vec<String>,
    max_msgs_per_subject: i64,
    allow_direct: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    subjects: std::collections::BTreeMap<String, u64>,
}

async fn ask(client: &Client, subject: String, body: Vec<u8>) -> Result<Message, String> {
    let asked = client.request(subject.clone(), body.into());
    match timeout(PATIENCE, asked).await {
        Err(_) => Err(format!(
            "The broker does not answer to {subject}; check that JetStream is enabled there and that this machine may use it."
        )),
        Ok(Err(error)) => Err(format!(
            "The broker does not carry out {subject}: {}; check that JetStream is enabled there and that this machine may use it.",
            chain(&error)
        )),
        Ok(Ok(message)) => Ok(message),
    }
}

async fn ask_api(client: &Client, subject: String, body: &serde_json::Value) -> Result<Answer, String> {
    let message = ask(client, subject.clone(), body.to_string().into_bytes()).await?;
    serde_json::from_slice(&message.payload).map_err(|error| format!("The answer to {subject} can't be read: {error}."))
}

/// Creates the stream of documents, if there is none, and checks that it is one.
async fn stream(client: &Client) -> Result<(), String> {
    let body = json!({
        "name": STREAM, "subjects": [format!("{DOCUMENTS}*")], "retention": "limits", "storage": "file",
        "max_msgs_per_subject": 1, "max_msg_size": LONGEST_DOCUMENT, "discard": "old", "num_replicas": 1,
        "allow_direct": true, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "duplicate_window": 120_000_000_000u64,
    });
    let mut answer = ask_api(client, format!("$JS.API.STREAM.CREATE.{STREAM}"), &body).await?;
    if answer.error.as_ref().is_some_and(|error| error.err_code == OTHER_CONFIGURATION) {
        // An administrator may have given it replicas.
        answer = ask_api(client, format!("$JS.API.STREAM.INFO.{STREAM}"), &json!({})).await?;
    }
    if let Some(error) = answer.error {
        return Err(format!(
            "The broker can't create the stream {STREAM}: {}.",
            error.description.trim_end_matches('.')
        ));
    }
    let config = answer.config.unwrap_or_default();
    if config.subjects != [format!("{DOCUMENTS}*")] || config.max_msgs_per_subject != 1 || !config.allow_direct {
        return Err(format!(
            "The stream {STREAM} at the broker is not one of wardend-fleet; remove it, or give it the subject {DOCUMENTS}*, one message per subject, and direct access."
        ));
    }
    Ok(())
}

/// Stores the own document.
async fn put(client: &Client, machine: &str, bytes: Vec<u8>) -> Result<(), String> {
    let message = ask(client, format!("{DOCUMENTS}{machine}"), bytes).await?;
    let answer: Answer = serde_json::from_slice(&message.payload).unwrap_or_default();
    match answer.error {
        Some(error) => Err(format!(
            "The broker does not keep the document of this machine: {}.",
            error.description.trim_end_matches('.')
        )),
        None => Ok(()),
    }
}

/// The machines that have a document.
async fn machines(client: &Client) -> Result<Vec<Arc<str>>, String> {
    let body = json!({ "subjects_filter": format!("{DOCUMENTS}*") });
    let answer = ask_api(client, format!("$JS.API.STREAM.INFO.{STREAM}"), &body).await?;
    match answer.error {
        Some(error) => Err(format!("The documents can't be listed: {}.", error.description.trim_end_matches('.'))),
        None => Ok(answer
            .state
            .subjects
            .keys()
            .filter_map(|subject| Some(machine_of(subject, DOCUMENTS)?.into()))
            .collect()),
    }
}

/// Reads the document of a machine.
async fn fetch(client: Client, machine: Arc<str>) -> Event {
    let asked = ask(&client, format!("$JS.API.DIRECT.GET.{STREAM}.{DOCUMENTS}{machine}"), Vec::new()).await;
    match asked {
        Ok(message) => match message.status.map(|status| status.as_u16()) {
            None => Event::Document(machine, message.payload.to_vec()),
            Some(404) => Event::Absent(machine),
            Some(status) => {
                Event::Trouble(format!("The document of {machine} can't be read: the broker answers {status}."))
            }
        },
        Err(why) => Event::Trouble(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_the_end_of_its_subject() {
        assert_eq!(machine_of("wardend.1.new.web1_example", NEWS), Some("web1_example"));
        assert_eq!(machine_of("wardend.1.new.a.b", NEWS), None);
        assert_eq!(machine_of("wardend.1.doc.a", NEWS), None);
        assert_eq!(machine_of("wardend.1.new.", NEWS), None);
    }

    #[test]
    fn pauses_differ_within_bounds() {
        for _ in 0..100 {
            let pause = jitter(Duration::from_secs(10));
            assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&pause));
        }
    }
}
