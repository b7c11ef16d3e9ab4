//! What each machine of a fleet makes of the voices of others: by its own configuration, and by its own clock.

use std::time::Duration;

use crate::{
    harness::{
        attack::Connection,
        fleet::{FleetOf, subject},
        host,
        machine::Machine,
    },
    scenarios::fleet::{explained, is_banned},
};

/// An agent that has just started releases nobody for half a minute for want of voices, and looks at all again after ten
/// seconds; the rest is for a busy host.
const UNTIL_RELEASED: Duration = Duration::from_secs(120);
/// The clock of the third machine, in the programs that tell the time there: as long as all it has is a file.
const PROGRAMS: [&str; 3] = ["systemd-journald", "wardend", "wardend-fleet"];

/// What is known on a machine of the voices against a source.
fn known(machine: &Machine, source: &str) -> serde_json::Value {
    let text = machine.try_run(&format!("wardenctl fleet explain --json {source}")).stdout;
    serde_json::from_str(&text).unwrap_or_default()
}

/// When the ban of the fleet ends, by the clock of the machine, in s.
fn end(machine: &Machine, source: &str) -> Option<i64> {
    Some(known(machine, source)["banned_until_usec"].as_i64()? / 1_000_000)
}

/// Sets a key of fleet.conf on a machine, or takes it out again.
fn configure(machine: &Machine, settings: &str) {
    let file = "/etc/wardend/fleet.conf.d/voices.conf";
    if settings.is_empty() {
        machine.run(&format!("rm {file}"));
    } else {
        machine.write(file, &format!("[fleet]\n{settings}\n"));
    }
    machine.run("systemctl restart wardend-fleet");
}

/// How many voices result in a ban, and what fewer do, is each machine's own decision.
pub(super) fn what_one_voice_is_worth(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    let (source, ignored) = ("198.19.10.1", "198.19.10.2");
    a.run(&format!("wardenctl ignore {ignored}"));
    configure(a, "quorum = 1");
    configure(b, "single = \"nothing\"");
    a.wait_until("both are back", || fleet.is_in_step());
    for source in [source, ignored] {
        c.run(&format!("wardenctl ban {source} --jail sshd --for 2h"));
    }
    // With a quorum of one, it is banned.
    a.wait_until("one voice is enough", || is_banned(a, source));
    assert!(explained(a, source).contains("(1 of 1 voices)"), "{}", explained(a, source));
    assert_eq!(a.attacker(source).can_connect(), Connection::TimedOut);
    a.wait_until("wardend has refused the ban", || explained(a, ignored).contains("wardend has refused the ban: "));
    assert!(!is_banned(a, ignored), "it is in ignoreip");
    // With the usual one, one voice results in what the machine wants: here, nothing.
    b.wait_until("the voice is known", || known(b, source)["voices"][0]["machine"] == subject(2));
    let said = explained(b, source);
    assert!(said.starts_with(&format!("{source} is not banned here by the fleet (1 of 2 voices).")), "{said}");
    assert!(!b.run("wardenctl suspect --list").contains(source), "it is suspected");
    assert_eq!(b.attacker(source).can_connect(), Connection::Open);
    // Or a ban, which is a short one.
    configure(b, "single = \"ban\"\nsingle-bantime = \"5min\"");
    b.wait_until("a short ban follows", || is_banned(b, source));
    let known = known(b, source);
    let heard = known["voices"][0]["heard_usec"].as_i64().expect("it was heard") / 1_000_000;
    assert_eq!(end(b, source), Some(heard + 300), "{known}");
    // Who has said so takes it back.
    c.run(&format!("wardenctl unban {source}"));
    for machine in [a, b] {
        machine.wait_for(UNTIL_RELEASED, "it is released", || !is_banned(machine, source));
    }
    c.run(&format!("wardenctl unban {ignored}"));
    configure(a, "");
    configure(b, "");
    a.wait_until("both are back", || fleet.is_in_step());
}

/// By how many seconds the clock of the third machine is wrong.
fn set(machine: &Machine, by: i64) {
    // In place: programs have it in their memory.
    machine.run(&format!("printf '{by:+011}' | dd of=/usr/local/lib/clock conv=notrunc status=none"));
}

/// The clock of one machine is set an hour ahead, and set right, while all run; its agent is restarted in between.
pub(super) fn a_clock_that_is_wrong(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    let ban = |machines: [&Machine; 2], source: &str, time: &str| {
        for machine in machines {
            machine.run(&format!("wardenctl ban {source} --jail sshd --for {time}"));
        }
    };
    let is_ahead = |seconds: i64| (3540..=3600).contains(&seconds);
    // As of the first machine, of the third one's clock.
    let seen = || {
        let status = fleet.status(0);
        let row = status["machines"].as_array().into_iter().flatten().find(|row| row["machine"] == subject(2)).cloned();
        row.and_then(|row| row["clock_seconds"].as_i64()).unwrap_or_default()
    };
    a_clock_of_its_own(c);
    a.wait_until("it is back", || fleet.is_in_step());
    let (theirs, ours) = ("198.19.11.1", "198.19.11.2");
    ban([b, c], theirs, "2h");
    ban([a, b], ours, "30min");
    a.wait_until("the first has it", || is_banned(a, theirs));
    c.wait_until("the third has it", || is_banned(c, ours));
    // An end is at a time but for what messages take.
    let is_at = |end: Option<i64>, time: Option<i64>| end.zip(time).is_some_and(|(end, time)| (end - time).abs() <= 60);
    let (before_a, before_c) = (end(a, theirs), end(c, ours));

    set(c, 3600);
    // What is ordered before wardend has noticed it lasts as long as was ordered.
    c.run("wardenctl ban 198.19.11.3 --jail sshd --for 30min");
    c.wait_for_message("The clock was set forward");
    a.wait_for_message(&format!("The clock of {} is 3", subject(2)));
    a.wait_until("it is corrected by that", || is_ahead(seen()) && fleet.is_in_step());
    assert!(is_at(end(c, ours), before_c.map(|time| time + 3600)), "{:?} {before_c:?}", end(c, ours));
    assert!(is_at(end(a, theirs), before_a), "{:?} {before_a:?}", end(a, theirs));
    // What is said by a clock that is wrong ends when it should.
    let (to_a, to_c) = ("198.19.11.3", "198.19.11.4");
    b.run(&format!("wardenctl ban {to_a} --jail sshd --for 30min"));
    ban([a, b], to_c, "30min");
    a.wait_until("the first has it", || is_banned(a, to_a));
    c.wait_until("the third has it", || is_banned(c, to_c));
    let now = a.run("date +%s").trim().parse::<i64>().expect("it is a number");
    for (of, end, by) in [("the first", end(a, to_a), 0), ("the third", end(c, to_c), 3600)] {
        let rest = end.map(|end| end - by - now);
        assert!(rest.is_some_and(|rest| (1680..=1860).contains(&rest)), "on {of}, it lasts {rest:?} s");
    }
    let released = c.messages(&format!("Unbanned {ours} "));
    assert!(released.is_empty(), "it was released meanwhile: {released:?}");

    // Restarted, it begins later than it will when its clock is right, and is heard all the same.
    c.run("systemctl restart wardend-fleet");
    a.wait_until("it is known again", || fleet.is_in_step() && is_ahead(seen()));
    set(c, 0);
    c.run("wardenctl ban 198.19.11.5 --jail sshd --for 30min");
    c.wait_for_message("The clock was set back");
    c.run("systemctl restart wardend-fleet");
    a.wait_for_message(&format!("The clock of {} is right again", subject(2)));
    b.run("wardenctl ban 198.19.11.5 --jail sshd --for 30min");
    a.wait_until("it is heard", || is_banned(a, "198.19.11.5") && fleet.is_in_step());
    c.wait_until("it hears", || is_banned(c, ours));
    assert_eq!(seen(), 0);
    for source in [theirs, to_a] {
        let released = a.messages(&format!("Unbanned {source} "));
        assert!(released.is_empty(), "it was released meanwhile: {released:?}");
    }
    c.run(
        "for unit in systemd-journald wardend wardend-fleet; do rm -r /etc/systemd/system/$unit.service.d/clock.conf; done; \
         rmdir --ignore-fail-on-non-empty /etc/systemd/system/*.service.d; systemctl daemon-reload; \
         systemctl restart systemd-journald wardend wardend-fleet",
    );
    a.wait_until("it is back", || fleet.is_in_step());
}

/// Has the programs of a machine read a clock that can be set, and is right.
fn a_clock_of_its_own(machine: &Machine) {
    let library = machine.root().join("usr/local/lib/clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/guest/clock.c");
    let compile = ["-shared", "-fPIC", "-O1", "-Wall", "-o", &library.to_string_lossy(), source];
    host::run("cc", &compile).unwrap_or_else(|error| panic!("{error}"));
    machine.write("/usr/local/lib/clock", "+0000000000");
    for program in PROGRAMS {
        machine.write(
            &format!("/etc/systemd/system/{program}.service.d/clock.conf"),
            "[Service]\nEnvironment=LD_PRELOAD=/usr/local/lib/clock.so\n",
        );
    }
    machine.run(&format!("systemctl daemon-reload; systemctl restart {}", PROGRAMS.join(" ")));
}
