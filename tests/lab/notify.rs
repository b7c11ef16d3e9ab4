//! Notifications: what handlers receive, and what nobody can do to them.

use std::collections::BTreeSet;

use crate::machine::{Machine, Release};

/// Appends each batch to a file.
const LOG: &str = "#!/bin/sh\nset -e\ncat >>\"$STATE_DIRECTORY/log\"\nprintf '\\033[2J$(touch /tmp/owned)\\n'\n";
const AT_ONCE: &str =
    "collect = \"0\"\nat-most = \"0\"\nbatch = 20000\nevents = [\"banned\", \"unbanned\", \"degraded\", \"lost\"]\n";

const KILLED: &str = "[Service]\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0\n";

/// A number from the environment, for the figures alone.
fn size_of(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// The keys of the events that a handler has received, in order.
fn keys(machine: &Machine) -> Vec<String> {
    let log = machine.try_run("cat /var/lib/private/wardend-notify-log/log 2>/dev/null").stdout;
    let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.filter_map(|event| Some(event.get("source")?.as_str()?.to_owned() + "/" + event["key"].as_str()?)).collect()
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
    assert_eq!(machine.run("cat /var/mail/words").trim(), "-t -i");

    machine.run("wardenctl ban 203.0.113.8 --for 1h");
    machine.wait_until("the next ban too", || has(&machine, "203.0.113.8"));
    assert!(!keys(&machine).iter().any(|key| key.contains("192.0.2.66")), "anybody can make up an event");
    assert_eq!(machine.try_run("test -e /tmp/owned").code, 1, "something of a record was executed");
    machine
        .wait_until("the failure is reported", || machine.run("wardenctl notify list").contains("has failed (failed)"));
    machine.run("wardenctl notify test log");
    assert!(machine.run("cat /var/lib/private/wardend-notify-log/log").contains("\"test\":true"));
    assert_eq!(machine.try_run("wardenctl notify test fail").code, 1);
    assert_eq!(machine.try_run("runuser -u alice -- wardenctl notify list").code, 0);
    assert_eq!(machine.try_run("runuser -u alice -- wardenctl notify test log").code, 1);
    let list = machine.run("wardenctl notify list");
    println!("{list}");

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
    for unit in ["wardend-notify", "wardend-notify@log", "wardend-notify@webhook", "wardend-notify@mail"] {
        let exposure = machine.run(&format!("systemd-analyze security --no-pager {unit}.service | tail -1"));
        println!("{}: {unit} {}", release.name(), exposure.trim());
        if unit == "wardend-notify" {
            let score = exposure
                .split("exposure level for wardend-notify.service: ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            assert!(score.and_then(|score| score.parse::<f32>().ok()).is_some_and(|score| score <= 0.5), "{exposure}");
        }
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
        machine.wait_until("wardend takes the bans", || machine.try_run(&ban).code != 3);
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
    assert_eq!(different.len(), wanted.len(), "an event has two keys");

    machine.run("systemctl stop wardend-notify; wardenctl ban 203.0.113.7 --for 1h");
    machine.run("journalctl --rotate --quiet; journalctl --vacuum-time=1s --quiet; sleep 2; journalctl --rotate --vacuum-time=1s --quiet");
    machine.run("systemctl start wardend-notify");
    machine.wait_until("the gap is reported", || {
        machine
            .run("cat /var/lib/private/wardend-notify-log/log")
            .contains("The journal no longer holds what was written")
    });
    machine.run("wardenctl ban 203.0.113.8 --for 1h");
    machine.wait_until("it goes on", || has(&machine, "203.0.113.8"));
}
