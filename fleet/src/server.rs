//! `org.wardend1.Fleet`: what `wardenctl fleet` asks and orders. The bus lets only root give orders
//! (org.wardend1.Fleet.conf).

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use wardend::shared::{
    fleet::{BrokerRow, FleetExplanation, FleetStatus, MachineRow, NAME, PATH, VoiceRow},
    parse_network, text_of,
};
use zbus::{Connection, fdo, interface};

use crate::{
    agent::{Explanation, Report, Request},
    core::{Seconds, fleet::Decision, policy::Policy},
    wardend::now,
};

/// The longest pardon: as long as the longest ban of the fleet can be.
const LONGEST_PARDON: Seconds = 366 * 86_400;

struct Fleet {
    requests: mpsc::Sender<Request>,
    policy: Policy,
}

/// Serves the interface.
///
/// # Errors
/// If the bus does not let this program have its name.
pub(crate) async fn serve(bus: &Connection, requests: mpsc::Sender<Request>, policy: Policy) -> zbus::Result<()> {
    bus.object_server().at(PATH, Fleet { requests, policy }).await?;
    bus.request_name(NAME).await
}

impl Fleet {
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> fdo::Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || fdo::Error::Failed("wardend-fleet is stopping.".to_owned());
        self.requests.try_send(request(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                fdo::Error::LimitsExceeded("Too many calls wait; try again.".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        answer.map_err(|_| gone())?.map_err(|_| gone())
    }

    /// What voices would be against: the address itself, or its IPv6 network.
    fn source(&self, address: &str) -> fdo::Result<ipnet::IpNet> {
        let wrong = |what: String| fdo::Error::InvalidArgs(what);
        let network = parse_network(address).map_err(|error| wrong(error.to_string()))?;
        let narrow = match network {
            ipnet::IpNet::V4(net) => net.prefix_len() == 32,
            ipnet::IpNet::V6(net) => net.prefix_len() >= self.policy.ipv6_prefix,
        };
        if narrow {
            Ok(network)
        } else {
            Err(wrong(format!("{address} is wider than a source of the fleet; name an address.")))
        }
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn usec(seconds: Option<Seconds>) -> u64 {
    seconds.map_or(0, |seconds| seconds.saturating_mul(1_000_000))
}

#[interface(name = "org.wardend1.Fleet")]
impl Fleet {
    /// How everything is: of this machine, its brokers, and the other machines.
    #[zbus(out_args("status", "brokers", "machines"))]
    async fn status(&self) -> fdo::Result<(FleetStatus, Vec<BrokerRow>, Vec<MachineRow>)> {
        let report = self.ask(Request::Status).await?;
        let brokers = report.brokers.iter().map(|broker| BrokerRow {
            broker: broker.name.clone(),
            state: if broker.up { "connected" } else { "lost" }.to_owned(),
            since_usec: broker.since_usec,
            problem: broker.trouble.clone().unwrap_or_default(),
        });
        let machines = report.machines.iter().map(|machine| MachineRow {
            machine: machine.machine.to_string(),
            state: match machine.muted_until {
                Some(_) => "muted",
                None if machine.in_step => "in-step",
                None => "behind",
            }
            .to_owned(),
            last_usec: usec(Some(machine.last_word)),
            epoch: machine.version.epoch,
            number: machine.version.n,
            digest: format!("{:016x}", machine.sum),
            voices: number(machine.voices),
            refused: machine.refused,
            problem: machine.complaint.clone().unwrap_or_default(),
            muted_until_usec: usec(machine.muted_until),
            clock_seconds: machine.skew,
        });
        Ok((summary(&report), brokers.collect(), machines.collect()))
    }

    /// What is known of an address, and the machines that ban it.
    #[zbus(out_args("known", "voices"))]
    async fn explain(&self, address: &str) -> fdo::Result<(FleetExplanation, Vec<VoiceRow>)> {
        let network = self.source(address)?;
        // A voice is against a whole source: of an IPv6 address, its network is looked for as well.
        let mut candidates = vec![network];
        if let ipnet::IpNet::V6(net) = network {
            let wider = (self.policy.ipv6_prefix..net.prefix_len()).rev().filter_map(|length| {
                ipnet::Ipv6Net::new(net.addr(), length).ok().map(|net| ipnet::IpNet::V6(net.trunc()))
            });
            candidates.extend(wider);
        }
        let mut last = None;
        for source in candidates {
            let known = self.ask(|reply| Request::Explain(source, reply)).await?;
            let found = !known.voices.is_empty() || known.own.is_some() || known.pardon.is_some();
            let answer = rows(source, &known);
            if found {
                return Ok(answer);
            }
            last.get_or_insert(answer);
        }
        last.ok_or_else(|| fdo::Error::Failed("There is nothing to look for.".to_owned()))
    }

    /// No ban of the address by another machine counts for a time (µs): here, and on machines that have this
    /// one in `pardon-from`.
    async fn pardon(&self, address: &str, for_usec: u64) -> fdo::Result<()> {
        let source = self.source(address)?;
        let seconds = for_usec / 1_000_000;
        if seconds == 0 || seconds > LONGEST_PARDON {
            return Err(fdo::Error::InvalidArgs("A pardon lasts from a second to a year.".to_owned()));
        }
        let until = now().saturating_add(seconds);
        self.ask(|reply| Request::Pardon(source, until, reply))
            .await?
            .map_err(|why| fdo::Error::Failed(why.to_string()))
    }

    /// Takes the bans of this machine back everywhere, ends those of others here, and no longer takes part
    /// until a restart.
    async fn leave(&self) -> fdo::Result<()> {
        self.ask(Request::Leave).await
    }
}

fn summary(report: &Report) -> FleetStatus {
    FleetStatus {
        machine: report.machine.clone(),
        state: if report.left { "left" } else { "member" }.to_owned(),
        problem: report.wardend.clone().unwrap_or_default(),
        epoch: report.own.0.epoch,
        number: report.own.0.n,
        digest: format!("{:016x}", report.own.1),
        sent: number(report.own.2),
        left_out: number(report.own.3),
        bans: number(report.held.0),
        suspects: number(report.held.1),
        voices: number(report.voices.0),
        sources: number(report.voices.1),
        gaps: report.gaps,
        refused: report.refused.iter().map(|(why, count)| format!("{why} {count}")).collect(),
        latency_usec: report.latency.0,
        latency_count: report.latency.1,
        quorum: number(report.policy.quorum),
    }
}

fn rows(source: ipnet::IpNet, known: &Explanation) -> (FleetExplanation, Vec<VoiceRow>) {
    let (decision, until) = match known.decision {
        Decision::Nothing => ("nothing", None),
        Decision::Suspect(until) => ("suspect", Some(until)),
        Decision::Ban(until) => ("ban", Some(until)),
    };
    let voices = known.voices.iter().map(|voice| VoiceRow {
        machine: voice.machine.to_string(),
        jail: voice.claim.jail.to_string(),
        heard_usec: usec(Some(voice.heard)),
        claimed_until_usec: usec(Some(voice.claim.until)),
        until_usec: usec(Some(voice.until)),
        count: voice.claim.count,
        refusal: voice.refusal.map_or_else(String::new, |refusal| refusal.word().to_owned()),
    });
    let explanation = FleetExplanation {
        source: text_of(source),
        decision: decision.to_owned(),
        until_usec: usec(until),
        banned_until_usec: usec(known.held),
        suspected_until_usec: usec(known.suspected),
        own_jail: known.own.as_ref().map_or_else(String::new, |claim| claim.jail.to_string()),
        pardoned_by: known.pardon.as_ref().map_or_else(String::new, |(machine, _)| machine.to_string()),
        pardoned_until_usec: usec(known.pardon.as_ref().map(|(_, until)| *until)),
        refusal: known.refused.clone().unwrap_or_default(),
        quorum: number(known.quorum),
    };
    (explanation, voices.collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zbus::object_server::Interface;

    use super::*;

    /// As the interfaces of wardend: WARDEND_WRITE_XML=1 writes it again.
    #[test]
    fn the_installed_interface_is_the_one_that_is_served() {
        let mut body = String::new();
        let fleet = Fleet { requests: mpsc::channel(1).0, policy: Policy::default() };
        fleet.introspect_to_writer(&mut body, 2);
        let xml = format!(
            "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n  \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n{body}</node>\n"
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dbus/org.wardend1.Fleet.xml");
        if std::env::var_os("WARDEND_WRITE_XML").is_some() {
            std::fs::write(&path, &xml).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), xml, "{}", path.display());
    }

    #[test]
    fn every_setting_is_in_the_manual() {
        let page = include_str!("../man/fleet.conf.5").replace("\\-", "-");
        for line in include_str!("../fleet.conf").lines().filter(|line| !line.starts_with('#')) {
            let Some((name, _)) = line.split_once(" = ") else { continue };
            assert!(page.contains(&format!(".TP\n\\fI{name}\\fR\n")), "{name} is not in fleet.conf(5)");
        }
    }
}
