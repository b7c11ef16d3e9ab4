//! What many bans cost firewalld, and for how long a banned host gets through: the table in
//! docs/performance.md.
//!
//! The records are genuine: a program writes sshd's words to /dev/log as root in the cgroup of
//! ssh.service. Packets decide: banned hosts connect over the wire every few milliseconds all the
//! time, to a port that accepts at once. No threshold is checked: a busy machine is no bug.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::machine::{Machine, Release};

/// The number of bans to begin with: what is in `WARDEND_BANS`, or a thousand and ten thousand.
pub(crate) fn sizes() -> Vec<usize> {
    let given = std::env::var("WARDEND_BANS").unwrap_or_else(|_| "1000 10000".to_owned());
    given.split_whitespace().map(|count| count.parse().expect("WARDEND_BANS holds numbers")).collect()
}

/// Bans beyond the first, to measure what one costs; fewer where there are fewer.
const FURTHER: usize = 1000;
const RELEASED: usize = 200;
/// Records of the stream per second: a strong attack, and little enough for firewalld to follow.
const PACE: usize = 40;

const CONFIGURATION: &str =
    "[default]\nmaxretry = 1\nlow-latency = true\nbantime = \"1day\"\nspare-logins = false\n[jail.sshd]\ncut = false\n";
const JOURNALD: &str = "[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\nSystemMaxUse=1G\n";

/// Failures of many addresses, one each.
const FAIL: &str = include_str!("../guest/fail.py");

/// Accepts on port 7777, as fast as it can.
const ACCEPT: &str = r"
import socket
server = socket.create_server(('0.0.0.0', 7777), backlog=4096)
while True:
    server.accept()[0].close()
";

/// Connects from each address all the time. On each line that it reads it prints, since the last
/// one: attempts, how many came through, and the µs from the first to the last of these.
const PROBE: &str = r#"
import select, socket, struct, sys, threading, time
addresses, lock = sys.argv[1:], threading.Lock()
attempts = through = 0
first = {}
last = {}
def report():
    global attempts, through
    for _ in sys.stdin:
        with lock:
            longest = max((last[a] - first[a] for a in first), default=0)
            print(attempts, through, int(longest * 1e6), flush=True)
            attempts = through = 0
            first.clear()
            last.clear()
threading.Thread(target=report).start()
live, poll = {}, select.epoll()
while True:
    begin = time.monotonic()
    for address in addresses:
        probe = socket.socket()
        probe.setblocking(False)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        probe.bind((address, 0))
        probe.connect_ex(("192.0.2.10", 7777))
        live[probe.fileno()] = (probe, address, begin)
        poll.register(probe, select.EPOLLOUT)
        with lock:
            attempts += 1
    while True:
        rest = begin + 0.005 - time.monotonic()
        for descriptor, _ in poll.poll(max(rest, 0)):
            probe, address, _ = live.pop(descriptor)
            poll.unregister(descriptor)
            if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                with lock:
                    through += 1
                    first.setdefault(address, time.monotonic())
                    last[address] = time.monotonic()
            probe.close()
        if rest <= 0:
            break
    for descriptor in [d for d, it in live.items() if it[2] < begin - 0.3]:
        poll.unregister(descriptor)
        live.pop(descriptor)[0].close()
"#;

/// Frees one address after the other, and prints for each the ms from the order to firewalld's word
/// that the entry is gone.
const FREE: &str = r#"
import dbus, dbus.mainloop.glib, sys, time
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus, loop, gone = dbus.SystemBus(), GLib.MainLoop(), set()
wardend = dbus.Interface(bus.get_object("org.wardend1", "/org/wardend1"), "org.wardend1.Manager")
def removed(_, entry):
    gone.add(entry)
    loop.quit()
bus.add_signal_receiver(removed, "EntryRemoved", "org.fedoraproject.FirewallD1.ipset")
for address in sys.argv[1:]:
    begin = time.monotonic()
    wardend.Unban(address, "")
    while address not in gone:
        loop.run()
    print((time.monotonic() - begin) * 1e3)
    time.sleep(0.05)
"#;

/// As [`FAIL`] counts them.
fn address(number: usize) -> String {
    let number = number + 1;
    format!("198.{}.{}.{}", 18 + (number >> 16), number >> 8 & 255, number & 255)
}

/// Banned hosts that try all the time.
struct Probes {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Probes {
    fn start(machine: &Machine, addresses: &[String]) -> Self {
        let mut probe = Command::new("ip");
        probe.args(["netns", "exec", machine.network().attackers(), "python3", "-c", PROBE]).args(addresses);
        let mut child = probe.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, answers }
    }

    /// Since the last time: attempts, how many came through, and how long it was possible, in ms.
    fn look(&mut self) -> (u64, u64, f64) {
        self.child.stdin.as_mut().expect("it is piped").write_all(b"\n").expect("it runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        #[allow(clippy::cast_precision_loss)]
        (numbers[0], numbers[1], numbers[2] as f64 / 1000.0)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// firewalld's CPU time so far, in ms.
fn cpu(machine: &Machine) -> f64 {
    let script = "read -r line </proc/$(systemctl show -p MainPID --value firewalld)/stat; set -- ${line##*) }; echo ${12} ${13} $(getconf CLK_TCK)";
    let output = machine.run(&format!("bash -c '{script}'"));
    let numbers: Vec<f64> = output.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    (numbers[0] + numbers[1]) / numbers[2] * 1000.0
}

/// What firewalld uses is steady: it has done all that it was told.
fn quiet(machine: &Machine) -> f64 {
    let mut before = cpu(machine);
    loop {
        sleep(Duration::from_millis(700));
        let now = cpu(machine);
        if now - before < 15.0 {
            return now;
        }
        before = now;
    }
}

fn fail(machine: &Machine, first: usize, count: usize, pace: usize) -> u64 {
    machine.write("/root/fail.py", FAIL);
    // What another program writes is not counted.
    let output = machine.run(&format!(
        "cp -L /usr/bin/python3 /usr/bin/sshd; timeout 300 /usr/bin/sshd /root/fail.py {first} {count} {pace}"
    ));
    output.trim().parse().expect("a time")
}

/// The records "in force" since a time: when, and after how many ms.
fn in_force(machine: &Machine, since: u64) -> Vec<(u64, f64)> {
    let command = format!(
        "journalctl -q --since=@{}.{:06} MESSAGE_ID=d3900ade55e14a7491ea1ddb5189c835 -o json --output-fields=WARDEND_LATENCY_USEC",
        since / 1_000_000,
        since % 1_000_000
    );
    let field = |line: &str, name: &str| -> Option<u64> {
        line.split(&format!("\"{name}\":\"")).nth(1)?.split('"').next()?.parse().ok()
    };
    let output = machine.run(&command);
    #[allow(clippy::cast_precision_loss)]
    let both =
        |line: &str| Some((field(line, "__REALTIME_TIMESTAMP")?, field(line, "WARDEND_LATENCY_USEC")? as f64 / 1000.0));
    output.lines().filter_map(both).collect()
}

/// Waits for `count` bans to be in force since a time.
fn wait_for(machine: &Machine, since: u64, count: usize) -> Vec<(u64, f64)> {
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        let bans = in_force(machine, since);
        if bans.len() >= count {
            return bans;
        }
        assert!(Instant::now() < deadline, "{} of {count} bans are in force", bans.len());
        sleep(Duration::from_millis(500));
    }
}

fn now(machine: &Machine) -> u64 {
    machine.run("date +%s%6N").trim().parse().expect("a time")
}

fn held(machine: &Machine) -> usize {
    let command = "for s in $(firewall-cmd --get-ipsets); do case $s in wardend4*) firewall-cmd --ipset=$s --get-entries;; esac; done | sed '/^$/d' | sort -u | wc -l";
    machine.run(command).trim().parse().expect("a number")
}

/// Waits until firewalld holds `bans` of them: since 2.5 wardend leaves a list the time to get into the
/// kernel, and nothing works meanwhile.
fn wait_until_held(machine: &Machine, bans: usize) {
    machine.wait_until(&format!("firewalld holds {bans} bans"), || held(machine) == bans);
}

/// When the daemon said that all bans are in force, after a time; in ms.
fn all_in_force(machine: &Machine, since: u64) -> f64 {
    let command = format!(
        "journalctl -q --since=@{}.{:06} MESSAGE_ID=330caf9051a24d7ea1c63e773fef2fb4 -o json -n 1 --output-fields=MESSAGE",
        since / 1_000_000,
        since % 1_000_000
    );
    let mut at = None;
    machine.wait_until("all is in force", || {
        let output = machine.run(&command);
        at = output.split("\"__REALTIME_TIMESTAMP\":\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
        at.is_some()
    });
    #[allow(clippy::cast_precision_loss)]
    let ms = |at: u64| (at - since) as f64 / 1000.0;
    at.map_or(f64::NAN, ms)
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn scale(release: Release, bans: usize) {
    let machine = Machine::prepare(release)
        .scripts_speak_for_sshd()
        .file("/etc/wardend/wardend.conf.d/scale.conf", CONFIGURATION)
        .file("/etc/systemd/journald.conf.d/scale.conf", JOURNALD)
        .boot();
    machine.write("/root/accept.py", ACCEPT);
    machine.run("systemd-run --quiet --unit=accept python3 /root/accept.py");
    machine.run("firewall-cmd --quiet --permanent --add-port=7777/tcp && firewall-cmd --quiet --reload");
    machine.wait_until("the firewall is up", || machine.run("wardenctl status").contains("Firewall: up"));
    let row = |what: &str, figure: &str| println!("{} | {bans} bans | {what} | {figure}", release.name());

    // A burst of distinct offenders, as fast as journald takes it.
    let since = fail(&machine, 0, bans, 0);
    let times = wait_for(&machine, since, bans);
    let end = times.iter().map(|(at, _)| *at).max().unwrap_or(since);
    let lost = bans - times.len().min(bans);
    let drops = machine.messages("dropped").len();
    row(
        "burst: from the first record to the last ban in force",
        &format!("{:.1} s, {lost} bans lost, {drops} losses told", (end - since) as f64 / 1e6),
    );
    quiet(&machine);
    wait_until_held(&machine, bans);

    let addresses: Vec<String> = (0..8).map(|part| address(part * (bans - 1) / 7)).collect();
    for address in &addresses {
        machine.attacker(address);
    }
    let mut probes = Probes::start(&machine, &addresses);
    sleep(Duration::from_secs(1));
    let (attempts, through, _) = probes.look();
    row("probing before anything happens", &format!("{through} of {attempts} connections came through"));

    // A steady stream of further ones: lists are merged meanwhile.
    let before = quiet(&machine);
    let since = fail(&machine, bans, FURTHER, PACE);
    let times = wait_for(&machine, since, FURTHER);
    let after = quiet(&machine);
    let mut latency: Vec<f64> = times.iter().map(|(_, ms)| *ms).collect();
    latency.sort_by(f64::total_cmp);
    let (attempts, through, ms) = probes.look();
    row(
        &format!("each of {FURTHER} further bans, {PACE} a second"),
        &format!(
            "{:.1} ms of firewalld's CPU; record to reply: median {:.1} ms, p95 {:.1} ms, worst {:.1} ms",
            (after - before) / FURTHER as f64,
            latency[latency.len() / 2],
            latency[latency.len() * 95 / 100],
            latency[latency.len() - 1]
        ),
    );
    row("a banned host meanwhile", &format!("{through} of {attempts} connections came through, for {ms:.0} ms"));

    // Unbans, one after another, and some together.
    let (one_by_one, together): (Vec<usize>, Vec<usize>) = (0..RELEASED).partition(|number| number % 2 == 0);
    let of = |numbers: &[usize]| {
        let all: Vec<String> = numbers.iter().map(|number| address(bans + number * (FURTHER / RELEASED))).collect();
        all.join(" ")
    };
    machine.write("/root/free.py", FREE);
    let before = quiet(&machine);
    let output = machine.run(&format!("timeout 120 python3 /root/free.py {}", of(&one_by_one)));
    let after = quiet(&machine);
    let mut times: Vec<f64> = output.lines().map(|line| line.parse().expect("ms")).collect();
    times.sort_by(f64::total_cmp);
    row(
        &format!("each of {} unbans, one after another", times.len()),
        &format!(
            "{:.1} ms of firewalld's CPU; order to firewalld's word: median {:.1} ms, p95 {:.1} ms, worst {:.1} ms",
            (after - before) / times.len() as f64,
            times[times.len() / 2],
            times[times.len() * 95 / 100],
            times[times.len() - 1]
        ),
    );
    machine.run(&format!("wardenctl unban {}", of(&together)));
    wait_until_held(&machine, bans + FURTHER - RELEASED);
    let done = quiet(&machine);
    row(
        &format!("each of {} unbans, ordered together", together.len()),
        &format!("{:.1} ms of firewalld's CPU", (done - after) / together.len() as f64),
    );

    // A start of the daemon, into an empty firewalld.
    machine.run("systemctl stop wardend && firewall-cmd --quiet --reload");
    quiet(&machine);
    let (_, _, _) = probes.look();
    let since = now(&machine);
    machine.run("systemctl start wardend");
    row("start of wardend, until all are in force", &format!("{:.0} ms", all_in_force(&machine, since)));
    wait_until_held(&machine, bans + FURTHER - RELEASED);
    quiet(&machine);

    for (what, command) in [
        ("firewall-cmd --reload", "firewall-cmd --quiet --reload"),
        ("systemctl restart firewalld", "systemctl restart firewalld"),
    ] {
        probes.look();
        sleep(Duration::from_millis(500));
        let (_, before, _) = probes.look();
        assert_eq!(before, 0, "nobody gets through before {what}");
        machine.run(command);
        sleep(Duration::from_secs(3));
        wait_until_held(&machine, bans + FURTHER - RELEASED);
        quiet(&machine);
        let (_, through, ms) = probes.look();
        row(what, &format!("a banned host got through for {ms:.0} ms at the longest ({through} connections)"));
    }
}
