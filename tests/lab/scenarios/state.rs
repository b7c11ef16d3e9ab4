//! What the daemon knows outlives disks that fail, files that rot and configurations that change.

use std::{thread, time::Duration};

use serde_json::Value;

use crate::harness::attack::{Connection, Guesses};
use crate::harness::machine::{Machine, Release};
use crate::harness::plan::{PASSWORD, Plan};

/// A machine on which single guesses are not turned away by sshd itself.
fn machine(release: Release) -> Machine {
    plan(release).boot()
}

fn plan(release: Release) -> Plan {
    let mut plan = Machine::prepare(release).hasty_passwords();
    if release.penalises_sources() {
        plan = plan.file("/etc/ssh/sshd_config.d/test.conf", "PerSourcePenalties no\n");
    }
    plan
}

fn wait_until_up(machine: &Machine) {
    machine.wait_until("wardend is up", || machine.try_run("wardenctl status").stdout.contains("Firewall: up"));
}

pub(crate) fn a_full_and_a_read_only_disk_hold_up_no_ban(release: Release) {
    let machine = machine(release);
    machine.run(
        "systemctl stop wardend && mount -t tmpfs -o size=64k,mode=750,uid=wardend,gid=wardend none /var/lib/wardend",
    );
    machine
        .run("systemctl start wardend && dd if=/dev/zero of=/var/lib/wardend/filler bs=1k count=100 2>/dev/null; true");
    let ban = machine.try_run("wardenctl ban 192.0.2.1 --for 1h");
    assert_eq!(ban.code, 1, "{}", ban.stdout);
    assert!(
        ban.stderr.contains("It is done, but a crash may undo it") && ban.stderr.contains("No space left"),
        "{}",
        ban.stderr
    );
    let attacker = machine.attacker("203.0.113.7");
    attacker.wrong_passwords("root", 5);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    assert_eq!(attacker.can_connect(), Connection::TimedOut, "the disk is full, and the ban in force");
    assert_eq!(machine.messages("can't be written").len(), 1, "{:?}", machine.messages("can't be written"));

    machine.run("rm /var/lib/wardend/filler");
    machine.wait_for_message("The state can be saved again");
    machine.run("mount -o remount,ro /var/lib/wardend");
    let ban = machine.try_run("wardenctl ban 192.0.2.2 --for 1h");
    assert!(ban.code == 1 && ban.stderr.contains("Read-only file system"), "{}", ban.stderr);
    machine.run("systemctl kill --signal=KILL wardend");
    wait_until_up(&machine);
    let list = machine.run("wardenctl list");
    assert!(list.contains("192.0.2.1 ") && list.contains("203.0.113.7 "), "what was on disk is there: {list}");
}

pub(crate) fn a_damaged_state_is_reported_once_and_no_ban_is_lost(release: Release) {
    let machine = machine(release);
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    machine.attacker("203.0.113.8").wrong_passwords("root", 4);
    machine.run("wardenctl ban 198.51.100.0/24 --for 1h");
    let files = "cd /var/lib/wardend && sleep 3 && systemctl stop wardend";
    // One bit of a digit, in the newest state only.
    machine.run(&format!("{files} && sed -i 's/\"count\":1/\"count\":3/' state.json && systemctl start wardend"));
    let told = machine.wait_for_message("its checksum is another");
    assert!(
        told.contains("state.json.bad") && told.contains("goes on from the state that was saved before it"),
        "{told}"
    );
    wait_until_up(&machine);
    let list = machine.run("wardenctl list");
    assert!(list.contains("203.0.113.7 ") && list.contains("198.51.100.0/24 "), "{list}");
    assert!(machine.run("wardenctl status").contains("Failures: 9"), "{}", machine.run("wardenctl status"));

    // Both of them: what the journal still has is not lost.
    machine.run(&format!("{files} && truncate -s 300 state.json state.json.before && systemctl start wardend"));
    let told = machine.wait_for_message("starts from the journal, because");
    assert!(told.contains("is damaged (EOF"), "{told}");
    wait_until_up(&machine);
    assert!(machine.run("wardenctl list").contains("203.0.113.7 "));
    machine.attacker("203.0.113.8").wrong_passwords("root", 1);
    machine.wait_for_message("Banned 203.0.113.8 in jail sshd");
    assert_eq!(machine.messages("state.json.bad").len(), 2, "each trouble is reported once");
}

pub(crate) fn a_reload_keeps_counters_and_bans_and_a_mistake_changes_nothing(release: Release) {
    let machine = machine(release);
    let attacker = machine.attacker("203.0.113.7");
    attacker.guess(Guesses { connections: 3, ..Guesses::default() });
    machine.wait_until("three failures are counted", || machine.run("wardenctl status").contains("Failures: 3"));

    let path = "/etc/wardend/wardend.conf.d/test.conf";
    machine.write(path, "[default]\nmaxretry = 4\nmaxretires = 5\n");
    let reload = machine.try_run("systemctl reload wardend");
    assert_ne!(reload.code, 0, "a mistake is no success");
    assert!(reload.stderr.contains("systemctl status wardend"), "{}", reload.stderr);
    let status = machine.run("systemctl show -p StatusText --value wardend");
    assert!(status.contains(&format!("NOT reloaded, the previous one stays in force: {path}:3: ")), "{status}");
    let told = machine.wait_for_message("unknown field `maxretires`");
    assert!(told.contains(&format!("{path}:3: ")) && told.contains("Keeping the previous configuration"), "{told}");
    let reload = machine.try_run("wardenctl reload");
    assert!(reload.code == 1 && reload.stderr.contains(&format!("{path}:3: ")), "{}", reload.stderr);
    if release == Release::Debian14 {
        // systemd 258 can show what the unit logs meanwhile.
        let verbose = machine.try_run("systemctl --verbose reload wardend");
        let said = format!("{}{}", verbose.stdout, verbose.stderr);
        assert!(verbose.code != 0 && said.contains(&format!("{path}:3: ")), "{said}");
    }
    assert_eq!(machine.run("systemctl is-active wardend").trim(), "active");

    machine.write(
        path,
        "[default]\nmaxretry = 4\n[jail.slow]\nfilter = \"sshd\"\nmaxretry = 50\nbantime = \"infinity\"\n",
    );
    machine.run("systemctl reload wardend");
    let status = machine.run("systemctl show -p StatusText --value wardend");
    assert!(!status.contains("NOT reloaded"), "{status}");
    assert!(machine.run("wardenctl jails").contains("slow"));
    let tree = machine.run("busctl tree --list org.wardend1");
    assert!(tree.contains("/org/wardend1/jail/slow"), "{tree}");
    attacker.guess(Guesses::default());
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    machine.wait_until("three failures are counted, and one in each jail", || {
        machine.run("wardenctl status").contains("Failures: 5")
    });
    machine.run("wardenctl ban 192.0.2.7 --jail slow");

    machine.write(path, "[default]\nignoreip = [\"198.51.100.0/24\"]\n");
    machine.run("systemctl kill --signal=HUP --kill-whom=main wardend");
    machine.wait_for_message("Unbanned 192.0.2.7 in jail slow: its jail was removed from the configuration");
    assert!(machine.run("wardenctl list").contains("203.0.113.7 "), "the ban of the jail that stayed");
    assert!(!machine.run("busctl tree --list org.wardend1").contains("/jail/slow"));
    let refused = machine.try_run("wardenctl ban 198.51.100.7");
    assert!(refused.stderr.contains(&format!("{path}:2: ")), "{}", refused.stderr);
    assert_eq!(machine.run("systemctl show -p NRestarts --value wardend").trim(), "0");
}

pub(crate) fn an_address_is_explained_with_its_attempts_and_their_records(release: Release) {
    let machine = machine(release);
    machine.write(
        "/etc/wardend/wardend.conf.d/test.conf",
        "[default]\nmaxretry = 3\nignoreip = [\n  \"198.51.100.7\",\n  \"nobody.invalid\",\n]\n",
    );
    machine.run("systemctl reload wardend");
    let attacker = machine.attacker("203.0.113.7");
    attacker.guess(Guesses { user: "alice", connections: 2, ..Guesses::default() });
    machine.wait_until("both are counted", || machine.run("wardenctl status").contains("Failures: 2"));
    let text = machine.run("wardenctl explain 203.0.113.7");
    assert!(text.starts_with("203.0.113.7 in jail sshd: counting"), "{text}");
    assert!(text.contains("2 of 3 failures within 10min (maxretry, findtime)."), "{text}");
    assert!(text.contains("failed-password for user 'alice'"), "{text}");

    let json: Value = serde_json::from_str(&machine.run("wardenctl explain 203.0.113.7 --json")).expect("JSON");
    for attempt in json["attempts"].as_array().expect("a list") {
        let cursor = attempt["cursor"].as_str().expect("a cursor");
        let record = machine.run(&format!("journalctl -q -n 1 -o cat --cursor='{cursor}'"));
        assert!(record.starts_with("Failed password for alice from 203.0.113.7"), "{record}");
    }

    attacker.guess(Guesses { user: "alice", ..Guesses::default() });
    machine.wait_for_message("Banned 203.0.113.7 in jail sshd");
    let text = machine.run("wardenctl explain 203.0.113.7");
    assert!(text.contains("in jail sshd: banned") && text.contains("#1 of this source"), "{text}");
    let text = machine.run("wardenctl explain 198.51.100.7");
    assert!(text.contains(": ignored") && text.contains("/etc/wardend/wardend.conf.d/test.conf:4: ignoreip"), "{text}");
    assert!(machine.run("wardenctl explain 192.0.2.7").contains("Nothing counts against it."));
    assert_eq!(machine.try_run("wardenctl explain 192.0.2.0/24").code, 1);
    machine.wait_for_message("'nobody.invalid' in ignoreip can't be resolved");

    // Whoever has just logged in is spared, and that is logged.
    let user = machine.attacker("203.0.113.9");
    assert!(user.can_login("alice"));
    user.guess(Guesses { user: "alice", connections: 3, ..Guesses::default() });
    machine.wait_for_message("Spared 203.0.113.9 in jail sshd after 3 failures");
    assert!(machine.run("wardenctl explain 203.0.113.9").contains(": spared"));
    assert_eq!(user.can_connect(), Connection::Open);
}

pub(crate) fn what_is_ordered_or_asked_is_judged_by_all_that_was_written_before(release: Release) {
    let machine = machine(release);
    let newest = |text: &str| machine.wait_until(text, || !machine.messages(text).is_empty());
    for host in 20..30 {
        let address = format!("203.0.113.{host}");
        let user = machine.attacker(&address);
        let login = user.log_in("alice");
        newest(&format!("Accepted password for alice from {address} "));
        let refused = machine.try_run(&format!("wardenctl ban {address} --jail sshd --spare"));
        assert!(refused.code != 0 && refused.stderr.contains("logged in from there"), "{host}: {}", refused.stderr);
        drop(login);

        let address = format!("198.51.100.{}", host + 100);
        machine.attacker(&address).guess(Guesses { user: "alice", ..Guesses::default() });
        newest(&format!("Failed password for alice from {address} "));
        let text = machine.run(&format!("wardenctl explain {address}"));
        assert!(text.contains(": counting") && text.contains("1 of "), "{text}");
    }
}

pub(crate) fn whoever_is_logged_in_may_not_guess_at_others_without_end(release: Release) {
    let machine = machine(release);
    let user = machine.attacker("203.0.113.9");
    let mut login = user.log_in("alice");
    user.guess(Guesses { user: "alice", connections: 5, ..Guesses::default() });
    user.guess(Guesses { user: "bob", connections: 4, prompts: 5, ..Guesses::default() });
    machine.wait_for_message("Spared 203.0.113.9 in jail sshd after 5 failures");
    let told = machine.wait_for_message("Banned 203.0.113.9 in jail sshd");
    assert!(told.contains("25 failures") && told.contains("although somebody was logged in from there"), "{told}");
    machine.wait_for_message("firewalld blocks 203.0.113.9");
    assert_eq!(user.can_connect(), Connection::TimedOut);
    assert!(login.is_alive(), "whoever is at work is not interrupted");
    let fields = machine.run("journalctl --output=json MESSAGE_ID=aa04c1c10db24c02ad4e28e8ac726807");
    let fields: Value = serde_json::from_str(fields.trim()).expect("one record");
    assert!(fields["WARDEND_LOGIN_USEC"].is_string(), "{fields}");
}

pub(crate) fn whoever_is_logged_in_is_spared_however_long_ago_they_came(release: Release) {
    let machine = machine(release);
    machine.write(
        "/etc/wardend/wardend.conf.d/test.conf",
        "[default]\nmaxretry = 3\nspare-logins = \"1s\"\nforget = \"1s\"\n",
    );
    machine.run("systemctl reload wardend");
    let user = machine.attacker("203.0.113.9");
    let mut login = user.log_in("alice");
    // The login itself is no reason any more, and the daemon has not seen it come.
    thread::sleep(Duration::from_secs(3));
    machine.run("systemctl restart wardend");
    wait_until_up(&machine);
    machine.wait_until("logind has told", || {
        machine.run("wardenctl explain 203.0.113.9").contains("Somebody is logged in from there, so it is not banned")
    });
    user.guess(Guesses { user: "bob", connections: 3, ..Guesses::default() });
    machine.wait_for_message("Spared 203.0.113.9 in jail sshd after 3 failures");
    assert!(login.is_alive());

    drop(login);
    machine.wait_until("they are gone for longer than is spared", || {
        machine.run("wardenctl explain 203.0.113.9").contains("Nothing counts against it.")
    });
    user.guess(Guesses { user: "bob", connections: 3, ..Guesses::default() });
    machine.wait_for_message("Banned 203.0.113.9 in jail sshd");
}

pub(crate) fn whoever_has_left_is_not_spared_for_what_they_left_running(release: Release) {
    let machine = machine(release);
    machine.write("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 3\nspare-logins = \"1s\"\n");
    machine.run("systemctl reload wardend");
    let user = machine.attacker("203.0.113.9");
    user.ssh("alice", PASSWORD, 1, "nohup sleep 900 </dev/null >/dev/null 2>&1 & sleep 3");
    let states =
        "for it in $(loginctl --no-legend | awk '{print $1}'); do loginctl show-session -p State --value $it; done";
    machine.wait_until("the session is being closed", || machine.run(states).contains("closing"));
    machine.wait_until("they are known to have left", || {
        machine.run("wardenctl explain 203.0.113.9").contains("Nothing counts against it.")
    });
    user.guess(Guesses { user: "bob", connections: 3, ..Guesses::default() });
    machine.wait_for_message("Banned 203.0.113.9 in jail sshd");
    assert!(machine.run(states).contains("closing"), "what they left is still running");
}

pub(crate) fn whoever_is_logged_in_is_spared_where_only_the_name_of_their_host_is_known(release: Release) {
    let plan = plan(release).command("echo '203.0.113.9 client.example' >>/etc/hosts");
    let plan = plan.file("/etc/ssh/sshd_config.d/names.conf", "UseDNS yes\n");
    let machine = plan
        .file(
            "/etc/wardend/wardend.conf.d/test.conf",
            "[default]\nmaxretry = 3\nfindtime = \"5s\"\nspare-logins = \"1s\"\nforget = \"1s\"\n",
        )
        .boot();
    wait_until_up(&machine);
    let user = machine.attacker("203.0.113.9");
    let mut login = user.log_in("alice");
    let hosts = "for it in $(loginctl --no-legend | awk '{print $1}'); do loginctl show-session -p RemoteHost --value $it; done";
    assert_eq!(machine.run(hosts).trim(), "client.example");
    let known =
        || machine.run("wardenctl explain 203.0.113.9").contains("Somebody is logged in from there, so it is not");
    machine.wait_until("their address is known", known);
    // The login itself is no reason any more, and neither is it read again.
    thread::sleep(Duration::from_secs(6));
    machine.run("systemctl restart wardend");
    wait_until_up(&machine);
    machine.wait_until("their address is remembered", known);
    user.guess(Guesses { user: "bob", connections: 3, ..Guesses::default() });
    machine.wait_for_message("Spared 203.0.113.9 in jail sshd after 3 failures");

    machine.run("systemctl stop wardend && rm /var/lib/wardend/* && systemctl start wardend");
    machine.wait_until("the journal was asked for their address", known);
    user.guess(Guesses { user: "bob", connections: 3, ..Guesses::default() });
    machine.wait_until("they are spared again", || machine.messages("Spared 203.0.113.9 in jail sshd").len() == 2);

    machine.run("systemctl stop wardend && rm /var/lib/wardend/*");
    machine.run("journalctl --rotate && journalctl --vacuum-files=1 && systemctl start wardend");
    machine.wait_for_message("Somebody is logged in from 'client.example', and no record of sshd says");
    machine.wait_until("the state is degraded", || machine.try_run("wardenctl status").stdout.contains("UseDNS"));
    assert!(login.is_alive());
    drop(login);
    machine.wait_until("nobody is logged in", || !machine.try_run("wardenctl status").stdout.contains("UseDNS"));
}

pub(crate) fn what_is_ordered_for_a_time_holds_across_a_kill_and_ends_by_itself(release: Release) {
    let machine = plan(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 3\nignoreip = [\"198.51.100.0/24\"]\n")
        .boot();
    let say = |command: &str| {
        let output = machine.try_run(command);
        println!("{}: # {command}\n{}{}", release.name(), output.stdout, output.stderr);
        output
    };
    let attacker = machine.attacker("203.0.113.7");
    attacker.wrong_passwords("root", 3);
    machine.wait_for_message("firewalld blocks 203.0.113.7");
    let ignored = say("wardenctl ignore 203.0.113.7 203.0.113.0/29 --for 1h --reason hotel");
    assert_eq!((ignored.code, ignored.stdout.lines().count()), (0, 2));
    machine.wait_for_message("Unbanned 203.0.113.7 in jail sshd: it is now ignored.");
    machine.wait_for_message("Ignoring 203.0.113.7 in all jails until");
    assert_eq!(say("wardenctl ignore 192.0.2.1 --for 2s").code, 0);
    let name = say("wardenctl ignore home.example.org 203.0.113.9");
    assert!(name.code == 1 && name.stderr.contains("is a host name"), "{}", name.stderr);
    assert_eq!(say("wardenctl suspect 203.0.113.20 --for 1h").code, 0);
    machine.run("systemctl kill --signal=KILL wardend");
    wait_until_up(&machine);
    let list = say("wardenctl ignore --list").stdout;
    assert!(list.contains("198.51.100.0/24") && list.contains("test.conf:3") && list.contains("hotel"), "{list}");
    assert!(!list.contains("203.0.113.9 "), "nothing was done: {list}");
    machine.attacker("203.0.113.20").wrong_passwords("root", 1);
    machine.wait_for_message("Banned 203.0.113.20 in jail sshd");
    attacker.wrong_passwords("root", 3);
    let ended = say("wardenctl unignore 203.0.113.7 203.0.113.9");
    assert!(ended.code == 1 && ended.stderr.contains("203.0.113.9 is not ignored."), "{}", ended.stderr);

    assert_eq!(say("wardenctl pause sshd --for 1h --reason rollout").code, 0);
    let status = say("wardenctl status").stdout;
    assert!(status.contains(": running") && status.contains("      Note: Jail sshd is paused until"), "{status}");
    let jails = say("wardenctl jails").stdout;
    assert!(jails.contains("  paused until ") && jails.contains(": rollout\n"), "{jails}");
    machine.wait_until("the unit's status text says so", || {
        machine.run("systemctl show -p StatusText wardend").contains("Jail sshd is paused until")
    });
    assert!(say("wardenctl doctor").stdout.contains("note     wardend     Jail sshd is paused until"));
    machine.attacker("203.0.113.30").wrong_passwords("root", 3);
    machine.wait_for_message("203.0.113.30 would have been banned in jail sshd");
    assert_eq!(say("wardenctl resume").stdout, "Resumed jail sshd.\n");
    machine.wait_for_message("Resumed jail sshd: ordered by user 0.");
    machine.wait_until("the note is gone", || !machine.run("wardenctl status").contains("Note:"));
    machine.attacker("203.0.113.30").wrong_passwords("root", 3);
    machine.wait_for_message("Banned 203.0.113.30 in jail sshd");
    machine.wait_for_message("No longer ignoring 192.0.2.1 in all jails: expired.");
    let top = say("wardenctl top --json").stdout;
    let top: Value = serde_json::from_str(&top).expect("JSON");
    let of = |source: &str| top.as_array().and_then(|all| all.iter().find(|row| row["source"] == source)).cloned();
    assert_eq!(
        of("203.0.113.30").map(|row| (row["failures"].as_u64(), row["bans"].as_u64())),
        Some((Some(6), Some(1)))
    );
    assert_eq!(of("203.0.113.7").map(|row| row["failures"].as_u64()), Some(Some(3)), "not while it was ignored");
}
