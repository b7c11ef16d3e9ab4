//! Whatever happens to firewalld while an attack is on, in the end it holds what it should, and
//! nobody has had to restart anything.
//!
//! The faults come in an order that a seed decides, `WARDEND_FAULTS` of them (25), while real
//! clients guess passwords from one address after another and bans come and go. What counts in
//! the end is what the kernel has, not what firewalld believes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::attack::{Connection, Guesses};
use crate::harness::machine::{Machine, Release};

/// Bans are short enough to end during the run.
const CONFIGURATION: &str = "[default]\nmaxretry = 2\nbantime = \"25s\"\nbantime-factor = 1\nspare-logins = false\n";
const RULES: &str = "/usr/share/polkit-1/rules.d/50-wardend.rules";
/// The kinds of record that tell an outage, and its end (units/wardend.catalog).
const LOST: &str = "a39daf4bcee144bb8572c8b300146a21";
const BACK: &str = "330caf9051a24d7ea1c63e773fef2fb4";
/// Whatever else happens, nobody can overlook these.
const OBVIOUS: [&str; 2] = ["stopped and started", "killed"];

/// What an admin, a package or bad luck does to firewalld. `@time` stands for a short time,
/// `@entry` for an entry that nobody should have made. None of it may need anybody to look after wardend.
const FAULTS: [(&str, &str); 16] = [
    // For longer than a restart takes, which is no outage to tell of.
    ("stopped and started", "systemctl stop firewalld; sleep 1; sleep @time; systemctl start firewalld"),
    ("killed", "systemctl kill --signal=KILL firewalld; sleep 1; sleep @time; systemctl start firewalld"),
    ("restarted", "systemctl restart firewalld"),
    ("restarted twice", "systemctl restart firewalld; sleep @time; systemctl restart firewalld"),
    ("reloaded", "firewall-cmd --reload"),
    ("reloaded in a loop", "for i in 1 2 3 4; do firewall-cmd --reload; done"),
    ("reloaded wholly", "firewall-cmd --complete-reload"),
    ("in panic mode", "firewall-cmd --panic-on; sleep @time; firewall-cmd --panic-off"),
    (
        "blocked",
        "systemctl kill --signal=STOP firewalld; sleep @time; sleep @time; systemctl kill --signal=CONT firewalld",
    ),
    // Moved, not copied: polkitd reads a file as soon as it has its name, and not again when it may.
    (
        "not allowed",
        "mv @rules /usr/share/polkit-1/kept; sleep @time; firewall-cmd --reload; sleep @time; mv /usr/share/polkit-1/kept @rules",
    ),
    (
        "told not to flush",
        "sed -i s/FlushAllOnReload=yes/FlushAllOnReload=no/ /etc/firewalld/firewalld.conf; firewall-cmd --reload; \
         firewall-cmd --reload; sed -i s/FlushAllOnReload=no/FlushAllOnReload=yes/ /etc/firewalld/firewalld.conf; \
         firewall-cmd --reload",
    ),
    ("without the policy", "firewall-cmd --permanent --delete-policy=wardend; firewall-cmd --reload"),
    (
        "without policy and ipset",
        "firewall-cmd --permanent --delete-policy=wardend; firewall-cmd --permanent --delete-ipset=wardend4; \
         firewall-cmd --reload",
    ),
    // firewalld fails as a whole then and takes no change from anybody, until an admin has mended its
    // files and restarted it: here by taking away what names the missing set.
    (
        "without the ipset alone",
        "firewall-cmd --permanent --delete-ipset=wardend6; firewall-cmd --reload; sleep @time; \
         rm /etc/firewalld/policies/wardend.xml; systemctl restart firewalld",
    ),
    ("made permanent", "firewall-cmd --runtime-to-permanent; sleep @time; firewall-cmd --reload"),
    (
        "changed by hand",
        "firewall-cmd --ipset=wardend4 --add-entry=@entry; for entry in $(firewall-cmd --ipset=wardend4 --get-entries | tail -2); do \
         firewall-cmd --ipset=wardend4 --remove-entry=$entry; done; sleep @time; wardenctl firewall sync",
    ),
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Knuth's MMIX generator: the same seed, the same run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What the living daemon wants locked out.
fn wanted(machine: &Machine) -> BTreeSet<String> {
    let list: Value = serde_json::from_str(&machine.run("wardenctl list --json=short")).expect("JSON");
    let bans = list.as_array().expect("a list").iter();
    bans.map(|ban| ban["source"].as_str().expect("a source").to_owned()).collect()
}

/// What the kernel locks out.
fn held(machine: &Machine) -> BTreeSet<String> {
    let text = machine.try_run("nft --json list table inet firewalld").stdout;
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    let sets = json["nftables"].as_array().into_iter().flatten().map(|part| &part["set"]);
    let ours = sets.filter(|set| set["name"].as_str().is_some_and(|name| name.starts_with("wardend")));
    let entries = ours.flat_map(|set| set["elem"].as_array().into_iter().flatten());
    entries
        .map(|entry| match entry {
            Value::String(address) => address.clone(),
            entry => {
                let prefix = &entry["prefix"];
                format!("{}/{}", prefix["addr"].as_str().unwrap_or("?"), prefix["len"])
            }
        })
        .collect()
}

/// The outages that were told: not the same one again before its end was told as well.
fn outages(machine: &Machine) -> Vec<String> {
    let command = format!("journalctl -q -o json -u wardend MESSAGE_ID={LOST} + MESSAGE_ID={BACK}");
    let (mut all, mut last) = (Vec::new(), None);
    for line in machine.run(&command).lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let text = record["MESSAGE"].as_str().expect("a text").to_owned();
        let outage = record["MESSAGE_ID"] == LOST;
        assert!(!outage || last.as_ref() != Some(&text), "told twice: {text}");
        if outage {
            all.push(text.clone());
        }
        last = outage.then_some(text);
    }
    all
}

/// Ends the attack, also when the test fails in the middle of it.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One attacker after the other, until it is enough.
fn attack(machine: &Machine, lane: usize, next: &AtomicUsize, enough: &AtomicBool) {
    while !enough.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let address = match number % 4 {
            // Nobody hops, so each is banned by itself.
            3 => format!("2001:db8:{:x}:{lane:x}::1", 0x1000 + number),
            _ => format!("203.0.{}.{}", 113 + number / 250, number % 250 + 1),
        };
        // A reload with `--complete-reload` forgets the connections, and who is in the middle of one
        // would wait for the rest of the test.
        machine.attacker(&address).patient_for(8).guess(Guesses { prompts: 2, ..Guesses::default() });
    }
}

pub(crate) fn after_any_faults_of_firewalld_it_holds_what_it_should(release: Release) {
    let count = setting("WARDEND_FAULTS", 25);
    let seed = setting("WARDEND_SEED", u64::from(std::process::id()));
    println!("{}: seed {seed}", release.name());
    let mut sshd = "MaxStartups 200\n".to_owned();
    if release.penalises_sources() {
        // sshd itself would turn guessers away.
        sshd.push_str("PerSourcePenalties no\n");
    }
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", CONFIGURATION)
        .file("/etc/ssh/sshd_config.d/test.conf", &sshd)
        // So often does nobody restart firewalld.
        .file("/etc/systemd/system/firewalld.service.d/test.conf", "[Unit]\nStartLimitIntervalSec=0\n")
        .hasty_passwords()
        .boot();
    machine.wait_until("all is well", || machine.try_run("wardenctl status").stdout.contains("Firewall: up"));
    let pid = machine.run("systemctl show -p MainPID --value wardend");

    let mut random = Random(seed);
    let (next, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    thread::scope(|scope| {
        let end = End(&enough);
        for lane in 0..4 {
            let (machine, next, enough) = (&machine, &next, &enough);
            scope.spawn(move || attack(machine, lane, next, enough));
        }
        for number in 0..count {
            // Each at least once, if there are enough; the last one is reported by firewalld, while
            // what was changed by hand may wait for the next comparison.
            let at = if number < FAULTS.len() as u64 { number } else { random.below(FAULTS.len() as u64) };
            let (what, how) = FAULTS[usize::try_from((at + seed) % FAULTS.len() as u64).expect("small")];
            let time = format!("0.{}", 1 + random.below(9));
            let entry = format!("198.51.100.{}", 1 + random.below(250));
            let how = how.replace("@rules", RULES).replace("@time", &time).replace("@entry", &entry);
            println!("{}: {:>3}. firewalld is {what}", release.name(), number + 1);
            let obvious =
                OBVIOUS.contains(&what) && machine.try_run("wardenctl status").stdout.contains("Firewall: up");
            let before = if obvious { outages(&machine).len() } else { 0 };
            let _ = machine.try_run(&how);
            thread::sleep(Duration::from_millis(random.below(1200)));
            if obvious {
                machine.wait_until("the outage is reported", || outages(&machine).len() > before);
            }
        }
        drop(end);
    });
    let _ = machine.try_run("systemctl restart firewalld");
    let lasted = begin.elapsed();

    let (mut should, mut does) = (BTreeSet::new(), BTreeSet::new());
    let mut agreed = false;
    // firewalld may have been left alone for as long as the longest pause between two attempts.
    for _ in 0..120 {
        (should, does) = (wanted(&machine), held(&machine));
        agreed = should == does && machine.run("wardenctl status").contains("Firewall: up");
        if agreed {
            break;
        }
        thread::sleep(Duration::from_millis(500));
    }
    if !agreed {
        let status = machine
            .try_run("wardenctl status; wardenctl firewall status; firewall-cmd --state; firewall-cmd --get-policies");
        let told = machine.run("journalctl -q -o short-monotonic -u wardend -u firewalld | grep -v 'anned \\|blocks \\|open connections of' | tail -60");
        machine.give_up(&format!(
            "the kernel holds {does:?}, and should {should:?}\n{}{}{told}",
            status.stdout, status.stderr
        ));
    }
    // And it goes on from there: a ban comes into force, and somebody who is free gets in.
    let (attacker, stranger) = (machine.attacker("198.51.100.77"), machine.attacker("198.51.100.78"));
    attacker.guess(Guesses { prompts: 2, ..Guesses::default() });
    machine.wait_for_message("firewalld blocks 198.51.100.77");
    assert_eq!(attacker.can_connect(), Connection::TimedOut);
    assert_eq!(stranger.can_connect(), Connection::Open);

    assert_eq!(machine.run("systemctl show -p NRestarts --value wardend").trim(), "0");
    assert_eq!(machine.run("systemctl show -p MainPID --value wardend"), pid, "nobody has restarted it");
    let told = outages(&machine).len() as u64;
    let bans = machine.messages("Banned ").len();
    println!(
        "{}: {count} faults in {:.0} s, {bans} bans; at the end {} in force; an outage was told {told} times",
        release.name(),
        lasted.as_secs_f64(),
        should.len()
    );
    assert!(told <= 2 * count, "an outage is reported once, and not again and again: {told} times for {count} faults");
    assert!(bans > usize::try_from(count / 4).expect("small"), "there was no attack: {bans} bans");
}

pub(crate) fn a_restart_of_the_bus_is_reported_and_costs_no_ban(release: Release) {
    let machine = Machine::boot(release);
    let attacker = machine.attacker("203.0.113.7");
    machine.run("wardenctl ban 203.0.113.7 --for 1h");
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    // Whatever lives on the bus goes down with it; systemd starts wardend again, and an admin the
    // rest of it.
    machine.run("systemctl restart dbus");
    machine.run("systemctl restart systemd-logind polkit firewalld");
    machine.wait_for_message("The connection to the system bus is lost.");
    machine.wait_until("wardend is back", || machine.try_run("wardenctl status").stdout.contains("Firewall: up"));
    machine.wait_until("the ban is in force", || held(&machine).contains("203.0.113.7"));
    assert_eq!(attacker.can_connect(), Connection::TimedOut);
    assert_eq!(wanted(&machine), held(&machine));
    assert_ne!(machine.run("systemctl show -p NRestarts --value wardend").trim(), "0", "systemd has restarted it");
}
