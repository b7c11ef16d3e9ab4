//! What is heard from outside: the daemon's orders, and the two signals by which firewalld's loss
//! of everything is known.
//!
//! A restart shows only as a change of the name's owner, a reload only as `Reloaded`, so both are
//! followed. The streams must be read at all times, also during a call: zbus stops reading from
//! the bus when one of its queues is full.

use tokio::sync::mpsc::UnboundedReceiver;
use zbus::proxy::OwnerChangedStream;

use super::Order;
use super::firewalld::ReloadedStream;
use crate::stream::next;

pub(super) enum Event {
    Order(Option<Order>),
    Reloaded,
    Owner(Option<String>),
    Disconnected,
}

/// What is heard from outside.
pub(super) struct Inbox {
    pub(super) orders: UnboundedReceiver<Order>,
    pub(super) closed: bool,
    pub(super) reloaded: ReloadedStream,
    pub(super) owner: OwnerChangedStream<'static>,
}

impl Inbox {
    /// The next event. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            owner = next(&mut self.owner) => match owner {
                Some(owner) => Event::Owner(owner.map(|name| name.to_string())),
                None => Event::Disconnected,
            },
            reloaded = next(&mut self.reloaded) => match reloaded {
                Some(_) => Event::Reloaded,
                None => Event::Disconnected,
            },
            order = self.orders.recv(), if !self.closed => Event::Order(order),
        }
    }
}
