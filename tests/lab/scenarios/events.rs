//! What wardend has written is read back, and what others have written in its name is not.

use serde_json::Value;

use crate::harness::machine::{Machine, Release};

const BAN: &str = "aa04c1c10db24c02ad4e28e8ac726807";

fn events(machine: &Machine, options: &str) -> Vec<Value> {
    let output = machine.run(&format!("wardenctl events --json {options}"));
    output.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn of<'e>(events: &'e [Value], kind: &str) -> Vec<&'e str> {
    let events = events.iter().filter(|event| event["event"] == kind);
    events.map(|event| event["source"].as_str().unwrap_or_default()).collect()
}

pub(crate) fn events_and_report_hold_what_wardend_has_written_and_no_forgery(release: Release) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
    machine.run("systemd-run --quiet --unit=follow -p StandardOutput=file:/root/seen wardenctl events --follow --json");
    // What anyone can send to journald, by themselves and in a unit of another name.
    let forged = format!(
        "MESSAGE=Banned 203.0.113.66 in jail sshd\\nMESSAGE_ID={BAN}\\nWARDEND_SOURCE=203.0.113.66\\nWARDEND_JAIL=sshd\\n\
         WARDEND_SINCE=1\\nWARDEND_UNTIL=infinity\\nSYSLOG_IDENTIFIER=wardend\\n_SYSTEMD_UNIT=wardend.service\\n\
         UNIT=wardend.service\\n"
    );
    machine.write("/tmp/forged", &forged.replace("\\n", "\n"));
    machine.run("chmod 644 /tmp/forged; runuser -u alice -- logger --journald=/tmp/forged");
    machine.run("systemd-run --quiet --wait --unit=other logger --journald=/tmp/forged");
    assert_eq!(
        machine.run(&format!("journalctl -q -o cat MESSAGE_ID={BAN}")).lines().count(),
        2,
        "they are in the journal"
    );

    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    machine.run("wardenctl ban 198.51.100.0/24 --for permanent --reason 'scanners\nMESSAGE_ID=x'");
    machine.run("wardenctl unban 203.0.113.7");
    machine.run("systemctl stop firewalld");
    machine.wait_for_message("firewalld is not running; bans are kept");
    machine.run("systemctl start firewalld");
    machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));

    let mut all = Vec::new();
    machine.wait_until("all is in the journal", || {
        all = events(&machine, "--cursor-file /root/cursor");
        machine.run("cp /root/cursor /root/before; rm /root/cursor");
        of(&all, "healthy").len() >= 2
    });
    assert_eq!(of(&all, "banned"), ["203.0.113.7", "198.51.100.0/24"], "{all:#?}");
    assert_eq!(of(&all, "unbanned"), ["203.0.113.7"]);
    let ban = all.iter().find(|event| event["event"] == "banned").expect("there is one");
    assert_eq!((ban["failures"].as_u64(), ban["count"].as_u64()), (Some(5), Some(1)), "{ban:#}");
    assert_eq!(ban["evidence"].as_array().map(Vec::len), Some(5), "{ban:#}");
    let degraded = all.iter().find(|event| event["event"] == "degraded").expect("there is one");
    assert_eq!(degraded["problem"], "firewall", "{degraded:#}");
    let text = machine.run("wardenctl events --since today");
    println!("{text}");
    assert!(
        text.contains("  banned      Banned 203.0.113.7 in jail sshd until ") && !text.contains("203.0.113.66"),
        "{text}"
    );

    // From a cursor on, and what follows.
    machine.run("cp /root/before /root/cursor");
    assert!(events(&machine, "--cursor-file /root/cursor").is_empty(), "all of it has been shown");
    machine.run("wardenctl ban 203.0.113.9");
    machine.wait_until("the next one is shown once", || {
        of(&events(&machine, "--cursor-file /root/cursor"), "banned") == ["203.0.113.9"]
    });
    assert!(of(&events(&machine, "--cursor-file /root/cursor"), "banned").is_empty());
    machine.wait_until("whoever follows sees it", || machine.run("cat /root/seen").contains("\"203.0.113.9\""));
    let seen = machine.run("systemctl stop follow; cat /root/seen");
    assert!(seen.contains("\"203.0.113.7\"") && !seen.contains("203.0.113.66"), "{seen}");

    let report: Value = serde_json::from_str(&machine.run("wardenctl report --json")).expect("JSON");
    println!("{}", machine.run("wardenctl report"));
    assert_eq!((report["bans"].as_u64(), report["origins"]["admin"].as_u64()), (Some(3), Some(2)), "{report:#}");
    assert_eq!((report["failures"].as_u64(), report["permanent_bans"].as_u64()), (Some(5), Some(1)), "{report:#}");
    assert_eq!((report["unbans"].as_u64(), report["starts"].as_u64()), (Some(1), Some(1)), "{report:#}");
    assert_eq!(report["top"][0]["source"], "203.0.113.7", "{report:#}");
    let degraded = report["degraded"].as_array().expect("a list");
    assert!(degraded.iter().any(|it| it["problem"] == "firewall" && it["until_usec"].is_u64()), "{report:#}");
    let denied = machine.try_run("runuser -u alice -- wardenctl report");
    assert!(denied.code == 1 && denied.stderr.contains("systemd-journal"), "{}", denied.stderr);
}
