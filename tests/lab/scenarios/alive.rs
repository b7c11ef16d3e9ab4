//! What the service manager sees: the watchdog, and reloads.

use crate::harness::attack::Guesses;
use crate::harness::machine::{Machine, Release};

/// Stops a thread for real: nothing in the daemon knows of it.
const WEDGE: &str = include_str!("../guest/wedge.py");
const HASTY: &str = "[Service]\nWatchdogSec=10s\nRestartSec=100ms\n";

fn restarts(machine: &Machine) -> String {
    machine.run("systemctl show -p NRestarts --value wardend").trim().to_owned()
}

pub(crate) fn a_stuck_thread_has_the_daemon_restarted_and_nothing_is_lost(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/systemd/system/wardend.service.d/test.conf", HASTY)
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 3\n")
        .file("/root/wedge.py", WEDGE)
        .hasty_passwords()
        .boot();
    // An idle daemon is not taken for a stuck one.
    machine.run("sleep 12");
    assert_eq!(restarts(&machine), "0");
    for (count, (thread, address)) in [("journal", "203.0.113.7"), ("wardend", "203.0.113.8")].into_iter().enumerate() {
        let attacker = machine.attacker(address);
        attacker.guess(Guesses { prompts: 2, ..Guesses::default() });
        let before = machine.run("systemctl show -p MainPID --value wardend").trim().to_owned();
        machine.run(&format!("systemd-run --quiet --unit=wedge-{thread} python3 /root/wedge.py {before} {thread}"));
        machine.wait_for_message(&format!("stopped {thread}"));
        let stopped = std::time::Instant::now();
        attacker.guess(Guesses::default());
        assert_eq!(machine.messages(&format!("Banned {address} in jail sshd")).len(), 0, "{thread} is stuck");
        machine.wait_until("the watchdog has restarted it", || restarts(&machine) == (count + 1).to_string());
        println!("{}: {thread} was stuck, restarted after {:.1} s", release.name(), stopped.elapsed().as_secs_f64());
        machine.wait_for_message(&format!("Banned {address} in jail sshd"));
        let result = machine.messages("Watchdog timeout");
        assert_eq!(result.len(), count + 1, "{result:?}");
        println!("  {}", result[count]);
    }
}

/// Somebody stops the bus itself for a while: a dead connection looks the same. Nobody can ask wardend
/// then, but systemd knows its status.
pub(crate) fn a_bus_that_does_not_answer_is_reported_and_in_the_end_the_daemon_is_restarted(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/systemd/system/wardend.service.d/test.conf", "[Service]\nWatchdogSec=45s\nRestartSec=100ms\n")
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 3\n")
        .hasty_passwords()
        .boot();
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    let status = || machine.run("systemctl show -p StatusText --value wardend");
    let signal = |name: &str| drop(machine.run(&format!("pkill -{name} -x dbus-daemon")));
    signal("STOP");
    // It is at work meanwhile.
    machine.attacker("203.0.113.7").guess(Guesses { prompts: 3, ..Guesses::default() });
    machine.wait_until("the bus is missed", || status().contains("The system bus does not answer wardend"));
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    signal("CONT");
    machine.wait_for_message("The problem 'bus' is solved.");
    machine.wait_until("the ban is in force", || machine.run("nft list ruleset").contains("203.0.113.7"));
    assert_eq!(restarts(&machine), "0");
    assert!(machine.run("wardenctl status").contains(": running"));

    signal("STOP");
    machine.wait_until("the bus is missed again", || status().contains("The system bus does not answer wardend"));
    let missed = std::time::Instant::now();
    while machine.messages("Watchdog timeout").is_empty() && missed.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    println!("{}: the watchdog came {:.0} s after the report", release.name(), missed.elapsed().as_secs_f64());
    assert_eq!(machine.messages("Watchdog timeout").len(), 1);
    signal("CONT");
    machine.wait_until("it is back", || machine.try_run("wardenctl list").stdout.contains("203.0.113.7"));
    machine.wait_until("all is well", || machine.run("wardenctl status").contains(": running"));
}

/// The setting that is in force.
fn maxretry(machine: &Machine) -> String {
    machine.run("busctl get-property org.wardend1 /org/wardend1/jail/sshd org.wardend1.Jail MaxRetry").trim().to_owned()
}

pub(crate) fn a_reload_returns_when_the_new_configuration_is_in_force(release: Release) {
    let machine = Machine::boot(release);
    let path = "/etc/wardend/wardend.conf.d/test.conf";
    let systemd = machine.run("systemctl --version | head -n 1");
    let reload = |number: u32| {
        machine.write(path, &format!("[default]\nmaxretry = {number}\n"));
        machine.run("systemctl reload wardend");
        assert_eq!(maxretry(&machine), format!("u {number}"), "{systemd}");
    };
    let limit = machine.run("readlink /run/systemd/units/log-rate-limit-*:wardend.service");
    assert_eq!(limit, "1000000\n1000000\n", "journald hears of a burst and of an interval in µs that drop nothing");
    (2..7).for_each(reload);
    println!("{}: {}: Type=notify with ExecReload=: 5 of 5 in force at once", release.name(), systemd.trim());
    machine.write(path, "[default]\nmaxretries = 3\n");
    assert_ne!(machine.try_run("systemctl reload wardend").code, 0, "a mistake fails");
    assert_eq!(maxretry(&machine), "u 6", "and changes nothing");

    // An admin may prefer systemd's own way, where there is one. It has no word for a failure.
    if release != Release::Debian12 {
        machine
            .write("/etc/systemd/system/wardend.service.d/test.conf", "[Service]\nType=notify-reload\nExecReload=\n");
        machine.write(path, "[default]\nmaxretry = 3\n");
        machine.run("systemctl daemon-reload && systemctl restart wardend");
        assert_eq!(machine.run("systemctl show -p Type --value wardend").trim(), "notify-reload");
        (10..15).for_each(reload);
        machine.write(path, "[default]\nmaxretries = 3\n");
        let code = machine.try_run("systemctl reload wardend").code;
        assert_eq!(maxretry(&machine), "u 14");
        assert_eq!(machine.run("systemctl is-active wardend").trim(), "active");
        println!("{}: Type=notify-reload: 5 of 5 in force at once; a mistake exits with {code}", release.name());
    }
    assert_eq!(restarts(&machine), "0");
}

/// Writes more lines than its unit may within two seconds, and one more when they are over: then
/// journald says how many it has dropped.
const TALKATIVE: &str = r#"
import os, socket, time
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("/dev/log")
for number in range(101):
    log.send(f"<38>{time.strftime('%b %e %T')} sshd[{os.getpid()}]: Nothing that a filter knows.".encode())
    time.sleep(3 if number == 99 else 0)
time.sleep(1)
"#;

pub(crate) fn what_journald_drops_of_sshd_is_reported_once(release: Release) {
    let machine = Machine::prepare(release).file("/root/talkative.py", TALKATIVE).boot();
    for unit in ["other.service", "ssh@talkative.service"] {
        machine.run(&format!(
            "systemd-run --quiet --wait --unit={unit} -p LogRateLimitBurst=10 -p LogRateLimitIntervalSec=2s python3 /root/talkative.py"
        ));
        machine.wait_for_message(&format!("messages from {unit}"));
    }
    let told = machine.wait_for_message("journald dropped ");
    println!("{}: {told}", release.name());
    let lost = || machine.run("busctl get-property org.wardend1 /org/wardend1 org.wardend1.Manager NLost");
    machine.wait_until("it is published", || lost().trim() != "t 0");
    println!("  NLost {}", lost().trim());
    machine
        .run("systemctl restart wardend && systemctl reload wardend && systemctl kill --signal=KILL wardend; sleep 1");
    machine.wait_until("wardend is up", || machine.try_run("wardenctl status").code == 0);
    let all = machine.messages("journald dropped ");
    assert!(all.len() == 1 && all[0].contains("ssh@talkative.service"), "told once, and of sshd alone: {all:?}");
}
