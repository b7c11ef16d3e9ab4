//! wardenctl at a terminal, and without one: the pager, colours, and what a script sees instead.
//! script(1) makes the terminal.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::process::{Command, Stdio};

/// What `wardenctl verify` shows at a terminal with these variables set; nothing if there is no
/// script(1).
fn at_a_terminal(options: &str, variables: &[(&str, &str)]) -> Option<String> {
    let line = format!("{} verify {options}", env!("CARGO_BIN_EXE_wardenctl"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    for name in ["PAGER", "SYSTEMD_PAGER", "NO_COLOR", "SYSTEMD_COLORS", "SUDO_UID", "LESS"] {
        script.env_remove(name);
    }
    script.env("TERM", "xterm").envs(variables.iter().copied());
    let Ok(output) = script.output() else {
        println!("left out: script(1) is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}

#[test]
fn a_terminal_gets_a_pager_and_colours() {
    let Some(plain) = at_a_terminal("", &[("PAGER", "cat")]) else { return };
    assert!(plain.contains("\x1b[0;4mWHAT") && plain.contains("\x1b[0;1;32mok\x1b[0m"), "{plain:?}");
    let paged = at_a_terminal("", &[("PAGER", "sed s/^/paged:/")]).expect("script was there");
    assert!(paged.starts_with("paged:"), "{paged:?}");
    let systemd = at_a_terminal("", &[("PAGER", "false"), ("SYSTEMD_PAGER", "sed s/^/own:/")]);
    assert!(systemd.expect("script was there").starts_with("own:"));
    for (options, variables) in [
        ("--no-pager", &[("PAGER", "sed s/^/paged:/"), ("NO_COLOR", "1")][..]),
        ("", &[("PAGER", "sed s/^/paged:/"), ("TERM", "dumb")]),
    ] {
        let text = at_a_terminal(options, variables).expect("script was there");
        assert!(text.starts_with("WHAT"), "{options} {variables:?}: {text:?}");
        assert!(!text.contains('\x1b'), "{options} {variables:?}: {text:?}");
    }
}

#[test]
fn a_pipe_gets_plain_text_and_a_script_no_legend() {
    let run = |options: &[&str], colours: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardenctl"));
        command.arg("verify").args(options).env("PAGER", "false").env("SYSTEMD_COLORS", colours).env_remove("NO_COLOR");
        let output = command.output().expect("wardenctl starts");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = run(&[], "");
    assert!(text.starts_with("WHAT ") && !text.contains('\x1b'), "{text:?}");
    assert!(run(&[], "1").contains("\x1b[0;1;32mok"));
    assert!(run(&["--no-legend"], "").starts_with("sshd "));
    assert!(run(&["--json=off"], "").starts_with("WHAT "));
    assert!(run(&["--json"], "").starts_with('{'));
}

#[test]
fn exit_codes_tell_what_a_script_wants_to_know() {
    let code = |arguments: &[&str], bus: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardenctl"));
        command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", bus);
        let output = command.output().expect("wardenctl starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (unknown, says) = code(&["lst"], "");
    assert!(unknown == Some(2) && says.contains("'list'"), "{says}");
    let (no_bus, says) = code(&["list"], "unix:path=/nonexistent");
    assert!(no_bus == Some(1) && says.contains("dbus.service"), "{says}");
}
