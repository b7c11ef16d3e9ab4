//! `wardenctl doctor`: each line turns bad when its link of the chain breaks, and good again with the
//! remedy that it names.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::machine::{Machine, Release};
use crate::harness::plan::PASSWORD;

/// A service that has a filter and a jail, and writes nothing until it is asked to.
const MUTE: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n";
const FILTER: &str = r#"
[records]
_UID = ["0"]
SYSLOG_IDENTIFIER = ["mute"]
units = ["mute.service"]
[modes]
normal = ["auth"]
[[rule]]
name = "failed"
class = "auth"
counts = "failure"
pattern = 'Failed login of <ADDR>'
match = [{ message = "Failed login of 203.0.113.7", address = "203.0.113.7" }]
"#;
const LOCAL: &str = "/etc/wardend/wardend.conf.d/local.conf";

/// What doctor finds, and its exit status.
fn look(machine: &Machine, before: &str) -> (Vec<Value>, i32) {
    let output = machine.try_run(&format!("{before} wardenctl doctor --json"));
    let findings = output.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    (findings, output.code)
}

fn has(findings: &[Value], state: &str, check: &str, text: &str) -> bool {
    findings.iter().any(|finding| {
        let holds = |key: &str| finding[key].as_str().expect("a text").contains(text);
        finding["state"] == state && finding["check"] == check && (holds("what") || holds("remedy"))
    })
}

struct Walk<'m> {
    machine: &'m Machine,
    steps: usize,
}

impl Walk<'_> {
    /// What breaks a link, the line that says so, and the remedy, after which no line does.
    #[track_caller]
    fn step(&mut self, break_it: &str, (state, check, text): (&str, &str, &str), remedy: &str) {
        self.steps += 1;
        let machine = self.machine;
        machine.run(break_it);
        self.until(check, |findings| has(findings, state, check, text), &format!("{state} with: {text}"));
        machine.run(remedy);
        let any =
            |findings: &[Value]| ["problem", "note", "unknown"].iter().any(|state| has(findings, state, check, text));
        self.until(check, |findings| !any(findings), &format!("nothing of {text} after {remedy}"));
    }

    /// Looks until it is as it should be, and else fails with what is found.
    #[track_caller]
    fn until(&self, check: &str, is_so: impl Fn(&[Value]) -> bool, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (findings, code) = look(self.machine, "");
            assert_eq!(code == 1, findings.iter().any(|finding| finding["state"] == "problem"), "{findings:#?}");
            if is_so(&findings) {
                return;
            }
            if Instant::now() > deadline {
                let found: Vec<_> = findings.iter().filter(|finding| finding["check"] == check).collect();
                self.machine.give_up(&format!("step {}, {what}: {found:#?}", self.steps));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

pub(crate) fn doctor_names_each_broken_link_and_its_remedy_mends_it(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/systemd/system/mute.service", MUTE)
        .file("/etc/systemd/system/fail2ban.service", MUTE)
        .file("/root/clock.py", include_str!("../guest/clock.py"))
        .file("/root/say.py", include_str!("../guest/say.py"))
        // There is no name server, and nobody wants to wait for it.
        .command("sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf")
        .boot();
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    let text = machine.try_run("wardenctl doctor");
    println!("{}{}", text.stdout, text.stderr);
    assert_eq!(text.code, 0, "a fresh machine has no problem: {}", text.stdout);
    let good = ["config", "wardend", "journal", "jail", "sshd", "firewalld", "ports", "addresses", "you", "others"];
    for check in good {
        let line = format!("ok       {check:<10}  ");
        assert!(text.stdout.contains(&line), "{check}: {}", text.stdout);
    }
    let mut walk = Walk { machine: &machine, steps: 0 };

    // The daemon and its configuration.
    walk.step("systemctl stop wardend", ("problem", "wardend", "systemctl start wardend"), "systemctl start wardend");
    walk.step(
        "systemctl disable --quiet wardend",
        ("note", "wardend", "systemctl enable wardend.service"),
        "systemctl enable --quiet wardend.service",
    );
    machine.run("mkdir -p /etc/wardend/wardend.conf.d");
    walk.step(
        &format!("echo 'default.maxretires = 1' >{LOCAL}"),
        ("problem", "config", "local.conf:1"),
        &format!("rm {LOCAL}"),
    );
    walk.step(
        "touch /etc/wardend/jail.local",
        ("note", "config", "/etc/wardend/jail.local"),
        "rm /etc/wardend/jail.local",
    );

    // The journal.
    let journald = "/etc/systemd/journald.conf.d/test.conf";
    machine.run("mkdir -p /etc/systemd/journald.conf.d");
    for (line, state) in [
        ("MaxLevelStore=notice", "problem"),
        ("Storage=none", "problem"),
        ("Storage=volatile", "note"),
        ("RateLimitBurst=100", "note"),
    ] {
        walk.step(
            &format!("printf '[Journal]\\n{line}\\n' >{journald}"),
            (state, "journal", &format!("{journald}:2 says {line}")),
            &format!("rm {journald}"),
        );
    }
    walk.step(
        "mv /var/log/journal /var/log/old",
        ("note", "journal", "mkdir /var/log/journal"),
        "mv /var/log/old /var/log/journal",
    );

    // sshd.
    for (line, state) in [("LogLevel QUIET", "problem"), ("UseDNS yes", "note")] {
        walk.step(
            &format!("echo '{line}' >/etc/ssh/sshd_config.d/quiet.conf"),
            (state, "sshd", line.split(' ').next().expect("a word")),
            "rm /etc/ssh/sshd_config.d/quiet.conf",
        );
    }
    walk.step(
        "mkdir -p /run/systemd/system/ssh.service.d && \
         printf '[Service]\\nLogLevelMax=notice\\n' >/run/systemd/system/ssh.service.d/a.conf && systemctl daemon-reload",
        ("problem", "jail", "ssh.service has LogLevelMax=5"),
        "rm /run/systemd/system/ssh.service.d/a.conf && systemctl daemon-reload && systemctl restart ssh",
    );

    // Jails: one that is off, one that never saw a record, one whose messages come from elsewhere.
    machine.write("/etc/wardend/filters/mute.toml", FILTER);
    walk.step(
        "systemctl start mute",
        ("note", "jail", "mute.service is running, and no jail watches it"),
        &format!("printf '[jail.mute]\\nenabled = true\\n' >{LOCAL}"),
    );
    walk.step(
        "true",
        ("problem", "jail", "mute: the service is running, and no record of it was ever seen"),
        "mkdir -p /run/systemd/system/mute.service.d && \
         printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/python3 /root/say.py mute hello 86400\\n' \
         >/run/systemd/system/mute.service.d/a.conf && systemctl daemon-reload && systemctl restart mute",
    );
    walk.step(
        "systemd-run --quiet --wait --unit=gate python3 /root/say.py mute 'Failed login of 203.0.113.7' 2",
        ("note", "jail", "units = [\"gate.service\"]"),
        "mkdir -p /etc/wardend/filters/mute.d && \
         printf '[records]\\nunits = [\"gate.service\"]\\n' >/etc/wardend/filters/mute.d/gate.toml",
    );
    walk.step(
        &format!(
            "printf '[Journal]\\nRateLimitIntervalSec=1s\\nRateLimitBurst=5\\n' >{journald} && systemctl restart systemd-journald && \
             systemd-run --quiet --wait --unit=gate sh -c 'for i in $(seq 400); do echo $i; done; sleep 2; echo end; sleep 1'"
        ),
        ("note", "journal", "journald has dropped"),
        &format!(
            "rm {journald} && systemctl restart systemd-journald && journalctl --quiet --rotate && \
             journalctl --quiet --vacuum-files=1"
        ),
    );
    machine.run(&format!("rm -r {LOCAL} /etc/wardend/filters && systemctl stop mute"));

    // firewalld.
    walk.step(
        "sed -i 's/^FlushAllOnReload=.*/FlushAllOnReload=no/' /etc/firewalld/firewalld.conf && systemctl stop firewalld",
        ("problem", "firewalld", "systemctl enable --now firewalld"),
        "systemctl enable --quiet --now firewalld",
    );
    walk.step(
        "true",
        ("note", "firewalld", "FlushAllOnReload=yes"),
        "sed -i 's/^FlushAllOnReload=.*/FlushAllOnReload=yes/' /etc/firewalld/firewalld.conf && systemctl restart firewalld",
    );
    walk.step(
        "firewall-cmd --quiet --panic-on",
        ("problem", "firewalld", "--panic-off"),
        "firewall-cmd --quiet --panic-off",
    );
    let early = "firewall-cmd --quiet --permanent --policy=early";
    machine.run(&format!(
        "firewall-cmd --quiet --permanent --new-policy=early && {early} --add-ingress-zone=ANY && \
         {early} --add-egress-zone=HOST && {early} --add-service=ssh"
    ));
    walk.step(
        &format!("{early} --set-priority=-15000 && firewall-cmd --quiet --reload"),
        ("problem", "firewalld", "--policy=early --set-priority=-1000"),
        &format!("{early} --set-priority=-1000 && firewall-cmd --quiet --reload"),
    );
    if release == Release::Debian12 {
        // Lockdown does nothing in firewalld 2.
        walk.step(
            "firewall-cmd --quiet --lockdown-on",
            ("problem", "firewalld", "--lockdown-off"),
            "firewall-cmd --quiet --lockdown-off",
        );
    }
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    machine.run("firewall-cmd --quiet --permanent --delete-policy=early && firewall-cmd --quiet --reload");
    let serve = "systemd-run --quiet --unit=web python3 -m http.server 8080 && \
                 until ss -Hltn | grep -q :8080; do sleep 0.1; done";
    walk.step(
        serve,
        ("note", "ports", "8080/tcp"),
        "firewall-cmd --quiet --permanent --add-port=8080/tcp && firewall-cmd --quiet --reload",
    );
    walk.step(
        "printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/port.conf && systemctl restart ssh",
        ("problem", "ports", "sshd listens on 2222/tcp"),
        "firewall-cmd --quiet --add-port=2222/tcp",
    );
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));

    walk.step(
        "systemctl stop wardend-cut.socket",
        ("problem", "cut", "systemctl restart wardend-cut.socket"),
        "systemctl restart wardend-cut.socket",
    );

    // Who must not be banned.
    walk.step(
        "systemctl stop wardend-addresses.socket",
        ("problem", "addresses", "systemctl restart wardend-addresses.socket"),
        "systemctl restart wardend-addresses.socket",
    );
    walk.step(
        "true",
        ("note", "ignoreip", "It is empty"),
        &format!("printf '[default]\\nignoreip = [\"198.51.100.0/24\"]\\n' >{LOCAL} && systemctl reload wardend"),
    );
    walk.step(
        &format!("printf '[default]\\nignoreip = [\"home.example.invalid\"]\\n' >{LOCAL} && systemctl reload wardend"),
        ("problem", "ignoreip", "'home.example.invalid' can't be resolved"),
        &format!("printf '[default]\\nignoreip = [\"198.51.100.0/24\"]\\n' >{LOCAL} && systemctl reload wardend"),
    );

    // Whoever asks: by the variable that sshd sets, and by logind where sudo has left that out.
    let from = |address: &str| format!("SSH_CONNECTION='{address} 50000 192.0.2.10 22'");
    let you = |address: &str, state: &str, text: &str| {
        machine.wait_until(&format!("doctor says to {address}: {state}, {text}"), || {
            has(&look(&machine, &from(address)).0, state, "you", text)
        });
    };
    you("198.51.100.7", "ok", "which is in ignoreip");
    you("203.0.113.9", "note", "add \"203.0.113.9\" to ignoreip");
    machine.run("wardenctl ban 203.0.113.9");
    you("203.0.113.9", "problem", "wardenctl unban 203.0.113.9");
    machine.run(&format!("wardenctl unban 203.0.113.9 && echo 'spare-logins = false' >>{LOCAL}"));
    you("203.0.113.9", "problem", "spares nobody");
    machine.run(&format!("sed -i 's/198.51.100.0/203.0.113.0/; /spare/d' {LOCAL} && systemctl reload wardend"));
    you("203.0.113.9", "ok", "which is in ignoreip");
    machine.wait_until("wardend is well", || machine.run("wardenctl status").contains(": running\n"));
    let login = "env -u SSH_CONNECTION wardenctl doctor";
    let login = machine.attacker("203.0.113.10").ssh("alice", PASSWORD, 1, login);
    let login = String::from_utf8_lossy(&[login.stdout, login.stderr].concat()).into_owned();
    assert!(login.contains("You are connected from 203.0.113.10, which is in ignoreip."), "{login}");

    // Without root: what can't be looked at is said, and nothing else is a problem.
    println!("{login}");
    for check in ["journal", "jail", "sshd", "firewalld"] {
        assert!(login.contains(&format!("unknown  {check:<10}  ")), "{check}: {login}");
    }
    assert!(!login.contains("problem  "), "{login}");

    // The clock, by a service of the machine's own that answers for it.
    walk.step(
        "systemctl stop systemd-timedated && systemd-run --quiet --unit=clock python3 /root/clock.py && \
         until busctl list --acquired --no-legend | grep timedate1 | grep -q python3; do sleep 0.1; done",
        ("note", "clock", "It is not synchronized"),
        "timedatectl set-ntp true",
    );

    // Whoever else bans.
    walk.step(
        "systemctl start fail2ban",
        ("note", "others", "systemctl disable --now fail2ban.service"),
        "systemctl disable --quiet --now fail2ban.service",
    );
    println!("{} steps", walk.steps);
}
