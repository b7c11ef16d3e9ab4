//! Which engine holds the connection to a broker.

use tokio::sync::mpsc;

use crate::{
    config::{Broker, Kind},
    link::{Event, Identity, Link, hold},
    mqtt::Mqtt,
    nats::Nats,
};

/// Connects to a broker of either kind, and again whenever the connection is lost, until the link is dropped.
pub(crate) fn connect(number: usize, broker: Broker, identity: Identity, events: mpsc::Sender<(usize, Event)>) -> Link {
    match broker.kind {
        Kind::Nats => hold::<Nats>(number, broker, identity, events),
        Kind::Mqtt => hold::<Mqtt>(number, broker, identity, events),
    }
}
