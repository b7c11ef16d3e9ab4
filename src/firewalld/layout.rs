//! The ipsets that wardend owns in firewalld, by name, and the rules that look into them.
//!
//! The bans of one scope and one address family are a pool, and a pool has several ipsets, because an
//! entry costs firewalld more in a large one ([`super::next_call`]). The names are what an admin types
//! after `firewall-cmd --ipset=`: `wardend4` and `wardend6` for bans of all ports, `wardend4-ssh`
//! for those of one service; `wardend4-1` and so on take what the first ipset of a pool has no room
//! for. Everything that begins like that is wardend's.

use std::sync::Arc;

use ipnet::IpNet;

use crate::core::scope::{Port, Scope};

/// The policy that holds all rules.
pub(crate) const POLICY: &str = "wardend";

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// As the option `family` of an ipset.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::V4 => "inet",
            Self::V6 => "inet6",
        }
    }

    /// As the attribute `family` of a rule.
    fn attribute(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::V4 => "wardend4",
            Self::V6 => "wardend6",
        }
    }
}

/// How many ipsets a pool has. Each is a rule more for a packet to pass, and one of them is kept
/// empty; with eight, ten thousand bans are added at the cost of a few hundred.
pub(crate) const IPSETS: usize = 8;

/// The bans of one scope and one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolId {
    pub(crate) scope: Arc<Scope>,
    pub(crate) family: Family,
}

impl PoolId {
    /// Where a ban belongs.
    pub(crate) fn of(scope: &Arc<Scope>, net: &IpNet) -> Self {
        Self { scope: Arc::clone(scope), family: Family::of(net) }
    }
}

/// One ipset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IpsetId {
    pub(crate) pool: PoolId,
    /// Less than [`IPSETS`].
    pub(crate) index: usize,
}

impl IpsetId {
    pub(crate) fn name(&self) -> String {
        let (mut name, key) = (self.pool.family.prefix().to_owned(), self.pool.scope.key());
        if !key.is_empty() {
            name = format!("{name}-{key}");
        }
        if self.index > 0 {
            name = format!("{name}-{}", self.index);
        }
        name
    }
}

/// Whether an ipset of this name is wardend's, of whatever configuration.
pub(crate) fn is_ours(name: &str) -> bool {
    Family::ALL
        .iter()
        .filter_map(|family| name.strip_prefix(family.prefix()))
        .any(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What firewalld has to hold for some scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) sets: Vec<IpsetId>,
}

impl Layout {
    pub(crate) fn new(scopes: &[Arc<Scope>]) -> Self {
        let pools =
            scopes.iter().flat_map(|scope| Family::ALL.map(|family| PoolId { scope: Arc::clone(scope), family }));
        let of = |pool: PoolId| (0..IPSETS).map(move |index| IpsetId { pool: pool.clone(), index });
        Self { sets: pools.flat_map(of).collect() }
    }

    pub(crate) fn pools(&self) -> Vec<PoolId> {
        self.sets.iter().filter(|set| set.index == 0).map(|set| set.pool.clone()).collect()
    }

    /// The names of the ipsets.
    pub(crate) fn names(&self) -> Vec<String> {
        self.sets.iter().map(IpsetId::name).collect()
    }

    /// The services that the rules name, some of them twice.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        let firsts = self.sets.iter().filter(|set| set.index == 0);
        firsts.flat_map(|set| set.pool.scope.ports()).filter_map(|port| match port {
            Port::Service(name) => Some(&**name),
            Port::Numbers(..) => None,
        })
    }

    /// The rules of the policy, word for word as firewalld lists them, without those for services
    /// that it does not know: one of them would have it refuse all.
    pub(crate) fn rules(&self, known: impl Fn(&str) -> bool) -> Vec<String> {
        let mut rules = Vec::new();
        for set in &self.sets {
            let scope = &set.pool.scope;
            let source = format!(r#"rule family="{}" source ipset="{}""#, set.pool.family.attribute(), set.name());
            let action = if scope.rejects() { "reject" } else { "drop" };
            if scope.ports().is_empty() {
                rules.push(format!("{source} {action}"));
            }
            for port in scope.ports() {
                match port {
                    Port::Service(name) if !known(name) => {}
                    Port::Service(name) => rules.push(format!(r#"{source} service name="{name}" {action}"#)),
                    Port::Numbers(first, last, protocol) => {
                        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
                        rules.push(format!(r#"{source} port port="{range}" protocol="{protocol}" {action}"#));
                    }
                }
            }
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(ports: &[&str], reject: bool) -> Arc<Scope> {
        Arc::new(Scope::new(ports.iter().map(|port| port.parse().unwrap()).collect(), reject))
    }

    #[test]
    fn names_fit_and_are_known_again() {
        let long = ["a-service-with-a-long-name", "8080/tcp"];
        let layout = Layout::new(&[scope(&[], false), scope(&["ssh"], false), scope(&long, true)]);
        for name in layout.names() {
            assert!(name.len() <= 31, "{name}");
            assert!(is_ours(&name), "{name}");
        }
        let names = layout.names();
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 6 * IPSETS);
        for name in ["wardend4", "wardend6", "wardend4-7", "wardend4-ssh", "wardend6-ssh-1"] {
            assert!(names.contains(&name.to_owned()), "{name}");
        }
        for foreign in ["wardend", "wardend44", "wardend5", "mywardend4", "warden4"] {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn each_port_has_a_rule_and_unknown_services_have_none() {
        let layout = Layout::new(&[scope(&[], false), scope(&["ssh", "nossh", "22-23/tcp", "53/udp"], true)]);
        let rules = layout.rules(|service| service == "ssh");
        assert_eq!(rules.len(), (2 + 6) * IPSETS);
        for (set, end) in [("4", r#"" drop"#), ("6-3", r#"" drop"#)] {
            assert!(rules.iter().any(|rule| rule.ends_with(&format!(r#" source ipset="wardend{set}{end}"#))), "{set}");
        }
        for port in [r#"service name="ssh""#, r#"port port="22-23" protocol="tcp""#, r#"port port="53" protocol="udp""#]
        {
            let of = rules.iter().filter(|rule| rule.ends_with(&format!("{port} reject")));
            assert_eq!(of.count(), 2 * IPSETS, "{port}");
        }
        assert!(rules.iter().all(|rule| rule.contains("ipv4") == rule.contains("wardend4")));
        assert_eq!(layout.services().collect::<Vec<_>>(), ["nossh", "ssh"].repeat(2));
    }
}
