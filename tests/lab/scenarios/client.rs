//! wardenctl beside a running daemon: what is live, and who is asked for a password.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::machine::{Machine, Release};
use crate::harness::plan::PASSWORD;

pub(crate) fn watch_shows_failures_bans_and_their_ends_as_they_happen(release: Release) {
    let machine = Machine::prepare(release)
        .hasty_passwords()
        .file("/etc/wardend/wardend.conf.d/recidive.conf", "[jail.recidive]\nenabled = true\n")
        .boot();
    machine.run("systemd-run --quiet --unit=watch -p StandardOutput=file:/root/seen wardenctl watch --json");
    machine.run("systemd-run --quiet --unit=people -p StandardOutput=file:/root/read wardenctl watch --jail sshd");
    machine.run("systemd-run --quiet --unit=bans -p StandardOutput=file:/root/bans wardenctl watch --jail recidive");
    let seen = |text: &str| machine.try_run(&format!("grep -qF '{text}' /root/seen")).code == 0;
    machine.run("wardenctl ban 203.0.113.99 --for 1h");
    machine.wait_until("a manual ban is seen", || seen("\"event\":\"banned\"") && seen("203.0.113.99"));
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_until("failures are seen", || seen("\"event\":\"failure\"") && seen("\"rule\":\"failed-password\""));
    machine.wait_until("the ban is seen", || seen("\"source\":\"203.0.113.7\",\"time_usec\"") && seen("\"count\":1"));
    // A jail over bans counts bans, and no failure is spoken of.
    machine.wait_until("the ban that was counted is seen", || {
        seen("\"event\":\"counted\"") && seen("\"counted\":\"bans\"")
    });
    machine.wait_until("people read of it as well", || {
        machine.run("cat /root/bans").contains(" counted  203.0.113.7 in jail recidive: a ban in jail sshd\n")
    });
    assert!(!machine.run("cat /root/bans").contains("failure"));
    machine.run("systemctl restart wardend");
    machine.wait_until("the daemon is back", || machine.try_run("wardenctl unban 203.0.113.7").code == 0);
    machine.wait_until("what happens after a restart is seen", || {
        seen("\"event\":\"unbanned\"") && seen("\"why\":\"command\"")
    });
    machine.wait_until("people read it as well", || {
        machine.run("cat /root/read").contains(" unbanned 203.0.113.7 in jail sshd: manual unban\n")
    });
    let read = machine.run("systemctl stop watch people bans; cat /root/read");
    println!("{read}");
    assert!(read.contains(" failure  203.0.113.7 in jail sshd: failed-password\n"), "{read}");
    assert!(read.contains("wardend has stopped; waiting for it.") && read.contains("wardend has started."), "{read}");
    for line in machine.run("cat /root/seen").lines() {
        assert!(line.starts_with('{') && line.ends_with('}') && line.contains("\"time_usec\":"), "{line}");
    }
}

pub(crate) fn at_a_terminal_polkit_asks_for_a_password(release: Release) {
    let machine = Machine::prepare(release).file("/root/terminal.py", include_str!("../guest/terminal.py")).boot();
    // polkit asks only within a login session, and at its terminal.
    let ask = |password: &str, command: &str| {
        let session = format!("runuser --login alice --session-command='wardenctl {command}'");
        machine.try_run(&format!("python3 /root/terminal.py '{password}' {session}"))
    };
    let banned = || machine.run("wardenctl list").contains("203.0.113.7 ");
    let silent = ask(PASSWORD, "--no-ask-password ban 203.0.113.7");
    assert_eq!(silent.code, 4, "{}", silent.stdout);
    assert!(!silent.stdout.contains("Password:") && silent.stdout.contains("org.wardend1.ban"), "{}", silent.stdout);
    let wrong = ask("wrong", "ban 203.0.113.7");
    assert_eq!(wrong.code, 4, "{}", wrong.stdout);
    assert!(wrong.stdout.contains("Password:") && !banned(), "{}", wrong.stdout);
    let right = ask(PASSWORD, "ban 203.0.113.7");
    assert_eq!(right.code, 0, "{}", right.stdout);
    println!("{}", right.stdout);
    assert!(right.stdout.contains("Authentication is required to ban a host."), "{}", right.stdout);
    assert!(banned(), "{}", right.stdout);
    assert_eq!(machine.run("pgrep pkttyagent || :"), "", "the agent goes with the call");

    // Several sources: all are read before anything is done, and one that fails holds up no other.
    let early = machine.try_run("wardenctl ban 203.0.113.21 1h");
    assert!(early.code == 1 && early.stderr.contains("write `--for 1h`"), "{}", early.stderr);
    assert!(!machine.run("wardenctl list").contains("203.0.113.21 "), "nothing is done");
    let list = "printf '203.0.113.30-203.0.113.32 # scanners\\n127.0.0.1 ; refused\\n203.0.113.40,203.0.113.41\\n'";
    let some = machine.try_run(&format!("{list} | wardenctl ban - --for permanent --reason list"));
    assert!(some.code == 1 && some.stderr.contains("127.0.0.1"), "{}", some.stderr);
    let list_of_bans = machine.run("wardenctl list");
    for source in ["203.0.113.30/31", "203.0.113.32", "203.0.113.40", "203.0.113.41"] {
        assert!(list_of_bans.contains(&format!("{source} ")), "{list_of_bans}");
    }
    machine.run("printf '203.0.113.30-203.0.113.32\\n' >/root/list");
    let ended = machine.try_run("wardenctl unban 203.0.113.50 203.0.113.40 --file /root/list");
    assert!(ended.code == 1 && ended.stderr.contains("203.0.113.50"), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("Unbanned 203.0.113.40 ") && ended.stdout.contains("203.0.113.30/31 "),
        "{}",
        ended.stdout
    );
    machine.run("wardenctl unban 203.0.113.41");

    // What scripts want to know, and what is offered where a name is wrong.
    let unknown = machine.try_run("wardenctl list --jail shd");
    assert!(unknown.code == 1 && unknown.stderr.contains("did you mean 'sshd'?"), "{}", unknown.stderr);
    machine.run("systemctl stop wardend");
    assert_eq!(machine.try_run("wardenctl list").code, 3, "it does not run");
}

/// The shells are this host's, the daemon is the machine's: a `wardenctl` in the PATH leads from one
/// to the other.
pub(crate) fn shells_offer_jails_and_what_is_banned(release: Release) {
    let machine = Machine::boot(release);
    machine.run("wardenctl ban 203.0.113.7");
    let directory = tempfile::tempdir().expect("there is a place for it");
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy());
    let enter = machine.enter(&[]);
    let words: Vec<String> = std::iter::once(enter.get_program()).chain(enter.get_args()).map(quoted).collect();
    let told = ["COMPLETE", "_CLAP_IFS", "_CLAP_COMPLETE_INDEX", "_CLAP_COMPLETE_COMP_TYPE", "_CLAP_COMPLETE_SPACE"];
    let told: Vec<String> = told.iter().map(|name| format!("{name}=\"${name}\"")).collect();
    let door = directory.path().join("wardenctl");
    fs::write(&door, format!("#!/bin/sh\nexec {} {} wardenctl \"$@\"\n", words.join(" "), told.join(" ")))
        .and_then(|()| fs::set_permissions(&door, fs::Permissions::from_mode(0o755)))
        .expect("it was made here");
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap_or_default());
    let completions = concat!(env!("CARGO_MANIFEST_DIR"), "/completions/wardenctl");
    let zsh = format!("autoload -Uz compinit; compinit -D -u; source {completions}.zsh");
    for (shell, setup) in [
        (&["bash", "--norc", "-i"][..], format!("source {completions}.bash")),
        (&["zsh", "-f", "-i"], zsh),
        (&["fish", "--no-config", "--command"], format!("source {completions}.fish; complete -C ")),
    ] {
        if Command::new(shell[0]).args(["-c", "true"]).output().is_err() {
            println!("left out: {} is not installed", shell[0]);
            continue;
        }
        for (words, offered) in [("wardenctl unban 20", "203.0.113.7"), ("wardenctl list --jail s", "sshd")] {
            let mut command = if shell[0] == "fish" {
                let mut fish = Command::new(shell[0]);
                fish.args(&shell[1..]).arg(format!("{setup}'{words}'"));
                fish
            } else {
                let mut python = Command::new("/usr/bin/python3");
                let offered = format!("{} {offered}", words.rsplit_once(' ').expect("it has two words").0);
                python.args(["-c", include_str!("../guest/tab.py"), &setup, words, &offered]).args(shell);
                python
            };
            let output = command.env("PATH", &path).env("TERM", "xterm").output().expect("it starts");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && (shell[0] != "fish" || said.trim().starts_with(offered)),
                "{}: {said}{}",
                shell[0],
                String::from_utf8_lossy(&output.stderr)
            );
            println!("{}: {} completes `{words}` to {offered}", release.name(), shell[0]);
        }
    }
}
