//! What the jails of all filters cost.

use std::{collections::BTreeMap, fmt::Write as _, fs, time::Instant};

use super::{SERVICES, attack, login};
use crate::harness::machine::Machine;

/// CPU of wardend and its records, with the jails of all filters, then with sshd's, and again.
#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
pub(super) fn what_all_jails_cost(machine: &Machine, seconds: u64) {
    let mut all = "[default]\nmaxretry = 1000\n".to_owned();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/filters")).expect("there are filters").flatten() {
        let name = entry.path().file_stem().expect("a filter has a name").to_string_lossy().into_owned();
        let _ = writeln!(all, "[jail.{name}]");
    }
    let jails = all.matches("[jail.").count();
    machine.run("rm /etc/wardend/wardend.conf.d/*; systemctl stop wardend; rm -f /var/lib/wardend/*; firewall-cmd --quiet --reload");
    let pid = || machine.run("systemctl show -p MainPID --value wardend").trim().to_owned();
    let cpu = |pid: &str| {
        // Nanoseconds of each thread; the ticks of /proc/PID/stat are longer than some of these loads take.
        let threads = machine.run(&format!("cut -d ' ' -f 1 /proc/{pid}/task/*/schedstat"));
        threads.split_whitespace().filter_map(|time| time.parse::<u64>().ok()).sum::<u64>() / 1000
    };
    let records = || {
        let count = machine.run("journalctl --boot --output=cat --output-fields=_PID -q | wc -l");
        count.trim().parse::<u64>().unwrap_or_default()
    };
    let mut costs: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for round in 0..4 {
        let (which, text) =
            if round % 2 == 0 { ("all", all.as_str()) } else { ("sshd", "[default]\nmaxretry = 1000\n") };
        machine.write("/etc/wardend/wardend.conf.d/cost.conf", text);
        machine.run("systemctl restart wardend");
        let (pid, begun, before) = (pid(), Instant::now(), records());
        let used = cpu(&pid);
        let mut number = 0;
        while begun.elapsed().as_secs() < seconds {
            let lines: Vec<String> = (0..600)
                .map(|line| {
                    number += 1;
                    let service = &SERVICES[[2, 3, 2, 3, 2, 0, 1, 4][line % 8]];
                    let address = format!("198.18.{}.{}", 2 + number / 250 % 200, number % 250 + 1);
                    login(service.name, &address, format!("user{}", number % 50).as_bytes(), "wrong")
                })
                .collect();
            attack(machine, 48, &lines);
        }
        let (took, spent, written) = (begun.elapsed().as_secs_f64(), cpu(&pid) - used, records() - before);
        let cost = costs.entry(which).or_default();
        *cost = (cost.0 + spent, cost.1 + written);
        println!("{which}: {written} records in {took:.1} s, wardend used {:.1} ms of CPU", spent as f64 / 1000.0);
    }
    let each = |which: &str| {
        let (spent, written) = costs[which];
        spent as f64 / written.max(1) as f64
    };
    println!(
        "{jails} jails: {:.1} µs of CPU for a record of the journal, {:.1} with sshd's alone: {:.1} times as much",
        each("all"),
        each("sshd"),
        each("all") / each("sshd")
    );
}
