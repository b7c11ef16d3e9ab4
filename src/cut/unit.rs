//! Closes what a banned source still has open.
//!
//! firewalld lets live what is established, and closing somebody else's sockets takes
//! CAP_NET_ADMIN, which the daemon has not. So it has systemd start `wardend-cut@.service`, which
//! has that one capability and does that one thing; polkit allows the daemon to start this unit
//! and no other. It is started by one job at a time, each for all sources that have come together
//! meanwhile, so that no attack makes a crowd of processes; and nothing ever waits for it. What a ban
//! does not close is not cut either, so the unit receives the ports of a ban that has some.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};
use zbus::proxy::CacheProperties;
use zbus::{Message, OwnedObjectPath, fdo, proxy};

use crate::core::net::text_of;
use crate::core::scope::{Port, Scope};
use crate::firewalld::client::{Firewalld, Trouble};
use crate::systemd::outgoing::{Outgoing, within};

/// How many sources wait at most. sshd has no more than 100 connections at a time that have not
/// logged in (MaxStartups), so beyond this the oldest have nothing open any more.
const MOST_WAITING: usize = 256;
/// Of the 255 bytes of a unit's name, for sources and for ports.
const LONGEST_NAMES: usize = 140;
const LONGEST_PORTS: usize = 80;
/// The unit ends by itself in less (TimeoutStartSec=).
const PATIENCE: Duration = Duration::from_secs(30);
/// How long firewalld may take to say what ports its services have.
const PORTS_PATIENCE: Duration = Duration::from_secs(10);

const NAME: &str = "org.freedesktop.systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// Why connections live on: a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CutError {
    #[error(
        "polkit does not let wardend start wardend-cut@.service (check that polkitd is running and that \
         /usr/share/polkit-1/rules.d/50-wardend.rules is installed)"
    )]
    Denied,
    #[error("wardend-cut@.service has failed (see journalctl -u 'wardend-cut@*')")]
    Failed,
    #[error("systemd does not report the result of wardend-cut@.service")]
    Deaf,
    /// In systemd's words.
    #[error("systemd does not start wardend-cut@.service: {0}")]
    NotStarted(String),
    #[error("firewalld does not say what ports {service} has: {why}")]
    PortsUnknown { service: String, why: String },
    #[error("its ban closes no TCP or UDP port")]
    NoPorts,
    #[error("its ban closes more ports than fit into the name of a unit")]
    ManyPorts,
}

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
}

/// The job that is waited for, and what has become of it. systemd tells whoever has started a job of
/// its end, without a subscription.
#[derive(Default)]
struct Job {
    awaited: Mutex<Option<(String, Option<String>)>>,
    ended: Notify,
}

impl Job {
    fn expect(&self, unit: &str) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = Some((unit.to_owned(), None));
    }

    /// Takes in `JobRemoved`, where the connection is read: of all jobs but one there is nothing to
    /// keep.
    fn hear(&self, signal: &Message) {
        let body = signal.body();
        let Ok((_, _, unit, result)) = body.deserialize::<(u32, zbus::ObjectPath<'_>, &str, &str)>() else { return };
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, end)) = awaited.as_mut().filter(|(awaited, _)| awaited == unit) {
            *end = Some(result.to_owned());
            self.ended.notify_one();
        }
    }

    fn result(&self) -> Option<String> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.1.clone()
    }
}

/// What is to be closed: the connections of a source to what its ban closes.
pub(crate) type CutTarget = (Arc<Scope>, IpNet);

/// What has become of the connections of these sources.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) scope: Arc<Scope>,
    pub(crate) sources: Vec<IpNet>,
    pub(crate) outcome: Result<(), CutError>,
}

/// The sources whose turn has not come yet, each once.
#[derive(Debug, Default)]
struct Queue(VecDeque<CutTarget>);

impl Queue {
    fn push(&mut self, target: CutTarget) {
        if !self.0.contains(&target) {
            self.0.push_back(target);
            if self.0.len() > MOST_WAITING {
                self.0.pop_front();
            }
        }
    }

    /// As many of one scope as fit into the name of a unit, the newest first: they are the likeliest
    /// to have something open. And that part of the name.
    fn take(&mut self) -> Option<(Arc<Scope>, Vec<IpNet>, String)> {
        let (scope, first) = self.0.pop_back()?;
        let (mut sources, mut names) = (vec![first], escaped(first));
        while let Some((other, source)) = self.0.back() {
            let next = escaped(*source);
            if *other != scope || names.len() + 1 + next.len() > LONGEST_NAMES {
                break;
            }
            names = format!("{names}_{next}");
            sources.extend(self.0.pop_back().map(|(_, source)| source));
        }
        Some((scope, sources, names))
    }
}

/// As systemd-escape(1) has it: of what is in a network's text, it knows `/` only as `-`.
fn escaped(source: IpNet) -> String {
    text_of(source).replace('/', "-")
}

/// As the unit takes them: `tcp22`, `udp6000:6010`. Only these protocols can be cut.
fn port(first: &str, last: &str, protocol: &str) -> Option<String> {
    let range = if first == last { first.to_owned() } else { format!("{first}:{last}") };
    ["tcp", "udp"].contains(&protocol).then(|| format!("{protocol}{range}"))
}

/// Ends when nobody gives sources any more, or the bus is gone.
pub(crate) async fn run(outgoing: Outgoing, targets: UnboundedReceiver<CutTarget>, reports: UnboundedSender<Cut>) {
    let connection = outgoing.connection();
    // Whatever is wrong with the bus ends the daemon, which tells it.
    let Ok(systemd) = SystemdProxy::builder(connection).cache_properties(CacheProperties::No).build().await else {
        return;
    };
    let job = Arc::<Job>::default();
    let ear = Arc::clone(&job);
    if outgoing.listen(NAME, INTERFACE, "JobRemoved", move |signal| ear.hear(signal)).await.is_err() {
        return;
    }
    let Ok(firewalld) = Firewalld::new(connection).await else { return };
    let mut cutter = Cutter { systemd, firewalld, job, targets, queue: Queue::default() };
    while let Some(target) = cutter.targets.recv().await {
        cutter.queue.push(target);
        while let Ok(target) = cutter.targets.try_recv() {
            cutter.queue.push(target);
        }
        while let Some((scope, sources, names)) = cutter.queue.take() {
            let outcome = match cutter.firewalld.cut_ports(&scope).await {
                Ok(ports) => cutter.cut(&format!("wardend-cut@{names}{ports}.service")).await,
                Err(why) => Err(why),
            };
            // The daemon may be going down.
            let _ = reports.send(Cut { scope, sources, outcome });
        }
    }
}

struct Cutter {
    systemd: SystemdProxy<'static>,
    firewalld: Firewalld,
    job: Arc<Job>,
    targets: UnboundedReceiver<CutTarget>,
    queue: Queue,
}

impl Cutter {
    /// Starts the unit, and waits for its end. What else comes in is taken in meanwhile.
    async fn cut(&mut self, unit: &str) -> Result<(), CutError> {
        let deadline = Instant::now() + PATIENCE;
        self.job.expect(unit);
        let mut call = pin!(self.systemd.start_unit(unit, "replace"));
        let mut started = false;
        loop {
            tokio::select! {
                biased;
                () = self.job.ended.notified() => {}
                reply = &mut call, if !started => {
                    started = true;
                    reply.map_err(|error| not_started(&error))?;
                }
                Some(target) = self.targets.recv() => self.queue.push(target),
                () = sleep_until(deadline) => return Err(CutError::Deaf),
            }
            // The signal may overtake the reply.
            match self.job.result().as_deref() {
                Some("done") if started => return Ok(()),
                Some(_) if started => return Err(CutError::Failed),
                _ => {}
            }
        }
    }
}

impl Firewalld {
    /// The ports of a scope, for the end of a unit's instance; none if it is all of them. Only
    /// firewalld knows the ports of its services.
    async fn cut_ports(&self, scope: &Scope) -> Result<String, CutError> {
        let mut ports = BTreeSet::new();
        let mut services: Vec<String> = Vec::new();
        for it in scope.ports() {
            match it {
                Port::Service(name) => services.push(name.to_string()),
                Port::Numbers(first, last, protocol) => {
                    ports.extend(port(&first.to_string(), &last.to_string(), &protocol.to_string()));
                }
            }
        }
        for service in services {
            let settings = match within(PORTS_PATIENCE, self.main().service_settings(&service)).await {
                Ok(settings) => settings,
                // Then no rule names it either, see messages::unknown.
                Err(error) if Trouble::from(&error) == Trouble::Missing => continue,
                Err(error) => return Err(CutError::PortsUnknown { service, why: error.to_string() }),
            };
            let listed = settings.get("ports").and_then(|ports| ports.try_clone().ok());
            let listed: Vec<(String, String)> = listed.and_then(|ports| ports.try_into().ok()).unwrap_or_default();
            for (range, protocol) in listed {
                let (first, last) = range.split_once('-').unwrap_or((&range, &range));
                ports.extend(port(first, last, &protocol));
            }
        }
        if !scope.ports().is_empty() && ports.is_empty() {
            return Err(CutError::NoPorts);
        }
        let text = ports.into_iter().fold(String::new(), |text, port| text + "_" + &port);
        if text.len() > LONGEST_PORTS {
            return Err(CutError::ManyPorts);
        }
        Ok(text)
    }
}

fn not_started(error: &zbus::Error) -> CutError {
    if let zbus::Error::FDO(error) = error
        && matches!(**error, fdo::Error::AccessDenied(_) | fdo::Error::InteractiveAuthorizationRequired(_))
    {
        return CutError::Denied;
    }
    CutError::NotStarted(match error {
        zbus::Error::MethodError(_, Some(text), _) => text.trim_end_matches('.').to_owned(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::net::parse_network;

    fn target(text: &str) -> CutTarget {
        (Arc::new(Scope::default()), parse_network(text).unwrap())
    }

    #[test]
    fn sources_are_written_as_systemd_escape_would() {
        for (source, name) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.0/24", "203.0.113.0-24"),
            ("2001:db8:a:7::/64", "2001:db8:a:7::-64"),
        ] {
            let mut queue = Queue::default();
            queue.push(target(source));
            assert_eq!(queue.take().unwrap().2, name);
        }
    }

    #[test]
    fn many_sources_share_few_units_and_none_is_cut_twice() {
        let mut queue = Queue::default();
        for number in 0..=255_u32 {
            for _ in 0..2 {
                queue.push(target(&format!("203.0.113.{number}")));
            }
        }
        let (mut seen, mut units) = (Vec::new(), 0);
        while let Some((_, sources, names)) = queue.take() {
            assert!(names.len() <= LONGEST_NAMES, "{names}");
            assert_eq!(names.split('_').count(), sources.len());
            seen.extend(sources);
            units += 1;
        }
        assert_eq!(seen.len(), 256);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 256);
        assert!(units < 30, "{units}");
        assert!("wardend-cut@.service".len() + LONGEST_NAMES + LONGEST_PORTS <= 255);
    }

    #[test]
    fn sources_of_different_scopes_never_share_a_unit() {
        let mut queue = Queue::default();
        let ssh = Arc::new(Scope::new(vec!["ssh".parse().unwrap()], false));
        queue.push(target("203.0.113.7"));
        queue.push((Arc::clone(&ssh), target("203.0.113.7").1));
        queue.push((Arc::clone(&ssh), target("203.0.113.8").1));
        assert_eq!(queue.take().unwrap().1.len(), 2);
        assert_eq!(queue.take().unwrap().0, target("203.0.113.7").0);
        assert!(queue.take().is_none());
        assert_eq!(port("22", "22", "tcp").as_deref(), Some("tcp22"));
        assert_eq!(port("6000", "6010", "udp").as_deref(), Some("udp6000:6010"));
        assert_eq!(port("22", "22", "sctp"), None);
    }

    #[test]
    fn a_flood_of_bans_makes_no_long_queue() {
        let mut queue = Queue::default();
        for number in 0..10_000_u32 {
            queue.push((Arc::new(Scope::default()), IpNet::from(std::net::IpAddr::from(number.to_be_bytes()))));
        }
        assert_eq!(queue.0.len(), MOST_WAITING);
        assert_eq!(queue.take().unwrap().1[0], target("0.0.39.15").1, "the newest is the first");
    }
}
