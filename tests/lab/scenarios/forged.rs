//! A local user without any right sends wardend signals that look like logind's, systemd's or
//! firewalld's, and hundreds of sessions begin at once. Meanwhile bans must come into force and
//! orders be carried out, with each of the two programs that can be the system bus.
//!
//! `WARDEND_FLOOD` is for how many seconds each flood goes on; figures are printed, and none is
//! checked: a busy machine is no bug.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::machine::{Machine, Release};

const FORGE: &str = include_str!("../guest/forge.py");
/// What sshd writes, a process for each connection as sshd has it: `NET COUNT`, four a second.
const ATTACK: &str = r#"
import os, socket, sys, time
net, count = int(sys.argv[1]), int(sys.argv[2])
begin = time.monotonic()
for number in range(count):
    time.sleep(max(0, begin + number / 4 - time.monotonic()))
    if os.fork() == 0:
        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log.connect("/dev/log")
        address = f"10.{net}.{number // 250}.{number % 250 + 1}"
        for line in (f"Failed password for root from {address} port 4242 ssh2",
                     f"Connection closed by authenticating user root {address} port 4242 [preauth]"):
            log.send(f"<38>{time.strftime('%b %e %T')} sshd[{os.getpid()}]: {line}".encode())
        # Until journald has seen whose it is.
        time.sleep(0.2)
        os._exit(0)
    os.wait()
time.sleep(0.2)
"#;
const IN_FORCE: &str = "d3900ade55e14a7491ea1ddb5189c835";
const SESSIONS: &str = "for i in $(seq 200); do setsid su alice -c 'sleep 1' </dev/null >/dev/null 2>&1 & done; wait";

fn seconds() -> usize {
    std::env::var("WARDEND_FLOOD").map_or(3, |seconds| seconds.parse().expect("WARDEND_FLOOD is a number"))
}

pub(crate) fn forged_signals_and_crowds_of_sessions_hold_nothing_up(release: Release) {
    let mut machine = Machine::prepare(release)
        .scripts_speak_for_sshd()
        .file(
            "/etc/wardend/wardend.conf.d/test.conf",
            "[default]\nmaxretry = 1\nlow-latency = true\nbantime = \"1h\"\nports = [\"ssh\"]\nspare-logins = false\n",
        )
        .file("/usr/local/lib/forge.py", FORGE)
        .file("/usr/local/lib/attack.py", ATTACK)
        .boot();
    let mut net = 1;
    for broker in ["dbus-daemon", "dbus-broker"] {
        if broker == "dbus-broker" {
            machine.run("systemctl enable dbus-broker");
            machine.reboot();
            assert_eq!(machine.run("systemctl is-active dbus-broker").trim(), "active");
        }
        machine.wait_until("wardend is up", || machine.try_run("wardenctl status").stdout.contains("Firewall: up"));
        for kind in ["nothing", "login", "reloaded", "owner", "sessions"] {
            flood(&machine, broker, kind, net);
            net += 1;
        }
        let refused =
            machine.messages("A security policy denied").len() + machine.messages("Rejected send message").len();
        assert!(refused > 0, "{broker} keeps the signals away");
        let status = machine.run("wardenctl status");
        assert!(status.contains("Firewall: up"), "{status}");
        assert_eq!(machine.run("systemctl show -p NRestarts --value wardend").trim(), "0");
        assert_eq!(machine.messages("wardend: the system bus does not answer").len(), 0);
    }
}

/// One flood, with bans and an order in the midst of it.
fn flood(machine: &Machine, broker: &str, kind: &str, net: usize) {
    let unit = format!("forge-{broker}-{kind}");
    let said = format!("/run/{unit}");
    match kind {
        "nothing" => {}
        "sessions" => drop(machine.run(&format!("systemd-run --quiet --unit={unit} sh -c \"{SESSIONS}\""))),
        _ => {
            machine.run(&format!(
                "systemd-run --quiet --unit={unit} sh -c 'exec python3 /usr/local/lib/forge.py alice {kind} >{said}'"
            ));
            machine
                .wait_until("the flood has begun", || machine.try_run(&format!("cat {said}")).stdout.contains("to "));
            // wardend's own, and the one over which it serves.
            assert_eq!(machine.run(&format!("cat {said}")).trim(), "to 2");
        }
    }
    let count = 4 * seconds();
    machine.run(&format!(
        "systemd-run --quiet --unit=ssh@attack-{net}.service python3 /usr/local/lib/attack.py {net} {count}"
    ));
    let held = machine.attacker(&format!("203.0.113.{net}")).hold();
    let begin = Instant::now();
    machine.run(&format!("timeout 30 wardenctl ban 203.0.113.{net} --for 1h"));
    let order = begin.elapsed();
    assert!(held.was_cut(), "{broker}, {kind}: what 203.0.113.{net} has open is not closed");
    std::thread::sleep(Duration::from_secs(seconds() as u64));
    machine.wait_until("all attackers are banned in the kernel", || {
        let found = machine.run(&format!("nft list ruleset | grep -ow '10\\.{net}\\.[0-9.]*' | sort -u | wc -l"));
        found.trim() == count.to_string()
    });
    let mut sent = String::new();
    if !["nothing", "sessions"].contains(&kind) {
        assert_eq!(machine.run(&format!("systemctl is-active {unit}")).trim(), "active", "the flood goes on");
        machine.run(&format!("systemctl stop {unit}"));
        machine.run(&format!("sed -n 's/sent //p' {said}")).trim().clone_into(&mut sent);
        assert!(sent.parse::<u64>().is_ok_and(|sent| sent > 1000), "{broker}, {kind}: {sent} signals");
    }
    let mut found = Vec::new();
    machine.wait_until("each ban is reported", || {
        found = latencies(machine, net);
        found.len() == count
    });
    let mut latencies = found;
    latencies.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ms = |usec: u64| usec as f64 / 1000.0;
    println!(
        "{}, {broker}, {kind}: {sent} signals in some {} s; {} bans in force after {:.1} ms in the median and {:.1} ms at the worst; an order answered after {:.2} s",
        machine.release().name(),
        seconds(),
        latencies.len(),
        ms(latencies[latencies.len() / 2]),
        ms(latencies[latencies.len() - 1]),
        order.as_secs_f64(),
    );
}

/// From each record to firewalld's word, in µs.
fn latencies(machine: &Machine, net: usize) -> Vec<u64> {
    let fields = "--output-fields=WARDEND_SOURCE,WARDEND_LATENCY_USEC";
    let journal = machine.run(&format!("journalctl --boot --quiet --output=json {fields} MESSAGE_ID={IN_FORCE}"));
    let records = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = records.filter(|record| {
        record["WARDEND_SOURCE"].as_str().is_some_and(|source| source.starts_with(&format!("10.{net}.")))
    });
    ours.filter_map(|record| record["WARDEND_LATENCY_USEC"].as_str()?.parse().ok()).collect()
}
