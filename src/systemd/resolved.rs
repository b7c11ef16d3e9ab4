//! The addresses of names in `ignoreip`, asked of systemd-resolved, or of a unit where that is not there.
//!
//! The daemon has no network of its own, so it asks over the bus (org.freedesktop.resolve1(5)) or
//! [`resolve_unit`], in a task of its own: a resolver that hangs holds no ban up. What the engine
//! decides with is the last answer, which outlives a restart in the snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};
use zbus::{Connection, proxy};

use super::resolve_unit::{self, ResolveError};
use crate::{core::jail::JailSettings, journal::events};

/// How often the names are asked for.
const INTERVAL: Duration = Duration::from_secs(300);
/// How soon again while one of them has no answer at all, as at a boot before the network is up. It
/// doubles each time.
const SOON: Duration = Duration::from_secs(10);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the names of resolved's errors begin.
const ERRORS: &str = "org.freedesktop.resolve1.";

/// Which addresses the names have.
pub(crate) type Addresses = BTreeMap<String, Vec<IpAddr>>;

#[proxy(
    interface = "org.freedesktop.resolve1.Manager",
    default_service = "org.freedesktop.resolve1",
    default_path = "/org/freedesktop/resolve1"
)]
trait Resolve {
    /// Interface 0 is any, family 0 (AF_UNSPEC) is both.
    #[allow(clippy::type_complexity, reason = "the method's signature")]
    async fn resolve_hostname(
        &self,
        interface: i32,
        name: &str,
        family: i32,
        flags: u64,
    ) -> zbus::Result<(Vec<(i32, i32, Vec<u8>)>, String, u64)>;
}

/// The task, which ends with this.
pub(crate) struct Names {
    answers: mpsc::Receiver<Addresses>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Names {
    /// Asks for the names of all jails, now and every few minutes.
    pub(crate) fn ask(connection: &Connection, jails: &[JailSettings]) -> Self {
        let (sender, answers) = mpsc::channel(1);
        let mut names: Vec<String> = jails.iter().flat_map(|jail| &*jail.names).map(|name| name.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Self { answers, task: None };
        }
        Self { answers, task: Some(tokio::spawn(run(connection.clone(), names, sender))) }
    }

    /// The next answer; never, if nothing is asked for.
    pub(crate) async fn next(&mut self) -> Addresses {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

async fn run(connection: Connection, names: Vec<String>, sender: mpsc::Sender<Addresses>) {
    let mut known = Addresses::new();
    // Trouble is reported once, until the name has an answer again.
    let mut reported = BTreeSet::new();
    let mut pause = SOON;
    let Ok(resolver) = ResolveProxy::new(&connection).await else { return };
    loop {
        let mut changed = false;
        for name in &names {
            let asked = tokio::time::timeout(PATIENCE, addresses(&resolver, name)).await;
            match asked.unwrap_or(Err(ResolveError::Late(PATIENCE))) {
                Ok(mut found) => {
                    found.sort_unstable();
                    changed |= known.insert(name.clone(), found.clone()) != Some(found);
                    reported.remove(name);
                }
                Err(why) => {
                    if reported.insert(name) {
                        events::no_address(&format!(
                            "'{name}' in ignoreip can't be resolved: {why}. The addresses of the last answer, if there was one, stay protected."
                        ));
                    }
                }
            }
        }
        if changed && sender.send(known.clone()).await.is_err() {
            return;
        }
        pause = if known.len() == names.len() { INTERVAL } else { pause.min(INTERVAL) };
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// What a name means.
async fn addresses(resolver: &ResolveProxy<'_>, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    match resolver.resolve_hostname(0, name, 0, 0).await {
        Ok((found, ..)) => Ok(found.iter().filter_map(|(_, _, bytes)| address(bytes)).collect()),
        // It is there, and this is its answer.
        Err(zbus::Error::MethodError(error, text, _)) if error.starts_with(ERRORS) => {
            let text = text.unwrap_or_else(|| error.to_string());
            Err(ResolveError::Unknown(text.trim_end_matches('.').to_owned()))
        }
        Err(_) => resolve_unit::ask(resolve_unit::SOCKET, name).await,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}
