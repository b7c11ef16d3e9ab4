//! A stand-in for firewalld on a private bus, to be late, to fail, to forget and to go away on
//! demand. It knows the methods that are used and the refusals that matter; how the real firewalld
//! behaves is proven in the lab.
//!
//! The bus is a real `dbus-daemon`, because the signals about names and the errors for absent
//! ones come from it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use tempfile::TempDir;
use tokio::time::sleep;
use zbus::connection::Builder;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, DBusError, ObjectServer, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::layout::Layout;
use super::objects::PRIORITY;
use crate::systemd::outgoing::Outgoing;

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const CONFIG: &str = "/org/fedoraproject/FirewallD1/config";

/// A bus of our own; it goes with the value.
pub(crate) struct Bus {
    daemon: Child,
    address: String,
    _directory: TempDir,
}

impl Bus {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("bus.conf");
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow send_type="signal"/>
  </policy>
</busconfig>"#,
            directory.path().display()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests of the firewall need dbus-daemon; install the package dbus-daemon or dbus");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "dbus-daemon has not started a private bus");
        Self { daemon, address: address.trim().to_owned(), _directory: directory }
    }

    /// The daemon's connection.
    pub(crate) async fn outgoing(&self) -> Outgoing {
        Outgoing::connect_to(&self.address.parse().unwrap()).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> Connection {
        let builder = Builder::address(self.address.as_str());
        builder.build().await.unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[derive(Clone, Debug, DBusError)]
#[zbus(prefix = "org.fedoraproject.FirewallD1")]
pub(super) enum Fault {
    #[zbus(error)]
    ZBus(zbus::Error),
    Exception(String),
    NotAuthorizedException(String),
}

pub(super) fn exception(text: &str) -> Fault {
    Fault::Exception(text.to_owned())
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) permanent: BTreeSet<String>,
    /// The rules of the permanent policy, if there is one.
    pub(super) policy: Option<Vec<String>>,
    pub(super) runtime: BTreeMap<String, BTreeSet<String>>,
    /// The rules in force.
    pub(super) runtime_policy: Option<Vec<String>>,
    /// The permanent priority of the policy, and the one in force, if it is not what it should be.
    pub(super) priority: Option<i32>,
    pub(super) runtime_priority: Option<i32>,
    /// Policies of somebody else, and ports that the zone forwards to this machine.
    pub(super) others: BTreeMap<String, HashMap<String, OwnedVariant>>,
    pub(super) forwarded: Vec<(&'static str, &'static str)>,
    /// Entries of the permanent configuration, which a reload brings with it.
    pub(super) baked: Vec<(String, String)>,
    calls: Vec<String>,
    /// Faults for the next calls of a method.
    pub(super) faults: VecDeque<(&'static str, Fault)>,
    /// A fault for all calls that change something.
    pub(super) denied: bool,
    pub(super) delay: Duration,
    /// Another version than 2.3.1.
    pub(super) version: Option<String>,
    /// The backend is iptables.
    pub(super) iptables: bool,
}

impl Inner {
    pub(super) fn load(&mut self) {
        self.runtime = self.permanent.iter().map(|n| (n.clone(), BTreeSet::new())).collect();
        for (set, entry) in &self.baked {
            self.runtime.get_mut(set).unwrap().insert(entry.clone());
        }
        self.runtime_policy.clone_from(&self.policy);
        self.runtime_priority = self.priority;
    }
}

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Inner>>);

impl Fake {
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// What every call goes through: it is noted, it may be late, it may fail.
    async fn enter(&self, method: &'static str, arguments: &str) -> Result<(), Fault> {
        let delay = self.with(|inner| {
            inner.calls.push(format!("{method} {arguments}").trim().to_owned());
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

    pub(super) fn entries(&self) -> BTreeSet<String> {
        self.with(|inner| inner.runtime.values().flatten().cloned().collect())
    }

    /// The calls of these methods, in order.
    pub(super) fn calls(&self, methods: &[&str]) -> Vec<String> {
        self.with(|inner| {
            let ours = |call: &&String| methods.iter().any(|m| call.starts_with(m));
            inner.calls.iter().filter(ours).cloned().collect()
        })
    }

    pub(super) fn ready() -> Self {
        let fake = Self::default();
        fake.with(|inner| {
            inner.permanent = Layout::new(&[Arc::default()]).names().into_iter().collect();
            inner.policy = Some(Layout::new(&[Arc::default()]).rules(|_| true));
            inner.load();
        });
        fake
    }

    /// Takes firewalld's name on the bus, as a start of it does.
    pub(super) async fn serve(&self, bus: &Bus) -> Connection {
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
    pub(super) async fn reload(&self, connection: &Connection) {
        self.with(Inner::load);
        let emitter = SignalEmitter::new(connection, PATH).unwrap();
        Main::reloaded(&emitter).await.unwrap();
    }
}

/// What systemd says of firewalld's unit: its state, and what kind of job waits for it.
pub(super) async fn systemd(bus: &Bus, state: &'static str, job: &'static str) -> Connection {
    const UNIT: &str = "/org/freedesktop/systemd1/unit/firewalld_2eservice";
    Builder::address(bus.address.as_str())
        .serve_at("/org/freedesktop/systemd1", Systemd(UNIT))
        .serve_at(UNIT, Unit(state, job))
        .serve_at(JOB, Job(job))
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .unwrap()
}

const JOB: &str = "/org/freedesktop/systemd1/job/7";

struct Systemd(&'static str);
struct Unit(&'static str, &'static str);
struct Job(&'static str);

#[interface(name = "org.freedesktop.systemd1.Job")]
impl Job {
    #[zbus(property)]
    fn job_type(&self) -> String {
        self.0.to_owned()
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn get_unit(&self, name: &str) -> OwnedObjectPath {
        assert_eq!(name, "firewalld.service");
        self.0.try_into().unwrap()
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.0.to_owned()
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        if self.1.is_empty() { (0, "/".try_into().unwrap()) } else { (7, JOB.try_into().unwrap()) }
    }
}

struct Main(Fake);
struct Sets(Fake);
struct Policies(Fake);
struct Zones(Fake);
struct Config(Fake);
struct Object(Fake, String);
struct PolicyObject(Fake);

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

pub(super) fn network(entry: &str) -> IpNet {
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
pub(super) fn policy(priority: i32, zone: &str, rule: &str) -> HashMap<String, OwnedVariant> {
    let mut settings = policy_settings(&[rule.to_owned()], Some(priority));
    settings.insert("ingress_zones".to_owned(), Variant::from(vec![zone]).try_to_owned().unwrap());
    settings
}

fn rules_of(settings: &HashMap<String, OwnedVariant>) -> Vec<String> {
    settings["rich_rules"].try_clone().unwrap().try_into().unwrap()
}

fn named_sets(rules: &[String]) -> impl Iterator<Item = String> {
    rules.iter().map(|rule| rule.split("ipset=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
}

fn policy_settings(rules: &[String], priority: Option<i32>) -> HashMap<String, OwnedVariant> {
    let own = |value: Variant<'_>| value.try_to_owned().unwrap();
    HashMap::from([
        ("target".to_owned(), own("CONTINUE".into())),
        ("priority".to_owned(), own(priority.unwrap_or(PRIORITY).into())),
        ("ingress_zones".to_owned(), own(vec!["ANY"].into())),
        ("egress_zones".to_owned(), own(vec!["HOST"].into())),
        ("rich_rules".to_owned(), own(rules.into())),
    ])
}

type Settings = (String, String, String, String, HashMap<String, String>, Vec<String>);

#[interface(name = "org.fedoraproject.FirewallD1.config")]
impl Config {
    #[zbus(property, name = "FirewallBackend")]
    fn backend(&self) -> &'static str {
        if self.0.with(|inner| inner.iptables) { "iptables" } else { "nftables" }
    }

    #[zbus(name = "addIPSet")]
    async fn add_set(&self, name: &str, settings: Settings) -> Result<OwnedObjectPath, Fault> {
        let family = &settings.4["family"];
        let text = format!("{name} {} {family} {}", settings.3, settings.4["maxelem"]);
        self.0.enter("addIPSet", &text).await?;
        if self.0.with(|inner| inner.permanent.insert(name.to_owned())) {
            Ok(path("ipset", name))
        } else {
            Err(exception(&format!("NAME_CONFLICT: {name}")))
        }
    }

    #[zbus(name = "addPolicy")]
    async fn add_policy(&self, name: &str, settings: HashMap<String, OwnedVariant>) -> Result<OwnedObjectPath, Fault> {
        let priority = i32::try_from(&*settings["priority"]).unwrap();
        let rules = rules_of(&settings);
        let text = format!("{name} {priority} {}", rules.join("; "));
        self.0.enter("addPolicy", &text).await?;
        self.0.with(|inner| {
            if !named_sets(&rules).all(|set| inner.permanent.contains(&set)) {
                return Err(exception("INVALID_IPSET: Policy 'wardend'"));
            }
            if inner.policy.is_some() {
                return Err(exception("NAME_CONFLICT: wardend"));
            }
            inner.policy = Some(rules.clone());
            Ok(path("policy", name))
        })
    }

    #[zbus(name = "getIPSetNames")]
    async fn set_names(&self) -> Result<Vec<String>, Fault> {
        self.0.enter("getIPSetNames", "").await?;
        Ok(self.0.with(|inner| inner.permanent.iter().cloned().collect()))
    }

    #[zbus(name = "getIPSetByName")]
    async fn set_by_name(
        &self,
        name: &str,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, Fault> {
        if !self.0.with(|inner| inner.permanent.contains(name)) {
            return Err(exception(&format!("INVALID_IPSET: {name}")));
        }
        let path = path("ipset", name);
        server.at(&path, Object(self.0.clone(), name.to_owned())).await?;
        Ok(path)
    }

    #[zbus(name = "getPolicyByName")]
    async fn policy_by_name(
        &self,
        name: &str,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, Fault> {
        if self.0.with(|inner| inner.policy.is_none()) {
            return Err(exception(&format!("INVALID_POLICY: {name}")));
        }
        let path = path("policy", name);
        server.at(&path, PolicyObject(self.0.clone())).await?;
        Ok(path)
    }
}

fn path(kind: &str, name: &str) -> OwnedObjectPath {
    format!("{CONFIG}/{kind}/{}", name.replace('-', "_")).try_into().unwrap()
}

#[interface(name = "org.fedoraproject.FirewallD1.config.ipset")]
impl Object {
    #[zbus(name = "getEntries")]
    fn entries(&self) -> Vec<String> {
        self.0.with(|inner| {
            let ours = inner.baked.iter().filter(|(set, _)| *set == self.1);
            ours.map(|(_, entry)| entry.clone()).collect()
        })
    }

    #[zbus(name = "setEntries")]
    async fn set_entries(&self, entries: Vec<String>) -> Result<(), Fault> {
        self.0.enter("permanent setEntries", &format!("{} {}", self.1, entries.join(" "))).await?;
        self.0.with(|inner| {
            inner.baked.retain(|(set, _)| *set != self.1);
            inner.baked.extend(entries.into_iter().map(|entry| (self.1.clone(), entry)));
        });
        Ok(())
    }

    #[zbus(name = "remove")]
    async fn remove(&self) -> Result<(), Fault> {
        self.0.enter("remove", &self.1).await?;
        self.0.with(|inner| {
            let named = named_sets(inner.policy.as_deref().unwrap_or_default()).any(|set| set == self.1);
            assert!(!named, "the policy names {} still", self.1);
            inner.permanent.remove(&self.1)
        });
        Ok(())
    }
}

#[interface(name = "org.fedoraproject.FirewallD1.config.policy")]
impl PolicyObject {
    #[zbus(name = "getSettings")]
    fn settings(&self) -> HashMap<String, OwnedVariant> {
        let (rules, priority) = self.0.with(|inner| (inner.policy.clone(), inner.priority));
        policy_settings(&rules.unwrap_or_default(), priority)
    }

    #[zbus(name = "update")]
    async fn update(&self, settings: HashMap<String, OwnedVariant>) -> Result<(), Fault> {
        let rules = rules_of(&settings);
        let priority = i32::try_from(&*settings["priority"]).unwrap();
        self.0.enter("update", &format!("wardend {}", rules.join("; "))).await?;
        self.0.with(|inner| {
            assert!(named_sets(&rules).all(|set| inner.permanent.contains(&set)), "a set is missing: {rules:?}");
            (inner.policy, inner.priority) = (Some(rules), Some(priority));
        });
        Ok(())
    }

    #[zbus(name = "remove")]
    async fn remove(&self) -> Result<(), Fault> {
        self.0.enter("remove", "policy").await?;
        self.0.with(|inner| inner.policy = None);
        Ok(())
    }
}
