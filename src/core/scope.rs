//! What a ban closes: all ports or some, by dropping or by refusing.
//!
//! firewalld applies one rule to a whole set of addresses, so what differs in ports or action
//! needs sets of its own. All jails with the same ports and the same action share a scope. Its
//! name is part of the names of its sets, which an admin reads: it says what it can, and where
//! that could be taken for another scope a hash makes it unique.

use std::{fmt, str::FromStr};

use crate::util::fnv;

/// The longest service name that is written out in the name of a set: firewalld allows 31 bytes.
const LONGEST_PLAIN: usize = 16;
/// As much of a list of ports as fits beside the hash.
const LONGEST_HINT: usize = 8;

/// What a ban closes, and how. The default is all ports, dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope {
    /// In order, each once; none means all ports.
    ports: Vec<Port>,
    reject: bool,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Port {
    /// A service that firewalld knows by name.
    Service(Box<str>),
    /// Ports from the first to the last.
    Numbers(u16, u16, Protocol),
}

/// The protocols that have ports, as firewalld knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "their names say it")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Dccp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => f.write_str(name),
            Self::Numbers(first, last, protocol) if first == last => write!(f, "{first}/{protocol}"),
            Self::Numbers(first, last, protocol) => write!(f, "{first}-{last}/{protocol}"),
        }
    }
}

/// Why a text is neither a service nor a port: a sentence with the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PortError {
    /// Neither by its form.
    #[error("'{0}' is neither a service (\"ssh\") nor a port (\"2222/tcp\", \"6000-6010/udp\").")]
    Unknown(String),
    /// Another protocol.
    #[error("'{0}' names no protocol that has ports; write tcp, udp, sctp or dccp.")]
    Protocol(String),
    /// Out of bounds, or the wrong way round.
    #[error("'{0}' is not a valid port; write a number from 1 to 65535, or two as in \"6000-6010/tcp\".")]
    Number(String),
}

/// Why a list of ports can't be used: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PortsError {
    #[error("ports is empty, so a ban would close nothing; write services and ports such as [\"ssh\", \"2222/tcp\"].")]
    Empty,
    #[error(
        "ports has {0} entries, and each is a rule in firewalld; write at most {MOST_PORTS}, with ranges such as \
         \"6000-6010/tcp\"."
    )]
    Many(usize),
    #[error("ports: {0}")]
    Port(#[from] PortError),
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let Some((numbers, protocol)) = text.split_once('/') else {
            let is_name = text.len() <= 64
                && text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            return if is_name { Ok(Self::Service(text.into())) } else { Err(PortError::Unknown(text.to_owned())) };
        };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            "dccp" => Protocol::Dccp,
            _ => return Err(PortError::Protocol(text.to_owned())),
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let number = |digits: &str| digits.parse::<u16>().ok().filter(|number| *number > 0);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self::Numbers(first, last, protocol)),
            _ => Err(PortError::Number(text.to_owned())),
        }
    }
}

/// The most entries in a list of ports.
const MOST_PORTS: usize = 1000;

/// A list of services and ports.
pub(crate) fn parse_ports(list: &[String]) -> Result<Vec<Port>, PortsError> {
    if list.is_empty() {
        return Err(PortsError::Empty);
    }
    if list.len() > MOST_PORTS {
        return Err(PortsError::Many(list.len()));
    }
    Ok(list.iter().map(|port| port.parse()).collect::<Result<_, PortError>>()?)
}

impl Scope {
    /// The scope of these ports (none means all).
    pub(crate) fn new(mut ports: Vec<Port>, reject: bool) -> Self {
        ports.sort();
        ports.dedup();
        Self { ports, reject }
    }

    /// In order, each once; none means all ports.
    pub(crate) fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// Whether connections are refused and not just ignored.
    pub(crate) fn rejects(&self) -> bool {
        self.reject
    }

    /// What tells its sets from those of other scopes; empty for the default.
    ///
    /// A single service that is dropped lends its name, if that can't be read as anything else;
    /// all others end in eight digits of a hash, which no plain name contains.
    pub(crate) fn key(&self) -> String {
        match (&self.ports[..], self.reject) {
            ([], false) => return String::new(),
            ([], true) => return "reject".to_owned(),
            ([Port::Service(name)], false)
                if name.len() <= LONGEST_PLAIN
                    && &**name != "reject"
                    && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) =>
            {
                return name.to_string();
            }
            _ => {}
        }
        let text = self.to_string();
        let mut hint: String = text.chars().filter(char::is_ascii_alphanumeric).take(LONGEST_HINT).collect();
        hint.make_ascii_lowercase();
        let hash = fnv::add(fnv::START, text.as_bytes());
        format!("{hint}-{:08x}", (hash ^ (hash >> 32)) & 0xffff_ffff)
    }
}

impl fmt::Display for Scope {
    /// "all ports", "ssh, 2222/tcp (reject)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ports.is_empty() {
            f.write_str("all ports")?;
        }
        for (index, port) in self.ports.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{port}")?;
        }
        f.write_str(if self.reject { " (reject)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn scope(ports: &[&str], reject: bool) -> Scope {
        Scope::new(ports.iter().map(|port| port.parse().unwrap()).collect(), reject)
    }

    #[test]
    fn ports_are_services_or_numbers_with_a_protocol() {
        for text in ["ssh", "ssh-custom", "2222/tcp", "6000-6010/udp", "1/sctp", "65535/dccp"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        for text in ["", "22", "ssh port", "0/tcp", "65536/tcp", "9-1/tcp", "22/icmp", "22/", "-1/tcp", "1-2-3/tcp"] {
            assert!(text.parse::<Port>().unwrap_err().to_string().ends_with('.'), "{text}");
        }
    }

    #[test]
    fn the_order_of_ports_makes_no_other_scope() {
        assert_eq!(scope(&["ssh", "80/tcp", "ssh"], false), scope(&["80/tcp", "ssh"], false));
    }

    #[test]
    fn each_scope_has_a_key_of_its_own_that_fits_and_is_readable() {
        assert_eq!(scope(&[], false).key(), "");
        assert_eq!(scope(&["ssh"], false).key(), "ssh");
        assert_eq!(scope(&[], true).key(), "reject");
        let all = [
            scope(&["reject"], false),
            scope(&["ssh"], true),
            scope(&["SSH"], false),
            scope(&["ssh-1"], false),
            scope(&["ssh", "http"], false),
            scope(&["22/tcp"], false),
            scope(&["22/udp"], false),
            scope(&["22/tcp", "a-very-long-service-name-of-somebody"], true),
        ];
        let keys: BTreeSet<String> = all.iter().map(Scope::key).collect();
        assert_eq!(keys.len(), all.len());
        for key in &keys {
            assert!(key.len() <= 17, "{key}");
            let (hint, hash) = key.rsplit_once('-').unwrap();
            assert!(hint.bytes().all(|byte| byte.is_ascii_alphanumeric()) && hash.len() == 8, "{key}");
        }
        assert!(scope(&["22/tcp"], false).key().starts_with("22tcp-"));
    }
}
