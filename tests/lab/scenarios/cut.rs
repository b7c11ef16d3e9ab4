//! What a banned host still has open is closed, what others have open is not, and nothing but
//! this may the daemon have done by those who have the capability.

use crate::harness::attack::{Connection, Guesses};
use crate::harness::machine::{Machine, Release};

/// Asks the unit, as the daemon does.
const ASK: &str = r#"
import socket
unit = socket.socket(socket.AF_UNIX)
unit.connect("/run/wardend-cut.sock")
unit.sendall(b'{"sources":["SOURCE"]}\n')
print(unit.recv(4096).decode(), end="")
"#;

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

    // All of them came soon one after another, so one unit has closed all. It leaves nothing behind, and needs
    // nothing but its one capability.
    let units = || machine.run("systemctl list-units --all --plain --no-legend 'wardend-cut@*'");
    assert_eq!(units().lines().count(), 1, "{}", units());
    let started = machine.run("systemctl show -p NAccepted --value wardend-cut.socket");
    assert_eq!(started, "1\n");
    machine.run("systemctl stop wardend");
    machine.wait_until("no unit is left", || units().is_empty());
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
    machine.run("systemctl mask --quiet --now --runtime wardend-cut.socket");
    for number in 10..13 {
        let attacker = machine.attacker(&format!("203.0.113.{number}"));
        attacker.guess(Guesses { prompts: 5, ..Guesses::default() });
        machine.wait_for_message(&format!("firewalld blocks {}", attacker.address()));
        assert_eq!(attacker.can_connect(), Connection::TimedOut);
    }
    let said = machine.wait_for_message("Could not close the open connections of");
    assert!(said.contains("systemctl restart wardend-cut.socket"), "{said}");
    assert_eq!(machine.messages("Could not close the open connections of").len(), 1, "logged once");

    // With leave again, and with a unit that has died since its last ban.
    machine.run("systemctl unmask --runtime wardend-cut.socket && systemctl start wardend-cut.socket");
    for number in 20..22 {
        let attacker = machine.attacker(&format!("203.0.113.{number}"));
        let held = attacker.hold();
        machine.run(&format!("wardenctl ban {} --for 1h", attacker.address()));
        assert!(held.was_cut(), "{number}");
        machine.run("systemctl kill --signal=KILL 'wardend-cut@*'");
        machine.wait_until("the unit is gone", || {
            machine.run("systemctl list-units --plain --no-legend 'wardend-cut@*'").is_empty()
        });
    }
}

pub(crate) fn the_daemon_has_no_capability_and_may_start_no_unit(release: Release) {
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
    for (method, unit) in [
        ("StartUnit", "systemd-tmpfiles-clean.service"),
        ("StartUnit", "wardend-cut@203.0.113.7.service"),
        ("StartUnit", "wardend-metrics.socket"),
        ("StopUnit", "ssh.service"),
        ("StopUnit", "wardend-cut.socket"),
        ("RestartUnit", "wardend-cut.socket"),
    ] {
        let refused = call(method, unit);
        assert_ne!(refused.code, 0, "{method} {unit}");
        // systemd's words for it are not the same in all versions.
        assert!(refused.stderr.contains("authentication"), "{method} {unit}: {}", refused.stderr);
    }
    // It is the only one that may have connections closed, and can't have all of them closed.
    let ask = |user: &str, source: &str| {
        machine.write("/opt/ask.py", &ASK.replace("SOURCE", source));
        machine.try_run(&format!("runuser -u {user} -- python3 /opt/ask.py"))
    };
    let stranger = ask("nobody", "192.0.2.99");
    assert!(stranger.stderr.contains("PermissionError"), "{}", stranger.stderr);
    assert_eq!(ask("wardend", "192.0.2.99").stdout, "{\"closed\":0}\n");
    for source in ["0.0.0.0/0", "::/0", "192.0.2.10", "192.0.2.0/24", "127.0.0.1", "203.0.113.7 or sport = :22"] {
        let refused = ask("wardend", source).stdout;
        assert!(refused.starts_with("{\"error\":"), "{source}: {refused}");
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
