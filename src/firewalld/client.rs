//! firewalld's side of the bus: the few methods that are used, and their errors in words that the
//! driver can act on. [`super::objects`] has what everything rests on.
//!
//! All calls go to the well-known name, which outlives a restart of firewalld, and no property
//! is cached: reading one needs an authorisation that the daemon has no other use for.

use std::collections::HashMap;

use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant, fdo, proxy};

use super::call::{Call, Edit};
use super::entry::text;
use super::layout::IpsetId;
use crate::systemd::outgoing::is_timeout;

#[proxy(
    interface = "org.fedoraproject.FirewallD1",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
pub(crate) trait Main {
    #[zbus(name = "reload")]
    fn reload(&self) -> zbus::Result<()>;
    #[zbus(property, name = "version")]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(name = "getServiceSettings2")]
    fn service_settings(&self, service: &str) -> zbus::Result<HashMap<String, OwnedVariant>>;
    #[zbus(name = "getDefaultZone")]
    fn default_zone(&self) -> zbus::Result<String>;
    #[zbus(name = "listServices")]
    fn list_services(&self) -> zbus::Result<Vec<String>>;
}

#[proxy(
    interface = "org.fedoraproject.FirewallD1.ipset",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
pub(crate) trait IpSet {
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
pub(crate) trait Policy {
    #[zbus(name = "getPolicies")]
    fn get_policies(&self) -> zbus::Result<Vec<String>>;
    #[zbus(name = "getPolicySettings")]
    fn get_settings(&self, policy: &str) -> zbus::Result<HashMap<String, OwnedVariant>>;
    #[zbus(name = "setPolicySettings")]
    fn set_settings(&self, policy: &str, settings: &HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
}

#[proxy(
    interface = "org.fedoraproject.FirewallD1.zone",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1"
)]
pub(crate) trait Zone {
    #[zbus(name = "getActiveZones")]
    fn get_active_zones(&self) -> zbus::Result<HashMap<String, HashMap<String, Vec<String>>>>;
    #[zbus(name = "getZoneSettings2")]
    fn get_settings(&self, zone: &str) -> zbus::Result<HashMap<String, OwnedVariant>>;
}

/// Version, short name, description, type, options, entries.
pub(crate) type IpSetSettings<'a> = (&'a str, &'a str, &'a str, &'a str, HashMap<&'a str, &'a str>, Vec<&'a str>);

#[proxy(
    interface = "org.fedoraproject.FirewallD1.config",
    default_service = "org.fedoraproject.FirewallD1",
    default_path = "/org/fedoraproject/FirewallD1/config"
)]
pub(crate) trait Config {
    #[zbus(name = "addIPSet")]
    fn add_ip_set(&self, name: &str, settings: &IpSetSettings<'_>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(name = "addPolicy")]
    fn add_policy(&self, name: &str, settings: &HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(property, name = "FlushAllOnReload")]
    fn flush_all_on_reload(&self) -> zbus::Result<String>;
    #[zbus(property, name = "FirewallBackend")]
    fn firewall_backend(&self) -> zbus::Result<String>;
    #[zbus(name = "getIPSetNames")]
    fn ip_set_names(&self) -> zbus::Result<Vec<String>>;
    #[zbus(name = "getIPSetByName")]
    fn ip_set_by_name(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(name = "getPolicyByName")]
    fn policy_by_name(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

/// An ipset of the permanent configuration.
#[proxy(interface = "org.fedoraproject.FirewallD1.config.ipset", default_service = "org.fedoraproject.FirewallD1")]
pub(crate) trait PermanentSet {
    #[zbus(name = "getEntries")]
    fn get_entries(&self) -> zbus::Result<Vec<String>>;
    #[zbus(name = "setEntries")]
    fn set_entries(&self, entries: &[&str]) -> zbus::Result<()>;
    #[zbus(name = "remove")]
    fn remove(&self) -> zbus::Result<()>;
}

/// A policy of the permanent configuration.
#[proxy(interface = "org.fedoraproject.FirewallD1.config.policy", default_service = "org.fedoraproject.FirewallD1")]
pub(crate) trait PermanentPolicy {
    #[zbus(name = "getSettings")]
    fn get_settings(&self) -> zbus::Result<HashMap<String, OwnedVariant>>;
    #[zbus(name = "update")]
    fn update(&self, settings: &HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    #[zbus(name = "remove")]
    fn remove(&self) -> zbus::Result<()>;
}

/// What an error of firewalld or of the bus means for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
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
    /// Nobody has answered for a long time.
    Silent,
    /// firewalld drops everything, by order.
    Panic,
    /// firewalld runs, but could not load its configuration; its reason.
    Failed(String),
    /// What firewalld has made is not in the kernel any more; firewalld's words.
    Flushed(String),
    /// Everything else, in firewalld's words.
    Other(String),
}

/// What follows is what firewalld has given to nft.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end().to_owned()
}

impl From<&zbus::Error> for Trouble {
    fn from(error: &zbus::Error) -> Self {
        match error {
            error if is_timeout(error) => Self::Silent,
            zbus::Error::MethodError(name, text, _) => {
                let text = text.as_deref().unwrap_or_default();
                if name.as_str().ends_with(".NotAuthorizedException") {
                    return Self::Denied;
                }
                match text.split(':').next().unwrap_or_default().trim() {
                    "ALREADY_ENABLED" | "NOT_ENABLED" | "NAME_CONFLICT" => Self::Already,
                    "INVALID_IPSET" | "INVALID_POLICY" => Self::Missing,
                    "INVALID_ENTRY" | "INVALID_ADDR" | "INVALID_FAMILY" => Self::Refused(text.to_owned()),
                    "PANIC_MODE" => Self::Panic,
                    "COMMAND_FAILED" if text.contains("No such file or directory") => Self::Flushed(first_line(text)),
                    "RUNNING_BUT_FAILED" => Self::Failed(text.to_owned()),
                    "" => Self::Other(name.to_string()),
                    _ => Self::Other(first_line(text)),
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

/// All that the driver calls.
#[derive(Clone, Debug)]
pub(crate) struct Firewalld {
    connection: Connection,
    main: MainProxy<'static>,
    pub(crate) ip_set: IpSetProxy<'static>,
    pub(crate) policy: PolicyProxy<'static>,
    pub(crate) zone: ZoneProxy<'static>,
    pub(crate) config: ConfigProxy<'static>,
}

impl Firewalld {
    pub(crate) async fn new(connection: &Connection) -> zbus::Result<Self> {
        macro_rules! proxy {
            ($proxy:ident) => {
                $proxy::builder(connection).cache_properties(CacheProperties::No).build().await?
            };
        }
        Ok(Self {
            connection: connection.clone(),
            main: proxy!(MainProxy),
            ip_set: proxy!(IpSetProxy),
            policy: proxy!(PolicyProxy),
            zone: proxy!(ZoneProxy),
            config: proxy!(ConfigProxy),
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether firewalld is on its way up, although nobody owns its name.
    pub(crate) async fn is_coming(&self) -> bool {
        super::unit::is_coming(&self.connection).await
    }

    pub(crate) fn main(&self) -> &MainProxy<'static> {
        &self.main
    }

    pub(crate) async fn entries(&self, set: &IpsetId) -> zbus::Result<Vec<String>> {
        self.ip_set.get_entries(&set.name()).await
    }

    pub(crate) async fn perform(&self, call: &Call) -> zbus::Result<()> {
        let name = call.ipset.name();
        match &call.edit {
            Edit::Add(net) => self.ip_set.add_entry(&name, &text(net)).await,
            Edit::Remove(entry) => self.ip_set.remove_entry(&name, entry).await,
            Edit::Write(nets) => self.ip_set.set_entries(&name, &nets.iter().map(text).collect::<Vec<_>>()).await,
        }
    }

    pub(crate) async fn reload(&self) -> zbus::Result<()> {
        self.main.reload().await
    }

    pub(crate) async fn permanent_set(&self, path: OwnedObjectPath) -> zbus::Result<PermanentSetProxy<'static>> {
        let builder = PermanentSetProxy::builder(&self.connection).cache_properties(CacheProperties::No);
        builder.path(path).build().await
    }

    pub(crate) async fn permanent_policy(&self, path: OwnedObjectPath) -> zbus::Result<PermanentPolicyProxy<'static>> {
        let builder = PermanentPolicyProxy::builder(&self.connection).cache_properties(CacheProperties::No);
        builder.path(path).build().await
    }
}
