//! A machine under attack, for people who want to see once what wardend does.
//!
//! It boots a release with wardend on it, attacks it over the wire, and shows at each step what
//! an admin would look at, with the very commands an admin would type. Everything that is
//! printed comes from the machine.

use std::time::Instant;

use crate::harness::attack::Connection;
use crate::harness::machine::{Machine, Release};

const ATTACKER: &str = "203.0.113.7";
const NEIGHBOUR: &str = "203.0.113.8";

pub(crate) fn demo(release: Release) {
    println!(
        "Booting a {} machine with sshd, firewalld and wardend; no network but a wire to the attacker.",
        release.name()
    );
    let machine = Machine::boot(release);
    let show = |command: &str| {
        let output = machine.try_run(command);
        println!("\n# {command}\n{}{}", output.stdout.trim_end(), output.stderr.trim_end());
    };
    show("systemctl status wardend --lines 0");

    heading("The attack: five wrong passwords for root, over the wire");
    let attacker = machine.attacker(ATTACKER);
    let neighbour = machine.attacker(NEIGHBOUR);
    println!("{ATTACKER} connects to port 22: {:?}", attacker.can_connect());
    let judged = attacker.wrong_passwords("root", 5);
    println!("{ATTACKER} tried {judged} passwords.");
    machine.wait_for_message("firewalld blocks 203.0.113.7");

    heading("What the journal says");
    show("journalctl -u wardend -n 2 -o cat");
    show("journalctl WARDEND_ADDRESS=203.0.113.7 -n 1 -o verbose");

    heading("Who is locked out");
    show("wardenctl list");
    show("firewall-cmd --ipset=wardend4 --get-entries");
    show("busctl introspect org.wardend1 /org/wardend1 org.wardend1.Manager");
    show("systemctl status wardend --lines 0");

    heading("Locked out, and only the attacker");
    timed(ATTACKER, || attacker.can_connect());
    timed(NEIGHBOUR, || neighbour.can_connect());
    println!("{NEIGHBOUR} logs in as alice with the right password: {}", neighbour.can_login("alice"));

    heading("Let it in again");
    show("wardenctl unban 203.0.113.7");
    machine.wait_until("firewalld has let it go", || {
        machine.run("firewall-cmd --ipset=wardend4 --get-entries").trim().is_empty()
    });
    timed(ATTACKER, || attacker.can_connect());
    show("wardenctl status");
    println!("\nThe machine goes now. `make lab` gives you a shell in one.");
}

fn heading(text: &str) {
    println!("\n== {text}");
}

fn timed(who: &str, connect: impl FnOnce() -> Connection) {
    let start = Instant::now();
    let outcome = connect();
    println!("{who} connects to port 22: {outcome:?} after {:.1} s", start.elapsed().as_secs_f64());
}
