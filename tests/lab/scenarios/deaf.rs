//! Whatever is done to the journal's files, wardend goes on reading, and says so where it can't.
//!
//! Nobody is banned here: the number of failures that wardend has counted shows that no record was
//! lost and none was read twice.

use crate::harness::attack::Attacker;
use crate::harness::machine::{Machine, Release};
use crate::harness::plan::Plan;

fn plan(release: Release) -> Plan {
    let penalties = if release == Release::Debian12 { "" } else { "PerSourcePenalties no\n" };
    Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 1000\n")
        .file("/etc/ssh/sshd_config.d/test.conf", penalties)
        // systemd 262 makes the persistent directory by itself.
        .file("/etc/systemd/journald.conf.d/test.conf", "[Journal]\nStorage=auto\n")
        .hasty_passwords()
}

/// How many failures wardend has counted.
fn counted(machine: &Machine) -> usize {
    let status = machine.run("wardenctl status");
    let number = status.lines().find_map(|line| line.trim().strip_prefix("Failures: "));
    number.and_then(|number| number.split_whitespace().next()?.parse().ok()).expect("a number")
}

/// Guesses, and waits until each guess is counted.
#[track_caller]
fn guess(machine: &Machine, attacker: &Attacker<'_>, total: &mut usize, after: &str) {
    *total += attacker.wrong_passwords("root", 2);
    let mut seen = 0;
    machine.wait_until(&format!("{total} failures are counted after {after}"), || {
        seen = counted(machine);
        seen >= *total
    });
    assert_eq!(seen, *total, "after {after}");
}

pub(crate) fn whatever_becomes_of_the_journals_directories_no_record_is_lost_or_read_twice(release: Release) {
    let machine = plan(release).boot();
    let attacker = machine.attacker("203.0.113.7");
    let mut total = 0;
    let mut step = |what: &str, commands: &str| {
        machine.run(commands);
        guess(&machine, &attacker, &mut total, what);
    };
    let flush =
        "mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal && journalctl --flush";
    step("the start", "true");
    step(
        "the persistent directory was moved away",
        "mv /var/log/journal /var/log/away && systemctl restart systemd-journald",
    );
    // journald makes it for root alone.
    machine.run("rm -rf /run/log/journal && systemctl restart systemd-journald");
    let denied = || machine.run("wardenctl status").contains("can't be read: Permission denied");
    machine.wait_until("the directory that can't be read is reported", denied);
    step("the volatile directory was made again", "systemd-tmpfiles --create --prefix /run/log/journal");
    machine.wait_until("that problem is solved", || !denied());
    step("a start without a persistent directory", "systemctl restart wardend");
    step("persistent storage was switched on", flush);
    step("this machine's directory was made again", "rm -rf /var/log/journal/* && systemctl restart systemd-journald");
    step(
        "a mount over it",
        "mkdir /opt/journal && mount --bind /opt/journal /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal",
    );
    step("journald has followed the mount", "systemctl restart systemd-journald");
    assert!(!machine.messages("Reopened the journal (").is_empty(), "it is reported");
    machine.wait_until("all is well", || machine.run("wardenctl status").contains(": running"));
}

pub(crate) fn without_inotify_a_rotation_is_noticed_and_a_file_it_may_not_read_is_reported(release: Release) {
    // As if all of fs.inotify.max_user_instances were used.
    let machine = plan(release)
        .file(
            "/etc/systemd/system/wardend.service.d/test.conf",
            "[Service]\nSystemCallFilter=~inotify_init1:EMFILE inotify_init:EMFILE\n",
        )
        .boot();
    let attacker = machine.attacker("203.0.113.7");
    let mut total = 0;
    guess(&machine, &attacker, &mut total, "the start");
    machine.run("journalctl --rotate");
    guess(&machine, &attacker, &mut total, "a rotation");
    assert_eq!(machine.messages("Reopened the journal (").len(), 1, "it is reported once");

    // A file of the next rotation belongs to a group that wardend is not in.
    let directory = "/var/log/journal/$(cat /etc/machine-id)";
    machine.run(&format!(
        "setfacl -b -k {directory} 2>/dev/null; chgrp root {directory} && chmod g-s {directory} && journalctl --rotate"
    ));
    let status = || machine.run("wardenctl status");
    machine
        .wait_until("the problem is reported", || status().contains("system.journal can't be read: Permission denied"));
    assert!(status().contains(": degraded"), "{}", status());
    let judged = attacker.wrong_passwords("root", 2);
    machine.run(&format!("chgrp systemd-journal {directory} {directory}/system.journal && chmod g+s {directory} && chmod g+r {directory}/system.journal"));
    machine.wait_until("the problem is solved", || status().contains(": running"));
    total += judged;
    guess(&machine, &attacker, &mut total, "the file could be read again");
}
