//! What `make install-fleet` installs, with a prefix of its own, and how the program ends where it can't start.

#![allow(clippy::expect_used, reason = "a test that expects in vain has failed")]

use std::{fs, path::Path, process::Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardend-fleet");

#[test]
fn the_unit_starts_what_is_installed() {
    let root = tempfile::tempdir().expect("there is a temporary directory");
    let built = Path::new(PROGRAM).parent().expect("programs are in a directory");
    let output = Command::new("make")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace"))
        .args(["--silent", "install-fleet", "prefix=/opt/w"])
        .arg(format!("DESTDIR={}", root.path().display()))
        .arg(format!("WARDEND_BINDIR_BUILT={}", built.display()))
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let unit = root.path().join("opt/w/lib/systemd/system/wardend-fleet.service");
    let unit = fs::read_to_string(unit).expect("the unit is installed");
    let program = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("it starts something");
    assert_eq!(program, "/opt/w/libexec/wardend-fleet");
    for file in [
        program,
        "/opt/w/lib/wardend/fleet.conf",
        "/opt/w/lib/wardend/wardend.conf.d/50-fleet.conf",
        "/opt/w/lib/sysusers.d/wardend-fleet.conf",
        "/opt/w/share/dbus-1/system.d/org.wardend1.Fleet.conf",
        "/opt/w/share/dbus-1/interfaces/org.wardend1.Fleet.xml",
        "/opt/w/share/polkit-1/rules.d/50-wardend-fleet.rules",
        "/opt/w/share/man/man8/wardend-fleet.8",
        "/opt/w/share/man/man5/fleet.conf.5",
    ] {
        assert!(root.path().join(&file[1..]).is_file(), "{file} is installed");
    }
}

#[test]
fn without_a_broker_it_says_what_to_do() {
    if Path::new("/etc/wardend/fleet.conf.d").exists() || Path::new("/etc/wardend/fleet.conf").exists() {
        println!("left out: this machine has a fleet");
        return;
    }
    let output = Command::new(PROGRAM).env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("No broker is configured; name one in /etc/wardend/fleet.conf.d/local.conf"), "{said}");
}
