//! What firewalld holds against what it should: shown, and put right, on an admin's order.

use serde_json::Value;

use crate::harness::attack::Connection;
use crate::harness::machine::{Machine, Release};

fn status(machine: &Machine) -> Value {
    serde_json::from_str(&machine.run("wardenctl firewall status --json=short")).expect("JSON")
}

/// Of the set `wardend4`: wanted, held, missing, foreign.
fn of_wardend4(status: &Value) -> (u64, u64, String, String) {
    let sets = status["sets"].as_array().expect("a list");
    let set = sets.iter().find(|set| set["set"] == "wardend4").expect("it is there");
    let number = |name: &str| set[name].as_u64().expect("a number");
    (number("wanted"), number("held"), set["missing"].to_string(), set["foreign"].to_string())
}

pub(crate) fn what_is_wrong_in_firewalld_is_shown_and_put_right_on_order(release: Release) {
    let machine = Machine::boot(release);
    let attacker = machine.attacker("203.0.113.7");
    machine.run("wardenctl ban 203.0.113.7 2001:db8:a:7::/64 --for 1h");
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    machine.wait_for_message("firewalld blocks 2001:db8:a:7::/64");
    let text = machine.run("wardenctl firewall status");
    assert!(text.starts_with("Firewall: up\n  Policy: wardend, as it should be\n"), "{text}");
    assert!(text.contains("\nwardend4  1     1       1     0        0\n"), "{text}");
    let right = status(&machine);
    assert_eq!(of_wardend4(&right), (1, 1, "[]".to_owned(), "[]".to_owned()));
    assert_eq!(
        machine.run("wardenctl firewall sync"),
        "firewalld holds what it should; there was nothing to correct.\n"
    );

    let doctor = |word: &str, what: &str| {
        let said = machine.try_run("wardenctl doctor");
        let line = format!("{word:<7}  firewalld   {what} Run `wardenctl firewall sync`.\n");
        assert!(said.stdout.contains(&line) && said.code == i32::from(word == "problem"), "{line}{}", said.stdout);
    };
    machine.run("firewall-cmd --ipset=wardend4 --add-entry=198.51.100.1");
    doctor("note", "1 entry is not a ban of wardend in wardend's ipsets.");
    machine.run("firewall-cmd --ipset=wardend4 --remove-entry=203.0.113.7");
    doctor("problem", "1 ban is not in its ipset.");
    machine
        .run("firewall-cmd --policy=wardend --remove-rich-rule='rule family=\"ipv4\" source ipset=\"wardend4\" drop'");
    doctor("problem", "wardend's policy has other rules than it should, or it or one of its ipsets is missing.");
    assert_eq!(attacker.can_connect(), Connection::Open, "somebody has let them in by hand");
    let wrong = status(&machine);
    let lists = (r#"["203.0.113.7"]"#.to_owned(), r#"["198.51.100.1"]"#.to_owned());
    assert_eq!(of_wardend4(&wrong), (1, 1, lists.0, lists.1));
    assert_eq!(wrong["policy"], "other-rules");
    let text = machine.run("wardenctl firewall status");
    assert!(text.contains("wardend4, missing: 203.0.113.7\nwardend4, not wardend's: 198.51.100.1\n"), "{text}");

    let refused = machine.try_run("runuser -u alice -- wardenctl firewall sync");
    assert!(refused.code != 0 && refused.stderr.contains("org.wardend1.reload"), "{}", refused.stderr);
    machine.run("runuser -u alice -- wardenctl firewall status");
    let done = machine.run("wardenctl firewall sync");
    for said in
        ["198.51.100.1", "203.0.113.7", "did not match the jails", "corrected the entries of the ipsets with 2 changes"]
    {
        assert!(done.contains(said), "{done}");
    }
    assert!(done.ends_with("\nfirewalld holds what it should.\n"), "{done}");
    assert_eq!(status(&machine), right);
    let well = machine.run("wardenctl doctor");
    assert!(well.contains("ok       firewalld   It is running, and nothing is accepted before a ban.\n"), "{well}");
    assert_eq!(attacker.can_connect(), Connection::TimedOut);

    machine.run("systemctl stop firewalld");
    machine.wait_for_message("firewalld is not running");
    let down = status(&machine);
    assert_eq!((&down["state"], &down["policy"]), (&"down".into(), &"unknown".into()));
    assert_eq!((of_wardend4(&down).0, of_wardend4(&down).1), (1, 0));
    let failed = machine.try_run("wardenctl firewall sync");
    assert!(failed.code == 1 && failed.stderr.contains("systemctl start firewalld"), "{}", failed.stderr);
}
