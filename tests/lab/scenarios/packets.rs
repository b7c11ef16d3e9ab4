//! Packets, not listings: for each way in which wardend can lock a host out, that host's
//! connections fail as they should, whatever zone they arrive in, and a stranger's do not.

use std::thread;

use crate::harness::attack::Connection::{self, Open, Refused, TimedOut};
use crate::harness::machine::{Machine, Release};

/// A jail for each mechanism; nobody is ever banned there but by hand.
const CONFIGURATION: &str = r#"
[default]
maxretry = 1000
[jail.sshd]
[jail.all-reject]
filter = "sshd"
action = "reject"
[jail.service]
filter = "sshd"
ports = ["ssh"]
[jail.service-reject]
filter = "sshd"
ports = ["ssh"]
action = "reject"
[jail.port]
filter = "sshd"
ports = ["2222/tcp"]
[jail.range-reject]
filter = "sshd"
ports = ["2220-2225/tcp"]
action = "reject"
"#;

/// The jail, what its banned host gets to see at ports 22 and 2222, and the last part of its
/// addresses. The stranger comes last.
const TABLE: [(&str, Connection, Connection); 7] = [
    ("sshd", TimedOut, TimedOut),
    ("all-reject", Refused, Refused),
    ("service", TimedOut, Open),
    ("service-reject", Refused, Open),
    ("port", Open, TimedOut),
    ("range-reject", Open, Refused),
    ("", Open, Open),
];

/// Where firewalld sorts the packets in.
const ZONES: [(&str, &str); 3] = [
    ("in the default zone", "true"),
    (
        "on an interface in the zone internal",
        "firewall-cmd -q --zone=internal --change-interface=eth0 && firewall-cmd -q --zone=internal --add-port=2222/tcp",
    ),
    (
        "from a source in the zone trusted",
        "firewall-cmd -q --zone=trusted --add-source=203.0.113.0/24 && firewall-cmd -q --zone=trusted --add-source=2001:db8:77::/48",
    ),
];

pub(crate) fn whoever_is_banned_is_locked_out_in_every_zone_and_nobody_else(release: Release) {
    let mut sshd = "Port 22\nPort 2222\nMaxStartups 200\n".to_owned();
    if release.penalises_sources() {
        sshd.push_str("PerSourcePenalties no\n");
    }
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", CONFIGURATION)
        .file("/etc/ssh/sshd_config.d/test.conf", &sshd)
        .command("firewall-offline-cmd --quiet --zone=public --add-port=2222/tcp")
        .boot();
    let addresses = |row: usize| [format!("203.0.113.{}", 10 + row), format!("2001:db8:77:{}::1", 10 + row)];
    for (row, (jail, ..)) in TABLE.iter().enumerate().filter(|(_, (jail, ..))| !jail.is_empty()) {
        let [v4, v6] = addresses(row);
        machine.run(&format!("wardenctl ban {v4} {v6} --jail {jail} --for 1h"));
    }
    for (row, _) in TABLE.iter().enumerate().filter(|(_, (jail, ..))| !jail.is_empty()) {
        machine.wait_for_message(&format!("firewalld blocks {},", addresses(row)[0]));
        machine.wait_for_message(&format!("firewalld blocks 2001:db8:77:{}::/64,", 10 + row));
    }
    for (zone, arrange) in ZONES {
        machine.run(arrange);
        thread::scope(|scope| {
            for (row, (jail, at_22, at_2222)) in TABLE.into_iter().enumerate() {
                let machine = &machine;
                scope.spawn(move || {
                    for address in addresses(row) {
                        let host = machine.attacker(&address);
                        for (port, should) in [(22, at_22), (2222, at_2222)] {
                            let does = host.can_connect_to(port);
                            println!("{}: {address} (jail {jail:?}) {zone}, port {port}: {does:?}", release.name());
                            assert_eq!(does, should, "{address} (jail {jail:?}) {zone}, port {port}");
                        }
                    }
                });
            }
        });
    }
}
