//! NATS: news over plain subjects, documents in a stream of JetStream that keeps the last of each machine.
//!
//! Only two features of the broker are needed, fan-out and "the last message of a subject", so this talks to
//! JetStream's API itself: three subjects, and no consumer whose end somebody else could choose. What was
//! missed while the connection was lost shows in the digests.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Message, Subscriber};
use futures_util::StreamExt;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use crate::{
    config::Broker,
    core::{fleet::is_name, message::LONGEST_DOCUMENT},
    link::{Engine, Event, Identity, LinkError, PATIENCE, chain},
};

/// The stream of documents.
pub(crate) const STREAM: &str = "WARDEND";
/// The subjects of news and of documents; the name of a machine follows.
pub(crate) const NEWS: &str = "wardend.1.new.";
/// See [`NEWS`].
pub(crate) const DOCUMENTS: &str = "wardend.1.doc.";

/// The number of documents that are asked for at a time.
const AT_A_TIME: usize = 16;
/// JetStream: there is a stream of this name already, of another configuration.
const OTHER_CONFIGURATION: u64 = 10_058;

/// A connection to a NATS server.
pub(crate) struct Nats {
    client: Client,
    machine: Arc<str>,
    news: Subscriber,
    happened: mpsc::Receiver<async_nats::Event>,
    fetches: JoinSet<Event>,
    wanted: Vec<Arc<str>>,
    /// The last document that was asked for is there, and this was not said yet.
    complete: bool,
}

impl Engine for Nats {
    async fn connect(broker: &Broker, identity: &Identity) -> Result<Self, LinkError> {
        let (happens, happened) = mpsc::channel(64);
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
            .map_err(|_| LinkError::Silent)?
            .map_err(|error| LinkError::Unreachable(chain(&error)))?;
        let lost = |error: &dyn std::error::Error| LinkError::LostBecause(chain(error));
        let news = client.subscribe(format!("{NEWS}*")).await.map_err(|error| lost(&error))?;
        // The subscription is at the broker before documents are read, so nothing lies between both.
        let flushed = timeout(PATIENCE, client.flush()).await.map_err(|_| LinkError::Silent)?;
        flushed.map_err(|error| lost(&error))?;
        stream(&client).await?;
        let machine = Arc::clone(&identity.machine);
        Ok(Self { client, machine, news, happened, fetches: JoinSet::new(), wanted: Vec::new(), complete: false })
    }

    async fn publish(&mut self, news: Vec<u8>) -> Result<(), LinkError> {
        let sent = self.client.publish(format!("{NEWS}{}", self.machine), news.into()).await;
        sent.map_err(|error| LinkError::LostBecause(chain(&error)))
    }

    async fn put(&mut self, document: Vec<u8>) -> Result<(), LinkError> {
        put(&self.client, &self.machine, document).await
    }

    fn fetch(&mut self, machine: Arc<str>) {
        if !self.wanted.contains(&machine) {
            self.wanted.push(machine);
        }
    }

    async fn fetch_all(&mut self) -> Result<(), LinkError> {
        self.wanted = machines(&self.client).await?;
        self.complete = self.wanted.is_empty() && self.fetches.is_empty();
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, LinkError> {
        loop {
            while self.fetches.len() < AT_A_TIME
                && let Some(machine) = self.wanted.pop()
            {
                self.fetches.spawn(fetch(self.client.clone(), machine));
            }
            if std::mem::take(&mut self.complete) {
                return Ok(Event::Complete);
            }
            tokio::select! {
                message = self.news.next() => {
                    let Some(message) = message else { return Err(LinkError::Lost) };
                    if let Some(machine) = machine_of(&message.subject, NEWS) {
                        return Ok(Event::News(machine.into(), message.payload.to_vec()));
                    }
                }
                event = self.happened.recv() => match event {
                    Some(async_nats::Event::Disconnected | async_nats::Event::Closed) | None => {
                        return Err(LinkError::Lost);
                    }
                    Some(async_nats::Event::ServerError(error)) => {
                        return Ok(Event::Trouble(LinkError::Says(chain(&error)).to_string()));
                    }
                    Some(async_nats::Event::SlowConsumer(_)) => return Err(LinkError::Overrun),
                    Some(_) => {}
                },
                Some(answer) = self.fetches.join_next() => {
                    self.complete = self.fetches.is_empty() && self.wanted.is_empty();
                    if let Ok(event) = answer {
                        return Ok(event);
                    }
                }
            }
        }
    }

    async fn close(self) {
        let _ = self.client.flush().await;
    }
}

/// The name of the machine in a subject.
fn machine_of<'s>(subject: &'s str, begin: &str) -> Option<&'s str> {
    subject.strip_prefix(begin).filter(|name| is_name(name))
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

impl Failure {
    /// What it says, as the end of a sentence.
    fn words(&self) -> String {
        self.description.trim_end_matches('.').to_owned()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    subjects: Vec<String>,
    max_msgs_per_subject: i64,
    allow_direct: bool,
    max_age: u64,
    /// What would bring messages into the fleet that the machine they are of has not sent.
    republish: Option<IgnoredAny>,
    mirror: Option<IgnoredAny>,
    sources: Option<IgnoredAny>,
    subject_transform: Option<IgnoredAny>,
}

impl Config {
    /// It keeps the last document of each machine, and does nothing else. Any machine may have created it.
    fn is_ours(&self) -> bool {
        let others = [&self.republish, &self.mirror, &self.sources, &self.subject_transform];
        self.subjects == [format!("{DOCUMENTS}*")]
            && self.max_msgs_per_subject == 1
            && self.allow_direct
            && self.max_age == 0
            && others.iter().all(|other| other.is_none())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    subjects: std::collections::BTreeMap<String, u64>,
}

async fn ask(client: &Client, subject: String, body: Vec<u8>) -> Result<Message, LinkError> {
    let asked = client.request(subject.clone(), body.into());
    match timeout(PATIENCE, asked).await {
        Err(_) => Err(LinkError::NoAnswer(subject)),
        Ok(Err(error)) => Err(LinkError::NotDone { subject, why: chain(&error) }),
        Ok(Ok(message)) => Ok(message),
    }
}

async fn ask_api(client: &Client, subject: String, body: &serde_json::Value) -> Result<Answer, LinkError> {
    let message = ask(client, subject.clone(), body.to_string().into_bytes()).await?;
    serde_json::from_slice(&message.payload).map_err(|error| LinkError::Unreadable { subject, error })
}

/// Creates the stream of documents, if there is none, and checks that it is one.
async fn stream(client: &Client) -> Result<(), LinkError> {
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
        return Err(LinkError::NoStream { stream: STREAM, why: error.words() });
    }
    if !answer.config.unwrap_or_default().is_ours() {
        return Err(LinkError::OtherStream { stream: STREAM, subject: format!("{DOCUMENTS}*") });
    }
    Ok(())
}

/// Stores the own document.
async fn put(client: &Client, machine: &str, bytes: Vec<u8>) -> Result<(), LinkError> {
    let message = ask(client, format!("{DOCUMENTS}{machine}"), bytes).await?;
    let answer: Answer = serde_json::from_slice(&message.payload).unwrap_or_default();
    match answer.error {
        Some(error) => Err(LinkError::NotKept(error.words())),
        None => Ok(()),
    }
}

/// The machines that have a document.
async fn machines(client: &Client) -> Result<Vec<Arc<str>>, LinkError> {
    let body = json!({ "subjects_filter": format!("{DOCUMENTS}*") });
    let answer = ask_api(client, format!("$JS.API.STREAM.INFO.{STREAM}"), &body).await?;
    match answer.error {
        Some(error) => Err(LinkError::NotListed(error.words())),
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
            Some(status) => Event::Trouble(LinkError::NoDocument { machine: machine.to_string(), status }.to_string()),
        },
        Err(why) => Event::Trouble(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_does_more_than_keep_documents_is_not_used() {
        let config = |more: &str| {
            let text = format!(
                r#"{{"subjects":["wardend.1.doc.*"],"max_msgs_per_subject":1,"allow_direct":true,"max_age":0,"num_replicas":3{more}}}"#
            );
            serde_json::from_str::<Config>(&text).unwrap().is_ours()
        };
        assert!(config(""));
        for more in [
            r#","republish":{"src":"wardend.1.doc.a","dest":"wardend.1.new.b"}"#,
            r#","mirror":{"name":"X"}"#,
            r#","sources":[{"name":"X"}]"#,
            r#","subject_transform":{"src":"wardend.1.doc.a","dest":"wardend.1.doc.b"}"#,
        ] {
            assert!(!config(more), "{more}");
        }
        let short = r#"{"subjects":["wardend.1.doc.*"],"max_msgs_per_subject":1,"allow_direct":true,"max_age":9}"#;
        assert!(!serde_json::from_str::<Config>(short).unwrap().is_ours());
    }

    #[test]
    fn a_machine_is_known_by_the_end_of_its_subject() {
        assert_eq!(machine_of("wardend.1.new.web1_example", NEWS), Some("web1_example"));
        assert_eq!(machine_of("wardend.1.new.a.b", NEWS), None);
        assert_eq!(machine_of("wardend.1.doc.a", NEWS), None);
        assert_eq!(machine_of("wardend.1.new.", NEWS), None);
    }
}
