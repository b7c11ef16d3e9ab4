//! How long from sshd's record to the firewall, and from there until what the attacker had open is
//! cut: the figures of docs/performance.md.
//!
//! Attackers guess passwords over the wire, one after another, as they do in the wild
//! while the jail is hot. wardend writes for each ban how long after the journal timestamp of
//! the deciding record firewalld answered; these records are read back. Each attacker also has a
//! silent connection open, and notes when it is reset. No threshold is checked: a busy machine is
//! no bug.

use crate::harness::machine::{Machine, Release};

pub(crate) fn latency(release: Release, bans: usize) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    let mut cuts = Vec::new();
    for number in 0..=bans {
        let address = format!("203.0.113.{}", number + 10);
        let attacker = machine.attacker(&address);
        let held = attacker.hold();
        attacker.wrong_passwords("root", 5);
        machine.wait_for_message(&format!("firewalld blocks {address},"));
        cuts.push(held.cut_at());
    }
    // The first ban finds the journal thread asleep: it is the one that makes the jail hot.
    let times = latencies(&machine).split_off(1);
    tell(release, "the record's journal timestamp to firewalld's reply", times);

    let begins =
        machine.run("journalctl -u wardend MESSAGE_ID=aa04c1c10db24c02ad4e28e8ac726807 -o json --output-fields=_PID");
    let begins = fields(&begins, "__REALTIME_TIMESTAMP");
    let lived = cuts.iter().filter(|cut| cut.is_none()).count();
    println!("{}: {lived} of {} connections lived on", release.name(), cuts.len());
    let times = begins.iter().zip(cuts).skip(1).filter_map(|(begin, cut)| cut?.checked_sub(*begin)).collect();
    tell(release, "the record of the ban to the reset that the attacker sees", times);
}

/// The numbers in a field of some records.
fn fields(output: &str, name: &str) -> Vec<u64> {
    let begin = format!("\"{name}\":\"");
    output.lines().filter_map(|line| line.split(&begin).nth(1)?.split('"').next()?.parse().ok()).collect()
}

fn tell(release: Release, what: &str, mut usec: Vec<u64>) {
    usec.sort_unstable();
    let listed: Vec<String> = usec.iter().map(|usec| format!("{}.{}", usec / 1000, usec / 100 % 10)).collect();
    println!(
        "{}: {} bans, ms from {what}: median {}, worst {} ({})",
        release.name(),
        usec.len(),
        listed[listed.len() / 2],
        listed[listed.len() - 1],
        listed.join(" ")
    );
}

/// What wardend has said of its bans so far, in µs, the oldest first.
pub(crate) fn latencies(machine: &Machine) -> Vec<u64> {
    let output = machine.run(
        "journalctl -q -u wardend MESSAGE_ID=d3900ade55e14a7491ea1ddb5189c835 -o json --output-fields=WARDEND_LATENCY_USEC",
    );
    fields(&output, "WARDEND_LATENCY_USEC")
}
