//! What firewalld lets in before it asks wardend's policy, and what is left of its rules when
//! somebody has flushed them.

use crate::harness::attack::Connection;
use crate::harness::machine::{Machine, Release};

fn status(machine: &Machine) -> String {
    machine.try_run("wardenctl status; wardenctl firewall status").stdout
}

pub(crate) fn what_firewalld_accepts_before_a_ban_is_named_with_its_mend(release: Release) {
    let machine = Machine::boot(release);
    let banned = machine.attacker("203.0.113.7");
    machine.run("wardenctl ban 203.0.113.7 --for 1h");
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    let early = "firewall-cmd --quiet --permanent --policy=early";
    machine.run(&format!(
        "firewall-cmd --quiet --permanent --new-policy=early && {early} --add-ingress-zone=ANY && \
         {early} --add-egress-zone=HOST && {early} --add-service=ssh && {early} --set-priority=-14000 && \
         firewall-cmd --quiet --reload"
    ));
    machine.wait_until("the ban is back", || banned.can_connect() == Connection::TimedOut);
    machine.wait_until("all is well", || status(&machine).contains("wardend, as it should be"));
    assert!(status(&machine).contains(": running\n"), "{}", status(&machine));

    machine.run(&format!("{early} --set-priority=-15000 && firewall-cmd --quiet --reload"));
    machine.wait_for_message("The firewalld policy early (priority -15000) accepts traffic before wardend's policy");
    assert_eq!(banned.can_connect(), Connection::Open, "it is not in force, and that is what is said");
    let said = status(&machine);
    assert!(said.contains(": degraded\n") && said.contains("--policy=early --set-priority=-1000"), "{said}");
    assert!(said.contains("Policy: wardend, but "), "{said}");
    assert!(machine.run("systemctl status wardend").contains("policy early"), "STATUS names it");
    machine
        .run("firewall-cmd --quiet --permanent --policy=early --set-priority=-1000 && firewall-cmd --quiet --reload");
    machine.wait_for_message("The problem 'bypass' is solved.");
    machine.wait_until("the ban is back", || banned.can_connect() == Connection::TimedOut);

    // A port that leads to sshd's.
    machine.run("firewall-cmd --quiet --add-forward-port=port=2222:proto=tcp:toport=22");
    assert_eq!(banned.can_connect_to(2222), Connection::Open, "firewalld accepts what it forwards");
    let said = machine.run("wardenctl firewall status");
    assert!(said.contains("forwards port 2222/tcp to port 22 of this machine (zone public)"), "{said}");

    // What an earlier version of wardend has left.
    machine.run("systemctl stop wardend && firewall-cmd --quiet --permanent --policy=wardend --set-priority=-1000");
    machine.run("firewall-cmd --quiet --reload && systemctl start wardend");
    machine.wait_until("the policy has its place", || {
        machine.try_run("firewall-cmd --info-policy=wardend").stdout.contains("priority: -14999\n")
    });
    machine.wait_until("the ban is back", || banned.can_connect() == Connection::TimedOut);

    machine.run("nft flush ruleset");
    if machine.run("nft list tables").contains("firewalld") {
        println!("{}: firewalld owns its table, so nobody can flush it", release.name());
        return;
    }
    // Whether firewalld has refused the ban by the time wardenctl asks is a matter of milliseconds.
    let ordered = machine.try_run("wardenctl ban 203.0.113.9 --for 1h");
    assert!([0, 6].contains(&ordered.code), "{}{}", ordered.stdout, ordered.stderr);
    let said = machine.wait_for_message("firewalld's rules are no longer in the kernel");
    assert!(said.contains("systemctl restart firewalld"), "{said}");
    machine.run("systemctl restart firewalld");
    machine.wait_until("the ban is back", || banned.can_connect() == Connection::TimedOut);
}
