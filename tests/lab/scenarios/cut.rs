//! What a banned host still has open is closed, what others have open is not, and nothing but
//! this may the daemon have done by those who have the capability.

use crate::harness::attack::{Connection, Guesses};
use crate::harness::machine::{Machine, Release};

pub(crate) fn machine(release: Release) -> Machine {
    let mut plan = Machine::prepare(release).hasty_passwords();
    if release.penalises_sources() {
        // sshd itself would turn the guesser away.
        plan = plan.file("/etc/ssh/sshd_config.d/test.conf", "PerSourcePenalties no\n");
    }
    plan.boot()
}

pub(crate) fn a_ban_cuts_what_its_source_has_open_and_nobody_elses(release: Release) {
    let machine = machine(release);
    for (attacker, neighbour, source) in
        [("203.0.113.7", "203.0.113.8", "203.0.113.7"), ("2001:db8:a:7::1", "2001:db8:a:8::1", "2001:db8:a:7::/64")]
    {
        let (attacker, neighbour) = (machine.attacker(attacker), machine.attacker(neighbour));
        let mut login = neighbour.log_in("alice");
        let (silent, innocent) = (attacker.hold(), neighbour.hold());
        attacker.guess(Guesses { prompts: 6, ..Guesses::default() });
        machine.wait_for_message(&format!("Closed the open connections of {source}"));
        assert!(silent.was_cut(), "the connection of {} that had not said a word", attacker.address());
        assert!(login.is_alive() && innocent.is_open(), "{} has done nothing", neighbour.address());
        assert_eq!(attacker.can_connect(), Connection::TimedOut);
    }

    // A network, by hand: nobody there has a session that the daemon knows.
    let visitor = machine.attacker("198.51.100.9");
    let mut login = visitor.log_in("bob");
    machine.run("wardenctl ban 198.51.100.0/24 --for 1h");
    machine.wait_until("the login is cut", || !login.is_alive());

    // A second ban by hand, of what is banned already, cuts what slipped in between.
    machine.run("wardenctl unban 198.51.100.0/24");
    let held = visitor.hold();
    machine.run("wardenctl ban 198.51.100.0/24 --for 1h");
    assert!(held.was_cut());

    // The unit leaves nothing behind, and needs nothing but its one capability.
    machine.wait_until("no unit is left", || {
        machine.run("systemctl list-units --all --plain --no-legend 'wardend-cut@*'").is_empty()
    });
    assert_eq!(machine.run("systemctl --failed --plain --no-legend"), "");
    let unit = machine.run("systemctl show -p CapabilityBoundingSet,AmbientCapabilities,DynamicUser wardend-cut@x");
    assert_eq!(unit, "CapabilityBoundingSet=cap_net_admin\nAmbientCapabilities=cap_net_admin\nDynamicUser=yes\n");
    assert_eq!(machine.messages("can't be closed").len(), 0);
}

pub(crate) fn with_cut_off_or_no_leave_to_cut_the_ban_holds_all_the_same(release: Release) {
    let machine = machine(release);
    machine.write("/etc/wardend/wardend.conf.d/test.conf", "[default]\ncut = false\n");
    machine.run("systemctl reload wardend");
    let attacker = machine.attacker("203.0.113.7");
    let held = attacker.hold();
    attacker.guess(Guesses { prompts: 5, ..Guesses::default() });
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    assert_eq!(attacker.can_connect(), Connection::TimedOut);
    assert!(held.is_open(), "cut = false");

    machine.write("/etc/wardend/wardend.conf.d/test.conf", "[default]\ncut = true\n");
    machine.run("systemctl reload wardend");
    machine.run("sed -i s/wardend-cut@/wardend-nothing@/ /usr/share/polkit-1/rules.d/50-wardend.rules");
    machine.run("systemctl restart polkit");
    for number in 10..13 {
        let attacker = machine.attacker(&format!("203.0.113.{number}"));
        attacker.guess(Guesses { prompts: 5, ..Guesses::default() });
        machine.wait_for_message(&format!("firewalld blocks {}", attacker.address()));
        assert_eq!(attacker.can_connect(), Connection::TimedOut);
    }
    machine.wait_for_message("polkit does not let wardend start");
    assert_eq!(machine.messages("Could not close the open connections of").len(), 1, "logged once");
}

pub(crate) fn the_daemon_has_no_capability_and_may_start_no_other_unit(release: Release) {
    let machine = Machine::boot(release);
    assert_eq!(
        machine.run("systemctl show -p CapabilityBoundingSet,AmbientCapabilities wardend"),
        "CapabilityBoundingSet=\nAmbientCapabilities=\n"
    );
    let capabilities = machine.run("grep -h ^Cap /proc/$(systemctl show -p MainPID --value wardend)/status");
    assert_eq!(capabilities.lines().count(), 5);
    assert!(capabilities.lines().all(|line| line.ends_with("\t0000000000000000")), "{capabilities}");

    let call = |method: &str, unit: &str| {
        machine.try_run(&format!(
            "runuser -u wardend -- busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
             org.freedesktop.systemd1.Manager {method} ss '{unit}' replace"
        ))
    };
    let allowed = call("StartUnit", "wardend-cut@192.0.2.99.service");
    assert_eq!(allowed.code, 0, "{}", allowed.stderr);
    for (method, unit) in [
        ("StartUnit", "systemd-tmpfiles-clean.service"),
        ("StartUnit", "wardend-cut@203.0.113.7\\x20or\\x20sport.service"),
        ("StartUnit", "wardend-metrics.socket"),
        ("StopUnit", "ssh.service"),
        ("StopUnit", "wardend-cut@192.0.2.99.service"),
        ("RestartUnit", "wardend-cut@192.0.2.99.service"),
    ] {
        let refused = call(method, unit);
        assert_ne!(refused.code, 0, "{method} {unit}");
        // systemd's words for it are not the same in all versions.
        assert!(refused.stderr.contains("authentication"), "{method} {unit}: {}", refused.stderr);
    }
    // Whoever may start it can't have it do anything else.
    for instance in ["x", "203.0.113.7\\x20or\\x20sport\\x20\\x3d\\x20:22", "\\x2d\\x2dhelp", "0.0.0.0-0"] {
        let login = machine.try_run(&format!("systemctl start 'wardend-cut@{instance}.service'"));
        assert_ne!(login.code, 0, "{instance}");
    }
    let exposure = machine.run("systemd-analyze security --no-pager wardend-cut@192.0.2.99.service | tail -1");
    println!("{}: {}", release.name(), exposure.trim());
}

pub(crate) fn what_a_ban_does_not_close_is_not_cut_either(release: Release) {
    const CONFIGURATION: &str =
        "[jail.sshd]\nports = [\"ssh\"]\n[jail.high]\nfilter = \"sshd\"\nports = [\"2220-2225/tcp\"]\n";
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", CONFIGURATION)
        .file("/etc/ssh/sshd_config.d/test.conf", "Port 22\nPort 2222\n")
        .command("firewall-offline-cmd --quiet --zone=public --add-port=2222/tcp")
        .boot();
    for (address, jail, closed, left) in
        [("203.0.113.7", "sshd", 22, 2222), ("203.0.113.8", "high", 2222, 22), ("2001:db8:a:7::1", "sshd", 22, 2222)]
    {
        let host = machine.attacker(address);
        let (closed, left) = (host.hold_at(closed), host.hold_at(left));
        machine.run(&format!("wardenctl ban {address} --jail {jail} --for 1h"));
        assert!(closed.was_cut(), "{address}, jail {jail}");
        assert!(left.is_open(), "{address}, jail {jail}");
    }
    assert_eq!(machine.messages("can't be closed").len(), 0);
}
