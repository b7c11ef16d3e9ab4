//! The ground that every other scenario stands on.
//!
//! Nothing here knows wardend. If one of these fails, the lab is broken and no other result
//! means anything: a probe that always says "timed out" would prove every ban.

use std::time::Instant;

use crate::harness::attack::{Connection, Guesses};
use crate::harness::machine::{Machine, Release};

fn bare(release: Release) -> Machine {
    Machine::prepare(release).without_wardend().boot()
}

pub(crate) fn the_machine_boots_and_systemd_is_running(release: Release) {
    let machine = bare(release);
    assert_eq!(machine.run("systemctl is-system-running").trim(), "running");
    assert_eq!(machine.run("firewall-cmd --state").trim(), "running");
    assert_eq!(machine.try_run("exit 3").code, 3);
    machine.write("/run/deep/in/a/file", "two\nlines");
    assert_eq!(machine.run("cat /run/deep/in/a/file"), "two\nlines");
}

pub(crate) fn sshd_answers_over_the_wire_in_both_families(release: Release) {
    let machine = bare(release);
    for address in ["203.0.113.7", "2001:db8:a:7::1"] {
        let visitor = machine.attacker(address);
        assert_eq!(visitor.can_connect(), Connection::Open, "from {address}");
        assert!(visitor.can_login("alice"), "from {address}");
        machine.wait_for_message(&format!("Accepted password for alice from {address} port"));
    }
    let nobody_listens = machine.attacker("203.0.113.8");
    machine.run("systemctl stop ssh.service");
    assert_eq!(nobody_listens.can_connect(), Connection::Refused);
}

pub(crate) fn a_wrong_password_shows_in_the_journal(release: Release) {
    let machine = bare(release);
    let attacker = machine.attacker("203.0.113.7");
    assert_eq!(attacker.wrong_passwords("root", 1), 1);
    machine.wait_for_message("Failed password for root from 203.0.113.7 port");
    let attacker = machine.attacker("2001:db8:a:7::1");
    assert_eq!(attacker.wrong_passwords("nobody-here", 3), 3);
    let refused = "Failed password for invalid user nobody-here from 2001:db8:a:7::1 port";
    machine.wait_until("three failures are logged", || machine.messages(refused).len() == 3);
}

pub(crate) fn a_dropped_address_times_out_and_its_neighbour_does_not(release: Release) {
    let machine = bare(release);
    for (family, dropped, neighbour) in
        [("ipv4", "203.0.113.7", "203.0.113.8"), ("ipv6", "2001:db8:a:7::1", "2001:db8:a:8::1")]
    {
        let (dropped, neighbour) = (machine.attacker(dropped), machine.attacker(neighbour));
        assert_eq!(dropped.can_connect(), Connection::Open, "{family}, before");
        let rule = |verdict: &str, address: &str| {
            let rule = format!("rule family={family} source address={address} {verdict}");
            machine.run(&format!("firewall-cmd --add-rich-rule '{rule}'"));
        };
        rule("drop", &dropped.address().to_string());
        assert_eq!(dropped.can_connect(), Connection::TimedOut, "{family}");
        assert_eq!(neighbour.can_connect(), Connection::Open, "{family}");
        rule("reject", &neighbour.address().to_string());
        assert_eq!(neighbour.can_connect(), Connection::Refused, "{family}");
        machine.run("firewall-cmd --reload");
        assert_eq!(dropped.can_connect(), Connection::Open, "{family}, after");
    }
}

pub(crate) fn a_reboot_keeps_files_and_journal(release: Release) {
    let boots = |machine: &Machine| machine.run("journalctl --field=_BOOT_ID").lines().count();
    let mut machine = bare(release);
    machine.write("/etc/kept", "still here");
    assert_eq!(boots(&machine), 1);

    machine.reboot();
    assert_eq!(machine.run("systemctl is-system-running").trim(), "running");
    assert_eq!(machine.run("cat /etc/kept"), "still here");
    assert_eq!(boots(&machine), 2);
    assert_eq!(machine.attacker("203.0.113.7").can_connect(), Connection::Open);

    machine.power_cut();
    machine.power_on();
    machine.power_off();
    machine.power_on();
    assert_eq!(boots(&machine), 4);
    assert_eq!(machine.attacker("203.0.113.7").can_connect(), Connection::Open);
}

pub(crate) fn no_route_leads_out_of_the_lab(release: Release) {
    let machine = bare(release);
    let attacker = machine.attacker("203.0.113.7");
    // Both sides know only each other: no route leads to the host or its network.
    let away = attacker.command(&["ip", "route", "get", "198.51.100.1"]).output();
    assert!(!away.expect("ip starts").status.success());
    assert_eq!(machine.run("ip -oneline link").lines().count(), 2);
}

pub(crate) fn a_live_login_outlives_a_drop_rule_and_can_be_cut(release: Release) {
    let machine = bare(release);
    let guest = machine.attacker("203.0.113.7");
    let mut login = guest.log_in("alice");
    machine.run("firewall-cmd --add-rich-rule 'rule family=ipv4 source address=203.0.113.7 drop'");
    assert_eq!(guest.can_connect(), Connection::TimedOut);
    assert!(login.is_alive());
    machine.run("ss --kill state established dst 203.0.113.7");
    assert!(!login.is_alive());
}

pub(crate) fn a_service_can_be_locked_up_as_tightly_as_on_a_real_machine(release: Release) {
    let machine = bare(release);
    // A container that may not do one of these would hide it: systemd goes on without most.
    let settings = [
        "User=nobody",
        "PrivateNetwork=yes",
        "PrivateUsers=yes",
        "PrivateDevices=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "RestrictNamespaces=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "CapabilityBoundingSet=",
        "StateDirectory=locked-up",
    ]
    .map(|setting| format!("--property={setting}"))
    .join(" ");
    let locked_up = |command: &str| machine.try_run(&format!("systemd-run --wait --pipe -q {settings} {command}"));
    assert_eq!(locked_up("ip -oneline link").stdout.lines().count(), 1, "only lo");
    assert_eq!(locked_up("touch /var/lib/locked-up/mine").code, 0);
    assert_ne!(locked_up("touch /var/lib/other").code, 0);
    assert_eq!(locked_up("ls /proc/sys").code, 2, "only processes are in /proc");
    assert_eq!(locked_up("busctl status org.freedesktop.login1").code, 0, "the bus is in reach");
}

pub(crate) fn a_message_that_comes_later_is_waited_for(release: Release) {
    let machine = bare(release);
    machine.run("systemd-run --on-active=1s logger what we wait for");
    assert!(machine.wait_for_message("what we wait").contains("what we wait for"));
    assert_eq!(machine.try_run("pgrep journalctl").code, 1, "nobody is left behind");
}

pub(crate) fn hasty_passwords_are_judged_soon(release: Release) {
    let machine = Machine::prepare(release).without_wardend().hasty_passwords().boot();
    let guess = || {
        let begin = Instant::now();
        let guesses = Guesses { user: "bob", connections: 2, prompts: 3, at_once: true };
        assert_eq!(machine.attacker("203.0.113.7").guess(guesses), 6);
        begin.elapsed()
    };
    let hasty = guess();
    let failed = "Failed password for bob from 203.0.113.7 port";
    machine.wait_until("six failures are logged", || machine.messages(failed).len() == 6);
    // Beside PAM's own delay of two seconds, whatever else the machine is doing.
    machine.run("sed -i -e '/pam_faildelay.so/d' -e 's/ nodelay//' /etc/pam.d/common-auth");
    let patient = guess();
    assert!(hasty < patient, "{hasty:?} in place of {patient:?}");
}
