//! What wardend(8) says to whoever installs firewalld on a server that had no firewall.

use crate::harness::attack::Connection;
use crate::harness::machine::{Machine, Release};

/// The commands of a section of the manual, without the one that asks a mirror for packages.
fn commands(section: &str) -> String {
    let page = include_str!("../../../man/wardend.8");
    let (_, rest) = page.split_once(&format!(".SS \"{section}\"\n")).expect("the section is there");
    let example = rest.split(".nf\n").nth(1).and_then(|rest| rest.split(".fi\n").next()).expect("it has an example");
    let plain = example.replace("\\&", "").replace("\\-", "-").replace("\\*(Aq", "'").replace("\\e", "\\");
    let lines = plain.lines().map(|line| line.trim_start_matches(['#', '>']).trim_start());
    lines.filter(|line| !line.starts_with("apt-get")).collect::<Vec<_>>().join("\n")
}

pub(crate) fn the_manual_opens_what_is_in_use_before_firewalld_starts(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/ssh/sshd_config.d/port.conf", "Port 22\nPort 2222\n")
        .command("systemctl disable --quiet firewalld wardend")
        .boot();
    let serve = |port: u16| {
        machine.run(&format!("systemd-run --quiet --unit=web{port} python3 -m http.server {port}"));
        machine.wait_until("it listens", || machine.run("ss -Hltn").contains(&format!(":{port} ")));
    };
    serve(8080);
    let doctor = || machine.try_run("wardenctl doctor").stdout;
    let before = doctor();
    assert!(before.contains("Programs listen on 2222/tcp, 8080/tcp, which firewalld, as shipped, closes"), "{before}");
    let visitor = machine.attacker("203.0.113.7");
    assert_eq!(visitor.can_connect_to(2222), Connection::Open);

    let commands = commands("Servers that had no firewall");
    println!("{commands}");
    assert!(commands.contains("firewall-offline-cmd") && commands.lines().count() >= 5, "{commands}");
    machine.write("/root/open", &format!("set -e\n{commands}\n"));
    machine.run("sh /root/open && systemctl enable --quiet --now wardend");
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    for port in [22, 2222] {
        assert_eq!(visitor.can_connect_to(port), Connection::Open, "{port}");
    }
    let opened = machine.run("firewall-cmd --list-ports");
    assert!(opened.contains("8080/tcp") && opened.contains("2222/tcp"), "{opened}");
    assert!(doctor().contains("closes no TCP port that a program listens on"), "{}", doctor());
    // What comes later is closed, and doctor says so.
    serve(8081);
    assert!(doctor().contains("Programs listen on 8081/tcp, and firewalld closes it."), "{}", doctor());
}
