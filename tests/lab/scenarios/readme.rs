//! The README, as a new user follows it: its own commands, on a machine that has never seen wardend.

use crate::harness::attack::Connection;
use crate::harness::machine::{Machine, Release};
use crate::harness::plan;

/// The lines of the README below a heading or a sentence that are meant to be typed or written.
fn block(after: &str) -> Vec<String> {
    let text = include_str!("../../../README.md");
    let (_, rest) = text.split_once(after).unwrap_or_else(|| panic!("the README says {after:?}"));
    let rest = rest.split("\n## ").next().unwrap_or_default();
    let lines = rest.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| line.split("   #").next().unwrap_or_default().trim_end().to_owned()).collect()
}

pub(crate) fn the_readme_holds_for_a_new_user(release: Release) {
    let machine = Machine::prepare(release).without_wardend().hasty_passwords().boot();
    for command in block("Manually:") {
        match command.as_str() {
            // The machine has no network; its tree has what the first asks for, and the host has built.
            "make" => {}
            _ if command.starts_with("apt-get install") => {}
            "make install" => plan::make_install(&machine.root()),
            _ => drop(machine.run(&command)),
        }
    }
    machine.wait_until("STATUS says what the README says", || {
        let said = machine.run("systemctl status wardend");
        said.contains("Watching 1 jail, 0 bans in force.")
    });
    assert_eq!(machine.messages("Error loading script"), [""; 0], "polkitd may read the rule at once");
    let attacker = machine.attacker("203.0.113.7");
    attacker.wrong_passwords("root", 5);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    assert_eq!(attacker.can_connect(), Connection::TimedOut);

    let steps = block("## First steps");
    let (settings, commands): (Vec<_>, Vec<_>) =
        steps.into_iter().partition(|line| line.starts_with('[') || line.contains(" = ["));
    machine.write("/etc/wardend/wardend.conf.d/local.conf", &(settings.join("\n") + "\n"));
    machine.run("systemctl reload wardend");
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands.iter().filter(|command| !command.contains('…')) {
        if command.starts_with("busctl monitor") {
            // It goes on until somebody stops it.
            assert_eq!(machine.try_run(&format!("timeout 2 {command}")).code, 124, "{command}");
            continue;
        }
        let output = machine.run(command);
        println!("{}: {command}: {} lines", release.name(), output.lines().count());
        assert!(!output.trim().is_empty(), "{command} says nothing");
    }
    machine.wait_until("the ban of the README is in force", || {
        machine.run("firewall-cmd --ipset=wardend4 --get-entries") == "203.0.113.0/24\n"
    });
    machine.run("wardenctl firewall remove && systemctl disable --quiet --now wardend");
    assert_eq!(attacker.can_connect(), Connection::Open);
    assert_eq!(
        machine
            .run("firewall-cmd --get-policies; firewall-cmd --get-ipsets | grep wardend || :")
            .matches("wardend")
            .count(),
        0
    );
}
