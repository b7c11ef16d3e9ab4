//! Lists: thousands of bans in one call, which is repeated, taken away, and brought back from a file.

use crate::harness::machine::{Machine, Release};

/// Prints how often a file was replaced, until another one is there.
const COUNT: &str = r#"
import os, time
seen, last = 0, os.stat("/var/lib/wardend/state.json").st_ino
open("/run/counting", "w").close()
while not os.path.exists("/run/enough"):
    try: now = os.stat("/var/lib/wardend/state.json").st_ino
    except FileNotFoundError: continue
    seen, last = seen + (now != last), now
    time.sleep(0.002)
print(seen)
"#;
const SETTINGS: &str = "[jail.list]\nfilter = \"\"\nbantime = \"1week\"\n";
const BAN: &str = "aa04c1c10db24c02ad4e28e8ac726807";
/// The most bans that wardend keeps.
const MOST: usize = 100_000;
const IN_FORCE: &str = "d3900ade55e14a7491ea1ddb5189c835";

/// The sources of a list: 10000, or more by `WARDEND_LIST`, for the figures and what is said at the bound.
fn size() -> usize {
    std::env::var("WARDEND_LIST").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000)
}

/// The daemon's CPU so far, in ms.
fn cpu(machine: &Machine) -> u64 {
    let stat = machine.run("cat /proc/$(systemctl show -p MainPID --value wardend)/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    fields[11..13].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

fn lines(machine: &Machine, command: &str) -> usize {
    machine.run(&format!("{command} | wc -l")).trim().parse().expect("a number")
}

/// Gives the list, however long it takes, and returns the last line of what is printed and of the errors.
fn give(machine: &Machine) -> String {
    let ban = "wardenctl ban --file /root/list --jail list --origin scanners >/run/said 2>/run/errors || :; \
               tail -1 /run/said; tail -1 /run/errors";
    machine.try_run_for(1800, ban).stdout
}

/// Nanoseconds as seconds.
fn second(nanos: &str) -> f64 {
    nanos.trim().parse::<f64>().expect("a number") / 1e9
}

fn now_in(machine: &Machine) -> f64 {
    second(&machine.run("date +%s%N"))
}

fn generation(machine: &Machine) -> String {
    machine.run("busctl get-property org.wardend1 /org/wardend1 org.wardend1.Manager Generation")
}

pub(crate) fn a_list_of_thousands_is_one_call_and_the_same_list_again_changes_nothing(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/list.conf", SETTINGS)
        .file("/root/count.py", COUNT)
        .boot();
    let (size, name) = (size(), release.name());
    machine.run(&format!(
        "for a in $(seq 0 {}); do for b in $(seq 0 249); do echo 10.$((a / 200)).$((a % 200)).$b; done; done | head -{size} >/root/list; echo '# the end' >>/root/list",
        size / 250
    ));
    let jails = machine.run("wardenctl jails");
    println!("{name}:\n{jails}");
    assert!(jails.contains("\nlist "), "a jail without a filter");
    // The first order makes ipset and policy.
    machine.run("wardenctl ban 192.0.2.99 --jail list");
    machine.wait_for_message("firewalld blocks 192.0.2.99");
    machine.run("sleep 3; systemd-run --quiet --unit=count sh -c 'python3 /root/count.py >/run/writes'");
    machine.wait_until("it is counted", || machine.try_run("test -e /run/counting").code == 0);

    let begun = machine.run("date +%s%N");
    let before = cpu(&machine);
    let said = give(&machine);
    let called = machine.run("date +%s%N");
    let all =
        || lines(&machine, &format!("journalctl -u wardend -o cat MESSAGE_ID={IN_FORCE} --output-fields=MESSAGE"));
    // With the first ban, one of the most that there can be is too many.
    let most = size.min(MOST - 1);
    if size > 10_000 {
        // firewalld needs minutes. It is stuck if nothing more comes into force for as long as a wait takes.
        let (mut now, mut then) = (0, usize::MAX);
        while now <= most && now != then {
            then = now;
            for _ in 0..12 {
                machine.run("sleep 5");
                now = all();
                if now != then {
                    break;
                }
            }
            println!("{name}: {now} are in force, {:.0} s", now_in(&machine) - second(&begun));
        }
    }
    machine.wait_until("all are in force", || all() > most);
    let last = machine.run(&format!("journalctl -u wardend MESSAGE_ID={IN_FORCE} -n 1 -o short-unix | cut -d' ' -f 1"));
    let used = cpu(&machine) - before;
    let (begun, called, last) = (second(&begun), second(&called), last.trim().parse::<f64>().expect("a number"));
    println!(
        "{name}: {size} sources: the call took {:.2} s, all were in force after {:.2} s, wardend used {used} ms of CPU\n{said}",
        called - begun,
        last - begun
    );
    machine.run("sleep 8; touch /run/enough");
    machine.wait_until("the writes were counted", || !machine.run("cat /run/writes").is_empty());
    let writes: u32 = machine.run("cat /run/writes").trim().parse().expect("a number");
    println!("{name}: the state was written {writes} times");
    if size > 10_000 {
        let cut = machine.run("journalctl -q -o cat | grep -c 'connections of 10\\.' || :");
        let begun = now_in(&machine);
        let (before, was) = (cpu(&machine), generation(&machine));
        let again = give(&machine);
        println!(
            "{name}: {} cut; the same list again took {:.1} s and {} ms of CPU:\n{again}",
            cut.trim(),
            now_in(&machine) - begun,
            cpu(&machine) - before
        );
        let refused = size - most;
        let sentence = format!("Read {size} sources: 0 banned, 0 extended, {most} already banned, {refused} refused.");
        assert!(again.starts_with(&sentence) && generation(&machine) == was, "{again}");
        assert_eq!(again.contains("100000 bans are in force, which is the most that wardend keeps"), refused > 0);
        machine.run("echo 10.200.0.1 >>/root/list");
        println!("{name}: one more: {}", give(&machine));
        return;
    }
    // Far from what it takes, so that a busy machine passes, and from what one call for each took: 155 s.
    assert!(last - begun < 60.0 && used < 20_000, "{:.1} s, {used} ms", last - begun);
    // Once before the answer, and then the copy that is there if that file is damaged.
    assert!(writes <= 2, "{writes} writes");
    // Nothing is cut: there is no record of it.
    assert_eq!(machine.run("journalctl -q -o cat | grep 'connections of 10\\.' || :"), "");
    let records = format!("journalctl -u wardend -o cat MESSAGE_ID={BAN} WARDEND_ORIGIN=scanners");
    assert_eq!(lines(&machine, &records), size, "each has a record");
    machine.wait_for_message(&format!(
        "Received a list of origin 'scanners': {size} banned, 0 extended, 0 already banned, 0 refused."
    ));

    // The same list again.
    let (was, state) = (generation(&machine), "stat -c %i /var/lib/wardend/state.json");
    let inode = machine.run(state);
    let again = machine.run("wardenctl ban --file /root/list --jail list --origin scanners");
    let sentence = format!("Read {size} sources: 0 banned, 0 extended, {size} already banned, 0 refused.");
    assert_eq!(again.trim(), sentence);
    assert_eq!((generation(&machine), machine.run(state)), (was, inode), "nothing has changed, and nothing is written");
    let window = machine.run("wardenctl list 10.0.0.0/24 --origin scanners --sort since -n 3");
    println!("{name}:\n{window}");
    let found = size.min(250);
    assert!(window.contains(&format!("3 bans of {found} listed.")) && window.contains("#1"), "{window}");

    // Away, and back from a file.
    machine.run("wardenctl export --origin scanners >/root/bans.jsonl");
    assert_eq!(lines(&machine, "cat /root/bans.jsonl"), size);
    assert_eq!(machine.run("wardenctl unban --all --origin scanners").trim(), format!("Ended {size} bans."));
    let before = cpu(&machine);
    let back = machine.run("wardenctl import /root/bans.jsonl");
    println!("{name}: {back}{} ms of CPU", cpu(&machine) - before);
    assert!(back.contains(&format!(": {size} banned, 0 extended, 0 already banned, 0 refused, 0 over.")), "{back}");
    let twice = machine.run("wardenctl import /root/bans.jsonl");
    assert!(twice.contains(&format!(": 0 banned, 0 extended, {size} already banned, 0 refused")), "{twice}");
    machine.run("wardenctl export --origin scanners >/root/again.jsonl && cmp /root/bans.jsonl /root/again.jsonl");
    machine.run("systemctl restart wardend && wardenctl export --origin scanners >/root/again.jsonl && cmp /root/bans.jsonl /root/again.jsonl");

    // A ban that is not in force says so.
    machine.run("systemctl stop firewalld");
    machine.wait_for_message("firewalld is not running");
    let ban = machine.try_run("wardenctl ban 203.0.113.7 --for forever");
    assert_eq!(ban.code, 6, "{}", ban.stderr);
    let sentence = "Banned 203.0.113.7 in jail sshd permanently, not in force: firewalld is not running";
    assert!(ban.stdout.starts_with(sentence), "{}", ban.stdout);
    println!("{name}: {}", ban.stdout.trim());
    let some = machine.try_run("wardenctl ban 203.0.113.8 203.0.113.9");
    assert!(
        some.code == 6 && some.stderr.contains("2 bans are not in force: firewalld is not running"),
        "{}",
        some.stderr
    );
}
