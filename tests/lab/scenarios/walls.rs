//! How bans are laid out in firewalld: which ports they close, and what keeps them there.

use crate::harness::attack::Connection;
use crate::harness::machine::{Machine, Release};

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
    machine.wait_for_message("removed ipsets that no jail uses any longer");
    let rules = machine.run("firewall-cmd --policy=wardend --list-rich-rules");
    assert!(rules.contains("service name=\"ssh\" reject") && !rules.contains("drop"), "{rules}");

    machine.write(CONFIGURATION, "[jail.sshd]\nports = \"all\"\n");
    machine.run("systemctl reload wardend");
    machine.wait_until("it is dropped", || banned.can_connect() == Connection::TimedOut);
    machine.wait_until("the sets of before are gone", || {
        let sets = machine.run("firewall-cmd --permanent --get-ipsets");
        sets.split_whitespace().count() == 16 && !sets.contains("ssh")
    });
    let entries = machine.run("firewall-cmd --ipset=wardend4 --get-entries");
    assert_eq!(entries.trim(), "203.0.113.7");
    assert_eq!(machine.run("firewall-cmd --permanent --policy=wardend --list-rich-rules").lines().count(), 16);
    machine.wait_until("all is well", || machine.run("wardenctl status").contains("Firewall: up"));

    machine.write(CONFIGURATION, "[jail.sshd]\nports = [\"no-such-service\"]\n");
    machine.run("systemctl reload wardend");
    machine.wait_for_message("firewalld does not know a service named no-such-service");
}

pub(crate) fn what_somebody_else_does_to_the_sets_and_the_policy_is_undone_and_told(release: Release) {
    let machine = Machine::boot(release);
    let banned = machine.attacker("203.0.113.7");
    machine.run("wardenctl ban 203.0.113.7 203.0.113.8 --for 1h");
    machine.wait_for_message("firewalld blocks 203.0.113.8");

    // By hand, and found at a reload of the configuration, which compares.
    machine.run("firewall-cmd --ipset=wardend4 --remove-entry=203.0.113.7 --quiet");
    machine.run("firewall-cmd --ipset=wardend4 --add-entry=192.0.2.77 --quiet");
    assert_eq!(banned.can_connect(), Connection::Open, "the entry is gone");
    machine.run("systemctl kill --signal=KILL wardend");
    machine.wait_for_message("had entries that are not bans of wardend; removing them: 192.0.2.77");
    machine.wait_until("the ban is back", || banned.can_connect() == Connection::TimedOut);

    // An ipset and the policy, for good.
    machine
        .run("firewall-cmd --permanent --delete-policy=wardend && firewall-cmd --permanent --delete-ipset=wardend4-3");
    machine.run("firewall-cmd --reload");
    machine.wait_until("all is made again", || {
        machine.run("firewall-cmd --get-ipsets").contains("wardend4-3")
            && machine.run("firewall-cmd --get-policies").contains("wardend")
    });
    machine.wait_until("the ban is back", || banned.can_connect() == Connection::TimedOut);

    // What --runtime-to-permanent writes is not a permanent ban.
    machine.run("firewall-cmd --runtime-to-permanent && systemctl restart wardend");
    machine.wait_for_message("removed 2 entries from the permanent configuration of ipset");
    machine.wait_until("the permanent set is empty", || {
        machine.run("firewall-cmd --permanent --ipset=wardend4 --get-entries").trim().is_empty()
    });
    assert_eq!(banned.can_connect(), Connection::TimedOut, "it is in force all the same");

    // A rule taken out of the running policy.
    let rule = "rule family=\"ipv4\" source ipset=\"wardend4\" drop";
    machine.run(&format!("firewall-cmd --policy=wardend --remove-rich-rule='{rule}' && systemctl restart wardend"));
    machine.wait_for_message("the rules of firewalld's policy wardend did not match the jails");
    machine.wait_until("the ban is back", || banned.can_connect() == Connection::TimedOut);
}

pub(crate) fn an_entry_that_only_firewalld_believes_in_is_added_again(release: Release) {
    let machine = Machine::prepare(release)
        .file(CONFIGURATION, "[default]\nmaxretry = 3\nspare-logins = false\n")
        .hasty_passwords()
        .boot();
    let banned = machine.attacker("203.0.113.7");
    machine.run("wardenctl ban 203.0.113.7 203.0.113.8 --for 1h");
    machine.wait_for_message("firewalld blocks 203.0.113.8");
    // The grace of a new ban is over then, and a failure is a leak.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let flushed = machine.try_run("nft flush set inet firewalld wardend4");
    if flushed.code != 0 {
        println!("{}: firewalld owns its table, so the kernel can't be made to differ from its list", release.name());
        return;
    }
    assert_eq!(machine.run("firewall-cmd --ipset=wardend4 --get-entries").lines().count(), 2, "it still lists them");
    banned.wrong_passwords("root", 1);
    machine.wait_for_message("203.0.113.7 is banned, but 203.0.113.7 still reached the service");
    assert_eq!(
        machine
            .run("journalctl -q -o cat WARDEND_JAIL=sshd MESSAGE_ID=4b43e43002ef4b8a815bda340bf56295")
            .lines()
            .count(),
        1
    );
    machine.wait_until("it is locked out again", || banned.can_connect() == Connection::TimedOut);
}
