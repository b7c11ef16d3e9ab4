//! Notifications: what handlers receive, and what nobody can do to them.

use std::{collections::BTreeSet, fs, path::Path};

use crate::harness::machine::{Machine, Release};

/// Appends each batch to a file.
const LOG: &str = "#!/bin/sh\nset -e\ncat >>\"$STATE_DIRECTORY/log\"\nprintf '\\033[2J$(touch /tmp/owned)\\n'\n";
const AT_ONCE: &str = "collect = \"0\"\nat-most = \"0\"\nbatch = 20000\nevents = [\"banned\", \"unbanned\", \"imported\", \"degraded\", \"lost\"]\n";

const KILLED: &str = "[Service]\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0\n";

/// A number from the environment, for the figures alone.
fn size_of(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// The keys of the events that a handler has received, in order.
fn keys(machine: &Machine) -> Vec<String> {
    let log = log(machine);
    let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.filter_map(|event| Some(event.get("source")?.as_str()?.to_owned() + "/" + event["key"].as_str()?)).collect()
}

/// What a handler has received so far.
fn log(machine: &Machine) -> String {
    machine.try_run("cat /var/lib/private/wardend-notify-log/log 2>/dev/null").stdout
}

/// Whether a ban of a source has reached the handler.
fn has(machine: &Machine, source: &str) -> bool {
    keys(machine).iter().any(|key| key.starts_with(&format!("{source}/banned")))
}

pub(crate) fn a_ban_reaches_each_handler_and_one_that_hangs_holds_up_no_other(release: Release) {
    let mut machine = Machine::prepare(release)
        .file("/etc/wardend/notify.d/log.toml", AT_ONCE)
        .file("/etc/wardend/notify.d/log", LOG)
        .file("/etc/wardend/notify.d/hang.toml", AT_ONCE)
        .file("/etc/wardend/notify.d/hang", "#!/bin/sh\nexec sleep infinity\n")
        .file("/etc/wardend/notify.d/fail.toml", AT_ONCE)
        .file("/etc/wardend/notify.d/fail", "#!/bin/sh\nyes 'fill the journal' | head -n 20000\nexit 1\n")
        .file("/etc/wardend/notify.d/mail.toml", "collect = \"0\"\nat-most = \"0\"\nsettings.to = \"admin@example.org\"\n")
        .file("/usr/sbin/sendmail", "#!/bin/sh\necho \"$@\" >>/var/mail/words\ncat >>/var/mail/mails\n")
        .command("chmod 755 /etc/wardend/notify.d/log /etc/wardend/notify.d/hang /etc/wardend/notify.d/fail /usr/sbin/sendmail")
        .command("touch /var/mail/words /var/mail/mails; chmod 666 /var/mail/words /var/mail/mails")
        .command("systemctl enable --quiet wardend-notify")
        .boot();
    machine.wait_until("it serves its handlers", || {
        machine.run("systemctl show -p StatusText --value wardend-notify").contains("Serving 4 handlers.")
    });

    // A ban whose reason is a program, and events that somebody makes up.
    machine.run("wardenctl ban 203.0.113.7 --for 1h --reason '$(touch /tmp/owned); `touch /tmp/owned` <@everyone>'");
    let forge = "printf 'MESSAGE_ID=aa04c1c10db24c02ad4e28e8ac726807\\nMESSAGE=forged\\nWARDEND_JAIL=sshd\\nWARDEND_SOURCE=192.0.2.66\\nWARDEND_SINCE=1\\n_SYSTEMD_UNIT=wardend.service\\n'";
    machine.run(&format!("{forge} | runuser -u alice -- logger --journald"));
    machine.run(&format!("{forge} | logger --journald"));
    machine.wait_until("the ban has reached the handler", || has(&machine, "203.0.113.7"));
    machine.wait_until("the mail is there", || machine.run("cat /var/mail/mails").contains("203.0.113.7"));
    let mail = machine.run("cat /var/mail/mails");
    println!("{mail}");
    let subject = format!("To: admin@example.org\nSubject: wardend on {}: 1 ban\n", machine.run("uname -n").trim());
    assert!(mail.starts_with(&subject), "{mail}");
    assert!(mail.contains("\n203.0.113.7  sshd  ") && mail.contains("    wardenctl explain 203.0.113.7\n"), "{mail}");
    assert_eq!(machine.run("cat /var/mail/words").trim(), "-t -i -odf");

    machine.run("wardenctl ban 203.0.113.8 --for 1h");
    machine.wait_until("the next ban too", || has(&machine, "203.0.113.8"));
    assert!(!keys(&machine).iter().any(|key| key.contains("192.0.2.66")), "anybody can make up an event");
    assert_eq!(machine.try_run("test -e /tmp/owned").code, 1, "something of a record was executed");
    machine.wait_until("the failure is reported", || {
        machine.run("wardenctl notify list").contains("has failed (exit-code)")
    });
    machine.run("wardenctl notify test log");
    assert!(log(&machine).contains("\"test\":true"));
    assert_eq!(machine.try_run("wardenctl notify test fail").code, 1);
    assert_eq!(machine.try_run("runuser -u alice -- wardenctl notify list").code, 0);
    assert_eq!(machine.try_run("runuser -u alice -- wardenctl notify test log").code, 1);
    // Who could lock it would hold the handler up.
    assert_ne!(machine.try_run("runuser -u alice -- flock -n /run/wardend-notify/log.lock true").code, 0);
    let list = machine.run("wardenctl notify list");
    println!("{list}");

    // A list is one event, and so are the beginning and the end of a problem.
    machine.run("seq -f '198.18.0.%g' 1 30 >/root/list; wardenctl ban --file /root/list --for 1h");
    machine.wait_until("the list is reported", || log(&machine).contains("\"event\":\"imported\""));
    assert!(!keys(&machine).iter().any(|key| key.starts_with("198.18.")), "a ban of the list is reported as well");
    let health = |event: &str| log(&machine).contains(&format!("\"key\":\"{event}/firewall/"));
    machine.run("systemctl stop firewalld");
    machine.wait_until("that no ban is in force is reported", || health("degraded"));
    machine.run("systemctl start firewalld");
    machine.wait_until("that they are in force again is reported", || health("healthy"));
    machine.run("systemctl start wardend-digest");
    machine
        .wait_until("yesterday's report is mailed", || machine.run("cat /var/mail/mails").contains(": report of 20"));
    println!("{}", machine.run("tail -n 12 /var/mail/mails"));
    let metrics = machine.run("runuser -u wardend -- wardenctl metrics");
    assert!(metrics.contains("\nwardend_notify_failing{handler=\"fail\"} 1\n"), "{metrics}");

    // What it may start, and how tight its sandbox is.
    let call = |method: &str, unit: &str| {
        machine.try_run(&format!(
            "runuser -u wardend-notify -- busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
             org.freedesktop.systemd1.Manager {method} ss '{unit}' replace"
        ))
    };
    assert_eq!(call("StartUnit", "wardend-notify@log.service").code, 0);
    for (method, unit) in [
        ("StartUnit", "wardend-cut@192.0.2.99.service"),
        ("StartUnit", "systemd-tmpfiles-clean.service"),
        ("StartUnit", "wardend-notify@log\\x2d.service"),
        ("StopUnit", "wardend-notify@log.service"),
        ("StopUnit", "wardend.service"),
    ] {
        let refused = call(method, unit);
        assert!(refused.code != 0 && refused.stderr.contains("authentication"), "{method} {unit}: {}", refused.stderr);
    }
    let wardend = machine.try_run(
        "runuser -u wardend -- busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
         org.freedesktop.systemd1.Manager StartUnit ss wardend-notify@log.service replace",
    );
    assert_ne!(wardend.code, 0, "the daemon starts no handler");
    for unit in
        ["wardend-notify", "wardend-digest", "wardend-notify@log", "wardend-notify@webhook", "wardend-notify@mail"]
    {
        let exposure = machine.run(&format!("systemd-analyze security --no-pager {unit}.service | tail -1"));
        println!("{}: {unit} {}", release.name(), exposure.trim());
        let score = exposure.split(&format!("exposure level for {unit}.service: ")).nth(1);
        let score = score.and_then(|rest| rest.split(' ').next()?.parse::<f32>().ok());
        let most = match unit {
            "wardend-notify" | "wardend-digest" => 0.5,
            // sendmail of some mail systems changes its user, and writes below /var.
            "wardend-notify@mail" => 7.0,
            // The network.
            _ => 2.5,
        };
        assert!(score.is_some_and(|score| score <= most), "{exposure}");
    }

    // A restart and a reboot tell nothing twice, and lose nothing.
    machine.run("systemctl stop wardend-notify; wardenctl ban 203.0.113.9 --for 1h");
    // A boot is finished when no unit is starting any more, so this waits for no handler that hangs.
    machine.reboot();
    machine.wait_until("the handler that hangs was started", || {
        machine.run("journalctl --boot --output=cat _PID=1").contains("Starting wardend-notify@hang.service")
    });
    let said = machine.run("journalctl --boot --output=cat _PID=1");
    let (booted, started) = (said.find("Startup finished"), said.find("Starting wardend-notify@"));
    assert!(booted.is_some() && booted < started, "a handler was started while the machine booted:\n{said}");
    machine.wait_until("what happened meanwhile is there", || has(&machine, "203.0.113.9"));
    machine.run("systemctl restart wardend; wardenctl ban 203.0.113.10 --for 1h");
    machine.wait_until("it goes on", || has(&machine, "203.0.113.10"));
    let keys_now = keys(&machine);
    let bans: Vec<&String> = keys_now.iter().filter(|key| key.contains("/banned/") && key.starts_with("203")).collect();
    assert_eq!(bans.len(), bans.iter().collect::<BTreeSet<_>>().len(), "an event came twice: {bans:?}");
    assert_eq!(bans.len(), 4, "{bans:?}");
}

pub(crate) fn whatever_is_killed_no_event_is_lost_and_a_lost_journal_is_reported(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/wardend/notify.d/log.toml", AT_ONCE)
        .file("/etc/wardend/notify.d/log", LOG)
        .command("chmod 755 /etc/wardend/notify.d/log; systemctl enable --quiet wardend-notify")
        .file("/etc/systemd/system/wardend-notify.service.d/lab.conf", KILLED)
        .file("/etc/systemd/system/wardend.service.d/lab.conf", KILLED)
        .boot();
    let mut wanted = BTreeSet::new();
    let rounds = size_of("WARDEND_NOTIFY_KILLS", 9);
    for round in 0..rounds {
        for host in 0..4 {
            wanted.insert(format!("198.51.{round}.{host}"));
        }
        let list: Vec<String> = (0..4).map(|host| format!("198.51.{round}.{host}")).collect();
        let ban = format!("wardenctl ban {} --for 1h >/dev/null 2>&1", list.join(" "));
        // In force, or only decided, because firewalld is still asked; without an answer, they may be either.
        machine.wait_until("wardend takes the bans", || [0, 6].contains(&machine.try_run(&ban).code));
        let victim = ["wardend-notify", "wardend-notify@log", "wardend"][round % 3];
        machine.try_run(&format!("systemctl kill --signal=KILL {victim}"));
    }
    machine.wait_until("all have arrived", || {
        let keys = keys(&machine);
        wanted.iter().all(|source| keys.iter().any(|key| key.starts_with(&format!("{source}/banned"))))
    });
    let all = keys(&machine);
    let different: BTreeSet<_> = all.iter().collect();
    println!("{}: {} events for {} bans", release.name(), all.len(), wanted.len());
    for event in ["degraded", "healthy"] {
        assert!(log(&machine).contains(&format!("\"key\":\"{event}/service/")), "nobody hears that wardend was killed");
    }
    assert_eq!(different.len(), wanted.len(), "an event has two keys");

    machine.run("systemctl stop wardend-notify");
    machine.wait_until("wardend is back", || machine.try_run("wardenctl ban 203.0.113.7 --for 1h").code == 0);
    machine.run("journalctl --rotate --quiet; journalctl --vacuum-time=1s --quiet; sleep 2; journalctl --rotate --vacuum-time=1s --quiet");
    machine.run("systemctl start wardend-notify");
    machine
        .wait_until("the gap is reported", || log(&machine).contains("The journal no longer holds what was written"));
    machine.run("wardenctl ban 203.0.113.8 --for 1h");
    machine.wait_until("it goes on", || has(&machine, "203.0.113.8"));
}

/// What the burst's handler does: it notes when it was started.
const NOTE: &str = "#!/bin/sh\ndate +%s%6N >>\"$STATE_DIRECTORY/times\"\nexec cat >>\"$STATE_DIRECTORY/log\"\n";
const BURST: &str =
    "[default]\nmaxretry = 1\nlow-latency = true\nbantime = \"1day\"\nspare-logins = false\n[jail.sshd]\ncut = false\n";
const JOURNALD: &str = "[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\n";
const FAIL: &str = include_str!("../guest/fail.py");
const IN_FORCE: &str = "d3900ade55e14a7491ea1ddb5189c835";

/// CPU of a process so far, in ms.
fn cpu(machine: &Machine, process: &str) -> u64 {
    let stat = machine.run(&format!("cat /proc/{}/stat", process.trim()));
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

/// Waits for something that takes long where the figures are measured.
fn wait_long(machine: &Machine, what: &str, size: usize, condition: impl Fn() -> bool) {
    for _ in 0..size / 300 {
        if size > 1000 && !condition() {
            machine.run("sleep 10");
        }
    }
    machine.wait_until(what, condition);
}

pub(crate) fn a_burst_of_bans_is_handed_over_in_a_few_batches(release: Release) {
    let size = size_of("WARDEND_NOTIFY_BANS", 300);
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/burst.conf", BURST)
        .file("/etc/systemd/journald.conf.d/burst.conf", JOURNALD)
        .file("/etc/wardend/notify.d/log.toml", "collect = \"5s\"\nat-most = \"5s\"\nbatch = 20000\n")
        .file("/etc/wardend/notify.d/log", NOTE)
        .file("/root/fail.py", FAIL)
        .command("chmod 755 /etc/wardend/notify.d/log; cp -L /usr/bin/python3 /usr/bin/sshd")
        .boot();
    let in_force = || {
        let list = format!("journalctl -u wardend -o cat MESSAGE_ID={IN_FORCE} --output-fields=MESSAGE | wc -l");
        machine.run(&list).trim().parse::<usize>().unwrap_or(0)
    };
    let second = |usec: &str| usec.trim().parse::<f64>().unwrap_or_default() / 1e6;
    let burst = |first: usize, bans: usize| {
        let (init, before) = (cpu(&machine, "1"), in_force());
        let begun = second(&machine.run(&format!("/usr/bin/sshd /root/fail.py {first} {bans} 0")));
        wait_long(&machine, "all are in force", bans, || in_force() >= before + bans);
        let last =
            machine.run(&format!("journalctl -u wardend MESSAGE_ID={IN_FORCE} -n 1 -o short-unix | cut -d' ' -f 1"));
        (begun, last.trim().parse::<f64>().unwrap_or_default() - begun, cpu(&machine, "1") - init)
    };
    // The first order makes ipset and policy.
    burst(0, 1);
    let without = |first: usize| {
        let (_, took, init) = burst(first, size);
        println!("without wardend-notify: {size} bans in force after {took:.2} s, process 1 used {init} ms");
    };
    if size > 1000 {
        without(1);
    }
    machine.run("systemctl start wardend-notify");
    let process = machine.run("systemctl show -p MainPID --value wardend-notify");
    let idle = cpu(&machine, &process);
    let (begun, took, init) = burst(1 + size, size);
    let delivered = || keys(&machine).into_iter().collect::<BTreeSet<_>>().len();
    wait_long(&machine, "all are handed over", size, || delivered() >= size);
    let (lines, different) = (keys(&machine).len(), delivered());
    assert_eq!((lines, different), (size, size), "an event is missing, or came twice without a reason");
    let times = machine.run("cat /var/lib/private/wardend-notify-log/times");
    let times: Vec<f64> = times.lines().map(second).collect();
    let bans = log(&machine)
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).ok()?.get("time_usec")?.as_f64().map(|usec| usec / 1e6)
        })
        .fold(0.0, f64::max);
    println!(
        "with wardend-notify: {size} bans in force after {took:.2} s, process 1 used {init} ms; the last ban was logged \
         after {:.2} s; {} batches, begun after {:.2?} s; wardend-notify used {} ms and {}",
        bans - begun,
        times.len(),
        times.iter().map(|time| time - begun).collect::<Vec<_>>(),
        cpu(&machine, &process) - idle,
        machine.run(&format!("grep -E 'VmHWM|RssAnon' /proc/{}/status | tr -s '\\n\\t ' ' '", process.trim())),
    );
    assert!(times.len() <= 2 + size / 300, "{} batches", times.len());
    // What was there before makes each burst slower than the one before, so it is compared with both.
    if size > 1000 {
        machine.run("systemctl stop wardend-notify");
        without(1 + 2 * size);
    }
}

/// Writes what it receives by HTTP on port 8080 and by SMTP on port 2525 to files.
const RECEIVE: &str = r#"
import http.server, socketserver, threading
class Web(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open("/var/mail/requests", "a") as file:
            file.write("%s %s\n%s%s\n" % (self.command, self.path, self.headers, body))
        self.send_response(204)
        self.end_headers()
class Mail(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write((text + "\r\n").encode())
    def handle(self):
        self.say("220 lab")
        for line in self.rfile:
            word = line.decode().strip().upper()
            if word == "DATA":
                self.say("354 go on")
                with open("/var/mail/listener", "a") as file:
                    for line in iter(self.rfile.readline, b".\r\n"):
                        file.write(line.decode().replace("\r", ""))
            self.say("221 bye" if word == "QUIT" else "250 lab")
threading.Thread(target=http.server.HTTPServer(("127.0.0.1", 8080), Web).serve_forever).start()
socketserver.TCPServer(("127.0.0.1", 2525), Mail).serve_forever()
"#;
const BODY: &str = r#"body = '{"text": "$TITLE\n$TEXT"}'"#;

pub(crate) fn a_real_mail_system_and_a_web_server_receive_a_batch(release: Release) {
    let Some(packages) = std::env::var_os("WARDEND_NOTIFY_PACKAGES").map(|path| Path::new(&path).join(release.name()))
    else {
        println!("left out: WARDEND_NOTIFY_PACKAGES names no packages of a mail system and of curl");
        return;
    };
    let pace = "collect = \"0\"\nat-most = \"0\"\n";
    let machine = Machine::prepare(release)
        .file("/root/receive.py", RECEIVE)
        .file("/etc/msmtprc", "account default\nhost 127.0.0.1\nport 2525\nfrom wardend@example.org\n")
        .file("/etc/wardend/notify.d/mail.toml", pace)
        .file("/etc/wardend/notify.d/webhook.toml", &format!("{pace}[settings]\n{BODY}\n"))
        .file("/etc/wardend/notify.d/webhook.url", "http://127.0.0.1:8080/hook/$KEY\n")
        .file("/etc/wardend/notify.d/webhook.header", "Authorization: Bearer 0123\n")
        .file(
            "/etc/systemd/system/wardend-notify@webhook.service.d/header.conf",
            "[Service]\nLoadCredential=header:/etc/wardend/notify.d/webhook.header\n",
        )
        .command("chmod 600 /etc/wardend/notify.d/webhook.url /etc/wardend/notify.d/webhook.header")
        .boot();
    // Exim asks for its own name, and waits for a server that does not answer.
    machine.run("echo 'nameserver 127.0.0.1' >/etc/resolv.conf; echo \"127.0.0.1 $(uname -n).example.org $(uname -n)\" >>/etc/hosts");
    let into = machine.root().join("root");
    for package in fs::read_dir(&packages).expect("there are packages of this release").flatten() {
        fs::copy(package.path(), into.join(package.file_name())).expect("a package can be copied");
    }
    let installed = machine.try_run("DEBIAN_FRONTEND=noninteractive dpkg --install /root/*.deb 2>&1");
    println!("{}", installed.stdout.lines().rev().take(5).collect::<Vec<_>>().join("\n"));
    machine.run(
        "touch /var/mail/requests /var/mail/listener; systemd-run --quiet --unit=receive python3 /root/receive.py",
    );
    machine.run("systemctl start wardend-notify; wardenctl ban 203.0.113.7 --for 1h --reason '$(touch /tmp/owned)'");
    machine.wait_until("the request is there", || machine.run("cat /var/mail/requests").contains("203.0.113.7"));
    machine.wait_until("the mail is there", || {
        machine.try_run("grep -l 203.0.113.7 /var/mail/root /var/mail/mail /var/mail/listener").stdout.contains('/')
    });
    println!(
        "{}: {}\n{}",
        release.name(),
        machine.run("dpkg -S /usr/sbin/sendmail"),
        machine.run("cat /var/mail/requests; cat /var/mail/root /var/mail/mail /var/mail/listener 2>/dev/null || :")
    );
    assert!(machine.run("cat /var/mail/requests").contains("\nAuthorization: Bearer 0123\n"));
    assert_eq!(machine.try_run("test -e /tmp/owned").code, 1, "something of a record was executed");
}
