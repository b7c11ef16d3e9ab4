//! From the start until the daemon has its bus name, and the manager knows that it is ready.

use std::{future::pending, pin::Pin, time::Duration};

use tokio::time::Instant;
use zbus::Connection;

use crate::contract::bus::NAME;

/// How long the start waits for a word from the firewall, before it goes on without one.
const FIREWALL_PATIENCE: Duration = Duration::from_secs(10);

pub(super) enum Readiness {
    /// The backlog is read, and the firewall takes up the bans, since then.
    Starting(Instant),
    /// The bus is asked for the name.
    Naming(Pin<Box<dyn Future<Output = zbus::Result<()>> + Send>>),
    Ready,
}

impl Readiness {
    /// Whether it is time to take the name.
    pub(super) fn is_due(&self, caught_up: bool, firewall_known: bool) -> bool {
        match self {
            Self::Starting(since) => caught_up && (firewall_known || since.elapsed() > FIREWALL_PATIENCE),
            Self::Naming(_) | Self::Ready => false,
        }
    }

    /// Takes the name, last of all, when everything else is `prepared`.
    pub(super) fn take_name(&mut self, served: Connection, prepared: impl Future<Output = ()> + Send + 'static) {
        *self = Self::Naming(Box::pin(async move {
            prepared.await;
            served.request_name(NAME).await
        }));
    }

    /// Whether the name is taken; never, if it is not being taken.
    pub(super) async fn named(&mut self) -> zbus::Result<()> {
        match self {
            Self::Naming(naming) => {
                let outcome = naming.await;
                *self = Self::Ready;
                outcome
            }
            Self::Starting(_) | Self::Ready => pending().await,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}
