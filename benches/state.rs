//! What a large state costs: private memory, and the snapshot of it.
//!
//! An attack by 110,000 sources is made up, record by record as sshd and journald write them, and
//! goes through the engine: 100,000 sources fail four times and stay below maxretry, 10,000 fail a
//! fifth time and are banned. What is shown is the process's private memory (RssAnon of
//! proc_pid_status(5)) before and after, and the size of the snapshot with the time to copy the
//! state, which holds the daemon's loop up, and to write it, which does not.
//!
//! And what a week leaves behind: a million failures, from sources of which most fail once and some
//! again and again, none often enough for a ban.

#![allow(clippy::expect_used, reason = "a bench that expects in vain has nothing to measure")]

use std::{
    fs,
    time::{Duration, Instant},
};

use wardend::testing::{self, Cursor, Engine, Jails, Record};

const SOURCES: u32 = 100_000;
const BANS: u32 = 10_000;
/// The failures of a week.
const WEEK: u32 = 1_000_000;
/// How often the snapshot is made.
const RUNS: usize = 5;
const USERS: [&str; 8] = ["root", "admin", "ubuntu", "test", "postgres", "git", "oracle", "deploy"];

/// sshd's records, one after the other.
struct Pen {
    jails: Jails,
    number: u64,
    /// The time from one record to the next, in µs.
    pace: u64,
}

impl Pen {
    fn write(&mut self, pid: u32, message: &str) -> Record {
        self.number += 1;
        let passed = self.number * self.pace;
        let (monotonic, time) = (0x6eca_7496 + passed, 1_795_412_957_978_061 + passed);
        let hash = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let cursor = format!(
            "s=28444e2dcb874e5c9b78c69e2373aee2;i={:x};b=2f912356a2424dec8328a1f012cbcb78;m={monotonic:x};t={time:x};x={hash:x}",
            self.number
        );
        testing::sshd(self.jails.fields(), time, cursor, pid, message)
    }
}

/// Three of four over IPv4.
fn address(source: u32) -> String {
    match source % 4 {
        // Each in a /48 of its own: nobody hops.
        0 => format!("2001:{:x}:{:x}:1::7", 0x1000 + (source >> 16), source & 0xffff),
        _ => std::net::Ipv4Addr::from(0x0a00_0000 + source).to_string(),
    }
}

fn main() {
    if std::env::var_os("WARDEND_BENCH_PART").is_some() {
        return week();
    }
    let jails = Jails::shipped();
    let mut engine = Engine::new(&jails);
    let mut pen = Pen { jails, number: 0, pace: 300 };
    let idle = private_memory();
    let mut pid = 1000;
    let banned = (0..5).map(|round| (round, SOURCES..SOURCES + BANS));
    let counted = (0..4).map(|round| (round, 0..SOURCES));
    for (round, sources) in banned.chain(counted) {
        for source in sources {
            // In no order, as attackers come.
            let source = u32::try_from(u64::from(source) * 65_537 % u64::from(SOURCES + BANS)).expect("it fits");
            pid += 1;
            let (address, user) = (address(source), USERS[(source + round) as usize % USERS.len()]);
            for message in [
                format!("Failed password for {user} from {address} port 4242 ssh2"),
                format!("Connection closed by authenticating user {user} {address} port 4242 [preauth]"),
            ] {
                engine.record(&pen.write(pid, &message));
            }
        }
    }
    assert_eq!(engine.ban_count(), BANS as usize);
    assert_eq!(engine.counters("sshd"), Some((SOURCES as usize, 0)));
    let full = private_memory();

    let saved = save(&engine);
    println!("{SOURCES} sources with 4 failures each, {BANS} bans of 5 ({RUNS} snapshots, medians)");
    println!("  private memory, idle            {:>8.1} MiB", mib(idle));
    println!("  private memory, full            {:>8.1} MiB", mib(full));
    saved.print();
    let begin = cpu();
    engine.own(&[[10, 0, 0, 5].into()]);
    println!("  one address is never banned     {:>8.2} ms of CPU", 1e3 * cpu().saturating_sub(begin).as_secs_f64());
    let begin = cpu();
    engine.reload(&pen.jails);
    println!("  a reload                        {:>8.2} ms of CPU", 1e3 * cpu().saturating_sub(begin).as_secs_f64());
    // In a process of its own, whose memory nobody has used before.
    let program = std::env::current_exe().expect("it runs");
    let status = std::process::Command::new(program).env("WARDEND_BENCH_PART", "week").status();
    assert!(status.expect("it runs again").success());
}

/// The time that this thread has had a processor: what others do meanwhile does not count.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts it");
    Duration::from_nanos(text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number"))
}

/// A million failures in seven days.
fn week() {
    let jails = Jails::shipped();
    let mut engine = Engine::new(&jails);
    let mut pen = Pen { jails, number: 0, pace: 7 * 86_400_000_000 / u64::from(WEEK) };
    let idle = private_memory();
    let mut spent = Duration::ZERO;
    for chunk in (0..WEEK).step_by(100) {
        let records = (chunk..chunk + 100).map(|number| {
            // Every third attempt is of one of 500, each of which comes every 15 minutes.
            let source =
                std::net::Ipv4Addr::from(0x0a00_0000 + if number % 3 == 0 { number / 3 % 500 } else { 500 + number });
            pen.write(1000 + number, &format!("Failed password for root from {source} port 4242 ssh2"))
        });
        let records: Vec<Record> = records.collect();
        let begin = cpu();
        for record in &records {
            engine.record(record);
        }
        spent += cpu().saturating_sub(begin);
    }
    let full = private_memory();
    let saved = save(&engine);
    println!("{WEEK} failures in seven days, {} bans ({RUNS} snapshots, medians)", engine.ban_count());
    println!("  private memory, idle            {:>8.1} MiB", mib(idle));
    println!("  private memory, full            {:>8.1} MiB", mib(full));
    println!("  a record                        {:>8.2} µs of CPU", spent.as_secs_f64() * 1e6 / f64::from(WEEK));
    saved.print();
}

/// What saving costs, medians.
struct Saved {
    copy: f64,
    write: f64,
    most: u64,
    size: u64,
}

impl Saved {
    fn print(&self) {
        println!("  most while the state is saved   {:>8.1} MiB", mib(self.most));
        println!("  snapshot, size                  {:>8.2} MiB", mib(self.size));
        println!("  snapshot, copied in             {:>8.1} ms", self.copy * 1e3);
        println!("  snapshot, written in            {:>8.1} ms", self.write * 1e3);
    }
}

fn save(engine: &Engine) -> Saved {
    let directory = tempfile::tempdir().expect("a directory");
    let cursor = Cursor::from("s=0;i=1;b=2;m=3;t=4;x=5");
    let (mut copies, mut writes, mut most) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        let start = Instant::now();
        let snapshot = engine.snapshot(cursor.clone());
        copies.push(start.elapsed());
        let start = Instant::now();
        testing::save(directory.path(), &snapshot).expect("the disk takes it");
        writes.push(start.elapsed());
        most = most.max(private_memory());
    }
    copies.sort_unstable();
    writes.sort_unstable();
    let size = fs::metadata(directory.path().join("state.json")).expect("it was written").len();
    let (copy, write) = (copies[RUNS / 2].as_secs_f64(), writes[RUNS / 2].as_secs_f64());
    Saved { copy, write, most, size }
}

/// Of this process, in bytes.
fn private_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 or later");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
