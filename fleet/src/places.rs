//! Addresses that no voice may name, because this machine needs them: its gateways and resolvers.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The gateways and resolvers of now.
pub(crate) fn gateways_and_resolvers() -> BTreeSet<IpAddr> {
    // A file that is missing has none: IPv6 may be off, and there may be no resolver.
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut found: BTreeSet<IpAddr> = gateways_v4(&read("/proc/self/net/route")).map(IpAddr::V4).collect();
    found.extend(gateways_v6(&read("/proc/self/net/ipv6_route")).map(IpAddr::V6));
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        found.extend(resolvers(&read(path)));
    }
    found
}

fn gateways_v4(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let gateway = |line: &str| {
        let number = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
        // The kernel prints the bytes as a number of this machine.
        Some(Ipv4Addr::from(number.to_ne_bytes())).filter(|address| !address.is_unspecified())
    };
    text.lines().skip(1).filter_map(gateway)
}

fn gateways_v6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    let gateway = |line: &str| {
        let number = u128::from_str_radix(line.split_whitespace().nth(4)?, 16).ok()?;
        Some(Ipv6Addr::from(number)).filter(|address| !address.is_unspecified())
    };
    text.lines().filter_map(gateway)
}

fn resolvers(text: &str) -> impl Iterator<Item = IpAddr> {
    let resolver = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        address.split('%').next()?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    };
    text.lines().filter_map(resolver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_resolvers_are_found_as_the_kernel_and_people_write_them() {
        let v4 = format!(
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t{:08X}\t0003\neth0\t0002A8C0\t00000000\t0001\n",
            u32::from_ne_bytes([192, 0, 2, 1])
        );
        assert_eq!(gateways_v4(&v4).collect::<Vec<_>>(), [Ipv4Addr::new(192, 0, 2, 1)]);
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 eth0\n{zero} 00 {zero} 00 {zero} ffffffff lo\n"
        );
        assert_eq!(gateways_v6(&v6).collect::<Vec<_>>(), ["fe80::1".parse::<Ipv6Addr>().unwrap()]);
        let text =
            "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.53\nnameserver fe80::53%eth0\nnameserver x\n";
        let expected: Vec<IpAddr> = vec!["192.0.2.53".parse().unwrap(), "fe80::53".parse().unwrap()];
        assert_eq!(resolvers(text).collect::<Vec<_>>(), expected);
    }
}
