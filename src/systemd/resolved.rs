//! The addresses of names in `ignoreip`, asked of systemd-resolved.
//!
//! The daemon has no network of its own, so it asks over the bus (org.freedesktop.resolve1(5)),
//! in a task of its own: a resolver that hangs holds no ban up. What the engine decides with is
//! the last answer, which outlives a restart in the snapshot.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};
use zbus::{Connection, proxy};

use crate::{core::jail::JailSettings, journal::events};

/// How often the names are asked for.
const INTERVAL: Duration = Duration::from_secs(300);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let Ok(resolver) = ResolveProxy::new(&connection).await else { return };
    loop {
        let mut changed = false;
        for name in &names {
            let asked = tokio::time::timeout(PATIENCE, resolver.resolve_hostname(0, name, 0, 0)).await;
            let trouble = match asked.map(|answer| answer.map_err(zbus::fdo::Error::from)) {
                Ok(Ok((found, ..))) => {
                    let mut addresses: Vec<IpAddr> = found.iter().filter_map(|(_, _, bytes)| address(bytes)).collect();
                    addresses.sort_unstable();
                    changed |= known.insert(name.clone(), addresses.clone()) != Some(addresses);
                    told.remove(name);
                    continue;
                }
                Ok(Err(zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_))) => {
                    "systemd-resolved is not there (apt install systemd-resolved), or write addresses instead"
                        .to_owned()
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("systemd-resolved gave no answer within {} s", PATIENCE.as_secs()),
            };
            // Each trouble once, not every few minutes.
            if told.get(name) != Some(&trouble) {
                events::no_address(&format!(
                    "'{name}' in ignoreip can't be resolved: {trouble}. The addresses of the last answer, if there was one, stay protected."
                ));
                told.insert(name.clone(), trouble);
            }
        }
        if changed && sender.send(known.clone()).await.is_err() {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}
