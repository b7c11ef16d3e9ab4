//! The machine's own addresses are never counted, banned or cut, whoever guesses from them, and the
//! daemon knows them although it has no network.

use crate::harness::attack::Guesses;
use crate::harness::machine::{Machine, Release};
use crate::harness::network::{SERVER4, SERVER6};
use crate::scenarios::cut::machine;

/// A local program that talks to another over the machine's IPv4 address, and says when it ends.
const TALK: &str = r#"
import socket, threading, time
door = socket.create_server(("192.0.2.10", 9999))
def answer():
    talk, _ = door.accept()
    while talk.recv(9): pass
threading.Thread(target=answer, daemon=True).start()
talk = socket.create_connection(("192.0.2.10", 9999))
while True:
    talk.sendall(b"x")
    time.sleep(0.1)
"#;

/// Somebody without any right fails at sshd from the machine itself.
fn fail_from_within(machine: &Machine, address: &str) {
    let before = machine.messages(&format!("Failed password for root from {address} ")).len();
    let options = "-n -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o NumberOfPasswordPrompts=1 \
                   -o PreferredAuthentications=password";
    let guess = format!("SSH_ASKPASS=/opt/askpass SSH_ASKPASS_REQUIRE=force setsid ssh {options} root@{address} true");
    machine.run(&format!("for i in 1 2 3 4 5 6; do runuser -u nobody -- sh -c '{guess}' 2>/dev/null; done; true"));
    machine.wait_until("sshd has judged them", || {
        machine.messages(&format!("Failed password for root from {address} ")).len() >= before + 6
    });
}

fn explains(machine: &Machine, address: &str, what: &str) -> bool {
    machine.try_run(&format!("wardenctl explain {address}")).stdout.contains(what)
}

pub(crate) fn the_machines_own_addresses_are_never_counted_banned_or_cut(release: Release) {
    let machine = machine(release);
    machine.write("/opt/askpass", "#!/bin/sh\necho wrong\n");
    machine.write("/opt/talk.py", TALK);
    machine.run("chmod 755 /opt/askpass; systemd-run --quiet --unit=talk python3 /opt/talk.py");
    let (own4, own6) = (SERVER4.to_string(), SERVER6.to_string());
    for own in [&own4, &own6] {
        assert!(explains(&machine, own, &format!("It is never banned: {own} is an address of this machine.")), "{own}");
        fail_from_within(&machine, own);
    }
    // A neighbour is banned by itself, and by then all that came before it has been judged.
    machine.attacker("2001:db8:0:1::20").guess(Guesses { prompts: 5, ..Guesses::default() });
    machine.wait_for_message("Banned 2001:db8:0:1::20 in jail sshd");
    assert_eq!(machine.messages("Banned ").len(), 1, "{:?}", machine.messages("Banned "));
    for source in [&own4, &own6, "192.0.2.0/24", "2001:db8:0:1::/64"] {
        let refused = machine.try_run(&format!("wardenctl ban {source}"));
        assert_eq!(refused.code, 1, "{source}");
        assert!(refused.stderr.contains("is an address of this machine"), "{source}: {}", refused.stderr);
        let request = format!("echo '{{\"sources\":[\"{source}\"]}}' | /usr/libexec/wardend-cut");
        let answer = machine.run(&request);
        assert!(answer.contains("is an address of this machine"), "{source}: {answer}");
    }
    assert_eq!(machine.run("systemctl is-active talk").trim(), "active", "the local connection is whole");

    // Addresses come and go.
    machine.run("wardenctl ban 198.51.100.0/24 --for 1h");
    machine.run("ip address add 198.51.100.77/32 dev eth0");
    machine.wait_for_message("Unbanned 198.51.100.0/24 in jail sshd: it is or contains an address of this machine");
    assert!(explains(&machine, "198.51.100.77", "is an address of this machine"));
    machine.run("ip address delete 198.51.100.77/32 dev eth0");
    machine
        .wait_until("it is one like any other", || explains(&machine, "198.51.100.77", "Nothing counts against it."));

    // Without the unit it goes on by what it knew, and says so; with it, all is well again.
    machine.run("systemctl mask --now --runtime wardend-addresses.socket && systemctl stop 'wardend-addresses@*'");
    machine.run("systemctl restart wardend");
    machine.wait_until("it says what is wrong", || {
        let status = machine.try_run("wardenctl status").stdout;
        status.contains("degraded") && status.contains("systemctl restart wardend-addresses.socket")
    });
    assert!(explains(&machine, &own6, "is an address of this machine"));
    machine.run("systemctl unmask --runtime wardend-addresses.socket && systemctl restart wardend-addresses.socket");
    machine.wait_until("it is well again", || machine.try_run("wardenctl status").stdout.contains(": running"));

    let (pid, unit) = (
        "systemctl show -p MainPID --value",
        "$(systemctl list-units --plain --no-legend 'wardend-addresses@*' | cut -d ' ' -f 1)",
    );
    let capabilities = machine.run(&format!("grep -h ^Cap /proc/$({pid} {unit})/status"));
    assert!(capabilities.lines().all(|line| line.ends_with("\t0000000000000000")), "{capabilities}");
    let memory = machine.run(&format!("grep -h ^RssAnon /proc/$({pid} {unit})/status"));
    let exposure = machine.run(&format!("systemd-analyze security --no-pager {unit} | tail -1"));
    println!("{}: {} {}", release.name(), memory.trim(), exposure.trim());
    // It goes with the daemon.
    machine.run("systemctl stop wardend");
    machine.wait_until("nothing of it is left", || {
        machine.run("systemctl list-units --plain --no-legend 'wardend-addresses*'").is_empty()
    });
}
