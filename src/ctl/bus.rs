//! How a verb reaches the daemon: the system bus, and what its errors say to people.
//!
//! A question goes to [`manager`]. A change goes through [`steer`], which has whoever may not do it
//! by themselves asked for a password.

use anyhow::{Context, bail};
use serde::{Serialize, de::DeserializeOwned};
use zbus::{Connection, Type, fdo::DBusProxy, names::BusName, proxy::MethodFlags};

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
}

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
    // A question does not start the daemon that an admin has stopped.
    let name = BusName::try_from(NAME)?;
    if !DBusProxy::new(&connection).await?.name_has_owner(name).await? {
        bail!(Refused::NotRunning);
    }
    Ok(ManagerProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?)
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
        let reply = self.manager.inner().call_with_flags(method, self.flags, body).await.map_err(sentence)?;
        reply.context("The daemon gave no answer")
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
