//! Closes what a banned source still has open.
//!
//! firewalld lets live what is established, and closing somebody else's sockets takes
//! CAP_NET_ADMIN, which the daemon has not. So it has systemd start `wardend-cut@.service`, which
//! has that one capability and does that one thing; polkit allows the daemon to start this unit
//! and no other. It is started by one job at a time, each for all sources that have come together
//! meanwhile, so that no attack makes a crowd of processes; and nothing ever waits for it.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, fdo, proxy};

use crate::jail::text_of;
use crate::stream::next;

/// How many sources wait at most. sshd has no more than 100 connections at a time that have not
/// logged in (MaxStartups), so beyond this the oldest have nothing open any more.
const MOST_WAITING: usize = 256;
/// Of the 255 bytes of a unit's name.
const LONGEST_INSTANCE: usize = 200;
/// The unit ends by itself in less (TimeoutStartSec=).
const PATIENCE: Duration = Duration::from_secs(30);

const DENIED: &str = "polkit does not let wardend start wardend-cut@.service (check that polkitd is running \
                      and that /usr/share/polkit-1/rules.d/50-wardend.rules is installed)";
const FAILED: &str = "wardend-cut@.service has failed (see journalctl -u 'wardend-cut@*')";
const DEAF: &str = "systemd does not say what has become of wardend-cut@.service";

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;

    /// Sent to whoever has started a job, without a subscription.
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: zbus::ObjectPath<'_>, unit: String, result: String) -> zbus::Result<()>;
}

/// What has become of the connections of these sources; an error is the part of a sentence that
/// says why they live on.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) sources: Vec<IpNet>,
    pub(crate) outcome: Result<(), String>,
}

/// The sources whose turn has not come yet, each once.
#[derive(Debug, Default)]
struct Queue(VecDeque<IpNet>);

impl Queue {
    fn push(&mut self, source: IpNet) {
        if !self.0.contains(&source) {
            self.0.push_back(source);
            if self.0.len() > MOST_WAITING {
                self.0.pop_front();
            }
        }
    }

    /// As many as fit into the name of a unit, the newest first: they are the likeliest to have
    /// something open.
    fn take(&mut self) -> Option<(Vec<IpNet>, String)> {
        let first = self.0.pop_back()?;
        let (mut sources, mut instance) = (vec![first], escaped(first));
        while let Some(source) = self.0.back() {
            let next = escaped(*source);
            if instance.len() + 1 + next.len() > LONGEST_INSTANCE {
                break;
            }
            instance = format!("{instance}_{next}");
            sources.extend(self.0.pop_back());
        }
        Some((sources, format!("wardend-cut@{instance}.service")))
    }
}

/// As systemd-escape(1) has it: of what is in a network's text, it knows `/` only as `-`.
fn escaped(source: IpNet) -> String {
    text_of(source).replace('/', "-")
}

/// Ends when nobody gives sources any more, or the bus is gone.
pub(super) async fn run(connection: Connection, sources: UnboundedReceiver<IpNet>, reports: UnboundedSender<Cut>) {
    // Whatever is wrong with the bus ends the daemon, which tells it.
    let Ok(systemd) = SystemdProxy::builder(&connection).cache_properties(CacheProperties::No).build().await else {
        return;
    };
    let Ok(removed) = systemd.receive_job_removed().await else { return };
    let mut task = Task { systemd, removed, sources, queue: Queue::default() };
    loop {
        tokio::select! {
            source = task.sources.recv() => match source {
                Some(source) => task.queue.push(source),
                None => return,
            },
            // Read at all times: zbus stops reading from the bus when one of its queues is full.
            removed = next(&mut task.removed) => match removed {
                Some(_) => continue,
                None => return,
            },
        }
        while let Ok(source) = task.sources.try_recv() {
            task.queue.push(source);
        }
        while let Some((sources, unit)) = task.queue.take() {
            let outcome = task.cut(&unit).await;
            // The daemon may be going down.
            let _ = reports.send(Cut { sources, outcome });
        }
    }
}

struct Task {
    systemd: SystemdProxy<'static>,
    removed: JobRemovedStream,
    sources: UnboundedReceiver<IpNet>,
    queue: Queue,
}

impl Task {
    /// Starts the unit, and waits for its end. What else comes in is taken in meanwhile.
    async fn cut(&mut self, unit: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut call = pin!(self.systemd.start_unit(unit, "replace"));
        let (mut started, mut result) = (false, None);
        loop {
            tokio::select! {
                biased;
                Some(removed) = next(&mut self.removed) => {
                    if let Ok(job) = removed.args() && job.unit == unit {
                        result = Some(job.result.clone());
                    }
                }
                reply = &mut call, if !started => {
                    started = true;
                    reply.map_err(|error| not_started(&error))?;
                }
                Some(source) = self.sources.recv() => self.queue.push(source),
                () = sleep_until(deadline) => return Err(DEAF.to_owned()),
            }
            // The signal may overtake the reply.
            match result.as_deref() {
                Some("done") if started => return Ok(()),
                Some(_) if started => return Err(FAILED.to_owned()),
                _ => {}
            }
        }
    }
}

fn not_started(error: &zbus::Error) -> String {
    if let zbus::Error::FDO(error) = error
        && matches!(**error, fdo::Error::AccessDenied(_) | fdo::Error::InteractiveAuthorizationRequired(_))
    {
        return DENIED.to_owned();
    }
    match error {
        zbus::Error::MethodError(_, Some(text), _) => {
            format!("systemd does not start wardend-cut@.service: {}", text.trim_end_matches('.'))
        }
        other => format!("systemd does not start wardend-cut@.service: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::parse_network;

    fn net(text: &str) -> IpNet {
        parse_network(text).unwrap()
    }

    #[test]
    fn a_unit_is_named_as_systemd_escape_would() {
        for (source, unit) in [
            ("203.0.113.7", "wardend-cut@203.0.113.7.service"),
            ("203.0.113.0/24", "wardend-cut@203.0.113.0-24.service"),
            ("2001:db8:a:7::/64", "wardend-cut@2001:db8:a:7::-64.service"),
        ] {
            let mut queue = Queue::default();
            queue.push(net(source));
            assert_eq!(queue.take().unwrap().1, unit);
        }
    }

    #[test]
    fn many_sources_share_few_units_and_none_is_cut_twice() {
        let mut queue = Queue::default();
        for number in 0..=255_u32 {
            for _ in 0..2 {
                queue.push(net(&format!("203.0.113.{number}")));
            }
        }
        let (mut seen, mut units) = (Vec::new(), 0);
        while let Some((sources, unit)) = queue.take() {
            assert!(unit.len() <= 255, "{unit}");
            assert_eq!(unit.split('_').count(), sources.len());
            seen.extend(sources);
            units += 1;
        }
        assert_eq!(seen.len(), 256);
        assert_eq!(seen.iter().collect::<std::collections::BTreeSet<_>>().len(), 256);
        assert!(units < 20, "{units}");
    }

    #[test]
    fn a_flood_of_bans_makes_no_long_queue() {
        let mut queue = Queue::default();
        for number in 0..10_000_u32 {
            queue.push(IpNet::from(std::net::IpAddr::from(number.to_be_bytes())));
        }
        assert_eq!(queue.0.len(), MOST_WAITING);
        assert_eq!(queue.take().unwrap().0[0], net("0.0.39.15"), "the newest is the first");
    }
}
