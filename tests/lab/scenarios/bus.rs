//! The bus as programs and admins meet it: every member, who may do what, and a flood of callers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::attack::Guesses;
use crate::harness::machine::{Machine, Release};
use crate::harness::plan::PASSWORD;

const CLIENT: &str = include_str!("../guest/client.py");
const FLOOD: &str = include_str!("../guest/flood.py");
const MANAGER_XML: &str = include_str!("../../../dbus/org.wardend1.Manager.xml");
const JAIL_XML: &str = include_str!("../../../dbus/org.wardend1.Jail.xml");
const MANAGER: (&str, &str) = ("/org/wardend1", "org.wardend1.Manager");
const JAIL: (&str, &str) = ("/org/wardend1/jail/sshd", "org.wardend1.Jail");

/// Alice may do everything; bob may free people of the jail sshd, and put a list into it.
const RULES: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.wardend1.") == 0 && subject.user == "alice")
        return polkit.Result.YES;
    if (action.id == "org.wardend1.unban" && action.lookup("jail") == "sshd" && subject.user == "bob")
        return polkit.Result.YES;
    if (action.id == "org.wardend1.ban" && action.lookup("jail") == "sshd" && action.lookup("origin") == "list" &&
        subject.user == "bob")
        return polkit.Result.YES;
});
"#;

/// Names of one kind in the installed interface, each with its number of arguments that go in.
fn members(xml: &str, kind: &str) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for part in xml.split(&format!("<{kind} name=\"")).skip(1) {
        let own = part.split(&format!("</{kind}>")).next().unwrap_or(part);
        let name = part.split('"').next().unwrap_or_default().to_owned();
        all.insert(name, own.matches("direction=\"in\"").count());
    }
    all
}

/// Calls, shows the answer, and returns it with its exit code.
fn call(machine: &Machine, user: &str, (path, interface): (&str, &str), member: &str) -> (i32, String) {
    // The shell would take braces for its own.
    let command =
        format!("busctl call org.wardend1 {path} {interface} {}", member.replace('{', "\\{").replace('}', "\\}"));
    let output = machine.try_run(&format!("runuser -u {user} -- {command}"));
    let said = format!("{}{}", output.stdout, output.stderr);
    println!("  {user:<5} $ {command}\n          {}", said.trim().chars().take(160).collect::<String>());
    (output.code, said)
}

pub(crate) fn every_member_of_the_bus_answers_as_documented(release: Release) {
    let machine = Machine::prepare(release)
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 3\n")
        .hasty_passwords()
        .boot();
    machine.run("systemd-run --quiet --unit=monitor sh -c 'exec busctl monitor --json=short org.wardend1 >/run/heard'");
    machine.wait_until("the monitor listens", || machine.run("busctl list --unique --no-legend").contains("busctl"));
    machine.attacker("203.0.113.7").guess(Guesses::default());
    machine.wait_until("it is counted", || machine.run("wardenctl status").contains("Failures: 1"));
    reads_and_changes(&machine, release);
    mistakes(&machine, release);
    signals(&machine, release);
    // Whoever asks for it starts it, as long as it is enabled.
    machine.run("systemctl stop wardend");
    assert_eq!(call(&machine, "alice", MANAGER, "ListJails").0, 0);
    machine.run("systemctl --quiet disable --now wardend");
    let (code, said) = call(&machine, "alice", MANAGER, "ListJails");
    assert!(code != 0 && machine.try_run("systemctl is-active wardend").code != 0, "{said}");
    machine.run("systemctl --quiet enable --now wardend");
    println!("{}", machine.run("busctl introspect org.wardend1 /org/wardend1 | cut -c 1-120"));
}

fn reads_and_changes(machine: &Machine, release: Release) {
    println!("\n{}: reading", release.name());
    for (object, xml) in [(MANAGER, MANAGER_XML), (JAIL, JAIL_XML)] {
        for property in members(xml, "property").keys() {
            let command = format!("busctl get-property org.wardend1 {} {} {property}", object.0, object.1);
            let value = machine.run(&format!("runuser -u alice -- {command}"));
            println!("  alice $ {command}\n          {}", value.trim().chars().take(160).collect::<String>());
            let set = machine.try_run(&format!("{} s x", command.replace("get-property", "set-property")));
            assert_ne!(set.code, 0, "{property} can't be set");
        }
    }
    let reads = [
        "ListBans a{sv}uu 0 0 0",
        "ListBans a{sv}uu 3 Match s 192.0.2.0/24 Order s since Descending b true 0 10",
        "ListJails",
        "ListIgnored",
        "ListSuspects",
        "History ttt 0 0 0",
        "History ttt 0 0 86400000000",
        "TopSources a{sv}u 2 Jail s sshd Order s last 5",
        "GetJail s sshd",
        "Explain s 203.0.113.7",
        "FirewallStatus",
    ];
    let changes = [
        "Ban ssa{sv} 192.0.2.7 sshd 4 For s 1h Reason s scanner Spare b false Cut b true",
        "BanMany aa{sv}a{sv} 2 1 Address s 192.0.2.7 2 Address s 192.0.2.9 Count u 3 2 Jail s sshd For s infinity",
        "Unban ss 192.0.2.7 sshd",
        "UnbanMany assa{sv} 2 192.0.2.7 192.0.2.9 sshd 1 Origin s admin",
        "UnbanAll a{sv} 0",
        "Ignore asa{sv} 2 192.0.2.9 2001:db8::/64 2 For s 3d Reason s hotel",
        "Unignore asa{sv} 2 192.0.2.9 2001:db8::/64 0",
        "Suspect asa{sv} 1 192.0.2.10 3 ForUSec t 3600000000 Jail s sshd Origin s fleet",
        "Unsuspect asa{sv} 1 192.0.2.10 1 Jail s sshd",
        "PauseJail sa{sv} sshd 1 For s 1h",
        "ResumeJail s sshd",
        "Reload",
        "SyncFirewall",
        "RemoveFirewall",
    ];
    let name = |call: &str| call.split(' ').next().unwrap_or_default().to_owned();
    let known: BTreeSet<String> = reads.iter().chain(&changes).map(|call| name(call)).collect();
    for read in reads {
        assert_eq!(call(machine, "alice", MANAGER, read).0, 0);
    }
    let of_jail = ["ListBans a{sv}uu 1 Origin s admin 0 0", "ListIgnoreIP"];
    assert_eq!(members(JAIL_XML, "method").into_keys().collect::<Vec<_>>(), of_jail.map(name));
    for read in of_jail {
        assert_eq!(call(machine, "alice", JAIL, read).0, 0);
    }
    // What came later and takes no argument shall answer root, at the least.
    for (later, arguments) in members(MANAGER_XML, "method").into_iter().filter(|(name, _)| !known.contains(name)) {
        assert_eq!(arguments, 0, "nobody calls {later} here");
        call(machine, "alice", MANAGER, &later);
        assert_eq!(call(machine, "root", MANAGER, &later).0, 0);
    }
    assert!(!call(machine, "alice", MANAGER, "Explain s 203.0.113.7").1.contains("\"root\""), "no user for alice");
    assert!(call(machine, "root", MANAGER, "Explain s 203.0.113.7").1.contains("\"root\""));

    println!("\n{}: changing, without authorization, with a polkit rule, as root", release.name());
    for change in changes {
        let (code, said) = call(machine, "alice", MANAGER, change);
        assert!(code != 0 && said.contains("is needed for org.wardend1."), "{said}");
    }
    machine.write("/etc/polkit-1/rules.d/10-test.rules", RULES);
    machine.wait_until("polkit has read the rule", || {
        machine
            .try_run(
                "runuser -u alice -- busctl call org.wardend1 /org/wardend1 org.wardend1.Manager UnbanAll 'a{sv}' 0",
            )
            .code
            == 0
    });
    for user in ["alice", "root"] {
        machine.wait_until("firewalld is up", || machine.run("wardenctl status").contains("Firewall: up"));
        for change in changes {
            assert_eq!(call(machine, user, MANAGER, change).0, 0);
        }
        machine.run("systemctl restart wardend");
    }
    call(machine, "root", MANAGER, "Ban ssa{sv} 192.0.2.8 sshd 0");
    assert_ne!(call(machine, "bob", MANAGER, "Unban ss 192.0.2.8 ''").0, 0, "the rule sees the jail");
    assert_eq!(call(machine, "bob", MANAGER, "Unban ss 192.0.2.8 sshd").0, 0);
    // A rule may allow one jail, or one origin, and a call for several of them is none of these.
    let list = |entries: &str| format!("BanMany aa{{sv}}a{{sv}} 2 {entries} 1 Origin s list");
    let alone = list("2 Address s 192.0.2.8 Jail s sshd 2 Address s 192.0.2.9 Jail s sshd");
    let (code, said) = call(machine, "bob", MANAGER, &alone);
    assert!(code == 0 && said.matches("\"banned\"").count() == 2, "{said}");
    assert_eq!(call(machine, "bob", MANAGER, &alone).1.matches("\"unchanged\"").count(), 2);
    let mixed = list("2 Address s 192.0.2.8 Jail s sshd 3 Address s 192.0.2.9 Jail s sshd Origin s admin");
    assert_ne!(call(machine, "bob", MANAGER, &mixed).0, 0);
    // Without a jail, the rule sees the one that is chosen.
    let chosen = list("1 Address s 192.0.2.18 1 Address s 192.0.2.19");
    let (code, said) = call(machine, "bob", MANAGER, &chosen);
    assert!(code == 0 && said.matches("\"banned\"").count() == 2 && said.contains("\"sshd\""), "{said}");
    assert_ne!(call(machine, "bob", MANAGER, "Ban ssa{sv} 192.0.2.18 '' 0").0, 0);
    assert!(call(machine, "root", MANAGER, "UnbanMany assa{sv} 2 192.0.2.18 192.0.2.19 '' 0").1.contains("unbanned"));
    let others = call(machine, "root", MANAGER, "UnbanMany assa{sv} 1 192.0.2.8 sshd 1 Origin s import");
    assert!(others.0 == 0 && others.1.contains("Error.NotBanned"), "{}", others.1);
    assert!(call(machine, "root", MANAGER, "UnbanAll a{sv} 1 Origin s list").1.contains("u 2"));
}

fn mistakes(machine: &Machine, release: Release) {
    println!("\n{}: mistakes", release.name());
    machine.write("/etc/wardend/wardend.conf.d/bad.conf", "[default]\nmaxretries = 3\n");
    for (mistake, typed, error) in [
        ("Ban ssa{sv} 192.0.2.7 shd 0", "Ban('192.0.2.7', 'shd', {})", "NoSuchJail"),
        ("Unban ss 192.0.2.77 sshd", "Unban('192.0.2.77', 'sshd')", "NotBanned"),
        ("Ban ssa{sv} 127.0.0.1 sshd 0", "Ban('127.0.0.1', 'sshd', {})", "NeverBanned"),
        ("Ban ssa{sv} localhost sshd 0", "Ban('localhost', 'sshd', {})", "InvalidAddress"),
        ("Ban ssa{sv} 192.0.2.7 sshd 1 Fro s 1h", "Ban('192.0.2.7', 'sshd', {'Fro': '1h'})", "InvalidArgument"),
        ("Ban ssa{sv} 192.0.2.7 sshd 1 Cut s yes", "Ban('192.0.2.7', 'sshd', {'Cut': 'yes'})", "InvalidArgument"),
        ("BanMany aa{sv}a{sv} 0 1 For s soon", "BanMany([], {'For': 'soon'})", "InvalidArgument"),
        ("ListBans a{sv}uu 1 Order s sicne 0 0", "ListBans({'Order': 'sicne'}, 0, 0)", "InvalidArgument"),
        ("Reload", "Reload()", "InvalidConfiguration"),
    ] {
        let (code, said) = call(machine, "root", MANAGER, mistake);
        assert!(code != 0 && said.trim_end().ends_with(['.', '?']), "{said}");
        machine.write(
            "/root/mistake.py",
            &format!(
                "import dbus\nm = dbus.Interface(dbus.SystemBus().get_object('org.wardend1', '{}'), '{}')\n\
                 try: m.{}\nexcept dbus.DBusException as e: print(e.get_dbus_name())\n",
                MANAGER.0,
                MANAGER.1,
                typed.replace("[]", "dbus.Array([], 'a{sv}')").replace("{}", "dbus.Dictionary({}, 'sv')")
            ),
        );
        let named = machine.try_run("python3 /root/mistake.py");
        println!("          {} <- {mistake}", named.stdout.trim());
        assert_eq!(named.stdout.trim(), format!("org.wardend1.Error.{error}"), "{}", named.stderr);
    }
    machine.run("rm /etc/wardend/wardend.conf.d/bad.conf");
    for (mistake, error) in [
        ("Ignore asa{sv} 1 192.0.2.9 1 Until s x", "There is no option 'Until'"),
        ("Ignore asa{sv} 0 0", "is empty"),
        ("Suspect asa{sv} 1 192.0.2.9 1 Jail s shd", "did you mean 'sshd'?"),
        ("PauseJail sa{sv} sshd 1 For s soon", "For is 'soon'"),
        ("ResumeJail s sshd", "Jail 'sshd' is not paused."),
        ("History ttt 0 0 60000000", "is not a multiple of an hour"),
        ("TopSources a{sv}u 1 Order s failure 5", "did you mean 'failures'?"),
    ] {
        let (code, said) = call(machine, "root", MANAGER, mistake);
        assert!(code != 0 && said.contains(error), "{said}");
    }
    let (code, said) = call(machine, "root", MANAGER, "Ignore asa{sv} 2 localhost 192.0.2.9 0");
    assert!(code == 0 && said.contains("Error.InvalidAddress") && said.contains("\"ignored\""), "{said}");
    let (code, said) = call(machine, "root", MANAGER, "Unignore asa{sv} 2 192.0.2.9 192.0.2.8 0");
    assert!(code == 0 && said.contains("Error.NotIgnored") && said.contains("\"unignored\""), "{said}");
}

/// What is left to be heard: a jail that comes and goes, a spared source, a leak.
fn signals(machine: &Machine, release: Release) {
    let slow = "/etc/wardend/wardend.conf.d/slow.conf";
    machine.write(
        slow,
        "[jail.sshd]\nmaxretry = 4\nports = [\"ssh\"]\n[jail.slow]\nfilter = \"sshd\"\nmaxretry = 9\nports = [\"8080/tcp\"]\n",
    );
    machine.run("systemctl reload wardend");
    machine.wait_until("the new setting is announced", || {
        machine.run("cat /run/heard").contains(r#""MaxRetry":{"type":"u","data":4}"#)
    });
    // No jail closes all ports, so it takes both.
    let (code, said) = call(machine, "root", MANAGER, "Ban ssa{sv} 192.0.2.30 '' 0");
    assert!(code == 0 && said.contains("\"Outcomes\"") && said.contains("\"slow\""), "{said}");
    let ban = machine.run("wardenctl ban 192.0.2.31; wardenctl ban 192.0.2.31 192.0.2.32");
    println!("{ban}");
    for line in ["Banned 192.0.2.31 in jail sshd until ", "192.0.2.31 is already banned in jail slow until "] {
        assert!(ban.contains(line), "{ban}");
    }
    assert_eq!(machine.run("wardenctl unban 192.0.2.30 192.0.2.31 192.0.2.32").lines().count(), 6);
    machine.run(&format!("rm {slow} && systemctl reload wardend"));
    let honest = machine.attacker("203.0.113.8");
    assert!(honest.can_login("alice"));
    honest.guess(Guesses { prompts: 3, ..Guesses::default() });
    machine.wait_for_message("Spared 203.0.113.8 in jail sshd");
    machine.run("wardenctl ban 203.0.113.9 && wardenctl ban 203.0.113.9 --for 1day");
    machine.wait_for_message("firewalld blocks 203.0.113.9");
    machine.run("sleep 3; firewall-cmd --quiet --ipset=wardend4 --remove-entry=203.0.113.9");
    machine.attacker("203.0.113.9").guess(Guesses::default());
    machine.wait_for_message("203.0.113.9 is banned, but");

    let mut wanted: BTreeSet<String> = members(MANAGER_XML, "signal").into_keys().collect();
    wanted.extend(["PropertiesChanged", "InterfacesAdded", "InterfacesRemoved"].map(str::to_owned));
    let mut heard: BTreeMap<String, String> = BTreeMap::new();
    machine.wait_until("every signal was heard", || {
        for line in machine.run("cat /run/heard").lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            if message["type"] == "signal" {
                let member = message["member"].as_str().unwrap_or_default().to_owned();
                heard.entry(member).or_insert_with(|| message["payload"].to_string());
            }
        }
        wanted.iter().all(|member| heard.contains_key(member))
    });
    println!("\n{}: heard by busctl monitor", release.name());
    for (member, payload) in &heard {
        println!("  {member}: {}", payload.chars().take(200).collect::<String>());
    }
}

pub(crate) fn twenty_lines_of_python_ban_hear_of_it_ask_why_and_unban(release: Release) {
    let machine = Machine::prepare(release).file("/root/client.py", CLIENT).boot();
    let said = machine.run("python3 /root/client.py 203.0.113.7");
    println!("{}:\n{said}", release.name());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].starts_with("Banned sshd 203.0.113.7 "), "{said}");
    assert!(lines[1].starts_with("banned: ") && lines[1].contains("by a program"), "{said}");
    assert_eq!(lines[2], "Unbanned sshd 203.0.113.7 command");
}

pub(crate) fn somebody_without_the_right_may_give_the_password_of_who_has_it(release: Release) {
    let machine = Machine::prepare(release).file("/root/terminal.py", include_str!("../guest/terminal.py")).boot();
    machine.run("cp /root/terminal.py /tmp && chmod 644 /tmp/terminal.py");
    let ban = |password: &str, interactive: bool| {
        let output = machine.try_run(&format!(
            "runuser -u alice -- python3 /tmp/terminal.py '{password}' sh -c 'pkttyagent --process $$ & sleep 2; exec \
             busctl --allow-interactive-authorization={interactive} call org.wardend1 {} {} Ban ssa\\{{sv\\}} 192.0.2.7 sshd 0'",
            MANAGER.0, MANAGER.1
        ));
        println!("{}: interactive {interactive}, exit code {}:\n{}", release.name(), output.code, output.stdout.trim());
        output
    };
    let silent = ban(PASSWORD, false);
    assert!(silent.code != 0 && !silent.stdout.contains("Password:"), "nobody is asked who does not want to be");
    let wrong = ban("wrong", true);
    assert!(wrong.code != 0 && wrong.stdout.contains("Authentication is required to ban a host."), "{}", wrong.stdout);
    assert_eq!(ban(PASSWORD, true).code, 0);
    assert!(machine.run("wardenctl list").contains("192.0.2.7"));
}

/// Clients a round, and rounds: more by `WARDEND_FLOOD_CLIENTS` and `WARDEND_FLOOD_ROUNDS`.
fn size(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

pub(crate) fn a_flood_of_callers_and_of_bans_holds_nothing_up(release: Release) {
    const WATCHDOG: u32 = 12;
    let (clients, rounds) = (size("WARDEND_FLOOD_CLIENTS", 600), size("WARDEND_FLOOD_ROUNDS", 2));
    let attackers = clients;
    let machine = Machine::prepare(release)
        .scripts_speak_for_sshd()
        .file("/etc/wardend/wardend.conf.d/test.conf", "[default]\nmaxretry = 1\nbantime = \"1h\"\n")
        .file("/etc/systemd/system/wardend.service.d/test.conf", &format!("[Service]\nWatchdogSec={WATCHDOG}s\n"))
        .file("/root/flood.py", FLOOD)
        .boot();
    let private = || -> u64 {
        let lines = machine.run("cat /proc/$(systemctl show -p MainPID --value wardend)/smaps_rollup");
        let of = |line: &str| line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0);
        lines.lines().filter(|line| line.starts_with("Private_")).map(of).sum()
    };
    // Of what was ever resident, files included.
    let peak = || -> u64 {
        let line = machine.run("grep VmHWM /proc/$(systemctl show -p MainPID --value wardend)/status");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("the kernel tells a number")
    };
    let (idle, before) = (private(), peak());
    let mut memory = Vec::new();
    for round in 0..rounds {
        // In a unit whose records pass for sshd's.
        let text = machine.run(&format!(
            "systemd-run --quiet --wait --pipe --unit=ssh@flood{round}.service python3 /root/flood.py {clients} {attackers} alice"
        ));
        let told: Value = serde_json::from_str(text.trim()).expect("JSON");
        let number = |name: &str| told[name].as_f64().expect("a number");
        let answers = told["answers"].as_object().expect("a table");
        let total: u64 = answers.values().filter_map(Value::as_u64).sum();
        machine.wait_until("all attackers are banned", || {
            machine.run("wardenctl list --json=short | tr '}' '\\n' | grep -c '198\\.51\\.' || :").trim()
                == attackers.to_string()
        });
        memory.push(private());
        println!(
            "{}: round {round}: {total} answers in {:.1} s; a caller waited {:.1} ms (median of {}), {:.0} ms (longest); root's ban and unban took {:.0} ms (longest of {}); the watchdog was told every 4 s, {:.1} s ago at most; private memory {} KiB, {idle} KiB before; resident at most {} KiB, {before} KiB before",
            release.name(),
            number("seconds"),
            1000.0 * number("median_wait"),
            told["looks"],
            1000.0 * number("longest_wait"),
            1000.0 * number("longest_order"),
            told["orders"],
            number("oldest_beat"),
            memory[memory.len() - 1],
            peak()
        );
        println!("  {answers:?}\n  signals {}", told["signals"]);
        let refused = answers
            .keys()
            .filter(|kind| kind.contains("Error") && !kind.starts_with("Ban org.wardend1.Error.NotAuthorized"));
        assert_eq!(refused.collect::<Vec<_>>(), Vec::<&String>::new(), "nobody but alice's bans is refused");
        assert_eq!(answers["Ban org.wardend1.Error.NotAuthorized"].as_u64(), Some(clients));
        assert!(number("orders") > 0.0 && number("longest_order") < 60.0, "root is heard in time");
        assert!(number("oldest_beat") < f64::from(WATCHDOG), "the loop turns");
        let changes = told["signals"]["PropertiesChanged"].as_f64().unwrap_or(0.0);
        assert!(changes <= number("seconds") + 2.0, "{changes} announcements");
        machine.run("wardenctl unban --all");
    }
    assert_eq!(machine.run("systemctl show -p NRestarts --value wardend").trim(), "0");
    let (first, last) = (memory[0], memory[memory.len() - 1]);
    // Each client has ten calls. One that waits takes some 5 KiB in a build without optimization, its answer
    // would take hundreds.
    let most = idle + 12 * 1024 + 56 * clients;
    assert!(memory.iter().all(|&held| held < most), "too much for {clients} clients: {memory:?} KiB, {most} at most");
    // The first flood makes room for all its calls; those that follow need no more.
    assert!(last < first + (first / 5).max(4096), "memory grows: {memory:?} KiB");
}
