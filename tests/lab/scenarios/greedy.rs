//! A local user who asks and never reads: the bus keeps the answers, until it takes nothing more
//! from who sent them. What must not suffer are bans, and the memory of the daemon.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::harness::machine::{Machine, Release};

const GREEDY: &str = include_str!("../guest/greedy.py");
/// Three hundred bans, which make an answer of 300 KiB.
const FILL: &str = r#"
import dbus
manager = dbus.Interface(dbus.SystemBus().get_object("org.wardend1", "/org/wardend1"), "org.wardend1.Manager")
for number in range(300):
    manager.Ban(f"198.51.{100 + number // 250}.{1 + number % 250}", "sshd", {"For": "10h", "Reason": "x" * 1000})
"#;
/// What sshd writes, a process for each connection as sshd has it.
const ATTACK: &str = r#"
import os, socket, sys, time
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("/dev/log")
for line in (f"Failed password for root from {sys.argv[1]} port 4242 ssh2",
             f"Connection closed by authenticating user root {sys.argv[1]} port 4242 [preauth]"):
    log.send(f"<38>{time.strftime('%b %e %T')} sshd[{os.getpid()}]: {line}".encode())
time.sleep(0.2)
"#;
/// dbus-daemon takes no more from one sender at 127 MiB, in KiB.
const HALT: u64 = 120 * 1024;
/// Even on a machine on which everything else is busy. It is some tenths of a second on one that is not.
const LATE: Duration = Duration::from_secs(25);
/// What is asked, over how many connections, and how often over each; and whether the bus must have
/// come to take nothing more from wardend.
const KINDS: [(&str, u32, u32, bool); 9] = [
    ("ListBans", 20, 2000, true),
    ("Everything", 100, 128, false),
    ("GetAll", 40, 20, false),
    ("ListIgnoreIP", 40, 20, false),
    ("Unban", 100, 128, false),
    ("SilentUnban", 20, 10_000, false),
    ("Nested", 10, 4, false),
    ("List", 10, 2, false),
    ("List", 10, 2, false),
];
/// Networks that are never banned, in `ListIgnoreIP`.
const IGNORED: u32 = 5000;
/// By when all is decoded that was sent, even by a build without optimization on a busy machine; and the daemon
/// rests that takes less time than this of so much.
const DECODED: Duration = Duration::from_secs(600);
const REST: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(2);
/// The daemon may grow by so much, in KiB.
const GROWTH: u64 = 48 * 1024;
/// Or by so much once it has decoded a list that is as long as a call may be: that leaves holes in the heap, which
/// the next one fills.
const HOLES: u64 = 96 * 1024;
/// And by so much when the same is sent again.
const AGAIN: u64 = 16 * 1024;
/// And for as long as it decodes a call, by so much, in KiB: one at a time.
const PEAK: u64 = 256 * 1024;

fn configuration() -> String {
    let ignored: Vec<String> =
        (0..IGNORED).map(|n| format!("\"10.{}.{}.{}\"", n >> 16, n >> 8 & 255, n & 255)).collect();
    format!("[default]\nmaxretry = 1\nbantime = \"1h\"\nignoreip = [{}]\n", ignored.join(", "))
}

pub(crate) fn a_client_that_never_reads_holds_no_ban_up_and_fills_no_memory(release: Release) {
    let machine = Machine::prepare(release)
        .scripts_speak_for_sshd()
        .file("/etc/wardend/wardend.conf.d/test.conf", &configuration())
        .file("/root/fill.py", FILL)
        .file("/root/attack.py", ATTACK)
        .boot();
    // The machine mounts /tmp for itself.
    machine.write("/tmp/greedy.py", GREEDY);
    machine.run("chmod 644 /tmp/greedy.py && python3 /root/fill.py");
    let private = |unit: &str| -> u64 {
        let lines = machine.run(&format!("cat /proc/$(systemctl show -p MainPID --value {unit})/smaps_rollup"));
        let of = |line: &str| line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0);
        lines.lines().filter(|line| line.starts_with("Private_")).map(of).sum()
    };
    // The time that the daemon has had a processor.
    let spent = || {
        let text = machine.run("systemctl show -p CPUUsageNSec --value wardend");
        Duration::from_nanos(text.trim().parse().expect("a number"))
    };
    let idle = private("wardend");
    println!("{}: private memory {idle} KiB before", release.name());
    let mut memory: Vec<(&str, u64)> = Vec::new();
    for (number, (kind, connections, calls, halted)) in KINDS.into_iter().enumerate() {
        machine.run(&format!(
            "systemd-run --quiet --unit=greedy{number} sh -c 'exec python3 /tmp/greedy.py alice {connections} {calls} {kind} 6 >/run/greedy{number}'"
        ));
        if halted {
            machine.wait_until("the bus holds what it can", || private("dbus") > HALT);
        }
        machine.run("sleep 3");
        let address = format!("192.0.2.{}", 100 + number);
        let begin = Instant::now();
        machine.run(&format!(
            "systemd-run --quiet --wait --unit=ssh@greedy{number}.service python3 /root/attack.py {address}"
        ));
        machine.wait_until("the attacker is banned in the kernel", || {
            machine.try_run(&format!("nft list ruleset | grep -qw {address}")).code == 0
        });
        let banned = begin.elapsed();
        machine.wait_until("it has asked", || machine.run(&format!("cat /run/greedy{number}")).contains("taken"));
        let begin = Instant::now();
        let freed = machine.try_run(&format!("timeout 5 wardenctl unban {address}")).code == 0;
        let order = begin.elapsed();
        // What was sent may still be decoded, one call after the other, and takes memory meanwhile.
        let (mut before, patience) = (spent(), Instant::now() + DECODED);
        loop {
            thread::sleep(LOOK);
            let now = spent();
            if now.saturating_sub(before) < REST || Instant::now() > patience {
                break;
            }
            before = now;
        }
        let held = private("wardend");
        let growth = if kind == "List" { HOLES } else { GROWTH };
        assert!(held < idle + growth, "{kind}: {held} KiB, {idle} KiB before");
        if let Some((_, before)) = memory.iter().find(|(other, _)| *other == kind) {
            assert!(held < before + AGAIN, "{kind}, again: {held} KiB, {before} KiB before");
        }
        memory.push((kind, held));
        let bus = private("dbus");
        machine.run(&format!("systemctl stop greedy{number}"));
        let begin = Instant::now();
        // What was sent may still fill the daemon's queue in the bus, which then takes nothing more for it:
        // wardenctl tries again.
        machine.run("wardenctl list >/dev/null");
        let peak = machine.run("grep VmHWM /proc/$(systemctl show -p MainPID --value wardend)/status");
        println!(
            "{}: {kind} of {connections} connections, {}: an attacker was banned in the kernel after {:.1} s; root's unban {} after {:.1} s; private memory {held} KiB, of the bus {bus} KiB; a list {:.1} s after its end; {}",
            release.name(),
            machine.run(&format!("cat /run/greedy{number}")).trim(),
            banned.as_secs_f64(),
            if freed { "was answered" } else { "was given up" },
            order.as_secs_f64(),
            begin.elapsed().as_secs_f64(),
            peak.trim().replace('\t', " "),
        );
        assert!(banned < LATE, "{kind}: a ban came after {banned:?}");
        let peak = peak.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number");
        assert!(peak < idle + PEAK, "{kind}: {peak} KiB at most, {idle} KiB before");
    }
    assert_eq!(machine.run("systemctl show -p NRestarts --value wardend").trim(), "0");
}
