//! Who is logged in from where, as systemd-logind has it (org.freedesktop.login1(5)).
//!
//! A login that began before `spare-logins` ago may still be open, and banning an admin who is at
//! work is what no ban daemon may do. logind knows, so a task of its own follows the sessions that
//! come and go and hands on the addresses they came from, whenever these change. Where there is
//! no logind, what sshd writes of logins has to do.
//!
//! logind's signals only say that it is time to look. A session whose user has left, and whose
//! processes have not, stays there in the state `closing`: nobody is logged in by it any more. No
//! signal says when that happens, so sessions from elsewhere are looked at from time to time.
//!
//! Each session of sshd is also a sign that somebody came, whether sshd has written of it or not.
//!
//! With `UseDNS yes` sshd gives PAM, and so logind, a name. Then the session's leader is handed on:
//! sshd's own record of the login is from this process, and has the address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::sleep,
};
use zbus::{Connection, OwnedObjectPath, proxy, proxy::CacheProperties};

use crate::{
    core::time::Usec,
    systemd::outgoing::{Outgoing, within},
    util::time::now,
};

const NAME: &str = "org.freedesktop.login1";
const INTERFACE: &str = "org.freedesktop.login1.Manager";

/// How long logind may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a session from elsewhere is looked at, to notice that its user has left.
const INTERVAL: Duration = Duration::from_secs(15);
/// The same, for one that is about to be opened.
const SOON: Duration = Duration::from_secs(1);
/// The least time between two looks: a crowd of sessions makes few of them.
const GAP: Duration = Duration::from_millis(200);

/// Who is logged in from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// From these addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// From hosts of which logind has only the name: by the process that has let them in.
    pub(crate) named: BTreeMap<u32, Named>,
    /// How many sessions sshd has had opened since the daemon started.
    pub(crate) opened: u64,
}

/// A host of which only the name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) host: String,
    /// When the session began.
    pub(crate) since: Usec,
}

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    /// Name, UID, user, seat, object of each session.
    #[allow(clippy::type_complexity, reason = "the method's signature")]
    async fn list_sessions(&self) -> zbus::Result<Vec<(String, u32, String, String, OwnedObjectPath)>>;
}

#[proxy(interface = "org.freedesktop.login1.Session", default_service = "org.freedesktop.login1")]
trait Session {
    /// What PAM was told (PAM_RHOST): an address, or a name where sshd has `UseDNS yes`.
    #[zbus(property)]
    fn remote_host(&self) -> zbus::Result<String>;

    /// The service of PAM that it was opened for.
    #[zbus(property)]
    fn service(&self) -> zbus::Result<String>;

    /// The process that has registered it: sshd's for the connection.
    #[zbus(property)]
    fn leader(&self) -> zbus::Result<u32>;

    /// When it began, in µs since the epoch.
    #[zbus(property)]
    fn timestamp(&self) -> zbus::Result<u64>;

    /// `opening`, `online`, `active` or `closing`.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
}

/// The task, which ends with this.
pub(crate) struct Logins {
    changes: watch::Receiver<Present>,
    task: JoinHandle<()>,
}

impl Drop for Logins {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Logins {
    /// Follows the sessions from now on.
    pub(crate) fn follow(outgoing: &Outgoing) -> Self {
        let (sender, changes) = watch::channel(Present::default());
        let outgoing = outgoing.clone();
        // An error means that the bus is gone, and with it the daemon.
        let task = tokio::spawn(async move { drop(run(&outgoing, &sender).await) });
        Self { changes, task }
    }

    /// Who is there, when that has changed; never again, if there is nobody to ask.
    pub(crate) async fn next(&mut self) -> Present {
        match self.changes.changed().await {
            Ok(()) => self.changes.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

async fn run(outgoing: &Outgoing, sender: &watch::Sender<Present>) -> zbus::Result<()> {
    let mut owner = outgoing.follow(NAME).await?;
    // Listen first and ask afterwards, so that no session can slip through in between.
    let changed = Arc::new(Notify::new());
    for member in ["SessionNew", "SessionRemoved"] {
        let flag = Arc::clone(&changed);
        outgoing.listen(NAME, INTERFACE, member, move |_| flag.notify_one()).await?;
    }
    let manager = ManagerProxy::builder(outgoing.connection()).cache_properties(CacheProperties::No).build().await?;
    let mut known = Known { newest: now(), ..Known::default() };
    let mut first = true;
    loop {
        let next = known.look(outgoing.connection(), &manager).await;
        let present = known.present();
        sender.send_if_modified(|before| {
            let news = first || *before != present;
            *before = present;
            news
        });
        first = false;
        sleep(GAP).await;
        tokio::select! {
            () = changed.notified() => {}
            owner_changed = owner.changed() => {
                if owner_changed.is_err() {
                    return Ok(());
                }
                // A logind that starts again has the sessions of the previous one, but may use the
                // names of those that are over. While it is away nobody can log out.
                if owner.borrow_and_update().is_some() {
                    known.sessions.clear();
                }
            }
            () = sleep(next) => {}
        }
    }
}

/// What is known of a session.
#[derive(Debug)]
enum Session {
    /// Nobody is logged in by it from elsewhere, and that stays so.
    Nobody,
    Remote {
        from: From,
        /// Its user is there: the state is `online` or `active`.
        there: bool,
    },
}

#[derive(Clone, Debug)]
enum From {
    Address(IpAddr),
    Name(u32, Named),
}

/// The sessions that logind has.
#[derive(Debug, Default)]
struct Known {
    sessions: HashMap<OwnedObjectPath, Session>,
    /// When the newest began of those that are counted as opened.
    newest: Usec,
    opened: u64,
}

impl Known {
    /// Looks at what may have changed, and says when to look again if nothing is heard.
    async fn look(&mut self, connection: &Connection, manager: &ManagerProxy<'_>) -> Duration {
        // Without a list, what was known holds on.
        let Ok(sessions) = within(PATIENCE, manager.list_sessions()).await else { return INTERVAL };
        let sessions: HashSet<OwnedObjectPath> = sessions.into_iter().map(|(.., session)| session).collect();
        self.sessions.retain(|session, _| sessions.contains(session));
        let mut next = Duration::MAX;
        let counted = self.newest;
        for path in sessions {
            if matches!(self.sessions.get(&path), Some(Session::Nobody)) {
                continue;
            }
            let before = self.sessions.remove(&path);
            let looked = within(PATIENCE, look_at(connection, &path, before.as_ref())).await;
            let session = match looked {
                Ok((session, again, opened)) => {
                    next = next.min(again);
                    if let Some(opened) = opened.filter(|opened| *opened > counted) {
                        self.newest = self.newest.max(opened);
                        self.opened += 1;
                    }
                    Some(session)
                }
                // It is over by now, or logind is slow.
                Err(_) => {
                    next = next.min(INTERVAL);
                    before
                }
            };
            self.sessions.extend(session.map(|session| (path, session)));
        }
        next
    }

    fn present(&self) -> Present {
        let mut present = Present { opened: self.opened, ..Present::default() };
        for session in self.sessions.values() {
            match session {
                Session::Remote { from: From::Address(address), there: true } => {
                    present.addresses.insert(*address);
                }
                Session::Remote { from: From::Name(leader, named), there: true } => {
                    present.named.insert(*leader, named.clone());
                }
                Session::Remote { .. } | Session::Nobody => {}
            }
        }
        present
    }
}

/// What a session is now, when to look at it again, and if it is a new one of sshd's when it began.
async fn look_at(
    connection: &Connection,
    path: &OwnedObjectPath,
    before: Option<&Session>,
) -> zbus::Result<(Session, Duration, Option<Usec>)> {
    let session = SessionProxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await?;
    let mut opened = None;
    let from = match before {
        Some(Session::Remote { from, .. }) => from.clone(),
        _ => {
            let host = session.remote_host().await?;
            if host.is_empty() {
                return Ok((Session::Nobody, Duration::MAX, None));
            }
            let of_sshd = session.service().await? == "sshd";
            let since = session.timestamp().await?;
            opened = of_sshd.then_some(since);
            match address(&host) {
                Some(address) => From::Address(address),
                // Nobody else writes a record of it that would be read.
                None if !of_sshd => return Ok((Session::Nobody, Duration::MAX, None)),
                None => From::Name(session.leader().await?, Named { host, since }),
            }
        }
    };
    let state = session.state().await?;
    let again = match state.as_str() {
        "closing" => return Ok((Session::Nobody, Duration::MAX, opened)),
        "opening" => SOON,
        _ => INTERVAL,
    };
    Ok((Session::Remote { from, there: matches!(state.as_str(), "online" | "active") }, again, opened))
}

fn address(host: &str) -> Option<IpAddr> {
    Some(host.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical())
}
