//! MQTT 5: news as messages, documents as retained messages, each a topic of its machine.
//!
//! Documents are subscribed only while they are read, so that a change of one is not sent to all. The protocol
//! does not say when all retained messages have been sent: a mark that this machine sends to itself comes after
//! them, because a broker keeps the order. Where it does not, the digests tell.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rumqttc::{
    TlsConfiguration, Transport,
    v5::{
        AsyncClient, ConnectionError, Event as Happened, EventLoop, MqttOptions, StateError,
        mqttbytes::{
            QoS,
            v5::{Filter, Packet, PubAckReason, Publish, SubscribeReasonCode},
        },
    },
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    config::Broker,
    core::{fleet::is_name, message::LONGEST_DOCUMENT},
    link::{Engine, Event, Identity, LinkError, PATIENCE, chain},
};

/// The topics of news, of documents and of marks; the name of a machine follows, as its certificate has it.
pub(crate) const NEWS: &str = "wardend/1/new/";
/// See [`NEWS`].
pub(crate) const DOCUMENTS: &str = "wardend/1/doc/";
/// See [`NEWS`].
pub(crate) const MARKS: &str = "wardend/1/mark/";

/// The number of documents that are asked for at a time, besides all of them.
const AT_A_TIME: usize = 16;
/// The most messages on their way to the broker, for each of which the client has a place.
const IN_FLIGHT: u16 = 64;
/// The most requests that wait.
const MOST_REQUESTS: usize = 1024;
/// What a packet has besides a document.
const FRAME: u32 = 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Documents that were asked for.
struct Batch {
    mark: u64,
    filters: Vec<String>,
    /// The machines that were asked for one by one, and have not answered.
    missing: BTreeSet<Arc<str>>,
    until: Instant,
}

/// A connection to a broker of MQTT.
pub(crate) struct Mqtt {
    client: AsyncClient,
    /// The name of this machine in topics.
    name: String,
    packets: mpsc::Receiver<Result<Packet, LinkError>>,
    poll: JoinHandle<()>,
    wanted: BTreeSet<Arc<str>>,
    all: bool,
    batch: Option<Batch>,
    marks: u64,
    /// What is to be said before anything else.
    said: VecDeque<Event>,
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LinkError> {
    fs::read(path).map_err(|error| LinkError::NoFile { path: path.display().to_string(), error })
}

/// Hands over what comes in. It waits for whoever takes it, so the broker waits as well.
async fn poll(mut events: EventLoop, packets: mpsc::Sender<Result<Packet, LinkError>>) {
    loop {
        let packet = match events.poll().await {
            Ok(Happened::Incoming(packet)) => Ok(packet),
            Ok(Happened::Outgoing(_)) => continue,
            Err(error) => Err(end_of(&error)),
        };
        let last = packet.is_err();
        if packets.send(packet).await.is_err() || last {
            return;
        }
    }
}

/// Why there is no connection any more.
fn end_of(error: &ConnectionError) -> LinkError {
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            LinkError::LostBecause(format!("the broker has ended it ({reason_code:?})"))
        }
        // What the stream says of its end is of no use to anybody.
        ConnectionError::MqttState(_) => LinkError::Lost,
        error => LinkError::LostBecause(chain(error)),
    }
}

impl Mqtt {
    /// The next packet while the connection is made.
    async fn answer(&mut self) -> Result<Packet, LinkError> {
        let packet = timeout(PATIENCE, self.packets.recv()).await.map_err(|_| LinkError::Silent)?;
        match packet.unwrap_or(Err(LinkError::Lost)) {
            Err(LinkError::LostBecause(why)) => Err(LinkError::Unreachable(why)),
            Err(LinkError::Lost) => Err(LinkError::NotLetIn),
            packet => packet,
        }
    }

    fn send(&self, topic: &str, retain: bool, bytes: Vec<u8>) -> Result<(), LinkError> {
        let topic = format!("{topic}{}", self.name);
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, bytes).map_err(|_| LinkError::Crowded)
    }

    /// Asks for the documents that are wanted.
    fn begin(&mut self) -> Result<(), LinkError> {
        let mut missing = BTreeSet::new();
        let filters: Vec<String> = if std::mem::take(&mut self.all) {
            self.wanted.clear();
            vec![format!("{DOCUMENTS}+")]
        } else {
            while missing.len() < AT_A_TIME
                && let Some(machine) = self.wanted.pop_first()
            {
                missing.insert(machine);
            }
            missing.iter().map(|machine| format!("{DOCUMENTS}{}", topic_name(machine))).collect()
        };
        self.marks += 1;
        let mark = self.marks;
        self.batch = Some(Batch { mark, filters: filters.clone(), missing, until: Instant::now() + PATIENCE });
        let filters = filters.into_iter().map(|path| Filter::new(path, QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).map_err(|_| LinkError::Crowded)?;
        self.send(MARKS, false, mark.to_string().into_bytes())
    }

    /// All documents that were asked for are there, if `whole`.
    fn end(&mut self, batch: Batch, whole: bool) -> Result<(), LinkError> {
        for filter in batch.filters {
            self.client.try_unsubscribe(filter).map_err(|_| LinkError::Crowded)?;
        }
        if whole {
            self.said.extend(batch.missing.into_iter().map(Event::Absent));
        }
        self.said.push_back(Event::Complete);
        Ok(())
    }

    /// What a message says, if it is one of the fleet.
    fn message(&mut self, message: &Publish) -> Result<Option<Event>, LinkError> {
        let Ok(topic) = std::str::from_utf8(&message.topic) else { return Ok(None) };
        if let Some(machine) = machine_of(topic, NEWS) {
            // News are for whoever hears them now; what somebody had kept is old.
            let live = !message.retain;
            return Ok(live.then(|| Event::News(machine.into(), message.payload.to_vec())));
        }
        if let Some(machine) = machine_of(topic, DOCUMENTS) {
            if let Some(batch) = &mut self.batch {
                batch.missing.remove(machine.as_str());
            }
            return Ok(Some(if message.payload.is_empty() {
                Event::Absent(machine.into())
            } else {
                Event::Document(machine.into(), message.payload.to_vec())
            }));
        }
        let own = topic.strip_prefix(MARKS) == Some(self.name.as_str());
        let mark = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
        if own && let Some(batch) = self.batch.take_if(|batch| mark == Some(batch.mark)) {
            self.end(batch, true)?;
        }
        Ok(None)
    }
}

impl Engine for Mqtt {
    async fn connect(broker: &Broker, identity: &Identity) -> Result<Self, LinkError> {
        let name = topic_name(&identity.machine);
        let mut options = MqttOptions::new(name.clone(), broker.host.clone(), broker.port);
        options.set_transport(Transport::Tls(TlsConfiguration::Simple {
            ca: read(&identity.authority)?,
            alpn: None,
            client_auth: Some((read(&identity.certificate)?, read(&identity.key)?)),
        }));
        options.set_keep_alive(KEEP_ALIVE).set_clean_start(true).set_connection_timeout(PATIENCE.as_secs());
        // As many documents may be on their way as there are; a broker drops what has no place in its queue.
        options.set_receive_maximum(Some(u16::MAX));
        options.set_max_packet_size(Some(FRAME + u32::try_from(LONGEST_DOCUMENT).unwrap_or(u32::MAX)));
        options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
        let (client, events) = AsyncClient::new(options, MOST_REQUESTS);
        let (hand_over, packets) = mpsc::channel(64);
        let poll = tokio::spawn(poll(events, hand_over));
        let mut mqtt = Self {
            client,
            name,
            packets,
            poll,
            wanted: BTreeSet::new(),
            all: false,
            batch: None,
            marks: 0,
            said: VecDeque::new(),
        };
        while !matches!(mqtt.answer().await?, Packet::ConnAck(_)) {}
        let news = Filter { nolocal: true, ..Filter::new(format!("{NEWS}+"), QoS::AtLeastOnce) };
        let marks = Filter::new(format!("{MARKS}{}", mqtt.name), QoS::AtLeastOnce);
        mqtt.client.try_subscribe_many([news, marks]).map_err(|_| LinkError::Crowded)?;
        // The subscription is at the broker before documents are read, so nothing lies between both.
        loop {
            if let Packet::SubAck(answer) = mqtt.answer().await? {
                let fits = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                return if answer.return_codes.iter().all(fits) {
                    Ok(mqtt)
                } else {
                    Err(LinkError::Denied("hear the news of others"))
                };
            }
        }
    }

    async fn publish(&mut self, news: Vec<u8>) -> Result<(), LinkError> {
        self.send(NEWS, false, news)
    }

    async fn put(&mut self, document: Vec<u8>) -> Result<(), LinkError> {
        self.send(DOCUMENTS, true, document)
    }

    fn fetch(&mut self, machine: Arc<str>) {
        self.wanted.insert(machine);
    }

    async fn fetch_all(&mut self) -> Result<(), LinkError> {
        self.all = true;
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, LinkError> {
        loop {
            if let Some(event) = self.said.pop_front() {
                return Ok(event);
            }
            if self.batch.is_none() && (self.all || !self.wanted.is_empty()) {
                self.begin()?;
            }
            let until = self.batch.as_ref().map_or_else(|| Instant::now() + PATIENCE, |batch| batch.until);
            tokio::select! {
                packet = self.packets.recv() => match packet.unwrap_or(Err(LinkError::Lost))? {
                    Packet::Publish(message) => if let Some(event) = self.message(&message)? { return Ok(event) },
                    Packet::PubAck(answer) if answer.reason == PubAckReason::NotAuthorized => {
                        return Ok(Event::Trouble(LinkError::Denied("write its own topics").to_string()));
                    }
                    Packet::PubAck(answer)
                        if !matches!(answer.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) =>
                    {
                        let words = format!("a message of this machine is not taken ({:?})", answer.reason);
                        return Ok(Event::Trouble(LinkError::Says(words).to_string()));
                    }
                    _ => {}
                },
                () = sleep_until(until) => if let Some(batch) = self.batch.take() {
                    self.end(batch, false)?;
                    return Ok(Event::Trouble(LinkError::Denied("hear its own marks").to_string()));
                },
            }
        }
    }

    async fn close(mut self) {
        // What is acknowledged is at the broker; a mark comes after all of it.
        self.marks += 1;
        if self.send(MARKS, false, b"end".to_vec()).is_err() {
            return;
        }
        let arrived = async {
            while let Some(Ok(packet)) = self.packets.recv().await {
                if let Packet::Publish(message) = packet
                    && message.payload == b"end"[..]
                {
                    break;
                }
            }
        };
        let _ = timeout(PATIENCE, arrived).await;
        let _ = self.client.try_disconnect();
        sleep(Duration::from_millis(50)).await;
    }
}

/// The name of a machine in topics, as its certificate has it. A name has no `_`, so this is the way back.
fn topic_name(machine: &str) -> String {
    machine.replace('_', ".")
}

/// The name of the machine in a topic. Each has a single spelling, or two certificates could be one machine.
fn machine_of(topic: &str, begin: &str) -> Option<String> {
    let name = topic.strip_prefix(begin)?;
    let plain = !name.contains('_') && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(name.replace('.', "_")).filter(|machine| plain && is_name(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_the_one_spelling_of_its_topic() {
        assert_eq!(machine_of("wardend/1/new/web1.example", NEWS).as_deref(), Some("web1_example"));
        assert_eq!(topic_name("web1_example"), "web1.example");
        for topic in [
            "wardend/1/new/web1_example",
            "wardend/1/new/Web1.example",
            "wardend/1/new/a/b",
            "wardend/1/new/",
            "wardend/1/doc/a",
            "wardend/1/new/+",
        ] {
            assert_eq!(machine_of(topic, NEWS), None, "{topic}");
        }
    }
}
