//! How long from sshd's record to the firewall: the figure that the README claims.
//!
//! So many attackers guess passwords over the wire, one after another, as they do in the wild
//! while the jail is hot. wardend writes for each ban how long after the journal timestamp of
//! the deciding record firewalld answered; these records are read back. No threshold is
//! checked: a busy machine is no bug.

use crate::machine::{Machine, Release};

pub(crate) fn latency(release: Release, bans: usize) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    for number in 0..=bans {
        let address = format!("203.0.113.{}", number + 10);
        machine.attacker(&address).wrong_passwords("root", 5);
        machine.wait_for_message(&format!("firewalld blocks {address},"));
    }
    let output = machine.run("journalctl -u wardend MESSAGE_ID=d3900ade55e14a7491ea1ddb5189c835 -o json --output-fields=WARDEND_LATENCY_USEC");
    let mut times: Vec<f64> = output
        .lines()
        .filter_map(|line| line.split("\"WARDEND_LATENCY_USEC\":\"").nth(1)?.split('"').next()?.parse::<f64>().ok())
        .map(|usec| usec / 1000.0)
        // The first ban finds the journal thread asleep: it is the one that makes the jail hot.
        .skip(1)
        .collect();
    times.sort_by(f64::total_cmp);
    let listed: Vec<String> = times.iter().map(|ms| format!("{ms:.1}")).collect();
    println!(
        "{}: {} bans, ms from the record's journal timestamp to firewalld's reply: median {:.1}, worst {:.1} ({})",
        release.name(),
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1],
        listed.join(" ")
    );
}
