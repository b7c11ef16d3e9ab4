//! The main job, over the wire: who guesses passwords is locked out, and only they.

use crate::harness::attack::Connection;
use crate::harness::machine::{Machine, Release};

/// Short enough to wait for, long enough to look at.
const SHORT_BANS: &str = "[default]\nbantime = \"8s\"\nfindtime = \"10min\"\n";

fn machine(release: Release) -> Machine {
    Machine::prepare(release).file("/etc/wardend/wardend.conf.d/test.conf", SHORT_BANS).hasty_passwords().boot()
}

pub(crate) fn five_wrong_passwords_lock_an_address_out_until_its_bantime_is_over(release: Release) {
    let machine = machine(release);
    let (attacker, neighbour) = (machine.attacker("203.0.113.7"), machine.attacker("203.0.113.8"));
    assert_eq!(attacker.can_connect(), Connection::Open, "before the attack");

    attacker.wrong_passwords("root", 5);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    assert_eq!(attacker.can_connect(), Connection::TimedOut, "while the ban is in force");
    assert_eq!(neighbour.can_connect(), Connection::Open, "a second address");
    assert!(neighbour.can_login("alice"), "the second address still gets in");

    machine.wait_for_message("Unbanned 203.0.113.7 in jail sshd: expired");
    machine.wait_until("the attacker gets in again", || attacker.can_connect() == Connection::Open);
}

pub(crate) fn over_ipv6_the_whole_network_of_the_attacker_is_locked_out(release: Release) {
    let machine = machine(release);
    let attacker = machine.attacker("2001:db8:a:7::1");
    let same_network = machine.attacker("2001:db8:a:7::2");
    let neighbour = machine.attacker("2001:db8:a:8::1");

    attacker.wrong_passwords("root", 5);
    machine.wait_for_message("Banned 2001:db8:a:7::/64 in jail sshd");
    machine.wait_for_message("firewalld blocks 2001:db8:a:7::/64");
    assert_eq!(attacker.can_connect(), Connection::TimedOut, "while the ban is in force");
    assert_eq!(same_network.can_connect(), Connection::TimedOut, "another address of the same /64");
    assert_eq!(neighbour.can_connect(), Connection::Open, "another /64");

    machine.wait_for_message("Unbanned 2001:db8:a:7::/64 in jail sshd: expired");
    machine.wait_until("the attacker gets in again", || attacker.can_connect() == Connection::Open);
}

pub(crate) fn a_killed_daemon_counts_each_failure_once(release: Release) {
    let mut plan = Machine::prepare(release).hasty_passwords();
    plan =
        plan.file("/etc/systemd/system/wardend.service.d/test.conf", "[Service]\nRestartSec=0\nStartLimitBurst=100\n");
    if release.penalises_sources() {
        // sshd itself would turn the fifth connection away.
        plan = plan.file("/etc/ssh/sshd_config.d/test.conf", "PerSourcePenalties no\n");
    }
    let machine = plan.boot();
    let attacker = machine.attacker("203.0.113.7");
    for _ in 0..4 {
        attacker.wrong_passwords("root", 1);
        machine.run("systemctl kill --signal=KILL wardend");
    }
    machine.wait_until("wardend is up again", || machine.try_run("wardenctl status").code == 0);
    assert!(machine.run("wardenctl status").contains("Failures: 4"), "{}", machine.run("wardenctl status"));
    assert_eq!(machine.messages("Banned 203.0.113.7").len(), 0, "four failures are not enough");
    attacker.wrong_passwords("root", 1);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    machine.run("systemctl kill --signal=KILL wardend");
    machine.wait_until("the ban is known again", || {
        let list = machine.try_run("wardenctl list");
        list.code == 0 && list.stdout.contains("203.0.113.7 ")
    });
    assert_eq!(attacker.can_connect(), Connection::TimedOut, "the ban is in force");
}

pub(crate) fn no_failure_is_lost_while_the_journal_rotates(release: Release) {
    // PAM's own delay stays: journald forgets all processes when it restarts, so it must have seen an
    // earlier record of the process that reports the guess.
    let mut plan = Machine::prepare(release);
    if release.penalises_sources() {
        // sshd itself would turn the fifth connection away.
        plan = plan.file("/etc/ssh/sshd_config.d/test.conf", "PerSourcePenalties no\n");
    }
    let machine = plan.boot();
    let attacker = machine.attacker("203.0.113.7");
    for event in ["journalctl --rotate", "systemctl restart systemd-journald", "journalctl --rotate --vacuum-files=1"] {
        attacker.wrong_passwords("root", 1);
        machine.run(event);
    }
    attacker.wrong_passwords("root", 1);
    assert!(machine.run("wardenctl list").starts_with("SOURCE"), "wardend is alive");
    assert_eq!(machine.messages("Banned 203.0.113.7").len(), 0, "four failures are not enough");
    attacker.wrong_passwords("root", 1);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
}
