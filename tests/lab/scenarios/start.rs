//! How the daemon starts, or refuses to, on a real machine.

use crate::harness::attack::Connection;
use crate::harness::host;
use crate::harness::machine::{Machine, Release};

/// A machine on which wardend is installed and not started yet.
fn machine(release: Release) -> Machine {
    Machine::prepare(release).command("systemctl disable --quiet wardend").hasty_passwords().boot()
}

/// Starts wardend, which is to fail, and returns what it said and its exit code.
fn refused(machine: &Machine, says: &str) -> String {
    machine.try_run("systemctl start wardend");
    machine.wait_until("wardend has given up", || {
        machine.run("systemctl show -p NRestarts,Result --value wardend").contains("exit-code")
    });
    let message = machine.messages(says).pop().unwrap_or_else(|| machine.give_up(&format!("nobody said '{says}'")));
    let code = machine.run("systemctl show -p ExecMainStatus --value wardend");
    format!("{} {message}", code.trim())
}

pub(crate) fn enabling_and_starting_it_is_all_a_fresh_machine_needs(release: Release) {
    let machine = machine(release);
    machine.run("systemctl enable --quiet --now wardend");
    let status = machine.run("systemctl status wardend");
    assert!(status.contains("active (running)"), "{status}");
    assert!(status.contains("Status: \"Watching 1 jail, 0 bans in force.\""), "{status}");
    assert_eq!(machine.run("systemctl show -p User --value wardend").trim(), "wardend");
    let capabilities = machine.run("grep -h ^Cap /proc/$(systemctl show -p MainPID --value wardend)/status");
    assert!(capabilities.lines().all(|line| line.ends_with("\t0000000000000000")), "{capabilities}");
    assert!(machine.run("firewall-cmd --get-ipsets").contains("wardend4 wardend4-1 "));
    assert!(machine.run("firewall-cmd --info-policy=wardend").contains("source ipset=\"wardend4\" drop"));
    assert_eq!(machine.run("wardenctl list --json").trim(), "[]");
    assert_eq!(machine.messages("Failed to parse").len(), 0, "systemd understands the whole unit");
}

pub(crate) fn without_access_to_the_journal_it_refuses_to_start(release: Release) {
    let machine = machine(release);
    machine.write("/etc/systemd/system/wardend.service.d/test.conf", "[Service]\nSupplementaryGroups=\n");
    machine.run("systemctl daemon-reload");
    let said = refused(&machine, "No journal file can be read");
    assert!(said.starts_with("77 ") && said.contains("not in the group systemd-journal"), "{said}");

    // The user is right now, and the files are wrong.
    machine.run("rm /etc/systemd/system/wardend.service.d/test.conf && systemctl daemon-reload");
    machine.run("chgrp -R root /var/log/journal && chmod -R g-s /var/log/journal && systemctl reset-failed wardend");
    let said = refused(&machine, "this user is in the group systemd-journal, but /var/log/journal/");
    assert!(said.starts_with("77 ") && said.contains(" belongs to the group root (mode 0640)"), "{said}");
    let mend = said.split('`').nth(1).expect("the mend stands between backquotes");
    machine.run(&format!("{mend} && systemctl reset-failed wardend && systemctl start wardend"));
}

/// A filter that is within all bounds and takes long to prove: two families of rules, whose classes of
/// 128 ranges meet in one byte.
fn heavy_filter() -> String {
    let class =
        |first: usize| (first..256).step_by(2).map(|byte| format!("\\x{byte:02x}")).collect::<Vec<_>>().concat();
    let (even, odd) = (class(0), class(1));
    let rule = |name: String, pattern: String| {
        format!("[[rule]]\nname = '{name}'\ncounts = 'nothing'\npattern = '{pattern}'\n")
    };
    let rules = (0..3).map(|index| {
        rule(format!("r{index}"), format!("{index}..(?:[{even}]+){{100}}X"))
            + &rule(format!("s{index}"), format!("..{index}(?:[{odd}\\x00]+){{100}}Y"))
    });
    let head = "[records]\n_UID = ['0']\n[message]\nsession = ['_PID']\n[modes]\nnormal = ['auth']\n";
    head.to_owned() + &rules.collect::<String>()
}

pub(crate) fn a_stop_waits_for_no_configuration_that_is_still_being_read(release: Release) {
    let machine = Machine::boot(release);
    let quick = "[Service]\nTimeoutStopSec=8s\nRestart=no\n";
    machine.write("/etc/systemd/system/wardend.service.d/test.conf", quick);
    // Longer than the stop may take, and than anybody would wait.
    let filter = heavy_filter();
    let mut jails = String::new();
    for number in 0..100 {
        machine.write(&format!("/etc/wardend/filters/heavy{number}.toml"), &filter);
        jails += &format!("[jail.heavy{number}]\n");
    }
    machine.run("systemctl daemon-reload");
    machine.write("/etc/wardend/wardend.conf.d/heavy.conf", &jails);
    let show = |property: &str| machine.run(&format!("systemctl show -p {property} --value wardend"));
    let stop = || {
        machine.run("systemctl stop wardend");
        let ended = show("ActiveState") + &show("Result");
        if ended != "inactive\nsuccess\n" {
            machine.give_up(&ended);
        }
    };

    machine.run("systemctl reload --no-block wardend");
    machine.wait_until("the configuration is being read", || {
        show("StatusText").starts_with("Reloading the configuration")
    });
    stop();
    machine.run("systemctl start --no-block wardend");
    machine
        .wait_until("it is starting", || show("ActiveState").trim() == "activating" && show("MainPID").trim() != "0");
    stop();
}

pub(crate) fn a_broken_configuration_is_reported_with_its_file_and_line(release: Release) {
    let machine = machine(release);
    machine.write("/etc/wardend/wardend.conf.d/mine.conf", "[default]\nbantime = \"1h\"\nmaxretries = 3\n");
    let said = refused(&machine, "/etc/wardend/wardend.conf.d/mine.conf:3: ");
    assert!(said.starts_with("78 ") && said.contains("unknown field `maxretries`"), "{said}");
}

pub(crate) fn without_a_bus_it_refuses_to_start(release: Release) {
    let machine = machine(release);
    machine.run("systemctl mask --quiet --runtime dbus.socket dbus.service && systemctl stop dbus.socket dbus.service");
    machine.run("rm -f /run/dbus/system_bus_socket");
    let said = refused(&machine, "The system bus can't be used");
    assert!(said.starts_with("69 "), "{said}");
}

pub(crate) fn without_firewalld_it_decides_and_waits_and_catches_up(release: Release) {
    let machine = machine(release);
    machine.run("systemctl stop firewalld && systemctl start wardend");
    let status = machine.run("systemctl status wardend");
    assert!(status.contains("active (running)") && status.contains("firewalld is not running"), "{status}");

    let attacker = machine.attacker("203.0.113.7");
    attacker.wrong_passwords("root", 5);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    assert_eq!(attacker.can_connect(), Connection::Open, "nothing can lock it out yet");
    machine.wait_until("STATUS tells that the ban is not in force", || {
        machine.run("systemctl status wardend").contains("1 ban NOT in force")
    });
    assert!(machine.run("wardenctl status").contains("degraded"));
    assert!(machine.run("wardenctl list").contains("203.0.113.7"));

    machine.run("systemctl start firewalld");
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    assert_eq!(attacker.can_connect(), Connection::TimedOut, "the ban is caught up on");
    machine.wait_until("STATUS tells that all is well", || {
        machine.run("systemctl status wardend").contains("Watching 1 jail, 1 ban in force.")
    });
}

pub(crate) fn bans_outlive_a_reload_and_a_restart_of_firewalld(release: Release) {
    let machine = Machine::boot(release);
    let attacker = machine.attacker("203.0.113.7");
    machine.run("wardenctl ban 203.0.113.7 --for 1h");
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    for event in ["firewall-cmd --reload", "systemctl restart firewalld"] {
        machine.run(event);
        machine.wait_until(&format!("the ban is back after {event}"), || {
            machine.try_run("firewall-cmd --ipset=wardend4 --query-entry=203.0.113.7").code == 0
        });
        assert_eq!(attacker.can_connect(), Connection::TimedOut, "after {event}");
    }
}

pub(crate) fn bans_and_counters_outlive_a_restart_and_a_reboot(release: Release) {
    let mut machine = Machine::prepare(release).hasty_passwords().boot();
    machine.run("wardenctl ban 203.0.113.99 --for 1h");
    {
        let attacker = machine.attacker("203.0.113.7");
        attacker.wrong_passwords("root", 3);
        machine.run("systemctl stop wardend");
        machine.attacker("203.0.113.8").wrong_passwords("root", 5);
        machine.run("systemctl start wardend");
        attacker.wrong_passwords("root", 2);
        machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
        // What the backlog has brought is reported like anything else.
        machine.wait_for_message("Banned 203.0.113.8 in jail sshd");
        machine.wait_for_message("firewalld blocks 203.0.113.8,");
    }
    machine.reboot();
    machine.wait_until("wardend is up", || machine.try_run("wardenctl status").code == 0);
    let list = machine.run("wardenctl list");
    assert!(list.contains("203.0.113.7 ") && list.contains("203.0.113.99 "), "{list}");
    machine.wait_until("the bans are in force", || {
        // In the order in which they were entered, and each may have been the first.
        machine.run("firewall-cmd --ipset=wardend4 --get-entries | sort") == "203.0.113.7\n203.0.113.8\n203.0.113.99\n"
    });
}

pub(crate) fn a_journal_that_was_cleared_meanwhile_is_read_on_from_where_it_begins(release: Release) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    let attacker = machine.attacker("203.0.113.7");
    attacker.wrong_passwords("root", 2);
    machine.wait_until("both are counted", || machine.run("wardenctl status").contains("Failures: 2"));
    machine.run("systemctl stop wardend");
    machine.run("rm -r /var/log/journal/* && systemctl restart systemd-journald && systemctl start wardend");
    machine.wait_for_message("The journal no longer contains the record at which the saved state ends");
    attacker.wrong_passwords("root", 3);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
}

pub(crate) fn taken_out_of_firewalld_nothing_of_wardend_is_left_there(release: Release) {
    let machine = machine(release);
    // It answers when it has written its rules, which is later than systemd calls it started.
    machine.run("firewall-cmd --state");
    // What an admin has there, and what firewalld writes by itself when this is made permanent; a
    // copy of what was before comes with the second time.
    machine.run("firewall-cmd --add-rich-rule='rule family=ipv4 source address=198.51.100.99 drop'");
    machine.run("firewall-cmd --add-port=8080/tcp");
    machine.run("firewall-cmd --runtime-to-permanent && firewall-cmd --runtime-to-permanent && firewall-cmd --reload");
    // A set of lines: firewalld writes some of its rules in another order at each reload.
    let rules = || machine.run("nft list ruleset | sort");
    let files = || machine.run("cd /etc/firewalld && find . | sort && find . -type f | sort | xargs sha256sum");
    let before = (rules(), files());
    assert!(before.0.contains("filter_INPUT") && before.0.contains("8080"), "firewalld has written its rules");

    machine.run("systemctl start wardend && wardenctl ban 203.0.113.7 2001:db8:a:7::/64");
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    machine.wait_for_message("firewalld blocks 2001:db8:a:7::/64");
    machine.run("firewall-cmd --runtime-to-permanent");
    assert_ne!(files(), before.1, "wardend is in there");
    let said = machine.run("wardenctl firewall remove");
    assert!(said.contains("are gone from firewalld"), "{said}");
    let after = (rules(), files());
    assert_eq!(after.1, before.1, "/etc/firewalld is as before");
    assert_eq!(after.0, before.0, "the rules are as before");
    assert!(!machine.run("firewall-cmd --get-ipsets; firewall-cmd --get-policies").contains("wardend"));
    let doctor = machine.try_run("wardenctl doctor");
    let line = "problem  wardend     wardend's ipsets and policy were taken out of firewalld by order; bans are kept, and a \
                reload or restart of wardend puts them back.\n";
    assert!(doctor.code == 1 && doctor.stdout.contains(line), "{}", doctor.stdout);

    // The admin's word stands until wardend is restarted.
    machine.run("firewall-cmd --reload && sleep 2");
    assert_eq!(rules(), before.0, "nothing comes back by itself");
    machine.run("systemctl stop wardend && firewall-cmd --check-config");
}

pub(crate) fn only_root_may_ban_and_everybody_may_look(release: Release) {
    let machine = Machine::boot(release);
    let list = machine.try_run("runuser -u alice -- wardenctl list");
    assert_eq!(list.code, 0, "{}", list.stderr);
    for verb in ["ban 203.0.113.7", "unban 203.0.113.7", "unban --all"] {
        let refused = machine.try_run(&format!("runuser -u alice -- wardenctl {verb}"));
        assert_eq!(refused.code, 4, "{verb}");
        assert!(refused.stderr.contains("is needed for org.wardend1."), "{verb}: {}", refused.stderr);
    }
    let unknown = machine.try_run("wardenctl ban 203.0.113.7 --jail shd");
    assert!(unknown.stderr.contains("There is no jail 'shd'; did you mean 'sshd'?"), "{}", unknown.stderr);
}

pub(crate) fn a_socket_tells_the_numbers_to_whoever_connects(release: Release) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    machine.run("systemctl start wardend-metrics.socket");
    let ask = "runuser -u alice -- python3 -c 'import socket
s = socket.socket(socket.AF_UNIX); s.connect(\"/run/wardend-metrics.sock\")
print(s.makefile().read(), end=\"\")'";
    machine.wait_until("the numbers are published", || {
        machine.run(ask).contains("\nwardend_jail_bans{jail=\"sshd\"} 1\n")
    });
    machine.wait_until("the ban's latency is published", || {
        machine.run(ask).contains("\nwardend_ban_latency_seconds_count 1\n")
    });
    let text = machine.run(ask);
    for line in [
        "wardend_jail_failures_total{jail=\"sshd\"} 5",
        "wardend_jail_banned_total{jail=\"sshd\",by=\"jail\"} 1",
        "wardend_firewall_state{wardend_firewall_state=\"up\"} 1",
        "wardend_journal_lost_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let fetch = |path: &str| {
        let request = format!("s.sendall(b\"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n\")\nprint(");
        machine.run(&ask.replace("print(", &request))
    };
    let answer = fetch("/metrics");
    let (head, body) = answer.split_once("\n\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK") && body.ends_with("# EOF\n"), "{answer}");
    assert!(fetch("/other").starts_with("HTTP/1.1 404 "));
    let parser = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
for family in parse(sys.argv[1]): print(family.type, family.name, len(family.samples))";
    let families = host::run("/usr/bin/python3", &["-c", parser, &text]).expect("OpenMetrics, for its own parser");
    assert!(families.contains("histogram wardend_ban_latency_seconds 14"), "{families}");
    println!("{text}");

    // And a file for node_exporter, whose parser knows the older format only.
    machine.run("systemctl start wardend-metrics-file.timer");
    let file = "runuser -u alice -- cat /run/wardend-metrics/wardend.prom";
    let read = || machine.try_run(file).stdout;
    machine.wait_until("the file is written", || read().ends_with("\nwardend_up 1\n"));
    let parser = "import sys; from prometheus_client.parser import text_string_to_metric_families as parse
for family in parse(sys.argv[1]): print(family.type, family.name, len(family.samples))";
    let families = host::run("/usr/bin/python3", &["-c", parser, &read()]).expect("Prometheus, for its own parser");
    for family in [
        "gauge wardend_build_info 1",
        "counter wardend_leaks 1",
        "gauge wardend_firewall_state 3",
        "gauge wardend_up 1",
    ] {
        assert!(families.lines().any(|line| line == family), "{family} in\n{families}");
    }
    assert!(
        families.contains("histogram wardend_ban_latency_seconds 14") && !families.contains("unknown"),
        "{families}"
    );
    machine.run("systemctl stop wardend && systemctl start wardend-metrics-file.service");
    assert!(read().ends_with("\nwardend_up 0\n") && read().lines().count() == 3, "{}", read());
    machine.run("systemctl start wardend");
    assert_eq!(machine.run("systemctl --failed --plain --no-legend"), "");
}

pub(crate) fn its_log_level_can_be_changed_by_root_alone(release: Release) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    let level = |who: &str| machine.try_run(&format!("{who} systemctl service-log-level wardend"));
    assert_eq!(level("").stdout, "info\n");
    assert_eq!(level("runuser -u alice --").stdout, "info\n", "everybody may look");
    assert_eq!(machine.run("systemctl service-log-target wardend"), "journal\n");
    let refused = machine.try_run("runuser -u alice -- systemctl service-log-level wardend debug");
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert_eq!(level("").stdout, "info\n", "it has not changed");

    let attacker = machine.attacker("203.0.113.7");
    attacker.wrong_passwords("root", 1);
    machine.wait_until("it is counted", || machine.run("wardenctl status").contains("Failures: 1"));
    assert_eq!(machine.messages("of 203.0.113.7 counts in jail sshd").len(), 0);
    machine.run("systemctl service-log-level wardend debug");
    attacker.wrong_passwords("root", 1);
    machine.wait_for_message("failed-password of 203.0.113.7 counts in jail sshd");
    machine.run("systemctl service-log-level wardend warning");
    assert_eq!(level("").stdout, "warning\n");
    let unknown = machine.try_run(
        "busctl set-property org.wardend1 /org/freedesktop/LogControl1 org.freedesktop.LogControl1 LogLevel s loud",
    );
    assert!(unknown.stderr.contains("There is no log level 'loud'"), "{}", unknown.stderr);
}

pub(crate) fn the_installed_interfaces_are_the_live_ones(release: Release) {
    let machine = Machine::boot(release);
    for (path, name) in [("/org/wardend1", "Manager"), ("/org/wardend1/jail/sshd", "Jail")] {
        let live = machine.run(&format!("busctl introspect --xml-interface org.wardend1 {path}"));
        let installed = machine.run(&format!("cat /usr/share/dbus-1/interfaces/org.wardend1.{name}.xml"));
        let start = installed.find("  <interface").expect("the file has an interface");
        let end = installed.find("</node>").expect("the file has an end");
        assert!(live.contains(&installed[start..end]), "{name}: {live}");
    }
}

pub(crate) fn the_journal_explains_a_ban(release: Release) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    machine.run("journalctl --update-catalog");
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    let record = machine.run("journalctl WARDEND_ADDRESS=203.0.113.7 -o verbose -n 1");
    for field in
        ["MESSAGE_ID=", "WARDEND_JAIL=sshd", "WARDEND_FAILURES=5", "WARDEND_RULE=failed-password", "PRIORITY=5"]
    {
        assert!(record.contains(field), "{field}: {record}");
    }
    let evidence =
        record.lines().find_map(|line| line.trim().strip_prefix("WARDEND_EVIDENCE=")).expect("it has evidence");
    let cursors: Vec<&str> = evidence.split(' ').collect();
    assert_eq!(cursors.len(), 5);
    for cursor in cursors {
        let line = machine.run(&format!("journalctl --cursor='{cursor}' -n 1 -o cat"));
        assert!(line.starts_with("Failed password for root from 203.0.113.7 port "), "{line}");
    }
    let catalog = include_str!("../../../units/wardend.catalog");
    for id in catalog.lines().filter_map(|line| line.strip_prefix("-- ")) {
        let entry = machine.run(&format!("journalctl --dump-catalog {id}"));
        assert!(entry.contains("\nDefined-By: wardend\n"), "{id}: {entry}");
    }
    let explained = machine.run("journalctl -x WARDEND_ADDRESS=203.0.113.7 -n 1");
    assert!(explained.contains("203.0.113.7 was banned in jail sshd"), "{explained}");
}

pub(crate) fn its_sandbox_is_as_tight_as_promised_while_it_works(release: Release) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    machine.run("systemctl start wardend-metrics.socket");
    for unit in [
        "wardend.service",
        "wardend-metrics@x.service",
        "wardend-metrics-file.service",
        "wardend-cut@x.service",
        "wardend-addresses@x.service",
        "wardend-resolve@x.service",
    ] {
        let rated = machine.run(&format!("systemd-analyze security --no-pager {unit} | tail -n 1"));
        println!("{}: {}", release.name(), rated.trim());
        let score: f64 = rated.split_whitespace().find_map(|word| word.parse().ok()).expect("it is rated");
        // What cuts connections needs the network and the capability to do it, and what tells the
        // addresses needs the network.
        let promised = match unit {
            "wardend-cut@x.service" | "wardend-addresses@x.service" => 1.5,
            "wardend-resolve@x.service" => 2.0,
            _ => 0.5,
        };
        assert!(score <= promised, "{rated}");
    }
    let verified =
        machine.try_run("systemd-analyze verify --man=no wardend.service wardend-metrics.socket wardend-metrics-file.timer wardend-addresses.socket wardend-resolve.socket wardend-cut.socket wardend-cut@x.service");
    let complaints: Vec<&str> = verified.stderr.lines().filter(|line| line.contains("wardend")).collect();
    assert!(verified.code == 0 && complaints.is_empty(), "{}", verified.stderr);
}
