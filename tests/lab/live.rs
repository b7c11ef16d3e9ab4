//! What the running daemon costs, at rest and under attack: the figures of docs/performance.md.
//!
//! At rest its threads' voluntary context switches are its wake-ups. Under attack sshd's records
//! come into the machine's own journal at a steady rate (`load.py`), and wardend says of each ban
//! how long after the journal timestamp of the deciding record firewalld answered. CPU time is the
//! scheduler's own count of all threads. No threshold is checked: a busy machine is no bug.

use std::thread;
use std::time::Duration;

use crate::latency::latencies;
use crate::machine::{Machine, Release};

/// How long the daemon is left alone before it is watched at rest: longer than it stays awake
/// after a record, and than it takes to look at its watchdog.
const REST: Duration = Duration::from_secs(45);
/// How long it is watched.
const WATCH: Duration = Duration::from_secs(60);
/// How long each attack lasts, in seconds: so many bans it makes.
const ATTACK: u32 = 30;

const ATTACK_UNIT: &str = "[Service]\nExecStart=/usr/bin/python3 /root/load.py $ATTACK\nType=oneshot\n";

pub(crate) fn live(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/systemd/system/sshd@load.service", ATTACK_UNIT)
        .file("/root/load.py", include_str!("load.py"))
        // What journald drops can't be measured.
        .file("/etc/systemd/journald.conf.d/load.conf", "[Journal]\nRateLimitIntervalSec=0\n")
        .boot();
    let name = release.name();
    let pid = machine.run("systemctl show -p MainPID --value wardend").trim().to_owned();
    thread::sleep(REST);
    let (woken, busy) = (wake_ups(&machine, &pid), cpu(&machine, &pid));
    thread::sleep(WATCH);
    let (woken, busy) = (wake_ups(&machine, &pid) - woken, cpu(&machine, &pid) - busy);
    let seconds = WATCH.as_secs_f64();
    println!(
        "{name}: at rest {:.2} wake-ups a second, {:.2} s of CPU an hour",
        woken / seconds,
        busy * 3600.0 / seconds
    );

    for (index, rate) in [10, 100, 1000].into_iter().enumerate() {
        let first = (index + 1) * 1000;
        machine.run(&format!("systemctl set-environment ATTACK='{rate} {ATTACK} {first}'"));
        let (busy, before) = (cpu(&machine, &pid), latencies(&machine).len());
        machine.run("systemctl start --wait sshd@load");
        let bans = before + ATTACK as usize;
        machine.wait_until("all bans are in force", || latencies(&machine).len() >= bans);
        let busy = cpu(&machine, &pid) - busy;
        // The first ban finds the journal thread asleep.
        let mut times = latencies(&machine).split_off(before + usize::from(index == 0));
        times.sort_unstable();
        println!(
            "{name}: {rate:>4} records a second: {:.0} µs of CPU a record; from the deciding record to firewalld's \
             reply median {:.1} ms, p95 {:.1} ms, worst {:.1} ms ({} bans)",
            busy * 1e6 / f64::from(rate * ATTACK),
            ms(times[times.len() / 2]),
            ms(times[times.len() * 95 / 100]),
            ms(times[times.len() - 1]),
            times.len()
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ms(usec: u64) -> f64 {
    usec as f64 / 1000.0
}

/// Of all threads, since they began.
fn wake_ups(machine: &Machine, pid: &str) -> f64 {
    sum(machine, &format!("cat /proc/{pid}/task/*/status | sed -n 's/^voluntary_ctxt_switches://p'"))
}

/// Of all threads, in seconds.
fn cpu(machine: &Machine, pid: &str) -> f64 {
    sum(machine, &format!("cut -d ' ' -f 1 /proc/{pid}/task/*/schedstat")) / 1e9
}

fn sum(machine: &Machine, command: &str) -> f64 {
    machine.run(command).split_whitespace().filter_map(|number| number.parse::<f64>().ok()).sum()
}
