//! sshd is read wherever and however it runs, and where it can't be, that is reported; and nobody else
//! is read in its stead.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::Command;

use crate::harness::machine::{Machine, Release};
use crate::harness::plan::Plan;
use crate::scenarios::hostile::CLIENT;

/// In a unit of the admin's own name: by syslog, with its standard error as Gentoo runs it, and in a
/// journal namespace. And one for each connection, as Gentoo and Flatcar have it. sshd notifies
/// systemd when it listens, so a service that has started can be attacked.
const UNITS: [(&str, &str); 5] = [
    ("gate.service", "[Service]\nType=notify\nExecStart=/usr/sbin/sshd -D -p 2223\n"),
    ("gate-e.service", "[Service]\nType=notify\nExecStart=/usr/sbin/sshd -D -e -p 2224\n"),
    ("gate-n.service", "[Service]\nType=notify\nExecStart=/usr/sbin/sshd -D -p 2225\nLogNamespace=doors\n"),
    ("sshd.socket", "[Socket]\nListenStream=2226\nAccept=yes\n"),
    ("sshd@.service", "[Service]\nExecStart=-/usr/sbin/sshd -i -e\nStandardInput=socket\nStandardError=journal\n"),
];
const PORTS: [u16; 4] = [2223, 2224, 2225, 2226];
/// Those whose lines anybody can forge who connects.
const LINES: [u16; 2] = [2224, 2226];

/// Names that put a victim's address into a line that looks like sshd's own.
const NAMES: [&str; 4] = [
    "x from 10.66.0.1 port 22 ssh2\nFailed password for root",
    "x\nFailed password for root from 10.66.0.2 port 22 ssh2\ny",
    "x\nConnection from 10.66.0.3 port 1 on 192.0.2.10 port 22\ny",
    "x\nAccepted password for root from 10.66.0.4 port 22 ssh2\ny",
];

/// A machine whose jail bans at the third failure,
fn plan(release: Release) -> Plan {
    let penalties = if release == Release::Debian12 { "" } else { "PerSourcePenalties no\n" };
    Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 3\nbantime = \"1h\"\ncut = false\n")
        .file("/etc/ssh/sshd_config.d/test.conf", penalties)
        .hasty_passwords()
}

fn banned(machine: &Machine) -> Vec<String> {
    let list: serde_json::Value = serde_json::from_str(&machine.run("wardenctl list --json=short")).expect("JSON");
    let sources =
        list.as_array().expect("a list").iter().map(|ban| ban["source"].as_str().expect("a source").to_owned());
    sources.collect()
}

fn hex(name: &str) -> String {
    name.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Has the client make guesses, all of which sshd must judge.
fn guess(machine: &Machine, port: u16, guesses: &str, count: usize) {
    guesses.lines().filter_map(|line| line.split(' ').next()).for_each(|address| {
        machine.attacker(address);
    });
    let file = machine.attackers_dir().join("guesses");
    fs::write(&file, guesses).expect("the machine's directory is writable");
    let mut client = Command::new("ip");
    client.args(["netns", "exec", machine.network().attackers(), "/usr/bin/python3", "-c", CLIENT]);
    client.arg(port.to_string()).stdin(File::open(&file).expect("it was just written"));
    let output = client.output().expect("ip starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches(" judged").count(), count, "port {port}: {said}");
}

pub(crate) fn sshd_is_read_in_whatever_unit_by_stdout_and_in_a_namespace_and_no_forged_line_is(release: Release) {
    let mut plan = plan(release)
        .file("/etc/ssh/sshd_config.d/answers.conf", "KbdInteractiveAuthentication yes\nMaxStartups 100\n");
    for (name, text) in UNITS {
        plan = plan.file(&format!("/etc/systemd/system/{name}"), text);
    }
    let machine = plan.boot();
    // wardend has firewalld reload once, and that forgets what is added now.
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    let ports: Vec<String> = PORTS.iter().map(|port| format!("--add-port={port}/tcp")).collect();
    machine.run(&format!("firewall-cmd -q {}", ports.join(" ")));
    machine.run("systemctl start gate gate-e gate-n sshd.socket");
    for port in PORTS {
        let address = format!("203.0.113.{}", port - 2200);
        let judged = machine.attacker(&address).guess_at(port, 3);
        if judged != 3 {
            machine.give_up(&format!("port {port}: {judged} of 3 guesses were judged"));
        }
        machine.wait_until(&format!("whoever fails at port {port} is banned"), || banned(&machine).contains(&address));
    }

    // Wrong answers to PAM's questions count there as by syslog, and once: two are too few for a ban. Of
    // a process that is gone at once journald may know too little.
    for port in PORTS {
        let address = |times: usize| format!("203.0.113.{}", usize::from(port) - 2200 + 20 * times);
        for times in [2, 6] {
            let line = format!("{} {} keyboard-interactive close\n", address(times), hex("alice"));
            guess(&machine, port, &line.repeat(times), times);
        }
        machine.wait_until(&format!("whoever answers wrongly at port {port} is banned"), || {
            banned(&machine).contains(&address(6))
        });
        assert!(!banned(&machine).contains(&address(2)), "port {port}: {}", machine.run("wardenctl list"));
    }

    // With -e, line breaks in a name make lines. Whoever guesses so counts themselves, if anybody does.
    for port in LINES {
        let mut guesses = String::new();
        let address = |name: usize| format!("198.51.100.{}", usize::from(port) - 2200 + 10 * name);
        for (number, name) in NAMES.iter().enumerate() {
            for _ in 0..3 {
                let _ = writeln!(guesses, "{} {} password close", address(number), hex(name));
            }
        }
        guess(&machine, port, &guesses, 3 * NAMES.len());
        machine.wait_until("the attacker is banned", || banned(&machine).contains(&address(0)));
    }
    machine.wait_for_message("Failed password for root from 10.66.0.2 port 22 ssh2");
    let victims: Vec<String> = banned(&machine).into_iter().filter(|source| source.starts_with("10.66.")).collect();
    assert!(victims.is_empty(), "banned in somebody's stead: {victims:?}");
    let status = machine.run("wardenctl status");
    assert!(status.contains(": running"), "{status}");
}

pub(crate) fn an_sshd_that_says_nothing_that_is_read_is_reported_with_the_cause_and_the_mend(release: Release) {
    let machine = plan(release).boot();
    let status = || machine.run("wardenctl status");
    let attacker = machine.attacker("203.0.113.7");
    machine.run("echo LogLevel QUIET >/etc/ssh/sshd_config.d/00-quiet.conf && systemctl restart ssh");
    (0..4).for_each(|_| assert!(attacker.can_login("alice")));
    assert!(!status().contains("Problem"), "{}", status());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while !status().contains("00-quiet.conf:1 says LogLevel QUIET") && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    assert!(status().contains("00-quiet.conf:1 says LogLevel QUIET"), "{}", status());
    assert!(status().contains(": degraded"), "{}", status());
    machine.run("rm /etc/ssh/sshd_config.d/00-quiet.conf && systemctl restart ssh");
    assert!(attacker.can_login("alice"));
    machine.wait_until("the problem is solved", || status().contains(": running"));

    // Some other program of root, in some other unit.
    let forge = r#"use POSIX; use Socket; my $now = strftime("%b %e %H:%M:%S", localtime); socket(S, PF_UNIX, SOCK_DGRAM, 0); connect(S, sockaddr_un("/dev/log"));
        send(S, "<38>$now sshd[$$]: Failed password for root from 198.51.100.9 port 1 ssh2", 0); select(undef, undef, undef, 0.3);"#;
    machine.write("/opt/forge", forge);
    machine.run("for i in 1 2 3 4 5 6; do systemd-run -q --wait --unit=gate perl /opt/forge; done");
    let report = machine.run("wardenctl test sshd --journal");
    assert!(report.contains("Not counted, though a rule would read them:"), "{report}");
    assert!(report.contains("Written by the program 'perl'"), "{report}");
    assert!(banned(&machine).is_empty(), "{:?}", banned(&machine));
    machine.wait_until("the unit is named", || status().contains("units = [\"gate.service\"]"));
    // The mend does mend it.
    machine.write(
        "/etc/wardend/filters/sshd.d/gate.toml",
        "[records]\nunits = [\"gate.service\"]\nprograms = [\"perl\"]\n",
    );
    machine.run("systemctl reload wardend");
    machine.run("for i in 1 2 3; do systemd-run -q --wait --unit=gate perl /opt/forge; done");
    machine.wait_until("it counts", || banned(&machine) == ["198.51.100.9"]);
}

/// Without PAM nothing at all is written, and with this `MaxLevelStore` nothing of PAM is stored. What tells
/// is the unit's CPU time, and logind.
pub(crate) fn who_comes_and_leaves_no_word_in_the_journal_is_noticed(release: Release) {
    let machine = plan(release).boot();
    let status = || machine.run("wardenctl status");
    let attacker = machine.attacker("203.0.113.7");
    assert!(attacker.can_login("alice"));
    let until = |text: &str, come: &dyn Fn()| {
        for _ in 0..25 {
            come();
            if status().contains(text) {
                return;
            }
        }
        panic!("{}", status());
    };
    let speaks_again = || {
        assert!(attacker.can_login("alice"));
        machine.wait_until("the problem is solved", || status().contains(": running"));
    };
    let pause = || std::thread::sleep(std::time::Duration::from_secs(15));

    machine.run("mkdir -p /etc/systemd/journald.conf.d; printf '[Journal]\nMaxLevelStore=warning\n' >/etc/systemd/journald.conf.d/few.conf && systemctl restart systemd-journald");
    until("few.conf:2 says MaxLevelStore=warning", &|| {
        let _login = attacker.log_in("alice");
        pause();
    });
    machine.run("rm /etc/systemd/journald.conf.d/few.conf && systemctl restart systemd-journald");
    speaks_again();

    machine.run("printf 'LogLevel QUIET\nUsePAM no\n' >/etc/ssh/sshd_config.d/00-quiet.conf && systemctl restart ssh");
    until("nothing at all of it reached the journal", &|| {
        attacker.guess(crate::harness::attack::Guesses::default());
        pause();
    });
    assert!(status().contains("00-quiet.conf:1 says LogLevel QUIET"), "{}", status());
    machine.run("rm /etc/ssh/sshd_config.d/00-quiet.conf && systemctl restart ssh");
    speaks_again();
}

/// A user who may run one harmless program as root has it write what they like, from processes that are
/// gone before journald looks.
const FORGER: &str = r#"
import os, socket, time
def log():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect("/run/systemd/journal/dev-log")
    return s
flood = log()
flood.setblocking(False)
for i in range(18):
    try:
        for _ in range(500):
            flood.send(b"<14>x: " + b"y" * 300)
    except BlockingIOError:
        pass
    pid = os.fork()
    if pid == 0:
        text = "<38>%s sshd[%d]: Failed password for root from 10.66.0.9 port 22 ssh2" % (time.strftime("%b %e %H:%M:%S"), os.getpid() + 1 + i % 3)
        open("/home/bob/x", "w").write(text)
        out = log()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        os.execv("/usr/bin/sudo", ["sudo", "-n", "/usr/bin/tail", "-n", "1", "/home/bob/x"])
    os.waitpid(pid, 0)
    time.sleep(0.1)
"#;

pub(crate) fn a_user_with_a_harmless_sudo_rule_has_nobody_banned(release: Release) {
    let machine = plan(release)
        .file("/etc/sudoers.d/bob", "Defaults !use_pty\nbob ALL=(root) NOPASSWD: /usr/bin/tail -n 1 /home/bob/x\n")
        .file("/opt/forger.py", FORGER)
        .boot();
    // sudo looks the machine's own name up.
    machine.run("echo 127.0.0.1 localhost $(hostname) >/etc/hosts");
    machine.run("su bob -c 'python3 /opt/forger.py'");
    machine.wait_for_message("Failed password for root from 10.66.0.9");
    // What came from sshd itself in the meantime counts, so all before it has been read.
    machine.attacker("203.0.113.7").wrong_passwords("root", 3);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    assert_eq!(banned(&machine), ["203.0.113.7"]);
    let records = machine.run("journalctl -q -o json _UID=0 SYSLOG_IDENTIFIER=sshd");
    let records = records.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let forged = records
        .filter(|record| record["MESSAGE"].as_str().is_some_and(|message| message.contains("10.66.0.9")))
        .filter(|record| record["_PID"] == record["SYSLOG_PID"] && record["_SYSTEMD_UNIT"].is_null());
    let forged = forged.count();
    println!("{}: {forged} forged records had the right process number and no unit", release.name());
}
