//! What is heard from outside: the daemon's orders, and the two signals by which firewalld's loss
//! of everything is known.
//!
//! A restart shows only as a change of the name's owner, a reload only as `Reloaded`, so both are
//! followed. Both are flags that others set ([`crate::systemd::outgoing`]): that it has happened is all
//! that matters, however often.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc::UnboundedReceiver, watch};

use super::Order;
use crate::systemd::outgoing::{Outgoing, Owner};

const NAME: &str = "org.fedoraproject.FirewallD1";

pub(super) enum Event {
    Order(Option<Order>),
    Reloaded,
    Owner(Owner),
    Disconnected,
}

/// What is heard from outside.
pub(super) struct Inbox {
    orders: UnboundedReceiver<Order>,
    pub(super) closed: bool,
    reloaded: Arc<Notify>,
    owner: watch::Receiver<Owner>,
}

impl Inbox {
    pub(super) async fn listen(outgoing: &Outgoing, orders: UnboundedReceiver<Order>) -> zbus::Result<Self> {
        let owner = outgoing.follow(NAME).await?;
        let reloaded = Arc::new(Notify::new());
        let flag = Arc::clone(&reloaded);
        outgoing.listen(NAME, NAME, "Reloaded", move |_| flag.notify_one()).await?;
        Ok(Self { orders, closed: false, reloaded, owner })
    }

    /// Who owns firewalld's name at this moment.
    pub(super) fn owner(&mut self) -> Owner {
        self.owner.borrow_and_update().clone()
    }

    /// An order that is there already.
    pub(super) fn order(&mut self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// The next event. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            changed = self.owner.changed() => match changed {
                Ok(()) => Event::Owner(self.owner()),
                Err(_) => Event::Disconnected,
            },
            () = self.reloaded.notified() => Event::Reloaded,
            order = self.orders.recv(), if !self.closed => Event::Order(order),
        }
    }
}
