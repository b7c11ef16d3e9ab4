//! firewalld's side of the bus: the few methods that are used, their errors in words that the
//! task can act on, and the objects that everything rests on.
//!
//! All calls go to the well-known name, which outlives a restart of firewalld, and no property
//! is cached: reading one needs an authorisation that the daemon has no other use for.

use std::collections::HashMap;

use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, Variant, fdo, proxy};

use super::plan::{Op, Set};

pub(super) const POLICY: &str = "wardend";

/// More than the daemon ever bans, and an upper bound for nft: firewalld 2 takes a set beyond its
/// size for filled and leaves it empty.
const MAX_ENTRIES: &str = "131072";

#[proxy(
    interface = "org.fedoraproject.FirewallD1",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
pub(super) trait Main {
    #[zbus(name = "reload")]
    fn reload(&self) -> zbus::Result<()>;

    #[zbus(signal)]
    fn reloaded(&self) -> zbus::Result<()>;
}

#[proxy(
    interface = "org.fedoraproject.FirewallD1.ipset",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
pub(super) trait IpSet {
    #[zbus(name = "getIPSets")]
    fn get_ip_sets(&self) -> zbus::Result<Vec<String>>;
    #[zbus(name = "getEntries")]
    fn get_entries(&self, set: &str) -> zbus::Result<Vec<String>>;
    #[zbus(name = "addEntry")]
    fn add_entry(&self, set: &str, entry: &str) -> zbus::Result<()>;
    #[zbus(name = "removeEntry")]
    fn remove_entry(&self, set: &str, entry: &str) -> zbus::Result<()>;
    #[zbus(name = "setEntries")]
    fn set_entries(&self, set: &str, entries: &[String]) -> zbus::Result<()>;
}

#[proxy(
    interface = "org.fedoraproject.FirewallD1.policy",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
pub(super) trait Policy {
    #[zbus(name = "getPolicies")]
    fn get_policies(&self) -> zbus::Result<Vec<String>>;
}

/// Version, short name, description, type, options, entries.
pub(super) type IpSetSettings<'a> = (&'a str, &'a str, &'a str, &'a str, HashMap<&'a str, &'a str>, Vec<&'a str>);

#[proxy(
    interface = "org.fedoraproject.FirewallD1.config",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1/config"
)]
pub(super) trait Config {
    #[zbus(name = "addIPSet")]
    fn add_ip_set(&self, name: &str, settings: &IpSetSettings<'_>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(name = "addPolicy")]
    fn add_policy(&self, name: &str, settings: &HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(name = "getIPSetByName")]
    fn ip_set_by_name(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(name = "getPolicyByName")]
    fn policy_by_name(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

/// What an error of firewalld or of the bus means for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is so already: added before, removed before, created before.
    Already,
    /// An ipset or policy isn't there.
    Missing,
    /// This entry isn't taken; firewalld's reason.
    Refused(String),
    /// polkit or the bus says no.
    Denied,
    /// Nobody answers to firewalld's name.
    Gone,
    /// Everything else, in firewalld's words.
    Other(String),
}

impl From<&zbus::Error> for Trouble {
    fn from(error: &zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                let text = text.as_deref().unwrap_or_default();
                if name.as_str().ends_with(".NotAuthorizedException") {
                    return Self::Denied;
                }
                match text.split(':').next().unwrap_or_default().trim() {
                    "ALREADY_ENABLED" | "NOT_ENABLED" | "NAME_CONFLICT" => Self::Already,
                    "INVALID_IPSET" | "INVALID_POLICY" => Self::Missing,
                    "INVALID_ENTRY" | "INVALID_ADDR" | "INVALID_FAMILY" => Self::Refused(text.to_owned()),
                    "" => Self::Other(name.to_string()),
                    _ => Self::Other(text.to_owned()),
                }
            }
            zbus::Error::FDO(error) => match &**error {
                fdo::Error::AccessDenied(_) => Self::Denied,
                // The last: the owner went away between call and reply.
                fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) | fdo::Error::NoReply(_) => Self::Gone,
                other => Self::Other(other.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

/// All that the task calls.
#[derive(Clone, Debug)]
pub(super) struct Firewalld {
    connection: Connection,
    bus: fdo::DBusProxy<'static>,
    main: MainProxy<'static>,
    ip_set: IpSetProxy<'static>,
    policy: PolicyProxy<'static>,
    config: ConfigProxy<'static>,
}

/// firewalld's objects, and which of them it has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Objects {
    pub(super) ip_sets: bool,
    pub(super) policy: bool,
}

impl Firewalld {
    pub(super) async fn new(connection: &Connection) -> zbus::Result<Self> {
        macro_rules! proxy {
            ($proxy:ident) => {
                $proxy::builder(connection).cache_properties(CacheProperties::No).build().await?
            };
        }
        Ok(Self {
            connection: connection.clone(),
            bus: fdo::DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await?,
            main: proxy!(MainProxy),
            ip_set: proxy!(IpSetProxy),
            policy: proxy!(PolicyProxy),
            config: proxy!(ConfigProxy),
        })
    }

    pub(super) fn main(&self) -> &MainProxy<'static> {
        &self.main
    }

    /// The unique name behind firewalld's name.
    pub(super) async fn owner(&self) -> zbus::Result<Option<String>> {
        let name = self.main.inner().destination().clone();
        match self.bus.get_name_owner(name).await {
            Ok(owner) => Ok(Some(owner.to_string())),
            Err(fdo::Error::NameHasNoOwner(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn objects(&self) -> zbus::Result<Objects> {
        let sets = self.ip_set.get_ip_sets().await?;
        let policies = self.policy.get_policies().await?;
        Ok(Objects {
            ip_sets: Set::ALL.iter().all(|set| sets.iter().any(|name| name == set.name())),
            policy: policies.iter().any(|name| name == POLICY),
        })
    }

    pub(super) async fn entries(&self, set: Set) -> zbus::Result<Vec<String>> {
        self.ip_set.get_entries(set.name()).await
    }

    pub(super) async fn perform(&self, op: &Op) -> zbus::Result<()> {
        let name = op.set().name();
        match op {
            Op::Add(_, entry) => self.ip_set.add_entry(name, entry).await,
            Op::Remove(_, entry) => self.ip_set.remove_entry(name, entry).await,
            Op::SetAll(_, entries) => self.ip_set.set_entries(name, entries).await,
        }
    }

    /// Writes the objects into firewalld's permanent configuration. The ipsets come first: a
    /// policy that names a missing ipset fails all of firewalld at its next start.
    pub(super) async fn create(&self) -> zbus::Result<()> {
        for (set, family) in [(Set::V4, "inet"), (Set::V6, "inet6")] {
            let options = HashMap::from([("family", family), ("maxelem", MAX_ENTRIES)]);
            let settings = ("", set.name(), "", "hash:net", options, Vec::new());
            exists(self.config.add_ip_set(set.name(), &settings).await)?;
        }
        let rules: Vec<String> = [(Set::V4, "ipv4"), (Set::V6, "ipv6")]
            .iter()
            .map(|(set, family)| {
                let set = set.name();
                format!(r#"rule family="{family}" source ipset="{set}" drop"#)
            })
            .collect();
        let settings = HashMap::from([
            ("target", Variant::from("CONTINUE")),
            ("priority", Variant::from(-1000_i32)),
            ("ingress_zones", Variant::from(vec!["ANY"])),
            ("egress_zones", Variant::from(vec!["HOST"])),
            ("rich_rules", Variant::from(rules)),
        ]);
        exists(self.config.add_policy(POLICY, &settings).await)
    }

    pub(super) async fn reload(&self) -> zbus::Result<()> {
        self.main.reload().await
    }

    /// Takes the objects out of the permanent configuration, the policy first, and then out of
    /// force. What is missing already is fine.
    pub(super) async fn remove(&self) -> zbus::Result<()> {
        if let Some(path) = found(self.config.policy_by_name(POLICY).await)? {
            self.remove_object(path, "policy").await?;
        }
        for set in Set::ALL {
            if let Some(path) = found(self.config.ip_set_by_name(set.name()).await)? {
                self.remove_object(path, "ipset").await?;
            }
        }
        self.reload().await
    }

    async fn remove_object(&self, path: OwnedObjectPath, kind: &str) -> zbus::Result<()> {
        let name = self.main.inner().destination();
        let interface = format!("org.fedoraproject.FirewallD1.config.{kind}");
        self.connection.call_method(Some(name), &path, Some(interface.as_str()), "remove", &()).await.map(drop)
    }
}

fn exists(reply: zbus::Result<OwnedObjectPath>) -> zbus::Result<()> {
    match reply {
        Err(error) if Trouble::from(&error) != Trouble::Already => Err(error),
        _ => Ok(()),
    }
}

fn found(reply: zbus::Result<OwnedObjectPath>) -> zbus::Result<Option<OwnedObjectPath>> {
    match reply {
        Ok(path) => Ok(Some(path)),
        Err(error) if Trouble::from(&error) == Trouble::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
