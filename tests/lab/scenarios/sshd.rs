//! What real sshd hides or says ambiguously, and what wardend makes of it.

use std::fmt::Write as _;
use std::fs::File;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::attack::{Connection, Guesses};
use crate::harness::machine::{Machine, Release};

const CLIENT: &str = include_str!("../guest/moments.py");

/// How many messages hold all of these texts.
fn count(machine: &Machine, texts: &[&str]) -> usize {
    machine.messages(texts[0]).iter().filter(|message| texts.iter().all(|text| message.contains(text))).count()
}

/// With penalties as OpenSSH 9.8 and newer have them by default, but for whole networks.
pub(crate) fn who_goes_on_while_sshd_turns_them_away_is_banned_and_nobody_else(release: Release) {
    if !release.penalises_sources() {
        println!("{}: this sshd turns nobody away", release.name());
        return;
    }
    let machine =
        Machine::prepare(release).file("/etc/ssh/sshd_config.d/test.conf", "PerSourceNetBlockSize 24:64\n").boot();
    let drops =
        |address: &str| count(&machine, &["drop connection #", &format!("from [{address}]:"), "penalty: failed"]);

    // Three typing mistakes, and three tries more while the penalty lasts.
    let honest = machine.attacker("198.51.100.7");
    honest.guess(Guesses { user: "alice", connections: 3, at_once: true, ..Guesses::default() });
    for _ in 0..3 {
        honest.can_connect();
    }
    // Four, which is one fewer than maxretry, and then without end.
    let attacker = machine.attacker("203.0.113.7");
    attacker.guess(Guesses { user: "alice", connections: 4, at_once: true, ..Guesses::default() });
    machine.wait_until("sshd turns the attacker away", || attacker.can_connect() == Connection::HungUp);
    // And everybody in the network. sshd logs seven of these in a row at most, whoever they are.
    let neighbour = machine.attacker("203.0.113.8");
    for _ in 0..2 {
        assert_eq!(neighbour.can_connect(), Connection::HungUp);
    }
    for _ in 0..7 {
        if attacker.can_connect() == Connection::TimedOut {
            break;
        }
    }
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    println!(
        "{}: turned away: the attacker {}, the neighbour {}, the honest user {}",
        release.name(),
        drops("203.0.113.7"),
        drops("203.0.113.8"),
        drops("198.51.100.7")
    );
    assert!(drops("203.0.113.7") <= 8);
    let list = machine.run("wardenctl list");
    assert!(!list.contains("203.0.113.8") && !list.contains("198.51.100.7"), "{list}");
    assert!(machine.run("wardenctl explain 203.0.113.8").contains("Nothing counts against it."));
    let text = machine.run("wardenctl explain 203.0.113.7");
    assert!(text.contains("4 failures and ") && text.contains(" refused connections within "), "{text}");
}

/// The grace time is short, PAM has its usual delay, and there is no pam_systemd, so that what the
/// session of root writes is sshd's own.
pub(crate) fn what_sshd_does_not_say_of_a_login_is_counted_right(release: Release) {
    const SSHD: &str =
        "UseDNS yes\nKbdInteractiveAuthentication yes\nLoginGraceTime 8\nMaxStartups 100\nPermitRootLogin yes\n";
    const WARDEND: &str = "[default]\nmaxretry = 90\nspare-logins = false\n[jail.sshd]\n[jail.probes]\nfilter = \"sshd\"\nmode = \"aggressive\"\n";
    let (home, hammer, named) = ("198.51.100.9", "203.0.113.8", "203.0.113.7");
    let machine = Machine::prepare(release)
        .file("/etc/ssh/sshd_config.d/test.conf", SSHD)
        .file("/etc/wardend/wardend.conf.d/test.conf", WARDEND)
        .command("sed -i /pam_systemd/d /etc/pam.d/common-session")
        // No name server answers here, and sshd would wait for one.
        .command("sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf")
        .command(&format!("echo '{named} host.example' >> /etc/hosts"))
        .boot();
    let moments = |lines: &str| {
        for address in [home, hammer, named] {
            machine.attacker(address);
        }
        let file = machine.attackers_dir().join("moments");
        std::fs::write(&file, lines).expect("the machine's directory is writable");
        let mut client = Command::new("ip");
        client.args(["netns", "exec", machine.network().attackers(), "/usr/bin/python3", "-c", CLIENT]);
        client.stdin(File::open(&file).expect("it was just written")).stderr(Stdio::inherit());
        String::from_utf8(client.output().expect("ip starts").stdout).expect("it prints text")
    };
    // The file takes no blanks.
    machine.run("echo root:short | chpasswd");
    let outcome = moments(&format!("{home} root password short 0 1\n"));
    assert_eq!(outcome, format!("{home} in\n"), "{:?}", machine.messages(home));
    let outcome = moments(&format!("{named} alice keyboard-interactive wrong 0 2\n"));
    assert_eq!(outcome, format!("{named} denied\n"));
    // Debian 12's grace time ends to the second and without a word; the others' up to four seconds later.
    let last_moment = if release.penalises_sources() { "9.5" } else { "7.2" };
    let mut lines = String::new();
    for _ in 0..16 {
        let _ = writeln!(lines, "{hammer} alice password wrong {last_moment} 1");
    }
    let outcome = moments(&lines);
    let (judged, told) = (
        count(&machine, &["pam_unix(sshd:auth): authentication failure", &format!("rhost={hammer} ")]),
        count(&machine, &[&format!("Failed password for alice from {hammer} ")]),
    );
    println!("{}: of {judged} passwords at the last moment sshd has told {told}", release.name());
    assert!(told < judged, "{outcome}");

    // What the grace time cut off counts in a replay once it is ten seconds old.
    std::thread::sleep(std::time::Duration::from_secs(12));
    machine.run("logger later");
    let replayed = machine.run("wardenctl replay --json=short");
    let of = |jail: &str, source: &str| -> u64 {
        let lines = replayed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut ours = lines.filter(|line| line["jail"] == jail && line["source"] == source);
        ours.next().map_or(0, |line| line["failures"].as_u64().expect("a number"))
    };
    assert_eq!(of("sshd", hammer), judged as u64, "{replayed}");
    assert_eq!(of("sshd", named), 2, "two answers from a host with a name\n{replayed}");
    assert_eq!(of("probes", named), 2, "{replayed}");
    assert_eq!(of("probes", home), 0, "the end of a login\n{replayed}");
    if release.penalises_sources() {
        // The daemon knows at once.
        let says = format!("{judged} of 90 failures");
        machine.wait_until("the daemon counts the same", || {
            machine.run(&format!("wardenctl explain {hammer}")).contains(&says)
        });
    }
    let ends = count(&machine, &[&format!("Connection closed by {home} port ")]);
    println!("{}: lines of a client that seems never to have logged in: {ends}", release.name());
}
