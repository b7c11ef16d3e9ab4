//! What systemd says of firewalld's unit, while nobody owns firewalld's name on the bus.
//!
//! Since 2.5 the unit is started before firewalld has its name, and before that it is starting
//! until then. So at a boot or a restart there is a time in which firewalld is about to come, and
//! nobody has to start it.

use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, proxy};

const UNIT: &str = "firewalld.service";

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

#[proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
    /// The job that waits or runs; its number is 0 if there is none.
    #[zbus(property)]
    fn job(&self) -> zbus::Result<(u32, OwnedObjectPath)>;
}

#[proxy(interface = "org.freedesktop.systemd1.Job", default_service = "org.freedesktop.systemd1")]
trait Job {
    #[zbus(property)]
    fn job_type(&self) -> zbus::Result<String>;
}

/// Whether firewalld is on its way up. Whatever can't be asked is not.
pub(super) async fn is_coming(connection: &Connection) -> bool {
    coming(connection).await.unwrap_or(false)
}

async fn coming(connection: &Connection) -> zbus::Result<bool> {
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    // A unit that systemd has not even loaded is an error, and has not been started.
    let path = manager.get_unit(UNIT).await?;
    let unit = UnitProxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await?;
    Ok(match unit.active_state().await?.as_str() {
        "active" | "activating" | "reloading" | "refreshing" => true,
        _ => match unit.job().await? {
            (0, _) => false,
            (_, path) => {
                let job =
                    JobProxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await?;
                // A restart is not over with the stop.
                job.job_type().await? != "stop"
            }
        },
    })
}
