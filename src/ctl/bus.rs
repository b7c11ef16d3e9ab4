//! How a verb reaches the daemon: the system bus, and what its errors say to people.

use anyhow::{Context, bail};
use zbus::{Connection, fdo::DBusProxy, names::BusName};

use crate::{
    bus::{self, Error, INFINITY, ManagerProxy},
    record::Usec,
};

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
    let name = BusName::try_from(bus::NAME)?;
    if !DBusProxy::new(&connection).await?.name_has_owner(name).await? {
        bail!("wardend is not running; start it with `systemctl start wardend`.");
    }
    Ok(ManagerProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?)
}

/// The end of a ban; none is for ever.
pub(super) fn end(until_usec: u64) -> Option<Usec> {
    (until_usec != INFINITY).then_some(until_usec)
}

/// The sentence in an error of the bus, and nothing of its technique.
pub(super) fn sentence(error: impl Into<Error>) -> anyhow::Error {
    match error.into() {
        Error::ZBus(zbus::Error::MethodError(_, Some(text), _))
        | Error::NoSuchJail(text)
        | Error::NotBanned(text)
        | Error::NeverBanned(text)
        | Error::InvalidAddress(text)
        | Error::InvalidArgument(text)
        | Error::InvalidConfiguration(text)
        | Error::NotAuthorized(text)
        | Error::LimitsExceeded(text)
        | Error::Failed(text) => anyhow::anyhow!(text),
        Error::ZBus(error) => anyhow::Error::new(error).context("The bus call failed"),
    }
}
