//! `org.wardend1` on the system bus: thin interfaces over the daemon's core.
//!
//! A call becomes a [`Command`] to the core and its answer comes back over a oneshot channel, so
//! no interface holds state and none can block the core. What changes often and is read often
//! (counts, state) is published by the core as [`Status`]. Reading is free for every local user;
//! changing asks polkit ([`polkit`]). No caller can hold up another for long ([`queue`]), and none
//! can bring to a halt what wardend itself needs of the bus: it serves over a connection of its own
//! ([`socket`]), and its signals are sent by a task of its own ([`publish`]).

mod announce;
mod caller;
mod entries;
mod exceptions;
mod explain;
mod jail;
mod logcontrol;
mod long_calls;
mod manager;
mod options;
mod orders;
mod oversize;
mod polkit;
mod publish;
mod queue;
mod socket;
mod weight;

use std::{collections::BTreeMap, net::IpAddr, pin::Pin, sync::Arc};

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use zbus::{Connection, OwnedObjectPath, message::Header};

use self::queue::{Queue, QueuedAnswer};
pub(crate) use self::{
    jail::JailProxy,
    logcontrol::{LOG_CONTROL_PATH, LevelError, LogControl},
    manager::{Banned, Extended, Failure, Leak, Manager, ManagerProxy, ManagerSignals, Spared, Unbanned},
    publish::PublisherHandle,
    socket::{Load, connect},
};
use crate::{
    contract::{
        bus::{BanRow, FirewallStatus, INFINITY, JailMore, JailRow, ProblemRow},
        error::Error,
        exceptions::{ExceptionRow, IgnoredRow},
        happening::Happening,
        history::{HistoryRow, TopRow},
        latency::Latency,
    },
    core::{
        Exception, ExceptionKind,
        bans::Origin,
        engine::{BanOrder, Change, CommandError, Engine, Explanation, Terms},
        listing::Listing,
        time::Usec,
        tops::Question,
    },
    util::suggest,
};

/// The number of long replies that are in progress at a time.
const ANSWERS: usize = 4;

/// Where the answer goes, when what was ordered is on disk; or what has kept it from being done.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What came of each of many orders.
pub(crate) type Many<T> = Vec<Result<T, CommandError>>;

/// What the core is asked.
#[derive(Debug)]
pub(crate) enum Command {
    ListBans(Listing, oneshot::Sender<Page>),
    ListJails(oneshot::Sender<Vec<JailRow>>),
    /// The jails of a ban that names none.
    JailsForAll(Reply<Vec<Arc<str>>>),
    Ban {
        orders: Vec<BanOrder>,
        /// Of a list, whose decision it is.
        list: Option<String>,
        reply: Reply<Many<Ordered>>,
    },
    Unban {
        networks: Vec<IpNet>,
        jail: Option<String>,
        /// Only bans of this origin.
        origin: Option<Origin>,
        reply: Reply<Many<Vec<BanRow>>>,
    },
    UnbanAll {
        jail: Option<String>,
        origin: Option<Origin>,
        reply: Reply<u32>,
    },
    /// Ignores or suspects networks.
    Except {
        kind: ExceptionKind,
        networks: Vec<IpNet>,
        jail: Option<String>,
        terms: Terms,
        reply: Reply<Many<Exception>>,
    },
    /// Ends that.
    EndExceptions {
        kind: ExceptionKind,
        networks: Vec<IpNet>,
        jail: Option<String>,
        uid: Option<u32>,
        reply: Reply<Many<Vec<Exception>>>,
    },
    History {
        since: Usec,
        until: Usec,
        step: Usec,
        reply: Reply<Vec<HistoryRow>>,
    },
    TopSources(Question, Reply<Vec<TopRow>>),
    ListIgnored(oneshot::Sender<Vec<IgnoredRow>>),
    ListSuspects(oneshot::Sender<Vec<ExceptionRow>>),
    Pause {
        jail: Option<String>,
        terms: Terms,
        reply: Reply<Vec<Exception>>,
    },
    Resume {
        jail: Option<String>,
        uid: Option<u32>,
        reply: Reply<Vec<Exception>>,
    },
    Explain(IpAddr, oneshot::Sender<Vec<Explanation>>),
    Reload(Reply<()>),
    RemoveFirewall(Reply<()>),
    FirewallStatus(oneshot::Sender<FirewallStatus>),
    SyncFirewall(Reply<Vec<String>>),
}

/// A window over the bans.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) bans: Vec<BanRow>,
    /// The number of all that were looked for.
    pub(crate) total: usize,
    /// The number of the last change.
    pub(crate) generation: u64,
}

/// A ban that was ordered, as it is now.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) change: Change,
    pub(crate) row: BanRow,
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
    /// Why the state is `degraded`.
    pub(crate) problems: Vec<ProblemRow>,
    /// What does not happen because somebody has ordered that.
    pub(crate) notes: Vec<ProblemRow>,
    /// How many addresses of this machine are known.
    pub(crate) own: u32,
    pub(crate) cursor: String,
    pub(crate) bans: u32,
    pub(crate) failures: u64,
    pub(crate) jails: Vec<JailRow>,
    /// How far reading the journal is behind.
    pub(crate) lag_usec: u64,
    pub(crate) counted: Counted,
}

/// What was counted since the daemon started: numbers that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// The number of the last change of the list of bans. It begins with the time of the start, so that it
    /// never falls.
    pub(crate) generation: u64,
    pub(crate) records: u64,
    pub(crate) lost: u64,
    pub(crate) leaks: u64,
    pub(crate) latency: Latency,
    pub(crate) jails: BTreeMap<Arc<str>, JailCounts>,
}

impl Counted {
    /// Something has happened.
    pub(crate) fn count(&mut self, happening: &Happening) {
        match happening {
            Happening::Failed { jail, .. } => self.of(jail).failures += 1,
            Happening::Banned(ban) => {
                let counts = self.of(&ban.jail);
                counts.bans += 1;
                counts.ordered += u64::from(ban.is_ordered());
                self.generation += 1;
            }
            // When the clock is set, the ends of all bans change; whoever hears of the next change reads them again.
            Happening::Extended(_) | Happening::Unbanned(..) | Happening::ClockSet(_) => self.generation += 1,
            Happening::Spared { jail, .. } => self.of(jail).spared += 1,
            Happening::Leaked { .. } => self.leaks += 1,
            Happening::Withheld(_)
            | Happening::Excepted(_)
            | Happening::ExceptionEnded(..)
            | Happening::Crowded(..) => {}
        }
    }

    fn of(&mut self, jail: &Arc<str>) -> &mut JailCounts {
        self.jails.entry(Arc::clone(jail)).or_default()
    }
}

/// The part of a jail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JailCounts {
    pub(crate) failures: u64,
    pub(crate) bans: u64,
    /// Those of them that were ordered.
    pub(crate) ordered: u64,
    pub(crate) spared: u64,
}

/// A window over the bans, the number of all of them, and the number of the last change.
type Window = Result<(QueuedAnswer<Vec<BanRow>>, u32, u64), Error>;
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The core, as the interfaces reach it.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    /// A connection that no client can bring to a halt ([`socket`]); tests have none.
    own: Option<Connection>,
    load: Arc<Load>,
    answers: Arc<Queue>,
    looks: Arc<Queue>,
}

impl Core {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        status: watch::Receiver<Status>,
        own: Option<Connection>,
        load: Arc<Load>,
    ) -> Self {
        let queue = |served| Arc::new(Queue::new(served, Arc::clone(&load)));
        Self { commands, status, own, answers: queue(ANSWERS), looks: queue(1), load }
    }

    /// Asks, and waits for the answer.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let stopping = || Error::Failed("wardend is stopping.".to_owned());
        // First a place: thousands of calls may wait, and a command is large.
        let place = self.commands.reserve().await.map_err(|_| stopping())?;
        let (reply, answer) = oneshot::channel();
        place.send(command(reply));
        answer.await.map_err(|_| stopping())
    }

    /// The jails that an order means: the one that it names, or as many as it takes.
    async fn jails_for(&self, jail: &str) -> Result<Vec<Arc<str>>, Error> {
        if jail.is_empty() { self.ask(Command::JailsForAll).await? } else { Ok(vec![jail.into()]) }
    }

    /// The object of a jail.
    async fn path_of(&self, jail: &str) -> Result<OwnedObjectPath, Error> {
        let jails = self.ask(Command::ListJails).await?;
        jails.iter().find(|known| known.name == jail).map(|known| known.path.clone()).ok_or_else(|| {
            let instead = suggest::instead(jail, jails.iter().map(|known| known.name.as_str()));
            Error::NoSuchJail(format!("There is no jail '{jail}'; {instead}"))
        })
    }

    /// A window over the bans, when it is the caller's turn. In a box: zbus holds what a call needs twice,
    /// and thousands of them may wait.
    fn bans<'a>(&'a self, header: &'a Header<'_>, listing: Listing) -> BoxFuture<'a, Window> {
        Box::pin(async move {
            let turn = self.answers.wait_for_answer(header).await?;
            let Page { bans, total, generation } = self.ask(|reply| Command::ListBans(listing, reply)).await?;
            Ok((QueuedAnswer::new(bans, turn), u32::try_from(total).unwrap_or(u32::MAX), generation))
        })
    }
}

/// The engine's jails as the bus lists them.
pub(crate) fn jail_rows(engine: &Engine, counted: &Counted) -> Vec<JailRow> {
    let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    engine
        .jails()
        .map(|settings| {
            let (failing, sessions) = engine.counters(&settings.name).unwrap_or_default();
            let counts = counted.jails.get(settings.name.as_str()).copied().unwrap_or_default();
            let pause = engine.pause_of(&settings.name);
            JailRow {
                name: settings.name.clone(),
                bans: short(engine.ban_count_of(&settings.name)),
                failing: short(failing),
                sessions: short(sessions),
                path: jail::path_of(&settings.name),
                more: JailMore {
                    filter: settings.filter.name.clone(),
                    max_retry: settings.maxretry,
                    findtime_usec: settings.findtime,
                    bantime_usec: settings.bantime.unwrap_or(INFINITY),
                    failures: counts.failures,
                    bans_total: counts.bans,
                    ordered: counts.ordered,
                    spared: counts.spared,
                    paused: pause.is_some(),
                    paused_until_usec: pause.map(|pause| pause.until.unwrap_or(INFINITY)),
                    pause_reason: pause.map(|pause| pause.reason.to_string()),
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zbus::object_server::Interface;

    use super::{jail::Jail, *};
    use crate::config::Settings;

    fn interfaces() -> [(&'static str, String); 2] {
        let core = Core::new(mpsc::channel(1).0, watch::channel(Status::default()).1, None, Arc::default());
        let settings = Settings::load(&[]).unwrap().jails.remove(0);
        let (mut manager, mut jail) = (String::new(), String::new());
        Manager::new(core.clone()).introspect_to_writer(&mut manager, 2);
        let settings = watch::channel(settings).1;
        Jail { name: "sshd".to_owned(), settings, core }.introspect_to_writer(&mut jail, 2);
        [("Manager", manager), ("Jail", jail)]
    }

    /// The XML that is installed for other programs is what the objects say of themselves. After
    /// a change of the interface, WARDEND_WRITE_XML=1 writes it again.
    #[test]
    fn the_installed_interfaces_are_the_ones_that_are_served() {
        for (name, body) in interfaces() {
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

    /// Everything that a program can find on the bus is in org.wardend1(5), and there is an
    /// explanation with each.
    #[test]
    fn the_manual_names_every_method_signal_and_property() {
        let page = include_str!("../../man/org.wardend1.5").replace("\\&", "");
        for (interface, body) in interfaces() {
            let mut documented = true;
            for line in body.lines().map(str::trim) {
                let name = line.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
                if ["<method ", "<signal ", "<property "].iter().any(|kind| line.starts_with(kind)) {
                    assert!(page.contains(&format!("\n\\fB{name}\\fR")), "{interface}.{name} is not in the manual");
                    assert!(documented, "{interface}.{name} has no explanation in its XML");
                    documented = false;
                }
                documented |= line == "-->";
            }
        }
    }

    /// What is said to change without a signal is what no signal is sent for.
    #[test]
    fn only_properties_that_say_so_change_silently() {
        let mut silent = Vec::new();
        for (_, body) in interfaces() {
            for property in body.split("<property name=\"").skip(1) {
                let own = property.split("<property").next().unwrap().split("<!--").next().unwrap();
                if own.contains("EmitsChangedSignal\" value=\"false\"") {
                    silent.push(property.split('"').next().unwrap().to_owned());
                }
            }
        }
        silent.sort();
        assert_eq!(silent, announce::QUIET);
    }
}
