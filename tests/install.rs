//! What `make install` installs, with a prefix of its own: all programs that the units start are there.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::{fs, path::Path, process::Command};

#[test]
fn every_program_that_a_unit_starts_is_installed() {
    let root = tempfile::tempdir().expect("there is a temporary directory");
    let built = Path::new(env!("CARGO_BIN_EXE_wardend")).parent().expect("programs are in a directory");
    let output = Command::new("make")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--silent", "install", "prefix=/opt/w"])
        .arg(format!("DESTDIR={}", root.path().display()))
        .arg(format!("WARDEND_BINDIR_BUILT={}", built.display()))
        .output()
        .expect("make starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut programs = Vec::new();
    for unit in fs::read_dir(root.path().join("opt/w/lib/systemd/system")).expect("units are installed").flatten() {
        let text = fs::read_to_string(unit.path()).expect("a unit is text");
        let commands = text.lines().filter_map(|line| line.strip_prefix("Exec")?.split_once('='));
        programs.extend(commands.filter_map(|(_, command)| {
            Some(command.trim_start_matches([':', '-', '+', '!', '@']).split(' ').next()?.to_owned())
        }));
    }
    assert!(programs.len() >= 4, "{programs:?}");
    // The programs of administrators' own handlers are where administrators put them.
    programs.retain(|program| !program.starts_with("/etc/wardend/notify.d/"));
    for program in programs {
        assert!(program.starts_with("/opt/w/"), "{program} is where the prefix says");
        assert!(root.path().join(&program[1..]).is_file(), "{program} is installed");
    }
}
