//! The `<ADDR>` token: from bytes of a message to an address, or to nothing.
//!
//! A pattern finds where sshd wrote the address; this decides what it is. IPv4 and IPv6 as
//! sshd prints them (getnameinfo(3) with `NI_NUMERICHOST`); an IPv4-mapped address is the IPv4
//! address; the `%scope` of a link-local one is cut off. Names (UseDNS) and `UNKNOWN` are
//! refused: a name is chosen by whoever owns the reverse zone.

use std::net::IpAddr;

/// The longest text that can be an address: 45 bytes of IPv6 with an IPv4 tail, a `%` and an
/// interface name of at most 15 bytes (`IFNAMSIZ`).
const LONGEST: usize = 45 + 1 + 15;

/// Parses the text of an `<ADDR>` token.
pub(super) fn parse(token: &[u8]) -> Option<IpAddr> {
    if token.len() > LONGEST {
        return None;
    }
    let text = std::str::from_utf8(token).ok()?;
    let (number, scope) = match text.split_once('%') {
        Some((number, scope)) => (number, Some(scope)),
        None => (text, None),
    };
    let address: IpAddr = number.parse().ok()?;
    if scope.is_some_and(str::is_empty) || (scope.is_some() && address.is_ipv4()) {
        return None;
    }
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_sshd_prints_is_an_address() {
        for (token, address) in [
            ("203.0.113.7", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("fe80::77%lo", "fe80::77"),
            ("fe80::1%eth0.100", "fe80::1"),
        ] {
            assert_eq!(parse(token.as_bytes()), Some(address.parse().unwrap()), "{token}");
        }
    }

    #[test]
    fn everything_else_is_none() {
        for token in [
            "",
            "UNKNOWN",
            "localhost",
            "203.0.113",
            "203.0.113.7.evil.example",
            "203.0.113.07",
            "1.2.3.4%lo",
            "fe80::1%",
            "2001:db8::1::",
            "203.0.113.256",
            "0x7f.1",
            " 203.0.113.7",
            "203.0.113.7\n",
            "::1/128",
        ] {
            assert_eq!(parse(token.as_bytes()), None, "{token}");
        }
        assert_eq!(parse(b"203.0.113.7\xff"), None);
        assert_eq!(parse(&[b'1'; 5000]), None);
    }
}
