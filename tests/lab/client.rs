//! wardenctl beside a running daemon: what is live, and who is asked for a password.

use crate::machine::{Machine, Release};
use crate::plan::PASSWORD;

/// Runs a command at a terminal of its own and answers prompts for a password with `$1`.
const TERMINAL: &str = r#"
import os, pty, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
said, answered = b"", 0
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        more = b""
    if not more:
        break
    said += more
    if said.count(b"Password:") > answered:
        answered += 1
        # What is typed before the agent has turned the echo off is thrown away.
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, sys.argv[1].encode() + b"\n")
sys.stdout.write(said.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

pub(crate) fn watch_shows_failures_bans_and_their_ends_as_they_happen(release: Release) {
    let machine = Machine::prepare(release).hasty_passwords().boot();
    machine.run("systemd-run --quiet --unit=watch -p StandardOutput=file:/root/seen wardenctl watch --json");
    machine.run("systemd-run --quiet --unit=people -p StandardOutput=file:/root/read wardenctl watch --jail sshd");
    let seen = |text: &str| machine.try_run(&format!("grep -qF '{text}' /root/seen")).code == 0;
    machine.run("wardenctl ban 203.0.113.99 --for 1h");
    machine.wait_until("a ban by hand is seen", || seen("\"event\":\"banned\"") && seen("203.0.113.99"));
    machine.attacker("203.0.113.7").wrong_passwords("root", 5);
    machine.wait_until("failures are seen", || seen("\"event\":\"failure\"") && seen("\"rule\":\"failed-password\""));
    machine.wait_until("the ban is seen", || seen("\"source\":\"203.0.113.7\",\"time_usec\"") && seen("\"count\":1"));
    machine.run("systemctl restart wardend");
    machine.wait_until("the daemon is back", || machine.try_run("wardenctl unban 203.0.113.7").code == 0);
    machine.wait_until("what happens after a restart is seen", || {
        seen("\"event\":\"unbanned\"") && seen("\"why\":\"command\"")
    });
    machine.wait_until("people read it as well", || {
        machine.run("cat /root/read").contains(" unbanned 203.0.113.7 in jail sshd: by hand\n")
    });
    let read = machine.run("systemctl stop watch people; cat /root/read");
    println!("{read}");
    assert!(read.contains(" failure  203.0.113.7 in jail sshd: failed-password\n"), "{read}");
    assert!(read.contains("wardend has stopped; waiting for it.") && read.contains("wardend has started."), "{read}");
    for line in machine.run("cat /root/seen").lines() {
        assert!(line.starts_with('{') && line.ends_with('}') && line.contains("\"time_usec\":"), "{line}");
    }
}

pub(crate) fn at_a_terminal_polkit_asks_for_a_password(release: Release) {
    let machine = Machine::prepare(release).file("/root/terminal", TERMINAL).boot();
    // polkit asks only within a login session, and at its terminal.
    let ask = |password: &str, command: &str| {
        let session = format!("runuser --login alice --session-command='wardenctl {command}'");
        machine.try_run(&format!("python3 /root/terminal '{password}' {session}"))
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

    // What scripts want to know, and what is offered where a name is wrong.
    let unknown = machine.try_run("wardenctl list --jail shd");
    assert!(unknown.code == 1 && unknown.stderr.contains("did you mean 'sshd'?"), "{}", unknown.stderr);
    machine.run("systemctl stop wardend");
    assert_eq!(machine.try_run("wardenctl list").code, 3, "it does not run");
}
