//! The text of a network as firewalld lists it, and back.

use ipnet::IpNet;

use super::layout::Family;

/// firewalld compares entries as text, so there must be one text for each network: the network
/// address, with a prefix length only where it says something.
pub(super) fn text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.network().to_string() } else { net.trunc().to_string() }
}

/// The network that an entry of firewalld stands for, if it is in the form that [`text`] writes.
pub(super) fn parse(family: Family, entry: &str) -> Option<IpNet> {
    let net = entry.parse::<IpNet>().or_else(|_| entry.parse::<std::net::IpAddr>().map(IpNet::from)).ok()?;
    (Family::of(&net) == family && text(&net) == entry).then_some(net)
}
