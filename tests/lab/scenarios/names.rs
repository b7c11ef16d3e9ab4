//! Host names in `ignoreip` on a machine without systemd-resolved, as Debian installs it.

use crate::harness::machine::{Machine, Release};

const CONNECT: &str = "import socket; socket.socket(socket.AF_UNIX).connect('/run/wardend-resolve.sock')";

/// The name means this from now on, and the daemon is asked to look.
fn is_now(machine: &Machine, address: &str) {
    let line = if address.is_empty() { String::new() } else { format!("{address} home.example.org\n") };
    machine.write("/etc/hosts", &format!("127.0.0.1 localhost\n{line}"));
    machine.run("systemctl reload wardend");
}

fn ignores(machine: &Machine, address: &str) -> bool {
    machine.run(&format!("wardenctl explain {address}")).contains(": ignored")
}

pub(crate) fn a_name_protects_its_address_without_resolved(release: Release) {
    let penalties = if release.penalises_sources() { "PerSourcePenalties no\n" } else { "" };
    let machine = Machine::prepare(release)
        .hasty_passwords()
        .file("/etc/ssh/sshd_config.d/test.conf", penalties)
        .file("/etc/hosts", "127.0.0.1 localhost\n203.0.113.7 home.example.org\n")
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nignoreip = [\"home.example.org\"]\n")
        // There is no name server, and nobody wants to wait for it.
        .command("sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf")
        .boot();
    machine.wait_until("the name has its address", || ignores(&machine, "203.0.113.7"));
    let status = machine.run("wardenctl status");
    assert!(status.contains("      Name: home.example.org is 203.0.113.7\n"), "{status}");
    let home = machine.attacker("203.0.113.7");
    home.wrong_passwords("root", 6);
    let other = machine.attacker("203.0.113.8");
    other.wrong_passwords("root", 4);
    machine.wait_until("both are read", || machine.run("wardenctl status").contains("Failures: 4"));
    assert!(machine.messages("Banned ").is_empty(), "{:?}", machine.messages("Banned "));

    // The address changes.
    is_now(&machine, "203.0.113.8");
    machine.wait_until("the name has another address", || ignores(&machine, "203.0.113.8"));
    other.wrong_passwords("root", 2);
    home.wrong_passwords("root", 5);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    assert_eq!(machine.messages("Banned ").len(), 1, "{:?}", machine.messages("Banned "));

    // Nobody knows the name any more: the last answer stays, also over a restart.
    is_now(&machine, "");
    machine.wait_for_message("'home.example.org' in ignoreip can't be resolved: ");
    assert!(ignores(&machine, "203.0.113.8"));
    machine.run("systemctl restart wardend");
    assert!(ignores(&machine, "203.0.113.8"));
    machine.wait_until("each start reports it", || machine.messages("can't be resolved").len() >= 2);
    assert_eq!(machine.messages("can't be resolved").len(), 2, "and once each");

    let stranger = machine.try_run(&format!("runuser -u nobody -- python3 -c \"{CONNECT}\""));
    assert!(stranger.stderr.contains("PermissionError"), "{}", stranger.stderr);
    machine.run(&format!("runuser -u wardend -- python3 -c \"{CONNECT}\""));

    machine.run("systemctl mask --quiet --now wardend-resolve.socket && systemctl reload wardend");
    let said = machine.wait_for_message("wardend-resolve.sock can't be used");
    assert!(said.contains("systemctl restart wardend-resolve.socket"), "{said}");
}
