//! The permanent configuration of firewalld.

use std::collections::HashMap;

use zbus::{ObjectServer, OwnedObjectPath, OwnedVariant, interface};

use super::firewalld::{CONFIG, Fake, Fault, exception, named_sets, policy_settings, rules_of};

pub(super) struct Config(pub(super) Fake);

struct Object(Fake, String);

struct PolicyObject(Fake);

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
        self.0.enter("getIPSetByName", name).await?;
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
