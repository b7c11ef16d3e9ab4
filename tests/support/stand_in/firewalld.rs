//! firewalld, to be late, to fail, to forget and to go away on demand. It knows the methods that are used and
//! the refusals that matter.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::sleep;
use zbus::{
    Connection, DBusError, OwnedVariant, Variant, connection::Builder, interface, object_server::SignalEmitter,
};

use super::{Bus, config::Config};
use crate::firewalld::layout::Layout;

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
pub(super) const CONFIG: &str = "/org/fedoraproject/FirewallD1/config";
/// The priority of wardend's policy.
const PRIORITY: i32 = -14999;

#[derive(Clone, Debug, DBusError)]
#[zbus(prefix = "org.fedoraproject.FirewallD1")]
pub(crate) enum Fault {
    #[zbus(error)]
    ZBus(zbus::Error),
    Exception(String),
    NotAuthorizedException(String),
}

pub(crate) fn exception(text: &str) -> Fault {
    Fault::Exception(text.to_owned())
}

type Meanwhile = Box<dyn FnMut(&str) + Send>;

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) permanent: BTreeSet<String>,
    /// The rules of the permanent policy, if there is one.
    pub(crate) policy: Option<Vec<String>>,
    pub(crate) runtime: BTreeMap<String, BTreeSet<String>>,
    /// The rules in force.
    pub(crate) runtime_policy: Option<Vec<String>>,
    /// The permanent priority of the policy, and the one in force, if it is not what it should be.
    pub(crate) priority: Option<i32>,
    pub(crate) runtime_priority: Option<i32>,
    /// Policies of somebody else, and ports that the zone forwards to this machine.
    pub(crate) others: BTreeMap<String, HashMap<String, OwnedVariant>>,
    pub(crate) forwarded: Vec<(&'static str, &'static str)>,
    /// Entries of the permanent configuration, which a reload brings with it.
    pub(crate) baked: Vec<(String, String)>,
    calls: Vec<String>,
    /// What happens at each call, as soon as it has arrived.
    pub(crate) meanwhile: Option<Meanwhile>,
    /// Faults for the next calls of a method.
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    /// A fault for all calls that change something.
    pub(crate) denied: bool,
    pub(crate) delay: Duration,
    /// Another version than 2.3.1.
    pub(crate) version: Option<String>,
    /// The backend is iptables.
    pub(crate) iptables: bool,
}

impl Inner {
    pub(crate) fn load(&mut self) {
        self.runtime = self.permanent.iter().map(|n| (n.clone(), BTreeSet::new())).collect();
        for (set, entry) in &self.baked {
            self.runtime.get_mut(set).unwrap().insert(entry.clone());
        }
        self.runtime_policy.clone_from(&self.policy);
        self.runtime_priority = self.priority;
    }
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<Inner>>);

impl Fake {
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// What every call goes through: it is noted, it may be late, it may fail.
    pub(super) async fn enter(&self, method: &'static str, arguments: &str) -> Result<(), Fault> {
        let delay = self.with(|inner| {
            let call = format!("{method} {arguments}").trim().to_owned();
            if let Some(meanwhile) = &mut inner.meanwhile {
                meanwhile(&call);
            }
            inner.calls.push(call);
            inner.delay
        });
        sleep(delay).await;
        self.with(|inner| {
            if inner.denied && !method.starts_with("get") {
                return Err(Fault::NotAuthorizedException("Not Authorized(polkit): x".into()));
            }
            match inner.faults.iter().position(|(name, _)| *name == method) {
                Some(index) => Err(inner.faults.remove(index).unwrap().1),
                None => Ok(()),
            }
        })
    }

    pub(crate) fn entries(&self) -> BTreeSet<String> {
        self.with(|inner| inner.runtime.values().flatten().cloned().collect())
    }

    /// The calls of these methods, in order.
    pub(crate) fn calls(&self, methods: &[&str]) -> Vec<String> {
        self.with(|inner| {
            let ours = |call: &&String| methods.iter().any(|m| call.starts_with(m));
            inner.calls.iter().filter(ours).cloned().collect()
        })
    }

    pub(crate) fn ready() -> Self {
        let fake = Self::default();
        fake.with(|inner| {
            inner.permanent = Layout::new(&[Arc::default()]).names().into_iter().collect();
            inner.policy = Some(Layout::new(&[Arc::default()]).rules(|_| true));
            inner.load();
        });
        fake
    }

    /// Takes firewalld's name on the bus, as a start of it does.
    pub(crate) async fn serve(&self, bus: &Bus) -> Connection {
        Builder::address(bus.address.as_str())
            .serve_at(PATH, Main(self.clone()))
            .serve_at(PATH, Sets(self.clone()))
            .serve_at(PATH, Policies(self.clone()))
            .serve_at(PATH, Zones(self.clone()))
            .serve_at(CONFIG, Config(self.clone()))
            .name(NAME)
            .build()
            .await
            .unwrap()
    }

    /// A reload that somebody else has asked for.
    pub(crate) async fn reload(&self, connection: &Connection) {
        self.with(Inner::load);
        let emitter = SignalEmitter::new(connection, PATH).unwrap();
        Main::reloaded(&emitter).await.unwrap();
    }
}

struct Main(Fake);
struct Sets(Fake);
struct Policies(Fake);
struct Zones(Fake);

#[interface(name = "org.fedoraproject.FirewallD1")]
impl Main {
    #[zbus(name = "reload")]
    async fn reload(&self, #[zbus(signal_emitter)] emitter: SignalEmitter<'_>) -> Result<(), Fault> {
        self.0.enter("reload", "").await?;
        self.0.with(Inner::load);
        Self::reloaded(&emitter).await?;
        Ok(())
    }

    #[zbus(property, name = "version")]
    fn version(&self) -> String {
        self.0.with(|inner| inner.version.clone()).unwrap_or_else(|| "2.3.1".to_owned())
    }

    #[zbus(name = "listServices")]
    async fn services(&self) -> Result<Vec<String>, Fault> {
        self.0.enter("listServices", "").await?;
        Ok(["http", "ssh"].map(String::from).into())
    }

    #[zbus(name = "getDefaultZone")]
    async fn default_zone(&self) -> Result<String, Fault> {
        self.0.enter("getDefaultZone", "").await?;
        Ok("public".to_owned())
    }

    #[zbus(name = "getServiceSettings2")]
    async fn service(&self, name: &str) -> Result<HashMap<String, OwnedVariant>, Fault> {
        self.0.enter("getServiceSettings2", name).await?;
        let port = match name {
            "ssh" => "22",
            "http" => "80",
            _ => return Err(exception(&format!("INVALID_SERVICE: '{name}'"))),
        };
        Ok(HashMap::from([("ports".to_owned(), Variant::from(vec![(port, "tcp")]).try_to_owned().unwrap())]))
    }

    #[zbus(signal)]
    async fn reloaded(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;
}

#[interface(name = "org.fedoraproject.FirewallD1.ipset")]
impl Sets {
    #[zbus(name = "getIPSets")]
    async fn names(&self) -> Result<Vec<String>, Fault> {
        self.0.enter("getIPSets", "").await?;
        Ok(self.0.with(|inner| inner.runtime.keys().cloned().collect()))
    }

    #[zbus(name = "getEntries")]
    async fn entries(&self, set: &str) -> Result<Vec<String>, Fault> {
        self.0.enter("getEntries", set).await?;
        self.on(set, |entries| Ok(entries.iter().cloned().collect()))
    }

    #[zbus(name = "addEntry")]
    async fn add(&self, set: &str, entry: &str) -> Result<(), Fault> {
        self.0.enter("addEntry", entry).await?;
        if entry == "0.0.0.0/0" {
            return Err(exception("INVALID_ENTRY: 0.0.0.0/0"));
        }
        self.on(set, |entries| match overlap(entries, entry) {
            Some(other) if other == entry => Err(exception("ALREADY_ENABLED: it is there")),
            Some(other) => {
                Err(exception(&format!("INVALID_ENTRY: Entry '{entry}' overlaps with existing entry '{other}'")))
            }
            None => {
                entries.insert(entry.to_owned());
                Ok(())
            }
        })
    }

    #[zbus(name = "removeEntry")]
    async fn remove(&self, set: &str, entry: &str) -> Result<(), Fault> {
        self.0.enter("removeEntry", entry).await?;
        self.on(
            set,
            |entries| {
                if entries.remove(entry) { Ok(()) } else { Err(exception("NOT_ENABLED: it is not there")) }
            },
        )
    }

    #[zbus(name = "setEntries")]
    async fn set(&self, set: &str, entries: Vec<String>) -> Result<(), Fault> {
        self.0.enter("setEntries", set).await?;
        self.on(set, |held| {
            *held = entries.into_iter().collect();
            Ok(())
        })
    }
}

impl Sets {
    fn on<T>(&self, set: &str, f: impl FnOnce(&mut BTreeSet<String>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.0.with(|inner| match inner.runtime.get_mut(set) {
            Some(entries) => f(entries),
            None => Err(exception(&format!("INVALID_IPSET: {set}"))),
        })
    }
}

fn overlap(entries: &BTreeSet<String>, entry: &str) -> Option<String> {
    let new = network(entry);
    let hit = |old: &IpNet| old.contains(&new) || new.contains(old);
    entries.iter().find(|old| hit(&network(old))).cloned()
}

pub(crate) fn network(entry: &str) -> IpNet {
    let net = entry.parse();
    net.unwrap_or_else(|_| IpNet::from(entry.parse::<std::net::IpAddr>().unwrap()))
}

#[interface(name = "org.fedoraproject.FirewallD1.policy")]
impl Policies {
    #[zbus(name = "getPolicies")]
    async fn names(&self) -> Result<Vec<String>, Fault> {
        self.0.enter("getPolicies", "").await?;
        Ok(self.0.with(|inner| {
            let ours = inner.runtime_policy.is_some().then(|| "wardend".to_owned());
            inner.others.keys().cloned().chain(ours).collect()
        }))
    }

    #[zbus(name = "getPolicySettings")]
    async fn settings(&self, name: &str) -> Result<HashMap<String, OwnedVariant>, Fault> {
        self.0.enter("getPolicySettings", name).await?;
        let copy = |settings: &HashMap<String, OwnedVariant>| {
            settings.iter().map(|(name, value)| (name.clone(), value.try_clone().unwrap())).collect()
        };
        if let Some(settings) = self.0.with(|inner| inner.others.get(name).map(copy)) {
            return Ok(settings);
        }
        match self.0.with(|inner| (inner.runtime_policy.clone(), inner.runtime_priority)) {
            (Some(rules), priority) => Ok(policy_settings(&rules, priority)),
            (None, _) => Err(exception(&format!("INVALID_POLICY: {name}"))),
        }
    }

    #[zbus(name = "setPolicySettings")]
    async fn set(&self, name: &str, settings: HashMap<String, OwnedVariant>) -> Result<(), Fault> {
        let rules = rules_of(&settings);
        self.0.enter("setPolicySettings", &format!("{name} {}", rules.join("; "))).await?;
        self.0.with(|inner| {
            if let Some(missing) = named_sets(&rules).find(|name| !inner.runtime.contains_key(name)) {
                return Err(exception(&format!("INVALID_IPSET: {missing}")));
            }
            inner.runtime_policy = Some(rules.clone());
            Ok(())
        })
    }
}

#[interface(name = "org.fedoraproject.FirewallD1.zone")]
impl Zones {
    #[zbus(name = "getActiveZones")]
    async fn active(&self) -> Result<HashMap<String, HashMap<String, Vec<String>>>, Fault> {
        self.0.enter("getActiveZones", "").await?;
        let office = HashMap::from([("sources".to_owned(), vec!["203.0.113.0/28".to_owned()])]);
        Ok(HashMap::from([("public".to_owned(), HashMap::new()), ("office".to_owned(), office)]))
    }

    #[zbus(name = "getZoneSettings2")]
    async fn settings(&self, name: &str) -> Result<HashMap<String, OwnedVariant>, Fault> {
        self.0.enter("getZoneSettings2", name).await?;
        let ports: Vec<_> = self.0.with(|inner| {
            let public = inner.forwarded.iter().filter(|_| name == "public");
            public.map(|(from, to)| (*from, "tcp", *to, "")).collect()
        });
        Ok(HashMap::from([("forward_ports".to_owned(), Variant::from(ports).try_to_owned().unwrap())]))
    }
}

/// Settings of somebody else's policy: priority, zone, and one rule.
pub(crate) fn policy(priority: i32, zone: &str, rule: &str) -> HashMap<String, OwnedVariant> {
    let mut settings = policy_settings(&[rule.to_owned()], Some(priority));
    settings.insert("ingress_zones".to_owned(), Variant::from(vec![zone]).try_to_owned().unwrap());
    settings
}

pub(super) fn rules_of(settings: &HashMap<String, OwnedVariant>) -> Vec<String> {
    settings["rich_rules"].try_clone().unwrap().try_into().unwrap()
}

pub(super) fn named_sets(rules: &[String]) -> impl Iterator<Item = String> {
    rules.iter().map(|rule| rule.split("ipset=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
}

pub(super) fn policy_settings(rules: &[String], priority: Option<i32>) -> HashMap<String, OwnedVariant> {
    let own = |value: Variant<'_>| value.try_to_owned().unwrap();
    HashMap::from([
        ("target".to_owned(), own("CONTINUE".into())),
        ("priority".to_owned(), own(priority.unwrap_or(PRIORITY).into())),
        ("ingress_zones".to_owned(), own(vec!["ANY"].into())),
        ("egress_zones".to_owned(), own(vec!["HOST"].into())),
        ("rich_rules".to_owned(), own(rules.into())),
    ])
}
