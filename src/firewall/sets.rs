//! The ipsets that wardend owns in firewalld, by name, and the rules that look into them.
//!
//! One set holds the bans of one scope and one address family. The names are what an admin types
//! after `firewall-cmd --ipset=`: `wardend4` and `wardend6` for bans of all ports, `wardend4-ssh`
//! for those of one service, and so on. Everything that begins like that is wardend's.

use std::sync::Arc;

use ipnet::IpNet;

use crate::jail::{Port, Scope};

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

/// One ipset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Set {
    pub(crate) scope: Arc<Scope>,
    pub(crate) family: Family,
}

impl Set {
    pub(crate) fn name(&self) -> String {
        let (prefix, key) = (self.family.prefix(), self.scope.key());
        if key.is_empty() { prefix.to_owned() } else { format!("{prefix}-{key}") }
    }
}

/// Whether a set of this name is wardend's, of whatever configuration.
pub(crate) fn is_ours(name: &str) -> bool {
    Family::ALL
        .iter()
        .filter_map(|family| name.strip_prefix(family.prefix()))
        .any(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What firewalld has to hold for some scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) sets: Vec<Set>,
}

impl Layout {
    pub(crate) fn new(scopes: &[Arc<Scope>]) -> Self {
        let of = |scope: &Arc<Scope>| Family::ALL.map(|family| Set { scope: Arc::clone(scope), family });
        Self { sets: scopes.iter().flat_map(of).collect() }
    }

    /// The names of the sets.
    pub(crate) fn names(&self) -> Vec<String> {
        self.sets.iter().map(Set::name).collect()
    }

    /// The services that the rules name, some of them twice.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        self.sets.iter().flat_map(|set| set.scope.ports()).filter_map(|port| match port {
            Port::Service(name) => Some(&**name),
            Port::Numbers(..) => None,
        })
    }

    /// The rules of the policy, word for word as firewalld lists them, without those for services
    /// that it does not know: one of them would have it refuse all.
    pub(crate) fn rules(&self, known: impl Fn(&str) -> bool) -> Vec<String> {
        let mut rules = Vec::new();
        for set in &self.sets {
            let scope = &set.scope;
            let source = format!(r#"rule family="{}" source ipset="{}""#, set.family.attribute(), set.name());
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
        assert_eq!(layout.names()[..4], ["wardend4", "wardend6", "wardend4-ssh", "wardend6-ssh"]);
        for foreign in ["wardend", "wardend44", "wardend5", "mywardend4", "warden4"] {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn each_port_has_a_rule_and_unknown_services_have_none() {
        let layout = Layout::new(&[scope(&[], false), scope(&["ssh", "nossh", "22-23/tcp", "53/udp"], true)]);
        let rules = layout.rules(|service| service == "ssh");
        assert_eq!(rules.len(), 2 + 6);
        assert_eq!(rules[0], r#"rule family="ipv4" source ipset="wardend4" drop"#);
        assert!(rules[2].ends_with(r#" service name="ssh" reject"#), "{}", rules[2]);
        assert!(rules[3].ends_with(r#" port port="22-23" protocol="tcp" reject"#), "{}", rules[3]);
        assert!(rules[7].starts_with(r#"rule family="ipv6" source ipset="wardend6-"#), "{}", rules[7]);
        assert!(rules[7].ends_with(r#" port port="53" protocol="udp" reject"#), "{}", rules[7]);
        assert_eq!(layout.services().collect::<Vec<_>>(), ["nossh", "ssh"].repeat(2));
    }
}
