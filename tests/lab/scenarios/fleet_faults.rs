//! A fleet whose parts fail, and a fleet of many: what is banned is the union of what each machine says.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    harness::{
        fleet::{FleetOf, Kind, subject},
        machine::{Machine, Release},
    },
    scenarios::fleet::{explained, is_banned, releases, written},
};

/// The releases of the three machines, of which the first one has the brokers.
const RELEASES: [Release; 3] = [Release::Debian13, Release::Debian12, Release::Debian13];
/// Two brokers that know nothing of each other.
const BOTH: [Kind; 2] = [Kind::Nats, Kind::Mosquitto];

fn number_in(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The sources that the fleet has banned on a machine.
fn banned(machine: &Machine) -> BTreeSet<String> {
    let text = machine.try_run("wardenctl list --json --origin fleet").stdout;
    let rows: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let rows = rows.as_array().or_else(|| rows["bans"].as_array()).cloned().unwrap_or_default();
    rows.iter().filter_map(|row| row["source"].as_str().map(str::to_owned)).collect()
}

/// One of the parts fails.
fn fail(fleet: &FleetOf, round: usize) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    let kill = |machine: &Machine, unit: &str| {
        machine.run(&format!(
            "systemctl kill --signal=KILL {unit}; systemctl reset-failed {unit}; systemctl start {unit}"
        ));
    };
    match round % 6 {
        0 => kill(c, "wardend-fleet"),
        1 => kill(c, "wardend"),
        2 | 5 => {
            let broker = BOTH[round % 2];
            let (unit, store) = (broker.unit(), broker.store());
            a.run(&format!(
                "systemctl kill --signal=KILL {unit}; rm -rf {store}; systemctl reset-failed {unit}; systemctl restart {unit}"
            ));
        }
        3 => kill(a, "wardend-fleet"),
        _ => kill(b, "wardend"),
    }
}

pub(crate) fn whatever_fails_on_two_brokers_the_fleet_bans_what_two_machines_say(_: Release) {
    let fleet = FleetOf::boot(&releases(RELEASES), &BOTH);
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    a.wait_until("all machines know each other", || fleet.is_in_step());
    // The model: what two say is banned, and nothing else.
    let mut model = BTreeSet::new();
    let order = |machine: &Machine, order: &str| {
        machine.wait_until("wardend takes an order", || {
            machine.try_run(&format!("wardenctl {order} --jail sshd")).code == 0
        });
    };
    for round in 0..number_in("WARDEND_FLEET_FAULTS", 8) {
        let source = |number: usize| format!("198.18.{}.{}", number / 250, number % 250 + 1);
        order(a, &format!("ban {}", source(round)));
        fail(&fleet, round);
        order(b, &format!("ban {}", source(round)));
        model.insert(source(round));
        if round % 3 == 2 {
            order(a, &format!("unban {}", source(round - 1)));
            model.remove(&source(round - 1));
        }
    }
    c.wait_until("it bans what two say", || model.is_subset(&banned(c)));
    // What was taken back while an agent was away is not released before others have had time to come back.
    c.wait_until("it bans nothing else", || banned(c) == model);
    a.wait_until("the copies are equal", || fleet.is_in_step());
    let entries = entries(c);
    let unbanned = c.messages("Unbanned ");
    for source in &model {
        assert!(entries.contains(source), "{source} is not in firewalld");
        let released = unbanned.iter().find(|message| message.contains(&format!("Unbanned {source} ")));
        assert_eq!(released, None, "it was released meanwhile");
    }
    println!("{} are banned, none was released meanwhile.", model.len());
    a_cut_link(&fleet, &mut model);
    a_certificate_of_somebody_else(&fleet);
}

/// A machine is cut off while others are attacked; nothing is released, and afterwards it knows all.
fn a_cut_link(fleet: &FleetOf, model: &mut BTreeSet<String>) {
    let [a, b, c] = &fleet.machines[..] else { panic!("there are three") };
    a.run("ip link set port13 down");
    for number in 1..=5 {
        for machine in [a, b] {
            machine.run(&format!("wardenctl ban 198.19.0.{number} --jail sshd"));
        }
        model.insert(format!("198.19.0.{number}"));
    }
    a.wait_until("the one that is not cut off has them", || is_banned(a, "198.19.0.5"));
    assert!(!is_banned(c, "198.19.0.5"), "it is not cut off");
    a.run("ip link set port13 up");
    c.wait_until("it has what it has missed", || banned(c) == *model);
    a.wait_until("the copies are equal", || fleet.is_in_step());
}

/// A machine whose certificate is by another authority, or has expired, is not let in.
fn a_certificate_of_somebody_else(fleet: &FleetOf) {
    let [a, _, c] = &fleet.machines[..] else { panic!("there are three") };
    a.run(
        "cd /root/fleet && mkdir -p foreign expired && cp ca.pem ca-key.pem expired/ && \
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=fleet -keyout foreign/ca-key.pem -out foreign/ca.pem 2>/dev/null && \
         echo subjectAltName=DNS:web3.example >ext && \
         openssl x509 -req -in web3.example.csr -CA foreign/ca.pem -CAkey foreign/ca-key.pem -CAcreateserial -days 30 -extfile ext -out foreign/web3.pem 2>/dev/null && \
         openssl x509 -req -in web3.example.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -not_before 20200101000000Z -not_after 20200201000000Z -extfile ext -out expired/web3.pem 2>/dev/null",
    );
    let certificate = |path: &str| {
        let text = a.run(&format!("cat /root/fleet/{path}"));
        c.write("/etc/wardend/fleet/certificate.pem", &text);
        c.run("systemctl reset-failed wardend-fleet; systemctl restart wardend-fleet");
    };
    for path in ["foreign/web3.pem", "expired/web3.pem"] {
        certificate(path);
        c.wait_until("no broker lets it in", || {
            let state = fleet.status(2);
            let brokers = state["brokers"].as_array().cloned().unwrap_or_default();
            let refused = |row: &serde_json::Value| row["state"] == "lost" && row["problem"] != "";
            brokers.len() == 2 && brokers.iter().all(refused)
        });
        println!("{}", c.run("wardenctl fleet status"));
        assert!(explained(c, "198.19.0.5").starts_with("No other machine bans"), "it hears others");
    }
    certificate("web3.example.pem");
    a.wait_until("it is let in again", || fleet.is_in_step());
}

/// The CPU time that a unit has used, in ms.
fn cpu(machine: &Machine, unit: &str) -> u64 {
    let said = machine.run(&format!("systemctl show {unit} -p CPUUsageNSec --value"));
    said.trim().parse::<u64>().unwrap_or(0) / 1_000_000
}

/// The memory of the process of a unit: now, and the most.
fn memory(machine: &Machine, unit: &str) -> String {
    machine.run(&format!(
        "grep -h -E 'VmRSS|VmHWM' /proc/$(systemctl show {unit} -p MainPID --value)/status | tr -s '\\t\\n ' ' '"
    ))
}

/// What units use while something goes on.
struct Meter<'m> {
    before: Vec<(&'m Machine, &'static str, u64)>,
    begun: Instant,
}

impl<'m> Meter<'m> {
    fn start(units: impl IntoIterator<Item = (&'m Machine, &'static str)>) -> Self {
        let before = units.into_iter().map(|(machine, unit)| (machine, unit, cpu(machine, unit))).collect();
        Self { before, begun: Instant::now() }
    }

    fn stop(self, what: &str) {
        println!("{what}, {:.1} s:", self.begun.elapsed().as_secs_f64());
        for (machine, unit, before) in self.before {
            let used = cpu(machine, unit).saturating_sub(before);
            println!("  {}, {unit}: {used} ms of CPU, {}", machine.release().name(), memory(machine, unit));
        }
        println!("  load: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    }
}

pub(crate) fn a_crowd_is_known_to_each_machine_with_its_digest(_: Release) {
    let crowd = number_in("WARDEND_FLEET_CROWD", 40);
    let options =
        std::env::var("WARDEND_FLEET_CROWD_OPTIONS").unwrap_or_else(|_| "--bans 50 --pairs --seconds 10".to_owned());
    let named = std::env::var("WARDEND_FLEET_CROWD_BROKER").unwrap_or_default();
    let kinds: Vec<Kind> = BOTH
        .into_iter()
        .filter(|kind| named.is_empty() || kind.unit() == named || kind.url().starts_with(&named))
        .collect();
    let fleet = FleetOf::boot_with_crowd(&releases(RELEASES), &kinds, crowd);
    let [a, _, c] = &fleet.machines[..] else { panic!("there are three") };
    a.wait_until("all machines know each other", || fleet.is_in_step());
    // Each broker has its part of the crowd; the machines know all of it.
    let share = crowd / kinds.len();
    let brokers = kinds.iter().map(|kind| (a, kind.unit()));
    let meter =
        Meter::start(["wardend-fleet", "wardend", "firewalld"].map(|unit| (c, unit)).into_iter().chain(brokers));
    for (number, kind) in kinds.iter().enumerate() {
        a.run(&format!(
            "systemd-run --quiet --unit=crowd{number} --property=LimitNOFILE=65536 --property=StandardOutput=file:/root/crowd{number}.json \
             --property=StandardError=file:/root/crowd{number}.log --remain-after-exit --working-directory=/root \
             /root/crowd {} /root/fleet --machines {share} --first {} {options}",
            kind.url(),
            number * share
        ));
    }
    let ended = |number: usize| a.run(&format!("systemctl show crowd{number} -p SubState --value")).trim() != "running";
    while !(0..kinds.len()).all(ended) {
        std::thread::sleep(Duration::from_secs(1));
    }
    meter.stop("While the crowd was there");
    for kind in &kinds {
        let unit = kind.unit();
        println!("{}", a.run(&format!("systemctl show {unit} -p NRestarts; journalctl --no-pager -n 10 -u {unit}")));
    }
    for number in 0..kinds.len() {
        println!(
            "The crowd: {} ms of CPU\n{}",
            cpu(a, &format!("crowd{number}")),
            a.run(&format!("tail -n 20 /root/crowd{number}.log"))
        );
        let said = a.run(&format!("cat /root/crowd{number}.json"));
        let digests: serde_json::Value = serde_json::from_str(&said).expect("the crowd has ended as it should");
        assert_eq!(digests.as_object().map(serde_json::Map::len), Some(share));
        for (of, machine) in fleet.machines.iter().enumerate() {
            machine.wait_until("its copies are what the crowd has said", || {
                let state = fleet.status(of);
                let rows = state["machines"].as_array().cloned().unwrap_or_default();
                let equal = |row: &&serde_json::Value| {
                    row["state"] == "in-step" && digests[row["machine"].as_str().unwrap_or_default()] == row["digest"]
                };
                rows.iter().filter(equal).count() == share
            });
        }
    }
    println!("All digests are equal on all machines.\n{}", a.run("wardenctl fleet status | head -8"));
    the_way_of_all(&fleet, kinds.len());
    a_join(c, &fleet);
}

/// How long it took from the crowd's bans to firewalld's last word.
fn the_way_of_all(fleet: &FleetOf, parts: usize) {
    let log = |number: usize| fleet.machines[0].run(&format!("cat /root/crowd{number}.log"));
    let begun = (0..parts).filter_map(|number| {
        log(number)
            .lines()
            .find_map(|line| line.strip_prefix("All bans begin at ")?.strip_suffix('.')?.parse::<u64>().ok())
    });
    let Some(begun) = begun.min() else { return };
    for (number, machine) in fleet.machines.iter().enumerate() {
        let Some(last) = written(machine, "firewalld blocks") else { continue };
        println!(
            "Machine {number}: {} in force, the last one {} ms after the bans have begun.",
            entries(machine).len(),
            last.saturating_sub(begun) / 1000
        );
    }
}

/// The addresses that firewalld drops.
fn entries(machine: &Machine) -> BTreeSet<String> {
    // Many are in several sets.
    let all = "for set in $(firewall-cmd --get-ipsets); do firewall-cmd --ipset=$set --get-entries; done";
    machine.try_run(all).stdout.split_whitespace().map(str::to_owned).collect()
}

/// A machine comes that knows nothing, and has all bans in force.
fn a_join(machine: &Machine, fleet: &FleetOf) {
    let before = banned(machine);
    machine.run("systemctl stop wardend-fleet; wardenctl unban --all --origin fleet");
    machine.wait_until("it has none", || entries(machine).is_empty());
    let meter = Meter::start([(machine, "wardend"), (machine, "firewalld")]);
    let begun: u64 = machine.run("date +%s%6N; systemctl start wardend-fleet").trim().parse().expect("it is a number");
    // Looking costs as much as the join itself, so it is not looked often.
    machine.wait_until("it has all bans", || fleet.status(2)["bans"].as_u64() == u64::try_from(before.len()).ok());
    meter.stop("Until all bans were entered at a join");
    machine.wait_until("they are in force", || entries(machine).len() >= before.len());
    if let Some(last) = written(machine, "firewalld blocks") {
        println!(
            "A join with {} bans: the last is in force {} ms after the start.",
            before.len(),
            last.saturating_sub(begun) / 1000
        );
    }
    assert_eq!(banned(machine), before);
    assert_eq!(fleet.status(2)["machine"], subject(2));
}
