//! fail2ban's `port` and `protocol` as wardend's `ports`.

/// Names of services.5 that people write, as firewalld's services where it has one for exactly that port,
/// else as numbers.
const SERVICES: [(&str, &str); 70] = [
    ("ssh", "ssh"),
    ("http", "http"),
    ("www", "http"),
    ("www-http", "http"),
    ("https", "https"),
    ("smtp", "25"),
    ("mail", "25"),
    ("smtps", "465"),
    ("ssmtp", "465"),
    ("urd", "465"),
    ("submissions", "465"),
    ("submission", "587"),
    ("imap", "143"),
    ("imap2", "143"),
    ("imap3", "220"),
    ("imaps", "993"),
    ("pop2", "109"),
    ("pop3", "110"),
    ("pop-3", "110"),
    ("pop3s", "995"),
    ("sieve", "4190"),
    ("managesieve", "4190"),
    ("ftp", "21"),
    ("ftp-data", "20"),
    ("ftps", "990"),
    ("ftps-data", "989"),
    ("telnet", "23"),
    ("domain", "53"),
    ("mysql", "3306"),
    ("postgresql", "5432"),
    ("ldap", "389"),
    ("ldaps", "636"),
    ("sip", "5060"),
    ("sips", "5061"),
    ("sip-tls", "5061"),
    ("openvpn", "1194"),
    ("rsync", "873"),
    ("webmin", "10000"),
    ("xmpp-client", "5222"),
    ("xmpp-server", "5269"),
    ("ircd", "6667"),
    ("http-alt", "8080"),
    ("webcache", "8080"),
    ("vnc", "5900"),
    ("nfs", "2049"),
    ("snmp", "161"),
    ("sftp", "115"),
    ("ntp", "123"),
    ("nntp", "119"),
    ("nntps", "563"),
    ("tftp", "69"),
    ("kerberos", "88"),
    ("sunrpc", "111"),
    ("syslog", "514"),
    ("git", "9418"),
    ("svn", "3690"),
    ("socks", "1080"),
    ("ms-sql-s", "1433"),
    ("radius", "1812"),
    ("isakmp", "500"),
    ("munin", "4949"),
    ("zabbix-agent", "10050"),
    ("amqp", "5672"),
    ("mqtt", "1883"),
    ("domain-s", "853"),
    ("redis", "6379"),
    ("x11", "6000"),
    ("finger", "79"),
    ("whois", "43"),
    ("ipp", "631"),
];

/// What a jail closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    All,
    Some(Vec<String>),
}

/// Why `port` or `protocol` can't be read: the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PortsError {
    #[error("the protocol '{0}' has no ports")]
    Protocol(String),
    #[error("is empty")]
    Empty,
    #[error("'{0}' is more than 65535")]
    TooLarge(String),
    #[error("'{0}' is not a service whose port is known here; write its number")]
    Unknown(String),
    #[error("the port 0 is nobody's")]
    Zero,
    #[error("'{0}' ends before it begins")]
    Backwards(String),
}

impl Ports {
    /// As TOML.
    pub(crate) fn toml(&self) -> String {
        match self {
            Self::All => "\"all\"".to_owned(),
            Self::Some(list) => {
                format!("[{}]", list.iter().map(|port| format!("\"{port}\"")).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Reads both values.
    pub(crate) fn parse(port: &str, protocol: &str) -> Result<Self, PortsError> {
        let words = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| c.is_whitespace() || c == ',' || c == '{' || c == '}');
            words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
        };
        let mut protocols = words(protocol);
        if protocols.iter().any(|protocol| protocol == "all" || protocol == "any") {
            protocols = vec!["tcp".to_owned(), "udp".to_owned()];
        }
        if protocols.is_empty() {
            protocols.push("tcp".to_owned());
        }
        if let Some(other) = protocols.iter().find(|one| !["tcp", "udp", "sctp", "dccp"].contains(&one.as_str())) {
            return Err(PortsError::Protocol(other.clone()));
        }
        let mut list = Vec::new();
        for word in words(port) {
            let (low, high) = match word.as_str() {
                "all" | "any" | "anyport" | "0-65535" | "1-65535" => return Ok(Self::All),
                _ => range(&word)?,
            };
            if low <= 1 && high == 65_535 {
                return Ok(Self::All);
            }
            let named = SERVICES.iter().find(|(name, service)| *name == word && service.parse::<u16>().is_err());
            for protocol in &protocols {
                list.push(match named {
                    // firewalld's services of these names are of TCP.
                    Some((_, service)) if protocol == "tcp" => (*service).to_owned(),
                    _ if low == high => format!("{low}/{protocol}"),
                    _ => format!("{low}-{high}/{protocol}"),
                });
            }
        }
        if list.is_empty() {
            return Err(PortsError::Empty);
        }
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|port| seen.insert(port.clone()));
        Ok(Self::Some(list))
    }
}

/// A number, two of them, or a name.
fn range(word: &str) -> Result<(u16, u16), PortsError> {
    const NUMBERS: [(&str, u16); 3] = [("ssh", 22), ("http", 80), ("https", 443)];
    let one = |word: &str| -> Result<u16, PortsError> {
        if let Ok(number) = word.parse::<u16>() {
            return Ok(number);
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PortsError::TooLarge(word.to_owned()));
        }
        let service = SERVICES.iter().find(|(name, _)| *name == word).map(|(_, service)| *service);
        let number = service.and_then(|service| {
            let named = NUMBERS.iter().find(|(name, _)| *name == service).map(|(_, number)| *number);
            named.or_else(|| service.parse().ok())
        });
        number.ok_or_else(|| PortsError::Unknown(word.to_owned()))
    };
    let parts = word.split_once([':', '-']);
    // "pop-3" is a name, not a range.
    if let Ok(number) = one(word) {
        return if number == 0 { Err(PortsError::Zero) } else { Ok((number, number)) };
    }
    let Some((first, last)) = parts.filter(|_| word.starts_with(|c: char| c.is_ascii_digit())) else {
        return one(word).map(|number| (number, number));
    };
    let (first, last) = (one(first)?, one(if last.is_empty() { "65535" } else { last })?);
    if first > last {
        return Err(PortsError::Backwards(word.to_owned()));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_that_firewalld_has() {
        for (port, protocol, expected) in [
            ("ssh", "tcp", r#"["ssh"]"#),
            ("22", "tcp", r#"["22/tcp"]"#),
            ("ssh,2222", "tcp", r#"["ssh", "2222/tcp"]"#),
            ("ssh,sftp", "tcp", r#"["ssh", "115/tcp"]"#),
            ("ssh, sftp-not", "tcp", ""),
            ("2222", "", r#"["2222/tcp"]"#),
            ("http,https", "tcp", r#"["http", "https"]"#),
            ("www", "tcp", r#"["http"]"#),
            ("https", "udp", r#"["443/udp"]"#),
            ("smtp,465,submission", "tcp", r#"["25/tcp", "465/tcp", "587/tcp"]"#),
            ("imap2,imap3,imaps,pop3,pop3s", "tcp", r#"["143/tcp", "220/tcp", "993/tcp", "110/tcp", "995/tcp"]"#),
            ("6000:6010", "tcp", r#"["6000-6010/tcp"]"#),
            ("6000-6010", "udp", r#"["6000-6010/udp"]"#),
            ("5060,5061", "all", r#"["5060/tcp", "5060/udp", "5061/tcp", "5061/udp"]"#),
            ("53", "tcp,udp", r#"["53/tcp", "53/udp"]"#),
            ("22 22, 22", "tcp", r#"["22/tcp"]"#),
            ("0:65535", "tcp", r#""all""#),
            ("1:65535", "tcp", r#""all""#),
            ("all", "tcp", r#""all""#),
            ("any", "tcp", r#""all""#),
            ("anyport", "tcp", r#""all""#),
            ("SSH", "TCP", r#"["ssh"]"#),
            ("1024:", "tcp", r#"["1024-65535/tcp"]"#),
            ("", "tcp", ""),
            ("70000", "tcp", ""),
            ("0", "tcp", ""),
            ("9:1", "tcp", ""),
            ("22", "icmp", ""),
            ("<port>", "tcp", ""),
        ] {
            let ports = Ports::parse(port, protocol);
            assert_eq!(ports.as_ref().map(Ports::toml).unwrap_or_default(), expected, "{port} {protocol}: {ports:?}");
            if let Ok(Ports::Some(list)) = ports {
                assert!(list.iter().all(|port| port.parse::<crate::core::scope::Port>().is_ok()), "{list:?}");
            }
        }
    }
}
