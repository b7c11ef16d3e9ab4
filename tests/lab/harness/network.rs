//! The wire between a machine and those who attack it.
//!
//! Two network namespaces and a veth pair: the machine lives in one of them, its attackers
//! in the other, with as many addresses as a test asks for. Packets must cross a real
//! device: firewalld accepts everything that arrives on `lo` before it looks at any ban.
//! The addresses are the ones that the RFCs keep for documentation, and nothing here has a
//! way out to the host's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::harness::host;

/// The machine.
pub(crate) const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The machine, over IPv6.
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x10);

/// Builds both namespaces. `$1` is the server's, `$2` the attackers'.
///
/// - No duplicate address detection and no router advertisements: an address can be used at
///   the moment it is there.
/// - `max_dgram_qlen`: what systemd sets on a host, and not in a container; with a shorter queue in front of
///   journald, whoever does not wait loses records.
/// - `arp_announce=2`: an attacker asks for the machine's hardware address in the name of
///   the router, as if it were far away.
const BUILD: &str = r#"
ip netns add "$1"
ip netns add "$2"
ip link add eth0 netns "$1" type veth peer name eth0 netns "$2"
for namespace in "$1" "$2"; do
    ip netns exec "$namespace" sh -c '
        for part in all default eth0; do
            echo 0 >/proc/sys/net/ipv6/conf/$part/accept_dad
            echo 0 >/proc/sys/net/ipv6/conf/$part/accept_ra
        done
        echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce'
    ip -netns "$namespace" link set lo up
    ip -netns "$namespace" link set eth0 up
done
ip netns exec "$1" sh -c 'echo 512 >/proc/sys/net/unix/max_dgram_qlen'
ip -netns "$1" address add 192.0.2.10/24 dev eth0
ip -netns "$1" address add 2001:db8:0:1::10/64 dev eth0 nodad
ip -netns "$2" address add 192.0.2.1/24 dev eth0
ip -netns "$2" address add 2001:db8:0:1::1/64 dev eth0 nodad
ip -netns "$1" route add default via 192.0.2.1
ip -netns "$1" -6 route add default via 2001:db8:0:1::1
"#;

/// The two namespaces of one machine. They go with the machine's name, by [`remove`].
pub(crate) struct Network {
    server: String,
    attackers: String,
}

impl Network {
    /// Makes the namespaces for the machine `name`.
    pub(crate) fn new(name: &str) -> Self {
        let network = Self { server: server(name), attackers: attackers(name) };
        host::run("sh", &["-euc", BUILD, "sh", &network.server, &network.attackers])
            .unwrap_or_else(|error| panic!("{error}"));
        network
    }

    /// The file that stands for the machine's side.
    pub(crate) fn server_path(&self) -> String {
        format!("/run/netns/{}", self.server)
    }

    /// The name of the attackers' side, for `ip netns exec`.
    pub(crate) fn attackers(&self) -> &str {
        &self.attackers
    }

    /// Gives the attackers' side one more address. It may be any but the machine's: the
    /// machine's default route leads to that side.
    pub(crate) fn attacker_address(&self, address: &str) -> IpAddr {
        let parsed: IpAddr = address.parse().expect("a test names a well-formed address");
        let length = if parsed.is_ipv4() { 32 } else { 128 };
        let address = format!("{parsed}/{length}");
        // `replace`: the same attacker may come again.
        let mut arguments = vec!["-netns", &self.attackers, "address", "replace", &address, "dev", "eth0"];
        if parsed.is_ipv6() {
            // Deprecated: chosen by nobody who does not name it.
            arguments.extend(["nodad", "preferred_lft", "0"]);
        }
        host::run("ip", &arguments).unwrap_or_else(|error| panic!("{error}"));
        parsed
    }
}

/// Where an attacker at `address` finds the machine.
pub(crate) fn server_for(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => SERVER4.into(),
        IpAddr::V6(_) => SERVER6.into(),
    }
}

/// Takes both namespaces of the machine `name` away, with the veth between them.
pub(crate) fn remove(name: &str) {
    for namespace in [server(name), attackers(name)] {
        if Path::new("/run/netns").join(&namespace).exists() {
            // A client of a killed run would keep the namespace alive without its name.
            for pid in host::run("ip", &["netns", "pids", &namespace]).unwrap_or_default().lines() {
                let _ = host::run("kill", &["-KILL", pid]);
            }
            let _ = host::run("ip", &["netns", "delete", &namespace]);
        }
    }
}

fn server(name: &str) -> String {
    format!("{name}-server")
}

fn attackers(name: &str) -> String {
    format!("{name}-attackers")
}
