//! How bans are laid out in firewalld: which ports they close, and what keeps them there.

use crate::attack::Connection;
use crate::machine::{Machine, Release};

const CONFIGURATION: &str = "/etc/wardend/wardend.conf.d/test.conf";

pub(crate) fn a_ban_closes_the_ports_of_its_jail_and_a_reload_moves_it(release: Release) {
    let machine = Machine::prepare(release)
        .file(CONFIGURATION, "[jail.sshd]\nports = [\"2222/tcp\"]\n[jail.other]\nfilter = \"sshd\"\n")
        .boot();
    let (banned, neighbour) = (machine.attacker("203.0.113.7"), machine.attacker("2001:db8:a:7::1"));
    machine.run("wardenctl ban 203.0.113.7 2001:db8:a:7::1 --jail sshd --for 1h");
    machine.wait_for_message("firewalld blocks 2001:db8:a:7::/64");
    assert_eq!(banned.can_connect(), Connection::Open, "another port is closed");

    machine.write(CONFIGURATION, "[jail.sshd]\nports = [\"ssh\", \"2222/tcp\"]\naction = \"reject\"\n");
    machine.run("systemctl reload wardend");
    machine.wait_until("it is refused", || banned.can_connect() == Connection::Refused);
    machine.wait_until("it is refused over IPv6", || neighbour.can_connect() == Connection::Refused);
    machine.wait_for_message("so they are removed from firewalld's permanent configuration");
    let rules = machine.run("firewall-cmd --policy=wardend --list-rich-rules");
    assert!(rules.contains("service name=\"ssh\" reject") && !rules.contains("drop"), "{rules}");

    machine.write(CONFIGURATION, "[jail.sshd]\nports = \"all\"\n");
    machine.run("systemctl reload wardend");
    machine.wait_until("it is dropped", || banned.can_connect() == Connection::TimedOut);
    machine.wait_until("the sets of before are gone", || {
        machine.run("firewall-cmd --permanent --get-ipsets").trim() == "wardend4 wardend6"
    });
    let entries = machine.run("firewall-cmd --ipset=wardend4 --get-entries");
    assert_eq!(entries.trim(), "203.0.113.7");
    assert_eq!(machine.run("firewall-cmd --permanent --policy=wardend --list-rich-rules").lines().count(), 2);
    machine.wait_until("all is well", || machine.run("wardenctl status").contains("Firewall: up"));

    machine.write(CONFIGURATION, "[jail.sshd]\nports = [\"no-such-service\"]\n");
    machine.run("systemctl reload wardend");
    machine.wait_for_message("firewalld knows no service named no-such-service");
}
