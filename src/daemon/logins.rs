//! Who is logged in from where, told by systemd-logind (org.freedesktop.login1(5)).
//!
//! A login that began before `spare-logins` ago may still be open, and banning an admin who is at
//! work is what no ban daemon may do. logind knows, so a task of its own follows the sessions that
//! come and go and hands on the addresses they came from, whenever these change. Where there is
//! no logind, what sshd writes of logins has to do.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use tokio::{sync::mpsc, task::JoinHandle};
use zbus::{Connection, OwnedObjectPath, proxy, proxy::CacheProperties};

use crate::stream::next;

/// From where somebody is logged in.
pub(super) type Addresses = BTreeSet<IpAddr>;

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    /// Name, UID, user, seat, object of each session.
    #[allow(clippy::type_complexity, reason = "the method's signature")]
    async fn list_sessions(&self) -> zbus::Result<Vec<(String, u32, String, String, OwnedObjectPath)>>;

    #[zbus(signal)]
    async fn session_new(&self, name: String, session: OwnedObjectPath) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn session_removed(&self, name: String, session: OwnedObjectPath) -> zbus::Result<()>;
}

#[proxy(interface = "org.freedesktop.login1.Session", default_service = "org.freedesktop.login1")]
trait Session {
    /// What PAM was told (PAM_RHOST): an address, or a name where sshd has `UseDNS yes`.
    #[zbus(property)]
    fn remote_host(&self) -> zbus::Result<String>;
}

/// The task, which ends with this.
pub(super) struct Logins {
    changes: mpsc::Receiver<Addresses>,
    task: JoinHandle<()>,
}

impl Drop for Logins {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Logins {
    /// Follows the sessions from now on.
    pub(super) fn follow(connection: &Connection) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let connection = connection.clone();
        // An error means that the bus is gone, and with it the daemon.
        let task = tokio::spawn(async move { drop(run(&connection, &sender).await) });
        Self { changes, task }
    }

    /// The addresses, when they have changed; never again, if there is nobody to ask.
    pub(super) async fn next(&mut self) -> Addresses {
        match self.changes.recv().await {
            Some(addresses) => addresses,
            None => std::future::pending().await,
        }
    }
}

async fn run(connection: &Connection, sender: &mpsc::Sender<Addresses>) -> zbus::Result<()> {
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    // Listen first and ask afterwards, so that no session can slip through in between.
    let mut begun = manager.receive_session_new().await?;
    let mut ended = manager.receive_session_removed().await?;
    let mut owners = manager.inner().receive_owner_changed().await?;
    let mut sessions = ask(connection, &manager).await;
    let mut known = None;
    loop {
        let addresses: Addresses = sessions.values().copied().collect();
        if known.as_ref() != Some(&addresses) {
            known = Some(addresses.clone());
            if sender.send(addresses).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            Some(signal) = next(&mut begun) => {
                let session = signal.args()?.session;
                if let Some(address) = remote(connection, &session).await {
                    sessions.insert(session, address);
                }
            }
            Some(signal) = next(&mut ended) => drop(sessions.remove(&signal.args()?.session)),
            // A logind that starts anew knows the sessions of the one before. While it is away
            // nobody can log out.
            Some(Some(_)) = next(&mut owners) => sessions = ask(connection, &manager).await,
            else => return Ok(()),
        }
    }
}

/// All sessions from elsewhere; none, where there is no logind.
async fn ask(connection: &Connection, manager: &ManagerProxy<'_>) -> HashMap<OwnedObjectPath, IpAddr> {
    let mut sessions = HashMap::new();
    for (.., session) in manager.list_sessions().await.unwrap_or_default() {
        if let Some(address) = remote(connection, &session).await {
            sessions.insert(session, address);
        }
    }
    sessions
}

/// Where a session came from; none, if it is a local one or over by now.
async fn remote(connection: &Connection, session: &OwnedObjectPath) -> Option<IpAddr> {
    let session = SessionProxy::builder(connection).path(session).cache_properties(CacheProperties::No);
    let session = session.build().await.ok()?;
    let host = session.remote_host().await.ok()?;
    let address = host.split('%').next()?.parse::<IpAddr>().ok()?;
    Some(address.to_canonical())
}
