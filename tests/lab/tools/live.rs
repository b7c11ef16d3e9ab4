//! What the running daemon costs, at rest, under the noise of the internet and under attack: the
//! figures of docs/performance.md.
//!
//! At rest its threads' voluntary context switches are its wake-ups. Under attack sshd's records
//! come into the machine's own journal at a steady rate (`load.py`), and wardend says of each ban
//! how long after the journal timestamp of the deciding record firewalld answered. CPU time is the
//! scheduler's own count of all threads, and what the programs took that they started. fail2ban can
//! be measured after it in a machine of its own, by the same attack. No threshold is checked: a busy
//! machine is no bug.
//!
//! The noise (`noise.py`) is what every public sshd gets: attempts from ever new sources, none of
//! which comes near a ban. It is measured alone, and with a brute force of five attempts among it.
//! Each rate has machines of its own, one for wardend and one for fail2ban, all at the same time. None of them boots or
//! ends while another is measured.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::host;
use crate::harness::machine::{Machine, Release};
use crate::harness::peer;
use crate::harness::plan::Plan;
use crate::tools::latency::latencies;

/// How long the daemon is left alone before it is watched at rest: longer than it stays awake
/// after a record, and than it takes to look at its watchdog.
const REST: Duration = Duration::from_secs(45);
/// How long it is watched.
const WATCH: Duration = Duration::from_secs(60);
/// How many attempts a second the noise makes.
const NOISE: [f64; 3] = [0.05, 0.2, 1.0];
/// How long each lasts that is measured, and how long one goes on before, in seconds. Every five minutes,
/// wardend compares what firewalld holds with what it should hold: that counts once.
const NOISE_SECONDS: u32 = 300;
const NOISE_BEFORE: u32 = 40;
/// The brute forces among the noise: their attempts' distance, how often one begins, and for how
/// long that goes on, in seconds. Of few bans the 95th percentile is the worst.
const BRUTE: [(f64, u32, u32); 2] = [(2.0, 4, 300), (0.2, 4, 150)];
/// How long each attack lasts, in seconds, and the number of bans it makes.
const ATTACK: u32 = 30;
/// How long the one before all lasts.
const WARM_UP: u32 = 3;
/// How long the bans may take after the attack. Whoever needs longer has the rest left out.
const LATE: Duration = Duration::from_secs(90);

const ATTACK_UNIT: &str = "[Service]\nExecStart=/usr/bin/python3 /root/load.py $ATTACK\nType=oneshot\n";

const NOISE_UNIT: &str = "[Service]\nExecStart=/usr/bin/python3 /root/noise.py $ATTACK\nType=oneshot\n";

/// A daemon to be measured.
struct Daemon {
    unit: &'static str,
    /// From the record that decided to the end of what it does in firewalld, for each ban so far, in
    /// µs, the oldest first.
    latencies: fn(&Machine) -> Vec<u64>,
}

const WARDEND: Daemon = Daemon { unit: "wardend", latencies };
const FAIL2BAN: Daemon = Daemon { unit: "fail2ban", latencies: peer::latencies };

pub(crate) fn live(release: Release, beside_fail2ban: bool) {
    measure(&prepare(release).boot(), &WARDEND);
    if beside_fail2ban {
        match peer::packages(release, &host::tree(release)) {
            Ok(packages) => {
                let machine = peer::furnish(prepare(release).without_wardend(), &packages).boot();
                measure(&machine, &FAIL2BAN);
            }
            Err(why) => println!("left out: fail2ban beside it, whose packages can't be had ({why})"),
        }
    }
}

/// Under the noise of the internet.
pub(crate) fn noise(release: Release, beside_fail2ban: bool) {
    let beside = beside_fail2ban.then(|| peer::packages(release, &host::tree(release)));
    if let Some(Err(why)) = &beside {
        println!("left out: fail2ban beside it, whose packages can't be had ({why})");
    }
    let mut machines: Vec<(Machine, &Daemon, f64)> = Vec::new();
    for rate in NOISE {
        let mut plans = vec![(prepare(release), &WARDEND)];
        if let Some(Ok(packages)) = &beside {
            plans.push((peer::furnish(prepare(release).without_wardend(), packages), &FAIL2BAN));
        }
        machines.extend(plans.into_iter().map(|(plan, daemon)| (plan.aside().boot(), daemon, rate)));
    }
    thread::scope(|scope| {
        for (machine, daemon, rate) in &machines {
            scope.spawn(move || measure_noise(machine, daemon, *rate));
        }
    });
}

/// The brute forces are among the loudest noise.
fn measure_noise(machine: &Machine, daemon: &Daemon, rate: f64) {
    let Daemon { unit, latencies } = daemon;
    let name = format!("{}, {unit}", machine.release().name());
    let pid = machine.run(&format!("systemctl show -p MainPID --value {unit}")).trim().to_owned();
    attack(machine, daemon, 10, WARM_UP, 500);
    let mut first = 1000;
    let mut make = |rate: f64, seconds: u32, brute: &str| {
        first += 1000;
        machine.run(&format!("systemctl set-environment ATTACK='{rate} {seconds} {first} {brute}'"));
        let made = machine.try_run_for(2 * seconds + 60, "systemctl start --wait sshd@noise");
        assert_eq!(made.code, 0, "{name}: no noise: {}", made.stderr);
    };
    make(rate, NOISE_BEFORE, "");
    let (woken, busy) = (wake_ups(machine, &pid), cpu(machine, &pid));
    make(rate, NOISE_SECONDS, "");
    let (woken, busy) = (wake_ups(machine, &pid) - woken, cpu(machine, &pid) - busy);
    let seconds = f64::from(NOISE_SECONDS);
    println!(
        "{name}: noise of an attempt every {:.0} s: {:.1} wake-ups a second, {:.2} s of CPU an hour",
        1.0 / rate,
        woken / seconds,
        busy * 3600.0 / seconds
    );
    for (gap, every, seconds) in BRUTE.into_iter().filter(|_| rate >= 1.0) {
        let known = latencies(machine).len();
        make(1.0, seconds, &format!("{every} {gap}"));
        thread::sleep(Duration::from_secs(3));
        println!(
            "{name}: noise of an attempt a second, and in it a brute force of one every {gap} s: {}",
            summary(latencies(machine).into_iter().skip(known).collect())
        );
    }
}

/// From the deciding record to firewalld's reply.
fn summary(mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let Some(worst) = times.last() else { return "no bans".to_owned() };
    format!(
        "from the deciding record to firewalld's reply median {:.1} ms, p95 {:.1} ms, worst {:.1} ms ({} bans)",
        ms(times[times.len() / 2]),
        ms(times[times.len() * 95 / 100]),
        ms(*worst),
        times.len()
    )
}

fn prepare(release: Release) -> Plan {
    Machine::prepare(release)
        .scripts_speak_for_sshd()
        .file("/etc/systemd/system/sshd@load.service", ATTACK_UNIT)
        .file("/etc/systemd/system/sshd@noise.service", NOISE_UNIT)
        .file("/root/load.py", include_str!("../guest/load.py"))
        .file("/root/noise.py", include_str!("../guest/noise.py"))
        // What journald drops can't be measured.
        .file("/etc/systemd/journald.conf.d/load.conf", "[Journal]\nRateLimitIntervalSec=0\n")
}

fn measure(machine: &Machine, daemon: &Daemon) {
    let Daemon { unit, latencies } = daemon;
    let name = format!("{}, {unit}", machine.release().name());
    let pid = machine.run(&format!("systemctl show -p MainPID --value {unit}")).trim().to_owned();
    // Whoever makes something in firewalld for its first ban has made it before it is measured.
    attack(machine, daemon, 10, WARM_UP, 500);
    let first = latencies(machine).into_iter().max().unwrap_or(0);
    println!("{name}: the first bans after its start: worst {:.1} ms", ms(first));
    thread::sleep(REST);
    let (woken, busy) = (wake_ups(machine, &pid), cpu(machine, &pid));
    thread::sleep(WATCH);
    let (woken, busy) = (wake_ups(machine, &pid) - woken, cpu(machine, &pid) - busy);
    let seconds = WATCH.as_secs_f64();
    println!(
        "{name}: at rest {:.2} wake-ups a second, {:.2} s of CPU an hour",
        woken / seconds,
        busy * 3600.0 / seconds
    );

    for (index, rate) in [10, 100, 1000].into_iter().enumerate() {
        let (busy, before) = (cpu(machine, &pid), latencies(machine).len());
        let parts_before = parts(machine, &pid);
        attack(machine, daemon, rate, ATTACK, (index + 1) * 1000);
        let busy = cpu(machine, &pid) - busy;
        if index == 0 {
            // One ban a second.
            for (part, after) in parts(machine, &pid) {
                let before = parts_before.get(&part).copied().unwrap_or_default();
                println!("{name}: … for each ban, {part}: {:.2} ms", (after - before) * 1e3 / f64::from(ATTACK));
            }
        }
        // The first ban finds the daemon asleep.
        let known = before + usize::from(index == 0);
        println!(
            "{name}: {rate:>4} records a second: {:.0} µs of CPU a record; {}",
            busy * 1e6 / f64::from(rate * ATTACK),
            summary(latencies(machine).into_iter().skip(known).collect())
        );
    }
}

/// Attacks for `seconds`, and waits for as many bans.
fn attack(machine: &Machine, daemon: &Daemon, rate: u32, seconds: u32, first: usize) {
    let bans = (daemon.latencies)(machine).len() + seconds as usize;
    machine.run(&format!("systemctl set-environment ATTACK='{rate} {seconds} {first}'"));
    machine.run("systemctl start --wait sshd@load");
    let deadline = Instant::now() + LATE;
    while (daemon.latencies)(machine).len() < bans && Instant::now() < deadline {
        thread::sleep(Duration::from_secs(1));
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ms(usec: u64) -> f64 {
    usec as f64 / 1000.0
}

/// Who spends CPU time when somebody is banned, and how much until now, in seconds. Threads of one name are
/// one part; of those that have ended nothing is left.
fn parts(machine: &Machine, pid: &str) -> BTreeMap<String, f64> {
    let threads = machine.run(&format!(
        "for task in /proc/{pid}/task/*; do echo \"$(cut -d ' ' -f 1 $task/schedstat) thread $(cat $task/comm)\"; done"
    ));
    let mut parts = BTreeMap::new();
    for (busy, name) in threads.lines().filter_map(|line| line.split_once(' ')) {
        *parts.entry(name.to_owned()).or_default() += busy.parse::<f64>().unwrap_or_default() / 1e9;
    }
    let groups = [
        ("wardend with all its threads", "system.slice/wardend.service"),
        ("the units that close connections", "system.slice/system-wardend*.slice"),
        ("firewalld", "system.slice/firewalld.service"),
        ("the bus", "system.slice/dbus.service"),
        ("journald", "system.slice/systemd-journald.service"),
        ("the service manager", "init.scope"),
    ];
    for (name, path) in groups {
        let stat = format!("cat /sys/fs/cgroup/{path}/cpu.stat 2>/dev/null | sed -n 's/^usage_usec //p'");
        parts.insert(name.to_owned(), sum(machine, &stat) / 1e6);
    }
    parts
}

/// Of all threads, since they began.
fn wake_ups(machine: &Machine, pid: &str) -> f64 {
    sum(machine, &format!("cat /proc/{pid}/task/*/status | sed -n 's/^voluntary_ctxt_switches://p'"))
}

/// Of all threads, and of the programs that have ended, in seconds.
fn cpu(machine: &Machine, pid: &str) -> f64 {
    let threads = sum(machine, &format!("cut -d ' ' -f 1 /proc/{pid}/task/*/schedstat")) / 1e9;
    // cutime and cstime of proc(5), in ticks, counted from behind the name.
    let children = sum(machine, &format!("sed 's/.*) //' /proc/{pid}/stat | cut -d ' ' -f 14,15"));
    threads + children / 100.0
}

fn sum(machine: &Machine, command: &str) -> f64 {
    machine.run(command).split_whitespace().filter_map(|number| number.parse::<f64>().ok()).sum()
}
