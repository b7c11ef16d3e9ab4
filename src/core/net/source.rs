//! What is counted and banned as one: an address, or the network that one customer holds.
//!
//! One IPv4 address is one source. An IPv6 customer has a /64 at the least (RFC 6177), so
//! counting single IPv6 addresses would give an attacker 2⁶⁴ times `maxretry`. Link-local
//! addresses are counted one by one: their /64 is every neighbour on every link. And an address that
//! stands for an IPv4 host is no more than that host, see [`super::translators`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::Translators;

/// The prefix lengths of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefixes {
    /// 0 to 32.
    pub(crate) ipv4: u8,
    /// 0 to 128.
    pub(crate) ipv6: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { ipv4: 32, ipv6: 64 }
    }
}

/// The source that an address belongs to.
pub(crate) fn source_of(address: IpAddr, prefixes: Prefixes, translators: &Translators) -> IpNet {
    let length = match address {
        IpAddr::V4(_) => prefixes.ipv4,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 128,
        IpAddr::V6(_) => prefixes.ipv6.max(translators.least(address, prefixes.ipv4)),
    };
    IpNet::new(address, length).unwrap_or_else(|_| address.into()).trunc()
}

/// The range of a map's keys in which everything inside a network lies (and what is around it with
/// the same first address).
pub(crate) fn inside(network: IpNet) -> std::ops::RangeInclusive<IpNet> {
    let at = |address: IpAddr, length: u8| IpNet::new(address, length).unwrap_or_else(|_| address.into());
    at(network.network(), 0)..=at(network.broadcast(), network.max_prefix_len())
}

/// A network as people and firewalld write it: a single address has no prefix length.
pub fn text_of(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_customer_is_one_source_and_a_link_local_neighbour_is_one_host() {
        for (address, source) in
            [("203.0.113.7", "203.0.113.7"), ("2001:db8:a:b:c:d:e:f", "2001:db8:a:b::/64"), ("fe80::77", "fe80::77")]
        {
            let none = Translators::default();
            assert_eq!(text_of(source_of(address.parse().unwrap(), Prefixes::default(), &none)), source);
        }
    }

    #[test]
    fn an_address_that_holds_an_ipv4_one_is_counted_as_that_and_no_wider() {
        let own: Translators = vec![Translators::parse("2001:db8:122:344::/64").unwrap()].into();
        let source =
            |address: &str, ipv4| text_of(source_of(address.parse().unwrap(), Prefixes { ipv4, ipv6: 32 }, &own));
        for (address, by_host, by_network) in [
            ("64:ff9b::cb00:7107", "64:ff9b::cb00:7107", "64:ff9b::cb00:7100/120"),
            ("64:ff9b:1::cb00:7107", "64:ff9b:1::cb00:7107", "64:ff9b:1::cb00:7100/120"),
            ("::ffff:0:cb00:7107", "::ffff:0:cb00:7107", "::ffff:0:cb00:7100/120"),
            ("2001:db8:122:344:cb:71:700::", "2001:db8:122:344:cb:71:700:0", "2001:db8:122:344:cb:71::/96"),
            ("2002:cb00:7107:5::1", "2002:cb00:7107::/48", "2002:cb00:7100::/40"),
            (
                "2001:0:cb00:7101:0:3f57:34ff:8ef8",
                "2001:0:cb00:7101:0:3f57:34ff:8ef8",
                "2001:0:cb00:7101:0:3f57:34ff:8ef8",
            ),
            ("2001:db8:1:2::3", "2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(source(address, 32), by_host);
            assert_eq!(source(address, 24), by_network);
        }
    }
}
