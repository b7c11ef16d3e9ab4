//! Completions in the shells themselves, as far as this machine has them. What only a running
//! daemon can offer (banned addresses) is tried in the lab.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::{path::Path, process::Command};

/// Runs a script with wardenctl in the PATH and its completions in `$1`; nothing if there is no
/// such shell.
fn shell(name: &str, options: &[&str], script: &str) -> Option<String> {
    let programs = Path::new(env!("CARGO_BIN_EXE_wardenctl")).parent().expect("a program has a directory");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("completions/wardenctl.{name}"));
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let script = format!("{}\n", script.replace("FILE", &file.display().to_string()));
    let output = Command::new(name).args(options).args(["-c", &script]).env("PATH", path).output();
    let Ok(output) = output else {
        println!("left out: {name} is not installed");
        return None;
    };
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaint.is_empty(), "{name}: {complaint}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn bash_offers_verbs_and_options() {
    let ask = |words: &str, last: &str, index: usize| {
        let script = format!(
            "source FILE; COMP_WORDS=({words}); COMP_CWORD={index}; _clap_complete_wardenctl wardenctl '{last}' x 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        shell("bash", &["--norc"], &script)
    };
    let Some(verbs) = ask("wardenctl unb", "unb", 1) else { return };
    assert_eq!(verbs.trim(), "unban");
    let options = ask("wardenctl ban --", "--", 2).unwrap();
    assert!(["--jail", "--for", "--reason"].iter().all(|option| options.contains(option)), "{options}");
}

#[test]
fn fish_offers_verbs_with_what_they_do() {
    let Some(verbs) = shell("fish", &["--no-config"], "source FILE; complete -C 'wardenctl unb'") else { return };
    assert_eq!(verbs.trim(), "unban\tEnd bans");
}

#[test]
fn zsh_takes_the_file_as_a_completion() {
    // What zsh would show needs a terminal; that the file loads and registers itself does not.
    let script = "autoload -Uz compinit; compinit -D -u; source FILE; print $_comps[wardenctl]";
    let Some(registered) = shell("zsh", &["-f"], script) else { return };
    assert_eq!(registered.trim(), "_clap_dynamic_completer_wardenctl");
}
