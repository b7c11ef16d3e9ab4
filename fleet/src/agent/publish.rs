//! What this machine tells the others, and through which brokers.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, sleep, timeout};

use super::{Agent, GATHER, longest};
use crate::{core::message::Message, events, link::Order, wardend::now};

/// When the document follows the first change, and how often at most.
const DOCUMENT_AFTER: Duration = Duration::from_secs(2);
const DOCUMENT_EVERY: Duration = Duration::from_secs(5);
/// The same for a document that is longer than this.
const LONG_DOCUMENT: usize = 16 * 1024;
const LONG_DOCUMENT_EVERY: Duration = Duration::from_secs(60);
/// How long the end waits for what is still to be sent.
const GOODBYE: Duration = Duration::from_secs(3);

impl Agent {
    /// What the broker has of this machine: an epoch that is later than ours would make ours the older one.
    pub(super) fn own_document(&mut self, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes)
            && message.version > self.own.version()
            && message.version.epoch >= self.own.version().epoch
        {
            self.own.overtake(message.version.epoch);
            self.document_at = Some(Instant::now());
        }
    }

    /// A broker knows the others now, and gets to know this machine.
    pub(super) fn introduce(&mut self, number: usize) {
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

    pub(super) fn order(&self, number: usize, order: Order) {
        if let Some(broker) = self.brokers.get(number).filter(|broker| broker.state.up)
            && broker.link.orders.try_send(order).is_err()
        {
            events::broker_trouble(
                &broker.state.name,
                "Orders come faster than the broker takes them; some were dropped, and will be sent again.",
            );
        }
    }

    pub(super) fn to_all(&self, order: &Order) {
        for number in 0..self.brokers.len() {
            self.order(number, order.clone());
        }
    }

    /// A shared jail has banned or released a source.
    pub(super) fn say(&mut self, source: IpNet) {
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
    pub(super) fn publish(&mut self) {
        self.look_at_the_clock();
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
            // Who was on the way to a broker has missed the news, and asks for the document now.
            let heartbeat = self.own.heartbeat(now());
            self.to_all(&Order::News(heartbeat));
        } else if self.wardend.is_some() {
            self.document_at = self.document_at.filter(|at| instant < *at);
        }
    }

    /// What was not sent yet is sent before the end.
    pub(super) async fn say_goodbye(mut self) {
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
