//! The objects in firewalld that everything rests on: the ipsets, and the policy that looks into
//! them.
//!
//! They live in the permanent configuration, because firewalld can make ipsets in no other way,
//! and are in force since the reload that follows. The order is what matters most here: a policy
//! that names a missing ipset fails all of firewalld at its next start, so ipsets come before the
//! policy and go after it. What somebody else has changed in them is put right, and so is what
//! `firewall-cmd --runtime-to-permanent` has written down: a ban is never permanent.

use std::collections::{BTreeSet, HashMap};

use zbus::{OwnedVariant, Variant};

use super::client::{Firewalld, Trouble};
use super::layout::{IpsetId, Layout, POLICY, is_ours};

/// More than the daemon ever bans, and an upper bound for nft: firewalld 2 takes an ipset beyond its
/// size for filled and leaves it empty.
const MAX_ENTRIES: &str = "131072";

/// The earliest after firewalld's own policy for IPv6 neighbour discovery (-15000): before that, a
/// ban of the network that the gateway is in would cut this machine off. What is there at or before
/// it is [`super::bypass`]'s.
pub(super) const PRIORITY: i32 = -14999;

/// What firewalld has in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// All ipsets, and the policy with its rules.
    Complete,
    /// The policy has other rules; that can be put right at once.
    OtherRules,
    /// An ipset or the policy is missing, which takes a reload.
    Missing,
}

/// What had to be changed in the permanent configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    /// Ipsets or the policy were not there.
    pub(super) created: bool,
    /// The policy had other contents.
    pub(super) policy: bool,
    /// Ipsets of scopes that no jail has any more.
    pub(super) gone: Vec<String>,
    /// Ipsets with entries, and how many.
    pub(super) baked: Vec<(String, usize)>,
}

impl Firewalld {
    /// The services among those of the layout that firewalld does not know.
    pub(super) async fn unknown_services(&self, layout: &Layout) -> zbus::Result<BTreeSet<String>> {
        if layout.services().next().is_none() {
            return Ok(BTreeSet::new());
        }
        let known = self.main().list_services().await?;
        let unknown = layout.services().filter(|name| !known.iter().any(|known| known == name));
        Ok(unknown.map(str::to_owned).collect())
    }

    /// What is in force of the layout.
    pub(super) async fn runtime(&self, layout: &Layout, rules: &[String]) -> zbus::Result<Runtime> {
        let sets = self.ip_set.get_ip_sets().await?;
        let policies = self.policy.get_policies().await?;
        if !layout.names().iter().all(|name| sets.contains(name)) || !policies.iter().any(|name| name == POLICY) {
            return Ok(Runtime::Missing);
        }
        let settings = self.policy.get_settings(POLICY).await?;
        Ok(match (has_frame(&settings), has_rules(&settings, rules)) {
            (true, true) => Runtime::Complete,
            (true, false) => Runtime::OtherRules,
            // Not all of this can be changed in a running firewalld.
            (false, _) => Runtime::Missing,
        })
    }

    /// Has the policy look into these ipsets from now on; all of them are there.
    pub(super) async fn set_rules(&self, rules: &[String]) -> zbus::Result<()> {
        self.policy.set_settings(POLICY, &HashMap::from([("rich_rules", Variant::from(rules))])).await
    }

    /// Whether this firewalld answers before a list is in the kernel.
    pub(super) async fn settles_late(&self) -> bool {
        let version = self.main().version().await.unwrap_or_default();
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(2), Some(4)) || version.is_empty()
    }

    /// Whether a reload of this firewalld enters all entries again one by one.
    pub(super) async fn keeps_entries(&self) -> bool {
        self.config.flush_all_on_reload().await.is_ok_and(|flushes| flushes == "no")
    }

    /// Puts the permanent configuration right, and touches nothing that is.
    pub(super) async fn repair(&self, layout: &Layout, rules: &[String]) -> zbus::Result<Repairs> {
        let mut repairs = Repairs::default();
        let present = self.config.ip_set_names().await?;
        for set in &layout.sets {
            let name = set.name();
            if !present.contains(&name) {
                repairs.created |= self.add_set(set).await?;
                continue;
            }
            let permanent = self.permanent_set(self.config.ip_set_by_name(&name).await?).await?;
            let baked = permanent.get_entries().await?;
            if !baked.is_empty() {
                permanent.set_entries(&[]).await?;
                repairs.baked.push((name, baked.len()));
            }
        }
        match found(self.config.policy_by_name(POLICY).await)? {
            None => {
                ignore_already(self.config.add_policy(POLICY, &settings(rules)).await)?;
                repairs.created = true;
            }
            Some(path) => {
                let policy = self.permanent_policy(path).await?;
                let before = policy.get_settings().await?;
                if !has_frame(&before) || !has_rules(&before, rules) {
                    let mut settings = settings(rules);
                    // Since 2.4; the ones before refuse what they don't know.
                    if before.contains_key("disable") {
                        settings.insert("disable", Variant::from(false));
                    }
                    policy.update(&settings).await?;
                    repairs.policy = true;
                }
            }
        }
        let names = layout.names();
        for name in present.into_iter().filter(|name| is_ours(name) && !names.contains(name)) {
            self.remove_set(&name).await?;
            repairs.gone.push(name);
        }
        Ok(repairs)
    }

    async fn add_set(&self, set: &IpsetId) -> zbus::Result<bool> {
        let name = set.name();
        let options = HashMap::from([("family", set.pool.family.option()), ("maxelem", MAX_ENTRIES)]);
        let settings = ("", name.as_str(), "", "hash:net", options, Vec::new());
        ignore_already(self.config.add_ip_set(&name, &settings).await)
    }

    /// Takes the objects out of the permanent configuration, the policy first, and then out of
    /// force. What is missing already is fine.
    pub(super) async fn remove(&self) -> zbus::Result<()> {
        if let Some(path) = found(self.config.policy_by_name(POLICY).await)? {
            self.permanent_policy(path).await?.remove().await?;
        }
        for name in self.config.ip_set_names().await?.into_iter().filter(|name| is_ours(name)) {
            self.remove_set(&name).await?;
        }
        self.reload().await
    }

    async fn remove_set(&self, name: &str) -> zbus::Result<()> {
        if let Some(path) = found(self.config.ip_set_by_name(name).await)? {
            self.permanent_set(path).await?.remove().await?;
        }
        Ok(())
    }
}

fn settings(rules: &[String]) -> HashMap<&'static str, Variant<'_>> {
    HashMap::from([
        ("target", Variant::from("CONTINUE")),
        ("priority", Variant::from(PRIORITY)),
        ("ingress_zones", Variant::from(vec!["ANY"])),
        ("egress_zones", Variant::from(vec!["HOST"])),
        ("rich_rules", Variant::from(rules)),
    ])
}

pub(super) fn list(settings: &HashMap<String, OwnedVariant>, name: &str) -> Vec<String> {
    let value = settings.get(name).and_then(|value| value.try_clone().ok());
    value.and_then(|value| Vec::try_from(value).ok()).unwrap_or_default()
}

/// Whether the policy stands where it should.
fn has_frame(settings: &HashMap<String, OwnedVariant>) -> bool {
    let priority = settings.get("priority").and_then(|value| i32::try_from(&**value).ok());
    let target = settings.get("target").and_then(|value| <&str>::try_from(&**value).ok());
    let disabled = settings.get("disable").is_some_and(|value| matches!(**value, Variant::Bool(true)));
    !disabled
        && priority == Some(PRIORITY)
        && target == Some("CONTINUE")
        && list(settings, "ingress_zones") == ["ANY"]
        && list(settings, "egress_zones") == ["HOST"]
}

/// Whether it has these rules and no others, in any order.
fn has_rules(settings: &HashMap<String, OwnedVariant>, rules: &[String]) -> bool {
    let held: BTreeSet<String> = list(settings, "rich_rules").into_iter().collect();
    held.len() == rules.len() && rules.iter().all(|rule| held.contains(rule))
}

/// True if it was not there before.
fn ignore_already<T>(reply: zbus::Result<T>) -> zbus::Result<bool> {
    match reply {
        Ok(_) => Ok(true),
        Err(error) if Trouble::from(&error) == Trouble::Already => Ok(false),
        Err(error) => Err(error),
    }
}

fn found<T>(reply: zbus::Result<T>) -> zbus::Result<Option<T>> {
    match reply {
        Ok(it) => Ok(Some(it)),
        Err(error) if Trouble::from(&error) == Trouble::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
