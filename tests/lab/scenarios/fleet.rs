//! A fleet: what attacks one machine is known to all, and no machine can have anybody banned on the others.

use crate::{
    harness::{
        attack::{Connection, Guesses},
        fleet::{BROKER, FleetOf, Kind, name, subject},
        host,
        machine::{Machine, Release},
    },
    scenarios::{
        fleet_policy::{a_clock_that_is_wrong, what_one_voice_is_worth},
        fleet_trust::{
            a_stream_of_a_machine_in_the_wrong_hands, what_counts_is_explained, whom_no_number_of_voices_bans,
        },
        package::packages,
    },
};

const SCANNER: &str = "203.0.113.7";

/// The releases of the three machines.
pub(super) fn releases(usual: [Release; 3]) -> Vec<Release> {
    let Ok(named) = std::env::var("WARDEND_FLEET_RELEASES") else { return usual.to_vec() };
    named.split_whitespace().map(|name| Release::by_name(name).expect("it is the name of a release")).collect()
}

/// How many bans are timed.
fn timed() -> usize {
    std::env::var("WARDEND_FLEET_BANS").ok().and_then(|number| number.parse().ok()).unwrap_or(5)
}

/// Whether firewalld drops a source because of the fleet.
pub(super) fn is_banned(machine: &Machine, source: &str) -> bool {
    let bans = machine.try_run("wardenctl list --json --origin fleet").stdout;
    let row = bans.contains(&format!("\"source\":\"{source}\""));
    row && machine.try_run("firewall-cmd --ipset=wardend4 --get-entries").stdout.lines().any(|entry| entry == source)
}

pub(super) fn explained(machine: &Machine, source: &str) -> String {
    machine.run(&format!("wardenctl fleet explain {source}"))
}

/// When a record was written, in µs; the last one of this message.
pub(super) fn written(machine: &Machine, message: &str) -> Option<u64> {
    let journal = machine.run("journalctl --boot --output=json --output-fields=MESSAGE -u wardend");
    let rows = journal.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut found = rows.filter(|row| row["MESSAGE"].as_str().is_some_and(|text| text.contains(message)));
    found.next_back()?["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()
}

pub(crate) fn what_attacks_one_machine_is_known_to_all_and_one_alone_bans_nobody(_: Release) {
    all_of(Kind::Nats);
}

pub(crate) fn over_mqtt_what_attacks_one_machine_is_known_to_all_and_one_alone_bans_nobody(_: Release) {
    all_of(Kind::Mosquitto);
}

/// The commands of docs/fleet.md set the fleet up, word for word.
fn all_of(broker: Kind) {
    let newest = if host::has(Release::Debian14) { Release::Debian14 } else { Release::Debian13 };
    let releases = releases([Release::Debian13, Release::Debian12, newest]);
    let fleet = FleetOf::boot_packaged(&releases, broker, &packages(0).wardend);
    let [a, _, c] = &fleet.machines[..] else { panic!("there are three") };
    a.wait_until("all machines know each other", || fleet.is_in_step());
    println!("{}", a.run("wardenctl fleet status"));
    an_attack(&fleet);
    the_way_to_the_others(&fleet);
    a_release(&fleet);
    a_broker_without_memory(&fleet);
    a_killed_agent(&fleet);
    the_rights_of_the_agent(c);
    what_counts_is_explained(&fleet);
    whom_no_number_of_voices_bans(&fleet);
    what_one_voice_is_worth(&fleet);
    if broker == Kind::Nats {
        a_stream_of_a_machine_in_the_wrong_hands(&fleet);
    }
    a_clock_that_is_wrong(&fleet);
    a_machine_in_the_wrong_hands(&fleet);
    no_trace(&fleet);
}

/// A source that attacks one machine is suspected on the others, and banned by two everywhere.
fn an_attack(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    // A real attack on one of them: the others suspect the source, and nobody is banned there yet.
    a.attacker(SCANNER).guess(Guesses { connections: 2, prompts: 3, ..Guesses::default() });
    a.wait_for_message(&format!("firewalld blocks {SCANNER}"));
    b.wait_until("the second knows", || explained(b, SCANNER).starts_with(&format!("The first failure of {SCANNER}")));
    c.wait_until("the third knows", || c.run("wardenctl suspect --list").contains(SCANNER));
    assert_eq!(b.attacker(SCANNER).can_connect(), Connection::Open);
    // Its first failure on the second is a ban there, which makes two: it is banned on the third, where it never was.
    b.wait_until("the second suspects it", || b.run("wardenctl suspect --list").contains(SCANNER));
    b.attacker(SCANNER).guess(Guesses::default());
    b.wait_for_message(&format!("firewalld blocks {SCANNER}"));
    c.wait_until("it is banned on the third", || is_banned(c, SCANNER));
    println!("{}\n{}", explained(c, SCANNER), c.run("wardenctl list"));
    assert_eq!(c.attacker(SCANNER).can_connect(), Connection::TimedOut);
    a.wait_until("the copies are equal", || fleet.is_in_step());
}

/// The time from the second voice to firewalld's word on the third.
fn the_way_to_the_others(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    let mut times: Vec<u64> = (0..timed())
        .map(|number| {
            let source = format!("198.18.{}.{}", number / 250, number % 250 + 1);
            a.run(&format!("wardenctl ban {source} --jail sshd"));
            c.wait_until("one voice is known", || explained(c, &source).contains("1 of 2 voices"));
            b.run(&format!("wardenctl ban {source} --jail sshd"));
            c.wait_until("it is in force", || is_banned(c, &source));
            let begun = written(b, &format!("Banned {source} in jail sshd")).expect("it was banned");
            written(c, &format!("firewalld blocks {source}")).expect("it is in force").saturating_sub(begun)
        })
        .collect();
    times.sort_unstable();
    println!(
        "{} bans, from the ban on one to firewalld's word on another: median {} ms, p99 {} ms, all: {times:?}",
        times.len(),
        times[times.len() / 2] / 1000,
        times[(times.len() * 99).div_ceil(100) - 1] / 1000
    );
}

/// Who releases a source, releases it everywhere; where somebody else has it banned, it stays released.
fn a_release(fleet: &FleetOf) {
    let [a, _, c] = &fleet.machines[..] else { panic!("there are three") };
    c.run(&format!("wardenctl unban {SCANNER}"));
    c.wait_for_message(&format!("Pardoned {SCANNER}"));
    a.run(&format!("wardenctl unban {SCANNER} --jail sshd"));
    a.wait_until("the fleet has released it on the first", || !is_banned(a, SCANNER));
    assert!(explained(c, SCANNER).contains("is pardoned by"), "{}", explained(c, SCANNER));
}

/// A broker is killed and loses everything: nobody is released, and all copies are equal again.
fn a_broker_without_memory(fleet: &FleetOf) {
    let [a, _, c] = &fleet.machines[..] else { panic!("there are three") };
    for broker in &fleet.brokers {
        let (unit, store) = (broker.unit(), broker.store());
        let again = format!("systemctl kill --signal=KILL {unit}; rm -rf {store}; systemctl restart {unit}");
        fleet.hub().run(&again);
        c.wait_until("it is connected again", || {
            let connected = c.messages(&format!("Connected to {}", broker.url())).len();
            connected > 1
        });
    }
    a.run("wardenctl ban 198.18.9.9 --jail sshd");
    a.wait_until("the copies are equal again", || fleet.is_in_step());
    assert!(is_banned(c, "198.18.0.1"), "a ban has ended with the broker's data");
}

/// A killed agent learns what it has missed.
fn a_killed_agent(fleet: &FleetOf) {
    let [_, b, c] = &fleet.machines[..] else { panic!("there are three") };
    c.run("systemctl kill --signal=KILL wardend-fleet");
    b.run("wardenctl ban 198.18.9.9 --jail sshd");
    c.wait_until("it is banned on the third", || is_banned(c, "198.18.9.9"));
}

/// The agent may ban by the fleet's origin, and do nothing else.
fn the_rights_of_the_agent(c: &Machine) {
    let refused = |command: &str| c.try_run(&format!("runuser -u wardend-fleet -- wardenctl {command}")).code;
    assert_eq!(refused("ban 198.18.9.1 --jail fleet"), 4);
    assert_eq!(refused("unban 198.18.9.9"), 4);
    assert_eq!(refused("unban --all"), 4);
    assert_eq!(refused("reload"), 4);
    assert_eq!(refused("ban 198.18.9.1 --jail fleet --origin fleet"), 0);
    assert_ne!(c.try_run("runuser -u alice -- wardenctl fleet pardon 198.18.9.9").code, 0);
    assert_eq!(c.try_run("runuser -u alice -- wardenctl fleet status").code, 0);
    let exposure = c.run("systemd-analyze security wardend-fleet --no-pager | tail -1");
    println!("{exposure}");
    let level: f64 = exposure.split_whitespace().find_map(|word| word.parse().ok()).expect("it has a level");
    assert!(level <= 1.5, "{exposure}");
}

/// A machine in the wrong hands is refused by the broker, or muted.
fn a_machine_in_the_wrong_hands(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    c.run("systemctl stop wardend-fleet");
    c.write("/root/poison.py", include_str!("../guest/poison.py"));
    let connected = a.messages("Connected to").len();
    for broker in &fleet.brokers {
        let program = broker.unit();
        let said = c.run(&format!("python3 /root/poison.py {program} {BROKER} {} {}", name(2), name(0)));
        println!("{said}");
        let refused: &[&str] = match broker {
            Kind::Nats => &["wardend.1.new.web1_example", "wardend.1.doc.web1_example", "STREAM.PURGE"],
            Kind::Mosquitto => &[
                "wardend/1/new/web1.example",
                "wardend/1/doc/web1.example",
                "wardend/1/mark/web1.example",
                "elsewhere",
            ],
        };
        for subject in refused {
            assert!(said.contains(subject), "the broker lets it write {subject}");
        }
        if *broker == Kind::Mosquitto {
            assert_eq!(a.messages("Connected to").len(), connected, "it took the place of another machine");
        }
    }
    for (machine, number) in [(a, 0), (b, 1)] {
        machine.wait_for_message(&format!("Not listening to {}", subject(2)));
        let state = fleet.status(number);
        let row = state["machines"].as_array().into_iter().flatten().find(|row| row["machine"] == subject(2)).cloned();
        assert_eq!(row.expect("it is known")["state"], "muted");
        let suspects = machine.run("wardenctl suspect --list");
        assert!(!suspects.contains("11.0.0.7") && !suspects.contains("198.51.100."), "{suspects}");
        let bans = machine.run("wardenctl list --json --origin fleet");
        assert!(!bans.contains("198.51.100.") && !bans.contains("192.0.2.1\""), "{bans}");
        println!("{}", machine.run("wardenctl fleet status; systemctl status --no-pager -n 5 wardend-fleet"));
    }
    assert_eq!(a.attacker("11.0.0.7").can_connect(), Connection::Open);
}

/// Leaving takes the own bans back and ends those of others, and the package goes without a trace.
fn no_trace(fleet: &FleetOf) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    b.run("wardenctl fleet leave");
    b.wait_until("it has no ban of the fleet", || !b.run("wardenctl list --json --origin fleet").contains("198.18."));
    a.wait_until("its voices are gone", || explained(a, "198.18.9.9").contains("No other machine bans"));

    // The package goes without a trace.
    c.run("DEBIAN_FRONTEND=noninteractive dpkg --purge wardend-fleet >/root/purge.log 2>&1 || { cat /root/purge.log; exit 1; }");
    let left = c.run(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /root -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache \\) -prune \
         -o \\( -name '*wardend-fleet*' -o -name '*fleet.conf*' -o -name '*wardend1.Fleet*' -o -path /etc/wardend/fleet \\) -print; \
         getent passwd wardend-fleet; systemctl list-unit-files --no-legend 'wardend-fleet*'; wardenctl jails | grep fleet; true",
    );
    assert_eq!(left, "", "the package leaves something behind");
}
