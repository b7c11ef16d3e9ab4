//! How a verb reaches the daemon: the system bus, and what its errors say to people.
//!
//! A question goes to [`manager`], through [`ask`]. A change goes through [`steer`], which has whoever may not
//! do it by themselves asked for a password. What the bus rejects before it is delivered is tried again by
//! both: anybody can fill the queue of what the daemon has not read yet.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::sleep;
use zbus::{
    Connection, Type,
    fdo::{self, DBusProxy},
    names::BusName,
    proxy::MethodFlags,
};

use super::{agent::Agent, output};
use crate::{
    bus::ManagerProxy,
    contract::{
        bus::{INFINITY, NAME},
        error::Error,
    },
    core::time::Usec,
};

/// Why the daemon did not do it, where scripts may want to tell it from other reasons.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("wardend is not running; start it with `systemctl start wardend`.")]
    NotRunning,
    #[error("{0}")]
    NotAuthorized(String),
    /// It is done, and has no effect yet; empty if that was printed already.
    #[error("{0}")]
    WithoutEffect(String),
    /// It was tried again and again, and never delivered; what the bus says.
    #[error(
        "The bus has delivered no call to wardend for {seconds} s, because too many of them are unread ({0}). Try again; if this persists, `busctl list` shows whose programs are connected and may send them.",
        seconds = PATIENCE.as_secs()
    )]
    Undelivered(String),
}

/// For how long a call is tried again that the bus rejects.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs what talks to the bus.
pub(super) fn on_the_bus<T>(verb: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("The runtime can't be started")?
        .block_on(verb)
}

pub(super) async fn manager() -> anyhow::Result<ManagerProxy<'static>> {
    let connection = Connection::system()
        .await
        .map_err(|error| anyhow::anyhow!("The system bus can't be reached ({error}); see that dbus.service runs."))?;
    manager_on(&connection).await
}

/// The daemon, over a connection that there is already.
pub(super) async fn manager_on(connection: &Connection) -> anyhow::Result<ManagerProxy<'static>> {
    // A question does not start the daemon that an admin has stopped.
    let name = BusName::try_from(NAME)?;
    if !DBusProxy::new(connection).await?.name_has_owner(name).await? {
        bail!(Refused::NotRunning);
    }
    Ok(ManagerProxy::builder(connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?)
}

/// The daemon, for calls that change something.
pub(super) struct Steering {
    manager: ManagerProxy<'static>,
    flags: MethodFlags,
    _agent: Option<Agent>,
}

pub(super) async fn steer() -> anyhow::Result<Steering> {
    let manager = manager().await?;
    let ask = output::may_ask();
    let flags = if ask { MethodFlags::ALLOW_INTERACTIVE_AUTH } else { MethodFlags::empty() };
    Ok(Steering { manager, flags, _agent: ask.then(Agent::start) })
}

impl Steering {
    pub(super) fn manager(&self) -> &ManagerProxy<'static> {
        &self.manager
    }

    /// Calls a method of the manager.
    pub(super) async fn call<B, R>(&self, method: &str, body: &B) -> anyhow::Result<R>
    where
        B: Serialize + Type,
        R: DeserializeOwned + Type + 'static,
    {
        let manager = self.manager.inner();
        let reply = ask(async || manager.call_with_flags(method, self.flags, body).await).await?;
        reply.context("The daemon gave no answer")
    }
}

/// What the daemon answers to a call.
pub(super) async fn ask<T, E: Into<Error>>(call: impl AsyncFn() -> Result<T, E>) -> anyhow::Result<T> {
    persist(call, waits()).await
}

/// The waits between the attempts: short ones first, because most queues are read soon.
fn waits() -> impl Iterator<Item = Duration> {
    let waits = (0..).map(|attempt| Duration::from_millis(50 << attempt).min(Duration::from_secs(1)));
    waits.scan(PATIENCE, |left, wait| {
        *left = left.checked_sub(wait)?;
        Some(wait)
    })
}

async fn persist<T, E: Into<Error>>(
    call: impl AsyncFn() -> Result<T, E>,
    mut waits: impl Iterator<Item = Duration>,
) -> anyhow::Result<T> {
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error.into(),
        };
        // The bus's own word for it. The daemon has another one, for what it has read.
        let Error::ZBus(zbus::Error::FDO(why)) = &error else { return Err(sentence(error)) };
        let fdo::Error::LimitsExceeded(why) = &**why else { return Err(sentence(error)) };
        match waits.next() {
            Some(wait) => sleep(wait).await,
            None => bail!(Refused::Undelivered(why.trim_end_matches('.').to_owned())),
        }
    }
}

/// The end of a ban; none if it is permanent.
pub(super) fn end(until_usec: u64) -> Option<Usec> {
    (until_usec != INFINITY).then_some(until_usec)
}

/// The sentence in an error of the bus, and nothing of its technique.
pub(super) fn sentence(error: impl Into<Error>) -> anyhow::Error {
    match error.into() {
        Error::NotAuthorized(text) => Refused::NotAuthorized(text).into(),
        Error::ZBus(zbus::Error::MethodError(_, Some(text), _))
        | Error::NoSuchJail(text)
        | Error::NotBanned(text)
        | Error::NeverBanned(text)
        | Error::Spared(text)
        | Error::NotIgnored(text)
        | Error::NotPaused(text)
        | Error::NotSuspected(text)
        | Error::InvalidAddress(text)
        | Error::InvalidArgument(text)
        | Error::InvalidConfiguration(text)
        | Error::LimitsExceeded(text)
        | Error::Failed(text) => anyhow::anyhow!(text),
        Error::ZBus(error) => anyhow::Error::new(error).context("The bus call failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn rejected() -> Error {
        let text = "Rejected: destination has a full message queue".to_owned();
        Error::ZBus(zbus::Error::FDO(Box::new(fdo::Error::LimitsExceeded(text))))
    }

    /// What comes of a call that fails like this a number of times, of which each but the first has no wait
    /// before it, and how often it was made.
    fn outcome(failures: u32, error: fn() -> Error, waits: usize) -> (anyhow::Result<u32>, u32) {
        let made = Cell::new(0);
        let call = async || {
            made.set(made.get() + 1);
            if made.get() > failures { Ok(made.get()) } else { Err(error()) }
        };
        let outcome = on_the_bus(persist(call, vec![Duration::ZERO; waits].into_iter()));
        (outcome, made.get())
    }

    #[test]
    fn a_call_that_the_bus_rejects_is_made_again_until_it_is_taken() {
        assert_eq!(outcome(0, rejected, 5).0.unwrap(), 1);
        assert_eq!(outcome(5, rejected, 5).0.unwrap(), 6);
    }

    #[test]
    fn a_call_that_the_bus_never_takes_ends_in_one_sentence() {
        let (outcome, made) = outcome(9, rejected, 5);
        let error = outcome.unwrap_err();
        assert_eq!(made, 6);
        assert!(matches!(error.downcast_ref(), Some(Refused::Undelivered(_))));
        let text = format!("{error:#}");
        assert!(text.contains("(Rejected: destination has a full message queue). Try again"), "{text}");
    }

    #[test]
    fn what_the_daemon_refuses_is_not_asked_again() {
        let refused = || Error::LimitsExceeded("Too many calls wait.".to_owned());
        let (outcome, made) = outcome(9, refused, 5);
        assert_eq!((outcome.unwrap_err().to_string().as_str(), made), ("Too many calls wait.", 1));
    }

    #[test]
    fn the_waits_grow_to_a_second_and_have_an_end() {
        let waits: Vec<Duration> = waits().collect();
        assert!(waits.is_sorted() && waits.len() < 30);
        assert_eq!(waits.last(), Some(&Duration::from_secs(1)));
        assert!(waits.iter().sum::<Duration>() <= PATIENCE);
    }
}
