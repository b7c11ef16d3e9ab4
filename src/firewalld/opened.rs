//! What firewalld lets in from elsewhere, for an administrator who asks which ports it closes; and the
//! modes of it in which no rule counts.

use std::collections::BTreeMap;

use zbus::{proxy, proxy::CacheProperties};

use super::bypass::{Range, What, accepted, is, overlap};
use super::client::Firewalld;
use super::objects::list;

/// What is accepted from anybody or from somebody.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    everything: bool,
    ranges: Vec<Range>,
}

impl Opened {
    /// Whether a TCP port is closed to everybody.
    pub(crate) fn closes(&self, port: u16) -> bool {
        let wanted = (port, port, "tcp".to_owned());
        !self.everything && !self.ranges.iter().any(|range| overlap(range, &wanted))
    }

    fn add(&mut self, what: What, services: &BTreeMap<String, Vec<Range>>) {
        match what {
            What::All => self.everything = true,
            What::Ports(range) => self.ranges.push(range),
            What::Service(name) => self.ranges.extend(services.get(&name).into_iter().flatten().cloned()),
            What::Protocol(name) if name == "tcp" || name == "6" => self.everything = true,
            What::Protocol(_) => {}
        }
    }
}

#[proxy(
    interface = "org.fedoraproject.FirewallD1",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
trait Modes {
    #[zbus(name = "queryPanicMode")]
    fn query_panic_mode(&self) -> zbus::Result<bool>;
    #[zbus(property, name = "state")]
    fn state(&self) -> zbus::Result<String>;
}

#[proxy(
    interface = "org.fedoraproject.FirewallD1.policies",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
trait Lockdown {
    #[zbus(name = "queryLockdown")]
    fn query_lockdown(&self) -> zbus::Result<bool>;
}

impl Firewalld {
    /// `RUNNING`, `FAILED`, or `INIT`.
    pub(crate) async fn mode(&self) -> zbus::Result<String> {
        // A cache would be filled first, which takes an answer of its own.
        let modes = ModesProxy::builder(self.connection()).cache_properties(CacheProperties::No);
        modes.build().await?.state().await
    }

    /// Whether it drops everything, by order.
    pub(crate) async fn panics(&self) -> zbus::Result<bool> {
        ModesProxy::new(self.connection()).await?.query_panic_mode().await
    }

    /// Whether only listed programs may change it.
    pub(crate) async fn is_locked_down(&self) -> zbus::Result<bool> {
        LockdownProxy::new(self.connection()).await?.query_lockdown().await
    }

    /// What the zones that packets go through accept, and the policies towards this machine.
    pub(crate) async fn opened(&self) -> zbus::Result<Opened> {
        let mut names: Vec<String> = self.zone.get_active_zones().await?.into_keys().collect();
        names.push(self.main().default_zone().await?);
        names.sort_unstable();
        names.dedup();
        let mut all = Vec::new();
        for name in names {
            all.extend(accepted(&self.zone.get_settings(&name).await?));
        }
        for name in self.policy.get_policies().await? {
            let settings = self.policy.get_settings(&name).await?;
            let to_us = list(&settings, "egress_zones").iter().any(|zone| zone == "HOST");
            if to_us && !is(&settings, "disable") {
                all.extend(accepted(&settings));
            }
        }
        let (mut opened, mut services) = (Opened::default(), BTreeMap::new());
        for (what, _) in all {
            if let What::Service(name) = &what {
                self.ports_of(name, &mut services).await?;
            }
            opened.add(what, &services);
        }
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_closed_that_nothing_opens() {
        let services = BTreeMap::from([("ssh".to_owned(), vec![(22, 22, "tcp".to_owned())])]);
        let mut opened = Opened::default();
        opened.add(What::Service("ssh".to_owned()), &services);
        opened.add(What::Ports((8000, 8100, "tcp".to_owned())), &services);
        opened.add(What::Ports((443, 443, "udp".to_owned())), &services);
        opened.add(What::Protocol("icmp".to_owned()), &services);
        assert_eq!([22, 443, 2222, 8080].map(|port| opened.closes(port)), [false, true, true, false]);
        opened.add(What::All, &services);
        assert!(!opened.closes(2222));
    }
}
