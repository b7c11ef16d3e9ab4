//! Whatever happens to the daemon, it bans whom an undisturbed replay of the same journal bans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::Value;

use crate::harness::attack::Guesses;
use crate::harness::machine::{Machine, Release};
use crate::maker::{self, Plan};

/// A ban as the journal tells it, and as a replay finds it: source, since and until in µs, count.
type Ban = (String, u64, u64, u64);

/// The kinds of records that are read here (units/wardend.catalog).
const BANNED: &str = "aa04c1c10db24c02ad4e28e8ac726807";
const UNBANNED: &str = "8a3f31231e2a461e9199974abd4fb094";

/// Bans end during the attack, but no machine is off for as long as one of them.
const CONFIGURATION: &str =
    "[default]\nmaxretry = 3\nfindtime = \"10min\"\nbantime = \"90s\"\nbantime-factor = 2\nspare-logins = \"1min\"\n";

/// Killed, it is back at once, however often.
const UNDYING: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=0\n";

/// Sends a deadly signal in each phase of the attack, this often: somewhat more often than the deaths that
/// are asked for, because a signal may find a daemon that is dead already and not yet reaped, and
/// a power cut takes the last words of the journal along.
const KILLS: [usize; 3] = [40, 40, 30];
const DEATHS: usize = 100;

pub(crate) fn machine(release: Release) -> Machine {
    let mut sshd = "MaxStartups 200\nLoginGraceTime 20\n".to_owned();
    if release.penalises_sources() {
        // sshd itself would turn guessers away.
        sshd.push_str("PerSourcePenalties no\n");
    }
    Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", CONFIGURATION)
        .file("/etc/systemd/system/wardend.service.d/test.conf", UNDYING)
        .file("/etc/ssh/sshd_config.d/test.conf", &sshd)
        .hasty_passwords()
        .boot()
}

/// JSON objects, one a line.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(u64::MAX)
}

/// The records of one kind that the daemon has written, each once however often it was told, and
/// when it was told first.
fn told(machine: &Machine, kind: &str) -> BTreeMap<Ban, u64> {
    let mut all = BTreeMap::new();
    for record in objects(&machine.run(&format!("journalctl -q -o json MESSAGE_ID={kind}"))) {
        let field = |name: &str| number(&record[name]);
        let source = record["WARDEND_SOURCE"].as_str().expect("a source").to_owned();
        let ban = (source, field("WARDEND_SINCE"), field("WARDEND_UNTIL"), field("WARDEND_BAN_COUNT"));
        all.entry(ban).or_insert(field("__REALTIME_TIMESTAMP"));
    }
    all
}

/// The bans that one replay over the whole journal makes.
fn replayed(machine: &Machine) -> BTreeSet<Ban> {
    let mut all = BTreeSet::new();
    for line in objects(&machine.run("wardenctl replay --json=short")) {
        let Some(source) = line["source"].as_str() else { continue };
        for period in line["periods"].as_array().expect("a list") {
            let usec = |name: &str| number(&period[name]);
            all.insert((source.to_owned(), usec("since_usec"), usec("until_usec"), usec("count")));
        }
    }
    all
}

/// Whether a wider network than the source itself holds it.
fn is_inside(source: &str, wide: &str) -> bool {
    let network = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).expect("a source");
    source != wide && network(wide).contains(&network(source))
}

/// One attacker of the plan: what it does depends on its number.
fn attack(machine: &Machine, number: usize) {
    let address = match number % 8 {
        6 => format!("2001:db8:66:{number:x}::{number:x}"),
        _ => format!("203.0.113.{number}"),
    };
    let attacker = machine.attacker(&address);
    let user = if number.is_multiple_of(3) { "alice" } else { "nobody-here" };
    let guess = |connections, prompts, at_once| attacker.guess(Guesses { user, connections, prompts, at_once });
    match number % 8 {
        // Stays below maxretry.
        0 => drop(guess(1, 2, false)),
        // A typing mistake, then the right password, twice.
        1 => {
            for _ in 0..2 {
                attacker.ssh("bob", "wrong", 1, "true");
                attacker.can_login("bob");
            }
        }
        // All at once.
        2 => drop(guess(4, 1, true)),
        // Within one connection.
        3 | 4 => drop(guess(1, 4, false)),
        _ => drop(guess(2, 2, false)),
    }
}

pub(crate) fn killed_a_hundred_times_under_attack_it_bans_whom_one_undisturbed_replay_bans(release: Release) {
    const SOURCES: usize = 204;
    let seed = std::process::id();
    println!("seed {seed}");
    let mut machine = machine(release);
    for (phase, kills) in KILLS.into_iter().enumerate() {
        let sources: Vec<usize> = (0..SOURCES).filter(|number| number % KILLS.len() == phase).collect();
        let killer = format!(
            "RANDOM={}; for i in $(seq {kills}); do sleep 0.$((RANDOM % 5))$((RANDOM % 10)); \
             until systemctl kill --signal=KILL wardend 2>/dev/null; do sleep 0.05; done; done",
            seed + u32::try_from(phase).expect("small"),
        );
        thread::scope(|scope| {
            scope.spawn(|| machine.run(&format!("bash -c '{killer}'")));
            for lane in sources.chunks(sources.len().div_ceil(8)) {
                scope.spawn(|| lane.iter().for_each(|number| attack(&machine, *number)));
            }
        });
        match phase {
            0 => machine.reboot(),
            1 => {
                machine.power_cut();
                machine.power_on();
            }
            _ => {}
        }
    }
    let deaths =
        machine.run("journalctl -q -o cat -u wardend | grep -c 'Main process exited, code=killed, status=9/KILL'");
    let deaths: usize = deaths.trim().parse().expect("a number");
    assert!(deaths >= DEATHS, "killed {deaths} times");

    machine.wait_until("wardend is up", || machine.try_run("wardenctl status").stdout.contains("Firewall: up"));
    // The last sessions are silent for long before their evidence counts, so the last word is the
    // live daemon's: all that a replay finds so far must be told, and nothing else.
    let mut expected = replayed(&machine);
    machine.wait_until("the last ban is reported", || {
        expected = replayed(&machine);
        expected.iter().all(|ban| told(&machine, BANNED).contains_key(ban))
    });
    let banned = told(&machine, BANNED);
    let surplus: Vec<&Ban> = banned.keys().filter(|ban| !expected.contains(*ban)).collect();
    assert!(surplus.is_empty(), "banned, and not by a replay: {surplus:?}");
    assert!(expected.len() > SOURCES / 2, "{} bans are too few for a proof", expected.len());

    // Nobody was freed early, unless a wider network has taken its place, and nobody is held who
    // should be free.
    let widened = |ban: &Ban| {
        let mut wider = expected.iter().filter(|wide| is_inside(&ban.0, &wide.0));
        wider.any(|wide| (ban.1..ban.2).contains(&wide.1))
    };
    for (ban, at) in told(&machine, UNBANNED) {
        assert!(expected.contains(&ban), "unbanned, and never banned: {ban:?}");
        assert!(at >= ban.2 || widened(&ban), "freed {} µs early: {ban:?}", ban.2 - at);
    }
    let now = machine.run("date +%s%6N").trim().parse::<u64>().expect("a number");
    let held: BTreeSet<String> = objects_of_list(&machine).into_iter().collect();
    let due = |ban: &&Ban| ban.2 > now;
    for ban in expected.iter().filter(due) {
        let line = held.contains(&ban.0) || ban.2 < now + 10_000_000 || widened(ban);
        assert!(line, "{ban:?} should be in force");
    }
    for source in &held {
        assert!(
            expected.iter().any(|ban| ban.0 == *source && ban.2 + 10_000_000 > now),
            "{source} is held for nothing"
        );
    }
    // On a busy host all others may have ended by now.
    machine.run("wardenctl ban 192.0.2.99 --for 1h");
    let (mut listed, mut entries) = (BTreeSet::new(), BTreeSet::new());
    let agree = (0..60).any(|_| {
        thread::sleep(Duration::from_millis(500));
        listed = objects_of_list(&machine).into_iter().collect::<BTreeSet<String>>();
        let all = listed.clone();
        listed.retain(|source| !all.iter().any(|wide| is_inside(source, wide)));
        entries = ["wardend4", "wardend6"]
            .iter()
            .flat_map(|set| {
                machine
                    .run(&format!("firewall-cmd --ipset={set} --get-entries"))
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        entries == listed
    });
    if !agree {
        machine.give_up(&format!("firewalld holds {entries:?}, and the daemon {listed:?}"));
    }
    println!("{}: {deaths} kills, 2 reboots, {} bans, all as replayed", release.name(), expected.len());
}

/// The sources that the living daemon holds.
fn objects_of_list(machine: &Machine) -> Vec<String> {
    let list: Value = serde_json::from_str(&machine.run("wardenctl list --json=short")).expect("JSON");
    let bans = list.as_array().expect("a list").iter();
    bans.map(|ban| ban["source"].as_str().expect("a source").to_owned()).collect()
}

/// Records of the backlog; a million of them by `WARDEND_BACKLOG=1000000`.
fn backlog() -> u64 {
    std::env::var("WARDEND_BACKLOG").ok().and_then(|number| number.parse().ok()).unwrap_or(200_000)
}

pub(crate) fn a_long_backlog_holds_up_no_ban_and_fills_no_memory(release: Release) {
    // So short that systemd would give up, if it were not asked for more time.
    const IMPATIENT: &str = "[Service]\nTimeoutStartSec=4s\nRestart=no\n";
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nbantime = \"1h\"\n")
        .file("/etc/systemd/system/wardend.service.d/test.conf", IMPATIENT)
        .hasty_passwords()
        .boot();
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    machine.run("wardenctl ban 192.0.2.7 --for 2s && systemctl stop wardend && firewall-cmd --reload");
    let now = machine.run("date +%s%6N").trim().parse::<u64>().expect("a number");
    let plan = Plan { records: backlog(), sources: 20_000, begin: now + 1_000_000, step: 5, seed: 7 };
    let id = machine.run("cat /etc/machine-id");
    maker::make(plan, &machine.root().join(format!("var/log/journal/{}/system@backlog.journal", id.trim())));
    let end = plan.begin + plan.records * plan.step;
    machine.wait_until("the backlog is past", || {
        machine.run("date +%s%6N").trim().parse::<u64>().is_ok_and(|now| now > end)
    });

    machine.run("systemctl start --no-block wardend");
    let started = Instant::now();
    let (mut progress, mut early) = (BTreeSet::new(), false);
    let mut peak = 0;
    // A million records take longer than other things do.
    while started.elapsed() < Duration::from_secs(240) {
        let show = machine.try_run("systemctl show -p ActiveState,StatusText,MainPID wardend").stdout;
        let reading = show.contains("Reading the backlog");
        early |= reading && machine.run("firewall-cmd --ipset=wardend4 --get-entries").contains("203.0.113.7\n");
        progress.extend(show.lines().find(|line| line.starts_with("StatusText=Reading")).map(str::to_owned));
        let memory = machine.try_run("grep -h ^RssAnon /proc/$(systemctl show -p MainPID --value wardend)/status");
        peak = memory.stdout.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(peak).max(peak);
        // It is inactive until the job has begun.
        if ["active", "failed"].iter().any(|state| show.lines().any(|line| line == format!("ActiveState={state}"))) {
            break;
        }
    }
    assert_eq!(machine.run("systemctl is-active wardend").trim(), "active");
    let ready = started.elapsed();
    assert!(!progress.is_empty(), "nobody told that a backlog is read");
    assert!(early, "the saved ban was not in force before the backlog was read: {progress:?}");
    assert_eq!(machine.messages("Unbanned 192.0.2.7").len(), 1, "it ended meanwhile");
    let list = objects_of_list(&machine);
    assert!(!list.contains(&"192.0.2.7".to_owned()), "what has ended is not in force");

    let expected: BTreeSet<String> = replayed(&machine).into_iter().map(|ban| ban.0).collect();
    let mut listed: BTreeSet<String> = list.into_iter().collect();
    machine.wait_until("all bans of a replay are made", || {
        listed = objects_of_list(&machine).into_iter().collect();
        listed == expected
    });
    assert!(expected.len() > 500, "{} bans are too few for a proof", expected.len());
    println!(
        "{}: {} records, {} bans, {} words on the way, at most {} MiB of private memory, ready after {:.1} s",
        release.name(),
        plan.records,
        expected.len(),
        progress.len(),
        peak / 1024,
        ready.as_secs_f64()
    );
    assert!(peak < 40 * 1024, "{peak} KiB");
}
