//! `org.wardend1` on the system bus: thin interfaces over the daemon's core.
//!
//! A call becomes a [`Command`] to the core and its answer comes back over a oneshot channel, so
//! no interface holds state and none can block the core. What changes often and is read often
//! (counts, state) is published by the core as [`Status`]. Reading is free for every local user;
//! changing asks polkit ([`polkit`]).

mod error;
mod explain;
mod jail;
mod logcontrol;
mod manager;
mod polkit;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use zbus::{Connection, Type, object_server::InterfaceRef};

pub(crate) use self::{
    error::Error,
    explain::Attempt,
    jail::JailInfo,
    logcontrol::{LOG_CONTROL_PATH, LogControl},
    manager::{Manager, ManagerProxy, ManagerSignals},
};
use crate::{
    bans::Ban,
    engine::{Duration, Engine, Explanation},
    jail::text_of,
    metrics::Latency,
};

/// The bus name.
pub(crate) const NAME: &str = "org.wardend1";
/// Where the manager is.
pub(crate) const PATH: &str = "/org/wardend1";
/// "For ever", as systemd has it in its µs properties.
pub(crate) const INFINITY: u64 = u64::MAX;

/// A ban on the bus: `(ssttuuss)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct BanRow {
    /// The jail.
    pub(crate) jail: String,
    /// The address or network, in canonical text.
    pub(crate) source: String,
    /// Since when, µs since the epoch.
    pub(crate) since_usec: u64,
    /// Until when, µs since the epoch; [`INFINITY`] for ever.
    pub(crate) until_usec: u64,
    /// The how manieth ban of this source.
    pub(crate) count: u32,
    /// How many failures led to it.
    pub(crate) failures: u32,
    /// The rule of the last failure; empty for a ban by hand.
    pub(crate) rule: String,
    /// The reason of a ban by hand.
    pub(crate) reason: String,
}

impl From<&Ban> for BanRow {
    fn from(ban: &Ban) -> Self {
        Self {
            jail: ban.jail.to_string(),
            source: text_of(ban.source),
            since_usec: ban.since,
            until_usec: ban.until.unwrap_or(INFINITY),
            count: ban.count,
            failures: u32::try_from(ban.failures.len()).unwrap_or(u32::MAX),
            rule: ban.failures.views().last().map_or_else(String::new, |failure| failure.rule.to_owned()),
            reason: ban.reason.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

/// A jail in a list: `(suuuo)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub(crate) struct JailRow {
    pub(crate) name: String,
    /// Bans in force.
    pub(crate) bans: u32,
    /// Sources with failures that count.
    pub(crate) failing: u32,
    /// Open sessions.
    pub(crate) sessions: u32,
    /// Its object.
    pub(crate) path: zbus::OwnedObjectPath,
}

/// What the core is asked.
#[derive(Debug)]
pub(crate) enum Command {
    ListBans(oneshot::Sender<Vec<BanRow>>),
    ListJails(oneshot::Sender<Vec<JailRow>>),
    Ban {
        network: IpNet,
        jail: String,
        duration: Duration,
        reason: String,
        reply: oneshot::Sender<Result<BanRow, Error>>,
    },
    Unban {
        network: IpNet,
        jail: Option<String>,
        reply: oneshot::Sender<Result<Vec<BanRow>, Error>>,
    },
    UnbanAll(oneshot::Sender<Result<u32, Error>>),
    Explain(IpAddr, oneshot::Sender<Vec<Explanation>>),
    Reload(oneshot::Sender<Result<(), String>>),
    RemoveFirewall(oneshot::Sender<Result<(), String>>),
}

/// What the core publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// `running` or `degraded`.
    pub(crate) state: &'static str,
    /// `starting`, `up` or `down`.
    pub(crate) firewall_state: &'static str,
    /// Why the firewall is down; empty if it is not.
    pub(crate) firewall_message: String,
    pub(crate) cursor: String,
    pub(crate) bans: u32,
    pub(crate) failures: u64,
    pub(crate) jails: Vec<JailRow>,
    /// Since the daemon started.
    pub(crate) records: u64,
    pub(crate) lost: u64,
    pub(crate) latency: Latency,
}

/// The core, as the interfaces reach it.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) status: watch::Receiver<Status>,
}

impl Core {
    /// Asks, and waits for the answer.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let stopping = || Error::Failed("wardend is stopping.".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

/// Puts the objects on the bus. The name is taken later, when everything behind it works.
pub(crate) async fn serve(
    connection: &Connection,
    core: &Core,
    jails: Vec<JailInfo>,
) -> zbus::Result<InterfaceRef<Manager>> {
    let server = connection.object_server();
    server.at(PATH, zbus::fdo::ObjectManager).await?;
    server.at(PATH, Manager { core: core.clone() }).await?;
    for info in jails {
        server.at(info.path(), jail::Jail { info, core: core.clone() }).await?;
    }
    server.interface(PATH).await
}

/// Jails have come, gone or changed: their objects do the same.
pub(crate) async fn change_jails(
    connection: &Connection,
    core: &Core,
    before: &[JailInfo],
    after: &[JailInfo],
) -> zbus::Result<()> {
    let server = connection.object_server();
    for gone in before.iter().filter(|jail| !after.contains(jail)) {
        server.remove::<jail::Jail, _>(gone.path()).await?;
    }
    for info in after.iter().filter(|jail| !before.contains(jail)) {
        server.at(info.path(), jail::Jail { info: info.clone(), core: core.clone() }).await?;
    }
    Ok(())
}

/// Sends the change signals of the properties that differ.
pub(crate) async fn announce(manager: &InterfaceRef<Manager>, before: &Status, after: &Status) -> zbus::Result<()> {
    let object = manager.get().await;
    let emitter = manager.signal_emitter();
    if before.state != after.state {
        object.state_changed(emitter).await?;
    }
    if before.firewall_state != after.firewall_state {
        object.firewall_state_changed(emitter).await?;
    }
    if before.firewall_message != after.firewall_message {
        object.firewall_message_changed(emitter).await?;
    }
    if before.bans != after.bans {
        object.n_bans_changed(emitter).await?;
    }
    if before.failures != after.failures {
        object.n_failures_changed(emitter).await?;
    }
    Ok(())
}

/// The engine's jails as the bus lists them.
pub(crate) fn jail_rows(engine: &Engine) -> Vec<JailRow> {
    let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    engine
        .jails()
        .map(|settings| {
            let (failing, sessions) = engine.counters(&settings.name).unwrap_or_default();
            JailRow {
                name: settings.name.clone(),
                bans: short(engine.bans().filter(|ban| *ban.jail == *settings.name).count()),
                failing: short(failing),
                sessions: short(sessions),
                path: jail::path_of(&settings.name),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zbus::object_server::Interface;

    use super::{jail::Jail, *};

    fn core() -> Core {
        Core { commands: mpsc::channel(1).0, status: watch::channel(Status::default()).1 }
    }

    /// The XML that is installed for other programs is what the objects say of themselves. After
    /// a change of the interface, WARDEND_WRITE_XML=1 writes it anew.
    #[test]
    fn the_installed_interfaces_are_the_ones_that_are_served() {
        let info = JailInfo::named("sshd");
        let mut manager = String::new();
        Manager { core: core() }.introspect_to_writer(&mut manager, 2);
        let mut jail = String::new();
        Jail { info, core: core() }.introspect_to_writer(&mut jail, 2);
        for (name, body) in [("Manager", manager), ("Jail", jail)] {
            let xml = format!(
                "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n  \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n{body}</node>\n"
            );
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dbus/org.wardend1.{name}.xml"));
            if std::env::var_os("WARDEND_WRITE_XML").is_some() {
                std::fs::write(&path, &xml).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), xml, "{}", path.display());
        }
    }
}
